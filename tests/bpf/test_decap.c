/*
 * sl_decap: golden packets in and out, each of their truncations, each bit of the outer header
 * flipped, packets that lie; and kern/decap.h on devices. Checksums are verified by code of the
 * test's own.
 */
#include "tests/bpf/bpf_env.h"
#include "tests/bpf/frame.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <unistd.h>

#include "decap.skel.h"
#include "kern/decap.h"

#define HERE4  "10.1.0.11"
#define HERE6  "fd01::11"
#define OTHER4 "10.1.0.12"
#define OTHER6 "fd01::12"
#define FROM4  "10.1.0.1"
#define FROM6  "fd01::1"
#define DIR    "/sys/fs/bpf/decap-test"

enum kind { V4_IN_V4, V6_IN_V6, V4_IN_V6, KINDS };
static const char *const kind_names[KINDS] = {"4in4", "6in6", "4in6"};
static const enum sl_decap_reason kind_reasons[KINDS] = {SL_DECAP_V4_IN_V4, SL_DECAP_V6_IN_V6,
							 SL_DECAP_V4_IN_V6};

/* What stands in front of the inner packet. */
struct wrapping {
	enum kind kind;
	unsigned int tags;
	size_t options_bytes;  /* of IPv4; a destination options header of IPv6 */
	const char *src, *dst; /* NULL: FROM, HERE */
	uint8_t tos;
};

struct packet_bytes {
	uint8_t bytes[FRAME_MAX + 256];
	size_t len;
	size_t outer_at, inner_at;
};

static struct decap_bpf *object;  /* any source */
static struct decap_bpf *guarded; /* 10.1.0.0/24 and fd01::/64 */
static struct frame inner;
static struct packet_bytes packet, out;

static void put_address(uint8_t *at, int family, const char *text)
{
	assert_int_equal(inet_pton(family, text, at), 1);
}

/* RFC 1071 as it is written there. 0: right, when the checksum is within. */
static uint16_t checksum_of(const uint8_t *bytes, size_t len)
{
	uint64_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint64_t)bytes[i] << 8 | bytes[i + 1];
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static void put_u16(uint8_t *at, size_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

static void seal_ip4(uint8_t *ip)
{
	size_t len = (size_t)(ip[0] & 15) * 4;

	put_u16(ip + 10, 0);
	put_u16(ip + 10, checksum_of(ip, len));
}

/* The inner frame without its link header. */
static const uint8_t *inner_bytes(size_t *ret_len)
{
	*ret_len = inner.len - inner.ip_at;
	return inner.bytes + inner.ip_at;
}

static void put_l2(struct packet_bytes *it, unsigned int tags, uint16_t type)
{
	static const uint8_t addresses[12] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1};
	static const uint16_t tag_types[] = {0x88a8, 0x8100};

	memset(it, 0, sizeof(*it));
	memcpy(it->bytes, addresses, sizeof(addresses));
	it->len = sizeof(addresses);
	for (unsigned int i = 0; i < tags; i++, it->len += 4) {
		put_u16(it->bytes + it->len, tag_types[tags == 1 ? 1 : i]);
		put_u16(it->bytes + it->len + 2, 7 + i);
	}
	put_u16(it->bytes + it->len, type);
	it->len += 2;
}

static void put_outer4(struct packet_bytes *it, const struct wrapping *how, size_t inner_len)
{
	uint8_t *ip = it->bytes + it->len;
	size_t header_len = 20 + how->options_bytes;

	ip[0] = (uint8_t)(0x40 | header_len / 4);
	ip[1] = how->tos;
	put_u16(ip + 2, header_len + inner_len);
	put_u16(ip + 4, 4711);
	put_u16(ip + 6, 0x4000);
	ip[8] = 64;
	ip[9] = 4;
	put_address(ip + 12, AF_INET, how->src ? how->src : FROM4);
	put_address(ip + 16, AF_INET, how->dst ? how->dst : HERE4);
	memset(ip + 20, 1, how->options_bytes);
	seal_ip4(ip);
	it->len += header_len;
}

