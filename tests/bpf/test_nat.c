/*
 * Forward mode nat: both directions, states of flows, and who is refused.
 */
#include "tests/bpf/nat_env.h"

#include <linux/bpf.h>

#define LINES_FIRST 256 /* ports 1024 and on */
#define LINES_COUNT (SL_NAT_LINES - LINES_FIRST)

static struct nat_packet packet, out, back, home;

static struct nat_tuple4 client_to(enum nat_env_service service, uint16_t client_port)
{
	struct nat_tuple4 tuple = {
		.src = NAT_ENV_CLIENT,
		.dst = NAT_ENV_VIP,
		.src_port = client_port,
		.dst_port = NAT_ENV_TCP_PORT,
		.protocol = 6,
	};

	if (service == NAT_ENV_UDP) {
		tuple.dst_port = NAT_ENV_UDP_PORT;
		tuple.protocol = 17;
	} else if (service == NAT_ENV_KEEP) {
		tuple.dst_port = NAT_ENV_KEEP_PORT;
	}
	return tuple;
}

static struct nat_tuple4 turned(const struct nat_tuple4 *tuple)
{
	return (struct nat_tuple4){
		.src = tuple->dst,
		.dst = tuple->src,
		.src_port = tuple->dst_port,
		.dst_port = tuple->src_port,
		.protocol = tuple->protocol,
	};
}

static void build(struct nat_packet *it, const struct nat_tuple4 *tuple, uint8_t flags)
{
	if (tuple->protocol == 17)
		nat_packet_udp(it, tuple, true, 33);
	else
		nat_packet_tcp(it, tuple, flags, flags & NAT_SYN ? 0 : 33);
}

/* Sends it to the service and returns the tuple that the backend sees. */
static struct nat_tuple4 forward(const struct nat_tuple4 *tuple, uint8_t flags)
{
	struct nat_tuple4 seen;

	build(&packet, tuple, flags);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
	nat_packet_read(&out, &seen);
	return seen;
}

/* The backend's packet to whom it has seen; returns the tuple that the client sees. */
static struct nat_tuple4 answer(const struct nat_tuple4 *seen, uint8_t flags)
{
	struct nat_tuple4 tuple = turned(seen);

	build(&back, &tuple, flags);
	nat_env_forwards(&back, SL_REASON_NAT_REVERSE, &home);
	nat_packet_read(&home, &tuple);
	return tuple;
}

static void assert_tuple(const struct nat_tuple4 *got, const struct nat_tuple4 *expected)
{
	assert_int_equal(got->src, expected->src);
	assert_int_equal(got->dst, expected->dst);
	assert_int_equal(got->src_port, expected->src_port);
	assert_int_equal(got->dst_port, expected->dst_port);
	assert_int_equal(got->protocol, expected->protocol);
}

static uint32_t state_of(const struct nat_tuple4 *seen)
{
	return SL_NAT_VALUE_STATE(nat_env_entry(0, seen->src_port).value);
}

static uint32_t flags_of(const struct nat_tuple4 *seen)
{
	return SL_NAT_VALUE_FLAGS(nat_env_entry(0, seen->src_port).value);
}

/* A connection after its handshake; returns the tuple that the backend sees. */
static struct nat_tuple4 establish(const struct nat_tuple4 *tuple)
{
	struct nat_tuple4 seen = forward(tuple, NAT_SYN);

	(void)answer(&seen, NAT_SYN | NAT_ACK);
	(void)forward(tuple, NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_ESTABLISHED);
	return seen;
}

static void refuse(const struct nat_tuple4 *tuple, uint8_t flags, enum sl_reason reason)
{
	build(&packet, tuple, flags);
	nat_env_expect(&packet, XDP_DROP, reason);
}

