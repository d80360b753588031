/*
 * Forward mode nat over whole frames: tags, options, payloads of any kind; both directions and ICMP
 * errors. What comes out is compared with a packet that the test makes by itself, byte by byte.
 */
#include "tests/bpf/nat_env.h"

#include <linux/bpf.h>

#include "tests/bpf/packet_sums.h"
#include "tests/bpf/wire.h"

#define LINES_FIRST 256
#define LINES_COUNT (SL_NAT_LINES - LINES_FIRST)
#define ROUTER	    NAT_IP(203, 0, 113, 1)
#define FLOWS	    40 /* of each shape */
#define MUTATIONS   10000

/* As nat_env.c sets them. */
static const uint8_t mac_b[6] = {2, 0, 0, 0, 0, 0xb0}, mac_c[6] = {2, 0, 0, 0, 0, 0xc0};
static const uint8_t client_hop[6] = {2, 0, 0, 0, 2, 2};

static struct nat_packet packet, out, expected;

/* What a frame has beside its IP header and what that carries. */
struct shape {
	unsigned int tags;
	size_t options_bytes;
};

static const struct shape shapes[] = {{0, 0}, {0, 4}, {0, 40}, {1, 0}, {1, 20}, {2, 0}, {2, 40}};

static size_t ip_at(const struct shape *shape)
{
	return 14 + 4 * shape->tags;
}

/* Gives a plain packet the tags and options of the shape. */
static void dress(struct nat_packet *it, const struct shape *shape)
{
	static const uint8_t tags[8] = {0x88, 0xa8, 0, 7, 0x81, 0, 0x20, 9};
	size_t header = 20 + shape->options_bytes, grown = shape->options_bytes;
	uint8_t *ip = it->bytes + 14;

	memmove(ip + header, ip + 20, it->len - 14 - 20);
	memset(ip + 20, 1, shape->options_bytes); /* no operation */
	ip[0] = (uint8_t)(0x40 | header / 4);
	put16(ip + 2, it->len + grown - 14);
	memmove(it->bytes + 12 + 4 * shape->tags, it->bytes + 12, it->len + grown - 12);
	memcpy(it->bytes + 12, tags + 8 - 4 * shape->tags, 4 * shape->tags);
	it->len += grown + 4 * shape->tags;
}

static bool lacks_checksum(const struct nat_packet *it, const struct shape *shape)
{
	const uint8_t *ip = it->bytes + ip_at(shape), *udp = ip + (size_t)(ip[0] & 15) * 4;

	return ip[9] == 17 && get16(udp + 6) == 0;
}

static void seal(struct nat_packet *it, const struct shape *shape)
{
	bool is_without = lacks_checksum(it, shape);
	uint8_t *ip = it->bytes + ip_at(shape), *udp = ip + (size_t)(ip[0] & 15) * 4;

	packet_sums_seal(it->bytes, it->len);
	if (is_without)
		put16(udp + 6, 0);
}

static struct nat_tuple4 random_client(uint64_t *random, enum nat_env_service service)
{
	struct nat_tuple4 tuple = {
		.src = NAT_IP(198, 51, 0, 0) + (packet_random(random) & 0xffff),
		.dst = NAT_ENV_VIP,
		.src_port = (uint16_t)(1 + packet_random(random) % 65535),
		.dst_port = service == NAT_ENV_TCP   ? NAT_ENV_TCP_PORT
			    : service == NAT_ENV_UDP ? NAT_ENV_UDP_PORT
						     : NAT_ENV_KEEP_PORT,
		.protocol = service == NAT_ENV_UDP ? 17 : 6,
	};

	return tuple;
}

static struct nat_tuple4 turned(const struct nat_tuple4 *tuple)
{
	return (struct nat_tuple4){tuple->dst, tuple->src, tuple->dst_port, tuple->src_port,
				   tuple->protocol};
}

