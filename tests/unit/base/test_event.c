#include "test_support.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/event.h"

#define PUBLISHERS 4
#define EACH	   20000
#define QUEUE_MAX  256 /* of base/event.c */

static void test_event_arrives_as_it_was_published(void **state)
{
	struct event event;

	assert_false(event_take(&event));
	event_publish(EVENT_ENDPOINT_EJECTED, STR("shop 10.0.0.1:80"), "%d failures in a row", 5);
	assert_true(event_take(&event));
	assert_int_equal(event.kind, EVENT_ENDPOINT_EJECTED);
	assert_string_equal(event.object, "shop 10.0.0.1:80");
	assert_string_equal(event.text, "5 failures in a row");
	assert_true(event.wall_ms > 1700000000000);
	assert_false(event_take(&event));
}

static void test_long_object_and_text_are_cut(void **state)
{
	char text[2000];
	struct event event;

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	event_publish(EVENT_READY, str_from_cstr(text), "%s", text);
	assert_true(event_take(&event));
	assert_int_equal(strlen(event.object), EVENT_OBJECT_MAX - 1);
	assert_int_equal(strlen(event.text), EVENT_TEXT_MAX - 1);
	event_publish(EVENT_READY, STR_NULL, "short");
	assert_true(event_take(&event));
	assert_string_equal(event.object, "");
	assert_string_equal(event.text, "short");
}

static void test_full_queue_counts_what_it_loses_and_goes_on(void **state)
{
	uint64_t lost = event_lost();
	struct event event;
	char expected[16];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < QUEUE_MAX + 10; i++)
			event_publish(EVENT_READY, STR(""), "%d", i);
		assert_int_equal(event_lost() - lost, 10 * (round + 1));
		for (int i = 0; i < QUEUE_MAX; i++) {
			assert_true(event_take(&event));
			(void)snprintf(expected, sizeof(expected), "%d", i);
			assert_string_equal(event.text, expected);
		}
		assert_false(event_take(&event));
	}
}

static void *publish(void *arg)
{
	const char *object = arg;

	for (int i = 0; i < EACH; i++)
		event_publish(EVENT_RELOADED, str_from_cstr(object), "%d", i);
	return NULL;
}

static void test_threads_that_publish_at_once_lose_only_what_is_counted(void **state)
{
	static char objects[PUBLISHERS][2] = {"0", "1", "2", "3"};
	pthread_t threads[PUBLISHERS];
	int last[PUBLISHERS] = {-1, -1, -1, -1};
	uint64_t lost = event_lost(), taken = 0;
	struct event event;

	for (int i = 0; i < PUBLISHERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, publish, objects[i]), 0);
	while (taken + (event_lost() - lost) < (uint64_t)PUBLISHERS * EACH) {
		if (!event_take(&event))
			continue;
		taken++;
		/* Whole, and of each thread in its order. */
		assert_in_range(event.object[0], '0', '0' + PUBLISHERS - 1);
		assert_true(atoi(event.text) > last[event.object[0] - '0']);
		last[event.object[0] - '0'] = atoi(event.text);
	}
	for (int i = 0; i < PUBLISHERS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_false(event_take(&event));
	assert_true(taken > 0);
}

static void test_every_kind_has_name_and_level(void **state)
{
	for (int kind = 0; kind < EVENT_KIND_COUNT; kind++) {
		assert_true(strlen(event_kind_name((enum event_kind)kind)) > 3);
		assert_in_range(event_kind_level((enum event_kind)kind), LOG_LEVEL_ERROR,
				LOG_LEVEL_INFO);
	}
	assert_string_equal(event_kind_name(EVENT_ENDPOINT_RETURNED), "endpoint_returned");
	assert_int_equal(event_kind_level(EVENT_WORKER_LOST), LOG_LEVEL_ERROR);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_event_arrives_as_it_was_published),
		cmocka_unit_test(test_long_object_and_text_are_cut),
		cmocka_unit_test(test_full_queue_counts_what_it_loses_and_goes_on),
		cmocka_unit_test(test_threads_that_publish_at_once_lose_only_what_is_counted),
		cmocka_unit_test(test_every_kind_has_name_and_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
