#include "proto/websocket/handshake.h"
#include "test_support.h"

static void test_the_answer_to_a_key(void **state)
{
	char accept[WEBSOCKET_ACCEPT_LEN];

	/* RFC 6455 1.3. */
	websocket_accept_make(STR("dGhlIHNhbXBsZSBub25jZQ=="), accept);
	assert_str(str_make(accept, sizeof(accept)), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

static void test_only_keys_of_16_bytes_are_keys(void **state)
{
	static const struct {
		const char *key;
		bool valid;
	} rows[] = {
		{"dGhlIHNhbXBsZSBub25jZQ==", true},
		{"AAAAAAAAAAAAAAAAAAAAAA==", true},
		{"/////////////////////w==", true},
		{"++++++++++++++++++++++==", false}, /* bits behind the sixteenth byte */
		{"AAAAAAAAAAAAAAAAAAAAAB==", false},
		{"AAAAAAAAAAAAAAAAAAAAA===", false},
		{"AAAAAAAAAAAAAAAAAAAAAAA=", false},
		{"AAAAAAAAAAAAAAAAAAAAAAAA", false},
		{"AAAAAAAAAAAAAAAAAAAAAA=", false},
		{"AAAAAAAAAAAAAAAAAAAAAA===", false},
		{"AAAAAAAAAAAAAAAAAAAAAA", false},
		{"AAAA-AAAAAAAAAAAAAAAAA==", false},
		{"AAAA AAAAAAAAAAAAAAAAA==", false},
		{"=AAAAAAAAAAAAAAAAAAAAA==", false},
		{"", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].key,
			   websocket_key_is_valid(str_from_cstr(rows[i].key)) == rows[i].valid);
	assert_false(websocket_key_is_valid(STR("AAAA\0AAAAAAAAAAAAAAAAA==")));
	assert_false(websocket_key_is_valid(STR_NULL));
}

static void test_a_key_that_was_made_is_valid(void **state)
{
	uint8_t random[16];
	char key[WEBSOCKET_KEY_LEN];

	for (unsigned int i = 0; i < 256; i++) {
		memset(random, (int)i, sizeof(random));
		websocket_key_make(random, key);
		assert_true(websocket_key_is_valid(str_make(key, sizeof(key))));
	}
	memcpy(random, "the sample nonce", sizeof(random));
	websocket_key_make(random, key);
	assert_str(str_make(key, sizeof(key)), "dGhlIHNhbXBsZSBub25jZQ==");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_answer_to_a_key),
		cmocka_unit_test(test_only_keys_of_16_bytes_are_keys),
		cmocka_unit_test(test_a_key_that_was_made_is_valid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