static void build(struct nat_packet *it, const struct nat_tuple4 *tuple, uint8_t flags,
		  const struct shape *shape, uint64_t *random)
{
	size_t payload = packet_random(random) % 1200;
	bool has_checksum = packet_random(random) % 4 != 0;

	if (tuple->protocol == 17)
		nat_packet_udp(it, tuple, has_checksum, payload);
	else
		nat_packet_tcp(it, tuple, flags, payload);
	packet_random_fill(random, it->bytes + it->len - payload, payload);
	put16(it->bytes + 18, packet_random(random) & 0xffff); /* identification */
	it->bytes[22] = (uint8_t)(2 + packet_random(random) % 254);
	dress(it, shape);
	seal(it, shape);
}

static struct nat_tuple4 tuple_of(const uint8_t *bytes, size_t at)
{
	const uint8_t *ip = bytes + at, *ports = ip + (size_t)(ip[0] & 15) * 4;
	struct nat_tuple4 tuple = {
		.src = get16(ip + 12) << 16 | get16(ip + 14),
		.dst = get16(ip + 16) << 16 | get16(ip + 18),
		.src_port = (uint16_t)get16(ports),
		.dst_port = (uint16_t)get16(ports + 2),
		.protocol = ip[9],
	};

	return tuple;
}

static void set_tuple(uint8_t *ip, const struct nat_tuple4 *tuple)
{
	uint8_t *ports = ip + (size_t)(ip[0] & 15) * 4;

	put32(ip + 12, tuple->src);
	put32(ip + 16, tuple->dst);
	put16(ports, tuple->src_port);
	put16(ports + 2, tuple->dst_port);
}

/* Out came `packet` with this tuple, one hop less and these addresses. */
static void expect_translated(const struct shape *shape, const struct nat_tuple4 *to,
			      const uint8_t mac_to[6], const uint8_t mac_from[6])
{
	uint8_t *ip = expected.bytes + ip_at(shape);

	expected = packet;
	memcpy(expected.bytes, mac_to, 6);
	memcpy(expected.bytes + 6, mac_from, 6);
	ip[8]--;
	set_tuple(ip, to);
	seal(&expected, shape);
	if (out.len != expected.len || memcmp(out.bytes, expected.bytes, out.len))
		for (size_t i = 0; i < out.len; i++)
			if (out.bytes[i] != expected.bytes[i])
				print_error("byte %zu: %02x, expected %02x\n", i, out.bytes[i],
					    expected.bytes[i]);
	assert_int_equal(out.len, expected.len);
	assert_memory_equal(out.bytes, expected.bytes, expected.len);
	assert_null(packet_sums_wrong(out.bytes, out.len));
}

static void run_redirected(enum sl_reason reason)
{
	const char *moved;
	int verdict = nat_env_run(&packet, &out, &moved);

	if (verdict != XDP_REDIRECT || strcmp(moved, env_reason_name(reason)))
		fail_msg("verdict %d for '%s', expected '%s'", verdict, moved,
			 env_reason_name(reason));
}

/* Forward: where it goes and from what port is the datapath's choice, all else is not. */
static struct nat_tuple4 expect_forward(const struct nat_tuple4 *tuple, const struct shape *shape)
{
	uint8_t hop[6] = {2, 0, 0, 0, 1, 0};
	struct nat_tuple4 seen;

	run_redirected(SL_REASON_NAT_FORWARD);
	seen = tuple_of(out.bytes, ip_at(shape));
	assert_int_equal(seen.src, NAT_ENV_SOURCE);
	assert_in_range(seen.dst, NAT_ENV_BACKEND(1), NAT_ENV_BACKEND(NAT_ENV_BACKENDS));
	assert_int_equal(seen.dst_port, tuple->dst_port == NAT_ENV_KEEP_PORT ? NAT_ENV_KEEP_PORT
									     : NAT_ENV_TO_PORT);
	hop[5] = (uint8_t)seen.dst;
	expect_translated(shape, &seen, hop, mac_b);
	return seen;
}

