/*
 * sl_steer with real sockets on the loopback of a private network namespace.
 */
#include "tests/bpf/bpf_env.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

#include "base/addr.h"
#include "kern/dataplane_internal.h"
#include "kern/steer.h"

#define WORKERS_MAX 4

static struct dataplane *dataplane;
static int listeners[2][WORKERS_MAX]; /* by family: 0 IPv4, 1 IPv6 */

static void close_listeners(void)
{
	for (unsigned int is_v6 = 0; is_v6 <= 1; is_v6++) {
		for (unsigned int i = 0; i < WORKERS_MAX; i++) {
			if (listeners[is_v6][i] > 0)
				(void)close(listeners[is_v6][i]);
			listeners[is_v6][i] = -1;
		}
	}
}

/* Without listeners, tuples, routes and counts of the test before. */
static void setup_steering(void)
{
	struct error err = {0};

	env_require();
	close_listeners();
	dataplane_free(dataplane);
	dataplane = NULL;
	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
	env_assert_ok(steer_sync_local_routes(NULL, 0, &err), &err);
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	if (!dataplane->sk_lookup) {
		print_message("this kernel has no sk_lookup\n");
		skip();
	}
	env_assert_ok(steer_attach(dataplane, &err), &err);
	assert_true(steer_is_attached(dataplane));
}

static int teardown(void **state)
{
	close_listeners();
	dataplane_free(dataplane);
	return 0;
}

static struct sock_addr address_of(const char *text, uint16_t port)
{
	struct ip_addr ip;

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &ip), 0);
	return sock_addr_make(&ip, port);
}

static int listen_at(const char *text, uint16_t port)
{
	struct sock_addr at = address_of(text, port);
	int one = 1, fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	assert_return_code(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), errno);
	assert_return_code(bind(fd, &at.any, at.len), errno);
	assert_return_code(listen(fd, 128), errno);
	return fd;
}

/* Each worker has an IPv4 and an IPv6 listener at ports that nobody connects to. */
static void start_workers(unsigned int count)
{
	struct error err = {0};

	close_listeners();
	for (unsigned int i = 0; i < count; i++) {
		listeners[0][i] = listen_at("127.0.0.1", 0);
		listeners[1][i] = listen_at("::1", 0);
	}
	env_assert_ok(steer_set_workers(dataplane, listeners[0], listeners[1], count, &err), &err);
}

static struct steer_tuple tuple_of(const char *prefix, uint16_t first, uint16_t last)
{
	struct steer_tuple tuple = {.port_first = first, .port_last = last};
	struct error err = {0};

	env_assert_ok(ip_prefix_parse(str_from_cstr(prefix), &tuple.prefix, &err), &err);
	return tuple;
}

static void set_tuples(const struct steer_tuple *tuples, unsigned int count)
{
	struct error err = {0};

	env_assert_ok(steer_set_tuples(dataplane, tuples, count, &err), &err);
}

static void set_tuple(const char *prefix, uint16_t first, uint16_t last)
{
	struct steer_tuple tuple = tuple_of(prefix, first, last);

	set_tuples(&tuple, 1);
}

/* A connection in progress; src may be NULL. */
static int begin_connect(const char *src, const char *dst, uint16_t port)
{
	struct sock_addr to = address_of(dst, port);
	int fd = socket(to.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	if (src) {
		struct sock_addr from = address_of(src, 0);

		assert_return_code(bind(fd, &from.any, from.len), errno);
	}
	if (connect(fd, &to.any, to.len) && errno != EINPROGRESS) {
		int code = errno;

		(void)close(fd);
		return -code;
	}
	return fd;
}

/* 0 when the connection is there, or the negative errno with which it failed. Closes it if so. */
static int finish_connect(int fd)
{
	struct pollfd wait = {.fd = fd, .events = POLLOUT};
	socklen_t len = sizeof(int);
	int code = 0;

	if (fd < 0)
		return fd;
	assert_int_equal(poll(&wait, 1, ENV_PATIENCE), 1);
	assert_return_code(getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len), errno);
	if (code)
		(void)close(fd);
	return -code;
}

