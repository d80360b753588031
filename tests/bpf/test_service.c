/*
 * The service stage of sl_main: golden packets in and out, counters, each truncation, and each rule
 * of the phases of slots. Checksums are verified by code of the test's own.
 */
#include "tests/bpf/service_env.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <netinet/in.h>

#include "base/util.h"

#define ROUTER4	  "203.0.113.1"
#define ROUTER6	  "2001:db8:2::1"
#define ELSEWHERE 77 /* another interface */

static struct frame frame;

static uint16_t get_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static uint32_t sum_of(const uint8_t *bytes, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += (uint32_t)bytes[i] << (i % 2 ? 0 : 8);
	return sum;
}

/* RFC 1071. 0: right, when the checksum is among what was summed. */
static uint16_t sum_finish(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static bool sum_is_right(uint32_t sum)
{
	return sum_finish(sum) == 0;
}

/* Of ICMPv6: address words, length and protocol first (RFC 8200 8.1). */
static uint32_t sum_pseudo6(const uint8_t *ip)
{
	return sum_of(ip + 8, 32, get_u16(ip + 4) + 58U);
}

static void run(int verdict, enum sl_reason reason)
{
	svc_run(&frame, verdict, reason);
}

static void make(const char *src, const char *dst, uint8_t protocol, uint8_t flags,
		 size_t payload_bytes, uint16_t ip4_fragment)
{
	frame_eth(&frame);
	if (strchr(src, ':'))
		frame_ip6(&frame, src, dst);
	else
		frame_ip4(&frame, src, dst, 0, ip4_fragment);
	if (protocol == IPPROTO_UDP) {
		frame_udp(&frame, SVC_PORT, payload_bytes);
	} else {
		frame_tcp(&frame, SVC_PORT, flags, 0);
		frame_payload(&frame, payload_bytes);
	}
	frame_end(&frame);
}

/* Also that it went to the next hop that svc_put_backend() gave it. */
static void expect_encapsulated(const char *backend, uint32_t index)
{
	svc_expect_outer(&frame, backend);
	assert_int_equal(svc_out.bytes[4], index); /* next hop */
	assert_int_equal(svc_out.bytes[10], 1);	   /* from */
}

static void test_packet_goes_to_the_backend_of_its_slot_in_4in4(void **state)
{
	uint64_t bytes, bytes_before, packets = svc_count("sl_svc_counts", 0, &bytes_before);
	uint64_t backend_bytes, backend_before;
	uint64_t backend = svc_count("sl_be_counts", SVC_BASE + SVC_FIRST, &backend_before);

	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_UDP, 0, 30, 0x4000);
	frame.bytes[frame.ip_at + 1] = 0xb9; /* DSCP EF, ECT(1) */
	run(XDP_TX, SL_REASON_SERVICE);
	expect_encapsulated("10.1.0.11", SVC_FIRST);
	assert_int_equal(svc_count("sl_svc_counts", 0, &bytes), packets + 1);
	assert_int_equal(bytes, bytes_before + frame.len);
	assert_int_equal(svc_count("sl_be_counts", SVC_BASE + SVC_FIRST, &backend_bytes),
			 backend + 1);
	assert_int_equal(backend_bytes, backend_before + frame.len);
}

static uint64_t count_drops(enum sl_reason reason)
{
	struct sl_service_drops drops[256] = {0};
	uint64_t packets = 0;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(svc_map("sl_svc_drops"), &zero, drops), 0);
	for (size_t cpu = 0; cpu < ARRAY_SIZE(drops); cpu++)
		packets += drops[cpu].packets[SL_SERVICE_DROP(reason)];
	return packets;
}

