#include "exchange_fixture.h"

#define KEY	"dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT	"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define OPTION	"Connection: Upgrade"
#define VERSION "Sec-WebSocket-Version: 13"
#define KEYED	"Sec-WebSocket-Key: " KEY

static struct str allowed[] = {{"chat", 4}, {"websocket", 9}};

/* "Name: value" lines, as the codec would give them. */
static unsigned int read_lines(const char *const *lines, struct http_field *fields)
{
	unsigned int count = 0;

	for (; lines[count]; count++) {
		struct str line = str_from_cstr(lines[count]);
		size_t colon = (size_t)str_find_byte(line, ':');

		fields[count].name = str_sub(line, 0, colon);
		fields[count].value = str_trim(str_sub(line, colon + 1, line.len));
		fields[count].id = http_field_lookup(fields[count].name);
	}
	return count;
}

/* A request at a proxy route that allows both; protocol NULL: one of HTTP/1. */
static struct exchange *ask(struct exchange_fixture *fixture, const char *protocol,
			    const char *const *lines, struct http_field *fields)
{
	unsigned int count = read_lines(lines, fields);
	struct exchange *exchange = exchange_fixture_begin(fixture, "/", fields, count);

	exchange->request.protocol = str_from_cstr(protocol);
	exchange->request.has_upgrade = !protocol;
	exchange->request.framing = HTTP_FRAMING_NONE;
	return exchange;
}

static const struct {
	const char *name, *protocol;
	const char *lines[8];
	uint16_t status;
	const char *token; /* NULL: none is asked for */
} rows[] = {
	{"websocket", NULL, {OPTION, "Upgrade: websocket", VERSION, KEYED}, 0, "websocket"},
	{"another case", NULL, {OPTION, "Upgrade: WebSocket", VERSION, KEYED}, 0, "websocket"},
	{"the first allowed one", NULL, {OPTION, "Upgrade: foo, Chat, websocket"}, 0, "chat"},
	{"several fields", NULL, {OPTION, "Upgrade: foo", "Upgrade: chat"}, 0, "chat"},
	{"none that is allowed", NULL, {OPTION, "Upgrade: foo"}, 0, NULL},
	{"a version", NULL, {OPTION, "Upgrade: chat/1"}, 0, NULL},
	{"no key", NULL, {OPTION, "Upgrade: websocket", VERSION}, 400, NULL},
	{"two keys", NULL, {OPTION, "Upgrade: websocket", VERSION, KEYED, KEYED}, 400, NULL},
	{"no version", NULL, {OPTION, "Upgrade: websocket", KEYED}, 400, NULL},
	{"extended", "websocket", {VERSION}, 0, "websocket"},
	{"extended, another case", "WebSocket", {VERSION}, 0, "websocket"},
	{"extended, with a key that means nothing", "websocket", {VERSION, KEYED}, 0, "websocket"},
	{"extended without a version", "websocket", {NULL}, 400, NULL},
	{"extended chat", "chat", {NULL}, 0, "chat"},
	{"extended, not allowed", "connect-udp", {NULL}, 501, NULL},
};

static void test_what_is_asked_for(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct http_field fields[8];

	fixture->route->proxy.upgrades = allowed;
	fixture->route->proxy.upgrade_count = ARRAY_SIZE(allowed);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct exchange *exchange = ask(fixture, rows[i].protocol, rows[i].lines, fields);
		const char *reason = NULL;
		uint16_t status = upgrade_ask(exchange, &reason);

		assert_row(rows[i].name, status == rows[i].status);
		assert_row(rows[i].name, !status == !reason);
		assert_row(rows[i].name, !exchange->upgrade.token.ptr == !rows[i].token);
		if (rows[i].token)
			assert_str(exchange->upgrade.token, rows[i].token);
	}
}

