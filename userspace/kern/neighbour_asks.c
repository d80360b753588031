#include "kern/neighbour_asks.h"

#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "kern/dataplane_internal.h"
#include "kern/service.h"

struct neighbour_asks {
	struct ring_buffer *ring;
	void (*on_ask)(uint32_t ifindex, const struct ip_addr *addr, void *arg);
	void *arg;
};

static int on_record(void *arg, void *data, size_t len)
{
	const struct neighbour_asks *asks = arg;
	const struct sl_neigh_ask *ask = data;
	struct ip_addr addr;

	if (len < sizeof(*ask) || !ask->ifindex)
		return 0;
	addr = service_ip(ask->addr_be, ask->family);
	asks->on_ask(ask->ifindex, &addr, asks->arg);
	return 0;
}

int neighbour_asks_open(struct dataplane *dataplane,
			void (*on_ask)(uint32_t ifindex, const struct ip_addr *addr, void *arg),
			void *arg, struct neighbour_asks **ret_asks, struct error *err)
{
	_cleanup_free_ struct neighbour_asks *asks = calloc(1, sizeof(*asks));

	if (!asks)
		return error_set(err, -ENOMEM, "out of memory");
	asks->on_ask = on_ask;
	asks->arg = arg;
	asks->ring =
		ring_buffer__new(dataplane->maps[DATAPLANE_MAP_NEIGH_ASKS], on_record, asks, NULL);
	if (!asks->ring)
		return error_set_errno(err, -errno, "cannot read the ring sl_neigh_asks");
	*ret_asks = TAKE_PTR(asks);
	return 0;
}

void neighbour_asks_close(struct neighbour_asks *asks)
{
	if (!asks)
		return;
	ring_buffer__free(asks->ring);
	free(asks);
}

int neighbour_asks_fd(const struct neighbour_asks *asks)
{
	return ring_buffer__epoll_fd(asks->ring);
}

int neighbour_asks_read(struct neighbour_asks *asks)
{
	return ring_buffer__consume(asks->ring);
}
