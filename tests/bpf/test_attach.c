/*
 * Attaching, pinning, adopting: kern/dataplane.h on veth pairs of a private network namespace.
 */
#include "tests/bpf/bpf_env.h"
#include "tests/bpf/frame.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "kern/dataplane_internal.h"
#include "kern/steer.h"
#include "xdp_main.skel.h"
#include "xdp_probe.skel.h"

/* Each test begins with a veth pair kerna (ours) and kernb (the sender's) and without pins. */
static void setup_devices(void)
{
	env_require();
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), 0);
	(void)env_command("ip link del kerna 2>/dev/null");
	assert_int_equal(env_command("ip link add kerna type veth peer name kernb"), 0);
	assert_int_equal(env_command("ip link set kerna up"), 0);
	assert_int_equal(env_command("ip link set kernb up"), 0);
}

static struct dataplane *open_dataplane(void)
{
	struct dataplane *dataplane = NULL;
	struct error err = {0};

	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	return dataplane;
}

static void attach(struct dataplane *dataplane, const char *name, enum xdp_mode mode)
{
	struct dataplane_interface interface = {.mode = mode};
	struct error err = {0};

	(void)snprintf(interface.name, sizeof(interface.name), "%s", name);
	env_assert_ok(dataplane_set_interfaces(dataplane, &interface, 1, &err), &err);
}

struct attachments {
	struct dataplane_attachment rows[4];
	unsigned int count;
};

static int collect_attachment(const struct dataplane_attachment *attachment, void *arg)
{
	struct attachments *all = arg;

	assert_true(all->count < ARRAY_SIZE(all->rows));
	all->rows[all->count++] = *attachment;
	return 0;
}

static struct attachments attachments_of(struct dataplane *dataplane)
{
	struct attachments all = {0};

	assert_int_equal(dataplane_walk_attachments(dataplane, collect_attachment, &all), 0);
	return all;
}

/* What the device itself says; 0: no program. */
static uint32_t device_program(const char *name, int *ret_mode)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);

	assert_int_equal(bpf_xdp_query((int)if_nametoindex(name), 0, &query), 0);
	*ret_mode = query.attach_mode;
	return query.prog_id;
}

static bool has_program(const char *name)
{
	int mode;

	return device_program(name, &mode) != 0;
}

static void deny(struct dataplane *dataplane, const char *address)
{
	struct access_entry entry = {.origin = ACCESS_FROM_CLI};
	struct error err = {0};

	env_assert_ok(ip_prefix_parse(str_from_cstr(address), &entry.prefix, &err), &err);
	env_assert_ok(access_list_add(dataplane, ACCESS_DENY, &entry, &err), &err);
}

/* One UDP packet from the address, sent by kernb. */
static void send_from(const char *address)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_ifindex = (int)if_nametoindex("kernb")};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	struct frame frame;

	assert_return_code(fd, errno);
	frame_eth(&frame);
	frame_ip4(&frame, address, "192.0.2.10", 0, 0);
	frame_udp(&frame, 53, 4);
	frame_end(&frame);
	assert_int_equal(sendto(fd, frame.bytes, frame.len, 0, (struct sockaddr *)&to, sizeof(to)),
			 frame.len);
	(void)close(fd);
}

struct deny_wait {
	struct dataplane *dataplane;
	uint64_t packets;
};

static bool was_denied(void *arg)
{
	struct deny_wait *wait = arg;
	struct env_counters now;

	env_read_counters(wait->dataplane, &now);
	return now.packets[SL_REASON_DENY] >= wait->packets;
}

static void assert_denies(struct dataplane *dataplane, const char *address)
{
	struct deny_wait wait = {.dataplane = dataplane};
	struct env_counters now;

	env_read_counters(dataplane, &now);
	wait.packets = now.packets[SL_REASON_DENY] + 1;
	send_from(address);
	assert_true(env_wait(was_denied, &wait));
}

