/*
 * Neighbours of backends: real ones, between the namespace of the test and one of a child.
 *
 *   nb0 10.91.0.1/24, fd91::1/64 ──── nb1 10.91.0.2, 10.91.0.3, fd91::2
 */
#include "tests/bpf/bpf_env.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/util.h"
#include "kern/neighbours.h"

#define BACKEND	    "10.91.0.2"
#define OTHER	    "10.91.0.3"
#define NOBODY	    "10.91.0.99"
#define BACKEND6    "fd91::2"
#define FAR_BACKEND "10.92.7.7"

static pid_t peer;
static struct neighbours *neighbours;
static struct {
	unsigned int count;
	struct ip_addr backend;
	enum neighbour_state state;
} told;

static int be_peer(void *arg)
{
	return unshare(CLONE_NEWNET);
}

static void run(const char *fmt, ...)
{
	char command[512];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	if (env_command(command))
		fail_msg("%s", command);
}

static void run_peer(const char *command)
{
	run("nsenter -t %d -n %s", peer, command);
}

static void on_change(const struct ip_addr *backend, const struct neighbour_view *view, void *arg)
{
	told.count++;
	told.backend = *backend;
	told.state = view->state;
}

static struct ip_addr addr_of(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &addr), 0);
	return addr;
}

static void open_neighbours(void)
{
	struct error err = {0};

	env_assert_ok(neighbours_open(true, &neighbours, &err), &err);
	neighbours_on_change(neighbours, on_change, NULL);
	memset(&told, 0, sizeof(told));
}

static void set_backends(const char *first, const char *second)
{
	struct ip_addr addrs[2];
	struct error err = {0};
	unsigned int count = 0;

	if (first)
		addrs[count++] = addr_of(first);
	if (second)
		addrs[count++] = addr_of(second);
	env_assert_ok(neighbours_set(neighbours, addrs, count, false, &err), &err);
}

static struct neighbour_view view_of(const char *backend)
{
	struct ip_addr addr = addr_of(backend);
	struct neighbour_view view;

	assert_true(neighbours_find(neighbours, &addr, &view));
	return view;
}

/* As the control thread does: hears, and looks after things once in a while. */
static bool turn_until(bool (*is_done)(const void *arg), const void *arg)
{
	uint64_t end_ms = clock_mono_ms() + ENV_PATIENCE;

	while (!is_done(arg)) {
		struct pollfd fd = {.fd = neighbours_fd(neighbours), .events = POLLIN};

		if (clock_mono_ms() > end_ms)
			return false;
		if (poll(&fd, 1, 100) > 0)
			neighbours_hear(neighbours);
		else
			neighbours_tick(neighbours);
	}
	return true;
}

struct wanted {
	const char *backend;
	enum neighbour_state state;
};

static bool has_state(const void *arg)
{
	const struct wanted *wanted = arg;

	return view_of(wanted->backend).state == wanted->state;
}

static void wait_state(const char *backend, enum neighbour_state state)
{
	const struct wanted wanted = {backend, state};

	if (!turn_until(has_state, &wanted))
		fail_msg("%s is %s, not %s", backend, neighbour_state_name(view_of(backend).state),
			 neighbour_state_name(state));
}

/* Lines of `ip neighbour show` that hold all the words. */
static unsigned int count_lines(const char *first, const char *second)
{
	unsigned int count = 0;
	char line[512];
	FILE *output = popen("ip -d neighbour show dev nb0", "r");

	assert_non_null(output);
	while (fgets(line, sizeof(line), output))
		count += strstr(line, first) && strstr(line, second);
	assert_int_equal(pclose(output), 0);
	return count;
}

static int clean(void **state)
{
	struct error err = {0};

	if (geteuid() != 0)
		return 0;
	neighbours_close(neighbours);
	neighbours = NULL;
	env_assert_ok(neighbours_release(&err), &err);
	(void)env_command("ip route flush 10.92.0.0/16");
	(void)env_command("ip neighbour flush dev nb0 nud all");
	return 0;
}

