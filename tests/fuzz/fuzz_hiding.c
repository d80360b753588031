/*
 * fuzz_hiding: any bytes as the value of Location, Refresh, Link, Set-Cookie or X-Forwarded-For.
 * The first byte chooses which, and the sides between which URLs are mapped. What comes out may be
 * sent, and a second time changes nothing where no prefix is mapped.
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "http/forwarding.h"
#include "http/hiding.h"
#include "upstream/upstream.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void walk(struct str chain)
{
	static const struct ip_addr peer = {.family = AF_INET, .bytes = {10, 0, 0, 1}};
	struct ip_prefix prefix = {{.family = AF_INET, .bytes = {10}}, 8};
	struct trusted_proxies trusted = {&prefix, 1};
	struct http_field field = {STR("x-forwarded-for"), chain, HTTP_FIELD_X_FORWARDED_FOR};
	struct http_head head = {.fields = &field, .field_count = 1};
	struct ip_addr client = forwarding_walk(&head, &peer, &trusted);

	check(client.family == AF_INET || client.family == AF_INET6);
	(void)http_name_is_reserved(chain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct str (*const maps[])(const struct hiding *hiding, struct arena *arena,
					  struct str value) = {hiding_map_url, hiding_map_refresh,
							       hiding_map_link, hiding_map_cookie};
	static struct endpoint_conf endpoint;
	struct upstream_conf upstream = {
		.name = STR("shop"), .endpoints = &endpoint, .endpoint_count = 1};
	struct hiding hiding = {.upstream = &upstream};
	struct str value, once, twice;
	struct arena arena;
	struct error err = {0};
	uint8_t choice;

	if (!size)
		return 0;
	choice = data[0];
	value = str_make((const char *)data + 1, size - 1);
	/* The codec gives out no other. */
	if (!http_value_is_valid(value))
		return 0;
	walk(value);
	check(sock_addr_parse(STR("10.0.0.7:8080"), &endpoint.addr, &err) == 0);
	hiding.public_scheme = choice & 4 ? STR("https") : STR("http");
	hiding.public_host = choice & 8 ? STR("www.example:8443") : STR("www.example");
	if (choice & 128)
		hiding.public_host = STR("");
	hiding.sent_host = choice & 16 ? STR("origin.internal") : STR("www.example");
	hiding.public_prefix = choice & 32 ? STR("/api") : STR("");
	hiding.upstream_prefix = choice & 64 ? STR("/app") : STR("");

	arena_init(&arena, 0, 64u << 20);
	once = maps[choice & 3](&hiding, &arena, value);
	check(once.ptr != NULL);
	check(http_value_is_valid(once));
	if (!(choice & 96)) {
		twice = maps[choice & 3](&hiding, &arena, once);
		check(str_eq(once, twice));
	}
	arena_done(&arena);
	return 0;
}
