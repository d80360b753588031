/*
 * The way to a backend whose next hop the kernel is asked for: routes, neighbours, MTUs.
 *
 *   lo │ sl_main │ hop-b 02:..:b0, 10.1.0.254/24, fd01::254/64 ── 10.1.0.11, fd01::11
 *                                                              └─ 10.1.0.1, fd01::1 ── the rest
 */
#include "tests/bpf/service_env.h"

#include <linux/bpf.h>
#include <netinet/in.h>

#include "tests/bpf/packet_sums.h"

/* The kernel forwards by the MTU of a route only where that is locked. */
static const char *const wires[] = {
	"ip link add hop-b address 02:00:00:00:00:b0 type veth peer name hop-b1",
	"ip link set hop-b up",
	"ip link set hop-b1 up",
	"ip address add 10.1.0.254/24 dev hop-b",
	"ip address add fd01::254/64 dev hop-b nodad",
	"ip neighbour add 10.1.0.11 lladdr 02:00:00:00:01:0b nud permanent dev hop-b",
	"ip neighbour add fd01::11 lladdr 02:00:00:00:06:0b nud permanent dev hop-b",
	"ip neighbour add 10.1.0.1 lladdr 02:00:00:00:01:01 nud permanent dev hop-b",
	"ip neighbour add fd01::1 lladdr 02:00:00:00:06:01 nud permanent dev hop-b",
	"ip route add 10.3.0.0/24 via 10.1.0.1",
	"ip route add 10.4.0.0/24 via 10.1.0.1 mtu lock 1400",
	"ip route add unreachable 10.5.0.0/24",
	"ip route add blackhole 10.6.0.0/24",
	"ip route add prohibit 10.7.0.0/24",
	"ip route add fd03::/64 via fd01::1",
	"ip route add fd04::/64 via fd01::1 mtu lock 1400",
	"ip route add unreachable fd05::/64",
	"echo 1 >/proc/sys/net/ipv4/ip_forward",
	"echo 1 >/proc/sys/net/ipv6/conf/all/forwarding",
};

static bool is_wired;
static struct frame frame;
static const uint8_t own_mac[] = {2, 0, 0, 0, 0, 0xb0};

static int setup(void **state)
{
	if (env_setup(state))
		return -1;
	is_wired = true;
	for (size_t i = 0; i < ARRAY_SIZE(wires) && is_wired; i++)
		if (env_command(wires[i])) {
			print_error("failed: %s\n", wires[i]);
			is_wired = false;
		}
	return 0;
}

static int begin(void **state)
{
	(void)svc_begin(state);
	assert_true(is_wired);
	return 0;
}

static void build(bool is_v6, size_t payload_bytes)
{
	frame_eth(&frame);
	if (is_v6)
		frame_ip6(&frame, SVC_CLIENT6, SVC_VIP6);
	else
		frame_ip4(&frame, SVC_CLIENT4, SVC_VIP4, 0, 0x4000);
	frame_udp(&frame, SVC_PORT, payload_bytes);
	frame_end(&frame);
	packet_sums_seal(frame.bytes, frame.len);
}

/* The kernel is asked for its way. */
static void put_backend(const char *address)
{
	svc_put_backend(SVC_FIRST, address, 0, 0, SL_BACKEND_LIVE);
}

static void expect_sent(int verdict, const char *backend, const uint8_t *next_hop)
{
	svc_run(&frame, verdict, SL_REASON_SERVICE);
	svc_expect_outer(&frame, backend);
	assert_memory_equal(svc_out.bytes, next_hop, 6);
	assert_memory_equal(svc_out.bytes + 6, own_mac, sizeof(own_mac));
}

static const struct {
	const char *backend;
	bool is_v6; /* the client */
	uint8_t next_hop[6];
} ways[] = {
	{"10.1.0.11", false, {2, 0, 0, 0, 1, 0x0b}}, {"fd01::11", true, {2, 0, 0, 0, 6, 0x0b}},
	{"fd01::11", false, {2, 0, 0, 0, 6, 0x0b}},  {"10.3.0.9", false, {2, 0, 0, 0, 1, 1}},
	{"fd03::9", true, {2, 0, 0, 0, 6, 1}},	     {"fd03::9", false, {2, 0, 0, 0, 6, 1}},
};

static void test_frame_goes_to_the_next_hop_of_the_route(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		put_backend(ways[i].backend);
		build(ways[i].is_v6, 100);
		svc_set_ingress("lo");
		expect_sent(XDP_REDIRECT, ways[i].backend, ways[i].next_hop);
		svc_set_ingress("hop-b"); /* back by the wire that it came in by */
		expect_sent(XDP_TX, ways[i].backend, ways[i].next_hop);
	}
}

static void expect_refused(const char *backend, bool is_v6, enum sl_reason reason)
{
	put_backend(backend);
	build(is_v6, 100);
	svc_run(&frame, XDP_DROP, reason);
	assert_int_equal(svc_out.len, frame.len);
	assert_memory_equal(svc_out.bytes, frame.bytes, frame.len);
}