static void test_drops_are_counted_with_their_service_by_reason(void **state)
{
	uint64_t family = count_drops(SL_REASON_SERVICE_FAMILY);
	uint64_t none = count_drops(SL_REASON_SERVICE_NO_BACKEND);
	uint64_t bytes, packets = svc_count("sl_svc_counts", 0, &bytes);

	make(SVC_CLIENT6, SVC_VIP6, IPPROTO_TCP, FRAME_TCP_ACK, 10, 0);
	run(XDP_DROP, SL_REASON_SERVICE_FAMILY);
	assert_int_equal(count_drops(SL_REASON_SERVICE_FAMILY), family + 1);
	svc_put_slot(0, 0, SL_PHASE_CLEAN);
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_UDP, 0, 30, 0);
	run(XDP_DROP, SL_REASON_SERVICE_NO_BACKEND);
	run(XDP_DROP, SL_REASON_SERVICE_NO_BACKEND);
	assert_int_equal(count_drops(SL_REASON_SERVICE_NO_BACKEND), none + 2);
	assert_int_equal(count_drops(SL_REASON_SERVICE_FAMILY), family + 1);
	assert_int_equal(svc_count("sl_svc_counts", 0, &bytes), packets);
	/* What goes through is no drop. */
	svc_put_slot(SVC_FIRST, SVC_FIRST, SL_PHASE_CLEAN);
	run(XDP_TX, SL_REASON_SERVICE);
	assert_int_equal(count_drops(SL_REASON_SERVICE), 0);
}

static void test_packet_goes_in_4in6_and_6in6_and_never_in_6in4(void **state)
{
	make(SVC_CLIENT6, SVC_VIP6, IPPROTO_TCP, FRAME_TCP_ACK, 10, 0);
	run(XDP_DROP, SL_REASON_SERVICE_FAMILY);
	svc_put_backend(SVC_FIRST, "fd01::11", SVC_LO, 1500, SL_BACKEND_LIVE);
	run(XDP_TX, SL_REASON_SERVICE);
	expect_encapsulated("fd01::11", SVC_FIRST);
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_TCP, FRAME_TCP_ACK, 10, 0);
	run(XDP_TX, SL_REASON_SERVICE);
	expect_encapsulated("fd01::11", SVC_FIRST);
}

static void test_tags_and_options_go_along(void **state)
{
	static const uint16_t tags[] = {0x88a8, 0x8100};

	for (size_t count = 0; count <= ARRAY_SIZE(tags); count++) {
		frame_eth(&frame);
		for (size_t nth = 0; nth < count; nth++)
			frame_vlan(&frame, tags[ARRAY_SIZE(tags) - count + nth]);
		frame_ip4(&frame, SVC_CLIENT4, SVC_VIP4, 12, 0);
		frame_udp(&frame, SVC_PORT, 5);
		frame_end(&frame);
		run(XDP_TX, SL_REASON_SERVICE);
		expect_encapsulated("10.1.0.11", SVC_FIRST);
	}
}

static void test_another_interface_is_reached_by_redirect(void **state)
{
	svc_put_backend(SVC_FIRST, "10.1.0.11", ELSEWHERE, 1500, SL_BACKEND_LIVE);
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_UDP, 0, 5, 0);
	run(XDP_REDIRECT, SL_REASON_SERVICE);
	expect_encapsulated("10.1.0.11", SVC_FIRST);
}

static void test_other_ports_and_addresses_pass(void **state)
{
	static const char *const to[] = {"192.0.2.54", SVC_VIP4};

	for (size_t i = 0; i < ARRAY_SIZE(to); i++) {
		frame_eth(&frame);
		frame_ip4(&frame, SVC_CLIENT4, to[i], 0, 0);
		frame_udp(&frame, i ? SVC_PORT + 1 : SVC_PORT, 5);
		frame_end(&frame);
		run(XDP_PASS, SL_REASON_PASS);
		assert_int_equal(svc_out.len, frame.len);
		assert_memory_equal(svc_out.bytes, frame.bytes, frame.len);
	}
}