static void put_outer6(struct packet_bytes *it, const struct wrapping *how, size_t inner_len)
{
	uint8_t *ip = it->bytes + it->len;
	uint8_t protocol = how->kind == V4_IN_V6 ? 4 : 41;

	ip[0] = (uint8_t)(0x60 | how->tos >> 4);
	ip[1] = (uint8_t)(how->tos << 4);
	put_u16(ip + 4, how->options_bytes + inner_len);
	ip[6] = how->options_bytes ? 60 : protocol;
	ip[7] = 64;
	put_address(ip + 8, AF_INET6, how->src ? how->src : FROM6);
	put_address(ip + 24, AF_INET6, how->dst ? how->dst : HERE6);
	it->len += 40;
	if (how->options_bytes) {
		ip[40] = protocol;
		ip[41] = (uint8_t)(how->options_bytes / 8 - 1);
		it->len += how->options_bytes;
	}
}

static void wrap(const struct wrapping *how)
{
	size_t inner_len;
	const uint8_t *bytes = inner_bytes(&inner_len);

	put_l2(&packet, how->tags, how->kind == V4_IN_V4 ? 0x0800 : 0x86dd);
	packet.outer_at = packet.len;
	if (how->kind == V4_IN_V4)
		put_outer4(&packet, how, inner_len);
	else
		put_outer6(&packet, how, inner_len);
	packet.inner_at = packet.len;
	memcpy(packet.bytes + packet.len, bytes, inner_len);
	packet.len += inner_len;
}

static void build_inner(enum kind kind, uint8_t tos, uint8_t ttl, size_t payload_bytes)
{
	uint8_t *ip;

	frame_eth(&inner);
	if (kind == V6_IN_V6)
		frame_ip6(&inner, "2001:db8:7::7", "2001:db8::10");
	else
		frame_ip4(&inner, "198.51.100.7", "192.0.2.10", 0, 0);
	frame_udp(&inner, 53, payload_bytes);
	frame_end(&inner);
	ip = inner.bytes + inner.ip_at;
	if (kind == V6_IN_V6) {
		ip[0] = (uint8_t)(0x60 | tos >> 4);
		ip[1] = (uint8_t)(tos << 4);
		ip[7] = ttl;
	} else {
		ip[1] = tos;
		ip[8] = ttl;
		seal_ip4(ip);
	}
}

static void read_counts(struct decap_bpf *it, struct sl_counter *ret_counts)
{
	struct sl_counter cpus[256];

	assert_true(libbpf_num_possible_cpus() <= 256);
	for (uint32_t row = 0; row < SL_DECAP_REASONS; row++) {
		assert_int_equal(
			bpf_map_lookup_elem(bpf_map__fd(it->maps.sl_decap_count), &row, cpus), 0);
		ret_counts[row] = (struct sl_counter){0};
		for (int cpu = 0; cpu < libbpf_num_possible_cpus(); cpu++) {
			ret_counts[row].packets += cpus[cpu].packets;
			ret_counts[row].bytes += cpus[cpu].bytes;
		}
	}
}

/* Runs the packet; `out` is what came out. Returns the one row that moved. */
static enum sl_decap_reason run(struct decap_bpf *it, int *ret_verdict)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet.bytes,
		    .data_size_in = (uint32_t)packet.len, .data_out = out.bytes,
		    .data_size_out = sizeof(out.bytes), .repeat = 1);
	struct sl_counter before[SL_DECAP_REASONS], after[SL_DECAP_REASONS];
	enum sl_decap_reason moved = SL_DECAP_REASONS;

	read_counts(it, before);
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(it->progs.sl_decap), &opts), 0);
	read_counts(it, after);
	for (unsigned int row = 0; row < SL_DECAP_REASONS; row++) {
		if (after[row].packets == before[row].packets)
			continue;
		assert_int_equal(moved, SL_DECAP_REASONS);
		assert_int_equal(after[row].packets, before[row].packets + 1);
		assert_int_equal(after[row].bytes, before[row].bytes + packet.len);
		moved = row;
	}
	assert_int_not_equal(moved, SL_DECAP_REASONS);
	out.len = opts.data_size_out;
	*ret_verdict = (int)opts.retval;
	return moved;
}

static const char *const names[] = {
#define NAME_ROW(symbol, name, verdict, meaning) [SL_DECAP_##symbol] = (name),
	SL_DECAP_TABLE(NAME_ROW)
#undef NAME_ROW
};

static bool opens(enum sl_decap_reason reason)
{
	return reason == SL_DECAP_V4_IN_V4 || reason == SL_DECAP_V6_IN_V6 ||
	       reason == SL_DECAP_V4_IN_V6;
}

