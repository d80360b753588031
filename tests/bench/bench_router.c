/*
 * Nanoseconds to find the route of a request, with 10, 1,000 and 10,000 routes of each kind, and
 * what loading so many costs. Requests go over the routes in a random order, so that the caches of
 * the CPU see what they would see. Prints a table and writes build/bench/router.json; the best of
 * several rounds, because everything else on the machine only adds.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "config/config.h"
#include "http/router.h"

#define ROUNDS	 9
#define REQUESTS 4096
#define TURNS	 8 /* over the requests, in a round */

static const struct kind {
	const char *name;
	const char *match;  /* of a route, with its number twice */
	const char *host;   /* of a request, with the route's number */
	const char *target; /* the same */
} kinds[] = {
	{"exact", "path: { exact: /s%u/t%u }", "h", "/s%u/t%u"},
	{"prefix", "path: { prefix: /s%u/t%u }", "h", "/s%u/t%u/more/of/it"},
	{"template", "path: { template: '/s%u/t%u/{a}/x' }", "h", "/s%u/t%u/some/x"},
	{"regex", "path: { regex: '/s%u/t%u/[a-z]+/[0-9]+' }", "h", "/s%u/t%u/some/17"},
	{"host", "hosts: h%u.%u.test", "h%u.%u.test", "/s/t"},
	{"wildcard host", "hosts: '*.h%u.%u.test'", "x.h%u.%u.test", "/s/t"},
};

static const unsigned int counts[] = {10, 1000, 10000};

struct asked {
	char host[40], path[64];
	struct router_request request;
};

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
/* A text that has the numbers or not. */
static void fill(char *buf, size_t room, const char *text, unsigned int i)
{
	(void)snprintf(buf, room, text, i % 40, i);
}
#pragma GCC diagnostic pop

static int append_config(struct buf *text, const struct kind *kind, unsigned int count)
{
	int r = buf_append(text, STR("version: 1\nlisteners: [ { name: web, address: "
				     "\"127.0.0.1:8080\", protocol: http } ]\nroutes:\n"));

	for (unsigned int i = 0; i < count && !r; i++) {
		char match[128], line[256];
		int len;

		fill(match, sizeof(match), kind->match, i);
		len = snprintf(line, sizeof(line),
			       "  - { name: r%u, match: { %s }, respond: {} }\n", i, match);
		r = buf_append(text, str_make(line, (size_t)len));
	}
	return r;
}

static struct snapshot *load(const struct kind *kind, unsigned int count, uint64_t *ret_ns)
{
	struct conf_errors *errors = conf_errors_new("bench");
	struct snapshot *snapshot = NULL;
	struct buf text;
	uint64_t start;

	buf_init(&text, 16u << 20);
	if (!errors || append_config(&text, kind, count))
		return NULL;
	start = now_ns();
	if (config_load_string(buf_str(&text), "bench", NULL, 1, errors, &snapshot))
		(void)fprintf(stderr, "%s\n", conf_errors_get(errors, 0));
	*ret_ns = now_ns() - start;
	buf_done(&text);
	conf_errors_free(errors);
	return snapshot;
}

static void make_requests(const struct kind *kind, unsigned int count, struct asked *asked)
{
	static const struct http_head head;

	srand(count);
	for (unsigned int i = 0; i < REQUESTS; i++) {
		unsigned int number = (unsigned int)rand() % count;

		fill(asked[i].host, sizeof(asked[i].host), kind->host, number);
		fill(asked[i].path, sizeof(asked[i].path), kind->target, number);
		asked[i].request = (struct router_request){
			.host = str_from_cstr(asked[i].host),
			.path = str_from_cstr(asked[i].path),
			.query = STR(""),
			.method_id = HTTP_METHOD_GET,
			.method = STR("GET"),
			.head = &head,
		};
	}
}

