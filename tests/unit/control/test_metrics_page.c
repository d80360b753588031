/* The page of /metrics, made piece by piece. */
#include "test_support.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "control/metrics_page.h"

#define ROUTES	   300
#define PAGE_BYTES (4u << 20)

struct fixture {
	struct daemon daemon;
};

static void fixture_start(struct fixture *fixture)
{
	struct conf_errors *errors = conf_errors_new("t.yaml");
	struct buf text;

	memset(fixture, 0, sizeof(*fixture));
	fixture->daemon.registry = registry_new();
	assert_non_null(fixture->daemon.registry);
	buf_init(&text, PAGE_BYTES);
	assert_int_equal(buf_printf(&text, "version: 1\n"
					   "listeners: [ { name: w, address: '127.0.0.1:80' } ]\n"
					   "upstreams: [ { name: u, endpoints: [ '127.0.0.1:1', "
					   "'unix:/a\"b' ] } ]\nroutes:\n"),
			 0);
	for (unsigned int i = 0; i < ROUTES; i++)
		assert_int_equal(buf_printf(&text,
					    "  - { name: r%u, match: { path: { exact: /%u } }, "
					    "respond: { status: 200 } }\n",
					    i, i),
				 0);
	assert_int_equal(config_load_string(buf_str(&text), "t.yaml", fixture->daemon.registry, 2,
					    errors, &fixture->daemon.snapshot),
			 0);
	buf_done(&text);
	conf_errors_free(errors);
}

static void fixture_end(struct fixture *fixture)
{
	snapshot_unref(fixture->daemon.snapshot);
	(void)registry_sweep(fixture->daemon.registry);
	registry_free(fixture->daemon.registry);
}

/* All of it, NUL-terminated, and how many pieces it took. */
static char *read_page(struct fixture *fixture, unsigned int *ret_pieces)
{
	struct metrics_page *page = metrics_page_new(&fixture->daemon);
	struct buf piece, whole;
	char *text;
	int more;

	assert_non_null(page);
	buf_init(&piece, PAGE_BYTES);
	buf_init(&whole, PAGE_BYTES);
	*ret_pieces = 0;
	do {
		buf_reset(&piece);
		more = metrics_page_more(page, &piece);
		assert_true(more >= 0);
		assert_int_equal(buf_append(&whole, buf_str(&piece)), 0);
		assert_true(piece.len < 64u << 10);
		++*ret_pieces;
	} while (more);
	metrics_page_free(page);
	text = strndup(buf_str(&whole).ptr, whole.len);
	assert_non_null(text);
	buf_done(&piece);
	buf_done(&whole);
	return text;
}

static void assert_has(const char *text, const char *line)
{
	char wanted[256];

	(void)snprintf(wanted, sizeof(wanted), "\n%s\n", line);
	if (!strstr(text, wanted))
		fail_msg("missing: %s", line);
}

static void test_rows_of_all_workers_are_summed_and_idle_routes_left_out(void **state)
{
	struct fixture fixture;
	struct route *route;
	unsigned int pieces;
	char *text;

	fixture_start(&fixture);
	route = &fixture.daemon.snapshot->routes[7];
	route_row_count(&route->stats->rows[0], 200, 10, 100, 249);
	route_row_count(&route->stats->rows[1], 204, 0, 0, 250);
	route_row_count(&route->stats->rows[1], 503, 5, 7, 251);
	route_row_count(&route->stats->rows[1], 0, 0, 0, 10000001);
	text = read_page(&fixture, &pieces);
	assert_has(text, "# TYPE sluice_route_duration_seconds histogram");
	assert_has(text, "sluice_route_responses_total{route=\"r7\",code=\"none\"} 1");
	assert_has(text, "sluice_route_responses_total{route=\"r7\",code=\"2xx\"} 2");
	assert_has(text, "sluice_route_responses_total{route=\"r7\",code=\"5xx\"} 1");
	assert_has(text, "sluice_route_request_body_bytes_total{route=\"r7\"} 15");
	assert_has(text, "sluice_route_response_body_bytes_total{route=\"r7\"} 107");
	assert_has(text, "sluice_route_duration_seconds_bucket{route=\"r7\",le=\"0.00025\"} 2");
	assert_has(text, "sluice_route_duration_seconds_bucket{route=\"r7\",le=\"0.0005\"} 3");
	assert_has(text, "sluice_route_duration_seconds_bucket{route=\"r7\",le=\"10\"} 3");
	assert_has(text, "sluice_route_duration_seconds_bucket{route=\"r7\",le=\"+Inf\"} 4");
	assert_has(text, "sluice_route_duration_seconds_sum{route=\"r7\"} 10.000751");
	assert_has(text, "sluice_route_duration_seconds_count{route=\"r7\"} 4");
	assert_has(text, "sluice_endpoint_connects_total{upstream=\"u\",endpoint=\"unix:/a\\\"b\"} "
			 "0");
	assert_null(strstr(text, "\"r8\""));
	free(text);
	fixture_end(&fixture);
}