static void test_veth_gets_the_native_program_and_traffic_is_judged(void **state)
{
	struct dataplane *dataplane;
	struct attachments all;
	int mode;

	setup_devices();
	dataplane = open_dataplane();
	deny(dataplane, "198.51.100.7");
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	all = attachments_of(dataplane);
	assert_int_equal(all.count, 1);
	assert_string_equal(all.rows[0].interface, "kerna");
	assert_int_equal(all.rows[0].ifindex, if_nametoindex("kerna"));
	assert_int_equal(all.rows[0].mode, XDP_MODE_NATIVE);
	assert_false(all.rows[0].adopted);
	assert_true(all.rows[0].program_id != 0);
	assert_true(has_program("kerna"));
	assert_int_not_equal(device_program("kerna", &mode), 0);
	assert_true(mode == XDP_ATTACHED_DRV);
	print_message("attached by %s\n", all.rows[0].how);
	assert_denies(dataplane, "198.51.100.7");
	dataplane_free(dataplane);
}

static void test_device_without_native_xdp_gets_the_generic_one_when_asked_for_auto(void **state)
{
	struct dataplane_interface native = {"lo", XDP_MODE_NATIVE};
	struct dataplane *dataplane;
	struct attachments all;
	struct error err = {0};

	setup_devices();
	dataplane = open_dataplane();
	assert_int_equal(dataplane_set_interfaces(dataplane, &native, 1, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "the driver of 'lo' has no native XDP"));
	assert_false(has_program("lo"));
	attach(dataplane, "lo", XDP_MODE_AUTO);
	all = attachments_of(dataplane);
	assert_int_equal(all.count, 1);
	assert_int_equal(all.rows[0].mode, XDP_MODE_GENERIC);
	attach(dataplane, "lo", XDP_MODE_OFF);
	assert_false(has_program("lo"));
	dataplane_free(dataplane);
}

static void test_mode_can_change(void **state)
{
	struct dataplane *dataplane;
	int mode;

	setup_devices();
	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_GENERIC);
	(void)device_program("kerna", &mode);
	assert_int_equal(mode, XDP_ATTACHED_SKB);
	attach(dataplane, "kerna", XDP_MODE_AUTO); /* good enough as it is */
	(void)device_program("kerna", &mode);
	assert_int_equal(mode, XDP_ATTACHED_SKB);
	attach(dataplane, "kerna", XDP_MODE_NATIVE);
	(void)device_program("kerna", &mode);
	assert_int_equal(mode, XDP_ATTACHED_DRV);
	dataplane_free(dataplane);
}

static void test_restart_adopts_and_swaps_the_program(void **state)
{
	struct dataplane *dataplane;
	struct attachments before, after;

	setup_devices();
	dataplane = open_dataplane();
	deny(dataplane, "198.51.100.7");
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	before = attachments_of(dataplane);
	assert_denies(dataplane, "198.51.100.7");
	dataplane_free(dataplane);
	assert_true(has_program("kerna"));

	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	after = attachments_of(dataplane);
	assert_int_equal(after.count, 1);
	assert_true(after.rows[0].adopted);
	assert_string_equal(after.rows[0].how, before.rows[0].how);
	assert_int_not_equal(after.rows[0].program_id, before.rows[0].program_id);
	assert_denies(dataplane, "198.51.100.7"); /* the list was kept */
	dataplane_free(dataplane);
}

struct swapping {
	atomic_uint done;
	atomic_bool stop;
	int ret;
	struct error err;
};

/* As `sluice prog reload` does it, again and again. */
static void *swap_until_stopped(void *arg)
{
	struct swapping *swapping = arg;

	while (!atomic_load(&swapping->stop) && !swapping->ret) {
		struct dataplane *dataplane = NULL;
		unsigned int count = 0;

		swapping->ret = dataplane_open(ENV_DIR, &dataplane, &swapping->err);
		if (!swapping->ret)
			swapping->ret = dataplane_swap_programs(dataplane, &count, &swapping->err);
		if (!swapping->ret && count != 2)
			swapping->ret = -EPROTO;
		dataplane_free(dataplane);
		(void)atomic_fetch_add(&swapping->done, 1);
	}
	return NULL;
}