static void test_without_a_way_the_packet_is_dropped_as_it_came(void **state)
{
	static const char *const nowhere[] = {"10.5.0.1", "10.6.0.1", "10.7.0.1", "10.99.0.1"};
	static const char *const nowhere6[] = {"fd05::1", "fd99::1"};

	for (size_t i = 0; i < ARRAY_SIZE(nowhere); i++)
		expect_refused(nowhere[i], false, SL_REASON_SERVICE_NO_ROUTE);
	for (size_t i = 0; i < ARRAY_SIZE(nowhere6); i++) {
		expect_refused(nowhere6[i], true, SL_REASON_SERVICE_NO_ROUTE);
		expect_refused(nowhere6[i], false, SL_REASON_SERVICE_NO_ROUTE);
	}
	expect_refused("10.1.0.254", false, SL_REASON_SERVICE_NO_ROUTE); /* our own address */
}

static void test_unknown_neighbour_has_a_reason_of_its_own(void **state)
{
	expect_refused("10.1.0.99", false, SL_REASON_SERVICE_NO_NEIGH);
	expect_refused("fd01::99", true, SL_REASON_SERVICE_NO_NEIGH);
	expect_refused("fd01::99", false, SL_REASON_SERVICE_NO_NEIGH);
}

/* The largest that fits leaves, one byte more is answered with what would have fitted. */
static void expect_mtu(const char *backend, bool is_v6, size_t mtu)
{
	size_t header = is_v6 ? 40 : 20;

	put_backend(backend);
	build(is_v6, mtu - header - 8);
	svc_run(&frame, XDP_REDIRECT, SL_REASON_SERVICE);
	svc_expect_outer(&frame, backend);
	build(is_v6, mtu - header - 7);
	svc_run(&frame, XDP_TX, SL_REASON_SERVICE_TOO_BIG);
	assert_int_equal(svc_out.bytes[14 + header + 6] << 8 | svc_out.bytes[14 + header + 7], mtu);
	assert_null(packet_sums_wrong(svc_out.bytes, svc_out.len));
}

static void test_mtu_of_device_and_route_count_less_the_outer_header(void **state)
{
	expect_mtu("10.1.0.11", false, 1500 - 20);
	expect_mtu("fd01::11", true, 1500 - 40);
	expect_mtu("fd01::11", false, 1500 - 40);
	expect_mtu("10.4.0.9", false, 1400 - 20);
	expect_mtu("fd04::9", true, 1400 - 40);
	expect_mtu("fd04::9", false, 1400 - 40);
	assert_int_equal(env_command("ip link set hop-b mtu 9000"), 0);
	expect_mtu("10.1.0.11", false, 9000 - 20);
	assert_int_equal(env_command("ip link set hop-b mtu 1500"), 0);
}

static void test_way_follows_the_kernels_tables_at_once(void **state)
{
	static const uint8_t moved[] = {2, 0, 0, 0, 1, 0xee};

	put_backend("10.1.0.11");
	build(false, 20);
	assert_int_equal(env_command("ip neighbour replace 10.1.0.11 lladdr 02:00:00:00:01:ee "
				     "nud permanent dev hop-b"),
			 0);
	expect_sent(XDP_REDIRECT, "10.1.0.11", moved);
	assert_int_equal(env_command("ip neighbour replace 10.1.0.11 lladdr 02:00:00:00:01:0b "
				     "nud permanent dev hop-b"),
			 0);
	expect_sent(XDP_REDIRECT, "10.1.0.11", ways[0].next_hop);
}

static void test_node_that_does_not_forward_drops(void **state)
{
	assert_int_equal(env_command("echo 0 >/proc/sys/net/ipv4/ip_forward"), 0);
	expect_refused("10.1.0.11", false, SL_REASON_SERVICE_NO_ROUTE);
	assert_int_equal(env_command("echo 1 >/proc/sys/net/ipv4/ip_forward"), 0);
	assert_int_equal(env_command("echo 0 >/proc/sys/net/ipv6/conf/all/forwarding"), 0);
	expect_refused("fd01::11", true, SL_REASON_SERVICE_NO_ROUTE);
	assert_int_equal(env_command("echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"), 0);
	put_backend("10.1.0.11");
	build(false, 20);
	expect_sent(XDP_REDIRECT, "10.1.0.11", ways[0].next_hop);
}

/* The tunnel is one hop of the client's path to the backend, and counts as none. */
static void test_inner_ttl_is_left_alone_whatever_it_is(void **state)
{
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		put_backend(is_v6 ? "fd01::11" : "10.1.0.11");
		for (unsigned int ttl = 0; ttl < 256; ttl++) {
			build(is_v6, 20);
			frame.bytes[frame.ip_at + (is_v6 ? 7 : 8)] = (uint8_t)ttl;
			packet_sums_seal(frame.bytes, frame.len);
			svc_run(&frame, XDP_REDIRECT, SL_REASON_SERVICE);
			svc_expect_outer(&frame, is_v6 ? "fd01::11" : "10.1.0.11");
		}
	}
}

