/*
 * Forward mode nat: ICMP errors about translated packets, both directions.
 */
#include "tests/bpf/nat_env.h"

#include <linux/bpf.h>

#define LINES_FIRST 256
#define LINES_COUNT (SL_NAT_LINES - LINES_FIRST)
#define ROUTER	    NAT_IP(203, 0, 113, 1)

static struct nat_packet packet, out, back, home, error, quoted;

/* A flow of this protocol; `out` is what the backend got, `home` what the client got. */
static void begin_flow(uint8_t protocol, struct nat_tuple4 *ret_client,
		       struct nat_tuple4 *ret_backend)
{
	struct nat_tuple4 tuple = {
		.src = NAT_ENV_CLIENT,
		.dst = NAT_ENV_VIP,
		.src_port = 40000,
		.dst_port = protocol == 6 ? NAT_ENV_TCP_PORT : NAT_ENV_UDP_PORT,
		.protocol = protocol,
	};

	*ret_client = tuple;
	if (protocol == 6)
		nat_packet_tcp(&packet, &tuple, NAT_SYN, 40);
	else
		nat_packet_udp(&packet, &tuple, true, 40);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
	nat_packet_read(&out, ret_backend);
	tuple = (struct nat_tuple4){
		.src = ret_backend->dst,
		.dst = ret_backend->src,
		.src_port = ret_backend->dst_port,
		.dst_port = ret_backend->src_port,
		.protocol = protocol,
	};
	if (protocol == 6)
		nat_packet_tcp(&back, &tuple, NAT_SYN | NAT_ACK, 40);
	else
		nat_packet_udp(&back, &tuple, true, 40);
	nat_env_forwards(&back, SL_REASON_NAT_REVERSE, &home);
}

static size_t ip_bytes(const struct nat_packet *it)
{
	return it->len - 14;
}

static const struct {
	uint8_t type;
	uint8_t code;
} errors[] = {{3, 1}, {3, 3}, {3, 4}, {11, 0}, {12, 0}};

static void test_error_from_the_backends_side_reaches_the_client(void **state)
{
	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (uint8_t protocol = 6; protocol <= 17; protocol += 11)
		for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
			for (size_t bytes = 28; bytes <= 68; bytes += 4) {
				struct nat_tuple4 client, backend, got;

				begin_flow(protocol, &client, &backend);
				if (bytes > ip_bytes(&out))
					continue;
				nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE,
						      errors[i].type, errors[i].code, &out, bytes);
				nat_env_forwards(&error, SL_REASON_NAT_ICMP, &home);
				nat_packet_read(&home, &got);
				assert_int_equal(got.src, NAT_ENV_VIP);
				assert_int_equal(got.dst, client.src);
				nat_packet_quoted(&home, &quoted);
				assert_int_equal(quoted.len, bytes + 14);
				nat_packet_read(&quoted, &got);
				assert_int_equal(got.src, client.src);
				assert_int_equal(got.dst, client.dst);
				assert_int_equal(got.src_port, client.src_port);
				assert_int_equal(got.dst_port, client.dst_port);
			}
}

static void test_error_from_the_clients_side_reaches_the_backend(void **state)
{
	nat_env_begin(LINES_FIRST, LINES_COUNT);
	for (uint8_t protocol = 6; protocol <= 17; protocol += 11)
		for (size_t i = 0; i < ARRAY_SIZE(errors); i++)
			for (size_t bytes = 28; bytes <= 68; bytes += 4) {
				struct nat_tuple4 client, backend, got;

				begin_flow(protocol, &client, &backend);
				if (bytes > ip_bytes(&home))
					continue;
				nat_packet_icmp_error(&error, ROUTER, NAT_ENV_VIP, errors[i].type,
						      errors[i].code, &home, bytes);
				nat_env_forwards(&error, SL_REASON_NAT_ICMP, &out);
				nat_packet_read(&out, &got);
				assert_int_equal(got.src, NAT_ENV_SOURCE);
				assert_int_equal(got.dst, backend.dst);
				nat_packet_quoted(&out, &quoted);
				nat_packet_read(&quoted, &got);
				assert_int_equal(got.src, backend.dst);
				assert_int_equal(got.dst, backend.src);
				assert_int_equal(got.src_port, backend.dst_port);
				assert_int_equal(got.dst_port, backend.src_port);
			}
}

static void test_quoted_udp_packet_without_a_checksum_keeps_none(void **state)
{
	struct nat_tuple4 client, backend;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	begin_flow(17, &client, &backend);
	nat_packet_udp(&packet, &client, false, 40);
	nat_env_forwards(&packet, SL_REASON_NAT_FORWARD, &out);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 3, &out, ip_bytes(&out));
	nat_env_forwards(&error, SL_REASON_NAT_ICMP, &home);
	nat_packet_quoted(&home, &quoted);
	assert_true(nat_packet_lacks_checksum(&quoted));
}