static void expect_reverse(const struct nat_tuple4 *tuple, const struct shape *shape)
{
	struct nat_tuple4 home = turned(tuple);

	run_redirected(SL_REASON_NAT_REVERSE);
	expect_translated(shape, &home, client_hop, mac_c);
}

static void test_frames_of_every_shape_are_translated_and_nothing_else_changes(void **state)
{
	uint64_t random = 11;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (size_t nth = 0; nth < ARRAY_SIZE(shapes); nth++)
		for (unsigned int i = 0; i < FLOWS * NAT_ENV_SERVICES; i++) {
			struct nat_tuple4 tuple =
				random_client(&random, (enum nat_env_service)(i % 3));
			struct nat_tuple4 seen, again, back;

			build(&packet, &tuple, NAT_SYN, &shapes[nth], &random);
			seen = expect_forward(&tuple, &shapes[nth]);
			back = turned(&seen);
			build(&packet, &back, NAT_SYN | NAT_ACK, &shapes[nth], &random);
			expect_reverse(&tuple, &shapes[nth]);
			build(&packet, &tuple, NAT_ACK, &shapes[nth], &random);
			again = expect_forward(&tuple, &shapes[nth]);
			assert_memory_equal(&again, &seen, sizeof(seen));
		}
}

/* A flow with an answer; `ret_sent` is what its backend got, `ret_home` what its client got. */
static void begin_flow(uint64_t *random, struct nat_tuple4 *ret_client,
		       struct nat_tuple4 *ret_backend, struct nat_packet *ret_sent,
		       struct nat_packet *ret_home)
{
	static const struct shape plain;
	struct nat_tuple4 back;

	*ret_client = random_client(random, packet_random(random) % 2 ? NAT_ENV_UDP : NAT_ENV_TCP);
	build(&packet, ret_client, NAT_SYN, &plain, random);
	run_redirected(SL_REASON_NAT_FORWARD);
	*ret_sent = out;
	*ret_backend = tuple_of(out.bytes, 14);
	back = turned(ret_backend);
	build(&packet, &back, NAT_SYN | NAT_ACK, &plain, random);
	run_redirected(SL_REASON_NAT_REVERSE);
	*ret_home = out;
}

/* In `packet`: an error to a source address about what a backend got, or to the service. */
static void build_error(bool is_reverse, const struct nat_packet *about, const struct shape *shape,
			uint64_t *random)
{
	static const uint8_t kinds[][2] = {{3, 1}, {3, 3}, {3, 4}, {11, 0}, {12, 0}};
	const uint8_t *kind = kinds[packet_random(random) % ARRAY_SIZE(kinds)];
	size_t most = about->len - 14, quoted = 28 + packet_random(random) % (most - 27);

	nat_packet_icmp_error(&packet, ROUTER, is_reverse ? NAT_ENV_SOURCE : NAT_ENV_VIP, kind[0],
			      kind[1], about, quoted > 1400 ? 1400 : quoted);
	dress(&packet, shape);
	packet_sums_seal(packet.bytes, packet.len);
}

