#include "config_fixture.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "tls/tls_client_config.h"
#include "upstream/upstream.h"

#define UP	 CONFIG_HEAD "upstreams:\n  - name: a\n    endpoints: [ 10.0.0.1:443 ]\n    tls: "
#define OPTS	 "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
#define MAKE(id) "openssl req -x509 " OPTS "-subj /CN=" id " -keyout " id ".key -out " id ".pem"
#define LIST                                                                                       \
	"printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=all\\ndefault_md=sha256\\n' >ca.cnf; : "     \
	">all; "                                                                                   \
	"openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -crldays 2 -out ca.crl"

/* A directory with authority ca and its list of revocations, certificates one and two, and
 * something that is none. */
static int enter(void **state)
{
	int r = config_enter_dir(state);

	if (r ||
	    system("{ " MAKE("ca") "; " MAKE("one") "; " MAKE("two") "; " LIST "; } 2>/dev/null"))
		return -1;
	config_write_file("none.pem", "nothing\n");
	return 0;
}

static void check_errors(const char *text, const char *errors)
{
	struct loaded loaded;

	config_load_text(&loaded, text, NULL);
	assert_string_equal(loaded.printed.data, errors);
	assert_int_equal(loaded.result, -EINVAL);
	loaded_done(&loaded);
}

static const struct tls_client_conf *load(struct loaded *loaded, const char *text)
{
	config_load_text(loaded, text, NULL);
	assert_string_equal(loaded->printed.data, "");
	return loaded->snapshot->upstreams[0].tls;
}

static void test_every_key_is_read(void **state)
{
	char directory[PATH_MAX], path[PATH_MAX + 8];
	const struct tls_client_conf *tls;
	struct loaded loaded;

	assert_non_null(getcwd(directory, sizeof(directory)));
	tls = load(&loaded, UP "{ ca: ca.pem, server_name: shop.test }\n");
	assert_str(tls->server_name, "shop.test");
	(void)snprintf(path, sizeof(path), "%s/ca.pem", directory);
	assert_str(tls->ca, path);
	assert_null(tls->client_cert.cert.ptr);
	assert_int_equal(tls->min_version, TLS1_2_VERSION);
	assert_int_equal(tls->san_count, 0);
	assert_true(tls->http11);
	assert_false(tls->insecure);
	assert_non_null(tls->client);
	loaded_done(&loaded);

	tls = load(&loaded,
		   UP "{ ca: ca.pem, san: [ shop.test, 10.0.0.1, \"2001:db8::1\", "
		      "\"spiffe://shop/web\" ], client_cert: { cert: one.pem, key: one.key "
		      "}, min_version: 1.3, alpn: [] }\n");
	assert_null(tls->server_name.ptr);
	assert_int_equal(tls->san_count, 4);
	assert_int_equal(tls->sans[0].type, TLS_SAN_DNS);
	assert_int_equal(tls->sans[1].type, TLS_SAN_IP);
	assert_int_equal(tls->sans[2].type, TLS_SAN_IP);
	assert_int_equal(tls->sans[3].type, TLS_SAN_URI);
	assert_str(tls->sans[3].value, "spiffe://shop/web");
	(void)snprintf(path, sizeof(path), "%s/one.key", directory);
	assert_str(tls->client_cert.key, path);
	assert_int_equal(tls->min_version, TLS1_3_VERSION);
	assert_false(tls->http11);
	loaded_done(&loaded);

	tls = load(&loaded, UP "{ insecure_skip_verify: true, alpn: http/1.1 }\n");
	assert_true(tls->insecure && tls->http11);
	loaded_done(&loaded);

	assert_null(load(&loaded, CONFIG_HEAD CONFIG_UP));
	loaded_done(&loaded);
}