/* Bursts are smaller than the queue of a veth, so the device itself loses none. */
static void test_swaps_under_traffic_lose_no_frame(void **state)
{
	struct swapping swapping = {0};
	struct deny_wait wait = {0};
	struct env_counters start, end;
	struct error err = {0};
	unsigned int bursts = 0;
	uint32_t first;
	pthread_t thread;
	int mode;

	setup_devices();
	wait.dataplane = open_dataplane();
	deny(wait.dataplane, "198.51.100.7");
	attach(wait.dataplane, "kerna", XDP_MODE_AUTO);
	env_assert_ok(steer_attach(wait.dataplane, &err), &err);
	first = device_program("kerna", &mode);
	env_read_counters(wait.dataplane, &start);
	assert_int_equal(pthread_create(&thread, NULL, swap_until_stopped, &swapping), 0);
	while ((bursts < 50 || atomic_load(&swapping.done) < 3) && !swapping.ret) {
		for (unsigned int i = 0; i < 64; i++)
			send_from("198.51.100.7");
		bursts++;
		wait.packets = start.packets[SL_REASON_DENY] + bursts * 64ULL;
		if (!env_wait(was_denied, &wait))
			break;
	}
	atomic_store(&swapping.stop, true);
	assert_int_equal(pthread_join(thread, NULL), 0);
	env_assert_ok(swapping.ret, &swapping.err);
	env_read_counters(wait.dataplane, &end);
	print_message("%u swaps during %u frames\n", atomic_load(&swapping.done), bursts * 64);
	/* Where a dispatcher holds them, the old and the new program both run for a moment. */
	if (!strcmp(attachments_of(wait.dataplane).rows[0].how, "bpf_link"))
		assert_int_equal(end.packets[SL_REASON_DENY], wait.packets);
	else
		assert_true(end.packets[SL_REASON_DENY] >= wait.packets);
	assert_int_not_equal(device_program("kerna", &mode), first);
	assert_true(steer_is_attached(wait.dataplane));
	dataplane_free(wait.dataplane);
}

static void test_swap_leaves_links_of_gone_devices_alone(void **state)
{
	struct dataplane *dataplane;
	struct error err = {0};
	unsigned int count = 7;

	setup_devices();
	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	env_assert_ok(dataplane_swap_programs(dataplane, &count, &err), &err);
	assert_int_equal(count, 1);
	assert_int_equal(env_command("ip link del kerna"), 0);
	env_assert_ok(dataplane_swap_programs(dataplane, &count, &err), &err);
	assert_int_equal(count, 0);
	dataplane_free(dataplane);
}

static int be_daemon(void *arg)
{
	struct dataplane *dataplane = open_dataplane();

	deny(dataplane, "198.51.100.7");
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	return 0; /* with everything open */
}

static void test_killed_daemon_leaves_deny_working_and_the_next_one_adopts(void **state)
{
	struct dataplane *cli = NULL, *dataplane;
	struct error err = {0};

	setup_devices();
	env_kill(env_child(be_daemon, NULL));
	env_assert_ok(dataplane_open_pinned(ENV_DIR, true, &cli, &err), &err);
	assert_denies(cli, "198.51.100.7");
	assert_int_equal(attachments_of(cli).count, 1);
	assert_true(attachments_of(cli).rows[0].adopted);
	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	assert_true(attachments_of(dataplane).rows[0].adopted);
	assert_denies(cli, "198.51.100.7");
	dataplane_free(cli);
	dataplane_free(dataplane);
}

static void test_unknown_interface_is_an_error_with_a_suggestion_and_stops_no_other(void **state)
{
	struct dataplane_interface interfaces[] = {
		{"kern4", XDP_MODE_AUTO},
		{"kerna", XDP_MODE_AUTO},
	};
	struct dataplane *dataplane;
	struct error err = {0};

	setup_devices();
	assert_int_equal(env_command("ip link del kerna"), 0);
	assert_int_equal(env_command("ip link add kerna type veth peer name other"), 0);
	dataplane = open_dataplane();
	assert_int_equal(dataplane_set_interfaces(dataplane, interfaces, 2, &err), -ENODEV);
	assert_string_equal(err.text, "there is no interface 'kern4'; did you mean 'kerna'?");
	assert_true(has_program("kerna"));
	dataplane_free(dataplane);
}

static void test_interfaces_that_are_not_listed_are_detached(void **state)
{
	struct dataplane_interface interfaces[] = {
		{"kerna", XDP_MODE_AUTO},
		{"kernb", XDP_MODE_AUTO},
	};
	struct dataplane *dataplane;
	struct error err = {0};

	setup_devices();
	dataplane = open_dataplane();
	env_assert_ok(dataplane_set_interfaces(dataplane, interfaces, 2, &err), &err);
	assert_int_equal(attachments_of(dataplane).count, 2);
	attach(dataplane, "kernb", XDP_MODE_AUTO);
	assert_false(has_program("kerna"));
	assert_true(has_program("kernb"));
	env_assert_ok(dataplane_set_interfaces(dataplane, NULL, 0, &err), &err);
	assert_false(has_program("kernb"));
	assert_int_equal(attachments_of(dataplane).count, 0);
	dataplane_free(dataplane);
}

