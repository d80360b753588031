/* The ring of events and GET /v1/events. */
#include "test_support.h"

#include <jansson.h>
#include <stdlib.h>

#include "control/admin_api.h"

static void publish(unsigned int from, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		event_publish(EVENT_RELOADED, STR("x.yaml"), "event %u", from + i);
}

static json_t *get(struct daemon *daemon, const char *query, uint16_t status)
{
	const struct admin_request request = {
		.method = STR("GET"),
		.path = STR("/v1/events"),
		.query = str_from_cstr(query),
		.body = STR(""),
	};
	struct admin_response response;
	json_error_t error;
	json_t *document;

	admin_response_init(&response);
	admin_dispatch(daemon, &request, &response);
	assert_row(query, response.status == status);
	document = json_loadb(response.body.data + response.body.start, response.body.len,
			      JSON_REJECT_DUPLICATES, &error);
	assert_non_null(document);
	admin_response_done(&response);
	return document;
}

static uint64_t number(const json_t *document, const char *key)
{
	const json_t *value = json_object_get(document, key);

	assert_true(json_is_integer(value));
	return (uint64_t)json_integer_value(value);
}

static void test_ring_numbers_events_and_keeps_the_newest(void **state)
{
	struct event_ring ring = {0};

	assert_int_equal(event_ring_newest(&ring), 0);
	assert_int_equal(event_ring_oldest(&ring), 1);
	publish(1, 3);
	event_ring_collect(&ring);
	assert_int_equal(event_ring_newest(&ring), 3);
	assert_int_equal(event_ring_oldest(&ring), 1);
	assert_string_equal(event_ring_get(&ring, 1)->text, "event 1");
	for (unsigned int i = 3; i < EVENT_RING_MAX + 7; i++) {
		publish(i + 1, 1);
		event_ring_collect(&ring);
	}
	assert_int_equal(event_ring_newest(&ring), EVENT_RING_MAX + 7);
	assert_int_equal(event_ring_oldest(&ring), 8);
	assert_string_equal(event_ring_get(&ring, 8)->text, "event 8");
	assert_string_equal(event_ring_get(&ring, EVENT_RING_MAX + 7)->text, "event 1031");
	event_ring_done(&ring);
}

static void test_event_without_memory_is_counted(void **state)
{
	struct event_ring ring = {0};

	publish(1, 2);
	alloc_fail_arm(0);
	event_ring_collect(&ring);
	assert_true(alloc_fail_disarm());
	assert_int_equal(ring.lost, 1);
	assert_int_equal(event_ring_newest(&ring), 1);
	event_ring_done(&ring);
}

static const struct {
	const char *query;
	unsigned int count;
	uint64_t first; /* sequence number of the first one shown */
} rows[] = {
	{"", 10, 1},
	{"since=0", 10, 1},
	{"since=4", 6, 5},
	{"since=9", 1, 10},
	{"since=10", 0, 0},
	{"since=99", 0, 0},
	{"last=3", 3, 8},
	{"last=0", 0, 0},
	{"last=5000", 10, 1},
	{"since=4&last=2", 2, 9},
	{"last=9&since=4", 6, 5},
};

static void test_since_and_last_choose_the_events(void **state)
{
	struct daemon daemon = {.started_wall_ms = 1769860800123};
	json_t *document, *events;

	publish(1, 10);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		document = get(&daemon, rows[i].query, 200);
		events = json_object_get(document, "events");
		assert_row(rows[i].query, json_array_size(events) == rows[i].count);
		if (rows[i].count)
			assert_row(rows[i].query,
				   number(json_array_get(events, 0), "seq") == rows[i].first);
		assert_row(rows[i].query, number(document, "newest") == 10);
		assert_row(rows[i].query, number(document, "instance") == 1769860800123);
		assert_row(rows[i].query, number(document, "missed") == 0);
		json_decref(document);
	}
	event_ring_done(&daemon.events);
}

static void test_event_has_time_kind_level_object_and_text(void **state)
{
	struct daemon daemon = {0};
	json_t *document, *event;

	event_publish(EVENT_ENDPOINT_EJECTED, STR("shop 10.0.0.1:80"), "5 failures in a row");
	event_publish(EVENT_STOPPING, STR(""), "draining");
	document = get(&daemon, "", 200);
	event = json_array_get(json_object_get(document, "events"), 0);
	assert_string_equal(json_string_value(json_object_get(event, "kind")), "endpoint_ejected");
	assert_string_equal(json_string_value(json_object_get(event, "level")), "warning");
	assert_string_equal(json_string_value(json_object_get(event, "object")),
			    "shop 10.0.0.1:80");
	assert_string_equal(json_string_value(json_object_get(event, "text")),
			    "5 failures in a row");
	assert_int_equal(strlen(json_string_value(json_object_get(event, "time"))), 20);
	event = json_array_get(json_object_get(document, "events"), 1);
	assert_true(json_is_null(json_object_get(event, "object")));
	json_decref(document);
	event_ring_done(&daemon.events);
}

static void test_reader_that_was_away_too_long_is_told_what_it_missed(void **state)
{
	struct daemon daemon = {0};
	json_t *document;

	for (unsigned int i = 0; i < EVENT_RING_MAX + 20; i++) {
		publish(i + 1, 1);
		event_ring_collect(&daemon.events);
	}
	document = get(&daemon, "since=5", 200);
	assert_int_equal(number(document, "missed"), 15); /* 6 to 20 */
	assert_int_equal(json_array_size(json_object_get(document, "events")), EVENT_RING_MAX);
	json_decref(document);
	document = get(&daemon, "since=20", 200);
	assert_int_equal(number(document, "missed"), 0);
	json_decref(document);
	event_ring_done(&daemon.events);
}

static void test_what_is_no_number_is_refused(void **state)
{
	static const char *const queries[] = {
		"since=",   "since=x", "since=-1", "last=1.5", "last=99999999999999999999",
		"since=%zz"};
	struct daemon daemon = {0};

	for (size_t i = 0; i < ARRAY_SIZE(queries); i++)
		json_decref(get(&daemon, queries[i], 400));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ring_numbers_events_and_keeps_the_newest),
		cmocka_unit_test(test_event_without_memory_is_counted),
		cmocka_unit_test(test_since_and_last_choose_the_events),
		cmocka_unit_test(test_event_has_time_kind_level_object_and_text),
		cmocka_unit_test(test_reader_that_was_away_too_long_is_told_what_it_missed),
		cmocka_unit_test(test_what_is_no_number_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