static void test_all_errors_are_told_with_their_places(void **state)
{
	check_errors(UP "{}\n",
		     "sluice.yaml:5:10: upstream 'a': tls: needs 'ca', the authorities that may "
		     "sign the server's certificate\n"
		     "sluice.yaml:5:10: upstream 'a': tls: needs 'server_name' or 'san': the names "
		     "that the server's certificate may have\n");
	/* Nothing behind the key must not mean clear text. */
	check_errors(UP "~\n",
		     "sluice.yaml:5:10: upstream 'a': tls: needs 'ca', the authorities that may "
		     "sign the server's certificate\n"
		     "sluice.yaml:5:10: upstream 'a': tls: needs 'server_name' or 'san': the names "
		     "that the server's certificate may have\n");
	check_errors(UP "on\n", "sluice.yaml:5:10: upstream 'a': tls: expected a mapping, got "
				"'on'\n");
	check_errors(UP
		     "\n      ca: gone.pem\n      san: []\n      min_version: 1.1\n"
		     "      alpn: [ h2, spdy ]\n      client_cert: { cert: none.pem, kye: one.key "
		     "}\n      server: x\n",
		     "sluice.yaml:6:11: upstream 'a': tls: ca: file 'gone.pem' cannot be read: No "
		     "such file or directory\n"
		     "sluice.yaml:7:12: upstream 'a': tls: san: needs 1 to 64 names, has 0\n"
		     "sluice.yaml:8:20: upstream 'a': tls: min_version: expected one of 1.2, 1.3, "
		     "got '1.1'; did you mean '1.2'?\n"
		     "sluice.yaml:9:13: upstream 'a': tls: alpn: 'h2': expected http/1.1, "
		     "which is what 'protocol' says\n"
		     "sluice.yaml:9:13: upstream 'a': tls: alpn: 'spdy': expected http/1.1, "
		     "which is what 'protocol' says\n"
		     "sluice.yaml:10:20: upstream 'a': tls: client_cert: 'key' is required\n"
		     "sluice.yaml:10:38: upstream 'a': tls: client_cert: unknown key 'kye'\n"
		     "sluice.yaml:11:7: upstream 'a': tls: unknown key 'server'; did you mean "
		     "'server_name'?\n");
	check_errors(UP "{ ca: ca.pem, server_name: x.test, insecure_skip_verify: true }\n",
		     "sluice.yaml:5:12: upstream 'a': tls: 'ca' and 'san' are of no use with "
		     "'insecure_skip_verify'\n");
}

static void test_what_stands_in_the_files_is_tried(void **state)
{
	check_errors(UP "{ ca: none.pem, server_name: x.test }\n",
		     "sluice.yaml:5:10: upstream 'a': tls: ca: no certificate in PEM form\n");
	check_errors(UP "{ ca: ca.pem, server_name: x.test, crl: none.pem }\n",
		     "sluice.yaml:5:10: upstream 'a': tls: crl: no list of revocations in PEM "
		     "form\n");
	check_errors(UP "{ crl: ca.crl, insecure_skip_verify: true }\n",
		     "sluice.yaml:5:12: upstream 'a': tls: 'crl' is of no use with "
		     "'insecure_skip_verify'\n");
	check_errors(UP "{ ca: ca.pem, server_name: x.test, client_cert: { cert: one.pem, key: "
			"two.key } }\n",
		     "sluice.yaml:5:10: upstream 'a': tls: client_cert: the key is not that of the "
		     "certificate\n");
	check_errors(UP "{ ca: ca.pem, server_name: \"*.test\" }\n",
		     "sluice.yaml:5:10: upstream 'a': tls: server_name: '*.test' is no name of a "
		     "host\n");
}

