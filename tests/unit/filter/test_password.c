/* Passwords against hashes that other programs made. */
#include "test_support.h"

#include "filter/password.h"

static const struct {
	const char *hash, *password;
} rows[] = {
	/* openssl passwd -apr1, -5, -6; htpasswd -B; libcrypt's yescrypt */
	{"$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/", "secret"},
	{"$apr1$x$eVg/QpGhpgNiDA46nGsav0", "a much longer password than sixteen bytes"},
	{"$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA", "secret"},
	{"$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq."
	 "H91p5hVO1",
	 "secret"},
	{"$2y$05$j2v7/SBXhVNQCGIONUQ4J.KG743y0shottPTPfuskjfOV0xI1wSKO", "secret"},
	{"$apr1$wQJxm6/O$RT4p8EAAXab4hmWgYuXl81", "secret"},
	{"$y$j9T$abcdefghijklmnop$3dL1LkYnZM.OVXuVdnnaKVDlLYT92dRwOzDZ5XiVCe.", "secret"},
};

static void test_hashes_of_other_programs_match_their_password_alone(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char other[PASSWORD_BYTES_MAX];

		assert_row(rows[i].hash, password_hash_is_valid(rows[i].hash));
		assert_row(rows[i].hash, password_matches(rows[i].hash, rows[i].password));
		(void)snprintf(other, sizeof(other), "%sx", rows[i].password);
		assert_row(rows[i].hash, !password_matches(rows[i].hash, other));
		assert_row(rows[i].hash, !password_matches(rows[i].hash, "Secret"));
	}
}

static void test_what_is_no_good_hash_is_not_taken(void **state)
{
	static const char *const bad[] = {
		"",
		"secret",
		"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
		"rl0uE0y3iRgPA",
		"$1$a$b",
		"$1$saltsalt$FBgQW9xMuKpXGTBrpYRdE/",
		"$apr1$abcdefgh$",
		"$apr1$$short",
		"$apr1$abcdefghi$UC1tqwzJpRKxbF1aLZG8e0",
		"$apr1$abcdefgh",
		"$2y$05$",
		"$2y$",
		"$6$",
		"$6$saltsalt$",
		"$6$saltsalt",
		"$y$j9T$abcdefghijklmnop",
		"$5$rounds=1000$x$y",
		"*0",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_row(bad[i], !password_hash_is_valid(bad[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hashes_of_other_programs_match_their_password_alone),
		cmocka_unit_test(test_what_is_no_good_hash_is_not_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