/* Takes the connection off the listener that got it; the accepted side's own address is told. */
static int accept_at(unsigned int is_v6, unsigned int worker, struct sock_addr *ret_local)
{
	int fd = accept4(listeners[is_v6][worker], NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	ret_local->len = sizeof(ret_local->in6);
	assert_return_code(getsockname(fd, &ret_local->any, &ret_local->len), errno);
	(void)close(fd);
	return 0;
}

/* The worker that got a connection from src to dst, or the negative errno of the connection. */
static int connect_from(const char *src, const char *dst, uint16_t port)
{
	unsigned int is_v6 = strchr(dst, ':') != NULL;
	int fd = begin_connect(src, dst, port), ret = finish_connect(fd);
	struct sock_addr local, expected = address_of(dst, port);

	if (ret)
		return ret;
	(void)close(fd);
	for (unsigned int worker = 0; worker < WORKERS_MAX; worker++) {
		if (listeners[is_v6][worker] < 0 || accept_at(is_v6, worker, &local))
			continue;
		/* The worker sees the address that the client asked for. */
		assert_int_equal(sock_addr_port(&local), port);
		assert_int_equal(local.len, expected.len);
		assert_memory_equal(&local.any, &expected.any, local.len);
		return (int)worker;
	}
	return -ENOTCONN; /* somebody else's listener took it */
}

static int connect_to(const char *dst, uint16_t port)
{
	return connect_from(NULL, dst, port);
}

static uint64_t counted(enum sl_reason reason)
{
	struct env_counters counters;

	env_read_counters(dataplane, &counters);
	return counters.packets[reason];
}

/* Behind the module's back, since nobody waits 10 s in a test. */
static void set_dead_drop_ns(uint64_t dead_drop_ns)
{
	int fd = dataplane->maps[DATAPLANE_MAP_STEER_CONF];
	struct sl_steer_conf conf;
	uint32_t zero = 0;

	assert_int_equal(bpf_map_lookup_elem(fd, &zero, &conf), 0);
	assert_true(conf.dead_drop_ns != dead_drop_ns);
	conf.dead_drop_ns = dead_drop_ns;
	assert_int_equal(bpf_map_update_elem(fd, &zero, &conf, BPF_ANY), 0);
}

static void test_exact_tuple_is_steered_and_its_neighbours_are_not(void **state)
{
	setup_steering();
	start_workers(1);
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	set_tuple("127.9.9.9", 443, 443);
	assert_int_equal(connect_to("127.9.9.9", 443), 0);
	assert_int_equal(connect_to("127.9.9.9", 444), -ECONNREFUSED);
	assert_int_equal(connect_to("127.9.9.8", 443), -ECONNREFUSED);
	assert_int_equal(counted(SL_REASON_STEER), 1);
}

static void test_ipv6_goes_to_the_ipv6_listener(void **state)
{
	setup_steering();
	start_workers(1);
	set_tuple("::1", 443, 443);
	assert_int_equal(connect_to("::1", 443), 0);
	assert_int_equal(connect_to("::1", 444), -ECONNREFUSED);
	assert_int_equal(counted(SL_REASON_STEER), 1);
}

static void test_prefix_is_steered_once_it_has_a_local_route(void **state)
{
	struct steer_tuple tuples[2];
	struct ip_prefix prefixes[2];
	struct error err = {0};

	setup_steering();
	start_workers(1);
	tuples[0] = tuple_of("203.0.113.0/24", 443, 443);
	tuples[1] = tuple_of("2001:db8:aa::/64", 443, 443);
	prefixes[0] = tuples[0].prefix;
	prefixes[1] = tuples[1].prefix;
	set_tuples(tuples, 2);
	assert_int_equal(connect_to("203.0.113.77", 443), -ENETUNREACH);
	env_assert_ok(steer_sync_local_routes(prefixes, 2, &err), &err);
	assert_int_equal(connect_to("203.0.113.77", 443), 0);
	assert_int_equal(connect_to("203.0.113.77", 80), -ECONNREFUSED);
	assert_int_equal(connect_to("2001:db8:aa::77", 443), 0);
	assert_int_equal(connect_to("203.0.114.77", 443), -ENETUNREACH);
	env_assert_ok(steer_sync_local_routes(NULL, 0, &err), &err);
	assert_int_equal(connect_to("203.0.113.77", 443), -ENETUNREACH);
}

static void test_port_range_is_steered_to_its_edges(void **state)
{
	setup_steering();
	start_workers(1);
	set_tuple("127.9.9.9", 1000, 2000);
	assert_int_equal(connect_to("127.9.9.9", 999), -ECONNREFUSED);
	assert_int_equal(connect_to("127.9.9.9", 1000), 0);
	assert_int_equal(connect_to("127.9.9.9", 1500), 0);
	assert_int_equal(connect_to("127.9.9.9", 2000), 0);
	assert_int_equal(connect_to("127.9.9.9", 2001), -ECONNREFUSED);
	set_tuple("127.9.9.9", 1, 65535);
	assert_int_equal(connect_to("127.9.9.9", 65535), 0);
	assert_int_equal(connect_to("127.9.9.9", 1), 0);
}

static void test_longer_prefix_does_not_hide_ports_of_a_shorter_one(void **state)
{
	struct steer_tuple tuples[3];

	setup_steering();
	start_workers(1);
	tuples[0] = tuple_of("127.16.0.0/12", 80, 80);
	tuples[1] = tuple_of("127.16.1.0/24", 443, 443);
	tuples[2] = tuple_of("127.16.1.1", 1000, 1010);
	set_tuples(tuples, 3);
	assert_int_equal(connect_to("127.16.1.1", 80), 0);
	assert_int_equal(connect_to("127.16.1.1", 443), 0);
	assert_int_equal(connect_to("127.16.1.1", 1005), 0);
	assert_int_equal(connect_to("127.16.1.2", 80), 0);
	assert_int_equal(connect_to("127.16.1.2", 1005), -ECONNREFUSED);
	assert_int_equal(connect_to("127.17.0.1", 443), -ECONNREFUSED);
	set_tuples(tuples, 1);
	assert_int_equal(connect_to("127.16.1.1", 80), 0);
	assert_int_equal(connect_to("127.16.1.1", 443), -ECONNREFUSED);
	assert_int_equal(connect_to("127.16.1.1", 1005), -ECONNREFUSED);
}

static void test_zero_length_prefix_means_every_local_address_of_the_family(void **state)
{
	setup_steering();
	start_workers(1);
	set_tuple("0.0.0.0/0", 8080, 8080);
	assert_int_equal(connect_to("127.0.0.1", 8080), 0);
	assert_int_equal(connect_to("127.200.1.1", 8080), 0);
	assert_int_equal(connect_to("::1", 8080), -ECONNREFUSED);
	set_tuple("::/0", 8080, 8080);
	assert_int_equal(connect_to("::1", 8080), 0);
	assert_int_equal(connect_to("127.0.0.1", 8080), -ECONNREFUSED);
}

static void test_steered_listener_goes_before_one_that_is_bound_there(void **state)
{
	int bound;

	setup_steering();
	bound = listen_at("127.9.9.9", 443);
	start_workers(1);
	assert_int_equal(connect_to("127.9.9.9", 443), -ENOTCONN);
	set_tuple("127.9.9.9", 443, 443);
	assert_int_equal(connect_to("127.9.9.9", 443), 0);
	(void)close(bound);
}

static void test_sources_are_split_over_workers_and_each_stays_with_its_own(void **state)
{
	unsigned int got[2] = {0};
	char src[32];

	setup_steering();
	start_workers(2);
	set_tuple("127.9.9.9", 443, 443);
	for (int i = 1; i <= 200; i++) {
		int worker;

		(void)snprintf(src, sizeof(src), "127.1.0.%d", i);
		worker = connect_from(src, "127.9.9.9", 443);
		assert_in_range(worker, 0, 1);
		got[worker]++;
		assert_int_equal(connect_from(src, "127.9.9.9", 443), worker);
	}
	/* A fair coin falls outside with less than one chance in a thousand million. */
	assert_in_range(got[0], 55, 145);
	assert_int_equal(counted(SL_REASON_STEER), 400);
	assert_int_equal(counted(SL_REASON_STEER_OTHER), 0);
}

static void test_connections_of_a_worker_without_listener_go_to_another(void **state)
{
	char src[32];

	setup_steering();
	start_workers(2);
	set_tuple("127.9.9.9", 443, 443);
	(void)close(listeners[0][0]);
	listeners[0][0] = -1;
	for (int i = 1; i <= 64; i++) {
		(void)snprintf(src, sizeof(src), "127.1.0.%d", i);
		assert_int_equal(connect_from(src, "127.9.9.9", 443), 1);
	}
	assert_true(counted(SL_REASON_STEER_OTHER) > 0);
	assert_true(counted(SL_REASON_STEER) > 0);
	assert_int_equal(counted(SL_REASON_STEER) + counted(SL_REASON_STEER_OTHER), 64);
}

static void
test_without_a_listener_connections_are_dropped_and_later_left_to_the_stack(void **state)
{
	int bound;

	setup_steering();
	bound = listen_at("127.9.9.9", 443);
	start_workers(2);
	set_tuple("127.9.9.9", 443, 443);
	close_listeners();
	/* Not the other listener's: it is not for it that the client came. */
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_DROP), 2);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_PASS), 0);
	set_dead_drop_ns(1);
	assert_int_equal(connect_to("127.9.9.9", 443), -ENOTCONN);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_DROP), 2);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_PASS), 1);
	/* New listeners begin a new count. */
	set_dead_drop_ns(SL_STEER_DEAD_NS);
	start_workers(1);
	assert_int_equal(connect_to("127.9.9.9", 443), 0);
	close_listeners();
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_DROP), 3);
	(void)close(bound);
}

