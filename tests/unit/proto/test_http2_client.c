#include "test_support.h"

#include <errno.h>

#include "proto/http2/http2.h"

#define CALLS_MAX 8

/* ---- a client with what it heard, and the bytes of a server written by hand ---- */

struct call {
	struct http2_stream wire;
	struct http_head head;
	enum http_method method;
	unsigned int heads, ends, trailers;
	int head_result;
	bool closed;
	uint32_t error;
	size_t data_bytes, body_bytes, sent_bytes;
};

struct client {
	struct http2 http2;
	struct arena arena;
	size_t account_bytes;
	struct call calls[CALLS_MAX];
	unsigned int call_count;
	bool goaway;
	int32_t goaway_last_id;
};

static struct client *client_of(struct http2 *http2)
{
	return CONTAINER_OF(http2, struct client, http2);
}

static struct call *call_of(struct http2_stream *wire)
{
	return CONTAINER_OF(wire, struct call, wire);
}

static void on_head(struct http2 *http2, struct http2_stream *wire, bool end)
{
	struct call *call = call_of(wire);

	(void)http2;
	call->heads++;
	call->head_result = http2_fields_response(&wire->fields, call->method, end, &call->head);
}

static void on_data(struct http2 *http2, struct http2_stream *wire, struct str data)
{
	call_of(wire)->data_bytes += data.len;
	http2_consumed_connection(http2, data.len);
}

static void on_end(struct http2 *http2, struct http2_stream *wire,
		   const struct http_field *trailers, unsigned int count)
{
	(void)http2;
	(void)trailers;
	call_of(wire)->ends++;
	call_of(wire)->trailers = count;
}

static void on_closed(struct http2 *http2, struct http2_stream *wire, uint32_t error)
{
	(void)http2;
	assert_false(call_of(wire)->closed);
	call_of(wire)->closed = true;
	call_of(wire)->error = error;
}

static size_t on_send_ready(struct http2 *http2, struct http2_stream *wire, size_t max,
			    bool *ret_end)
{
	struct call *call = call_of(wire);
	size_t bytes = MIN(call->body_bytes - call->sent_bytes, max);

	(void)http2;
	*ret_end = call->sent_bytes + bytes == call->body_bytes;
	return bytes;
}

static bool on_send_data(struct http2 *http2, struct http2_stream *wire, const uint8_t *head,
			 size_t bytes)
{
	(void)http2;
	(void)head;
	call_of(wire)->sent_bytes += bytes;
	return true;
}

static bool on_send_trailers(struct http2 *http2, struct http2_stream *wire)
{
	(void)http2;
	(void)wire;
	return false;
}

static void on_goaway(struct http2 *http2, int32_t last_id)
{
	client_of(http2)->goaway = true;
	client_of(http2)->goaway_last_id = last_id;
}

static const struct http2_ops ops = {
	.on_head = on_head,
	.on_data = on_data,
	.on_end = on_end,
	.on_closed = on_closed,
	.on_send_ready = on_send_ready,
	.on_send_data = on_send_data,
	.on_send_trailers = on_send_trailers,
	.on_goaway = on_goaway,
};

static int client_init(struct client *client)
{
	const struct http2_config config = {
		.ops = &ops,
		.limits = &http1_limits_default,
		.client = true,
		.stream_window_bytes = 65536,
		.connection_window_bytes = 131072,
		.account = &client->account_bytes,
	};

	*client = (struct client){.call_count = 0};
	arena_init(&client->arena, 0, 1u << 20);
	return http2_init(&client->http2, &config);
}

static void client_done(struct client *client)
{
	http2_done(&client->http2);
	assert_int_equal(client->account_bytes, 0);
	arena_done(&client->arena);
}