/* Nanoseconds for one lookup; 0 when a request found nothing. */
static double measure(const struct router *router, const struct asked *asked,
		      unsigned int *ret_steps)
{
	struct router_match match;
	uint64_t best = UINT64_MAX;
	bool failed = false;

	*ret_steps = 0;
	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t start = now_ns();

		for (unsigned int turn = 0; turn < TURNS; turn++)
			for (unsigned int i = 0; i < REQUESTS; i++) {
				failed |= router_find(router, &asked[i].request, &match) !=
					  ROUTER_FOUND;
				*ret_steps = MAX(*ret_steps, match.steps);
			}
		best = MIN(best, now_ns() - start);
	}
	return failed ? 0 : (double)best / (TURNS * REQUESTS);
}

static void write_row(struct json_writer *json, const char *name, const char *unit, double ours,
		      unsigned int rounds)
{
	json_open_object(json, NULL);
	json_cstring(json, "name", name);
	json_cstring(json, "unit", unit);
	json_double(json, "ours", ours);
	json_nil(json, "peer");
	json_nil(json, "peer_name");
	json_nil(json, "ratio");
	json_u64(json, "rounds", rounds);
	json_cstring(json, "better", "lower");
	json_close_object(json);
}

static int run(const struct kind *kind, unsigned int count, struct json_writer *json)
{
	struct asked *asked = calloc(REQUESTS, sizeof(*asked));
	char name[64];
	unsigned int steps;
	uint64_t load_ns = 0;
	struct snapshot *snapshot = load(kind, count, &load_ns);
	double ns;

	if (!asked || !snapshot)
		return -1;
	make_requests(kind, count, asked);
	ns = measure(snapshot->listeners[0].router, asked, &steps);
	printf("%-14s %7u %10.1f %10u %10.1f\n", kind->name, count, ns, steps,
	       (double)load_ns / 1e6);
	(void)snprintf(name, sizeof(name), "%s, %u routes", kind->name, count);
	write_row(json, name, "ns/lookup", ns, ROUNDS);
	(void)snprintf(name, sizeof(name), "%s, %u routes, load", kind->name, count);
	write_row(json, name, "ms", (double)load_ns / 1e6, 1);
	snapshot_unref(snapshot);
	free(asked);
	return ns > 0 ? 0 : -1;
}

static void describe_machine(char *text, size_t room)
{
	char line[256], model[128] = "unknown CPU";
	FILE *file = fopen("/proc/cpuinfo", "re");
	struct utsname name = {0};

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "model name : %127[^\n]", model) == 1)
			break;
	if (file)
		(void)fclose(file);
	(void)uname(&name);
	(void)snprintf(text, room, "Linux %s, %ld CPUs, %s", name.release,
		       sysconf(_SC_NPROCESSORS_ONLN), model);
}

static int write_file(struct buf *out)
{
	static const char path[] = "build/bench/router.json";
	FILE *file;
	int r;

	(void)mkdir("build", 0755);
	(void)mkdir("build/bench", 0755);
	file = fopen(path, "we");
	if (!file) {
		perror(path);
		return -1;
	}
	r = fwrite(out->data, 1, out->len, file) == out->len && fputc('\n', file) != EOF ? 0 : -1;
	if (fclose(file))
		r = -1;
	printf("written to %s\n", path);
	return r;
}

int main(void)
{
	struct json_writer json;
	char machine[512];
	struct buf out;
	int r = 0;

	buf_init(&out, 1 << 20);
	json_init(&json, &out, true);
	describe_machine(machine, sizeof(machine));
	json_open_object(&json, NULL);
	json_cstring(&json, "machine", machine);
	json_open_array(&json, "rows");
	printf("%-14s %7s %10s %10s %10s\n", "match", "routes", "ns/lookup", "most steps",
	       "load ms");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		for (size_t j = 0; j < ARRAY_SIZE(counts); j++)
			r |= run(&kinds[i], counts[j], &json);
	json_close_array(&json);
	json_close_object(&json);
	if (r || json_finish(&json) || write_file(&out)) {
		(void)fprintf(stderr, "bench_router: failed\n");
		return 1;
	}
	buf_done(&out);
	return 0;
}
