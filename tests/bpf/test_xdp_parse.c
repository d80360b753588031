/*
 * sl_main's parser: golden packets, each of their truncations, and frames that lie.
 */
#include "tests/bpf/bpf_env.h"
#include "tests/bpf/frame.h"

#include <linux/bpf.h>

#include "kern/dataplane_internal.h"
#include "xdp_main.skel.h"

#define V4_SRC "198.51.100.7"
#define V4_DST "192.0.2.10"
#define V6_SRC "2001:db8:7::7"
#define V6_DST "2001:db8::10"

static struct dataplane *dataplane;
static struct frame frame, cut;

static void setup_dataplane(void)
{
	struct error err = {0};

	env_require();
	if (!dataplane)
		env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
}

static int teardown(void **state)
{
	dataplane_free(dataplane);
	return 0;
}

/* Runs it and says which reason moved; that row's bytes must have moved by the frame's length. */
static const char *judge(const struct frame *it, int *ret_verdict)
{
	struct env_counters before, after;
	uint64_t bytes = 0;

	env_read_counters(dataplane, &before);
	*ret_verdict =
		env_run_xdp(bpf_program__fd(dataplane->xdp->progs.sl_main), it->bytes, it->len);
	env_read_counters(dataplane, &after);
	for (unsigned int i = 0; i < SL_REASON_COUNT; i++)
		bytes += after.bytes[i] - before.bytes[i];
	assert_int_equal(bytes, it->len);
	return env_moved(&before, &after);
}

static void check(const char *row, const struct frame *it, int verdict, enum sl_reason reason)
{
	int got;
	const char *moved = judge(it, &got);

	if (got != verdict || strcmp(moved, env_reason_name(reason))) {
		print_error("row '%s' of %zu bytes: verdict %d for '%s', expected %d for '%s'\n",
			    row, it->len, got, moved, verdict, env_reason_name(reason));
		fail();
	}
}

static void passes(const char *row, enum sl_reason reason)
{
	frame_end(&frame);
	check(row, &frame, XDP_PASS, reason);
}

static void drops(const char *row, enum sl_reason reason)
{
	frame_end(&frame);
	check(row, &frame, XDP_DROP, reason);
}

/* The golden packets, by number; NULL behind the last. All but the last two layers vary. */
static const char *build_golden(unsigned int number)
{
	switch (number) {
	case 0:
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_tcp(&frame, 443, FRAME_TCP_SYN, 0);
		return "tcp over ipv4";
	case 1:
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 40, 0);
		frame_tcp(&frame, 443, FRAME_TCP_ACK, 40);
		frame_payload(&frame, 33);
		return "tcp with all options over ipv4 with all options";
	case 2:
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 4, 0x4000);
		frame_udp(&frame, 53, 21);
		return "udp over ipv4 with don't fragment";
	case 3:
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_icmp(&frame);
		return "icmp";
	case 4:
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_tcp(&frame, 443, FRAME_TCP_SYN, 12);
		return "tcp over ipv6";
	case 5:
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_icmp(&frame);
		frame_payload(&frame, 4);
		return "icmpv6";
	case 6:
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_ip6_ext(&frame, 0, 8);
		frame_ip6_ext(&frame, 60, 24);
		frame_ip6_ext(&frame, 43, 40);
		frame_ip6_ext(&frame, 51, 20);
		frame_ip6_ext(&frame, 60, 8);
		frame_udp(&frame, 53, 9);
		return "udp behind hop-by-hop, destination, routing and authentication headers";
	case 7:
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_ip6_ext(&frame, 0, 8);
		for (int i = 0; i < 7; i++)
			frame_ip6_ext(&frame, 60, 8);
		frame_tcp(&frame, 80, FRAME_TCP_ACK, 0);
		return "tcp behind eight extension headers";
	case 8:
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_ip6_ext(&frame, 60, 2048);
		frame_ip6_ext(&frame, 60, 512);
		frame_tcp(&frame, 80, FRAME_TCP_ACK, 0);
		return "tcp behind the longest extension header";
	case 9:
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_ip6_fragment(&frame, 0, false);
		frame_tcp(&frame, 80, FRAME_TCP_ACK, 0);
		return "tcp in an atomic fragment";
	case 10:
		frame_eth(&frame);
		frame_vlan(&frame, 0x8100);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_udp(&frame, 53, 12);
		return "udp in a vlan";
	case 11:
		frame_eth(&frame);
		frame_vlan(&frame, 0x88a8);
		frame_vlan(&frame, 0x8100);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_tcp(&frame, 443, FRAME_TCP_ACK, 0);
		return "tcp over ipv6 in qinq";
	case 12:
		frame_eth(&frame);
		frame_vlan(&frame, 0x9100);
		frame_vlan(&frame, 0x8100);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_icmp(&frame);
		return "icmp in old qinq";
	case 13:
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_payload(&frame, 20);
		return "unknown protocol over ipv4";
	case 14:
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		return "no next header";
	default:
		return NULL;
	}
}