static void test_range_serves_its_ports_and_protocol_only(void **state)
{
	static const struct {
		uint16_t port;
		bool is_udp, is_served;
	} rows[] = {
		{SVC_RANGE_PORT, true, true},	   {SVC_RANGE_PORT + 9, true, true},
		{SVC_RANGE_PORT - 1, true, false}, {SVC_RANGE_PORT + 10, true, false},
		{SVC_RANGE_PORT, false, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		frame_eth(&frame);
		frame_ip4(&frame, SVC_CLIENT4, SVC_VIP4, 0, 0);
		if (rows[i].is_udp)
			frame_udp(&frame, rows[i].port, 5);
		else
			frame_tcp(&frame, rows[i].port, FRAME_TCP_ACK, 0);
		frame_end(&frame);
		if (rows[i].is_served)
			run(XDP_TX, SL_REASON_SERVICE);
		else
			run(XDP_PASS, SL_REASON_PASS);
	}
}

static void test_slot_without_a_live_backend_drops(void **state)
{
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_UDP, 0, 5, 0);
	svc_put_slot(0, 0, SL_PHASE_CLEAN);
	run(XDP_DROP, SL_REASON_SERVICE_NO_BACKEND);
	svc_put_slot(5, 5, SL_PHASE_CLEAN); /* no record there */
	run(XDP_DROP, SL_REASON_SERVICE_NO_BACKEND);
}

static void test_backend_without_a_route_drops(void **state)
{
	svc_put_backend(SVC_FIRST, "10.1.0.11", 0, 0, SL_BACKEND_LIVE);
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_UDP, 0, 5, 0);
	run(XDP_DROP, SL_REASON_SERVICE_NO_ROUTE);
}

static void test_too_big_packet_is_answered_with_the_mtu(void **state)
{
	const uint8_t *ip = svc_out.bytes + 14;
	uint8_t address[16];

	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_TCP, FRAME_TCP_ACK, 1441, 0x4000); /* 1,481 bytes */
	run(XDP_TX, SL_REASON_SERVICE_TOO_BIG);
	assert_int_equal(svc_out.len, 14 + 20 + 8 + 68);
	assert_memory_equal(svc_out.bytes, frame.bytes + 6, 6);
	assert_memory_equal(svc_out.bytes + 6, frame.bytes, 6);
	assert_int_equal(get_u16(ip + 2), svc_out.len - 14);
	assert_true(sum_is_right(sum_of(ip, 20, 0)));
	svc_address(address, SVC_VIP4);
	assert_memory_equal(ip + 12, address, 4);
	svc_address(address, SVC_CLIENT4);
	assert_memory_equal(ip + 16, address, 4);
	assert_int_equal(ip[20], 3);
	assert_int_equal(ip[21], 4);
	assert_int_equal(get_u16(ip + 26), 1480);
	assert_true(sum_is_right(sum_of(ip + 20, 8 + 68, 0)));
	assert_memory_equal(ip + 28, frame.bytes + 14, 68);

	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_TCP, FRAME_TCP_ACK, 1441, 0);
	run(XDP_DROP, SL_REASON_SERVICE_TOO_BIG_DROP); /* may be fragmented, but not by us */
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_TCP, FRAME_TCP_ACK, 1440, 0x4000);
	run(XDP_TX, SL_REASON_SERVICE);
}

static void test_too_big_ipv6_packet_is_answered_with_the_mtu(void **state)
{
	const uint8_t *ip = svc_out.bytes + 14;

	svc_put_backend(SVC_FIRST, "fd01::11", SVC_LO, 1500, SL_BACKEND_LIVE);
	make(SVC_CLIENT6, SVC_VIP6, IPPROTO_TCP, FRAME_TCP_ACK, 1401, 0); /* 1,461 bytes */
	run(XDP_TX, SL_REASON_SERVICE_TOO_BIG);
	assert_int_equal(svc_out.len, 14 + 40 + 8 + 448);
	assert_int_equal(get_u16(ip + 4), 8 + 448);
	assert_int_equal(ip[6], 58);
	assert_memory_equal(ip + 8, frame.bytes + 14 + 24, 16);
	assert_memory_equal(ip + 24, frame.bytes + 14 + 8, 16);
	assert_int_equal(ip[40], 2);
	assert_int_equal(get_u16(ip + 46), 1460);
	assert_true(sum_is_right(sum_of(ip + 40, 8 + 448, sum_pseudo6(ip))));
	assert_memory_equal(ip + 48, frame.bytes + 14, 448);
}

