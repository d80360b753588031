/* What a reload refuses, and how addresses are bound where there is no sk_lookup. */
#include "test_support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/reload.h"
#include "control/steering.h"

DEFINE_FREEP(struct conf_errors, conf_errors_free)

static struct node_conf node_make(void)
{
	return (struct node_conf){
		.workers = 2,
		.user = STR("nobody"),
		.state_dir = STR("/var/lib/sluice"),
		.bpffs = STR("/sys/fs/bpf/sluice"),
		.admin_socket = STR("/run/sluice/admin.sock"),
		.io = IO_ENGINE_AUTO,
		.memory_limit_bytes = 1u << 30,
		.drain_ms = 30000,
		.metrics = STR("127.0.0.1:9464"),
	};
}

static void assert_refused(struct node_conf after, const char *key)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new("t.yaml");
	struct node_conf before = node_make();
	char expected[128];

	(void)snprintf(expected, sizeof(expected), "t.yaml: node.%s: needs a restart", key);
	assert_int_equal(reload_compare_node(&before, &after, errors), -EINVAL);
	assert_int_equal(conf_errors_count(errors), 1);
	assert_string_equal(conf_errors_get(errors, 0), expected);
}

static void test_each_change_that_needs_a_restart_is_named(void **state)
{
	struct node_conf after = node_make();

#define CHANGE(field, value, key)                                                                  \
	do {                                                                                       \
		after = node_make();                                                               \
		after.field = value;                                                               \
		assert_refused(after, key);                                                        \
	} while (0)
	CHANGE(workers, 3, "workers");
	CHANGE(user, STR("daemon"), "user");
	CHANGE(user, STR_NULL, "user");
	CHANGE(state_dir, STR("/tmp/x"), "state_dir");
	CHANGE(bpffs, STR("/sys/fs/bpf/x"), "bpffs");
	CHANGE(admin_socket, STR("/tmp/x.sock"), "admin.socket");
	CHANGE(io, IO_ENGINE_EPOLL, "io");
	CHANGE(coalesce, true, "coalesce");
	CHANGE(memory_limit_bytes, 1, "memory_limit");
	CHANGE(drain_ms, 1, "drain");
	CHANGE(metrics, STR("127.0.0.1:9465"), "metrics");
	CHANGE(metrics, STR_NULL, "metrics");
#undef CHANGE
}

static void test_the_log_may_change_and_all_refusals_are_told_at_once(void **state)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new("t.yaml");
	struct node_conf before = node_make(), after = node_make();

	after.log_level = LOG_LEVEL_DEBUG;
	after.access_log.file = STR("/tmp/a.log");
	after.log_format = LOG_FORMAT_JSON;
	assert_int_equal(reload_compare_node(&before, &after, errors), 0);
	assert_int_equal(conf_errors_count(errors), 0);
	after.workers = 9;
	after.drain_ms = 9;
	assert_int_equal(reload_compare_node(&before, &after, errors), -EINVAL);
	assert_int_equal(conf_errors_count(errors), 2);
}

/* ---- addresses, bound one by one ---- */

static void steering_make(struct steering *steering, unsigned int worker_count)
{
	struct error err = {0};

	assert_int_equal(steering_init(steering, NULL, "no BPF here", worker_count, &err), 0);
	assert_int_equal(steering->mode, STEERING_BIND);
}

static struct steer_tuple tuple_make(uint16_t port)
{
	return (struct steer_tuple){{{AF_INET, {127, 0, 0, 1}}, 32}, port, port};
}

/* A port that is free now; it is bound with SO_REUSEPORT, so the short gap is no one's. */
static uint16_t free_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	(void)close(fd);
	return ntohs(addr.sin_port);
}

static bool is_listening(int fd)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) && value;
}

static int plan_for(struct steering *steering, struct steer_tuple *tuples, unsigned int count,
		    struct steering_plan *plan, struct error *err)
{
	struct listener_conf listener = {
		.name = STR("web"), .tuples = tuples, .tuple_count = count};
	struct snapshot snapshot = {.listeners = &listener, .listener_count = count ? 1 : 0};

	return steering_plan_make(steering, &snapshot, plan, err);
}

static void close_sockets(const struct steering_plan *plan, unsigned int worker_count)
{
	for (unsigned int i = 0; i < worker_count * plan->open_count; i++)
		(void)close(plan->sockets[i].fd);
}

