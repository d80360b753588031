/*
 * /metrics: L4 services, their backends and the probes of these. A line of packets or bytes costs a
 * system call; pieces keep that from holding up the control thread (metrics_page.h).
 */
#include <string.h>

#include "base/util.h"
#include "control/metrics_page.h"

#define LOOKS 256 /* places that one piece looks at */

enum family {
	SERVICE_PACKETS,
	SERVICE_BYTES,
	SERVICE_DROPS,
	SERVICE_BACKENDS,
	SERVICE_FAIL_OPEN,
	SERVICE_FAIL_OPENS,
	BACKEND_PACKETS,
	BACKEND_BYTES,
	BACKEND_WEIGHT,
	BACKEND_UP,
	BACKEND_PROBES,
	FAMILY_COUNT,
};

static const struct {
	const char *name;
	enum metrics_type type;
	const char *help;
} families[FAMILY_COUNT] = {
	[SERVICE_PACKETS] = {"sluice_service_packets_total", METRICS_COUNTER,
			     "packets forwarded to the backends of a service"},
	[SERVICE_BYTES] = {"sluice_service_bytes_total", METRICS_COUNTER,
			   "bytes of these packets, as they came in"},
	[SERVICE_DROPS] = {"sluice_service_dropped_packets_total", METRICS_COUNTER,
			   "packets of a service that were dropped, by the reason"},
	[SERVICE_BACKENDS] = {"sluice_service_backends", METRICS_GAUGE,
			      "backends of a service by their state"},
	[SERVICE_FAIL_OPEN] = {"sluice_service_fail_open", METRICS_GAUGE,
			       "1 while all backends are down, so that the table stays as it was"},
	[SERVICE_FAIL_OPENS] = {"sluice_service_fail_opens_total", METRICS_COUNTER,
				"how often that began"},
	[BACKEND_PACKETS] = {"sluice_backend_packets_total", METRICS_COUNTER,
			     "packets forwarded to a backend"},
	[BACKEND_BYTES] = {"sluice_backend_bytes_total", METRICS_COUNTER,
			   "bytes of these packets, as they came in"},
	[BACKEND_WEIGHT] = {"sluice_backend_weight", METRICS_GAUGE,
			    "weight of a backend, as it was set"},
	[BACKEND_UP] = {"sluice_backend_up", METRICS_GAUGE, "1 while its probes succeed"},
	[BACKEND_PROBES] = {"sluice_backend_probes_total", METRICS_COUNTER,
			    "probes of a backend by their result"},
};

static void write_drops(struct metrics_page *page, const char *name, uint32_t number,
			struct metrics_label *label)
{
	uint64_t drops[SL_SERVICE_DROPS];
	char labels[METRICS_LABELS_MAX];

	service_set_read_drops(&page->daemon->services.set, number, drops);
	for (unsigned int i = 0; i < SL_SERVICE_DROPS; i++) {
		if (!drops[i])
			continue;
		label[1] = (struct metrics_label){"reason", str_from_cstr(service_drop_name(i))};
		metrics_u64(page, name, metrics_labels(label, 2, labels, sizeof(labels)), drops[i]);
	}
}

static void write_states(struct metrics_page *page, const char *name, uint32_t number,
			 struct metrics_label *label)
{
	static const char *const states[] = {"up", "down", "draining", "drained", "removed"};
	const struct service_maps *maps = &page->daemon->services.set.maps;
	const struct sl_service *service = &maps->services[number];
	uint64_t counts[ARRAY_SIZE(states)] = {0};
	char labels[METRICS_LABELS_MAX];