static void test_errors_of_every_shape_name_the_flow_as_its_receiver_knows_it(void **state)
{
	uint64_t random = 12;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (size_t nth = 0; nth < ARRAY_SIZE(shapes); nth++)
		for (unsigned int i = 0; i < FLOWS * 2; i++) {
			const struct shape *shape = &shapes[nth];
			struct nat_packet sent, home;
			struct nat_tuple4 client, backend, inner, outer;
			struct packet_view view;
			bool is_reverse = i % 2;

			begin_flow(&random, &client, &backend, &sent, &home);
			build_error(is_reverse, is_reverse ? &sent : &home, shape, &random);
			assert_null(packet_sums_wrong(packet.bytes, packet.len));
			run_redirected(SL_REASON_NAT_ICMP);
			assert_null(packet_sums_wrong(out.bytes, out.len));
			assert_int_equal(out.len, packet.len);
			if (is_reverse)
				assert_memory_equal(out.bytes, client_hop, 6);
			assert_memory_equal(out.bytes + 6, is_reverse ? mac_c : mac_b, 6);
			assert_memory_equal(out.bytes + 12, packet.bytes + 12, ip_at(shape) - 12);
			view = packet_view_frame(out.bytes, out.len);
			outer = tuple_of(out.bytes, view.ip_at);
			assert_int_equal(outer.src, is_reverse ? NAT_ENV_VIP : NAT_ENV_SOURCE);
			assert_int_equal(outer.dst, is_reverse ? client.src : backend.dst);
			inner = tuple_of(out.bytes, view.quote_at);
			client = is_reverse ? client : turned(&backend);
			assert_memory_equal(&inner, &client, sizeof(inner));
			/* What the errors say, and the payload quoted, is not for us to change. */
			assert_memory_equal(out.bytes + view.l4_at, packet.bytes + view.l4_at, 2);
			assert_memory_equal(out.bytes + view.l4_at + 4,
					    packet.bytes + view.l4_at + 4, 4);
			if (view.end > view.quote_at + 40)
				assert_memory_equal(out.bytes + view.quote_at + 40,
						    packet.bytes + view.quote_at + 40,
						    view.end - view.quote_at - 40);
		}
}

static void test_no_truncated_frame_is_forwarded_in_either_direction(void **state)
{
	uint64_t random = 13;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (size_t nth = 0; nth < ARRAY_SIZE(shapes); nth++)
		for (int kind = 0; kind < 8; kind++) {
			struct nat_tuple4 client, backend, back;
			struct nat_packet whole, sent, home;
			const char *moved;

			begin_flow(&random, &client, &backend, &sent, &home);
			back = turned(&backend);
			if (kind < 4)
				build(&packet, kind % 2 ? &back : &client, NAT_ACK, &shapes[nth],
				      &random);
			else
				build_error(kind % 2, kind % 2 ? &sent : &home, &shapes[nth],
					    &random);
			assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_REDIRECT);
			whole = packet;
			for (size_t len = 14; len < whole.len; len += len < 200 ? 1 : 37) {
				packet.len = len;
				assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_DROP);
			}
		}
}

static void test_ttl_runs_out_in_both_directions_and_for_errors(void **state)
{
	static const struct shape plain;
	struct nat_tuple4 client, backend, back;
	struct nat_packet sent, home;
	uint64_t random = 14;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	begin_flow(&random, &client, &backend, &sent, &home);
	back = turned(&backend);
	for (uint8_t ttl = 0; ttl < 3; ttl++)
		for (int kind = 0; kind < 4; kind++) {
			const char *moved;

			if (kind < 2)
				build(&packet, kind ? &back : &client, NAT_ACK, &plain, &random);
			else
				build_error(kind == 3, kind == 3 ? &sent : &home, &plain, &random);
			nat_packet_set_ttl(&packet, ttl);
			if (ttl < 2) {
				nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_TTL);
				continue;
			}
			assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_REDIRECT);
			assert_int_equal(nat_packet_ttl(&out), 1);
		}
}

static void test_known_next_hop_is_taken_from_the_record(void **state)
{
	static const uint8_t to[6] = {2, 0, 0, 0, 7, 7}, from[6] = {2, 0, 0, 0, 7, 8};
	uint64_t random = 15;
	struct nat_tuple4 tuple = random_client(&random, NAT_ENV_UDP);
	const char *moved;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_env_set_fresh(NAT_ENV_UDP, 4);
	nat_env_set_hop(NAT_ENV_UDP, 4, "nat-b", 1000, to, from);
	nat_packet_udp(&packet, &tuple, true, 1000 - 28);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
	assert_memory_equal(out.bytes, to, 6);
	assert_memory_equal(out.bytes + 6, from, 6);
	nat_env_set_ingress("nat-b");
	assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_TX);
	nat_env_set_ingress("lo");
	nat_packet_set_ttl(&packet, 1);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_TTL);
	nat_packet_udp(&packet, &tuple, true, 1001 - 28);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_SERVICE_TOO_BIG_DROP);
	nat_packet_set_fragment(&packet, 0x4000);
	assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_TX);
	assert_string_equal(moved, "service_too_big");
	assert_int_equal(get16(out.bytes + 14 + 26), 1000);
	assert_null(packet_sums_wrong(out.bytes, out.len));
}