static void build_fragment(bool is_v6, uint16_t number, bool is_later, uint8_t client)
{
	size_t at;

	frame_eth(&frame);
	if (is_v6) {
		frame_ip6(&frame, SVC_CLIENT6, SVC_VIP6);
		at = frame.len;
		frame_ip6_fragment(&frame, is_later ? 24 : 0, !is_later);
		frame.bytes[at + 6] = (uint8_t)(number >> 8);
		frame.bytes[at + 7] = (uint8_t)number;
		frame.bytes[frame.ip_at + 23] = client;
	} else {
		frame_ip4(&frame, SVC_CLIENT4, SVC_VIP4, 0, is_later ? 24 / 8 : FRAME_MORE);
		frame.bytes[frame.ip_at + 4] = (uint8_t)(number >> 8);
		frame.bytes[frame.ip_at + 5] = (uint8_t)number;
		frame.bytes[frame.ip_at + 15] = client;
	}
	if (is_later) {
		frame_protocol(&frame, IPPROTO_UDP);
		frame_payload(&frame, 24);
	} else {
		frame_udp(&frame, SVC_PORT, 16);
	}
	frame_end(&frame);
	packet_sums_seal(frame.bytes, frame.len);
}

static void test_fragments_follow_their_first_and_no_other(void **state)
{
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		const char *backend = is_v6 ? "fd01::11" : "10.1.0.11";

		put_backend(backend);
		svc_put_backend(SVC_SECOND, is_v6 ? "fd03::9" : "10.3.0.9", 0, 0, SL_BACKEND_LIVE);
		svc_put_slot(SVC_FIRST, SVC_FIRST, SL_PHASE_CLEAN);
		build_fragment(is_v6, 700, true, 7);
		svc_run(&frame, XDP_DROP, SL_REASON_SERVICE_FRAGMENT);
		build_fragment(is_v6, 700, false, 7);
		svc_run(&frame, XDP_REDIRECT, SL_REASON_SERVICE);
		svc_expect_outer(&frame, backend);
		/* The slot moves between the two, as at a drain. */
		svc_put_slot(SVC_SECOND, SVC_SECOND, SL_PHASE_CLEAN);
		build_fragment(is_v6, 700, true, 7);
		svc_run(&frame, XDP_REDIRECT, SL_REASON_SERVICE);
		svc_expect_outer(&frame, backend);
		build_fragment(is_v6, 701, true, 7); /* another datagram */
		svc_run(&frame, XDP_DROP, SL_REASON_SERVICE_FRAGMENT);
		build_fragment(is_v6, 700, true, 8); /* another client */
		svc_run(&frame, XDP_DROP, SL_REASON_SERVICE_FRAGMENT);
	}
	build_fragment(false, 700, true, 7); /* of another protocol, with a number of its own */
	frame.bytes[frame.ip_at + 9] = IPPROTO_TCP;
	svc_run(&frame, XDP_DROP, SL_REASON_SERVICE_FRAGMENT);
}

static void test_too_big_fragment_is_dropped_and_a_big_first_one_of_ipv6_answered(void **state)
{
	for (int is_v6 = 0; is_v6 < 2; is_v6++) {
		put_backend(is_v6 ? "fd04::9" : "10.4.0.9");
		build_fragment(is_v6, 900, false, 9);
		svc_run(&frame, XDP_REDIRECT, SL_REASON_SERVICE);
		build_fragment(is_v6, 900, true, 9);
		frame_payload(&frame, 1400);
		frame_end(&frame);
		packet_sums_seal(frame.bytes, frame.len);
		svc_run(&frame, XDP_DROP, SL_REASON_SERVICE_TOO_BIG_DROP);
	}
	build_fragment(true, 901, false, 9);
	frame_payload(&frame, 1400);
	frame_end(&frame);
	svc_run(&frame, XDP_TX, SL_REASON_SERVICE_TOO_BIG);
	assert_null(packet_sums_wrong(svc_out.bytes, svc_out.len));
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_frame_goes_to_the_next_hop_of_the_route),
		TEST(test_without_a_way_the_packet_is_dropped_as_it_came),
		TEST(test_unknown_neighbour_has_a_reason_of_its_own),
		TEST(test_mtu_of_device_and_route_count_less_the_outer_header),
		TEST(test_way_follows_the_kernels_tables_at_once),
		TEST(test_node_that_does_not_forward_drops),
		TEST(test_inner_ttl_is_left_alone_whatever_it_is),
		TEST(test_fragments_follow_their_first_and_no_other),
		TEST(test_too_big_fragment_is_dropped_and_a_big_first_one_of_ipv6_answered),
	};

	return cmocka_run_group_tests(tests, setup, svc_end);
}