static void make_ping(bool is_v6)
{
	size_t at;
	uint16_t sum;

	frame_eth(&frame);
	if (is_v6)
		frame_ip6(&frame, SVC_CLIENT6, SVC_VIP6);
	else
		frame_ip4(&frame, SVC_CLIENT4, SVC_VIP4, 8, 0);
	at = frame.len;
	frame_icmp(&frame);
	frame_payload(&frame, 40);
	memcpy(frame.bytes + at + 12, "what comes back", 15);
	frame_end(&frame);
	sum = sum_finish(sum_of(frame.bytes + at, frame.len - at,
				is_v6 ? sum_pseudo6(frame.bytes + 14) : 0));
	frame.bytes[at + 2] = (uint8_t)(sum >> 8);
	frame.bytes[at + 3] = (uint8_t)sum;
	if (!is_v6) {
		frame.bytes[14 + 8] = 9; /* TTL */
		sum = sum_finish(sum_of(frame.bytes + 14, 28, 0));
		frame.bytes[14 + 10] = (uint8_t)(sum >> 8);
		frame.bytes[14 + 11] = (uint8_t)sum;
	}
}

static void test_ping_to_a_service_address_is_answered(void **state)
{
	const uint8_t *ip = svc_out.bytes + 14;

	make_ping(false);
	run(XDP_TX, SL_REASON_SERVICE_PING);
	assert_int_equal(svc_out.len, frame.len);
	assert_true(sum_is_right(sum_of(ip, 28, 0)));
	assert_true(sum_is_right(sum_of(ip + 28, svc_out.len - 42, 0)));
	assert_int_equal(ip[8], 64);
	assert_int_equal(ip[28], 0);
	assert_memory_equal(ip + 12, frame.bytes + 14 + 16, 4);
	assert_memory_equal(ip + 16, frame.bytes + 14 + 12, 4);
	assert_memory_equal(ip + 32, frame.bytes + 14 + 32, svc_out.len - 46);

	make_ping(true);
	run(XDP_TX, SL_REASON_SERVICE_PING);
	assert_true(sum_is_right(sum_of(ip + 40, svc_out.len - 54, sum_pseudo6(ip))));
	assert_int_equal(ip[40], 129);
	assert_memory_equal(ip + 8, frame.bytes + 14 + 24, 16);
	assert_memory_equal(ip + 24, frame.bytes + 14 + 8, 16);
	assert_memory_equal(svc_out.bytes, frame.bytes + 6, 6);
}

/* A router says that what the service sent to its client was too big. */
static void make_error(bool is_v6, const char *sender)
{
	struct frame about;
	size_t at;

	frame_eth(&about);
	if (is_v6)
		frame_ip6(&about, sender, SVC_CLIENT6);
	else
		frame_ip4(&about, sender, SVC_CLIENT4, 0, 0);
	frame_udp(&about, SVC_CLIENT_PORT, 20);
	frame_end(&about);
	about.bytes[about.udp_at] = SVC_PORT >> 8;
	about.bytes[about.udp_at + 1] = SVC_PORT & 0xff;
	frame_eth(&frame);
	if (is_v6)
		frame_ip6(&frame, ROUTER6, SVC_VIP6);
	else
		frame_ip4(&frame, ROUTER4, SVC_VIP4, 0, 0);
	at = frame.len;
	frame_protocol(&frame, is_v6 ? 58 : 1);
	frame_payload(&frame, 8 + (about.len - 14));
	frame.bytes[at] = is_v6 ? 2 : 3;
	frame.bytes[at + 1] = is_v6 ? 0 : 4;
	memcpy(frame.bytes + at + 8, about.bytes + 14, about.len - 14);
	frame_end(&frame);
}

