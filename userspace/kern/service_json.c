/* Services as the admin API and the CLI without a daemon show them. */
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

#include "base/util.h"
#include "kern/service_internal.h"
#include "kern/service_words.h"

struct walk {
	const struct service_set *set;
	struct json_writer *json;
	uint64_t now_ns;
};

static int write_address(const char *text, void *arg)
{
	json_cstring(arg, NULL, text);
	return 0;
}

/* Where packets to the backend are handed to, and whether that is known to the kernel. */
static void write_next_hop(struct json_writer *json, const struct service_set *set,
			   const struct ip_addr *backend)
{
	struct neighbour_view view = {.hop_count = 0};
	char text[ADDR_TEXT_MAX], device[IF_NAMESIZE];
	bool is_known = set->neighbours && neighbours_find(set->neighbours, backend, &view);
	const uint8_t *link = view.link_addr;

	if (is_known)
		json_cstring(json, "next_hop_state", neighbour_state_name(view.state));
	else
		json_nil(json, "next_hop_state");
	if (view.next_hop.family)
		json_cstring(json, "next_hop", ip_addr_format(&view.next_hop, text, sizeof(text)));
	else
		json_nil(json, "next_hop");
	if (view.next_hop.family && if_indextoname(view.ifindex, device))
		json_cstring(json, "device", device);
	else
		json_nil(json, "device");
	(void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", link[0], link[1],
		       link[2], link[3], link[4], link[5]);
	if (view.next_hop.family && view.state == NEIGHBOUR_RESOLVED)
		json_cstring(json, "link_address", text);
	else
		json_nil(json, "link_address");
}

static void write_outcomes(struct json_writer *json, const struct service_probe *probe,
			   uint64_t now_ns)
{
	json_cstring(json, "probe", "tcp");
	json_u64(json, "port", probe->port);
	json_u64(json, "succeeded", probe->succeeded);
	json_u64(json, "failed", probe->failed);
	json_u64(json, "not_made", probe->not_made);
	json_u64(json, "against_in_row", probe->row);
	if (probe->last_error) {
		json_cstring(json, "last_error", strerror(probe->last_error));
		json_u64(json, "last_error_s_ago", (now_ns - probe->failed_ns) / NS_PER_S);
	} else {
		json_nil(json, "last_error");
		json_nil(json, "last_error_s_ago");
	}
}

/* The state is pinned, the rest is what the daemon knows. */
static void write_health(struct json_writer *json, const struct walk *walk,
			 const struct service_backend_view *view)
{
	const struct service_set *set = walk->set;
	const struct sl_backend_info *info = view->info;
	const struct service_probe *probe = set->probes ? set->probes[view->number] : NULL;

	if (!set->maps.service_info[view->backend->service].probed ||
	    (info->state & SL_BACKEND_REMOVED)) {
		json_nil(json, "health");
		return;
	}
	json_open_object(json, "health");
	json_cstring(json, "state", info->state & SL_BACKEND_FAILING ? "down" : "up");
	json_bool(json, "in_use", !(info->state & SL_BACKEND_DOWN));
	if (info->health_boot_ns)
		json_u64(json, "for_s", (walk->now_ns - info->health_boot_ns) / NS_PER_S);
	else
		json_nil(json, "for_s");
	json_bool(json, "probed", probe != NULL);
	if (probe)
		write_outcomes(json, probe, walk->now_ns);
	json_close_object(json);
}

static int write_backend(const struct service_backend_view *view, void *arg)
{
	const struct walk *walk = arg;
	struct json_writer *json = walk->json;
	const struct sl_backend_info *info = view->info;
	struct ip_addr addr = service_ip(view->backend->addr_be, view->backend->family);
	char text[ADDR_TEXT_MAX];

	json_open_object(json, NULL);
	json_cstring(json, "address",
		     service_backend_format(&addr, view->backend->port, text, sizeof(text)));
	json_cstring(json, "state", service_backend_state(info));
	json_u64(json, "weight", info->weight);
	json_cstring(json, "origin", info->state & SL_BACKEND_FROM_CLI ? "cli" : "config");
	if ((info->state & SL_BACKEND_DRAINING) && info->drain_until_boot_ns > walk->now_ns)
		json_u64(json, "drain_left_s",
			 (info->drain_until_boot_ns - walk->now_ns + 999999999) / 1000000000);
	else
		json_nil(json, "drain_left_s");
	json_u64(json, "slots", view->slots);
	json_u64(json, "packets", view->packets);
	json_u64(json, "bytes", view->bytes);
	json_u64(json, "number", view->number);
	write_health(json, walk, view);
	write_next_hop(json, walk->set, &addr);
	json_close_object(json);
	return 0;
}