static void test_forward_takes_a_source_port_that_is_the_place_of_its_entry(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40000), seen;
	struct sl_nat_entry entry;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = forward(&tuple, NAT_SYN);
	assert_int_equal(seen.src, NAT_ENV_SOURCE);
	assert_in_range(seen.dst, NAT_ENV_BACKEND(1), NAT_ENV_BACKEND(NAT_ENV_BACKENDS));
	assert_int_equal(seen.dst_port, NAT_ENV_TO_PORT);
	assert_true(seen.src_port >= LINES_FIRST * SL_NAT_WAYS);
	entry = nat_env_entry(0, seen.src_port);
	assert_int_equal(SL_NAT_VALUE_STATE(entry.value), SL_NAT_SYN);
	assert_int_equal(SL_NAT_VALUE_PORT(entry.value), NAT_ENV_TCP_PORT);
	assert_int_equal(nat_env_count(0), 1);
	/* The next hop's addresses, from the kernel's neighbour table. */
	assert_memory_equal(out.bytes, ((uint8_t[]){2, 0, 0, 0, 1, (uint8_t)seen.dst}), 6);
	tuple = client_to(NAT_ENV_KEEP, 40000);
	seen = forward(&tuple, NAT_SYN);
	assert_int_equal(seen.dst_port, NAT_ENV_KEEP_PORT);
}

static void test_answers_come_from_the_service_to_the_client(void **state)
{
	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (int i = 0; i < NAT_ENV_SERVICES; i++) {
		struct nat_tuple4 tuple = client_to((enum nat_env_service)i, 40001);
		struct nat_tuple4 seen = forward(&tuple, NAT_SYN), expected = turned(&tuple), got;

		got = answer(&seen, NAT_SYN | NAT_ACK);
		assert_tuple(&got, &expected);
		assert_memory_equal(home.bytes, ((uint8_t[]){2, 0, 0, 0, 2, 2}), 6);
	}
}

static void test_flow_keeps_port_and_backend_although_its_slot_changes(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40002), seen, again;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_env_set_fresh(NAT_ENV_TCP, 3);
	seen = establish(&tuple);
	assert_int_equal(seen.dst, NAT_ENV_BACKEND(3));
	nat_env_set_fresh(NAT_ENV_TCP, 5);
	again = forward(&tuple, NAT_ACK);
	assert_tuple(&again, &seen);
	assert_int_equal(nat_env_count(0), 1);
	tuple.src_port++;
	again = forward(&tuple, NAT_SYN);
	assert_int_equal(again.dst, NAT_ENV_BACKEND(5));
}

static void test_checksums_stay_right_over_twenty_thousand_flows(void **state)
{
	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (unsigned int i = 0; i < 20000; i++) {
		struct nat_tuple4 tuple = client_to(i % 3, (uint16_t)(1024 + i * 7));
		struct nat_tuple4 expected, seen, got;

		tuple.src += i / 5000;
		expected = turned(&tuple);
		seen = forward(&tuple, NAT_SYN);
		got = answer(&seen, NAT_SYN | NAT_ACK);
		assert_tuple(&got, &expected);
	}
	assert_int_equal(nat_env_count(0), 20000);
}

/* The payload is chosen so that the sum comes to every value it can have near the twins of zero. */
static void test_udp_checksum_is_never_zero_by_arithmetic_and_stays_zero_by_choice(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40003), seen;
	unsigned int twins = 0;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_packet_udp(&packet, &tuple, false, 33);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
	assert_true(nat_packet_lacks_checksum(&out));
	nat_packet_read(&out, &seen);
	tuple = turned(&seen);
	nat_packet_udp(&back, &tuple, false, 33);
	nat_env_forwards(&back, SL_REASON_NAT_REVERSE, &home);
	assert_true(nat_packet_lacks_checksum(&home));
	tuple = client_to(NAT_ENV_UDP, 40003);
	for (unsigned int word = 0; word < 65536; word++) {
		nat_packet_udp_word(&packet, &tuple, (uint16_t)word);
		nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
		assert_false(nat_packet_lacks_checksum(&out));
		twins += nat_packet_has_twin_checksum(&out);
	}
	assert_true(twins > 0);
}

static void test_damaged_packet_stays_damaged(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40004);
	const char *moved;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	(void)forward(&tuple, NAT_SYN);
	build(&packet, &tuple, NAT_ACK);
	packet.bytes[packet.len - 1] ^= 0x10;
	assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_REDIRECT);
	assert_string_equal(moved, "nat_forward");
	assert_string_equal(nat_packet_wrong(&out), "transport checksum");
}