static void test_a_body_and_a_method_of_its_own_do_not_fit(void **state)
{
	static const char *const lines[] = {OPTION, "Upgrade: websocket", VERSION, KEYED, NULL};
	struct exchange_fixture *fixture = *state;
	struct http_field fields[8];
	struct exchange *exchange;
	const char *reason;

	fixture->route->proxy.upgrades = allowed;
	fixture->route->proxy.upgrade_count = ARRAY_SIZE(allowed);
	exchange = ask(fixture, NULL, lines, fields);
	exchange->request.framing = HTTP_FRAMING_LENGTH;
	assert_int_equal(upgrade_ask(exchange, &reason), 400);
	exchange = ask(fixture, NULL, lines, fields);
	exchange->request.method_id = HTTP_METHOD_POST;
	assert_int_equal(upgrade_ask(exchange, &reason), 400);
	/* Where nothing is allowed nothing is looked at. */
	fixture->route->proxy.upgrade_count = 0;
	exchange = ask(fixture, NULL, lines, fields);
	exchange->request.method_id = HTTP_METHOD_POST;
	assert_int_equal(upgrade_ask(exchange, &reason), 0);
	assert_null(exchange->upgrade.token.ptr);
}

static void check_written(struct exchange *exchange, const char *format)
{
	char room[256], expected[256];
	struct http1_writer writer;

	http1_write_init(&writer, room, sizeof(room));
	upgrade_write(exchange, &writer);
	assert_false(writer.overflowed || writer.invalid);
	(void)snprintf(expected, sizeof(expected), format, WEBSOCKET_KEY_LEN,
		       exchange->upgrade.key);
	assert_str(str_make(room, (size_t)(writer.pos - room)), expected);
	assert_true((size_t)(writer.pos - room) <= exchange->upgrade.token.len + UPGRADE_BYTES);
}

static void test_the_upstream_is_asked_in_the_way_of_http1(void **state)
{
	static const char *const lines[] = {OPTION, "Upgrade: websocket", VERSION, KEYED, NULL};
	static const char *const extended[] = {VERSION, NULL};
	struct exchange_fixture *fixture = *state;
	struct http_field fields[8];
	struct exchange *exchange;
	const char *reason;
	char key[WEBSOCKET_KEY_LEN];

	fixture->route->proxy.upgrades = allowed;
	fixture->route->proxy.upgrade_count = ARRAY_SIZE(allowed);
	exchange = ask(fixture, NULL, lines, fields);
	assert_int_equal(upgrade_ask(exchange, &reason), 0);
	check_written(exchange, "Connection: Upgrade\r\nUpgrade: websocket\r\n");
	for (unsigned int i = 0; i < exchange->request.field_count; i++)
		assert_true(upgrade_field_passes(exchange, &exchange->request.fields[i]));

	exchange = ask(fixture, "websocket", extended, fields);
	assert_int_equal(upgrade_ask(exchange, &reason), 0);
	check_written(exchange, "Connection: Upgrade\r\nUpgrade: websocket\r\n"
				"Sec-WebSocket-Key: %.*s\r\n");
	memcpy(key, exchange->upgrade.key, sizeof(key));
	/* Each time another one. */
	exchange = ask(fixture, "websocket", extended, fields);
	assert_int_equal(upgrade_ask(exchange, &reason), 0);
	assert_memory_not_equal(key, exchange->upgrade.key, sizeof(key));
	/* A key of the client would be a second one. */
	exchange->request.fields = fields;
	read_lines(lines, fields);
	assert_false(upgrade_field_passes(exchange, &fields[3]));
	assert_true(upgrade_field_passes(exchange, &fields[2]));
}