/* Reasons that were ever met. */
static void write_drops(struct json_writer *json, const struct service_view *view)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < SL_SERVICE_DROPS; i++)
		sum += view->drops[i];
	json_u64(json, "dropped", sum);
	json_open_object(json, "drops");
	for (unsigned int i = 0; i < SL_SERVICE_DROPS; i++)
		if (view->drops[i])
			json_u64(json, service_drop_name(i), view->drops[i]);
	json_close_object(json);
}

static void write_service_health(struct json_writer *json, const struct service_set *set,
				 const struct service_view *view)
{
	uint64_t up = 0, down = 0;

	if (!view->info->probed) {
		json_nil(json, "health");
		return;
	}
	for (uint32_t i = 1; i < view->service->backend_count; i++) {
		uint32_t state = set->maps.backend_info[view->service->backend_base + i].state;
		bool counts = (state & SL_BACKEND_USED) && !(state & SL_BACKEND_REMOVED);

		up += counts && !(state & SL_BACKEND_FAILING);
		down += counts && (state & SL_BACKEND_FAILING);
	}
	json_open_object(json, "health");
	json_bool(json, "probed", set->probes != NULL);
	json_u64(json, "up", up);
	json_u64(json, "down", down);
	json_bool(json, "fail_open", view->info->fail_open);
	json_u64(json, "fail_opens", view->info->fail_opens);
	json_close_object(json);
}

/* In how many seconds it is deleted. */
static void write_leaving(struct json_writer *json, const struct sl_service_info *info,
			  uint64_t now_ns)
{
	if (!info->until_boot_ns)
		json_nil(json, "deleted_in_s");
	else if (info->until_boot_ns <= now_ns)
		json_u64(json, "deleted_in_s", 0);
	else
		json_u64(json, "deleted_in_s",
			 (info->until_boot_ns - now_ns + NS_PER_S - 1) / NS_PER_S);
}

static int write_service(const struct service_view *view, void *arg)
{
	static const char *const phases[] = {"clean", "split", "record", "listed"};
	const struct walk *walk = arg;
	const struct service_set *set = walk->set;
	struct json_writer *json = walk->json;
	int r;

	json_open_object(json, NULL);
	json_cstring(json, "name", view->name);
	json_open_array(json, "addresses");
	r = service_set_walk_addresses(set, view->number, write_address, json);
	json_close_array(json);
	json_cstring(json, "protocol", service_protocol_name(view->info->protocol));
	json_cstring(json, "forward", service_forward_name(view->service->forward));
	json_cstring(json, "affinity", service_affinity_name(view->service->affinity));
	json_cstring(json, "origin", view->info->from_cli ? "cli" : "config");
	json_u64(json, "drain_ms", view->info->drain_ms);
	write_leaving(json, view->info, walk->now_ns);
	json_u64(json, "slots", view->service->slot_count);
	json_open_object(json, "phases");
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++)
		json_u64(json, phases[i], view->phases[i]);
	json_close_object(json);
	json_u64(json, "packets", view->packets);
	json_u64(json, "bytes", view->bytes);
	write_drops(json, view);
	write_service_health(json, set, view);
	json_open_array(json, "backends");
	if (!r)
		r = service_set_walk_backends(set, view->number, write_backend, arg);
	json_close_array(json);
	json_close_object(json);
	return r;
}

int service_set_write_json(const struct service_set *set, struct json_writer *json, uint64_t now_ns)
{
	struct walk walk = {.set = set, .json = json, .now_ns = now_ns};
	int r;

	json_open_array(json, "services");
	r = service_set_walk(set, write_service, &walk);
	json_close_array(json);
	return r;
}