static int client_ask(struct client *client, const char *method, size_t body_bytes)
{
	struct call *call = &client->calls[client->call_count++];
	const nghttp2_nv fields[] = {
		http2_nv(STR(":method"), str_from_cstr(method)),
		http2_nv(STR(":scheme"), STR("http")),
		http2_nv(STR(":authority"), STR("a.test")),
		http2_nv(STR(":path"), STR("/")),
	};

	*call = (struct call){.body_bytes = body_bytes};
	call->method = http_method_lookup(str_from_cstr(method));
	http2_fields_init(&call->wire.fields, &client->arena);
	return http2_submit_request(&client->http2, &call->wire, fields, ARRAY_SIZE(fields),
				    !body_bytes);
}

/* What goes out; the types of its frames, one letter each, when `types` is not NULL. */
static int client_pull(struct client *client, char *types)
{
	static const char letters[] = "dhprspPgWc";
	struct str bytes;
	int ret;

	while ((ret = http2_pull(&client->http2, &bytes)) == 0 && bytes.len) {
		if (str_starts_with(bytes, STR("PRI ")))
			bytes = str_sub(bytes, HTTP2_PREFACE_BYTES,
					bytes.len - HTTP2_PREFACE_BYTES);
		while (types && bytes.len >= HTTP2_FRAME_HEAD) {
			const uint8_t *head = (const uint8_t *)bytes.ptr;
			size_t len = HTTP2_FRAME_HEAD +
				     ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);

			assert_true(head[3] < sizeof(letters) - 1 && len <= bytes.len);
			*types++ = letters[head[3]];
			bytes = str_sub(bytes, len, bytes.len - len);
		}
	}
	if (types)
		*types = '\0';
	return ret;
}

#define SETTINGS    "\0\0\0\4\0\0\0\0\0"
#define ACK	    "\0\0\0\4\1\0\0\0\0"
#define H(n, flags) "\0\0" n "\1" flags "\0\0\0\1"
#define D(n, flags) "\0\0" n "\0" flags "\0\0\0\1"
#define S200	    "\x88"
#define S204	    "\x89"
#define LENGTH_4    "\x5c\0014"

static int client_feed(struct client *client, const char *bytes, size_t len)
{
	return http2_feed(&client->http2, str_make(bytes, len), 1);
}
#define FEED(client, text) client_feed(client, text, sizeof(text) - 1)

static void client_start(struct client *client)
{
	assert_int_equal(client_init(client), 0);
	assert_int_equal(FEED(client, SETTINGS ACK), 0);
}

/* ---- answers ---- */