static void test_ip_options_are_kept(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40005), seen;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	build(&packet, &tuple, 0);
	nat_packet_add_options(&packet);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
	assert_memory_equal(out.bytes + 34, packet.bytes + 34, 8);
	nat_packet_read(&out, &seen);
	(void)answer(&seen, 0);
}

static void test_every_truncation_is_dropped_and_makes_no_flow(void **state)
{
	const char *moved;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (int i = 0; i < NAT_ENV_UDP + 1; i++) {
		struct nat_tuple4 tuple = client_to((enum nat_env_service)i, 40006);

		build(&packet, &tuple, NAT_SYN);
		for (size_t len = 14; len < packet.len; len++) {
			struct nat_packet cut = packet;
			int verdict;

			cut.len = len; /* the length field says more */
			verdict = nat_env_run(&cut, &out, &moved);
			assert_int_equal(verdict, XDP_DROP);
			if (i == NAT_ENV_TCP && len >= 54)
				continue;
			cut = packet;
			nat_packet_cut(&cut, len); /* the length field agrees */
			verdict = nat_env_run(&cut, &out, &moved);
			assert_int_equal(verdict, XDP_DROP);
		}
	}
	assert_int_equal(nat_env_count(0), 0);
}

static void test_packet_without_a_flow_does_not_begin_one(void **state)
{
	static const uint8_t flags[] = {NAT_ACK,	   NAT_FIN,	      NAT_RST,
					NAT_SYN | NAT_ACK, NAT_SYN | NAT_RST, 0};
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40007);

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		refuse(&tuple, flags[i], SL_REASON_NAT_FLOW);
	assert_int_equal(nat_env_count(0), 0);
}

/* Their place is that of the address' key: the port alone tells them apart. */
static void test_flows_of_a_range_of_ports_are_kept_apart_by_port_and_protocol(void **state)
{
	static const struct {
		uint16_t port;
		uint8_t protocol;
	} rows[] = {
		{NAT_ENV_RANGE_FIRST, 6},     {NAT_ENV_RANGE_FIRST, 17}, {NAT_ENV_RANGE_LAST, 6},
		{NAT_ENV_RANGE_FIRST + 1, 6}, {NAT_ENV_RANGE_LAST, 17},
	};
	struct nat_tuple4 tuples[ARRAY_SIZE(rows)], seen[ARRAY_SIZE(rows)], home_tuple, expected;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_env_add_range();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		tuples[i] = client_to(NAT_ENV_TCP, 40020);
		tuples[i].dst_port = rows[i].port;
		tuples[i].protocol = rows[i].protocol;
		seen[i] = forward(&tuples[i], NAT_SYN);
		assert_int_equal(seen[i].src, NAT_ENV_SOURCE);
		assert_int_equal(seen[i].dst_port, rows[i].port);
		assert_int_equal(nat_env_count(0), i + 1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct nat_tuple4 again;

		home_tuple = answer(&seen[i], NAT_SYN | NAT_ACK);
		expected = turned(&tuples[i]);
		assert_tuple(&home_tuple, &expected);
		again = forward(&tuples[i], NAT_ACK);
		assert_tuple(&again, &seen[i]);
	}
	assert_int_equal(nat_env_count(0), ARRAY_SIZE(rows));
	tuples[0].dst_port = NAT_ENV_RANGE_LAST + 1;
	build(&packet, &tuples[0], NAT_SYN);
	nat_env_expect(&packet, XDP_PASS, SL_REASON_PASS);
}

static void test_full_table_drops_new_flows_and_serves_old_ones(void **state)
{
	struct nat_tuple4 first = client_to(NAT_ENV_UDP, 40008), tuple = first, seen;
	unsigned int refused = 0;
	const char *moved;

	nat_env_begin(LINES_FIRST, 2); /* eight ports */
	seen = forward(&first, 0);
	for (uint16_t port = 1; port < 200; port++) {
		tuple.src_port = port;
		build(&packet, &tuple, 0);
		if (nat_env_run(&packet, &out, &moved) == XDP_DROP) {
			assert_string_equal(moved, "nat_full");
			refused++;
		}
	}
	assert_int_equal(nat_env_count(0), 8);
	assert_int_equal(refused, 199 - 7);
	(void)answer(&seen, 0);
	assert_int_equal(forward(&first, 0).src_port, seen.src_port);
}