static int setup(void **state)
{
	int r = env_setup(state);

	if (r || geteuid() != 0)
		return r;
	peer = env_child(be_peer, NULL);
	run("ip link add nb0 type veth peer name nb1 netns %d", peer);
	run("sysctl -qw net.ipv6.conf.nb0.accept_dad=0 net.ipv4.neigh.nb0.retrans_time_ms=50 "
	    "net.ipv6.neigh.nb0.retrans_time_ms=50");
	run("ip address add 10.91.0.1/24 dev nb0");
	run("ip address add fd91::1/64 dev nb0 nodad");
	run("ip link set nb0 up");
	run_peer("sysctl -qw net.ipv6.conf.nb1.accept_dad=0 net.ipv6.conf.nb1.keep_addr_on_down=1");
	run_peer("ip address add " BACKEND "/24 dev nb1");
	run_peer("ip address add " OTHER "/24 dev nb1");
	run_peer("ip address add " BACKEND6 "/64 dev nb1 nodad");
	run_peer("ip link set nb1 address 02:00:00:00:91:02 up");
	/* Until the link is up on both sides, nobody answers. */
	run("ping -q -c1 -w10 " BACKEND " >/dev/null");
	run("ping -q -c1 -w10 -i0.2 ff02::1:ff00:2%%nb0 >/dev/null");
	return clean(state);
}

static int teardown(void **state)
{
	if (peer)
		env_kill(peer);
	return 0;
}

static void test_backend_on_a_link_is_resolved_and_managed_until_it_goes(void **state)
{
	static const uint8_t link_addr[] = {2, 0, 0, 0, 0x91, 2};
	struct neighbour_view view;

	env_require();
	open_neighbours();
	set_backends(BACKEND, BACKEND6);
	neighbours_wait(neighbours, ENV_PATIENCE);
	view = view_of(BACKEND);
	assert_int_equal(view.state, NEIGHBOUR_RESOLVED);
	assert_memory_equal(view.link_addr, link_addr, sizeof(link_addr));
	assert_int_equal(view.hop_count, 1);
	assert_int_equal(view_of(BACKEND6).state, NEIGHBOUR_RESOLVED);
	assert_int_equal(count_lines("managed", BACKEND), 1);
	assert_int_equal(count_lines("managed", BACKEND6), 1);
	set_backends(BACKEND6, NULL);
	assert_int_equal(count_lines("managed", ""), 1);
	/* It still has its link address, for others who may use it. */
	assert_int_equal(count_lines(BACKEND " ", "02:00:00:00:91:02"), 1);
	set_backends(NULL, NULL);
	assert_int_equal(count_lines("managed", ""), 0);
	neighbours_tick(neighbours);
	assert_int_equal(told.count, 0); /* nothing that people need to hear of */
}

static void test_gateway_of_a_route_is_kept_and_another_route_moves_it(void **state)
{
	char text[ADDR_TEXT_MAX];
	struct neighbour_view view;

	env_require();
	run("ip route add 10.92.0.0/16 via " BACKEND);
	open_neighbours();
	set_backends(FAR_BACKEND, NULL);
	wait_state(FAR_BACKEND, NEIGHBOUR_RESOLVED);
	assert_int_equal(count_lines("managed", BACKEND), 1);
	run("ip route replace 10.92.0.0/16 via " OTHER);
	do {
		struct pollfd fd = {.fd = neighbours_fd(neighbours), .events = POLLIN};

		neighbours_hear(neighbours);
		(void)poll(&fd, 1, 100);
		neighbours_tick(neighbours);
		view = view_of(FAR_BACKEND);
	} while (strcmp(ip_addr_format(&view.next_hop, text, sizeof(text)), OTHER) != 0);
	wait_state(FAR_BACKEND, NEIGHBOUR_RESOLVED);
	assert_int_equal(count_lines("managed", OTHER), 1);
	assert_int_equal(count_lines("managed", ""), 1);
}

static void test_all_next_hops_of_a_route_are_kept_and_the_worst_is_shown(void **state)
{
	struct neighbour_view view;

	env_require();
	run("ip route add 10.92.0.0/16 nexthop via " BACKEND " nexthop via " OTHER
	    " nexthop via " NOBODY);
	open_neighbours();
	set_backends(FAR_BACKEND, NULL);
	wait_state(FAR_BACKEND, NEIGHBOUR_FAILED);
	view = view_of(FAR_BACKEND);
	assert_int_equal(view.hop_count, 3);
	assert_int_equal(view.next_hop.bytes[3], 99);
	assert_int_equal(count_lines("managed", ""), 3);
	assert_int_equal(count_lines("managed", "02:00:00:00:91:02"), 2);
}

