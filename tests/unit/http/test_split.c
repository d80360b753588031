/* Who of a split gets a request: shares, conditions, and what makes a client stay. */
#include "exchange_fixture.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/random.h"
#include "http/split.h"
#include "upstream/upstream.h"

#define CHOICES	   100000
#define FIVE_SIGMA 5.0

struct made {
	struct arena arena;
	struct upstream_conf upstreams[4];
	struct split_variant variants[4];
	struct split split;
};

/* names: "a b c"; weights in the same order. */
static struct split *make(struct made *made, const char *names, const uint64_t *weights,
			  enum split_sticky sticky, const char *sticky_name)
{
	struct str rest = str_from_cstr(names), name;

	*made = (struct made){.split = {.variants = made->variants,
					.sticky = sticky,
					.sticky_name = str_from_cstr(sticky_name)}};
	arena_init(&made->arena, 0, 65536);
	while (rest.len && str_next_token(&rest, ' ', &name)) {
		unsigned int at = made->split.count++;

		made->upstreams[at].name = name;
		made->variants[at].upstream = &made->upstreams[at];
		made->variants[at].weight = weights[at];
	}
	assert_int_equal(split_prepare(&made->split, &made->arena), 0);
	return &made->split;
}

static void made_done(struct made *made)
{
	arena_done(&made->arena);
}

/* The binomial's bounds: a fair choice leaves them once in two million runs, and the seed is fixed.
 */
static void check_share(const char *row, uint64_t count, uint64_t weight, uint64_t sum)
{
	double share = (double)weight / (double)sum;
	double expected = CHOICES * share;
	double sigma = sqrt(CHOICES * share * (1 - share));

	if (fabs((double)count - expected) > FIVE_SIGMA * sigma)
		print_error("%s: %llu instead of %.0f +- %.0f\n", row, (unsigned long long)count,
			    expected, FIVE_SIGMA * sigma);
	assert_row(row, fabs((double)count - expected) <= FIVE_SIGMA * sigma);
}

static const struct {
	const char *row;
	uint64_t weights[3];
} shares[] = {
	{"even", {1, 1, 1}},
	{"canary", {95, 5, 0}},
	{"one in a thousand", {999, 1, 0}},
	{"first is out", {0, 3, 7}},
	{"middle is out", {3, 0, 7}},
	{"all to the last", {0, 0, 1}},
	{"largest", {SPLIT_WEIGHT_MAX, 1, SPLIT_WEIGHT_MAX}},
};

static void test_free_choices_follow_the_weights(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(shares); i++) {
		struct random_state random = {17 + i};
		uint64_t counts[3] = {0}, sum = 0;
		struct made made;
		struct split *split = make(&made, "a b c", shares[i].weights, SPLIT_FREE, "");

		for (unsigned int turn = 0; turn < CHOICES; turn++)
			counts[split_by_weight(split, random_next(&random))]++;
		for (unsigned int j = 0; j < 3; j++)
			sum += shares[i].weights[j];
		for (unsigned int j = 0; j < 3; j++)
			check_share(shares[i].row, counts[j], shares[i].weights[j], sum);
		made_done(&made);
	}
}

static void test_no_random_number_leads_beyond_the_last_variant(void **state)
{
	static const uint64_t weights[] = {1, 0, 2};
	struct made made;
	struct split *split = make(&made, "a b c", weights, SPLIT_FREE, "");

	assert_int_equal(split_by_weight(split, 0), 0);
	assert_int_equal(split_by_weight(split, UINT64_MAX), 2);
	made_done(&made);
}

static unsigned int by_number(const struct split *split, unsigned int number)
{
	char text[32];
	int len = snprintf(text, sizeof(text), "user-%u", number);

	return split_by_value(split, str_make(text, (size_t)len));
}