/* The reason and, by it, the verdict; what is not opened comes out as it went in. */
static void check(struct decap_bpf *it, const char *row, enum sl_decap_reason expected)
{
	int verdict;
	enum sl_decap_reason reason = run(it, &verdict);
	bool passes =
		opens(expected) || expected == SL_DECAP_PASS || expected == SL_DECAP_PASS_ADDRESS;

	if (reason != expected || verdict != (passes ? XDP_PASS : XDP_DROP)) {
		print_error("row '%s': verdict %d for '%s', expected '%s'\n", row, verdict,
			    names[reason], names[expected]);
		fail();
	}
	if (!opens(expected)) {
		assert_int_equal(out.len, packet.len);
		assert_memory_equal(out.bytes, packet.bytes, packet.len);
	}
}

/* Out came the link header with the inner type, and the inner packet. */
static void check_opened(const char *row, const struct wrapping *how)
{
	static struct packet_bytes expected;
	size_t inner_len;
	const uint8_t *bytes = inner_bytes(&inner_len);

	check(object, row, kind_reasons[how->kind]);
	put_l2(&expected, how->tags, how->kind == V6_IN_V6 ? 0x86dd : 0x0800);
	memcpy(expected.bytes + expected.len, bytes, inner_len);
	expected.len += inner_len;
	assert_int_equal(out.len, expected.len);
	assert_memory_equal(out.bytes, expected.bytes, expected.len);
}

static struct decap_bpf *load(bool check_source)
{
	struct decap_bpf *it = decap_bpf__open();
	struct sl_decap_address here4 = {{[10] = 0xff, [11] = 0xff}}, here6;
	struct sl_lpm6_key from4 = {.prefix_bits = 96 + 24, .addr_be = {[10] = 0xff, [11] = 0xff}};
	struct sl_lpm6_key from6 = {.prefix_bits = 64};
	uint32_t one = 1;

	assert_non_null(it);
	it->rodata->check_source = check_source;
	assert_int_equal(decap_bpf__load(it), 0);
	put_address(here4.addr_be + 12, AF_INET, HERE4);
	put_address(here6.addr_be, AF_INET6, HERE6);
	put_address(from4.addr_be + 12, AF_INET, "10.1.0.0");
	put_address(from6.addr_be, AF_INET6, "fd01::");
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(it->maps.sl_decap_dst), &here4, &one, 0),
			 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(it->maps.sl_decap_dst), &here6, &one, 0),
			 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(it->maps.sl_decap_src), &from4, &one, 0),
			 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(it->maps.sl_decap_src), &from6, &one, 0),
			 0);
	return it;
}

static void setup_programs(void)
{
	env_require();
	if (!object)
		object = load(false);
	if (!guarded)
		guarded = load(true);
}

static int teardown(void **state)
{
	decap_bpf__destroy(object);
	decap_bpf__destroy(guarded);
	return 0;
}

static void test_packets_come_out_without_their_outer_header(void **state)
{
	static const size_t payloads[] = {0, 1, 18, 1000, 1452, 8000};

	setup_programs();
	for (unsigned int kind = 0; kind < KINDS; kind++)
		for (unsigned int tags = 0; tags <= 2; tags++)
			for (size_t options = 0; options <= 40; options += 8)
				for (size_t i = 0; i < ARRAY_SIZE(payloads); i++) {
					struct wrapping how = {.kind = kind,
							       .tags = tags,
							       .options_bytes = options};

					build_inner(kind, 0, 64, payloads[i]);
					wrap(&how);
					check_opened(kind_names[kind], &how);
				}
}

static void test_one_outer_header_is_taken_off_and_not_two(void **state)
{
	struct wrapping how = {.kind = V4_IN_V4};

	setup_programs();
	build_inner(V4_IN_V4, 0, 64, 30);
	wrap(&how);
	/* The packet made just now becomes the inner one. */
	memcpy(inner.bytes, packet.bytes, packet.len);
	inner.len = packet.len;
	inner.ip_at = packet.outer_at;
	wrap(&how);
	check_opened("twice", &how);
}

static void test_padding_behind_the_outer_packet_is_no_part_of_it(void **state)
{
	struct wrapping how = {.kind = V4_IN_V4};

	setup_programs();
	build_inner(V4_IN_V4, 0, 64, 0);
	wrap(&how);
	packet.len += 6;
	check(object, "padding", SL_DECAP_V4_IN_V4);
	/* An inner length that only the padding covers is a lie. */
	put_u16(packet.bytes + packet.inner_at + 2, 28 + 6);
	seal_ip4(packet.bytes + packet.inner_at);
	check(object, "padding as payload", SL_DECAP_INNER_LENGTH);
}