static const struct {
	const char *name;
	const char *lines[8];
	bool accepted;
} answers[] = {
	{"fits", {OPTION, "Upgrade: websocket", "Sec-WebSocket-Accept: " ACCEPT}, true},
	{"in another case", {OPTION, "Upgrade: WebSocket", "Sec-WebSocket-Accept: " ACCEPT}, true},
	{"no accept", {OPTION, "Upgrade: websocket"}, false},
	{"an accept of another key",
	 {OPTION, "Upgrade: websocket", "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
	 false},
	{"two accepts",
	 {OPTION, "Upgrade: websocket", "Sec-WebSocket-Accept: " ACCEPT,
	  "Sec-WebSocket-Accept: " ACCEPT},
	 false},
	{"another protocol", {OPTION, "Upgrade: chat", "Sec-WebSocket-Accept: " ACCEPT}, false},
	{"a list", {OPTION, "Upgrade: websocket, chat", "Sec-WebSocket-Accept: " ACCEPT}, false},
	{"two fields",
	 {OPTION, "Upgrade: websocket", "Upgrade: chat", "Sec-WebSocket-Accept: " ACCEPT},
	 false},
	{"no protocol", {OPTION, "Sec-WebSocket-Accept: " ACCEPT}, false},
};

static void test_only_the_answer_that_fits_is_accepted(void **state)
{
	static const char *const lines[] = {OPTION, "Upgrade: websocket", VERSION, KEYED, NULL};
	struct exchange_fixture *fixture = *state;
	struct http_field fields[8], answer_fields[8];
	struct exchange *exchange;
	const char *reason;

	fixture->route->proxy.upgrades = allowed;
	fixture->route->proxy.upgrade_count = ARRAY_SIZE(allowed);
	exchange = ask(fixture, NULL, lines, fields);
	assert_int_equal(upgrade_ask(exchange, &reason), 0);
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct http_head answer = {.status = 101, .has_upgrade = true};

		answer.fields = answer_fields;
		answer.field_count = read_lines(answers[i].lines, answer_fields);
		assert_row(answers[i].name,
			   upgrade_accepts(exchange, &answer) == answers[i].accepted);
		answer.has_upgrade = false; /* without the option of Connection */
		assert_row(answers[i].name, !upgrade_accepts(exchange, &answer));
	}
	exchange->upgrade.token = STR_NULL;
	assert_false(upgrade_accepts(exchange, &(struct http_head){.status = 101}));
}

static void test_an_extended_connect_is_no_tunnel_elsewhere(void **state)
{
	struct exchange_fixture *fixture = *state;
	struct exchange *exchange = exchange_fixture_begin(fixture, "/", NULL, 0);

	exchange->head_sent = exchange->response_done = false;
	exchange->request.protocol = STR("websocket");
	/* The route would answer 200, which is a yes. */
	exchange_start_action(exchange);
	assert_int_equal(fixture->status, 501);
}

static void test_protocols_that_hide_requests_cannot_be_allowed(void **state)
{
	assert_true(upgrade_token_is_allowed(STR("websocket")));
	assert_true(upgrade_token_is_allowed(STR("irc")));
	assert_false(upgrade_token_is_allowed(STR("h2c")));
	assert_false(upgrade_token_is_allowed(STR("H2")));
	assert_false(upgrade_token_is_allowed(STR("HTTP")));
	assert_false(upgrade_token_is_allowed(STR("HTTP/2.0")));
	assert_false(upgrade_token_is_allowed(STR("TLS")));
	assert_false(upgrade_token_is_allowed(STR("TLS/1.0")));
	assert_false(upgrade_token_is_allowed(STR("a b")));
	assert_false(upgrade_token_is_allowed(STR("")));
}

int main(void)
{
#define TEST(name)                                                                                 \
	cmocka_unit_test_setup_teardown(name, exchange_fixture_setup, exchange_fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_asked_for),
		TEST(test_a_body_and_a_method_of_its_own_do_not_fit),
		TEST(test_the_upstream_is_asked_in_the_way_of_http1),
		TEST(test_only_the_answer_that_fits_is_accepted),
		TEST(test_an_extended_connect_is_no_tunnel_elsewhere),
		cmocka_unit_test(test_protocols_that_hide_requests_cannot_be_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