static void test_it_is_printed_with_absolute_names_and_loads_again(void **state)
{
	static const char *const texts[] = {
		UP "{ ca: ca.pem, san: [ shop.test, \"2001:db8::1\" ], server_name: x.test, "
		   "client_cert: { cert: one.pem, key: one.key }, min_version: 1.3, alpn: [], "
		   "crl: ca.crl }\n",
		UP "{ insecure_skip_verify: true }\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct buf first, second;
		struct loaded loaded;

		buf_init(&first, 1 << 20);
		buf_init(&second, 1 << 20);
		(void)load(&loaded, texts[i]);
		assert_int_equal(config_print_effective(loaded.snapshot, &first), 0);
		assert_int_equal(buf_append(&first, str_make("", 1)), 0);
		loaded_done(&loaded);
		assert_true(strstr(first.data, "key: /") || i == 1);
		assert_null(strstr(first.data, "BEGIN"));
		(void)load(&loaded, first.data);
		assert_int_equal(config_print_effective(loaded.snapshot, &second), 0);
		assert_int_equal(buf_append(&second, str_make("", 1)), 0);
		assert_string_equal(first.data, second.data);
		loaded_done(&loaded);
		buf_done(&first);
		buf_done(&second);
	}
}

static void test_clients_of_the_same_settings_are_the_same(void **state)
{
	static const struct {
		const char *text;
		bool same;
	} rows[] = {
		{UP "{ ca: ca.pem, server_name: shop.test }\n", true},
		{UP "{ server_name: shop.test, ca: ./ca.pem }\n", true},
		{UP "{ ca: one.pem, server_name: shop.test }\n", false},
		{UP "{ ca: ca.pem, server_name: shop.test, crl: ca.crl }\n", false},
		{UP "{ ca: ca.pem, server_name: x.test }\n", false},
		{UP "{ ca: ca.pem, server_name: shop.test, san: [ shop.test, x.test ] }\n", false},
		{UP "{ ca: ca.pem, server_name: shop.test, min_version: 1.3 }\n", false},
		{UP "{ ca: ca.pem, server_name: shop.test, client_cert: { cert: one.pem, key: "
		    "one.key } }\n",
		 false},
		{UP "{ server_name: shop.test, insecure_skip_verify: on }\n", false},
	};
	struct loaded first;
	const struct tls_client_conf *tls = load(&first, rows[0].text);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct loaded loaded;
		const struct tls_client_conf *other = load(&loaded, rows[i].text);

		assert_row(rows[i].text,
			   tls_client_is_same(tls->client, other->client) == rows[i].same);
		assert_false(tls_client_is_same(NULL, other->client));
		loaded_done(&loaded);
	}
	assert_true(tls_client_is_same(NULL, NULL));
	loaded_done(&first);
}

static int load_once(void *arg)
{
	struct conf_errors *errors = conf_errors_new("sluice.yaml");
	struct snapshot *snapshot = NULL;
	struct registry *registry = arg;
	int r = -ENOMEM;

	if (!errors)
		return r;
	r = config_load("sluice.yaml", registry, 2, errors, &snapshot);
	if ((r != 0) != (conf_errors_count(errors) != 0) || (r != 0) == (snapshot != NULL))
		abort();
	snapshot_unref(snapshot);
	conf_errors_free(errors);
	(void)registry_sweep(registry);
	return r;
}

static void test_memory_that_runs_out_is_told_and_leaks_nothing(void **state)
{
	struct registry *registry = registry_new();
	bool happened = true;

	config_write_file("sluice.yaml",
			  UP "{ ca: ca.pem, crl: ca.crl, san: [ a.test, b.test ] }\n");
	/* What OpenSSL makes once stays; what is made each time is what matters. */
	assert_int_equal(load_once(registry), 0);
	for (unsigned int nth = 0; happened; nth++) {
		alloc_fail_arm(nth);
		(void)load_once(registry);
		happened = alloc_fail_disarm();
	}
	assert_int_equal(load_once(registry), 0);
	registry_free(registry);
}

#define in_dir(test) cmocka_unit_test_setup_teardown(test, enter, config_leave_dir)

int main(void)
{
	const struct CMUnitTest tests[] = {
		in_dir(test_every_key_is_read),
		in_dir(test_all_errors_are_told_with_their_places),
		in_dir(test_what_stands_in_the_files_is_tried),
		in_dir(test_it_is_printed_with_absolute_names_and_loads_again),
		in_dir(test_clients_of_the_same_settings_are_the_same),
		in_dir(test_memory_that_runs_out_is_told_and_leaks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