static void test_answers_are_read_or_their_streams_reset(void **state)
{
#define ROW(what, method, bytes, ...)                                                              \
	{                                                                                          \
		what, method, bytes, sizeof(bytes) - 1, __VA_ARGS__                                \
	}
	static const struct {
		const char *what, *method, *bytes;
		size_t len;
		uint32_t error;
		int head_result;
		unsigned int heads, trailers;
		size_t data_bytes;
	} rows[] = {
		ROW("whole", "GET", H("\1", "\4") S200 D("\4", "\1") "abcd", 0, 0, 1, 0, 4),
		ROW("no body", "GET", H("\1", "\5") S200, 0, 0, 1, 0, 0),
		ROW("length", "GET", H("\4", "\4") S200 LENGTH_4 D("\4", "\1") "abcd", 0, 0, 1, 0,
		    4),
		ROW("less than the length", "GET", H("\4", "\4") S200 LENGTH_4 D("\3", "\1") "abc",
		    NGHTTP2_PROTOCOL_ERROR, 0, 1, 0, 3),
		ROW("more than the length", "GET",
		    H("\4", "\4") S200 LENGTH_4 D("\5", "\1") "abcde", NGHTTP2_PROTOCOL_ERROR, 0, 1,
		    0, 0),
		ROW("HEAD, the end apart", "HEAD", H("\4", "\4") S200 LENGTH_4 D("\0", "\1"), 0, 0,
		    1, 0, 0),
		ROW("HEAD with a body", "HEAD", H("\4", "\4") S200 LENGTH_4 D("\4", "\1") "abcd",
		    NGHTTP2_PROTOCOL_ERROR, 0, 1, 0, 0),
		ROW("204 with a body", "GET", H("\1", "\4") S204 D("\4", "\1") "abcd",
		    NGHTTP2_PROTOCOL_ERROR, 0, 1, 0, 0),
		ROW("interim answer", "GET", H("\5", "\4") "\x08\003103" H("\1", "\5") S200, 0, 0,
		    2, 0, 0),
		ROW("101", "GET", H("\5", "\4") "\x08\003101" H("\1", "\5") S200,
		    NGHTTP2_PROTOCOL_ERROR, 0, 0, 0, 0),
		ROW("no status", "GET", H("\5", "\5") "\x40\1a\1b", NGHTTP2_PROTOCOL_ERROR, 0, 0, 0,
		    0),
		ROW("two of them", "GET", H("\2", "\5") S200 S200, NGHTTP2_PROTOCOL_ERROR, 0, 0, 0,
		    0),
		ROW("a request's", "GET", H("\2", "\5") S200 "\x82", NGHTTP2_PROTOCOL_ERROR, 0, 0,
		    0, 0),
		ROW("status late", "GET", H("\6", "\5") "\x40\1a\1b" S200, NGHTTP2_PROTOCOL_ERROR,
		    0, 0, 0, 0),
		ROW("upper case", "GET", H("\6", "\5") S200 "\x40\1A\1b", NGHTTP2_PROTOCOL_ERROR, 0,
		    0, 0, 0),
		ROW("line feed", "GET", H("\6", "\5") S200 "\x40\1a\1\n", NGHTTP2_PROTOCOL_ERROR, 0,
		    0, 0, 0),
		ROW("connection", "GET", H("\x0f", "\5") S200 "\x40\nconnection\1x",
		    NGHTTP2_PROTOCOL_ERROR, 0, 0, 0, 0),
		ROW("trailers", "GET",
		    H("\1", "\4") S200 D("\1", "\0") "a" H("\5", "\5") "\x40\1a\1b", 0, 0, 1, 1, 1),
		ROW("trailers that do not end it", "GET",
		    H("\1", "\4") S200 D("\1", "\0") "a" H("\5", "\4") "\x40\1a\1b",
		    NGHTTP2_PROTOCOL_ERROR, 0, 1, 0, 1),
		ROW("reset", "GET", "\0\0\4\3\0\0\0\0\1\0\0\0\2", NGHTTP2_INTERNAL_ERROR, 0, 0, 0,
		    0),
		ROW("reset without a reason", "GET", "\0\0\4\3\0\0\0\0\1\0\0\0\0", NGHTTP2_CANCEL,
		    0, 0, 0, 0),
		ROW("reset inside the body", "GET",
		    H("\1", "\4") S200 D("\1", "\0") "a\0\0\4\3\0\0\0\0\1\0\0\0\0", NGHTTP2_CANCEL,
		    0, 1, 0, 1),
		ROW("refused", "GET", "\0\0\4\3\0\0\0\0\1\0\0\0\7", NGHTTP2_REFUSED_STREAM, 0, 0, 0,
		    0),
	};
#undef ROW

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct client client;
		struct call *call = &client.calls[0];

		client_start(&client);
		assert_int_equal(client_ask(&client, rows[i].method, 0), 0);
		assert_int_equal(client_pull(&client, NULL), 0);
		assert_row(rows[i].what, client_feed(&client, rows[i].bytes, rows[i].len) == 0);
		assert_int_equal(client_pull(&client, NULL), 0);
		assert_row(rows[i].what, call->closed && call->error == rows[i].error);
		assert_row(rows[i].what, call->ends == !rows[i].error);
		assert_row(rows[i].what, call->heads == rows[i].heads);
		assert_row(rows[i].what, !call->heads || call->head_result == rows[i].head_result);
		assert_row(rows[i].what, call->trailers == rows[i].trailers);
		assert_row(rows[i].what, call->data_bytes == rows[i].data_bytes);
		client_done(&client);
	}
}