static void test_well_formed_packets_pass(void **state)
{
	const char *row;

	setup_dataplane();
	for (unsigned int i = 0; (row = build_golden(i)); i++)
		passes(row, SL_REASON_PASS);
}

static void test_padding_behind_a_packet_is_ignored(void **state)
{
	setup_dataplane();
	frame_eth(&frame);
	frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
	frame_udp(&frame, 53, 1);
	frame_end(&frame);
	frame_payload(&frame, 17);
	check("padded", &frame, XDP_PASS, SL_REASON_PASS);
}

/* The wire lost the end: length fields promise more than the frame holds. */
static void test_every_truncated_frame_is_dropped_with_its_reason(void **state)
{
	const char *row;

	setup_dataplane();
	for (unsigned int i = 0; (row = build_golden(i)); i++) {
		frame_end(&frame);
		/* The kernel refuses test runs of less than an Ethernet header. */
		for (size_t len = 14; len < frame.len; len++) {
			enum sl_reason reason =
				frame.is_v6 ? SL_REASON_IP6_PAYLOAD_LEN : SL_REASON_IP4_TOTAL_LEN;

			for (size_t m = frame.mark_count; m-- > 0;)
				if (len < frame.marks[m].end &&
				    frame.marks[m].end <= frame.ip_at + (frame.is_v6 ? 40 : 20))
					reason = frame.marks[m].reason;
			cut = frame;
			cut.len = len;
			check(row, &cut, XDP_DROP, reason);
		}
	}
}

/* The sender lies: length fields agree with the frame, headers want more. */
static void test_every_packet_that_ends_within_a_header_is_dropped_with_its_reason(void **state)
{
	const char *row;

	setup_dataplane();
	for (unsigned int i = 0; (row = build_golden(i)); i++) {
		frame_end(&frame);
		for (size_t len = 14; len < frame.len; len++) {
			size_t m = 0;

			while (m < frame.mark_count && len >= frame.marks[m].end)
				m++;
			frame_cut(&frame, len, &cut);
			if (m == frame.mark_count)
				check(row, &cut, XDP_PASS, SL_REASON_PASS);
			else
				check(row, &cut, XDP_DROP, frame.marks[m].reason);
		}
	}
}

static void test_what_is_not_ip_passes_and_is_counted(void **state)
{
	static const struct {
		const char *row;
		uint16_t type;
		enum sl_reason reason;
	} rows[] = {
		{"arp", 0x0806, SL_REASON_PASS_ARP},
		{"lldp", 0x88cc, SL_REASON_PASS_ETHERTYPE},
		{"802.3 length", 0x0040, SL_REASON_PASS_ETHERTYPE},
		{"mpls", 0x8847, SL_REASON_PASS_ETHERTYPE},
	};

	setup_dataplane();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		frame_eth(&frame);
		frame_type(&frame, rows[i].type);
		frame_payload(&frame, 46);
		passes(rows[i].row, rows[i].reason);
		frame_eth(&frame);
		frame_vlan(&frame, 0x8100);
		frame_type(&frame, rows[i].type);
		passes(rows[i].row, rows[i].reason);
	}
}

static void test_three_vlan_tags_are_refused(void **state)
{
	setup_dataplane();
	frame_eth(&frame);
	frame_vlan(&frame, 0x88a8);
	frame_vlan(&frame, 0x88a8);
	frame_vlan(&frame, 0x8100);
	frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
	frame_udp(&frame, 53, 4);
	drops("three tags", SL_REASON_VLAN_DEPTH);
}