static void test_hashed_clients_follow_the_weights(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(shares); i++) {
		uint64_t counts[3] = {0}, sum = 0;
		struct made made;
		struct split *split =
			make(&made, "a b c", shares[i].weights, SPLIT_BY_HEADER, "x-user");

		for (unsigned int number = 0; number < CHOICES; number++)
			counts[by_number(split, number)]++;
		for (unsigned int j = 0; j < 3; j++)
			sum += shares[i].weights[j];
		for (unsigned int j = 0; j < 3; j++)
			check_share(shares[i].row, counts[j], shares[i].weights[j], sum);
		made_done(&made);
	}
}

static void test_change_of_weights_moves_only_those_it_must(void **state)
{
	static const uint64_t before[] = {50, 40, 10}, after[] = {50, 40, 30};
	struct made old_made, new_made;
	struct split *old_split = make(&old_made, "a b c", before, SPLIT_BY_HEADER, "x-user");
	/* in another order, too: names count, not places */
	struct split *new_split =
		make(&new_made, "c a b", (uint64_t[]){after[2], after[0], after[1]},
		     SPLIT_BY_HEADER, "x-user");
	static const unsigned int new_place[] = {1, 2, 0};
	uint64_t moved = 0;

	for (unsigned int number = 0; number < CHOICES; number++) {
		unsigned int old_at = by_number(old_split, number);
		unsigned int new_at = by_number(new_split, number);

		if (new_at == new_place[old_at])
			continue;
		moved++;
		assert_int_equal(new_at, 0); /* only to the one that got more */
	}
	/* c grows from 10 % to 25 %: 15 % of all must move, and no more do. */
	check_share("moved", moved, 15, 100);
	made_done(&old_made);
	made_done(&new_made);
}

static void test_variant_that_leaves_moves_its_own_clients_only(void **state)
{
	static const uint64_t before[] = {1, 1, 1}, after[] = {1, 0, 1};
	struct made old_made, new_made;
	struct split *old_split = make(&old_made, "a b c", before, SPLIT_BY_SOURCE, "");
	struct split *new_split = make(&new_made, "a b c", after, SPLIT_BY_SOURCE, "");

	for (unsigned int number = 0; number < CHOICES; number++) {
		unsigned int old_at = by_number(old_split, number);

		if (old_at != 1)
			assert_int_equal(by_number(new_split, number), old_at);
		else
			assert_int_not_equal(by_number(new_split, number), 1);
	}
	made_done(&old_made);
	made_done(&new_made);
}

/* ---- cookies ---- */

static int cookie_of(const struct split *split, const char *const *values)
{
	struct http_field fields[4];
	struct http_head head = {.fields = fields};

	for (; *values; values++)
		fields[head.field_count++] = (struct http_field){
			STR("Cookie"), str_from_cstr(*values), HTTP_FIELD_COOKIE};
	return split_by_cookie(split, &head);
}

static int cookie(const struct split *split, const char *value)
{
	return cookie_of(split, (const char *const[]){value, NULL});
}

static void test_cookie_names_its_variant_wherever_it_stands(void **state)
{
	static const uint64_t weights[] = {1, 1, 0};
	struct made made;
	struct split *split = make(&made, "a b c", weights, SPLIT_BY_COOKIE, "v");
	const char *token = split->variants[1].token;
	char text[128];

	(void)snprintf(text, sizeof(text), "v=%s", token);
	assert_int_equal(cookie(split, text), 1);
	assert_int_equal(cookie_of(split, (const char *const[]){"x=1", text, NULL}), 1);
	(void)snprintf(text, sizeof(text), "a=b;  v=%s ; c=d", token);
	assert_int_equal(cookie(split, text), 1);
	/* of several the first that means something */
	(void)snprintf(text, sizeof(text), "v=; v=zzzzzzzz; v=%s; v=%s", token,
		       split->variants[0].token);
	assert_int_equal(cookie(split, text), 1);
	made_done(&made);
}

