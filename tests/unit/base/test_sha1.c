#include "base/sha1.h"
#include "test_support.h"

static const char *hex(struct str bytes, char text[2 * SHA1_BYTES + 1])
{
	uint8_t digest[SHA1_BYTES];

	sha1(bytes, digest);
	for (unsigned int i = 0; i < SHA1_BYTES; i++)
		(void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
	return text;
}

static void test_known_digests(void **state)
{
	char text[2 * SHA1_BYTES + 1];

	assert_string_equal(hex(STR(""), text), "da39a3ee5e6b4b0d3255bfef95601890afd80709");
	assert_string_equal(hex(STR("abc"), text), "a9993e364706816aba3e25717850c26c9cd0d89d");
	assert_string_equal(
		hex(STR("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"), text),
		"84983e441c3bd26ebaae4aa1f95129e5e54670f1");
}

/* Lengths around which the end mark and the length need a block more. */
static void test_lengths_around_a_block(void **state)
{
	static const struct {
		size_t len;
		const char *digest;
	} rows[] = {
		{55, "c1c8bbdc22796e28c0e15163d20899b65621d65a"},
		{56, "c2db330f6083854c99d4b5bfb6e8f29f201be699"},
		{63, "03f09f5b158a7a8cdad920bddc29b81c18a551f5"},
		{64, "0098ba824b5c16427bd7a1122a5a442a25ec644d"},
		{65, "11655326c708d70319be2610e8a57d9a5b959d3b"},
		{1000, "291e9a6c66994949b57ba5e650361e98fc36b1ba"},
	};
	char bytes[1000], text[2 * SHA1_BYTES + 1];

	memset(bytes, 'a', sizeof(bytes));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(hex(str_make(bytes, rows[i].len), text), rows[i].digest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_digests),
		cmocka_unit_test(test_lengths_around_a_block),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
