/*
 * The service stage over whole frames of every kind (svc_shapes.h): what comes out, byte by byte,
 * over thousands of random clients and payloads; each truncation; bytes flipped at random; and what
 * a backend takes out of it.
 */
#include "tests/bpf/svc_shapes.h"

#include <bpf/bpf.h>
#include <linux/bpf.h>

#include "abi/decap.h"
#include "decap.skel.h"
#include "tests/bpf/packet_sums.h"

#define FLOWS	  90	/* of each kind: more than 3,000 */
#define MUTATIONS 12000 /* of all kinds together */
#define MTU	  1500

static struct frame frame;
static struct decap_bpf *decap;

static uint32_t get_u16(const uint8_t *at)
{
	return (uint32_t)at[0] << 8 | at[1];
}

static void assert_sums(const char *name, const uint8_t *bytes, size_t len)
{
	const char *wrong = packet_sums_wrong(bytes, len);

	if (wrong)
		fail_msg("%s: wrong checksum: %s", name, wrong);
}

/* What is said to the client comes from whom it called, back the way that the frame came. */
static void expect_answer_head(const struct frame *to, struct packet_view *ret_view)
{
	const uint8_t *ip = to->bytes + to->ip_at, *got = svc_out.bytes + to->ip_at;
	size_t src_at = to->is_v6 ? 8 : 12, address_len = to->is_v6 ? 16 : 4;

	assert_memory_equal(svc_out.bytes, to->bytes + 6, 6);
	assert_memory_equal(svc_out.bytes + 6, to->bytes, 6);
	assert_memory_equal(svc_out.bytes + 12, to->bytes + 12, to->ip_at - 12);
	assert_memory_equal(got + src_at, ip + src_at + address_len, address_len);
	assert_memory_equal(got + src_at + address_len, ip + src_at, address_len);
	assert_int_equal(got[to->is_v6 ? 7 : 8], 64);
	*ret_view = packet_view_frame(svc_out.bytes, svc_out.len);
	assert_int_equal(ret_view->end, svc_out.len);
	assert_int_equal(ret_view->protocol, to->is_v6 ? 58 : 1);
	assert_int_equal(packet_sum_transport(svc_out.bytes, ret_view), PACKET_SUM_RIGHT);
	assert_int_equal(packet_sum_header(svc_out.bytes, ret_view),
			 to->is_v6 ? PACKET_SUM_NONE : PACKET_SUM_RIGHT);
}

static void expect_too_big(const struct frame *to, size_t mtu)
{
	size_t quoted = to->is_v6 ? 448 : 68;
	struct packet_view view;
	const uint8_t *icmp;

	expect_answer_head(to, &view);
	icmp = svc_out.bytes + view.l4_at;
	assert_int_equal(view.l4_at, to->ip_at + (to->is_v6 ? 40 : 20));
	assert_int_equal(icmp[0], to->is_v6 ? 2 : 3);
	assert_int_equal(icmp[1], to->is_v6 ? 0 : 4);
	assert_int_equal(get_u16(icmp + 4), 0);
	assert_int_equal(get_u16(icmp + 6), mtu);
	assert_int_equal(svc_out.len, view.l4_at + 8 + quoted);
	assert_memory_equal(icmp + 8, to->bytes + to->ip_at, quoted);
}

static void expect_pong(const struct frame *to)
{
	struct packet_view view, asked = packet_view_frame(to->bytes, to->len);

	expect_answer_head(to, &view);
	assert_int_equal(svc_out.len, to->len);
	assert_int_equal(view.l4_at, asked.l4_at);
	assert_int_equal(svc_out.bytes[view.l4_at], to->is_v6 ? 129 : 0);
	assert_int_equal(svc_out.bytes[view.l4_at + 1], 0);
	assert_memory_equal(svc_out.bytes + view.l4_at + 4, to->bytes + view.l4_at + 4,
			    to->len - view.l4_at - 4);
}

static void expect_out(const struct svc_shape *shape, const struct frame *in)
{
	if (shape->reason == SL_REASON_SERVICE_PING)
		expect_pong(in);
	else if (shape->reason == SL_REASON_SERVICE_TOO_BIG)
		expect_too_big(in, MTU - (strchr(shape->backend, ':') ? 40 : 20));
	else
		svc_expect_outer(in, shape->backend);
}