static void test_interface_with_a_dot_in_its_name_is_attached(void **state)
{
	struct dataplane *dataplane;
	struct attachments all;

	setup_devices();
	assert_int_equal(env_command("ip link set kerna down"), 0);
	assert_int_equal(env_command("ip link set kerna name 'kern.a+'"), 0);
	dataplane = open_dataplane();
	attach(dataplane, "kern.a+", XDP_MODE_AUTO);
	all = attachments_of(dataplane);
	assert_int_equal(all.count, 1);
	assert_string_equal(all.rows[0].interface, "kern.a+");
	dataplane_free(dataplane);
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), 0);
	assert_false(has_program("kern.a+"));
	assert_int_equal(env_command("ip link del 'kern.a+'"), 0);
}

static void test_device_that_was_made_anew_is_attached_anew(void **state)
{
	struct dataplane *dataplane;

	setup_devices();
	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	assert_int_equal(env_command("ip link del kerna"), 0);
	assert_int_equal(attachments_of(dataplane).count, 0);
	assert_int_equal(env_command("ip link add kerna type veth peer name kernb"), 0);
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	assert_true(has_program("kerna"));
	assert_int_equal(attachments_of(dataplane).count, 1);
	dataplane_free(dataplane);
}

static void test_program_of_somebody_else_is_left_alone(void **state)
{
	struct dataplane_interface wanted = {"kerna", XDP_MODE_AUTO};
	struct xdp_probe_bpf *other = xdp_probe_bpf__open_and_load();
	struct dataplane *dataplane;
	struct error err = {0};
	uint32_t theirs;
	int mode;

	setup_devices();
	assert_non_null(other);
	assert_int_equal(bpf_xdp_attach((int)if_nametoindex("kerna"),
					bpf_program__fd(other->progs.sl_probe_pass),
					XDP_FLAGS_DRV_MODE, NULL),
			 0);
	theirs = device_program("kerna", &mode);
	dataplane = open_dataplane();
	assert_int_equal(dataplane_set_interfaces(dataplane, &wanted, 1, &err), -EBUSY);
	assert_string_equal(err.text, "another XDP program is attached to 'kerna'");
	assert_int_equal(device_program("kerna", &mode), theirs);
	dataplane_free(dataplane);
	xdp_probe_bpf__destroy(other);
}

/* The pins know an interface of another namespace by a number that stands for one here, too. */
static int attach_in_another_namespace(void *arg)
{
	unsigned int ifindex = *(unsigned int *)arg;
	struct dataplane *dataplane;
	struct attachments all;
	char command[128];

	if (unshare(CLONE_NEWNET))
		return -errno;
	(void)snprintf(command, sizeof(command),
		       "ip link add kerna index %u type veth peer name kernb", ifindex);
	if (env_command(command))
		return -EINVAL;
	dataplane = open_dataplane();
	all = attachments_of(dataplane);
	if (all.count || has_program("kerna"))
		return -EEXIST;
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	all = attachments_of(dataplane);
	return all.count == 1 && !all.rows[0].adopted && has_program("kerna") ? 0 : -EPROTO;
}

static void test_interface_of_the_same_number_in_another_namespace_is_not_adopted(void **state)
{
	struct dataplane *dataplane;
	unsigned int ifindex;

	setup_devices();
	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	ifindex = if_nametoindex("kerna");
	dataplane_free(dataplane);
	env_kill(env_child(attach_in_another_namespace, &ifindex));
}