static void test_what_is_not_ip_in_ip_passes_as_it_came(void **state)
{
	struct wrapping how = {.kind = V4_IN_V4};

	setup_programs();
	build_inner(V4_IN_V4, 0, 64, 100);
	memcpy(packet.bytes, inner.bytes, inner.len);
	packet.len = inner.len;
	check(object, "udp over ipv4", SL_DECAP_PASS);
	build_inner(V6_IN_V6, 0, 64, 100);
	memcpy(packet.bytes, inner.bytes, inner.len);
	packet.len = inner.len;
	check(object, "udp over ipv6", SL_DECAP_PASS);

	build_inner(V4_IN_V4, 0, 64, 100);
	for (unsigned int protocol = 0; protocol < 256; protocol++) {
		wrap(&how);
		packet.bytes[packet.outer_at + 9] = (uint8_t)protocol;
		seal_ip4(packet.bytes + packet.outer_at);
		check(object, "protocol", protocol == 4 ? SL_DECAP_V4_IN_V4 : SL_DECAP_PASS);
	}
	put_l2(&packet, 0, 0x0806);
	packet.len += 28;
	check(object, "arp", SL_DECAP_PASS);
	how.tags = 2;
	wrap(&how);
	memmove(packet.bytes + 16, packet.bytes + 12, packet.len - 12);
	packet.len += 4;
	check(object, "three tags", SL_DECAP_PASS);
}

static void test_other_destinations_pass_as_they_came(void **state)
{
	setup_programs();
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		struct wrapping how = {.kind = kind, .dst = kind == V4_IN_V4 ? OTHER4 : OTHER6};

		build_inner(kind, 0, 64, 20);
		wrap(&how);
		check(object, kind_names[kind], SL_DECAP_PASS_ADDRESS);
		check(guarded, kind_names[kind], SL_DECAP_PASS_ADDRESS);
	}
}

static void test_other_sources_are_dropped_where_sources_are_given(void **state)
{
	setup_programs();
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		struct wrapping how = {.kind = kind};

		build_inner(kind, 0, 64, 20);
		wrap(&how);
		check(guarded, kind_names[kind], kind_reasons[kind]);
		how.src = kind == V4_IN_V4 ? "10.1.0.255" : "fd01::ffff:ffff:ffff:ffff";
		wrap(&how);
		check(guarded, kind_names[kind], kind_reasons[kind]);
		how.src = kind == V4_IN_V4 ? "10.1.1.0" : "fd01:0:0:1::";
		wrap(&how);
		check(guarded, kind_names[kind], SL_DECAP_SOURCE);
		check(object, kind_names[kind], kind_reasons[kind]);
	}
}

static void test_ipv4_of_an_ipv6_address_of_the_same_bytes_is_not_meant(void **state)
{
	struct wrapping how = {.kind = V6_IN_V6, .dst = "::ffff:10.1.0.12"};

	setup_programs();
	build_inner(V6_IN_V6, 0, 64, 20);
	wrap(&how);
	check(object, "mapped", SL_DECAP_PASS_ADDRESS);
}