/* In bytes of the IP packet: what fits leaves, one more is answered with the MTU of the route. */
static void expect_route_mtu(const struct nat_tuple4 *tuple, size_t mtu, enum sl_reason reason)
{
	const char *moved;

	nat_packet_udp(&packet, tuple, true, mtu - 28);
	nat_packet_set_fragment(&packet, 0x4000);
	nat_env_forwards(&packet, reason, &out);
	nat_packet_udp(&packet, tuple, true, mtu - 27);
	nat_packet_set_fragment(&packet, 0x4000);
	assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_TX);
	assert_string_equal(moved, "service_too_big");
	assert_int_equal(get16(out.bytes + 14 + 26), mtu);
	assert_null(packet_sums_wrong(out.bytes, out.len));
	assert_memory_equal(out.bytes, packet.bytes + 6, 6);
	nat_packet_set_fragment(&packet, 0);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_SERVICE_TOO_BIG_DROP);
}

static void test_mtu_of_the_route_counts_in_both_directions(void **state)
{
	struct nat_tuple4 tuple, seen, back;
	uint64_t random = 16;

	tuple = random_client(&random, NAT_ENV_UDP);
	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_env_set_fresh(NAT_ENV_UDP, 2);
	assert_int_equal(
		env_command("ip route add 10.1.0.2/32 dev nat-b mtu lock 1300 && ip route add "
			    "198.51.0.0/16 via 10.2.0.2 mtu lock 1200"),
		0);
	expect_route_mtu(&tuple, 1300, SL_REASON_NAT_FORWARD);
	nat_packet_udp(&packet, &tuple, true, 10);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
	seen = tuple_of(out.bytes, 14);
	back = turned(&seen);
	expect_route_mtu(&back, 1200, SL_REASON_NAT_REVERSE);
	assert_int_equal(env_command("ip route del 10.1.0.2/32 dev nat-b && ip route del "
				     "198.51.0.0/16 via 10.2.0.2"),
			 0);
}

static void test_ping_to_a_service_of_mode_nat_is_answered(void **state)
{
	const char *moved;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (size_t nth = 0; nth < ARRAY_SIZE(shapes); nth++) {
		struct nat_tuple4 tuple = {NAT_ENV_CLIENT, NAT_ENV_VIP, 1, 2, 17}, got;
		struct nat_packet about;

		nat_packet_udp(&about, &tuple, true, 100);
		nat_packet_icmp_error(&packet, NAT_ENV_CLIENT, NAT_ENV_VIP, 8, 0, &about, 100);
		dress(&packet, &shapes[nth]);
		packet_sums_seal(packet.bytes, packet.len);
		assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_TX);
		assert_string_equal(moved, "service_ping");
		assert_null(packet_sums_wrong(out.bytes, out.len));
		got = tuple_of(out.bytes, ip_at(&shapes[nth]));
		assert_int_equal(got.src, NAT_ENV_VIP);
		assert_int_equal(got.dst, NAT_ENV_CLIENT);
	}
	assert_int_equal(nat_env_count(0), 0);
}

static void test_later_fragments_of_a_service_have_the_reason_of_their_first(void **state)
{
	uint64_t random = 17;
	struct nat_tuple4 tuple = random_client(&random, NAT_ENV_UDP);

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_packet_udp(&packet, &tuple, true, 32);
	nat_packet_set_fragment(&packet, 0x2000);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_FRAGMENT);
	nat_packet_set_fragment(&packet, 5);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_FRAGMENT);
}