static int work_without_privileges(void *arg)
{
	struct dataplane_interface interfaces[] = {
		{"kerna", XDP_MODE_AUTO},
		{"kernb", XDP_MODE_AUTO},
	};
	struct steer_tuple tuple = {.port_first = 80, .port_last = 90};
	struct dataplane *dataplane = open_dataplane();
	struct ip_prefix prefix;
	struct error err = {0};
	int fd = socket(AF_INET, SOCK_STREAM, 0), none = -1;

	env_assert_ok(dataplane_set_interfaces(dataplane, interfaces, 1, &err), &err);
	env_assert_ok(dataplane_chown(dataplane, 65534, 65534, &err), &err);
	env_assert_ok(env_drop_privileges(), &err);
	assert_return_code(listen(fd, 5), errno);

	deny(dataplane, "198.51.100.7");
	assert_denies(dataplane, "198.51.100.7");
	env_assert_ok(dataplane_set_interfaces(dataplane, interfaces, 2, &err), &err);
	assert_int_equal(attachments_of(dataplane).count, 2);
	assert_true(has_program("kernb"));
	env_assert_ok(dataplane_set_interfaces(dataplane, interfaces, 1, &err), &err);
	assert_false(has_program("kernb"));
	env_assert_ok(ip_prefix_parse(STR("192.0.2.0/24"), &prefix, &err), &err);
	tuple.prefix = prefix;
	env_assert_ok(steer_attach(dataplane, &err), &err);
	env_assert_ok(steer_set_tuples(dataplane, &tuple, 1, &err), &err);
	env_assert_ok(steer_set_workers(dataplane, &fd, &none, 1, &err), &err);
	env_assert_ok(steer_sync_local_routes(&prefix, 1, &err), &err);
	assert_int_equal(access_list_sweep(dataplane), 0);
	env_assert_ok(access_list_sync_config(dataplane, ACCESS_DENY, NULL, 0, &err), &err);
	env_assert_ok(dataplane_set_interfaces(dataplane, interfaces, 1, &err), &err);
	return 0;
}

static void test_everything_works_after_the_drop_of_privileges(void **state)
{
	struct dataplane *dataplane;
	struct error err = {0};

	setup_devices();
	env_kill(env_child(work_without_privileges, NULL));
	/* And root adopts what belongs to the user. */
	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	assert_true(attachments_of(dataplane).rows[0].adopted);
	assert_denies(dataplane, "198.51.100.7");
	dataplane_free(dataplane);
	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
	env_assert_ok(steer_sync_local_routes(NULL, 0, &err), &err);
}

static void test_unload_leaves_nothing_and_can_be_repeated(void **state)
{
	struct dataplane *dataplane;
	struct error err = {0};

	setup_devices();
	dataplane = open_dataplane();
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	env_assert_ok(steer_attach(dataplane, &err), &err);
	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
	assert_false(has_program("kerna"));
	assert_false(steer_is_attached(dataplane)); /* though it is still open here */
	assert_int_equal(access(ENV_DIR, F_OK), -1);
	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
	dataplane_free(dataplane);
}

static void test_pins_of_another_version_are_refused_with_the_way_out(void **state)
{
	struct dataplane *dataplane;
	struct sl_meta meta = {.magic = SL_META_MAGIC, .abi_version = SL_ABI_VERSION + 1};
	struct error err = {0};
	uint32_t zero = 0;

	setup_devices();
	dataplane = open_dataplane();
	assert_int_equal(bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_META], &zero, &meta, 0),
			 0);
	dataplane_free(dataplane);
	assert_int_equal(dataplane_open(ENV_DIR, &dataplane, &err), -EPROTO);
	assert_non_null(strstr(err.text, "another version"));
	assert_non_null(strstr(err.text, "sluice --bpffs '" ENV_DIR "' prog unload"));
	error_reset(&err);
	assert_int_equal(dataplane_open_pinned(ENV_DIR, true, &dataplane, &err), -EPROTO);
	error_reset(&err);
	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err); /* what `prog unload` calls */
	dataplane_free(open_dataplane());
}

static void test_map_of_another_shape_is_refused(void **state)
{
	struct dataplane *dataplane;
	struct error err = {0};
	int fd;

	setup_devices();
	dataplane_free(open_dataplane());
	assert_int_equal(unlink(ENV_DIR "/sl_access_sets"), 0);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "sl_access_sets", 4, 4, 1, NULL);
	assert_return_code(fd, errno);
	assert_int_equal(bpf_obj_pin(fd, ENV_DIR "/sl_access_sets"), 0);
	(void)close(fd);
	assert_int_equal(dataplane_open(ENV_DIR, &dataplane, &err), -EPROTO);
	assert_non_null(
		strstr(err.text, ENV_DIR "/sl_access_sets' has the shape of another version"));
}

static void test_missing_pin_is_made_again(void **state)
{
	struct dataplane *dataplane;

	setup_devices();
	dataplane_free(open_dataplane());
	assert_int_equal(unlink(ENV_DIR "/sl_access_sets"), 0);
	assert_int_equal(dataplane_open_pinned(ENV_DIR, true, &dataplane, NULL), -ENOENT);
	dataplane = open_dataplane();
	deny(dataplane, "198.51.100.7");
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	assert_denies(dataplane, "198.51.100.7");
	dataplane_free(dataplane);
}

