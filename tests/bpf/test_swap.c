/*
 * Programs swapped under full traffic: every frame that a device gets is seen by one of them.
 *
 * Live frames (BPF_F_TEST_XDP_LIVE_FRAMES) from one end of a veth pair, all from a denied source,
 * while another thread swaps the programs of the other end as `sluice prog reload` does. Without
 * the program a frame would pass, so the counter of denied frames must have seen each. Frames that
 * a slow machine's queue has no room for never came there, and the sending device counts them.
 */
#include "tests/bpf/bpf_env.h"
#include "tests/bpf/frame.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/addr.h"
#include "kern/dataplane_internal.h"

#define SOURCE "198.51.100.7"
#define BATCH  64 /* less than the queue of a veth holds */
#define CHUNK  16384

struct swapping {
	struct dataplane *versions[2]; /* each has programs of its own over the same maps */
	atomic_uint done;
	atomic_bool stop;
	int ret;
	struct error err;
};

static void *swap_until_stopped(void *arg)
{
	struct swapping *swapping = arg;

	while (!atomic_load(&swapping->stop) && !swapping->ret) {
		unsigned int done = atomic_load(&swapping->done), count = 0;

		swapping->ret = dataplane_swap_programs(swapping->versions[done % 2], &count,
							&swapping->err);
		if (!swapping->ret && count != 1)
			swapping->ret = -EPROTO;
		if (!swapping->ret)
			atomic_store(&swapping->done, done + 1);
	}
	return NULL;
}

/* A program that sends each frame from where it is. */
static int load_sender(void)
{
	static const struct bpf_insn insns[] = {
		{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = XDP_TX},
		{.code = BPF_JMP | BPF_EXIT},
	};

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "sl_test_sender", "GPL", insns, ARRAY_SIZE(insns),
			     NULL);
}

static void send_frames(int sender_fd, const struct frame *frame, unsigned int ifindex)
{
	struct xdp_md ctx = {.data_end = (uint32_t)frame->len, .ingress_ifindex = ifindex};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame->bytes,
		    .data_size_in = (uint32_t)frame->len, .ctx_in = &ctx,
		    .ctx_size_in = sizeof(ctx), .repeat = CHUNK,
		    .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = BATCH);

	assert_int_equal(bpf_prog_test_run_opts(sender_fd, &opts), 0);
}

/* Frames that the device dropped, since the queue of the other end was full. */
static uint64_t dropped_by(const char *interface)
{
	FILE *file = fopen("/proc/self/net/dev", "re");
	char line[512], name[32];
	uint64_t dropped = 0, found;

	assert_non_null(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, " %31[^:]: %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %*u %lu", name,
			   &found) == 2 &&
		    !strcmp(name, interface))
			dropped = found;
	(void)fclose(file);
	return dropped;
}

static struct dataplane *dataplane;
static uint64_t expected;

static bool have_all_arrived(void *arg)
{
	struct env_counters counters;

	env_read_counters(dataplane, &counters);
	return counters.packets[SL_REASON_DENY] >= expected;
}

static void deny_source(void)
{
	struct access_entry entry = {.origin = ACCESS_FROM_CLI};
	struct error err = {0};

	env_assert_ok(ip_prefix_parse(STR(SOURCE), &entry.prefix, &err), &err);
	env_assert_ok(access_list_add(dataplane, ACCESS_DENY, &entry, &err), &err);
}

static void test_every_frame_is_seen_while_programs_are_swapped(void **state)
{
	const char *text = getenv("SLUICE_LONG");
	bool is_long = text && !strcmp(text, "1");
	unsigned int swaps_wanted = is_long ? 500 : 50;
	uint64_t frames_wanted = is_long ? 4000000 : 200000, sent = 0;
	struct dataplane_interface interface = {"kerna", XDP_MODE_NATIVE};
	struct swapping swapping = {0};
	struct env_counters end;
	struct error err = {0};
	struct frame frame;
	pthread_t thread;
	int sender_fd;

	env_require();
	assert_int_equal(env_command("ip link add kerna type veth peer name kernb"), 0);
	assert_int_equal(env_command("ip link set kerna up && ip link set kernb up"), 0);
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	deny_source();
	dataplane->dispatcher_works = 0; /* a link of ours, also where libxdp could share it */
	env_assert_ok(dataplane_set_interfaces(dataplane, &interface, 1, &err), &err);
	sender_fd = load_sender();
	assert_return_code(sender_fd, -sender_fd);
	frame_eth(&frame);
	frame_ip4(&frame, SOURCE, "192.0.2.10", 0, 0);
	frame_udp(&frame, 53, 22);
	frame_end(&frame);

	for (int i = 0; i < 2; i++)
		env_assert_ok(dataplane_open(ENV_DIR, &swapping.versions[i], &err), &err);
	assert_int_equal(pthread_create(&thread, NULL, swap_until_stopped, &swapping), 0);
	while ((sent < frames_wanted || atomic_load(&swapping.done) < swaps_wanted) &&
	       !swapping.ret) {
		send_frames(sender_fd, &frame, if_nametoindex("kernb"));
		sent += CHUNK;
	}
	atomic_store(&swapping.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	env_assert_ok(swapping.ret, &swapping.err);
	expected = sent - dropped_by("kernb");
	(void)env_wait(have_all_arrived, NULL);
	env_read_counters(dataplane, &end);
	print_message("%u swaps during %llu frames, %llu of them dropped by the device\n",
		      atomic_load(&swapping.done), (unsigned long long)sent,
		      (unsigned long long)(sent - expected));
	assert_int_equal(end.packets[SL_REASON_DENY], expected);
	(void)close(sender_fd);
	dataplane_free(dataplane);
	for (int i = 0; i < 2; i++)
		dataplane_free(swapping.versions[i]);
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_frame_is_seen_while_programs_are_swapped),
	};

	return cmocka_run_group_tests(tests, env_setup, NULL);
}