static void test_who_does_not_answer_has_failed_and_is_told_once_each_way(void **state)
{
	env_require();
	open_neighbours();
	set_backends(NOBODY, BACKEND);
	wait_state(NOBODY, NEIGHBOUR_FAILED);
	assert_int_equal(told.count, 1);
	assert_int_equal(told.state, NEIGHBOUR_FAILED);
	assert_int_equal(told.backend.bytes[3], 99);
	run_peer("ip address add " NOBODY "/24 dev nb1");
	run_peer("ping -q -c1 -W5 -I " NOBODY
		 " 10.91.0.1 >/dev/null"); /* a host that starts makes itself known */
	wait_state(NOBODY, NEIGHBOUR_RESOLVED);
	run_peer("ip address delete " NOBODY "/24 dev nb1");
	assert_int_equal(told.count, 2);
	assert_int_equal(told.state, NEIGHBOUR_RESOLVED);
}

static void test_backend_without_a_route_gets_its_neighbour_when_the_route_comes(void **state)
{
	env_require();
	open_neighbours();
	set_backends(FAR_BACKEND, NULL);
	neighbours_tick(neighbours);
	assert_int_equal(view_of(FAR_BACKEND).state, NEIGHBOUR_NO_ROUTE);
	assert_int_equal(told.count, 1);
	run("ip route add 10.92.0.0/16 via " BACKEND);
	wait_state(FAR_BACKEND, NEIGHBOUR_RESOLVED);
	assert_int_equal(told.count, 2);
	run("ip route replace blackhole 10.92.0.0/16");
	wait_state(FAR_BACKEND, NEIGHBOUR_NO_ROUTE);
	assert_int_equal(count_lines("managed", ""), 0);
	/* A local address is nothing that XDP could send to either. */
	set_backends("10.91.0.1", NULL);
	assert_int_equal(view_of("10.91.0.1").state, NEIGHBOUR_NO_ROUTE);
}

static bool has_new_address(const void *arg)
{
	struct neighbour_view view = view_of(BACKEND);

	return view.state == NEIGHBOUR_RESOLVED && view.link_addr[5] == *(const uint8_t *)arg;
}

static void test_another_link_address_is_found_after_the_link_was_down(void **state)
{
	env_require();
	open_neighbours();
	set_backends(BACKEND, NULL);
	wait_state(BACKEND, NEIGHBOUR_RESOLVED);
	run_peer("ip link set nb1 down");
	run_peer("ip link set nb1 address 02:00:00:00:91:77");
	run_peer("ip link set nb1 up");
	assert_true(turn_until(has_new_address, &(uint8_t){0x77}));
	assert_int_equal(count_lines("managed", "02:00:00:00:91:77"), 1);
	run_peer("ip link set nb1 address 02:00:00:00:91:02");
}

static void test_permanent_entry_is_used_and_not_touched(void **state)
{
	env_require();
	run("ip neighbour add " BACKEND " dev nb0 lladdr 02:00:00:00:00:66 nud permanent");
	open_neighbours();
	set_backends(BACKEND, NULL);
	assert_int_equal(view_of(BACKEND).state, NEIGHBOUR_RESOLVED);
	assert_int_equal(view_of(BACKEND).link_addr[5], 0x66);
	set_backends(NULL, NULL);
	assert_int_equal(count_lines("PERMANENT", "02:00:00:00:00:66"), 1);
	/* Without it the neighbour is ours. */
	set_backends(BACKEND, NULL);
	run("ip neighbour delete " BACKEND " dev nb0");
	assert_true(turn_until(has_new_address, &(uint8_t){0x02}));
	assert_int_equal(count_lines("managed", BACKEND), 1);
}

static bool has_link_address(const void *arg)
{
	return count_lines(arg, "02:00:00:00:91:02") == 1;
}

static void test_neighbours_outlive_the_process_and_are_adopted(void **state)
{
	struct ip_addr other = addr_of(OTHER);

	env_require();
	open_neighbours();
	set_backends(BACKEND, BACKEND6);
	neighbours_ask(neighbours, view_of(BACKEND).ifindex, &other);
	neighbours_wait(neighbours, ENV_PATIENCE);
	assert_true(turn_until(has_link_address, OTHER " "));
	assert_int_equal(count_lines("managed", ""), 3);
	neighbours_close(neighbours);
	assert_int_equal(count_lines("managed", ""), 3);
	open_neighbours();
	set_backends(BACKEND, NULL);
	assert_int_equal(view_of(BACKEND).state, NEIGHBOUR_RESOLVED); /* at once */
	/* BACKEND6 may have been asked for by XDP: it answers, so it stays. */
	assert_int_equal(count_lines("managed", ""), 3);
	set_backends(NULL, NULL);
	assert_int_equal(count_lines("managed", ""), 0);
}