static void test_packets_of_every_kind_leave_as_they_must(void **state)
{
	uint64_t random = 4;

	for (size_t nth = 0; nth < svc_shape_count; nth++) {
		const struct svc_shape *shape = &svc_shapes[nth];
		unsigned int goes = !svc_shape_is_answered(shape);

		for (int flow = 0; flow < FLOWS; flow++) {
			uint64_t packets, bytes, packets_before, bytes_before, backend, ignored;

			svc_shape_build(shape, &random, &frame);
			assert_sums(shape->name, frame.bytes, frame.len);
			packets_before = svc_count("sl_svc_counts", 0, &bytes_before);
			backend = svc_count("sl_be_counts", SVC_BASE + SVC_FIRST, &ignored);
			svc_run(&frame, XDP_TX, shape->reason);
			expect_out(shape, &frame);
			assert_sums(shape->name, svc_out.bytes, svc_out.len);
			packets = svc_count("sl_svc_counts", 0, &bytes);
			assert_int_equal(packets - packets_before, goes);
			assert_int_equal(bytes - bytes_before, goes * frame.len);
			assert_int_equal(svc_count("sl_be_counts", SVC_BASE + SVC_FIRST, &ignored) -
						 backend,
					 goes);
		}
	}
}

/* The same flow, the same outer source; many flows, many of them: receivers spread by it. */
static void test_outer_source_is_the_flows(void **state)
{
	static bool seen[65536];
	unsigned int different = 0;
	uint64_t random = 5;

	memset(seen, 0, sizeof(seen));
	for (int flow = 0; flow < 512; flow++) {
		uint8_t source[4];
		uint32_t number;

		svc_shape_build(&svc_shapes[0], &random, &frame);
		svc_run(&frame, XDP_TX, SL_REASON_SERVICE);
		memcpy(source, svc_out.bytes + 14 + 12, sizeof(source));
		number = get_u16(source + 2);
		different += !seen[number];
		seen[number] = true;
		frame.bytes[frame.len - 1] ^= 1; /* another packet of the flow */
		svc_run(&frame, XDP_TX, SL_REASON_SERVICE);
		assert_memory_equal(svc_out.bytes + 14 + 12, source, sizeof(source));
	}
	assert_true(different > 450);
}

static void load_decap(void)
{
	struct sl_decap_address here4 = {{[10] = 0xff, [11] = 0xff}}, here6;
	uint32_t one = 1;

	decap = decap_bpf__open_and_load();
	assert_non_null(decap);
	for (size_t nth = 0; nth < svc_shape_count; nth++) {
		const char *backend = svc_shapes[nth].backend;
		uint8_t address[16];

		svc_address(address, backend);
		memcpy(here4.addr_be + 12, address, 4);
		memcpy(here6.addr_be, address, 16);
		assert_int_equal(bpf_map_update_elem(bpf_map__fd(decap->maps.sl_decap_dst),
						     strchr(backend, ':') ? &here6 : &here4, &one,
						     BPF_ANY),
				 0);
	}
}

static void test_backend_gets_what_the_client_sent(void **state)
{
	static uint8_t opened[FRAME_MAX + 256];
	uint64_t random = 6;

	if (!decap)
		load_decap();
	for (size_t nth = 0; nth < svc_shape_count; nth++) {
		const struct svc_shape *shape = &svc_shapes[nth];

		if (svc_shape_is_answered(shape))
			continue;
		for (int flow = 0; flow < FLOWS / 4; flow++) {
			LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = svc_out.bytes,
				    .data_out = opened, .data_size_out = sizeof(opened),
				    .repeat = 1);

			svc_shape_build(shape, &random, &frame);
			svc_run(&frame, XDP_TX, shape->reason);
			opts.data_size_in = (uint32_t)svc_out.len;
			assert_int_equal(bpf_prog_test_run_opts(
						 bpf_program__fd(decap->progs.sl_decap), &opts),
					 0);
			assert_int_equal(opts.retval, XDP_PASS);
			assert_int_equal(opts.data_size_out, frame.len);
			assert_memory_equal(opened + 12, frame.bytes + 12, frame.len - 12);
		}
	}
}

/* The shortest packet of each kind that may be forwarded, or answered. */
static size_t least(const struct svc_shape *shape)
{
	struct packet_view view = packet_view_frame(frame.bytes, frame.len);

	if (shape->part == SVC_LATER_FRAGMENT)
		return view.l4_at;
	if (shape->is_big) /* no answer quotes less; what is shorter fits */
		return view.l4_at + (shape->protocol == 6 ? 20 : 8);
	if (shape->is_error)
		return view.l4_at + 8 + (shape->is_v6 ? 40 : 20) + 8;
	if (shape->protocol == 6)
		return view.l4_at + (size_t)(frame.bytes[view.l4_at + 12] >> 4) * 4;
	return view.l4_at + 8;
}

static void test_truncated_frame_of_every_kind_is_not_forwarded(void **state)
{
	uint64_t random = 7;

	for (size_t nth = 0; nth < svc_shape_count; nth++) {
		const struct svc_shape *shape = &svc_shapes[nth];

		svc_shape_build(shape, &random, &frame);
		/* The kernel runs no frame shorter than an Ethernet header. */
		for (size_t len = 14; len < frame.len; len++) {
			int verdict = svc_run_bytes(frame.bytes, len);

			if (verdict != XDP_DROP)
				fail_msg("%s: %zu of %zu bytes: verdict %d", shape->name, len,
					 frame.len, verdict);
		}
	}
}