static void test_every_flipped_bit_of_the_outer_ipv4_header_is_noticed(void **state)
{
	struct wrapping how = {.kind = V4_IN_V4, .options_bytes = 8};

	setup_programs();
	build_inner(V4_IN_V4, 0, 64, 20);
	for (size_t bit = 0; bit < 28 * 8; bit++) {
		int verdict;

		wrap(&how);
		packet.bytes[packet.outer_at + bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (opens(run(object, &verdict))) {
			print_error("bit %zu\n", bit);
			fail();
		}
		assert_int_equal(out.len, packet.len);
	}
}

/* Cut off, with length fields that know nothing of it. */
static void test_no_truncated_frame_is_opened(void **state)
{
	setup_programs();
	for (unsigned int kind = 0; kind < KINDS; kind++)
		for (unsigned int tags = 0; tags <= 2; tags++)
			for (size_t options = 0; options <= 8; options += 8) {
				struct wrapping how = {
					.kind = kind, .tags = tags, .options_bytes = options};
				size_t whole;

				build_inner(kind, 0, 64, 30);
				wrap(&how);
				whole = packet.len;
				for (packet.len = 14; packet.len < whole; packet.len++) {
					size_t known = packet.outer_at + (kind == V4_IN_V4 ? 20
									  : options	   ? 44
											   : 40);
					bool is_ours = packet.len >= known;

					check(object, kind_names[kind],
					      is_ours ? SL_DECAP_OUTER_LENGTH : SL_DECAP_PASS);
				}
			}
}

/* Cut off, with outer length fields that agree. */
static void test_no_truncated_packet_is_opened(void **state)
{
	setup_programs();
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		struct wrapping how = {.kind = kind};
		size_t whole, header = kind == V6_IN_V6 ? 40 : 20;

		build_inner(kind, 0, 64, 30);
		wrap(&how);
		whole = packet.len;
		for (packet.len = packet.inner_at; packet.len < whole; packet.len++) {
			uint8_t *ip = packet.bytes + packet.outer_at;

			if (kind == V4_IN_V4) {
				put_u16(ip + 2, packet.len - packet.outer_at);
				seal_ip4(ip);
			} else {
				put_u16(ip + 4, packet.len - packet.outer_at - 40);
			}
			check(object, kind_names[kind],
			      packet.len < packet.inner_at + header ? SL_DECAP_INNER_SHORT
								    : SL_DECAP_INNER_LENGTH);
		}
	}
}

struct lie {
	const char *row;
	enum kind kind;
	bool is_inner; /* offset counts from the inner header */
	size_t offset;
	uint8_t value;
	bool seal; /* make the outer checksum right again */
	enum sl_decap_reason reason;
};

static void test_packets_that_lie_are_dropped_with_the_reason(void **state)
{
	static const struct lie lies[] = {
		{"header of 16 bytes", V4_IN_V4, false, 0, 0x44, true, SL_DECAP_OUTER_LENGTH},
		{"header beyond the packet", V4_IN_V4, false, 3, 19, true, SL_DECAP_OUTER_LENGTH},
		{"checksum", V4_IN_V4, false, 11, 0, false, SL_DECAP_OUTER_CHECKSUM},
		{"first fragment", V4_IN_V4, false, 6, 0x20, true, SL_DECAP_OUTER_FRAGMENT},
		{"later fragment", V4_IN_V4, false, 7, 1, true, SL_DECAP_OUTER_FRAGMENT},
		{"6 in a 4", V4_IN_V4, true, 0, 0x65, false, SL_DECAP_INNER_VERSION},
		{"4 in a 6", V6_IN_V6, true, 0, 0x40, false, SL_DECAP_INNER_VERSION},
		{"6 in 4in6", V4_IN_V6, true, 0, 0x60, false, SL_DECAP_INNER_VERSION},
		{"version 0", V4_IN_V4, true, 0, 0x05, false, SL_DECAP_INNER_VERSION},
		{"inner header of 16 bytes", V4_IN_V4, true, 0, 0x44, false, SL_DECAP_INNER_LENGTH},
		{"inner header beyond it", V4_IN_V4, true, 0, 0x4f, false, SL_DECAP_INNER_LENGTH},
		{"inner below its header", V4_IN_V6, true, 3, 19, false, SL_DECAP_INNER_LENGTH},
		{"inner one byte too long", V4_IN_V4, true, 3, 49, false, SL_DECAP_INNER_LENGTH},
		{"inner far too long", V4_IN_V4, true, 2, 0xff, false, SL_DECAP_INNER_LENGTH},
		{"inner payload too long", V6_IN_V6, true, 5, 29, false, SL_DECAP_INNER_LENGTH},
		{"inner payload far too long", V6_IN_V6, true, 4, 1, false, SL_DECAP_INNER_LENGTH},
		{"ttl 0", V4_IN_V4, true, 8, 0, false, SL_DECAP_INNER_TTL},
		{"ttl 0 in v6", V4_IN_V6, true, 8, 0, false, SL_DECAP_INNER_TTL},
		{"hop limit 0", V6_IN_V6, true, 7, 0, false, SL_DECAP_INNER_TTL},
	};

	setup_programs();
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		const struct lie *lie = &lies[i];
		struct wrapping how = {.kind = lie->kind};

		build_inner(lie->kind, 0, 64, 20);
		wrap(&how);
		packet.bytes[(lie->is_inner ? packet.inner_at : packet.outer_at) + lie->offset] =
			lie->value;
		if (lie->seal)
			seal_ip4(packet.bytes + packet.outer_at);
		check(object, lie->row, lie->reason);
	}
}