static void test_two_lines_fill_up_before_a_flow_is_refused(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 0);
	unsigned int placed = 0;
	const char *moved;

	nat_env_begin(LINES_FIRST, 256); /* 1,024 ports */
	for (uint16_t port = 1; port <= 1024; port++) {
		tuple.src_port = port;
		build(&packet, &tuple, 0);
		if (nat_env_run(&packet, &out, &moved) != XDP_REDIRECT)
			break;
		placed++;
	}
	/* One choice of a line of four would refuse before a third is full. */
	assert_true(placed > 1024 * 6 / 10);
}

static void test_entry_is_used_again_only_when_it_is_idle(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40009), seen, other;

	nat_env_begin(LINES_FIRST, 1);
	for (uint16_t i = 0; i < 4; i++, tuple.src_port++)
		seen = forward(&tuple, 0);
	refuse(&tuple, 0, SL_REASON_NAT_FULL);
	nat_env_age(0, seen.src_port, SL_NAT_LIMIT_OF(60) - 3);
	refuse(&tuple, 0, SL_REASON_NAT_FULL);
	nat_env_age(0, seen.src_port, 4);
	other = forward(&tuple, 0);
	assert_int_equal(other.src_port, seen.src_port);
	assert_int_equal(answer(&other, 0).dst_port, tuple.src_port);
	/* Who was there before begins anew, and finds no room. */
	tuple.src_port--;
	refuse(&tuple, 0, SL_REASON_NAT_FULL);
}

static void test_packets_both_ways_keep_a_flow_alive(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40010), seen;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = establish(&tuple);
	for (int from_client = 0; from_client < 2; from_client++) {
		uint16_t fresh = SL_NAT_VALUE_TIME(nat_env_entry(0, seen.src_port).value), now;

		nat_env_age(0, seen.src_port, 40);
		if (from_client)
			(void)forward(&tuple, NAT_ACK);
		else
			(void)answer(&seen, NAT_ACK);
		now = SL_NAT_VALUE_TIME(nat_env_entry(0, seen.src_port).value);
		assert_in_range((uint16_t)(now - fresh), 0, 10);
	}
}

static void test_wrong_peers_of_a_source_port_are_refused(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40011), seen, wrong;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = establish(&tuple);
	wrong = turned(&seen);
	wrong.src = wrong.src == NAT_ENV_BACKEND(1) ? NAT_ENV_BACKEND(2) : NAT_ENV_BACKEND(1);
	refuse(&wrong, NAT_ACK, SL_REASON_NAT_REFUSED);
	wrong = turned(&seen);
	wrong.src_port++;
	refuse(&wrong, NAT_ACK, SL_REASON_NAT_REFUSED);
	wrong = turned(&seen);
	wrong.protocol = 17;
	refuse(&wrong, 0, SL_REASON_NAT_REFUSED);
	wrong = turned(&seen);
	wrong.dst_port ^= 0x4000;
	refuse(&wrong, NAT_ACK, SL_REASON_NAT_FLOW);
	assert_int_equal(state_of(&seen), SL_NAT_ESTABLISHED);
}

static void test_ports_outside_the_range_are_the_hosts(void **state)
{
	struct nat_tuple4 tuple = {
		.src = NAT_ENV_BACKEND(1),
		.dst = NAT_ENV_SOURCE,
		.src_port = 22,
		.protocol = 6,
	};

	nat_env_begin(LINES_FIRST, 16); /* 1024 to 1087 */
	for (tuple.dst_port = 1023; tuple.dst_port < 1090; tuple.dst_port++) {
		build(&packet, &tuple, NAT_ACK);
		if (tuple.dst_port < 1024 || tuple.dst_port > 1087)
			nat_env_expect(&packet, XDP_PASS, SL_REASON_PASS);
		else
			nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_FLOW);
	}
}