static void test_second_owner_is_refused_while_one_changes_pins(void **state)
{
	struct dataplane *dataplane, *second;
	struct dataplane_interface wanted = {"kerna", XDP_MODE_AUTO};
	struct error err = {0};
	int fd;

	setup_devices();
	dataplane = open_dataplane();
	fd = open(ENV_DIR, O_RDONLY | O_DIRECTORY);
	assert_return_code(flock(fd, LOCK_EX | LOCK_NB), errno);
	assert_int_equal(dataplane_open(ENV_DIR, &second, &err), -EBUSY);
	error_reset(&err);
	assert_int_equal(dataplane_set_interfaces(dataplane, &wanted, 1, &err), -EBUSY);
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), -EBUSY);
	(void)close(fd);
	attach(dataplane, "kerna", XDP_MODE_AUTO);
	dataplane_free(dataplane);
}

static void test_cli_finds_nothing_where_nothing_is_pinned(void **state)
{
	struct dataplane *dataplane;
	struct error err = {0};

	setup_devices();
	assert_int_equal(dataplane_open_pinned(ENV_DIR, true, &dataplane, &err), -ENOENT);
	assert_string_equal(err.text, "nothing is pinned in '" ENV_DIR "'");
	error_reset(&err);
	assert_int_equal(dataplane_open_pinned("/tmp/none", true, &dataplane, &err), -ENOENT);
	error_reset(&err);
	assert_int_equal(dataplane_open("/tmp/none", &dataplane, &err), -ENOTSUP);
	assert_string_equal(
		err.text, "'/tmp/none' is not on a bpffs; mount one there (mount -t bpf bpf DIR)");
	error_reset(&err);
	assert_int_equal(dataplane_open("bpf", &dataplane, &err), -EINVAL);
}

/* Last: it takes the bpffs of the other tests away. */
static void test_bpffs_is_mounted_when_there_is_none(void **state)
{
	struct statfs fs;
	struct error err = {0};

	setup_devices();
	while (statfs("/sys/fs/bpf", &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC)
		assert_return_code(umount2("/sys/fs/bpf", MNT_DETACH), errno);
	dataplane_free(open_dataplane());
	assert_int_equal(statfs("/sys/fs/bpf", &fs), 0);
	assert_true((unsigned long)fs.f_type == BPF_FS_MAGIC);
	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_veth_gets_the_native_program_and_traffic_is_judged),
		cmocka_unit_test(
			test_device_without_native_xdp_gets_the_generic_one_when_asked_for_auto),
		cmocka_unit_test(test_mode_can_change),
		cmocka_unit_test(test_restart_adopts_and_swaps_the_program),
		cmocka_unit_test(test_swaps_under_traffic_lose_no_frame),
		cmocka_unit_test(test_swap_leaves_links_of_gone_devices_alone),
		cmocka_unit_test(test_killed_daemon_leaves_deny_working_and_the_next_one_adopts),
		cmocka_unit_test(
			test_unknown_interface_is_an_error_with_a_suggestion_and_stops_no_other),
		cmocka_unit_test(test_interfaces_that_are_not_listed_are_detached),
		cmocka_unit_test(test_interface_with_a_dot_in_its_name_is_attached),
		cmocka_unit_test(test_device_that_was_made_anew_is_attached_anew),
		cmocka_unit_test(test_program_of_somebody_else_is_left_alone),
		cmocka_unit_test(
			test_interface_of_the_same_number_in_another_namespace_is_not_adopted),
		cmocka_unit_test(test_everything_works_after_the_drop_of_privileges),
		cmocka_unit_test(test_unload_leaves_nothing_and_can_be_repeated),
		cmocka_unit_test(test_pins_of_another_version_are_refused_with_the_way_out),
		cmocka_unit_test(test_map_of_another_shape_is_refused),
		cmocka_unit_test(test_missing_pin_is_made_again),
		cmocka_unit_test(test_second_owner_is_refused_while_one_changes_pins),
		cmocka_unit_test(test_cli_finds_nothing_where_nothing_is_pinned),
		cmocka_unit_test(test_bpffs_is_mounted_when_there_is_none),
	};

	return cmocka_run_group_tests(tests, env_setup, NULL);
}