static void test_fragments_of_outer_ipv6_are_dropped(void **state)
{
	struct wrapping how = {.kind = V6_IN_V6, .options_bytes = 8};

	setup_programs();
	build_inner(V6_IN_V6, 0, 64, 20);
	wrap(&how);
	packet.bytes[packet.outer_at + 6] = 44;
	packet.bytes[packet.outer_at + 43] = 1; /* more to come */
	check(object, "first fragment", SL_DECAP_OUTER_FRAGMENT);
	packet.bytes[packet.outer_at + 40] = 17;
	check(object, "of udp", SL_DECAP_PASS);
}

static void test_ttl_of_1_is_delivered(void **state)
{
	setup_programs();
	for (unsigned int kind = 0; kind < KINDS; kind++) {
		struct wrapping how = {.kind = kind};

		build_inner(kind, 0, 1, 20);
		wrap(&how);
		check_opened(kind_names[kind], &how);
	}
}

static void test_congestion_marks_go_over_to_the_inner_packet(void **state)
{
	setup_programs();
	for (unsigned int kind = 0; kind < KINDS; kind++)
		for (unsigned int mix = 0; mix < 256; mix += 4)
			for (unsigned int outer = 0; outer < 4; outer++)
				for (unsigned int within = 0; within < 4; within++) {
					uint8_t tos = (uint8_t)(mix | within);
					struct wrapping how = {.kind = kind,
							       .tos = (uint8_t)(0xb8 | outer)};

					build_inner(kind, tos, 64, 20);
					wrap(&how);
					if (outer == 3 && within == 0) {
						check(object, "not capable", SL_DECAP_INNER_ECN);
						continue;
					}
					/* Built again with the mark: the checksum, too. */
					build_inner(kind, outer == 3 ? tos | 3 : tos, 64, 20);
					check_opened(kind_names[kind], &how);
					if (kind != V6_IN_V6)
						assert_int_equal(checksum_of(out.bytes + 14, 20),
								 0);
				}
}

/* On devices. */

static int count_states(const struct decap_state *state, void *arg)
{
	unsigned int *count = arg;

	(*count)++;
	return 0;
}

static int take_state(const struct decap_state *state, void *arg)
{
	struct decap_state *taken = arg;

	assert_string_equal(taken->interface, "");
	*taken = *state;
	assert_int_equal(state->address_count, 2);
	assert_int_equal(state->addresses[0].family, AF_INET);
	assert_int_equal(state->addresses[1].family, AF_INET6);
	assert_int_equal(state->source_count, 3);
	assert_int_equal(state->sources[0].bits, 8);
	assert_int_equal(state->sources[1].bits, 0);
	assert_int_equal(state->sources[2].bits, 64);
	for (unsigned int i = 0; i < SL_DECAP_REASONS; i++)
		assert_string_equal(state->counters[i].name, names[i]);
	return 0;
}

static unsigned int states(void)
{
	unsigned int count = 0;
	struct error err = {0};

	env_assert_ok(decap_walk(DIR, count_states, &count, &err), &err);
	return count;
}

static struct decap_config config_for(const char *interface)
{
	static struct ip_addr addresses[2];
	static struct ip_prefix sources[3];
	struct error err = {0};

	assert_int_equal(ip_addr_parse(STR(HERE4), &addresses[0]), 0);
	assert_int_equal(ip_addr_parse(STR(HERE6), &addresses[1]), 0);
	env_assert_ok(ip_prefix_parse(STR("10.0.0.0/8"), &sources[0], &err), &err);
	env_assert_ok(ip_prefix_parse(STR("fd01::/64"), &sources[1], &err), &err);
	env_assert_ok(ip_prefix_parse(STR("::/0"), &sources[2], &err), &err);
	return (struct decap_config){interface, addresses, 2, sources, 3};
}

static void setup_device(const char *name)
{
	char command[128];

	env_require();
	(void)snprintf(command, sizeof(command),
		       "ip link del peer0 2>/dev/null; ip link add %s type veth peer name peer0",
		       name);
	assert_int_equal(env_command(command), 0);
}