static void test_hostile_cookies_say_nothing(void **state)
{
	static const uint64_t weights[] = {1, 1, 0};
	static const char *const values[] = {
		"",	      "v",	   "=",	     "v=",	   ";;;;",     "v=a",
		"v=b",	      "v=0",	   "v=1",    "v=00000000", "v=%s0",    "v=0%s",
		"V=%s",	      "xv=%s",	   "v.x=%s", "v =%s",	   "v=\"%s\"", "v= %s",
		"v=%s=",      "x=v=%s",	   "v=%.7s", "v=%s,v=",	   "v%%3D%s",  "v=../../etc",
		"v=\xff\xff", "v=v=v=v=v", "v==%s",  "v=%s\x01",
	};
	struct made made;
	struct split *split = make(&made, "a b c", weights, SPLIT_BY_COOKIE, "v");

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		char text[128];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-extra-args"
		(void)snprintf(text, sizeof(text), values[i], split->variants[0].token);
#pragma GCC diagnostic pop
		assert_row(values[i], cookie(split, text) == -1);
	}
	made_done(&made);
}

static void test_cookie_of_a_variant_without_weight_is_not_honoured(void **state)
{
	static const uint64_t weights[] = {1, 0};
	struct made made;
	struct split *split = make(&made, "a b", weights, SPLIT_BY_COOKIE, "v");
	char text[32];

	(void)snprintf(text, sizeof(text), "v=%s", split->variants[1].token);
	assert_int_equal(cookie(split, text), -1);
	made_done(&made);
}

static void test_token_outlives_order_and_weights_and_hides_the_name(void **state)
{
	/* HARDENING 36: no name of an upstream reaches a client */
	struct made one, two;
	struct split *first = make(&one, "cart cart-v2", (uint64_t[]){95, 5}, SPLIT_BY_COOKIE, "v");
	struct split *second =
		make(&two, "cart-v2 other cart", (uint64_t[]){50, 0, 50}, SPLIT_BY_COOKIE, "w");

	assert_string_equal(first->variants[1].token, second->variants[0].token);
	assert_string_equal(first->variants[0].token, second->variants[2].token);
	assert_string_not_equal(first->variants[0].token, first->variants[1].token);
	assert_null(memmem(first->variants[0].set_cookie.ptr, first->variants[0].set_cookie.len,
			   "cart", 4));
	made_done(&one);
	made_done(&two);
}

static void test_cookie_is_bound_to_http_and_site_and_lives_as_asked(void **state)
{
	static const uint64_t weights[] = {1};
	struct made made;
	struct split *split = make(&made, "a", weights, SPLIT_BY_COOKIE, "v");
	char expected[128];

	(void)snprintf(expected, sizeof(expected), "v=%s; Path=/; HttpOnly; SameSite=Lax",
		       split->variants[0].token);
	assert_str(split->variants[0].set_cookie, expected);
	split->cookie_ttl_ms = 3600999;
	assert_int_equal(split_prepare(split, &made.arena), 0);
	(void)snprintf(expected, sizeof(expected),
		       "v=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600",
		       split->variants[0].token);
	assert_str(split->variants[0].set_cookie, expected);
	(void)snprintf(expected, sizeof(expected),
		       "v=%s; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600; Secure",
		       split->variants[0].token);
	assert_str(split->variants[0].set_cookie_secure, expected);
	made_done(&made);
	split = make(&made, "a", weights, SPLIT_BY_COOKIE, "__Host-v");
	assert_true(str_ends_with(split->variants[0].set_cookie, STR("; Secure")));
	made_done(&made);
}

static void test_split_without_memory_for_its_cookies_says_so(void **state)
{
	struct made made;
	struct split *split = make(&made, "a", (uint64_t[]){1}, SPLIT_BY_COOKIE, "v");
	struct arena small;

	arena_init(&small, 0, 8);
	assert_int_equal(split_prepare(split, &small), -ENOMEM);
	arena_done(&small);
	made_done(&made);
}

/* ---- in an exchange ---- */

struct stage {
	struct exchange_fixture *fixture;
	struct made made;
	struct registry *registry;
};