static void test_states_follow_the_handshake_and_both_fins(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40012), seen;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = forward(&tuple, NAT_SYN);
	(void)forward(&tuple, NAT_ACK); /* nothing to acknowledge yet */
	assert_int_equal(state_of(&seen), SL_NAT_SYN);
	(void)answer(&seen, NAT_SYN | NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_ANSWERED);
	(void)answer(&seen, NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_ANSWERED);
	(void)forward(&tuple, NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_ESTABLISHED);
	(void)forward(&tuple, NAT_FIN | NAT_ACK);
	(void)answer(&seen, NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_ESTABLISHED);
	(void)answer(&seen, NAT_FIN | NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_CLOSED);
	(void)forward(&tuple, NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_CLOSED);
	/* The client uses its port again. */
	assert_int_equal(forward(&tuple, NAT_SYN).src_port, seen.src_port);
	assert_int_equal(state_of(&seen), SL_NAT_SYN);
}

static void test_udp_flow_is_answered_by_its_backend_alone(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40013), seen;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = forward(&tuple, 0);
	assert_int_equal(state_of(&seen), SL_NAT_UDP_NEW);
	(void)forward(&tuple, 0);
	assert_int_equal(state_of(&seen), SL_NAT_UDP_NEW);
	(void)answer(&seen, 0);
	assert_int_equal(state_of(&seen), SL_NAT_UDP);
	(void)forward(&tuple, 0);
	assert_int_equal(state_of(&seen), SL_NAT_UDP);
}

/* Anybody can send what seems to come from a client. */
static void test_forged_reset_and_syn_neither_end_nor_move_a_connection(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40014), seen, got;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_env_set_fresh(NAT_ENV_TCP, 3);
	seen = establish(&tuple);
	nat_env_set_fresh(NAT_ENV_TCP, 5);
	(void)forward(&tuple, NAT_RST); /* the backend judges its sequence number */
	assert_int_equal(state_of(&seen), SL_NAT_ESTABLISHED);
	assert_int_equal(flags_of(&seen), SL_NAT_RST_CLIENT);
	(void)answer(&seen, NAT_ACK);
	got = forward(&tuple, NAT_SYN);
	assert_tuple(&got, &seen);
	assert_int_equal(state_of(&seen), SL_NAT_ESTABLISHED);
	(void)answer(&seen, NAT_ACK); /* a challenge, RFC 5961 */
	got = forward(&tuple, NAT_ACK);
	assert_tuple(&got, &seen);
	(void)forward(&tuple, NAT_RST);
	(void)forward(&tuple, NAT_ACK);
	assert_int_equal(flags_of(&seen), 0);
	/* A SYN for what is established changes nothing at all. */
	seen = establish(&(struct nat_tuple4){tuple.src, tuple.dst, 40015, tuple.dst_port, 6});
	tuple.src_port = 40015;
	(void)forward(&tuple, NAT_SYN);
	assert_int_equal(state_of(&seen), SL_NAT_ESTABLISHED);
}

static void test_reset_makes_room_only_where_there_is_none(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40016), seen, other;

	nat_env_begin(LINES_FIRST, 1);
	nat_env_set_limit(true, SL_NAT_ESTABLISHED, true, SL_NAT_LIMIT_OF(10));
	seen = establish(&tuple);
	for (uint16_t i = 1; i < 4; i++) {
		other = client_to(NAT_ENV_TCP, (uint16_t)(40016 + i));
		(void)establish(&other);
	}
	other.src_port++;
	nat_env_age(0, seen.src_port, 20);
	refuse(&other, NAT_SYN, SL_REASON_NAT_FULL);
	(void)answer(&seen, NAT_RST);
	nat_env_age(0, seen.src_port, 20);
	assert_int_equal(forward(&other, NAT_SYN).src_port, seen.src_port);
}

static void test_refused_connection_goes_to_the_fresh_backend_next_time(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40017), seen, again;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_env_set_fresh(NAT_ENV_TCP, 3);
	seen = forward(&tuple, NAT_SYN);
	(void)answer(&seen, NAT_RST | NAT_ACK);
	assert_int_equal(state_of(&seen), SL_NAT_CLOSED);
	nat_env_set_fresh(NAT_ENV_TCP, 5);
	again = forward(&tuple, NAT_SYN);
	assert_int_equal(again.dst, NAT_ENV_BACKEND(5));
	assert_int_equal(again.src_port, seen.src_port);
	/* The old one is no longer the peer of this port. */
	seen = turned(&seen);
	refuse(&seen, NAT_SYN | NAT_ACK, SL_REASON_NAT_REFUSED);
}

