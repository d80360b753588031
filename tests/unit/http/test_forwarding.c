#include "test_support.h"

#include <errno.h>
#include <stdlib.h>

#include "http/exchange.h"
#include "http/forwarding.h"

#define ROOM 4096

static struct ip_addr address(const char *text)
{
	struct ip_addr addr = {0};

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &addr), 0);
	return addr;
}

static void assert_address(const char *row, const struct ip_addr *addr, const char *expected)
{
	char text[ADDR_TEXT_MAX];

	if (strcmp(ip_addr_format(addr, text, sizeof(text)), expected))
		fail_msg("%s: got %s, expected %s", row, text, expected);
}

/* An exchange with fields, all of it on the stack of the test. */
struct fixture {
	struct snapshot snapshot;
	struct worker_snapshot config;
	struct exchange exchange;
	struct ip_prefix prefixes[4];
	struct http_field fields[16];
};

/* fields: "Name: value" lines, NULL-terminated. */
static void set_up(struct fixture *fixture, const char *peer, const char *const *trusted,
		   const char *const *lines)
{
	struct exchange *exchange = &fixture->exchange;
	struct error err = {0};

	memset(fixture, 0, sizeof(*fixture));
	fixture->config.snapshot = &fixture->snapshot;
	fixture->snapshot.node.trusted_proxies.prefixes = fixture->prefixes;
	for (unsigned int i = 0; trusted && trusted[i]; i++) {
		assert_int_equal(
			ip_prefix_parse(str_from_cstr(trusted[i]), &fixture->prefixes[i], &err), 0);
		fixture->snapshot.node.trusted_proxies.count++;
	}
	exchange->config = &fixture->config;
	exchange->peer = exchange->sender = exchange->client = address(peer);
	exchange->public_scheme = STR("http");
	exchange->request.version_minor = 1;
	exchange->request.fields = fixture->fields;
	for (unsigned int i = 0; lines[i]; i++) {
		struct http_field *field = &fixture->fields[exchange->request.field_count++];
		struct str line = str_from_cstr(lines[i]);
		size_t colon = (size_t)str_find_byte(line, ':');

		field->name = str_sub(line, 0, colon);
		field->value = str_trim(str_sub(line, colon + 1, line.len));
		field->id = http_field_lookup(field->name);
		if (field->id == HTTP_FIELD_HOST)
			exchange->request.host = field->value;
	}
	forwarding_identify(exchange);
}

