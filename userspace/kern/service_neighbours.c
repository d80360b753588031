/* Backends of services, and what is to be known of the way to them. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "kern/service_internal.h"

void service_set_each_backend(const struct service_set *set,
			      void (*visit)(uint32_t service, const struct ip_addr *addr,
					    void *arg),
			      void *arg)
{
	const struct service_maps *maps = &set->maps;

	for (uint32_t i = 0; i < maps->service_count; i++) {
		const struct sl_service *service = &maps->services[i];

		if (maps->service_info[i].use != SL_SERVICE_USED)
			continue;
		for (uint32_t j = 1; j < service->backend_count; j++) {
			uint32_t place = service->backend_base + j;
			const struct sl_backend *backend = &maps->backends[place];
			struct ip_addr addr = service_ip(backend->addr_be, backend->family);

			if (maps->backend_info[place].state & SL_BACKEND_USED)
				visit(i, &addr, arg);
		}
	}
}

struct gathering {
	const struct service_set *set;
	struct ip_addr *addrs;
	unsigned int count, room;
	bool has_nat, is_short;
};

static void gather(struct gathering *gathering, const struct ip_addr *addr)
{
	if (gathering->count == gathering->room) {
		unsigned int room = gathering->room ? gathering->room * 2 : 64;
		struct ip_addr *addrs = realloc(gathering->addrs, room * sizeof(*addrs));

		if (!addrs) {
			gathering->is_short = true;
			return;
		}
		gathering->addrs = addrs;
		gathering->room = room;
	}
	gathering->addrs[gathering->count++] = *addr;
}

static void gather_backend(uint32_t service, const struct ip_addr *addr, void *arg)
{
	struct gathering *gathering = arg;

	gathering->has_nat |= gathering->set->maps.services[service].forward == SL_FORWARD_NAT;
	gather(gathering, addr);
}

int service_set_resolve(const struct service_set *set, const struct service_conf *confs,
			unsigned int count, struct error *err)
{
	struct gathering gathering = {.set = set};
	int r;

	service_set_each_backend(set, gather_backend, &gathering);
	for (unsigned int i = 0; i < count; i++) {
		gathering.has_nat |= confs[i].forward == SL_FORWARD_NAT;
		for (unsigned int j = 0; j < confs[i].backend_count; j++)
			gather(&gathering, &confs[i].backends[j].addr);
	}
	r = gathering.is_short ? error_set(err, -ENOMEM, "out of memory")
			       : neighbours_set(set->neighbours, gathering.addrs, gathering.count,
						gathering.has_nat, err);
	free(gathering.addrs);
	return r;
}