static void test_dead_backend_ends_tcp_and_is_replaced_for_udp(void **state)
{
	struct nat_tuple4 tcp = client_to(NAT_ENV_TCP, 40018), udp = client_to(NAT_ENV_UDP, 40018);
	struct nat_tuple4 seen;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_env_set_fresh(NAT_ENV_TCP, 3);
	nat_env_set_fresh(NAT_ENV_UDP, 3);
	seen = establish(&tcp);
	(void)forward(&udp, 0);
	for (int i = 0; i < 2; i++) {
		nat_env_set_backend(i ? NAT_ENV_UDP : NAT_ENV_TCP, 3,
				    SL_BACKEND_LIVE | SL_BACKEND_DEAD);
		nat_env_set_fresh(i ? NAT_ENV_UDP : NAT_ENV_TCP, 5);
	}
	(void)answer(&seen, NAT_ACK); /* its last words */
	refuse(&tcp, NAT_ACK, SL_REASON_NAT_FLOW);
	assert_int_equal(forward(&tcp, NAT_SYN).dst, NAT_ENV_BACKEND(5));
	assert_int_equal(forward(&udp, 0).dst, NAT_ENV_BACKEND(5));
	nat_env_set_backend(NAT_ENV_UDP, 5, SL_BACKEND_LIVE | SL_BACKEND_DEAD);
	refuse(&udp, 0, SL_REASON_SERVICE_NO_BACKEND);
}

static void test_flow_is_found_after_the_source_addresses_change(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_TCP, 40019), seen, again;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = establish(&tuple);
	nat_env_add_source(1, 1000, 100);
	nat_env_set_slots(true, 0, LINES_FIRST, LINES_COUNT);
	nat_env_set_slots(false, 1, 1000, 100);
	again = forward(&tuple, NAT_ACK);
	assert_tuple(&again, &seen);
	(void)answer(&seen, NAT_ACK);
	tuple.src_port++;
	again = forward(&tuple, NAT_SYN);
	assert_int_equal(again.src, NAT_ENV_SOURCE + 1);
	assert_in_range(again.src_port, 4000, 4399);
	(void)answer(&again, NAT_SYN | NAT_ACK);
}

static void test_fragments_are_dropped_where_later_ones_cannot_follow(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40020), seen;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	nat_packet_udp(&packet, &tuple, true, 32);
	nat_packet_set_fragment(&packet, 0x2000);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_FRAGMENT);
	assert_int_equal(nat_env_count(0), 0);
	seen = forward(&tuple, 0);
	seen = turned(&seen);
	nat_packet_udp(&packet, &seen, true, 32);
	nat_packet_set_fragment(&packet, 0x2000);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_FRAGMENT);
	/* Don't fragment is not a fragment. */
	nat_packet_udp(&packet, &tuple, true, 32);
	nat_packet_set_fragment(&packet, 0x4000);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
}

static void test_what_cannot_be_forwarded_is_dropped_with_its_reason(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40021), seen;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = forward(&tuple, 0);
	for (uint8_t ttl = 0; ttl < 2; ttl++) {
		build(&packet, &tuple, 0);
		nat_packet_set_ttl(&packet, ttl);
		nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_TTL);
	}
	nat_packet_udp(&packet, &tuple, true, 2000);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_SERVICE_TOO_BIG_DROP);
	assert_int_equal(env_command("ip route del default"), 0);
	seen = turned(&seen);
	build(&packet, &seen, 0);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_NO_ROUTE);
	assert_int_equal(env_command("ip route add default via 10.2.0.3 dev nat-c"), 0);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_NO_NEIGH);
	assert_int_equal(env_command("ip route replace default via 10.2.0.2 dev nat-c"), 0);
	assert_int_equal(env_command("echo 0 >/proc/sys/net/ipv4/ip_forward"), 0);
	nat_env_expect(&packet, XDP_DROP, SL_REASON_NAT_NO_FORWARDING);
	assert_int_equal(env_command("echo 1 >/proc/sys/net/ipv4/ip_forward"), 0);
	nat_env_forwards(&packet, SL_REASON_NAT_REVERSE, &out);
}

