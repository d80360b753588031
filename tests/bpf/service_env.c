#include "tests/bpf/service_env.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>

#include "abi/flow_rules.h"
#include "base/util.h"
#include "tests/bpf/packet_sums.h"
#include "xdp_main.skel.h"

#define KEYS 64 /* places in sl_svc_keys */

struct svc_out svc_out;

static struct xdp_main_bpf *object;
static unsigned int ingress;

void svc_address(void *at, const char *text)
{
	memset(at, 0, 16);
	assert_int_equal(inet_pton(strchr(text, ':') ? AF_INET6 : AF_INET, text, at), 1);
}

int svc_map(const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(object->obj, name);

	if (fd < 0)
		print_error("no map %s\n", name);
	assert_true(fd >= 0);
	return fd;
}

void svc_put(const char *map, uint32_t key, const void *value)
{
	assert_int_equal(bpf_map_update_elem(svc_map(map), &key, value, BPF_ANY), 0);
}

static void put_key(const char *address, uint16_t port, uint8_t protocol, uint32_t value,
		    uint32_t ranges)
{
	struct sl_service_key key = {.port = port, .protocol = protocol, .value = value};
	uint32_t place;

	svc_address(key.addr_be, address);
	key.family = strchr(address, ':') ? SL_FAMILY_V6 : SL_FAMILY_V4;
	key.ranges = ranges;
	place = service_key_place(key.addr_be, port, protocol, KEYS);
	for (int probe = 0; probe < SL_SERVICE_PROBES; probe++, place++) {
		struct sl_service_key there;
		uint32_t at = place & (KEYS - 1);

		assert_int_equal(bpf_map_lookup_elem(svc_map("sl_svc_keys"), &at, &there), 0);
		if (there.value == SL_SERVICE_KEY_EMPTY) {
			svc_put("sl_svc_keys", at, &key);
			return;
		}
	}
	fail_msg("no place for a key");
}

void svc_put_backend(uint32_t index, const char *address, uint32_t ifindex, uint16_t mtu,
		     uint32_t flags)
{
	struct sl_backend backend = {
		.flags = flags,
		.ifindex = ifindex,
		.mtu = mtu,
		.next_hop = {2, 0, 0, 0, 1, 1},
		.from = {2, 0, 0, 0, 1, 0},
	};

	svc_address(backend.addr_be, address);
	backend.family = strchr(address, ':') ? SL_FAMILY_V6 : SL_FAMILY_V4;
	backend.next_hop[4] = (uint8_t)index;
	svc_put("sl_backends", SVC_BASE + index, &backend);
}

void svc_put_slot(uint32_t current, uint32_t previous, uint32_t phase)
{
	uint32_t word = SL_SLOT(current, previous, phase);

	svc_put("sl_slots", 0, &(struct sl_slot_line){{word}});
}

void svc_put_service(uint8_t affinity)
{
	struct sl_service service = {
		.flags = SL_SERVICE_LIVE,
		.forward = SL_FORWARD_IPIP,
		.affinity = affinity,
		.slot_count = 1,
		.backend_base = SVC_BASE,
		.backend_count = 8,
	};

	svc_put("sl_services", 0, &service);
}

void svc_clear_flows(void)
{
	struct sl_flow_line line = {0};

	for (uint32_t at = 0; at < SVC_LINES; at++)
		svc_put("sl_flows", at, &line);
}

static void open_object(void)
{
	struct sl_flow_conf conf = {
		.hash_keys = {0x1122334455667788, 0x99aabbccddeeff01, 0x2345678923456789,
			      0x3456789a3456789b, 0x456789ab456789ad, 0x56789abc56789abf},
		/* One unit of time lasts longer than the test. */
		.clock = {.fine_shift = 40,
			  .coarse_shift = 40,
			  .probation_fine = 94,
			  .idle_coarse = 73,
			  .closing_coarse = 8},
		.line_count = SVC_LINES,
		.key_count = KEYS,
	};
	struct sl_service_ranges ranges = {
		.count = 1,
		.ranges = {{.first = SVC_RANGE_PORT,
			    .last = SVC_RANGE_PORT + 9,
			    .protocol = IPPROTO_UDP}},
	};
	struct sl_service_state state = {.range_count = 1, .key_count = 6};

	object = xdp_main_bpf__open();
	assert_non_null(object);
	conf.outer4_be = htonl(0xac100000);
	conf.outer6_be[0] = htonl(0x01000000);
	memcpy((void *)&object->rodata->flow_conf, &conf, sizeof(conf));
	object->rodata->feature_steer = false;
	assert_int_equal(bpf_map__set_max_entries(object->maps.sl_flows, SVC_LINES), 0);
	assert_int_equal(bpf_map__set_max_entries(object->maps.sl_svc_keys, KEYS), 0);
	assert_int_equal(bpf_map__set_max_entries(object->maps.sl_slots, 64), 0);
	assert_int_equal(xdp_main_bpf__load(object), 0);
	svc_put("sl_svc_ranges", 0, &ranges);
	put_key(SVC_VIP4, 0, 0, SL_SERVICE_KEY_ADDRESS, 1);
	put_key(SVC_VIP6, 0, 0, SL_SERVICE_KEY_ADDRESS, 1);
	put_key(SVC_VIP4, SVC_PORT, IPPROTO_UDP, 1, 0);
	put_key(SVC_VIP4, SVC_PORT, IPPROTO_TCP, 1, 0);
	put_key(SVC_VIP6, SVC_PORT, IPPROTO_UDP, 1, 0);
	put_key(SVC_VIP6, SVC_PORT, IPPROTO_TCP, 1, 0);
	svc_put("sl_svc_state", 0, &state);
}