static void test_a_long_page_comes_in_pieces_of_whole_families(void **state)
{
	unsigned int pieces, lines = 0;
	struct fixture fixture;
	char *text, *last = NULL;

	fixture_start(&fixture);
	for (unsigned int i = 0; i < ROUTES; i++)
		route_row_count(&fixture.daemon.snapshot->routes[i].stats->rows[0], 200, 0, 1, i);
	text = read_page(&fixture, &pieces);
	assert_in_range(pieces, 5, 100);
	for (char *at = text; (at = strstr(at, "\nsluice_route_duration_seconds_count{")); at++) {
		lines++;
		last = at;
	}
	assert_int_equal(lines, ROUTES);
	assert_non_null(strstr(last, "\"r299\""));
	for (char *at = text; (at = strstr(at, "# TYPE sluice_route_duration_seconds ")); at++)
		lines++;
	assert_int_equal(lines, ROUTES + 1);
	free(text);
	fixture_end(&fixture);
}

static void test_label_values_are_escaped_and_never_overflow(void **state)
{
	const struct metrics_label odd[2] = {{"a", STR("x\"y\\z\n")}, {"b", STR("")}};
	char big[METRICS_LABELS_MAX * 2], labels[METRICS_LABELS_MAX];
	struct metrics_label long_one;

	assert_string_equal(metrics_labels(odd, 2, labels, sizeof(labels)),
			    "{a=\"x\\\"y\\\\z\\n\",b=\"\"}");
	memset(big, '"', sizeof(big));
	long_one = (struct metrics_label){"a", str_make(big, sizeof(big))};
	(void)metrics_labels(&long_one, 1, labels, sizeof(labels));
	assert_in_range(strlen(labels), METRICS_LABELS_MAX - 16, METRICS_LABELS_MAX - 1);
	assert_string_equal(labels + strlen(labels) - 2, "\"}");
}

static int make_page(void *arg)
{
	struct fixture *fixture = arg;
	struct metrics_page *page = metrics_page_new(&fixture->daemon);
	struct buf piece;
	int more = page ? 1 : -ENOMEM;

	buf_init(&piece, PAGE_BYTES);
	while (more > 0) {
		buf_reset(&piece);
		more = metrics_page_more(page, &piece);
	}
	buf_done(&piece);
	metrics_page_free(page);
	return more;
}

static void test_memory_that_runs_out_ends_the_page(void **state)
{
	struct fixture fixture;

	fixture_start(&fixture);
	route_row_count(&fixture.daemon.snapshot->routes[0].stats->rows[0], 200, 0, 1, 1);
	assert_true(test_failing_each_allocation(make_page, &fixture) >= 3);
	fixture_end(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_of_all_workers_are_summed_and_idle_routes_left_out),
		cmocka_unit_test(test_a_long_page_comes_in_pieces_of_whole_families),
		cmocka_unit_test(test_label_values_are_escaped_and_never_overflow),
		cmocka_unit_test(test_memory_that_runs_out_ends_the_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