static void test_icmp_error_follows_the_flow_that_it_is_about(void **state)
{
	make_error(false, SVC_VIP4);
	run(XDP_TX, SL_REASON_SERVICE_ICMP);
	expect_encapsulated("10.1.0.11", SVC_FIRST);
	make_error(false, "192.0.2.54"); /* about a packet that another address sent */
	run(XDP_PASS, SL_REASON_PASS);

	/* The client's flow is listed with the second backend: so is the error. */
	svc_put_slot(SVC_SECOND, SVC_FIRST, SL_PHASE_RECORD);
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_UDP, 0, 5, 0);
	run(XDP_TX, SL_REASON_SERVICE);
	expect_encapsulated("10.1.0.11", SVC_FIRST);
	svc_put_slot(SVC_SECOND, SVC_SECOND, SL_PHASE_LISTED);
	make_error(false, SVC_VIP4);
	run(XDP_TX, SL_REASON_SERVICE_ICMP);
	expect_encapsulated("10.1.0.11", SVC_FIRST);

	svc_put_backend(SVC_SECOND, "fd01::12", SVC_LO, 1500, SL_BACKEND_LIVE);
	make_error(true, SVC_VIP6);
	run(XDP_TX, SL_REASON_SERVICE_ICMP);
	expect_encapsulated("fd01::12", SVC_SECOND);
}

static void make_fragment(uint16_t id, uint16_t offset_bytes, bool more)
{
	frame_eth(&frame);
	frame_ip4(&frame, SVC_CLIENT4, SVC_VIP4, 0,
		  (uint16_t)(offset_bytes / 8 | (more ? FRAME_MORE : 0)));
	if (offset_bytes) {
		frame_protocol(&frame, IPPROTO_UDP);
		frame_payload(&frame, 24);
	} else {
		frame_udp(&frame, SVC_PORT, 16);
	}
	frame_end(&frame);
	frame.bytes[frame.ip_at + 4] = (uint8_t)(id >> 8);
	frame.bytes[frame.ip_at + 5] = (uint8_t)id;
}

static void test_later_fragment_follows_its_first(void **state)
{
	make_fragment(7, 24, false);
	run(XDP_DROP, SL_REASON_SERVICE_FRAGMENT);
	make_fragment(7, 0, true);
	run(XDP_TX, SL_REASON_SERVICE);
	svc_put_slot(SVC_SECOND, SVC_SECOND, SL_PHASE_CLEAN);
	make_fragment(7, 24, false);
	run(XDP_TX, SL_REASON_SERVICE);
	expect_encapsulated("10.1.0.11", SVC_FIRST);
	make_fragment(8, 24, false);
	run(XDP_DROP, SL_REASON_SERVICE_FRAGMENT);
}

static void test_truncated_packet_is_never_forwarded(void **state)
{
	for (int kind = 0; kind < 6; kind++) {
		if (kind == 2)
			make_ping(false);
		else if (kind == 3)
			make_ping(true);
		else if (kind >= 4)
			make_error(kind == 5, kind == 5 ? SVC_VIP6 : SVC_VIP4);
		else if (kind)
			make(SVC_CLIENT6, SVC_VIP6, IPPROTO_UDP, 0, 40, 0);
		else
			make(SVC_CLIENT4, SVC_VIP4, IPPROTO_TCP, FRAME_TCP_ACK, 40, 0);
		/* The kernel runs no frame shorter than an Ethernet header. */
		for (size_t len = 14; len < frame.len; len++) {
			int verdict = svc_run_bytes(frame.bytes, len);

			if (verdict != XDP_DROP)
				print_error("kind %d, %zu of %zu bytes\n", kind, len, frame.len);
			assert_int_equal(verdict, XDP_DROP);
		}
	}
}

static uint64_t only_entry(void)
{
	uint64_t found = 0;

	for (uint32_t at = 0; at < SVC_LINES; at++) {
		struct sl_flow_line line;

		assert_int_equal(bpf_map_lookup_elem(svc_map("sl_flows"), &at, &line), 0);
		for (size_t way = 0; way < SL_FLOW_WAYS; way++) {
			if (!line.entries[way])
				continue;
			assert_int_equal(found, 0);
			found = line.entries[way];
		}
	}
	return found;
}