static void test_quoted_packet_with_options_is_translated(void **state)
{
	struct nat_tuple4 client, backend, got;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	begin_flow(17, &client, &backend);
	nat_packet_add_options(&out);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 3, &out, ip_bytes(&out));
	nat_packet_add_options(&error);
	nat_env_forwards(&error, SL_REASON_NAT_ICMP, &home);
	nat_packet_quoted(&home, &quoted);
	nat_packet_read(&quoted, &got);
	assert_int_equal(got.src, client.src);
	assert_int_equal(got.src_port, client.src_port);
}

static void test_error_neither_changes_nor_keeps_an_entry(void **state)
{
	struct nat_tuple4 client, backend;
	struct sl_nat_entry before, after;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	begin_flow(6, &client, &backend);
	nat_env_age(0, backend.src_port, 30);
	before = nat_env_entry(0, backend.src_port);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 1, &out, 28);
	nat_env_forwards(&error, SL_REASON_NAT_ICMP, &packet);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_VIP, 3, 1, &home, 28);
	nat_env_forwards(&error, SL_REASON_NAT_ICMP, &packet);
	after = nat_env_entry(0, backend.src_port);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void test_error_about_another_backend_or_no_flow_is_refused(void **state)
{
	struct nat_tuple4 client, backend, wrong;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	begin_flow(17, &client, &backend);
	wrong = backend;
	wrong.dst = backend.dst == NAT_ENV_BACKEND(1) ? NAT_ENV_BACKEND(2) : NAT_ENV_BACKEND(1);
	nat_packet_udp(&packet, &wrong, true, 0);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 1, &packet, 28);
	nat_env_expect(&error, XDP_DROP, SL_REASON_NAT_REFUSED);
	wrong = backend;
	wrong.dst_port++;
	nat_packet_udp(&packet, &wrong, true, 0);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 1, &packet, 28);
	nat_env_expect(&error, XDP_DROP, SL_REASON_NAT_REFUSED);
	wrong = backend;
	wrong.src_port ^= 0x4000;
	nat_packet_udp(&packet, &wrong, true, 0);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 1, &packet, 28);
	nat_env_expect(&error, XDP_DROP, SL_REASON_NAT_FLOW);
	wrong = (struct nat_tuple4){client.dst, client.src + 1, client.dst_port, client.src_port,
				    17};
	nat_packet_udp(&packet, &wrong, true, 0);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_VIP, 3, 1, &packet, 28);
	nat_env_expect(&error, XDP_DROP, SL_REASON_NAT_FLOW);
}

static void test_icmp_that_is_no_error_about_a_flow_is_the_hosts(void **state)
{
	struct nat_tuple4 client, backend;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	begin_flow(17, &client, &backend);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 8, 0, &out, 28); /* a ping */
	nat_env_expect(&error, XDP_PASS, SL_REASON_PASS);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 1, &out, 27);
	nat_env_expect(&error, XDP_PASS, SL_REASON_PASS);
	nat_packet_set_fragment(&out, 100);
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 1, &out, 28);
	nat_env_expect(&error, XDP_PASS, SL_REASON_PASS);
	/* What it quotes was not sent from this address. */
	nat_packet_icmp_error(&error, ROUTER, NAT_ENV_SOURCE, 3, 1, &home, 28);
	nat_env_expect(&error, XDP_PASS, SL_REASON_PASS);
}

static void test_every_truncated_error_is_let_alone_or_dropped(void **state)
{
	struct nat_tuple4 client, backend;
	struct nat_packet whole;

	nat_env_begin(LINES_FIRST, LINES_COUNT);
	begin_flow(6, &client, &backend);
	nat_packet_icmp_error(&whole, ROUTER, NAT_ENV_SOURCE, 3, 1, &out, 60);
	for (size_t len = 14; len < whole.len; len++) {
		const char *moved;
		int verdict;

		error = whole;
		error.len = len; /* the length field says more */
		assert_int_equal(nat_env_run(&error, &home, &moved), XDP_DROP);
		error = whole;
		nat_packet_cut(&error, len); /* the length field agrees */
		verdict = nat_env_run(&error, &home, &moved);
		if (len < 14 + 28)
			assert_int_equal(verdict, XDP_DROP);
		else if (len < 14 + 28 + 28)
			assert_int_equal(verdict, XDP_PASS);
		else
			assert_int_equal(verdict, XDP_REDIRECT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error_from_the_backends_side_reaches_the_client),
		cmocka_unit_test(test_error_from_the_clients_side_reaches_the_backend),
		cmocka_unit_test(test_quoted_udp_packet_without_a_checksum_keeps_none),
		cmocka_unit_test(test_quoted_packet_with_options_is_translated),
		cmocka_unit_test(test_error_neither_changes_nor_keeps_an_entry),
		cmocka_unit_test(test_error_about_another_backend_or_no_flow_is_refused),
		cmocka_unit_test(test_icmp_that_is_no_error_about_a_flow_is_the_hosts),
		cmocka_unit_test(test_every_truncated_error_is_let_alone_or_dropped),
	};

	return cmocka_run_group_tests(tests, nat_env_setup, nat_env_teardown);
}
