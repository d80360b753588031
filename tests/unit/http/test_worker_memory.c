/* A worker that runs short of memory, and has it again, says so once each. */
#include "exchange_fixture.h"

#include "base/event.h"

#define LIMIT_BYTES ((uint64_t)64 << 20)

static const char *next_event(void)
{
	static struct event event;

	return event_take(&event) ? event_kind_name(event.kind) : "";
}

static void test_shortage_of_memory_and_its_end_are_events(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct http_worker *worker = fixture->worker;
	struct http_node *node;

	assert_int_equal(http_node_new(1, LIMIT_BYTES, &node), 0);
	worker_memory_init(worker, node);
	worker->memory.counted_bytes = LIMIT_BYTES / 4;
	worker_memory_look(worker);
	assert_string_equal(next_event(), "");
	worker->memory.counted_bytes = LIMIT_BYTES;
	worker_memory_look(worker);
	worker_memory_look(worker);
	assert_string_equal(next_event(), "memory_short");
	assert_string_equal(next_event(), "");
	worker->memory.counted_bytes = 0;
	worker_memory_look(worker);
	assert_string_equal(next_event(), "memory_eased");
	assert_string_equal(next_event(), "");
	worker_memory_done(worker);
	worker_memory_init(worker, NULL);
	http_node_free(node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_shortage_of_memory_and_its_end_are_events,
						exchange_fixture_setup, exchange_fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