static void test_version_that_contradicts_the_ethertype_is_refused(void **state)
{
	setup_dataplane();
	for (unsigned int version = 0; version < 16; version++) {
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_udp(&frame, 53, 40);
		frame.bytes[frame.ip_at] = (uint8_t)(version << 4 | 5);
		if (version != 4)
			drops("ipv4", SL_REASON_IP4_VERSION);
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_udp(&frame, 53, 4);
		frame.bytes[frame.ip_at] = (uint8_t)(version << 4);
		if (version != 6)
			drops("ipv6", SL_REASON_IP6_VERSION);
	}
}

static void test_ipv4_header_shorter_than_twenty_bytes_is_refused(void **state)
{
	setup_dataplane();
	for (uint8_t words = 0; words < 5; words++) {
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_udp(&frame, 53, 4);
		frame.bytes[frame.ip_at] = 0x40 | words;
		drops("header length", SL_REASON_IP4_HEADER_LEN);
	}
}

static void test_ipv4_total_length_below_its_header_is_refused(void **state)
{
	setup_dataplane();
	for (uint8_t total = 0; total < 24; total++) {
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 4, 0);
		frame_udp(&frame, 53, 4);
		frame_end(&frame);
		frame.bytes[frame.ip_at + 2] = 0;
		frame.bytes[frame.ip_at + 3] = total;
		check("total length", &frame, XDP_DROP, SL_REASON_IP4_TOTAL_LEN);
	}
}

static void test_nine_extension_headers_are_refused(void **state)
{
	setup_dataplane();
	frame_eth(&frame);
	frame_ip6(&frame, V6_SRC, V6_DST);
	for (int i = 0; i < 9; i++)
		frame_ip6_ext(&frame, 60, 8);
	frame_udp(&frame, 53, 4);
	drops("nine", SL_REASON_IP6_EXT_DEPTH);
}

static void test_tcp_header_shorter_than_twenty_bytes_is_refused(void **state)
{
	setup_dataplane();
	for (uint8_t words = 0; words < 5; words++) {
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_tcp(&frame, 80, FRAME_TCP_ACK, 0);
		frame.bytes[frame.ip_at + 20 + 12] = (uint8_t)(words << 4);
		drops("data offset", SL_REASON_TCP_HEADER_LEN);
	}
}

static void test_udp_length_that_cannot_be_is_refused(void **state)
{
	static const uint8_t lengths[] = {0, 1, 7, 13, 255};

	setup_dataplane();
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
		frame_udp(&frame, 53, 4);
		frame.bytes[frame.udp_at + 5] = lengths[i];
		drops("ipv4", SL_REASON_UDP_LEN);
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_udp(&frame, 53, 4);
		frame.bytes[frame.udp_at + 5] = lengths[i];
		drops("ipv6", SL_REASON_UDP_LEN);
	}
}

static void test_first_and_later_fragments_pass(void **state)
{
	setup_dataplane();
	frame_eth(&frame);
	frame_ip4(&frame, V4_SRC, V4_DST, 0, FRAME_MORE);
	frame_udp(&frame, 53, 1000);
	frame.len -= 496; /* the rest comes in the next one */
	passes("first, ipv4", SL_REASON_PASS);
	frame_eth(&frame);
	frame_ip4(&frame, V4_SRC, V4_DST, 8, 64);
	frame_protocol(&frame, 17);
	frame_payload(&frame, 3);
	passes("last, ipv4", SL_REASON_PASS_FRAGMENT);
	frame_eth(&frame);
	frame_ip6(&frame, V6_SRC, V6_DST);
	frame_ip6_ext(&frame, 60, 8);
	frame_ip6_fragment(&frame, 0, true);
	frame_tcp(&frame, 80, FRAME_TCP_ACK, 4);
	passes("first, ipv6", SL_REASON_PASS);
	frame_eth(&frame);
	frame_ip6(&frame, V6_SRC, V6_DST);
	frame_ip6_fragment(&frame, 1232, false);
	frame_protocol(&frame, 60); /* an extension header that is not here */
	frame_payload(&frame, 1);
	passes("last, ipv6", SL_REASON_PASS_FRAGMENT);
}

