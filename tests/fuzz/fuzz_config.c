/*
 * fuzz_config: any bytes as a whole configuration, without runtime objects. What is accepted is
 * printed as effective configuration, which must load again and print the same.
 */
#include <stdlib.h>

#include "config/config.h"
#include "http/split.h"

#define FUZZ_PATH "/nonexistent/fuzz.yaml" /* so that relative files are not found */

static void check(bool holds)
{
	if (!holds)
		abort();
}

static struct snapshot *load(struct str text)
{
	struct conf_errors *errors = conf_errors_new("fuzz");
	struct snapshot *snapshot = NULL;
	int r;

	check(errors != NULL);
	r = config_load_string(text, FUZZ_PATH, NULL, 1, errors, &snapshot);
	check((r == 0) == (snapshot != NULL));
	check((r == 0) == (conf_errors_count(errors) == 0));
	conf_errors_free(errors);
	return snapshot;
}

static void check_split(const struct split *split)
{
	check(split->count && split->weight_sum);
	for (unsigned int i = 0; i < split->count; i++)
		check(split->variants[i].upstream != NULL);
	check(split_by_weight(split, 0) < split->count);
	check(split->variants[split_by_weight(split, UINT64_MAX)].weight);
	check(split->variants[split_by_value(split, STR("x"))].weight);
}

static void check_snapshot(const struct snapshot *snapshot)
{
	for (unsigned int i = 0; i < snapshot->listener_count; i++)
		check(snapshot->listeners[i].tuple_count && snapshot->listeners[i].router);
	for (unsigned int i = 0; i < snapshot->upstream_count; i++)
		check(snapshot->upstreams[i].endpoint_count && snapshot->upstreams[i].schedule_len);
	for (unsigned int i = 0; i < snapshot->route_count; i++) {
		const struct route *route = &snapshot->routes[i];

		check(route->path.len);
		check(route->path_kind == ROUTE_PATH_REGEX || route->path.ptr[0] == '/');
		check((route->path_kind == ROUTE_PATH_REGEX) == (route->regex != NULL));
		check((route->path_kind == ROUTE_PATH_TEMPLATE) == (route->template != NULL));
		check(route->action != ROUTE_PROXY ||
		      !route->proxy.upstream != !route->proxy.split);
		if (route->proxy.split)
			check_split(route->proxy.split);
		for (unsigned int j = 0; j < route->policy_count; j++)
			check(route->policies[j]->type && route->policies[j]->conf);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct snapshot *first = load(str_make((const char *)data, len)), *second;
	struct buf printed, again;

	if (!first)
		return 0;
	check_snapshot(first);
	buf_init(&printed, (size_t)64 << 20);
	buf_init(&again, (size_t)64 << 20);
	check(!config_print_effective(first, &printed));
	second = load(buf_str(&printed));
	check(second != NULL);
	check(!config_print_effective(second, &again));
	check(str_eq(buf_str(&printed), buf_str(&again)));
	buf_done(&printed);
	buf_done(&again);
	snapshot_unref(first);
	snapshot_unref(second);
	return 0;
}