static bool is_let_go(const void *arg)
{
	return count_lines("managed", arg) == 0;
}

static void test_what_is_asked_for_is_kept_while_it_answers(void **state)
{
	struct ip_addr other = addr_of(OTHER), nobody = addr_of(NOBODY);
	uint32_t ifindex;

	env_require();
	open_neighbours();
	neighbours_ask(neighbours, 1, &other); /* without services there is nobody to ask */
	set_backends(BACKEND, NULL);
	ifindex = view_of(BACKEND).ifindex;
	neighbours_ask(neighbours, ifindex, &other);
	neighbours_ask(neighbours, ifindex, &other);
	neighbours_ask(neighbours, ifindex, &nobody);
	assert_int_equal(count_lines("managed", OTHER), 1);
	assert_int_equal(count_lines("managed", NOBODY), 1);
	assert_true(turn_until(is_let_go, NOBODY));
	assert_int_equal(count_lines("managed", OTHER), 1);
	/* Addresses that are made up push out each other, not who answers. */
	for (unsigned int i = 0; i < NEIGHBOURS_ASKED_MAX + 50; i++) {
		struct ip_addr made_up = {.family = AF_INET, .bytes = {10, 91, 0, 0}};

		made_up = addr_of("fd91::dead:0");
		made_up.bytes[14] = (uint8_t)(i >> 8);
		made_up.bytes[15] = (uint8_t)i;
		neighbours_ask(neighbours, ifindex, &made_up);
	}
	assert_in_range(count_lines("managed", "fd91::dead:"), NEIGHBOURS_ASKED_MAX / 2,
			NEIGHBOURS_ASKED_MAX - 1);
	assert_int_equal(count_lines("managed", OTHER), 1);
	set_backends(NULL, NULL);
	assert_int_equal(count_lines("managed", ""), 0);
}

static void test_default_gateway_is_kept_for_answers_to_clients(void **state)
{
	struct ip_addr backend = addr_of(BACKEND);
	struct error err = {0};

	env_require();
	run("ip route add default via " OTHER);
	open_neighbours();
	env_assert_ok(neighbours_set(neighbours, &backend, 1, true, &err), &err);
	assert_int_equal(count_lines("managed", OTHER), 1);
	env_assert_ok(neighbours_set(neighbours, &backend, 1, false, &err), &err);
	assert_int_equal(count_lines("managed", OTHER), 0);
	run("ip route delete default");
	/* On the link itself no address of the internet is a neighbour. */
	run("ip route add default dev nb0");
	env_assert_ok(neighbours_set(neighbours, &backend, 1, true, &err), &err);
	assert_int_equal(count_lines("managed", ""), 1);
	run("ip route delete default");
}

static void test_who_only_looks_changes_nothing(void **state)
{
	/* Not one that is there: the kernel would learn it from what it sends by itself. */
	struct ip_addr addrs[] = {addr_of(NOBODY), addr_of(FAR_BACKEND)};
	struct error err = {0};

	env_require();
	env_assert_ok(neighbours_open(false, &neighbours, &err), &err);
	env_assert_ok(neighbours_set(neighbours, addrs, 2, true, &err), &err);
	assert_int_equal(view_of(NOBODY).state, NEIGHBOUR_INCOMPLETE);
	assert_int_equal(view_of(FAR_BACKEND).state, NEIGHBOUR_NO_ROUTE);
	assert_int_equal(count_lines(NOBODY " ", ""), 0);
	assert_int_equal(count_lines("managed", ""), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_teardown(name, clean)
		TEST(test_backend_on_a_link_is_resolved_and_managed_until_it_goes),
		TEST(test_gateway_of_a_route_is_kept_and_another_route_moves_it),
		TEST(test_all_next_hops_of_a_route_are_kept_and_the_worst_is_shown),
		TEST(test_who_does_not_answer_has_failed_and_is_told_once_each_way),
		TEST(test_backend_without_a_route_gets_its_neighbour_when_the_route_comes),
		TEST(test_another_link_address_is_found_after_the_link_was_down),
		TEST(test_permanent_entry_is_used_and_not_touched),
		TEST(test_neighbours_outlive_the_process_and_are_adopted),
		TEST(test_what_is_asked_for_is_kept_while_it_answers),
		TEST(test_default_gateway_is_kept_for_answers_to_clients),
		TEST(test_who_only_looks_changes_nothing),
#undef TEST
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