static void test_packet_cut_short_with_length_fields_that_agree(void **state)
{
	uint64_t random = 8;

	for (size_t nth = 0; nth < svc_shape_count; nth++) {
		const struct svc_shape *shape = &svc_shapes[nth];
		size_t needed;

		svc_shape_build(shape, &random, &frame);
		needed = least(shape);
		for (size_t len = 14; len <= frame.len; len++) {
			struct frame cut;
			const char *moved;
			int verdict;

			frame_cut(&frame, len, &cut);
			verdict = svc_run_reason(cut.bytes, cut.len, &moved);
			if (len < needed ? verdict != XDP_DROP && verdict != XDP_PASS
					 : verdict == XDP_REDIRECT || verdict == XDP_ABORTED)
				fail_msg("%s: %zu of %zu bytes: verdict %d for %s", shape->name,
					 len, frame.len, verdict, moved);
			if (verdict == XDP_TX && !strcmp(moved, "service"))
				svc_expect_outer(&cut, shape->backend);
			if (len == frame.len)
				assert_int_equal(verdict, XDP_TX);
		}
	}
}

static void mutate(uint64_t *random, struct frame *it)
{
	unsigned int flips = 1 + packet_random(random) % 3;

	while (flips--) {
		/* Headers more often than what they carry. */
		size_t reach = packet_random(random) % 4 ? 14 + 80 : it->len;
		size_t at = packet_random(random) % (reach < it->len ? reach : it->len);

		it->bytes[at] ^= (uint8_t)(1 + packet_random(random) % 255);
	}
	if (packet_random(random) % 2)
		packet_sums_seal(it->bytes, it->len);
}

/* A ping is answered in place: a right checksum stays right, and a wrong one wrong. */
static bool pong_is_as_right(const struct packet_view *before)
{
	struct packet_view after = packet_view_frame(svc_out.bytes, svc_out.len);

	return packet_sum_header(frame.bytes, before) == packet_sum_header(svc_out.bytes, &after) &&
	       packet_sum_transport(frame.bytes, before) ==
		       packet_sum_transport(svc_out.bytes, &after);
}

static bool mutation_came_out_right(int verdict, const char *moved)
{
	struct packet_view before = packet_view_frame(frame.bytes, frame.len);
	struct packet_view after = packet_view_frame(svc_out.bytes, svc_out.len);
	size_t grown = svc_out.len - frame.len, ip_at = before.ip_at;

	if (verdict == XDP_DROP)
		return true;
	if (verdict == XDP_PASS)
		return svc_out.len == frame.len && !memcmp(svc_out.bytes, frame.bytes, frame.len);
	if (verdict != XDP_TX || !ip_at || !after.ip_at)
		return false;
	if (!strcmp(moved, "service_ping"))
		return pong_is_as_right(&before);
	if (!strcmp(moved, "service_too_big"))
		return packet_sum_transport(svc_out.bytes, &after) == PACKET_SUM_RIGHT &&
		       packet_sum_header(svc_out.bytes, &after) != PACKET_SUM_WRONG;
	return (grown == 20 || grown == 40) &&
	       packet_sum_header(svc_out.bytes, &after) != PACKET_SUM_WRONG &&
	       !memcmp(svc_out.bytes + ip_at + grown, frame.bytes + ip_at, frame.len - ip_at);
}

static void test_flipped_bytes_never_make_a_right_checksum_wrong(void **state)
{
	unsigned int left = 0, passed = 0;
	uint64_t random = 9;

	for (size_t i = 0; i < MUTATIONS; i++) {
		const struct svc_shape *shape = &svc_shapes[i % svc_shape_count];
		const char *moved;
		int verdict;

		svc_shape_build(shape, &random, &frame);
		mutate(&random, &frame);
		verdict = svc_run_reason(frame.bytes, frame.len, &moved);
		if (!moved[0] || !strcmp(moved, "several") ||
		    !mutation_came_out_right(verdict, moved))
			fail_msg("%zu, %s: verdict %d for '%s', %zu bytes became %zu", i,
				 shape->name, verdict, moved, frame.len, svc_out.len);
		left += verdict == XDP_TX;
		passed += verdict == XDP_PASS;
	}
	/* Else the test would have looked at nothing. */
	assert_true(left > MUTATIONS / 4);
	assert_true(passed > MUTATIONS / 20);
}

static int end(void **state)
{
	decap_bpf__destroy(decap);
	return svc_end(state);
}

#define TEST(name) cmocka_unit_test_setup(name, svc_begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_packets_of_every_kind_leave_as_they_must),
		TEST(test_outer_source_is_the_flows),
		TEST(test_backend_gets_what_the_client_sent),
		TEST(test_truncated_frame_of_every_kind_is_not_forwarded),
		TEST(test_packet_cut_short_with_length_fields_that_agree),
		TEST(test_flipped_bytes_never_make_a_right_checksum_wrong),
	};

	return cmocka_run_group_tests(tests, env_setup, end);
}