static void test_what_breaks_the_connection_is_an_error(void **state)
{
#define ROW(what, bytes)                                                                           \
	{                                                                                          \
		what, bytes, sizeof(bytes) - 1                                                     \
	}
	static const struct {
		const char *what, *bytes;
		size_t len;
	} rows[] = {
		ROW("HTTP/1", "HTTP/1.1 400 Bad Request\r\n\r\n"),
		ROW("no SETTINGS first", "\0\0\x08\6\0\0\0\0\0abcdefgh"),
		ROW("data before a head", SETTINGS D("\4", "\1") "abcd"),
		ROW("a push", SETTINGS "\0\0\5\5\4\0\0\0\1\0\0\0\2\x82"),
	};
#undef ROW

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct client client;
		int ret;

		assert_int_equal(client_init(&client), 0);
		assert_int_equal(client_ask(&client, "GET", 0), 0);
		assert_int_equal(client_pull(&client, NULL), 0);
		ret = client_feed(&client, rows[i].bytes, rows[i].len);
		assert_int_equal(client_pull(&client, NULL), 0);
		assert_row(rows[i].what, ret == -EPROTO || (http2_is_over(&client.http2) &&
							    !http2_takes_requests(&client.http2)));
		client_done(&client);
	}
}

/* ---- streams ---- */

static void test_streams_beyond_the_peers_limit_wait(void **state)
{
	struct client client;
	char types[64];

	(void)state;
	assert_int_equal(client_init(&client), 0);
	assert_int_equal(http2_streams_max(&client.http2), 100);
	assert_int_equal(FEED(&client, "\0\0\6\4\0\0\0\0\0\0\3\0\0\0\1"), 0);
	assert_int_equal(http2_streams_max(&client.http2), 1);
	assert_int_equal(client_ask(&client, "GET", 0), 0);
	assert_int_equal(client_ask(&client, "GET", 0), 0);
	assert_int_equal(client_pull(&client, types), 0);
	assert_int_equal(strchr(types, 'h') == strrchr(types, 'h'), 1);
	assert_true(client.calls[0].wire.sent && !client.calls[1].wire.sent);
	assert_int_equal(FEED(&client, H("\1", "\5") S200), 0);
	assert_int_equal(client_pull(&client, types), 0);
	assert_string_equal(types, "h");
	client_done(&client);
}