static void test_families_die_apart(void **state)
{
	struct steer_tuple tuples[2];
	int none = -1;
	struct error err = {0};

	setup_steering();
	start_workers(1);
	tuples[0] = tuple_of("127.9.9.9", 443, 443);
	tuples[1] = tuple_of("::1", 443, 443);
	set_tuples(tuples, 2);
	env_assert_ok(steer_set_workers(dataplane, listeners[0], &none, 1, &err), &err);
	assert_int_equal(connect_to("::1", 443), -ECONNREFUSED);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_DROP), 1);
	assert_int_equal(connect_to("127.9.9.9", 443), 0);
}

static bool has_dropped(void *arg)
{
	return counted(SL_REASON_STEER_DEAD_DROP) > 0;
}

/* With XDP on the way the client hears nothing, sends its SYN again and gets through. */
static void test_restart_looks_like_a_lost_packet_where_xdp_is_attached(void **state)
{
	struct dataplane_interface loopback = {"lo", XDP_MODE_GENERIC};
	struct error err = {0};
	struct sock_addr local;
	int fd;

	setup_steering();
	start_workers(2);
	set_tuple("127.9.9.9", 443, 443);
	env_assert_ok(dataplane_set_interfaces(dataplane, &loopback, 1, &err), &err);
	assert_int_not_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	close_listeners();
	fd = begin_connect(NULL, "127.9.9.9", 443);
	assert_return_code(fd, -fd);
	assert_true(env_wait(has_dropped, NULL));
	start_workers(1);
	assert_int_equal(finish_connect(fd), 0);
	assert_int_equal(accept_at(0, 0, &local), 0);
	(void)close(fd);
	env_assert_ok(dataplane_set_interfaces(dataplane, NULL, 0, &err), &err);
}

