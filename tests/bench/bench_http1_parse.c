/*
 * Nanoseconds per HTTP/1 head: finding its end, then gate and llhttp, beside llhttp alone with
 * callbacks that do nothing. The best of several rounds, because everything else on the machine
 * only adds.
 */
#include <llhttp.h>
#include <stdio.h>
#include <time.h>

#include "bench_report.h"
#include "proto/http1/http1.h"

#define ROUNDS	   15
#define ITERATIONS 20000

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int find_end(struct str bytes)
{
	size_t scan = 0, len;

	return http1_find_head_end(bytes, NULL, &scan, &len) == 1 && len == bytes.len ? 0 : -1;
}

static int parse(struct str bytes, bool is_response, struct arena *arena)
{
	struct http_head head;

	arena_reset(arena);
	return is_response ? http1_parse_response(bytes, NULL, HTTP_METHOD_GET, arena, &head)
			   : http1_parse_request(bytes, NULL, arena, &head);
}

static int parse_alone(struct str bytes, bool is_response)
{
	static const llhttp_settings_t settings;
	llhttp_t parser;

	llhttp_init(&parser, is_response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
	return llhttp_execute(&parser, bytes.ptr, bytes.len) == HPE_OK ? 0 : -1;
}

static int measure(struct bench_report *report, const char *name, struct str bytes,
		   bool is_response)
{
	uint64_t best_find = UINT64_MAX, best_parse = UINT64_MAX, best_alone = UINT64_MAX;
	double ours, alone;
	struct arena arena;
	int failed = 0;

	arena_init(&arena, 4096, 65536);
	for (unsigned int round = 0; round < ROUNDS; round++) {
		uint64_t start = now_ns(), middle, end, last;

		for (unsigned int i = 0; i < ITERATIONS; i++)
			failed |= find_end(bytes);
		middle = now_ns();
		for (unsigned int i = 0; i < ITERATIONS; i++)
			failed |= parse(bytes, is_response, &arena);
		end = now_ns();
		for (unsigned int i = 0; i < ITERATIONS; i++)
			failed |= parse_alone(bytes, is_response);
		last = now_ns();
		best_alone = MIN(best_alone, last - end);
		best_find = MIN(best_find, middle - start);
		best_parse = MIN(best_parse, end - middle);
	}
	arena_done(&arena);
	ours = (double)(best_find + best_parse) / ITERATIONS;
	alone = (double)best_alone / ITERATIONS;
	printf("%-18s %6zu %10.1f %10.1f %10.2f %14.1f %7.2f\n", name, bytes.len,
	       (double)best_find / ITERATIONS, (double)best_parse / ITERATIONS,
	       ours / (double)bytes.len, alone, ours / alone);
	report_row(report, name, "ns/head", ours, "llhttp alone", alone, ROUNDS);
	return failed;
}

int main(void)
{
	static const char small[] = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
	static const char curl[] = "GET /shop/cart/3?x=1 HTTP/1.1\r\n"
				   "Host: shop.example.com\r\n"
				   "User-Agent: curl/7.88.1\r\n"
				   "Accept: */*\r\n\r\n";
	static const char browser[] =
		"GET /shop/cart/3?x=1 HTTP/1.1\r\n"
		"Host: shop.example.com\r\n"
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 "
		"Firefox/120.0\r\n"
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
		"Accept-Language: en-US,en;q=0.5\r\n"
		"Accept-Encoding: gzip, deflate\r\n"
		"Connection: keep-alive\r\n"
		"Cookie: a=bcdefghijklmnop; session=0123456789abcdef\r\n"
		"Upgrade-Insecure-Requests: 1\r\n\r\n";
	static const char answer[] = "HTTP/1.1 200 OK\r\n"
				     "Server: nginx/1.22.1\r\n"
				     "Date: Tue, 24 Nov 2026 04:00:00 GMT\r\n"
				     "Content-Type: text/html\r\n"
				     "Content-Length: 615\r\n"
				     "Last-Modified: Tue, 24 Nov 2026 03:00:00 GMT\r\n"
				     "Connection: keep-alive\r\n"
				     "ETag: \"67429e50-267\"\r\n"
				     "Accept-Ranges: bytes\r\n\r\n";
	struct bench_report report;
	int failed = 0;

	report_begin(&report, "http1_parse");
	printf("%-18s %6s %10s %10s %10s %14s %7s\n", "head", "bytes", "find ns", "parse ns",
	       "ns/byte", "llhttp alone", "ratio");
	failed |= measure(&report, "smallest request", str_make(small, sizeof(small) - 1), false);
	failed |= measure(&report, "curl request", str_make(curl, sizeof(curl) - 1), false);
	failed |=
		measure(&report, "browser request", str_make(browser, sizeof(browser) - 1), false);
	failed |= measure(&report, "nginx response", str_make(answer, sizeof(answer) - 1), true);
	failed |= report_end(&report);
	return failed ? 1 : 0;
}