static void test_goaway_refuses_what_the_server_has_not_seen(void **state)
{
	struct client client;

	(void)state;
	client_start(&client);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(client_ask(&client, "GET", 0), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	assert_int_equal(client_ask(&client, "GET", 0), 0);
	assert_int_equal(FEED(&client, "\0\0\x08\7\0\0\0\0\0\0\0\0\3\0\0\0\0"), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	assert_true(client.goaway);
	assert_int_equal(client.goaway_last_id, 3);
	assert_false(client.calls[0].closed || client.calls[1].closed);
	assert_true(client.calls[2].closed);
	assert_int_equal(client.calls[2].error, NGHTTP2_REFUSED_STREAM);
	assert_true(client.calls[3].closed);
	assert_int_equal(client.calls[3].error, NGHTTP2_REFUSED_STREAM);
	assert_false(http2_takes_requests(&client.http2));
	assert_int_equal(client_ask(&client, "GET", 0), -ENOTCONN);
	/* What it has seen it still answers. */
	assert_int_equal(FEED(&client, H("\1", "\5") S200), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	assert_true(client.calls[0].closed && client.calls[0].ends == 1);
	assert_int_equal(client.calls[0].error, NGHTTP2_NO_ERROR);
	client_done(&client);
}

static void test_a_cancelled_request_is_not_heard_of_any_more(void **state)
{
	struct client client;
	char types[64];

	(void)state;
	client_start(&client);
	assert_int_equal(client_ask(&client, "GET", 0), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	http2_cancel(&client.http2, &client.calls[0].wire, NGHTTP2_CANCEL);
	/* It is on its way already. */
	assert_int_equal(FEED(&client, H("\1", "\4") S200 D("\4", "\1") "abcd"), 0);
	assert_int_equal(client_pull(&client, types), 0);
	assert_true(strchr(types, 'r') != NULL);
	/* One that was not sent yet never is. */
	assert_int_equal(client_ask(&client, "GET", 0), 0);
	http2_cancel(&client.http2, &client.calls[1].wire, NGHTTP2_CANCEL);
	assert_int_equal(client_pull(&client, types), 0);
	assert_true(strchr(types, 'h') == NULL);
	assert_false(client.calls[0].heads || client.calls[0].closed || client.calls[1].closed);
	assert_true(http2_takes_requests(&client.http2));
	client_done(&client);
}

/* Without a word about one stream's window, the other's data goes on. */
static void test_windows_are_each_streams_own(void **state)
{
	static char data[HTTP2_FRAME_HEAD + 16384];
	struct client client;
	char types[64];

	(void)state;
	client_start(&client);
	assert_int_equal(client_ask(&client, "GET", 0), 0);
	assert_int_equal(client_ask(&client, "GET", 0), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	assert_int_equal(FEED(&client, H("\1", "\4") S200 "\0\0\1\1\4\0\0\0\3" S200), 0);
	data[1] = 0x40;
	for (unsigned int i = 0; i < 4; i++) {
		data[8] = 1;
		assert_int_equal(client_feed(&client, data, sizeof(data)), 0);
		data[8] = 3;
		assert_int_equal(client_feed(&client, data, sizeof(data)), 0);
		http2_consumed_stream(&client.http2, 3, 16384);
		assert_int_equal(client_pull(&client, NULL), 0);
	}
	assert_int_equal(client.calls[0].data_bytes, 65536);
	/* The second stream's was opened again; the first one's is shut, and that ends only it. */
	assert_int_equal(client_feed(&client, data, sizeof(data)), 0);
	assert_int_equal(client.calls[1].data_bytes, 5 * 16384);
	http2_consumed_stream(&client.http2, 1, 65536);
	assert_int_equal(client_pull(&client, types), 0);
	assert_string_equal(types, "W");
	assert_false(client.calls[0].closed || client.calls[1].closed);
	client_done(&client);
}

static void test_a_body_stops_at_the_servers_window(void **state)
{
	struct client client;

	(void)state;
	client_start(&client);
	assert_int_equal(client_ask(&client, "POST", 100000), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	assert_int_equal(client.calls[0].sent_bytes, 65535);
	/* The stream's and the connection's. */
	assert_int_equal(FEED(&client, "\0\0\4\x08\0\0\0\0\1\0\1\0\0"), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	assert_int_equal(client.calls[0].sent_bytes, 65535);
	assert_int_equal(FEED(&client, "\0\0\4\x08\0\0\0\0\0\0\1\0\0"), 0);
	assert_int_equal(client_pull(&client, NULL), 0);
	assert_int_equal(client.calls[0].sent_bytes, 100000);
	client_done(&client);
}

/* ---- floods ---- */

static void test_floods_of_a_server_end_the_connection(void **state)
{
#define ROW(what, bytes, abuse)                                                                    \
	{                                                                                          \
		what, bytes, sizeof(bytes) - 1, abuse                                              \
	}
	static const struct {
		const char *what, *bytes;
		size_t len;
		enum http2_abuse abuse;
	} rows[] = {
		ROW("ping", "\0\0\x08\6\0\0\0\0\0abcdefgh", HTTP2_ABUSE_PINGS),
		ROW("settings", SETTINGS, HTTP2_ABUSE_SETTINGS),
		ROW("empty data", D("\0", "\0"), HTTP2_ABUSE_EMPTY_DATA),
	};
#undef ROW

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct client client;
		unsigned int sent = 0;

		client_start(&client);
		assert_int_equal(client_ask(&client, "GET", 0), 0);
		assert_int_equal(client_pull(&client, NULL), 0);
		assert_int_equal(FEED(&client, H("\1", "\4") S200), 0);
		while (!client.http2.calmed) {
			assert_row(rows[i].what, sent++ < 1000);
			assert_int_equal(client_feed(&client, rows[i].bytes, rows[i].len), 0);
			assert_int_equal(client_pull(&client, NULL), 0);
		}
		assert_row(rows[i].what, client.http2.calmed_for == rows[i].abuse);
		assert_row(rows[i].what, !http2_takes_requests(&client.http2));
		client_done(&client);
	}
}

static unsigned int resets_until_calmed(uint32_t code, bool answers_between)
{
	struct client client;
	unsigned int resets = 0;

	client_start(&client);
	while (!client.http2.calmed && resets < 1000) {
		char reset[] = "\0\0\4\3\0\0\0\0\0\0\0\0\2", answer[] = H("\1", "\5") S200;

		reset[12] = (char)code;
		for (unsigned int i = 0; i < 1u + answers_between; i++) {
			uint32_t id;

			client.call_count = 0;
			assert_int_equal(client_ask(&client, "GET", 0), 0);
			assert_int_equal(client_pull(&client, NULL), 0);
			id = (uint32_t)client.calls[0].wire.id;
			reset[7] = answer[7] = (char)(id >> 8);
			reset[8] = answer[8] = (char)id;
			if (i)
				assert_int_equal(client_feed(&client, answer, sizeof(answer) - 1),
						 0);
			else
				assert_int_equal(client_feed(&client, reset, sizeof(reset) - 1), 0);
			assert_true(client.calls[0].closed);
		}
		resets++;
	}
	client_done(&client);
	return resets;
}

static void test_resets_of_a_server_are_counted_and_answers_make_up_for_them(void **state)
{
	(void)state;
	assert_int_equal(resets_until_calmed(NGHTTP2_INTERNAL_ERROR, false),
			 197); /* and SETTINGS */
	assert_int_equal(resets_until_calmed(NGHTTP2_NO_ERROR, false), 197);
	assert_int_equal(resets_until_calmed(NGHTTP2_INTERNAL_ERROR, true), 1000);
}

/* ---- memory ---- */

static int talk(struct client *client)
{
	int ret = client_init(client);

	if (ret == 0)
		ret = client_ask(client, "POST", 10);
	if (ret == 0)
		ret = client_pull(client, NULL);
	if (ret == 0)
		ret = FEED(client, SETTINGS H("\1", "\4")
					   S200 D("\1", "\0") "a" H("\5", "\5") "\x40\1a\1b");
	if (ret == 0)
		ret = client_pull(client, NULL);
	return ret;
}

static void test_a_client_survives_every_failed_allocation(void **state)
{
	struct client client;

	(void)state;
	for (unsigned int nth = 0;; nth++) {
		bool failed;

		alloc_fail_arm(nth);
		(void)talk(&client);
		failed = alloc_fail_disarm();
		client_done(&client);
		if (!failed)
			break;
		assert_true(nth < 1000);
	}
	assert_int_equal(talk(&client), 0);
	assert_true(client.calls[0].closed && client.calls[0].trailers == 1);
	client_done(&client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers_are_read_or_their_streams_reset),
		cmocka_unit_test(test_what_breaks_the_connection_is_an_error),
		cmocka_unit_test(test_streams_beyond_the_peers_limit_wait),
		cmocka_unit_test(test_goaway_refuses_what_the_server_has_not_seen),
		cmocka_unit_test(test_a_cancelled_request_is_not_heard_of_any_more),
		cmocka_unit_test(test_windows_are_each_streams_own),
		cmocka_unit_test(test_a_body_stops_at_the_servers_window),
		cmocka_unit_test(test_floods_of_a_server_end_the_connection),
		cmocka_unit_test(test_resets_of_a_server_are_counted_and_answers_make_up_for_them),
		cmocka_unit_test(test_a_client_survives_every_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