static void test_hops_have_ports_and_brackets_or_are_refused(void **state)
{
	static const struct {
		const char *text, *addr;
	} rows[] = {
		{"192.0.2.1", "192.0.2.1"},
		{"192.0.2.1:80", "192.0.2.1"},
		{"192.0.2.1:65535", "192.0.2.1"},
		{"2001:db8::1", "2001:db8::1"},
		{"[2001:db8::1]", "2001:db8::1"},
		{"[2001:DB8::1]:443", "2001:db8::1"},
		{"::ffff:192.0.2.1", "192.0.2.1"},
		{"[::ffff:192.0.2.1]:1", "192.0.2.1"},
		{"::1", "::1"},
		{"", NULL},
		{"unknown", NULL},
		{"_hidden", NULL},
		{"192.0.2.1:", NULL},
		{"192.0.2.1:65536", NULL},
		{"192.0.2.1:+1", NULL},
		{"192.0.2.1:000080", NULL},
		{"192.0.2", NULL},
		{"192.0.2.256", NULL},
		{"192.0.2.1 ", NULL},
		{"192.0.2.0/24", NULL},
		{"[192.0.2.1]", NULL},
		{"[::1", NULL},
		{"[::1]80", NULL},
		{"[::1]:", NULL},
		{"[]", NULL},
		{"::1%eth0", NULL},
		{"\"192.0.2.1\"", NULL},
		{":80", NULL},
		{":::", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ip_addr addr;
		int ret = forwarding_parse_hop(str_from_cstr(rows[i].text), &addr);

		if (!rows[i].addr) {
			assert_row(rows[i].text, ret == -EINVAL);
			continue;
		}
		assert_row(rows[i].text, ret == 0);
		assert_address(rows[i].text, &addr, rows[i].addr);
	}
}

#define FOR(value) "X-Forwarded-For: " value

static void test_h19_the_client_is_found_from_the_right_over_trusted_addresses(void **state)
{
	static const char *const trusted[] = {"10.0.0.0/8", "2001:db8::/32", NULL};
	static const struct {
		const char *peer;
		const char *lines[4];
		const char *client;
	} rows[] = {
		/* Who is not trusted is the client, whatever he says. */
		{"192.0.2.9", {FOR("1.2.3.4")}, "192.0.2.9"},
		{"192.0.2.9", {FOR("10.0.0.1")}, "192.0.2.9"},
		{"10.0.0.1", {NULL}, "10.0.0.1"},
		{"10.0.0.1", {FOR("")}, "10.0.0.1"},
		{"10.0.0.1", {FOR("1.2.3.4")}, "1.2.3.4"},
		{"2001:db8::1", {FOR("[2001:db9::7]:99")}, "2001:db9::7"},
		/* What stands left of the first untrusted one is what he claimed. */
		{"10.0.0.1", {FOR("6.6.6.6, 1.2.3.4")}, "1.2.3.4"},
		{"10.0.0.1", {FOR("10.9.9.9, 1.2.3.4, 10.0.0.2:80")}, "1.2.3.4"},
		{"10.0.0.1", {FOR("1.2.3.4,10.0.0.3 ,\t10.0.0.2")}, "1.2.3.4"},
		{"10.0.0.1", {FOR("10.0.0.3, 10.0.0.2")}, "10.0.0.3"},
		{"10.0.0.1", {FOR("1.2.3.4,, ,10.0.0.2,")}, "1.2.3.4"},
		/* Several fields are one list, odd spelling of the name included. */
		{"10.0.0.1", {FOR("6.6.6.6"), FOR("1.2.3.4")}, "1.2.3.4"},
		{"10.0.0.1", {FOR("1.2.3.4"), "x-forwarded-for:10.0.0.2"}, "1.2.3.4"},
		{"10.0.0.1", {FOR("6.6.6.6"), FOR("1.2.3.4"), FOR("10.0.0.2")}, "1.2.3.4"},
		/* Garbage ends it at the last one that could be followed. */
		{"10.0.0.1", {FOR("1.2.3.4, unknown")}, "10.0.0.1"},
		{"10.0.0.1", {FOR("1.2.3.4, x, 10.0.0.2")}, "10.0.0.2"},
		{"10.0.0.1", {FOR("1.2.3.4"), FOR("garbage")}, "10.0.0.1"},
		/* Other spellings are other fields. */
		{"10.0.0.1", {"X_Forwarded_For: 1.2.3.4"}, "10.0.0.1"},
		{"10.0.0.1", {"Forwarded: for=1.2.3.4"}, "10.0.0.1"},
		{"10.0.0.1", {"X-Real-IP: 1.2.3.4"}, "10.0.0.1"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture fixture;

		set_up(&fixture, rows[i].peer, trusted, rows[i].lines);
		assert_address(rows[i].lines[0] ? rows[i].lines[0] : "none",
			       &fixture.exchange.client, rows[i].client);
	}
}

static void test_h19_the_walk_is_bounded(void **state)
{
	static const char *const trusted[] = {"10.0.0.0/8", NULL};
	char chain[32 + FORWARDING_HOPS_MAX * 16] = FOR("1.2.3.4");
	const char *lines[] = {chain, NULL};
	struct fixture fixture;

	for (unsigned int i = 1; i < FORWARDING_HOPS_MAX; i++)
		(void)snprintf(chain + strlen(chain), sizeof(chain) - strlen(chain), ", 10.0.0.%u",
			       i);
	set_up(&fixture, "10.0.1.1", trusted, lines);
	assert_address("as many as are looked at", &fixture.exchange.client, "1.2.3.4");
	(void)snprintf(chain + strlen(chain), sizeof(chain) - strlen(chain), ", 10.0.0.99");
	set_up(&fixture, "10.0.1.1", trusted, lines);
	assert_address("one more", &fixture.exchange.client, "10.0.0.1");
}

/* The walk against its definition, on chains made at random. */
static void test_h19_the_walk_agrees_with_its_definition(void **state)
{
	static const char *const trusted[] = {"10.0.0.0/8", NULL};
	static const char *const elements[] = {"10.0.0.1",   "10.9.9.9:1", "1.2.3.4",
					       "5.6.7.8:80", "x",	   "[::1]:2"};
	static const char *const addresses[] = {"10.0.0.1", "10.9.9.9", "1.2.3.4",
						"5.6.7.8",  NULL,	"::1"};

	srandom(19);
	for (unsigned int round = 0; round < 5000; round++) {
		unsigned int count = (unsigned int)random() % 7, chain[8];
		char text[3][256] = {FOR(""), FOR(""), FOR("")};
		const char *lines[] = {text[0], text[1], text[2], NULL};
		const char *expected = "10.0.0.9";
		unsigned int line = 0;
		struct fixture fixture;

		for (unsigned int i = 0; i < count; i++) {
			size_t len = strlen(text[line]);

			chain[i] = (unsigned int)random() % ARRAY_SIZE(elements);
			(void)snprintf(text[line] + len, sizeof(text[line]) - len, "%s%s",
				       len > strlen(FOR("")) ? ", " : "", elements[chain[i]]);
			if (line < 2 && random() % 4 == 0)
				line++;
		}
		for (unsigned int i = count; i-- > 0 && !strncmp(expected, "10.", 3);) {
			if (!addresses[chain[i]])
				break;
			expected = addresses[chain[i]];
		}
		set_up(&fixture, "10.0.0.9", trusted, lines);
		assert_address(text[0], &fixture.exchange.client, expected);
	}
}

/* What goes upstream: the fields that pass, then ours. */
static void assert_sent(const char *row, const struct exchange *exchange, const char *expected)
{
	struct http1_writer writer;
	char room[ROOM];
	size_t fields = 0;

	http1_write_init(&writer, room, sizeof(room));
	for (unsigned int i = 0; i < exchange->request.field_count; i++) {
		const struct http_field *field = &exchange->request.fields[i];

		fields += field->name.len + field->value.len + 4;
		if (field->id != HTTP_FIELD_HOST && forwarding_field_passes(exchange, field))
			http1_write_field(&writer, field->name, field->value);
	}
	forwarding_write(exchange, &writer);
	assert_false(writer.overflowed);
	assert_true((size_t)(writer.pos - room) <= FORWARDING_BYTES + 2 * fields);
	if (!str_eq_cstr(str_make(room, (size_t)(writer.pos - room)), expected))
		fail_msg("%s: got\n%.*s\nexpected\n%s", row, (int)(writer.pos - room), room,
			 expected);
}

static void test_h19_h20_the_untrusted_say_nothing_about_themselves(void **state)
{
	static const char *const none[] = {NULL}, *const other[] = {"10.0.0.0/8", NULL};
	static const char *const lines[] = {"Host: a.example",
					    "X-Forwarded-For: 1.2.3.4",
					    "Forwarded: for=1.2.3.4",
					    "X-Forwarded-Proto: https",
					    "X-Forwarded-Host: evil.example",
					    "x-forwarded-anything: 1",
					    "X-FORWARDED_FOR: 1.2.3.4",
					    "x.forwarded.host: evil.example",
					    "X_Real_IP: 1.2.3.4",
					    "X-Real-Ip: 1.2.3.4",
					    "True_Client-IP: 1.2.3.4",
					    "Via: 1.1 evil",
					    "X-Stays: 1",
					    "X_Stays: 2",
					    NULL};
	static const char expected[] = "X-Stays: 1\r\n"
				       "X_Stays: 2\r\n"
				       "X-Forwarded-For: 192.0.2.9\r\n"
				       "X-Real-IP: 192.0.2.9\r\n"
				       "X-Forwarded-Proto: http\r\n"
				       "X-Forwarded-Host: a.example\r\n"
				       "Via: 1.1 sluice\r\n";
	struct fixture fixture;

	set_up(&fixture, "192.0.2.9", none, lines);
	assert_sent("nobody is trusted", &fixture.exchange, expected);
	set_up(&fixture, "192.0.2.9", other, lines);
	assert_sent("others are trusted", &fixture.exchange, expected);
}

static void test_h19_h20_the_trusted_are_believed_in_one_spelling(void **state)
{
	static const char *const trusted[] = {"10.0.0.0/8", NULL};
	static const char *const lines[] = {"Host: origin.example",
					    "X-Forwarded-For: 6.6.6.6, 1.2.3.4",
					    "X-Forwarded-For: 10.0.0.2",
					    "X-Forwarded-Proto: HTTPS",
					    "X-Forwarded-Host: www.example:8443",
					    "X-Forwarded-Port: 8443",
					    "X-Forwarded-Prefix: /x",
					    "X_Forwarded_Prefix: /y",
					    "X-Real-IP: 6.6.6.6",
					    "Forwarded: for=6.6.6.6",
					    "Via: 2 cdn",
					    NULL};
	struct fixture fixture;

	set_up(&fixture, "10.0.0.1", trusted, lines);
	assert_str(forwarding_public_authority(&fixture.exchange), "www.example:8443");
	assert_sent("trusted", &fixture.exchange,
		    "X-Forwarded-Port: 8443\r\n"
		    "X-Forwarded-Prefix: /x\r\n"
		    "X-Forwarded-For: 6.6.6.6, 1.2.3.4, 10.0.0.2, 10.0.0.1\r\n"
		    "X-Real-IP: 1.2.3.4\r\n"
		    "X-Forwarded-Proto: https\r\n"
		    "X-Forwarded-Host: www.example:8443\r\n"
		    "Via: 2 cdn, 1.1 sluice\r\n");
}

static void test_what_a_trusted_peer_says_twice_or_wrongly_is_not_believed(void **state)
{
	static const char *const trusted[] = {"10.0.0.1", NULL};
	static const char *const rows[][4] = {
		{"Host: a", "X-Forwarded-Proto: ftp", "X-Forwarded-Host: a b"},
		{"Host: a", "X-Forwarded-Proto: https,http", "X-Forwarded-Host: b, c"},
		{"Host: a", "X-Forwarded-Proto:", "X-Forwarded-Host: u@b"},
		{"Host: a", "X-Forwarded-Host: b", "X-Forwarded-Host: c"},
		{"Host: a", "X-Forwarded-Proto: https", "X-Forwarded-Proto: https"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture fixture;

		set_up(&fixture, "10.0.0.1", trusted, rows[i]);
		assert_str(fixture.exchange.public_scheme, "http");
		assert_str(forwarding_public_authority(&fixture.exchange), "a");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hops_have_ports_and_brackets_or_are_refused),
		cmocka_unit_test(
			test_h19_the_client_is_found_from_the_right_over_trusted_addresses),
		cmocka_unit_test(test_h19_the_walk_is_bounded),
		cmocka_unit_test(test_h19_the_walk_agrees_with_its_definition),
		cmocka_unit_test(test_h19_h20_the_untrusted_say_nothing_about_themselves),
		cmocka_unit_test(test_h19_h20_the_trusted_are_believed_in_one_spelling),
		cmocka_unit_test(test_what_a_trusted_peer_says_twice_or_wrongly_is_not_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
