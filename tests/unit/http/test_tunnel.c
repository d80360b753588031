#include <errno.h>

#include "exchange_fixture.h"

static struct upstream_conf upstream = {.name = {"up", 2}};
static struct endpoint_conf endpoint = {.address = {"10.0.0.1:80", 11}};

/* As if the upstream had answered; its connection is nobody's business here. */
static struct exchange *begin(struct exchange_fixture *fixture)
{
	struct exchange *exchange = exchange_fixture_begin(fixture, "/", NULL, 0);

	exchange->proxy.call.upstream = exchange->upstream = &upstream;
	exchange->proxy.call.chosen = &endpoint;
	exchange->proxy.call.start_ns = 1;
	exchange->response_done = false;
	exchange->status = 101;
	return exchange;
}

static void test_a_tunnel_lets_go_of_its_snapshot(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct exchange *exchange = begin(fixture);
	unsigned int refs = fixture->worker->config->refs;

	assert_int_equal(tunnel_start(exchange, 1000), 0);
	assert_int_equal(fixture->worker->config->refs, refs - 1);
	assert_null(exchange->config);
	assert_null(exchange->listener);
	assert_null(exchange->route);
	assert_null(exchange->upstream);
	assert_null(exchange->proxy.call.upstream);
	assert_null(exchange->proxy.call.chosen);
	/* What the log tells is its own. */
	assert_str(exchange->tunnel.listener, "web");
	assert_str(exchange->tunnel.route, "only");
	assert_str(exchange->tunnel.upstream, "up");
	assert_str(exchange->tunnel.endpoint, "10.0.0.1:80");
	assert_ptr_not_equal(exchange->tunnel.route.ptr, fixture->route->name.ptr);
	exchange_fixture_end(fixture);
	assert_int_equal(fixture->worker->config->refs, refs - 1);
}

static void test_tunnels_are_counted_while_they_live(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct http_worker_stats stats;
	uint64_t before;

	http_worker_get_stats(fixture->worker, &stats);
	before = stats.counters[HTTP_COUNTER_TUNNELS];
	assert_int_equal(stats.tunnels_open, 0);
	assert_int_equal(tunnel_start(begin(fixture), 1000), 0);
	http_worker_get_stats(fixture->worker, &stats);
	assert_int_equal(stats.tunnels_open, 1);
	assert_int_equal(stats.counters[HTTP_COUNTER_TUNNELS], before + 1);
	exchange_fixture_end(fixture);
	http_worker_get_stats(fixture->worker, &stats);
	assert_int_equal(stats.tunnels_open, 0);
	assert_int_equal(stats.exchanges_open, 0);
}

static void test_a_body_limit_does_not_hold_in_a_tunnel(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct exchange *exchange;

	fixture->listener.body_bytes = 4;
	exchange = begin(fixture);
	assert_int_equal(tunnel_start(exchange, 1000), 0);
	for (unsigned int i = 0; i < 100; i++)
		exchange_request_data(exchange, STR("0123456789"), NULL);
	assert_int_equal(exchange->bytes_in, 1000);
	assert_int_equal(fixture->aborts, 0);
	fixture->listener.body_bytes = 0;
}

/* Until the tunnel has ended by itself. */
static void run_until_idle(struct exchange_fixture *fixture)
{
	for (unsigned int i = 0; i < 1000 && !fixture->overs && !fixture->aborts; i++)
		assert_int_equal(loop_run_once(fixture->loop, 20), 0);
}

static void test_an_idle_one_is_closed_properly(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct exchange *exchange = begin(fixture);

	assert_int_equal(tunnel_start(exchange, 20), 0);
	run_until_idle(fixture);
	assert_int_equal(fixture->overs, 1);
	assert_int_equal(fixture->aborts, 0);
	assert_true(exchange->response_done);
	assert_null(exchange->action);
	assert_string_equal(exchange->failure, "tunnel was idle");
}

static void test_one_whose_client_takes_nothing_is_cut(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct exchange *exchange = begin(fixture);

	fixture->queued = 1;
	assert_int_equal(tunnel_start(exchange, 20), 0);
	run_until_idle(fixture);
	assert_int_equal(fixture->overs, 0);
	assert_int_equal(fixture->aborts, 1);
}

static void test_without_memory_it_does_not_begin(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct exchange *exchange = begin(fixture);

	while (arena_alloc(&exchange->arena, 1))
		;
	assert_int_equal(tunnel_start(exchange, 1000), -ENOMEM);
	assert_false(exchange->tunnel.open);
	assert_non_null(exchange->config);
	assert_non_null(exchange->route);
	assert_ptr_equal(exchange->proxy.call.upstream, &upstream);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_tunnel_lets_go_of_its_snapshot,
						exchange_fixture_setup, exchange_fixture_teardown),
		cmocka_unit_test_setup_teardown(test_tunnels_are_counted_while_they_live,
						exchange_fixture_setup, exchange_fixture_teardown),
		cmocka_unit_test_setup_teardown(test_a_body_limit_does_not_hold_in_a_tunnel,
						exchange_fixture_setup, exchange_fixture_teardown),
		cmocka_unit_test_setup_teardown(test_an_idle_one_is_closed_properly,
						exchange_fixture_setup, exchange_fixture_teardown),
		cmocka_unit_test_setup_teardown(test_one_whose_client_takes_nothing_is_cut,
						exchange_fixture_setup, exchange_fixture_teardown),
		cmocka_unit_test_setup_teardown(test_without_memory_it_does_not_begin,
						exchange_fixture_setup, exchange_fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