static void test_set_again_and_swapped_listeners_leave_with_their_socket(void **state)
{
	struct error err = {0};

	setup_steering();
	start_workers(1);
	set_tuple("127.9.9.9", 443, 443);
	env_assert_ok(steer_set_workers(dataplane, listeners[0], listeners[1], 1, &err), &err);
	env_assert_ok(steer_set_workers(dataplane, listeners[0], listeners[1], 1, &err), &err);
	assert_int_equal(connect_to("127.9.9.9", 443), 0);
	close_listeners();
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_DROP), 1);
	assert_int_equal(counted(SL_REASON_STEER_REFUSED), 0);
}

static void test_fewer_workers_leave_none_of_the_old_ones_behind(void **state)
{
	struct error err = {0};
	char src[32];

	setup_steering();
	start_workers(3);
	set_tuple("127.9.9.9", 443, 443);
	env_assert_ok(steer_set_workers(dataplane, listeners[0], listeners[1], 1, &err), &err);
	for (int i = 1; i <= 64; i++) {
		(void)snprintf(src, sizeof(src), "127.1.0.%d", i);
		assert_int_equal(connect_from(src, "127.9.9.9", 443), 0);
	}
	(void)close(listeners[0][0]);
	listeners[0][0] = -1;
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
}

static void test_socket_that_does_not_listen_is_refused(void **state)
{
	struct error err = {0};
	int fd, none = -1;

	setup_steering();
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(fd, errno);
	assert_true(steer_set_workers(dataplane, &fd, &none, 1, &err) < 0);
	assert_non_null(strstr(err.text, "cannot steer to worker 0"));
	(void)close(fd);
	error_reset(&err);
	assert_int_equal(steer_set_workers(dataplane, &none, &none, STEER_WORKERS_MAX + 1, &err),
			 -E2BIG);
}