/* `b` has a condition; the exchange ends before an upstream is asked. */
static void stage_init(struct stage *stage, void **state, const uint64_t *weights,
		       enum split_sticky sticky, const char *name)
{
	static struct route_condition condition = {
		.name = {"x-canary", 8}, .value = {"yes", 3}, .kind = ROUTE_CONDITION_EXACT};
	static struct route_condition parameter = {.name = {"canary", 6},
						   .kind = ROUTE_CONDITION_PRESENT};

	stage->fixture = *state;
	stage->registry = registry_new();
	assert_non_null(stage->registry);
	stage->fixture->route->proxy.split = make(&stage->made, "a b c", weights, sticky, name);
	stage->made.variants[1].when_header = (struct route_conditions){&condition, 1};
	stage->made.variants[2].when_query = (struct route_conditions){&parameter, 1};
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(variant_stats_acquire(stage->registry, STR("only"),
						       stage->made.upstreams[i].name, 1,
						       &stage->made.variants[i].stats),
				 0);
	(void)exchange_fixture_begin(stage->fixture, "/", NULL, 0);
}

/* Which variant; the exchange's target and fields are set anew. */
static unsigned int choose(struct stage *stage, const char *query, const struct http_field *fields,
			   unsigned int count)
{
	struct exchange *exchange = stage->fixture->exchange;

	exchange->query = str_from_cstr(query);
	exchange->request.fields = (struct http_field *)fields;
	exchange->request.field_count = count;
	exchange->added_count = 0;
	return (unsigned int)(split_choose(exchange) - stage->made.upstreams);
}

static void stage_done(struct stage *stage)
{
	exchange_fixture_end(stage->fixture);
	for (unsigned int i = 0; i < 3; i++)
		variant_stats_unref(stage->made.variants[i].stats);
	registry_free(stage->registry);
	stage->fixture->route->proxy.split = NULL;
	made_done(&stage->made);
}

static void test_conditions_come_first_and_leave_no_cookie(void **state)
{
	const struct http_field yes = {STR("X-Canary"), STR("yes"), HTTP_FIELD_OTHER};
	const struct http_field no = {STR("X-Canary"), STR("no"), HTTP_FIELD_OTHER};
	struct stage stage;

	stage_init(&stage, state, (uint64_t[]){1, 0, 0}, SPLIT_BY_COOKIE, "v");
	assert_int_equal(choose(&stage, "", &yes, 1), 1); /* though it has no weight */
	assert_int_equal(stage.fixture->exchange->added_count, 0);
	assert_int_equal(choose(&stage, "?canary", &no, 1), 2);
	assert_int_equal(choose(&stage, "?canary", &yes, 1), 1); /* in the order of the split */
	assert_int_equal(choose(&stage, "?x", &no, 1), 0);
	assert_int_equal(stage.fixture->exchange->added_count, 1);
	assert_int_equal(variant_stats_requests(stage.made.variants[0].stats), 1);
	assert_int_equal(variant_stats_requests(stage.made.variants[1].stats), 2);
	assert_int_equal(variant_stats_requests(stage.made.variants[2].stats), 1);
	stage_done(&stage);
}

static void test_client_with_its_cookie_stays_and_gets_no_other(void **state)
{
	struct stage stage;
	char text[64];

	stage_init(&stage, state, (uint64_t[]){1, 1000, 1}, SPLIT_BY_COOKIE, "v");
	(void)snprintf(text, sizeof(text), "v=%s", stage.made.variants[0].token);
	for (unsigned int turn = 0; turn < 100; turn++) {
		const struct http_field field = {STR("Cookie"), str_from_cstr(text),
						 HTTP_FIELD_COOKIE};

		assert_int_equal(choose(&stage, "", &field, 1), 0);
		assert_int_equal(stage.fixture->exchange->added_count, 0);
	}
	stage_done(&stage);
}