static void test_first_fragment_without_a_whole_transport_header_is_refused(void **state)
{
	setup_dataplane();
	frame_eth(&frame);
	frame_ip4(&frame, V4_SRC, V4_DST, 0, FRAME_MORE);
	frame_tcp(&frame, 80, FRAME_TCP_ACK, 0);
	frame.len -= 4;
	drops("tcp, ipv4", SL_REASON_TCP_SHORT);
	frame_eth(&frame);
	frame_ip6(&frame, V6_SRC, V6_DST);
	frame_ip6_fragment(&frame, 0, true);
	frame_tcp(&frame, 80, FRAME_TCP_ACK, 0);
	frame.len -= 12;
	drops("tcp, ipv6", SL_REASON_TCP_SHORT);
}

static void test_impossible_fragments_are_refused(void **state)
{
	static const struct {
		const char *row;
		uint16_t fragment; /* IPv4's field */
		uint8_t protocol;
		size_t payload_bytes;
	} rows[] = {
		{"first of no multiple of eight", FRAME_MORE, 17, 13},
		{"middle of no multiple of eight", FRAME_MORE | 20, 17, 13},
		{"middle of nothing", FRAME_MORE | 20, 17, 0},
		{"beyond 65535", 8191, 17, 8},
		{"over the flags of tcp", 1, 6, 16},
	};

	setup_dataplane();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		frame_eth(&frame);
		frame_ip4(&frame, V4_SRC, V4_DST, 0, rows[i].fragment);
		frame_protocol(&frame, rows[i].protocol);
		frame_payload(&frame, rows[i].payload_bytes);
		drops(rows[i].row, SL_REASON_FRAGMENT_BAD);
		frame_eth(&frame);
		frame_ip6(&frame, V6_SRC, V6_DST);
		frame_ip6_fragment(&frame, (uint16_t)((rows[i].fragment & 0x1fff) * 8),
				   rows[i].fragment & FRAME_MORE);
		frame_protocol(&frame, rows[i].protocol);
		frame_payload(&frame, rows[i].payload_bytes);
		drops(rows[i].row, SL_REASON_FRAGMENT_BAD);
	}
}

static void test_frame_of_several_buffers_is_measured_whole(void **state)
{
	setup_dataplane();
	frame_eth(&frame);
	frame_ip4(&frame, V4_SRC, V4_DST, 0, 0);
	frame_udp(&frame, 53, 9000);
	passes("jumbo", SL_REASON_PASS);
	frame.len--;
	check("jumbo without its end", &frame, XDP_DROP, SL_REASON_IP4_TOTAL_LEN);
	frame_eth(&frame);
	frame_ip6(&frame, V6_SRC, V6_DST);
	for (int i = 0; i < 4; i++)
		frame_ip6_ext(&frame, 60, 2048);
	frame_end(&frame);
	passes("extension headers over several buffers", SL_REASON_PASS);
	frame.len--;
	check("without its end", &frame, XDP_DROP, SL_REASON_IP6_PAYLOAD_LEN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_well_formed_packets_pass),
		cmocka_unit_test(test_padding_behind_a_packet_is_ignored),
		cmocka_unit_test(test_every_truncated_frame_is_dropped_with_its_reason),
		cmocka_unit_test(
			test_every_packet_that_ends_within_a_header_is_dropped_with_its_reason),
		cmocka_unit_test(test_what_is_not_ip_passes_and_is_counted),
		cmocka_unit_test(test_three_vlan_tags_are_refused),
		cmocka_unit_test(test_version_that_contradicts_the_ethertype_is_refused),
		cmocka_unit_test(test_ipv4_header_shorter_than_twenty_bytes_is_refused),
		cmocka_unit_test(test_ipv4_total_length_below_its_header_is_refused),
		cmocka_unit_test(test_nine_extension_headers_are_refused),
		cmocka_unit_test(test_tcp_header_shorter_than_twenty_bytes_is_refused),
		cmocka_unit_test(test_udp_length_that_cannot_be_is_refused),
		cmocka_unit_test(test_first_and_later_fragments_pass),
		cmocka_unit_test(test_first_fragment_without_a_whole_transport_header_is_refused),
		cmocka_unit_test(test_impossible_fragments_are_refused),
		cmocka_unit_test(test_frame_of_several_buffers_is_measured_whole),
	};

	return cmocka_run_group_tests(tests, env_setup, teardown);
}
