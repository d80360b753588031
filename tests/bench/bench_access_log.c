/*
 * Nanoseconds that a request pays for being seen: a line of the access log in either format, and
 * its counters with the histogram. The best of several rounds, because everything else on the
 * machine only adds; what the writer's thread costs shows in bench_http.
 */
#include "bench_report.h"

#include <stdlib.h>

#include "base/clock.h"
#include "http/access_log_format.h"
#include "http/access_log_sink.h"
#include "http/route.h"

#define ROUNDS	   25
#define ITERATIONS 50000

static struct access_log_entry entry_make(void)
{
	struct access_log_entry entry = {
		.wall_ms = 1769860800123ULL,
		.listener = STR("web"),
		.route = STR("shop"),
		.method = STR("GET"),
		.host = STR("shop.example.com"),
		.target = STR("/shop/cart/3?x=1"),
		.version_minor = 1,
		.status = 200,
		.duration_us = 105,
		.first_byte_us = 90,
		.has_upstream = true,
		.upstream = STR("shop"),
		.endpoint = STR("10.0.0.1:8080"),
		.attempts = 1,
		.reused = true,
		.connect_us = ACCESS_LOG_NEVER,
		.head_us = 88,
		.user_agent = STR("Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 "
				  "Firefox/120.0"),
		.referer = STR("https://shop.example.com/shop/cart"),
	};

	(void)ip_addr_parse(STR("192.0.2.107"), &entry.client);
	entry.peer = entry.client;
	return entry;
}

static double measure_format(enum access_log_format format, size_t *ret_len)
{
	struct access_log_entry entry = entry_make();
	struct access_log_clock clock = {0};
	/* Two blocks in turn, as a worker has them while the writer keeps up. */
	static char blocks[2][ACCESS_LOG_BLOCK_BYTES];
	unsigned int block = 0;
	uint64_t best = UINT64_MAX;
	size_t at = 0;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t start = clock_mono_ns();

		for (unsigned int i = 0; i < ITERATIONS; i++) {
			entry.bytes_out = i;
			if (ACCESS_LOG_BLOCK_BYTES - at < access_log_format_bound(&entry)) {
				block = !block;
				at = 0;
			}
			*ret_len = access_log_format(format, &entry, &clock, blocks[block] + at);
			at += *ret_len;
		}
		best = MIN(best, clock_mono_ns() - start);
	}
	return (double)best / ITERATIONS;
}

static double measure_counters(void)
{
	static struct route_row rows[64];
	uint64_t best = UINT64_MAX;

	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t start = clock_mono_ns();

		for (unsigned int i = 0; i < ITERATIONS; i++)
			route_row_count(&rows[i % ARRAY_SIZE(rows)], 200, 0, 100, i % 2000);
		best = MIN(best, clock_mono_ns() - start);
	}
	return (double)best / ITERATIONS;
}

int main(void)
{
	struct bench_report report;
	size_t json_len = 0, combined_len = 0;
	double json = measure_format(ACCESS_LOG_JSON, &json_len);
	double combined = measure_format(ACCESS_LOG_COMBINED, &combined_len);
	double counters = measure_counters();

	printf("%-24s %6s %10s\n", "for each request", "bytes", "ns");
	printf("%-24s %6zu %10.1f\n", "access log, json", json_len, json);
	printf("%-24s %6zu %10.1f\n", "access log, combined", combined_len, combined);
	printf("%-24s %6s %10.1f\n", "counters and histogram", "", counters);
	report_begin(&report, "access_log");
	report_row(&report, "access log, json", "ns/request", json, NULL, 0, ROUNDS);
	report_row(&report, "access log, combined", "ns/request", combined, NULL, 0, ROUNDS);
	report_row(&report, "counters and histogram", "ns/request", counters, NULL, 0, ROUNDS);
	return report_end(&report) ? 1 : 0;
}