struct tuple_find {
	const struct steer_tuple *tuples;
	unsigned int count, found, walked;
};

static int find_tuple(const struct steer_tuple *tuple, void *arg)
{
	struct tuple_find *find = arg;

	find->walked++;
	for (unsigned int i = 0; i < find->count; i++) {
		const struct steer_tuple *it = &find->tuples[i];

		if (it->port_first == tuple->port_first && it->port_last == tuple->port_last &&
		    it->prefix.bits == tuple->prefix.bits &&
		    it->prefix.addr.family == tuple->prefix.addr.family &&
		    !memcmp(it->prefix.addr.bytes, tuple->prefix.addr.bytes, 16))
			find->found++;
	}
	return 0;
}

static void test_walk_tells_the_tuples_as_they_were_set(void **state)
{
	struct steer_tuple tuples[5];
	struct tuple_find find = {.tuples = tuples, .count = 5};

	setup_steering();
	tuples[0] = tuple_of("127.9.9.9", 443, 443);
	tuples[1] = tuple_of("127.9.9.0/24", 80, 80);
	tuples[2] = tuple_of("127.9.9.0/24", 81, 90); /* one with the above in the kernel */
	tuples[3] = tuple_of("::/0", 443, 443);
	tuples[4] = tuple_of("2001:db8::1", 1, 65535);
	set_tuples(tuples, 5);
	assert_int_equal(steer_walk_tuples(dataplane, find_tuple, &find), 0);
	assert_int_equal(find.walked, 5);
	assert_int_equal(find.found, 5);
	set_tuples(&tuples[1], 1);
	find = (struct tuple_find){.tuples = &tuples[1], .count = 1};
	assert_int_equal(steer_walk_tuples(dataplane, find_tuple, &find), 0);
	assert_int_equal(find.walked, 1);
	assert_int_equal(find.found, 1);
}

static void test_port_ranges_of_one_prefix_are_merged_and_bounded(void **state)
{
	struct steer_tuple tuples[SL_STEER_RANGES_MAX + 2];
	struct error err = {0};

	setup_steering();
	start_workers(1);
	/* Every other port, in an order that makes each kind of merge happen. */
	for (unsigned int i = 0; i < SL_STEER_RANGES_MAX; i++)
		tuples[i] = tuple_of("127.9.9.0/24", (uint16_t)(1000 + (i * 7 % 32) * 2),
				     (uint16_t)(1000 + (i * 7 % 32) * 2));
	set_tuples(tuples, SL_STEER_RANGES_MAX);
	for (uint16_t port = 1000; port < 1064; port++)
		assert_int_equal(connect_to("127.9.9.9", port), port % 2 ? -ECONNREFUSED : 0);
	tuples[SL_STEER_RANGES_MAX] = tuple_of("127.9.9.0/24", 1001, 1001);
	set_tuples(tuples, SL_STEER_RANGES_MAX + 1);
	assert_int_equal(connect_to("127.9.9.9", 1001), 0);
	assert_int_equal(connect_to("127.9.9.9", 1003), -ECONNREFUSED);
	tuples[SL_STEER_RANGES_MAX] = tuple_of("127.9.9.0/24", 2000, 2000);
	assert_int_equal(steer_set_tuples(dataplane, tuples, SL_STEER_RANGES_MAX + 1, &err),
			 -E2BIG);
	assert_string_equal(err.text, "more than 32 port ranges for 127.9.9.0/24");
}