int svc_begin(void **state)
{
	env_require();
	if (!object)
		open_object();
	svc_put_service(SL_AFFINITY_FIVE_TUPLE);
	svc_put_backend(SVC_FIRST, "10.1.0.11", SVC_LO, 1500, SL_BACKEND_LIVE);
	svc_put_backend(SVC_SECOND, "10.1.0.12", SVC_LO, 1500, SL_BACKEND_LIVE);
	svc_put_slot(SVC_FIRST, SVC_FIRST, SL_PHASE_CLEAN);
	svc_clear_flows();
	svc_set_ingress("lo");
	return 0;
}

int svc_end(void **state)
{
	xdp_main_bpf__destroy(object);
	object = NULL;
	return 0;
}

uint64_t svc_count(const char *map, uint32_t key, uint64_t *ret_bytes)
{
	struct sl_counter counters[256] = {0};
	uint64_t packets = 0;

	assert_true(libbpf_num_possible_cpus() <= (int)ARRAY_SIZE(counters));
	assert_int_equal(bpf_map_lookup_elem(svc_map(map), &key, counters), 0);
	*ret_bytes = 0;
	for (size_t cpu = 0; cpu < ARRAY_SIZE(counters); cpu++) {
		packets += counters[cpu].packets;
		*ret_bytes += counters[cpu].bytes;
	}
	return packets;
}

void svc_set_ingress(const char *device)
{
	ingress = if_nametoindex(device);
	assert_true(ingress > 0);
}

int svc_run_bytes(const uint8_t *bytes, size_t len)
{
	struct xdp_md md = {.data_end = (uint32_t)len, .ingress_ifindex = ingress};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = bytes, .data_size_in = (uint32_t)len,
		    .data_out = svc_out.bytes, .data_size_out = sizeof(svc_out.bytes),
		    .ctx_in = &md, .ctx_size_in = sizeof(md), .repeat = 1);

	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(object->progs.sl_main), &opts), 0);
	svc_out.len = opts.data_size_out;
	return (int)opts.retval;
}

int svc_run_reason(const uint8_t *bytes, size_t len, const char **ret_reason)
{
	struct env_counters before, after;
	int verdict;

	env_read_packets(bpf_map__fd(object->maps.sl_counters), &before);
	verdict = svc_run_bytes(bytes, len);
	env_read_packets(bpf_map__fd(object->maps.sl_counters), &after);
	*ret_reason = env_moved(&before, &after);
	return verdict;
}

void svc_run(const struct frame *frame, int verdict, enum sl_reason reason)
{
	const char *moved;
	int got = svc_run_reason(frame->bytes, frame->len, &moved);

	if (got != verdict || strcmp(moved, env_reason_name(reason)))
		fail_msg("verdict %d for '%s', expected %d for '%s'", got, moved, verdict,
			 env_reason_name(reason));
}

static uint16_t get_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void expect_outer4(const uint8_t *outer, const struct frame *frame, size_t ip_len)
{
	const uint8_t *ip = frame->bytes + frame->ip_at;

	assert_int_equal(outer[0], 0x45);
	assert_int_equal(outer[1], ip[1]);
	assert_int_equal(get_u16(outer + 2), ip_len + 20);
	assert_int_equal(get_u16(outer + 4), get_u16(ip + 4));
	assert_int_equal(get_u16(outer + 6), get_u16(ip + 6) & 0x4000);
	assert_int_equal(outer[8], 64);
	assert_int_equal(outer[9], 4);
	assert_int_equal(get_u16(outer + 12), 0xac10); /* 172.16.0.0/16 */
}

static void expect_outer6(const uint8_t *outer, const struct frame *frame, size_t ip_len)
{
	static const uint8_t prefix[12] = {1}; /* of 100::/64, and what the test has set to zero */
	const uint8_t *ip = frame->bytes + frame->ip_at;
	unsigned int class = frame->is_v6 ? get_u16(ip) >> 4 & 0xff : ip[1];

	assert_int_equal(get_u16(outer) >> 4, 6 << 8 | class);
	assert_int_equal(get_u16(outer + 4), ip_len);
	assert_int_equal(outer[6], frame->is_v6 ? 41 : 4);
	assert_int_equal(outer[7], 64);
	assert_memory_equal(outer + 8, prefix, sizeof(prefix));
}

void svc_expect_outer(const struct frame *frame, const char *backend)
{
	bool is_v6 = strchr(backend, ':') != NULL;
	size_t outer_len = is_v6 ? 40 : 20, ip_len = frame->len - frame->ip_at;
	const uint8_t *outer = svc_out.bytes + frame->ip_at;
	struct packet_view view;
	uint8_t dst[16];

	assert_int_equal(svc_out.len, frame->len + outer_len);
	assert_memory_equal(outer + outer_len, frame->bytes + frame->ip_at, ip_len);
	assert_memory_equal(svc_out.bytes + 12, frame->bytes + 12, frame->ip_at - 14); /* tags */
	assert_int_equal(get_u16(outer - 2), is_v6 ? 0x86dd : 0x0800);
	if (is_v6)
		expect_outer6(outer, frame, ip_len);
	else
		expect_outer4(outer, frame, ip_len);
	svc_address(dst, backend);
	assert_memory_equal(outer + (is_v6 ? 24 : 16), dst, is_v6 ? 16 : 4);
	view = packet_view_frame(svc_out.bytes, svc_out.len);
	assert_int_equal(view.ip_at, frame->ip_at);
	assert_int_equal(packet_sum_header(svc_out.bytes, &view),
			 is_v6 ? PACKET_SUM_NONE : PACKET_SUM_RIGHT);
}