/* Phase x SYN, of a flow that is not listed: where it goes, and as what it is listed. */
static void test_each_phase_sends_and_lists_who_is_not_listed(void **state)
{
	static const struct {
		uint32_t phase;
		uint8_t flags;
		uint32_t index;
		int listed; /* enum sl_flow_state, -1: not */
	} rows[] = {
		{SL_PHASE_CLEAN, FRAME_TCP_SYN, SVC_SECOND, -1},
		{SL_PHASE_CLEAN, FRAME_TCP_ACK, SVC_SECOND, -1},
		{SL_PHASE_SPLIT, FRAME_TCP_SYN, SVC_SECOND, SL_FLOW_PROBATION},
		{SL_PHASE_SPLIT, FRAME_TCP_ACK, SVC_FIRST, -1},
		{SL_PHASE_SPLIT, FRAME_TCP_SYN | FRAME_TCP_ACK, SVC_FIRST, -1},
		{SL_PHASE_RECORD, FRAME_TCP_SYN, SVC_SECOND, SL_FLOW_PROBATION},
		{SL_PHASE_RECORD, FRAME_TCP_ACK, SVC_FIRST, SL_FLOW_OLD},
		{SL_PHASE_LISTED, FRAME_TCP_SYN, SVC_SECOND, -1},
		{SL_PHASE_LISTED, FRAME_TCP_ACK, SVC_SECOND, -1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		svc_clear_flows();
		svc_put_slot(SVC_SECOND, SVC_FIRST, rows[i].phase);
		make(SVC_CLIENT4, SVC_VIP4, IPPROTO_TCP, rows[i].flags, 0, 0);
		run(XDP_TX, SL_REASON_SERVICE);
		uint64_t entry = only_entry();
		if (svc_out.bytes[4] != rows[i].index || !entry != (rows[i].listed < 0))
			print_error("row %zu\n", i);
		assert_int_equal(svc_out.bytes[4], rows[i].index);
		assert_int_equal(!entry, rows[i].listed < 0);
		if (!entry)
			continue;
		assert_int_equal(SL_FLOW_STATE(entry), rows[i].listed);
		assert_int_equal(SL_FLOW_BACKEND(entry), SVC_BASE + rows[i].index);
	}
}

static void send_tcp(uint8_t flags, uint32_t index)
{
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_TCP, flags, 0, 0);
	run(XDP_TX, SL_REASON_SERVICE);
	assert_int_equal(svc_out.bytes[4], index);
}

static void test_listed_flow_stays_through_the_phases(void **state)
{
	svc_put_slot(SVC_SECOND, SVC_FIRST, SL_PHASE_RECORD);
	send_tcp(FRAME_TCP_ACK, SVC_FIRST);
	assert_int_equal(SL_FLOW_STATE(only_entry()), SL_FLOW_OLD);
	send_tcp(FRAME_TCP_ACK, SVC_FIRST);
	assert_int_equal(SL_FLOW_STATE(only_entry()), SL_FLOW_ESTABLISHED);
	svc_put_slot(SVC_SECOND, SVC_SECOND, SL_PHASE_LISTED);
	send_tcp(FRAME_TCP_ACK, SVC_FIRST);
	send_tcp(0x11, SVC_FIRST); /* FIN, ACK */
	assert_int_equal(SL_FLOW_STATE(only_entry()), SL_FLOW_CLOSING);
	send_tcp(0x04, SVC_FIRST); /* RST changes nothing but that it is no FIN */
	assert_int_equal(SL_FLOW_STATE(only_entry()), SL_FLOW_ESTABLISHED);
}

static void test_new_connection_leaves_the_table_when_it_is_where_all_go(void **state)
{
	svc_put_slot(SVC_SECOND, SVC_FIRST, SL_PHASE_SPLIT);
	send_tcp(FRAME_TCP_SYN, SVC_SECOND);
	send_tcp(FRAME_TCP_SYN, SVC_SECOND);
	assert_int_equal(SL_FLOW_STATE(only_entry()), SL_FLOW_PROBATION);
	send_tcp(FRAME_TCP_ACK, SVC_SECOND);
	assert_int_equal(SL_FLOW_STATE(only_entry()), SL_FLOW_ESTABLISHED);
	svc_put_slot(SVC_SECOND, SVC_SECOND, SL_PHASE_LISTED);
	send_tcp(FRAME_TCP_ACK, SVC_SECOND);
	assert_int_equal(only_entry(), 0);
}

