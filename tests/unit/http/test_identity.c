/* Who the caller is, from what several policies found out. */
#include "test_support.h"

#include "http/identity.h"

static const struct str groups[] = {{"partners", 8}, {"eu", 2}};
static const struct str scopes[] = {{"read", 4}};
static const struct identity_claim key_claims[] = {{{"plan", 4}, {"gold", 4}, false}};
static const struct identity_claim token_claims[] = {
	{{"sub", 3}, {"17", 2}, false},
	{{"roles", 5}, {"admin", 5}, false},
	{{"plan", 4}, {"free", 4}, false},
	{{"roles", 5}, {"audit", 5}, false},
	{{"address.city", 12}, {"Ulm", 3}, false},
	{{"empty", 5}, {"", 0}, false},
};
static const struct identity_finding nameless = {.scheme = "client_certificate"};
static const struct identity_finding key = {
	.scheme = "api_key",
	.consumer = {"acme", 4},
	.groups = groups,
	.group_count = ARRAY_SIZE(groups),
	.claims = key_claims,
	.claim_count = ARRAY_SIZE(key_claims),
};
static const struct identity_finding token = {
	.scheme = "jwt",
	.consumer = {"17", 2},
	.scopes = scopes,
	.scope_count = ARRAY_SIZE(scopes),
	.claims = token_claims,
	.claim_count = ARRAY_SIZE(token_claims),
};

static void test_nobody_has_no_name_and_no_claims(void **state)
{
	struct identity identity = {0};

	assert_null(identity_consumer(&identity).ptr);
	assert_null(identity_claim(&identity, STR("sub")).ptr);
	assert_false(identity_has_claim(&identity, STR("sub"), STR("")));
	assert_false(identity_has_group(&identity, STR("")));
	assert_false(identity_has_scope(&identity, STR("")));
}

static void test_the_first_that_has_a_name_gives_the_consumer(void **state)
{
	struct identity identity = {0};

	assert_true(identity_add(&identity, STR("devices"), &nameless));
	assert_null(identity_consumer(&identity).ptr);
	assert_true(identity_add(&identity, STR("users"), &token));
	assert_true(identity_add(&identity, STR("partners"), &key));
	assert_str(identity_consumer(&identity), "17");
	assert_str(identity.policies[2], "partners");
}

static void test_claims_are_looked_for_in_all_findings_in_their_order(void **state)
{
	struct identity_cursor cursor = {0};
	struct identity identity = {0};
	char all[64] = "";
	size_t len = 0;

	assert_true(identity_add(&identity, STR("partners"), &key));
	assert_true(identity_add(&identity, STR("devices"), &nameless));
	assert_true(identity_add(&identity, STR("users"), &token));
	assert_str(identity_claim(&identity, STR("plan")), "gold");
	assert_str(identity_claim(&identity, STR("address.city")), "Ulm");
	assert_str(identity_claim(&identity, STR("empty")), "");
	assert_null(identity_claim(&identity, STR("address")).ptr);
	assert_null(identity_claim(&identity, STR("Plan")).ptr);
	assert_true(identity_has_claim(&identity, STR("plan"), STR("free")));
	assert_true(identity_has_claim(&identity, STR("roles"), STR("audit")));
	assert_false(identity_has_claim(&identity, STR("roles"), STR("aud")));
	while (identity_next(&identity, STR("plan"), &cursor))
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%.*s ",
					STR_FMT(cursor.value));
	for (cursor = (struct identity_cursor){0}; identity_next(&identity, STR("roles"), &cursor);)
		len += (size_t)snprintf(all + len, sizeof(all) - len, "%.*s ",
					STR_FMT(cursor.value));
	assert_string_equal(all, "gold free admin audit ");
}

static void test_groups_and_scopes_are_whole_words_of_any_finding(void **state)
{
	struct identity identity = {0};

	assert_true(identity_add(&identity, STR("users"), &token));
	assert_true(identity_add(&identity, STR("partners"), &key));
	assert_true(identity_has_group(&identity, STR("eu")));
	assert_false(identity_has_group(&identity, STR("partner")));
	assert_false(identity_has_group(&identity, STR("read")));
	assert_true(identity_has_scope(&identity, STR("read")));
	assert_false(identity_has_scope(&identity, STR("eu")));
}

static void test_more_findings_than_there_is_room_for_are_refused(void **state)
{
	struct identity identity = {0};

	for (unsigned int i = 0; i < IDENTITY_FINDINGS_MAX; i++)
		assert_true(identity_add(&identity, STR("p"), &nameless));
	assert_false(identity_add(&identity, STR("partners"), &key));
	assert_null(identity_consumer(&identity).ptr);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_has_no_name_and_no_claims),
		cmocka_unit_test(test_the_first_that_has_a_name_gives_the_consumer),
		cmocka_unit_test(test_claims_are_looked_for_in_all_findings_in_their_order),
		cmocka_unit_test(test_groups_and_scopes_are_whole_words_of_any_finding),
		cmocka_unit_test(test_more_findings_than_there_is_room_for_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