static void test_each_worker_binds_each_address_and_only_changes_are_opened(void **state)
{
	struct steer_tuple tuples[2] = {tuple_make(free_port()), tuple_make(free_port())};
	struct steering_plan first, second, third;
	struct steering steering;
	struct error err = {0};
	uint32_t first_id;

	steering_make(&steering, 2);
	if (plan_for(&steering, tuples, 1, &first, &err))
		fail_msg("%s", err.text);
	assert_int_equal(first.open_count, 1);
	assert_true(is_listening(steering_plan_sockets(&first, 0)[0].fd));
	assert_true(is_listening(steering_plan_sockets(&first, 1)[0].fd));
	assert_int_equal(steering_plan_sockets(&first, 0)[0].id,
			 steering_plan_sockets(&first, 1)[0].id);
	first_id = steering_plan_sockets(&first, 0)[0].id;
	assert_int_equal(steering_plan_apply(&first, &err), 0);
	steering_plan_commit(&first);

	if (plan_for(&steering, tuples, 2, &second, &err))
		fail_msg("%s", err.text);
	assert_int_equal(second.open_count, 1); /* the one that is new */
	assert_int_not_equal(steering_plan_sockets(&second, 0)[0].id, first_id);
	assert_int_equal(second.close_count, 0);
	steering_plan_commit(&second);

	if (plan_for(&steering, &tuples[1], 1, &third, &err))
		fail_msg("%s", err.text);
	assert_int_equal(third.open_count, 0);
	assert_int_equal(third.close_count, 1);
	assert_int_equal(third.close_ids[0], first_id);
	steering_plan_commit(&third);

	close_sockets(&first, 2);
	close_sockets(&second, 2);
	steering_plan_done(&first);
	steering_plan_done(&second);
	steering_plan_done(&third);
	steering_done(&steering);
}

static void test_a_plan_that_is_given_up_closes_its_sockets(void **state)
{
	struct steer_tuple tuple = tuple_make(free_port());
	struct steering_plan plan;
	struct steering steering;
	struct error err = {0};
	int fd;

	steering_make(&steering, 1);
	assert_int_equal(plan_for(&steering, &tuple, 1, &plan, &err), 0);
	fd = steering_plan_sockets(&plan, 0)[0].fd;
	assert_true(is_listening(fd));
	steering_plan_done(&plan);
	assert_false(is_listening(fd));
	assert_int_equal(steering.bind_count, 0);
	steering_done(&steering);
}

static void test_prefixes_and_ranges_are_refused_with_the_reason(void **state)
{
	struct steer_tuple bad[] = {
		{{{AF_INET, {10, 0, 0, 0}}, 8}, 80, 80},
		{{{AF_INET, {10, 0, 0, 1}}, 32}, 80, 81},
		{{{AF_INET6, {0xfd}}, 64}, 80, 80},
	};
	static const char *const texts[] = {"10.0.0.0/8:80", "10.0.0.1:80-81", "[fd00::/64]:80"};
	struct steering_plan plan;
	struct steering steering;

	steering_make(&steering, 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error err = {0};

		assert_int_equal(plan_for(&steering, &bad[i], 1, &plan, &err), -EOPNOTSUPP);
		assert_row(texts[i], strstr(err.text, "listener 'web': address "));
		assert_row(texts[i], strstr(err.text, texts[i]));
		assert_row(texts[i], strstr(err.text, "no BPF here"));
	}
	steering_done(&steering);
}

static void test_an_address_that_is_taken_fails_the_plan(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct steering_plan plan;
	struct steering steering;
	struct steer_tuple tuple;
	struct error err = {0};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	tuple = tuple_make(ntohs(addr.sin_port));
	steering_make(&steering, 2);
	assert_int_equal(plan_for(&steering, &tuple, 1, &plan, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "127.0.0.1:"));
	steering_done(&steering);
	(void)close(fd);
}

static void test_lists_without_a_dataplane_are_an_error(void **state)
{
	struct access_entry entry = {.prefix = {{AF_INET, {192, 0, 2, 1}}, 32}};
	struct snapshot snapshot = {.dataplane = {.deny = &entry, .deny_count = 1}};
	struct daemon daemon = {.dataplane_reason = "no BPF here"};
	struct error err = {0};

	assert_int_equal(reload_apply_dataplane(&daemon, &snapshot, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "need BPF: no BPF here"));
	snapshot.dataplane.deny_count = 0;
	assert_int_equal(reload_apply_dataplane(&daemon, &snapshot, &err), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_change_that_needs_a_restart_is_named),
		cmocka_unit_test(test_the_log_may_change_and_all_refusals_are_told_at_once),
		cmocka_unit_test(test_each_worker_binds_each_address_and_only_changes_are_opened),
		cmocka_unit_test(test_a_plan_that_is_given_up_closes_its_sockets),
		cmocka_unit_test(test_prefixes_and_ranges_are_refused_with_the_reason),
		cmocka_unit_test(test_an_address_that_is_taken_fails_the_plan),
		cmocka_unit_test(test_lists_without_a_dataplane_are_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