static void test_flow_of_a_dead_backend_goes_to_current(void **state)
{
	svc_put_slot(SVC_SECOND, SVC_FIRST, SL_PHASE_RECORD);
	send_tcp(FRAME_TCP_ACK, SVC_FIRST);
	svc_put_backend(SVC_FIRST, "10.1.0.11", SVC_LO, 1500, SL_BACKEND_LIVE | SL_BACKEND_DEAD);
	send_tcp(FRAME_TCP_ACK, SVC_SECOND);
	assert_int_equal(SL_FLOW_BACKEND(only_entry()), SVC_BASE + SVC_SECOND);
	svc_clear_flows();
	send_tcp(FRAME_TCP_ACK, SVC_SECOND); /* previous is dead: who is not listed, too */
}

static void test_new_connection_without_room_goes_where_it_will_be_found(void **state)
{
	struct sl_flow_line full;
	struct sl_flow_counts counts[256] = {0};
	uint32_t zero = 0;
	uint64_t refused = 0;

	for (size_t way = 0; way < SL_FLOW_WAYS; way++) /* tags that are not the flow's */
		full.entries[way] = (way + 1ULL) << SL_FLOW_TAG_AT |
				    (uint64_t)SL_FLOW_ESTABLISHED << SL_FLOW_STATE_AT |
				    (SVC_BASE + SVC_SECOND);
	for (uint32_t at = 0; at < SVC_LINES; at++)
		svc_put("sl_flows", at, &full);
	svc_put_slot(SVC_SECOND, SVC_FIRST, SL_PHASE_SPLIT);
	send_tcp(FRAME_TCP_SYN, SVC_FIRST);
	send_tcp(FRAME_TCP_ACK, SVC_FIRST);
	assert_int_equal(bpf_map_lookup_elem(svc_map("sl_flow_counts"), &zero, counts), 0);
	for (size_t cpu = 0; cpu < ARRAY_SIZE(counts); cpu++)
		refused += counts[cpu].refused;
	assert_int_equal(refused, 1);
}

static void test_source_affinity_keeps_a_clients_connections_together(void **state)
{
	svc_put_service(SL_AFFINITY_SOURCE);
	svc_put_slot(SVC_SECOND, SVC_FIRST, SL_PHASE_RECORD);
	send_tcp(FRAME_TCP_SYN, SVC_FIRST); /* a SYN opens nothing new */
	make(SVC_CLIENT4, SVC_VIP4, IPPROTO_UDP, 0, 5, 0);
	run(XDP_TX, SL_REASON_SERVICE);
	assert_int_equal(svc_out.bytes[4], SVC_FIRST);
	assert_int_equal(SL_FLOW_BACKEND(only_entry()),
			 SVC_BASE + SVC_FIRST); /* both are one entry */
}

#define TEST(name) cmocka_unit_test_setup(name, svc_begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_packet_goes_to_the_backend_of_its_slot_in_4in4),
		TEST(test_drops_are_counted_with_their_service_by_reason),
		TEST(test_packet_goes_in_4in6_and_6in6_and_never_in_6in4),
		TEST(test_tags_and_options_go_along),
		TEST(test_another_interface_is_reached_by_redirect),
		TEST(test_other_ports_and_addresses_pass),
		TEST(test_range_serves_its_ports_and_protocol_only),
		TEST(test_slot_without_a_live_backend_drops),
		TEST(test_backend_without_a_route_drops),
		TEST(test_too_big_packet_is_answered_with_the_mtu),
		TEST(test_too_big_ipv6_packet_is_answered_with_the_mtu),
		TEST(test_ping_to_a_service_address_is_answered),
		TEST(test_icmp_error_follows_the_flow_that_it_is_about),
		TEST(test_later_fragment_follows_its_first),
		TEST(test_truncated_packet_is_never_forwarded),
		TEST(test_each_phase_sends_and_lists_who_is_not_listed),
		TEST(test_listed_flow_stays_through_the_phases),
		TEST(test_new_connection_leaves_the_table_when_it_is_where_all_go),
		TEST(test_flow_of_a_dead_backend_goes_to_current),
		TEST(test_new_connection_without_room_goes_where_it_will_be_found),
		TEST(test_source_affinity_keeps_a_clients_connections_together),
	};

	return cmocka_run_group_tests(tests, env_setup, svc_end);
}