static void test_attach_and_detach_leave_nothing_behind(void **state)
{
	struct decap_config config = config_for("eth0.7");
	struct decap_state taken = {0};
	struct error err = {0};

	setup_device("eth0.7"); /* bpffs refuses dots */
	assert_int_equal(states(), 0);
	env_assert_ok(decap_attach(DIR, &config, &err), &err);
	env_assert_ok(decap_walk(DIR, take_state, &taken, &err), &err);
	assert_string_equal(taken.interface, "eth0.7");
	assert_true(taken.is_attached);
	assert_false(taken.is_generic);
	assert_int_not_equal(taken.program_id, 0);
	env_assert_ok(decap_detach(DIR, "eth0.7", &err), &err);
	assert_int_equal(access(DIR, F_OK), -1);
	assert_int_equal(env_command("ip -d link show eth0.7 | grep -q prog/xdp"), 1);
	assert_int_equal(decap_detach(DIR, "eth0.7", &err), -ENOENT);
}

static void test_second_attach_is_refused_and_the_first_stays(void **state)
{
	struct decap_config config = config_for("dec0");
	struct error err = {0};

	setup_device("dec0");
	env_assert_ok(decap_attach(DIR, &config, &err), &err);
	assert_int_equal(decap_attach(DIR, &config, &err), -EEXIST);
	assert_non_null(strstr(err.text, "detach it first"));
	assert_int_equal(states(), 1);
	error_reset(&err);
	assert_int_equal(decap_attach(DIR "-2", &config, &err), -EBUSY);
	assert_non_null(strstr(err.text, "another XDP program"));
	assert_int_equal(access(DIR "-2", F_OK), -1);
	error_reset(&err);
	env_assert_ok(decap_detach(DIR, "dec0", &err), &err);
}

static void test_pins_of_a_device_that_is_gone_do_not_hinder(void **state)
{
	struct decap_config config = config_for("dec0");
	struct decap_state taken = {0};
	struct error err = {0};

	setup_device("dec0");
	env_assert_ok(decap_attach(DIR, &config, &err), &err);
	assert_int_equal(env_command("ip link del dec0"), 0);
	env_assert_ok(decap_walk(DIR, take_state, &taken, &err), &err);
	assert_false(taken.is_attached);
	setup_device("dec0");
	env_assert_ok(decap_attach(DIR, &config, &err), &err);
	memset(&taken, 0, sizeof(taken));
	env_assert_ok(decap_walk(DIR, take_state, &taken, &err), &err);
	assert_true(taken.is_attached);
	env_assert_ok(decap_detach(DIR, "dec0", &err), &err);
}

static void test_what_cannot_be_attached_is_refused_with_words(void **state)
{
	struct decap_config config = config_for("deco");
	struct error err = {0};

	setup_device("dec0");
	assert_int_equal(decap_attach(DIR, &config, &err), -ENODEV);
	assert_non_null(strstr(err.text, "did you mean 'dec0'?"));
	error_reset(&err);
	config.interface = "dec0";
	config.address_count = 0;
	assert_int_equal(decap_attach(DIR, &config, &err), -EINVAL);
	assert_int_equal(access(DIR, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packets_come_out_without_their_outer_header),
		cmocka_unit_test(test_one_outer_header_is_taken_off_and_not_two),
		cmocka_unit_test(test_padding_behind_the_outer_packet_is_no_part_of_it),
		cmocka_unit_test(test_what_is_not_ip_in_ip_passes_as_it_came),
		cmocka_unit_test(test_other_destinations_pass_as_they_came),
		cmocka_unit_test(test_other_sources_are_dropped_where_sources_are_given),
		cmocka_unit_test(test_ipv4_of_an_ipv6_address_of_the_same_bytes_is_not_meant),
		cmocka_unit_test(test_every_flipped_bit_of_the_outer_ipv4_header_is_noticed),
		cmocka_unit_test(test_no_truncated_frame_is_opened),
		cmocka_unit_test(test_no_truncated_packet_is_opened),
		cmocka_unit_test(test_packets_that_lie_are_dropped_with_the_reason),
		cmocka_unit_test(test_fragments_of_outer_ipv6_are_dropped),
		cmocka_unit_test(test_ttl_of_1_is_delivered),
		cmocka_unit_test(test_congestion_marks_go_over_to_the_inner_packet),
		cmocka_unit_test(test_attach_and_detach_leave_nothing_behind),
		cmocka_unit_test(test_second_attach_is_refused_and_the_first_stays),
		cmocka_unit_test(test_pins_of_a_device_that_is_gone_do_not_hinder),
		cmocka_unit_test(test_what_cannot_be_attached_is_refused_with_words),
	};

	return cmocka_run_group_tests(tests, env_setup, teardown);
}