	for (uint32_t i = 1; i < service->backend_count; i++) {
		const struct sl_backend_info *info = &maps->backend_info[service->backend_base + i];

		for (size_t j = 0; j < ARRAY_SIZE(states) && (info->state & SL_BACKEND_USED); j++)
			counts[j] += !strcmp(service_backend_state(info), states[j]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		label[1] = (struct metrics_label){"state", str_from_cstr(states[i])};
		metrics_u64(page, name, metrics_labels(label, 2, labels, sizeof(labels)),
			    counts[i]);
	}
}

static void write_service(struct metrics_page *page, uint32_t number)
{
	const struct service_set *set = &page->daemon->services.set;
	const struct sl_service_info *info = &set->maps.service_info[number];
	struct metrics_label label[2] = {{"service", str_from_cstr(info->name)}};
	const char *name = families[page->family].name;
	uint64_t packets = 0, bytes = 0;
	char labels[METRICS_LABELS_MAX];

	(void)metrics_labels(label, 1, labels, sizeof(labels));
	if (page->family == SERVICE_PACKETS || page->family == SERVICE_BYTES) {
		service_set_read_service(set, number, &packets, &bytes);
		metrics_u64(page, name, labels, page->family == SERVICE_BYTES ? bytes : packets);
	} else if (page->family == SERVICE_DROPS) {
		write_drops(page, name, number, label);
	} else if (page->family == SERVICE_BACKENDS) {
		write_states(page, name, number, label);
	} else if (info->probed) {
		metrics_u64(page, name, labels,
			    page->family == SERVICE_FAIL_OPEN ? info->fail_open : info->fail_opens);
	}
}

static void write_probes(struct metrics_page *page, const struct service_probe *probe,
			 struct metrics_label *label)
{
	const struct {
		const char *result;
		uint64_t count;
	} rows[] = {{"succeeded", probe->succeeded},
		    {"failed", probe->failed},
		    {"not_made", probe->not_made}};
	char labels[METRICS_LABELS_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		label[2] = (struct metrics_label){"result", str_from_cstr(rows[i].result)};
		metrics_u64(page, families[BACKEND_PROBES].name,
			    metrics_labels(label, 3, labels, sizeof(labels)), rows[i].count);
	}
}

static void write_backend(struct metrics_page *page, uint32_t place)
{
	const struct service_set *set = &page->daemon->services.set;
	const struct sl_backend *backend = &set->maps.backends[place];
	const struct sl_backend_info *info = &set->maps.backend_info[place];
	const struct service_probe *probe = set->probes ? set->probes[place] : NULL;
	struct ip_addr addr = service_ip(backend->addr_be, backend->family);
	char text[ADDR_TEXT_MAX], labels[METRICS_LABELS_MAX];
	struct metrics_label label[3] = {
		{"service", str_from_cstr(set->maps.service_info[backend->service].name)},
		{"backend",
		 str_from_cstr(service_backend_format(&addr, backend->port, text, sizeof(text)))}};
	const char *name = families[page->family].name;
	uint64_t packets = 0, bytes = 0;

	(void)metrics_labels(label, 2, labels, sizeof(labels));
	switch (page->family) {
	case BACKEND_WEIGHT:
		metrics_u64(page, name, labels, info->weight);
		break;
	case BACKEND_UP:
		if (probe)
			metrics_u64(page, name, labels, !(info->state & SL_BACKEND_FAILING));
		break;
	case BACKEND_PROBES:
		if (probe)
			write_probes(page, probe, label);
		break;
	default:
		service_set_read_backend(set, place, &packets, &bytes);
		metrics_u64(page, name, labels, page->family == BACKEND_BYTES ? bytes : packets);
		break;
	}
}

static bool is_backend(const struct service_maps *maps, uint32_t place)
{
	uint32_t service = maps->backends[place].service;

	return (maps->backend_info[place].state & SL_BACKEND_USED) &&
	       service < maps->service_count &&
	       maps->service_info[service].use == SL_SERVICE_USED &&
	       place - maps->services[service].backend_base < maps->services[service].backend_count;
}

static void write_prober(struct metrics_page *page)
{
	const struct health *health = &page->daemon->services.health;

	metrics_family(page, "sluice_health_probes_limit", METRICS_GAUGE,
		       "probes that may be under way at a time");
	metrics_u64(page, "sluice_health_probes_limit", "", health->limit);
	metrics_family(page, "sluice_health_probes_under_way", METRICS_GAUGE,
		       "probes that wait for an answer");
	metrics_u64(page, "sluice_health_probes_under_way", "", health->under_way);
	metrics_family(page, "sluice_health_probes_delayed_total", METRICS_COUNTER,
		       "probes that had to wait for others to end");
	metrics_u64(page, "sluice_health_probes_delayed_total", "", health->delayed);
}

bool metrics_write_services(struct metrics_page *page)
{
	const struct service_maps *maps = &page->daemon->services.set.maps;
	bool of_backends = page->family >= BACKEND_PACKETS;
	uint32_t end;

	if (!page->daemon->services.open)
		return true;
	if (page->family == FAMILY_COUNT) {
		write_prober(page);
		return true;
	}
	if (!page->item)
		metrics_family(page, families[page->family].name, families[page->family].type,
			       families[page->family].help);
	end = MIN(page->item + LOOKS, of_backends ? maps->backend_count : maps->service_count);
	for (; page->item < end; page->item++) {
		if (of_backends && is_backend(maps, page->item))
			write_backend(page, page->item);
		else if (!of_backends && maps->service_info[page->item].use == SL_SERVICE_USED)
			write_service(page, page->item);
	}
	if (end == (of_backends ? maps->backend_count : maps->service_count)) {
		page->family++;
		page->item = 0;
	}
	return false;
}