static void test_impossible_ports_are_refused(void **state)
{
	struct steer_tuple tuple;
	struct error err = {0};

	setup_steering();
	tuple = tuple_of("127.9.9.9", 0, 10);
	assert_int_equal(steer_set_tuples(dataplane, &tuple, 1, &err), -EINVAL);
	assert_string_equal(err.text, "impossible ports 0-10 for 127.9.9.9/32");
	tuple = tuple_of("127.9.9.9", 11, 10);
	assert_int_equal(steer_set_tuples(dataplane, &tuple, 1, NULL), -EINVAL);
}

static int steer_as_daemon(void *arg)
{
	setup_steering();
	start_workers(2);
	set_tuple("127.9.9.9", 443, 443);
	return connect_to("127.9.9.9", 443) < 0;
}

static void test_killed_daemon_is_followed_by_one_that_adopts(void **state)
{
	struct dataplane *cli = NULL;
	struct error err = {0};

	setup_steering();
	dataplane_free(dataplane);
	dataplane = NULL;
	env_kill(env_child(steer_as_daemon, NULL));
	/* What is pinned still keeps others away from the tuple. */
	env_assert_ok(dataplane_open_pinned(ENV_DIR, true, &cli, &err), &err);
	assert_true(steer_is_attached(cli));
	dataplane_free(cli);
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	assert_int_equal(counted(SL_REASON_STEER_DEAD_DROP), 1);
	env_assert_ok(steer_attach(dataplane, &err), &err);
	start_workers(1);
	assert_int_equal(connect_to("127.9.9.9", 443), 0); /* the tuples were kept */
}

static int attach_elsewhere(void *arg)
{
	struct error err = {0};

	if (unshare(CLONE_NEWNET))
		return -errno;
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
	env_assert_ok(steer_attach(dataplane, &err), &err);
	return steer_is_attached(dataplane) ? 0 : -EPROTO;
}

static void test_attachment_of_another_namespace_is_not_adopted(void **state)
{
	pid_t child;

	setup_steering();
	start_workers(1);
	set_tuple("127.9.9.9", 443, 443);
	child = env_child(attach_elsewhere, NULL);
	assert_false(steer_is_attached(dataplane));
	assert_int_equal(connect_to("127.9.9.9", 443), -ECONNREFUSED);
	env_kill(child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exact_tuple_is_steered_and_its_neighbours_are_not),
		cmocka_unit_test(test_ipv6_goes_to_the_ipv6_listener),
		cmocka_unit_test(test_prefix_is_steered_once_it_has_a_local_route),
		cmocka_unit_test(test_port_range_is_steered_to_its_edges),
		cmocka_unit_test(test_longer_prefix_does_not_hide_ports_of_a_shorter_one),
		cmocka_unit_test(test_zero_length_prefix_means_every_local_address_of_the_family),
		cmocka_unit_test(test_steered_listener_goes_before_one_that_is_bound_there),
		cmocka_unit_test(test_sources_are_split_over_workers_and_each_stays_with_its_own),
		cmocka_unit_test(test_connections_of_a_worker_without_listener_go_to_another),
		cmocka_unit_test(
			test_without_a_listener_connections_are_dropped_and_later_left_to_the_stack),
		cmocka_unit_test(test_families_die_apart),
		cmocka_unit_test(test_restart_looks_like_a_lost_packet_where_xdp_is_attached),
		cmocka_unit_test(test_set_again_and_swapped_listeners_leave_with_their_socket),
		cmocka_unit_test(test_fewer_workers_leave_none_of_the_old_ones_behind),
		cmocka_unit_test(test_socket_that_does_not_listen_is_refused),
		cmocka_unit_test(test_walk_tells_the_tuples_as_they_were_set),
		cmocka_unit_test(test_port_ranges_of_one_prefix_are_merged_and_bounded),
		cmocka_unit_test(test_impossible_ports_are_refused),
		cmocka_unit_test(test_killed_daemon_is_followed_by_one_that_adopts),
		cmocka_unit_test(test_attachment_of_another_namespace_is_not_adopted),
	};

	return cmocka_run_group_tests(tests, env_setup, teardown);
}