static void test_cookie_given_is_that_of_the_variant_chosen(void **state)
{
	struct stage stage;
	bool seen[3] = {false};

	stage_init(&stage, state, (uint64_t[]){1, 1, 1}, SPLIT_BY_COOKIE, "v");
	for (unsigned int turn = 0; turn < 200; turn++) {
		unsigned int at = choose(&stage, "", NULL, 0);
		const struct exchange *exchange = stage.fixture->exchange;

		seen[at] = true;
		assert_int_equal(exchange->added_count, 1);
		assert_ptr_equal(exchange->added[0].value.ptr,
				 stage.made.variants[at].set_cookie.ptr);
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	stage_done(&stage);
}

static void test_header_and_source_hold_a_client_without_cookies(void **state)
{
	const struct http_field user = {STR("X-User"), STR("ada"), HTTP_FIELD_OTHER};
	bool seen[3] = {false};
	struct stage stage;
	unsigned int first;

	stage_init(&stage, state, (uint64_t[]){1, 1, 1}, SPLIT_BY_HEADER, "x-user");
	first = choose(&stage, "", &user, 1);
	for (unsigned int turn = 0; turn < 50; turn++) {
		assert_int_equal(choose(&stage, "", &user, 1), first);
		assert_int_equal(stage.fixture->exchange->added_count, 0);
		seen[choose(&stage, "", NULL, 0)] = true; /* without the field: by weight */
	}
	assert_true(seen[0] + seen[1] + seen[2] > 1);

	stage.made.split.sticky = SPLIT_BY_SOURCE;
	first = choose(&stage, "", NULL, 0);
	for (unsigned int turn = 0; turn < 50; turn++)
		assert_int_equal(choose(&stage, "", NULL, 0), first);
	seen[0] = seen[1] = seen[2] = false;
	for (uint8_t last = 0; last < 50; last++) {
		stage.fixture->exchange->client.bytes[3] = last;
		seen[choose(&stage, "", NULL, 0)] = true;
	}
	assert_true(seen[0] && seen[1] && seen[2]);
	stage_done(&stage);
}

static void test_full_list_of_added_fields_costs_the_cookie_only(void **state)
{
	struct stage stage;

	stage_init(&stage, state, (uint64_t[]){1, 1, 1}, SPLIT_BY_COOKIE, "v");
	stage.fixture->exchange->added_count = EXCHANGE_ADDED_MAX;
	assert_non_null(split_choose(stage.fixture->exchange));
	assert_int_equal(stage.fixture->exchange->added_count, EXCHANGE_ADDED_MAX);
	stage.fixture->exchange->added_count = 0;
	stage_done(&stage);
}

#define with_worker(test)                                                                          \
	cmocka_unit_test_setup_teardown(test, exchange_fixture_setup, exchange_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_free_choices_follow_the_weights),
		cmocka_unit_test(test_no_random_number_leads_beyond_the_last_variant),
		cmocka_unit_test(test_hashed_clients_follow_the_weights),
		cmocka_unit_test(test_change_of_weights_moves_only_those_it_must),
		cmocka_unit_test(test_variant_that_leaves_moves_its_own_clients_only),
		cmocka_unit_test(test_cookie_names_its_variant_wherever_it_stands),
		cmocka_unit_test(test_hostile_cookies_say_nothing),
		cmocka_unit_test(test_cookie_of_a_variant_without_weight_is_not_honoured),
		cmocka_unit_test(test_token_outlives_order_and_weights_and_hides_the_name),
		cmocka_unit_test(test_cookie_is_bound_to_http_and_site_and_lives_as_asked),
		cmocka_unit_test(test_split_without_memory_for_its_cookies_says_so),
		with_worker(test_conditions_come_first_and_leave_no_cookie),
		with_worker(test_client_with_its_cookie_stays_and_gets_no_other),
		with_worker(test_cookie_given_is_that_of_the_variant_chosen),
		with_worker(test_header_and_source_hold_a_client_without_cookies),
		with_worker(test_full_list_of_added_fields_costs_the_cookie_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