static bool is_as_right(const struct packet_view *before, const struct packet_view *after)
{
	return before->ip_at == after->ip_at &&
	       packet_sum_header(packet.bytes, before) == packet_sum_header(out.bytes, after) &&
	       packet_sum_transport(packet.bytes, before) == packet_sum_transport(out.bytes, after);
}

static bool mutation_came_out_right(int verdict, const char *moved)
{
	struct packet_view before = packet_view_frame(packet.bytes, packet.len), quoted;
	struct packet_view after = packet_view_frame(out.bytes, out.len), quoted_after;

	if (verdict == XDP_DROP)
		return true;
	if (verdict == XDP_PASS)
		return out.len == packet.len && !memcmp(out.bytes, packet.bytes, out.len);
	if (!strcmp(moved, "service_too_big"))
		return verdict == XDP_TX && !packet_sums_wrong(out.bytes, after.quote_at);
	if (out.len != packet.len || !is_as_right(&before, &after))
		return false;
	if (strcmp(moved, "nat_icmp"))
		return true;
	quoted = packet_view_ip(packet.bytes, before.end, before.quote_at);
	quoted_after = packet_view_ip(out.bytes, after.end, after.quote_at);
	/* None when its header is beyond recognition; the ICMP checksum covers it all the same. */
	return is_as_right(&quoted, &quoted_after);
}

static void mutate(uint64_t *random)
{
	unsigned int flips = 1 + packet_random(random) % 3;

	while (flips--) {
		size_t reach = packet_random(random) % 4 ? 14 + 90 : packet.len;
		size_t at = packet_random(random) % (reach < packet.len ? reach : packet.len);

		packet.bytes[at] ^= (uint8_t)(1 + packet_random(random) % 255);
	}
	if (packet_random(random) % 2)
		packet_sums_seal(packet.bytes, packet.len);
}

static void test_flipped_bytes_never_make_a_right_checksum_wrong(void **state)
{
	unsigned int left = 0, errors = 0;
	uint64_t random = 18;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (unsigned int i = 0; i < MUTATIONS; i++) {
		const struct shape *shape = &shapes[packet_random(&random) % ARRAY_SIZE(shapes)];
		struct nat_tuple4 client, backend, back;
		struct nat_packet sent, home;
		const char *moved;
		int verdict;

		begin_flow(&random, &client, &backend, &sent, &home);
		back = turned(&backend);
		if (i % 4 < 2)
			build(&packet, i % 4 ? &back : &client, NAT_ACK, shape, &random);
		else
			build_error(i % 4 == 3, i % 4 == 3 ? &sent : &home, shape, &random);
		mutate(&random);
		verdict = nat_env_run(&packet, &out, &moved);
		if (!moved[0] || !strcmp(moved, "several") ||
		    !mutation_came_out_right(verdict, moved))
			fail_msg("%u: verdict %d for '%s', %zu bytes became %zu", i, verdict, moved,
				 packet.len, out.len);
		left += verdict == XDP_REDIRECT;
		errors += !strcmp(moved, "nat_icmp");
	}
	/* Else the test would have looked at nothing. */
	assert_true(left > MUTATIONS / 4);
	assert_true(errors > MUTATIONS / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_frames_of_every_shape_are_translated_and_nothing_else_changes),
		cmocka_unit_test(test_errors_of_every_shape_name_the_flow_as_its_receiver_knows_it),
		cmocka_unit_test(test_no_truncated_frame_is_forwarded_in_either_direction),
		cmocka_unit_test(test_ttl_runs_out_in_both_directions_and_for_errors),
		cmocka_unit_test(test_known_next_hop_is_taken_from_the_record),
		cmocka_unit_test(test_mtu_of_the_route_counts_in_both_directions),
		cmocka_unit_test(test_ping_to_a_service_of_mode_nat_is_answered),
		cmocka_unit_test(test_later_fragments_of_a_service_have_the_reason_of_their_first),
		cmocka_unit_test(test_flipped_bytes_never_make_a_right_checksum_wrong),
	};

	return cmocka_run_group_tests(tests, nat_env_setup, nat_env_teardown);
}