/* Don't fragment: the sender learns the MTU, from the address that it knows. */
static void test_too_big_packets_are_answered_in_both_directions(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40023), seen, got;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	seen = forward(&tuple, 0);
	for (int is_reverse = 0; is_reverse < 2; is_reverse++) {
		struct nat_tuple4 sent = is_reverse ? turned(&seen) : tuple;
		const char *moved;

		nat_packet_udp(&packet, &sent, true, 2000);
		nat_packet_set_fragment(&packet, 0x4000);
		assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_TX);
		assert_string_equal(moved, "service_too_big");
		nat_packet_read(&out, &got);
		assert_int_equal(got.src, sent.dst);
		assert_int_equal(got.dst, sent.src);
		assert_int_equal(got.protocol, 1);
		assert_memory_equal(out.bytes + 34, ((uint8_t[]){3, 4}), 2);
		assert_memory_equal(out.bytes + 40, ((uint8_t[]){1500 >> 8, 1500 & 255}), 2);
		assert_null(nat_packet_wrong(&out));
	}
}

static void test_packet_for_the_wire_it_came_by_is_sent_back_there(void **state)
{
	struct nat_tuple4 tuple = client_to(NAT_ENV_UDP, 40022);
	const char *moved;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	build(&packet, &tuple, 0);
	nat_env_set_ingress("nat-b");
	assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_TX);
	assert_string_equal(moved, "nat_forward");
	nat_env_set_ingress("nat-c");
	assert_int_equal(nat_env_run(&packet, &out, &moved), XDP_REDIRECT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_forward_takes_a_source_port_that_is_the_place_of_its_entry),
		cmocka_unit_test(test_answers_come_from_the_service_to_the_client),
		cmocka_unit_test(test_flow_keeps_port_and_backend_although_its_slot_changes),
		cmocka_unit_test(test_checksums_stay_right_over_twenty_thousand_flows),
		cmocka_unit_test(
			test_udp_checksum_is_never_zero_by_arithmetic_and_stays_zero_by_choice),
		cmocka_unit_test(test_damaged_packet_stays_damaged),
		cmocka_unit_test(test_ip_options_are_kept),
		cmocka_unit_test(test_every_truncation_is_dropped_and_makes_no_flow),
		cmocka_unit_test(test_packet_without_a_flow_does_not_begin_one),
		cmocka_unit_test(
			test_flows_of_a_range_of_ports_are_kept_apart_by_port_and_protocol),
		cmocka_unit_test(test_full_table_drops_new_flows_and_serves_old_ones),
		cmocka_unit_test(test_two_lines_fill_up_before_a_flow_is_refused),
		cmocka_unit_test(test_entry_is_used_again_only_when_it_is_idle),
		cmocka_unit_test(test_packets_both_ways_keep_a_flow_alive),
		cmocka_unit_test(test_wrong_peers_of_a_source_port_are_refused),
		cmocka_unit_test(test_ports_outside_the_range_are_the_hosts),
		cmocka_unit_test(test_states_follow_the_handshake_and_both_fins),
		cmocka_unit_test(test_udp_flow_is_answered_by_its_backend_alone),
		cmocka_unit_test(test_forged_reset_and_syn_neither_end_nor_move_a_connection),
		cmocka_unit_test(test_reset_makes_room_only_where_there_is_none),
		cmocka_unit_test(test_refused_connection_goes_to_the_fresh_backend_next_time),
		cmocka_unit_test(test_dead_backend_ends_tcp_and_is_replaced_for_udp),
		cmocka_unit_test(test_flow_is_found_after_the_source_addresses_change),
		cmocka_unit_test(test_fragments_are_dropped_where_later_ones_cannot_follow),
		cmocka_unit_test(test_what_cannot_be_forwarded_is_dropped_with_its_reason),
		cmocka_unit_test(test_too_big_packets_are_answered_in_both_directions),
		cmocka_unit_test(test_packet_for_the_wire_it_came_by_is_sent_back_there),
	};

	return cmocka_run_group_tests(tests, nat_env_setup, nat_env_teardown);
}
