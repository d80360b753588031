/*
 * fuzz_http2: any bytes from a client of HTTP/2, behind the preface, in pieces whose size the first
 * byte says. Requests that pass are fit for HTTP/1; each stream is answered, its data is consumed,
 * and what is written back can be read: whole frames. Nothing of it outlives the connection.
 *
 * Behind a byte 255 it is the other side: any bytes from a server, to a client that has sent some
 * requests, cancels one, and sends another for each that comes to its end.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/list.h"
#include "base/util.h"
#include "proto/http2/http2.h"

#define OUT_MAX_BYTES (1u << 22)

struct fuzz_stream {
	struct http2_stream wire;
	struct list link;
	struct arena arena;
	size_t left_bytes;
	bool answered, ended;
	enum http_method method; /* of a client's */
};

static struct list streams;
static size_t account_bytes;
static struct {
	size_t bytes, frame_left;
	uint8_t head[HTTP2_FRAME_HEAD];
	size_t head_bytes;
} out;

static void check(bool condition)
{
	if (!condition)
		abort();
}

static struct fuzz_stream *fuzz_stream(struct http2_stream *wire)
{
	return CONTAINER_OF(wire, struct fuzz_stream, wire);
}

/* The bytes that we send are frames, one after the other. */
static void write_out(const uint8_t *bytes, size_t len)
{
	out.bytes += len;
	while (len) {
		size_t step;

		if (out.frame_left) {
			step = MIN(len, out.frame_left);
			out.frame_left -= step;
		} else {
			step = 1;
			out.head[out.head_bytes++] = *bytes;
			if (out.head_bytes == HTTP2_FRAME_HEAD) {
				out.head_bytes = 0;
				out.frame_left = (size_t)out.head[0] << 16 |
						 (size_t)out.head[1] << 8 | out.head[2];
				check(out.frame_left <= 16384 && out.head[3] <= 9);
			}
		}
		bytes += step;
		len -= step;
	}
}

static void stream_free(struct fuzz_stream *stream)
{
	list_remove(&stream->link);
	arena_done(&stream->arena);
	free(stream);
}

static struct http2_stream *on_stream(struct http2 *http2, int32_t id)
{
	struct fuzz_stream *stream;

	(void)http2;
	if (id % 64 == 61)
		return NULL;
	stream = calloc(1, sizeof(*stream));
	check(stream);
	arena_init(&stream->arena, 0, 1u << 20);
	http2_fields_init(&stream->wire.fields, &stream->arena);
	list_push_back(&streams, &stream->link);
	return &stream->wire;
}

static void check_head(const struct http_head *head, bool end)
{
	struct http1_authority authority;

	check(http_name_is_valid(head->method) && head->host.ptr);
	check(http1_authority_parse(head->host, &authority));
	check(head->is_http2 && head->target.len);
	check(head->method_id == HTTP_METHOD_CONNECT || head->target.ptr[0] == '/' ||
	      str_eq(head->target, STR("*")));
	check(!memchr(head->target.ptr, ' ', head->target.len) &&
	      !memchr(head->target.ptr, '\r', head->target.len));
	/* What follows an extended CONNECT is a tunnel's, and no body. */
	check((end || head->protocol.ptr) == (head->framing == HTTP_FRAMING_NONE));
	if (head->protocol.ptr)
		check(head->method_id == HTTP_METHOD_CONNECT && !head->has_content_length &&
		      http_name_is_valid(head->protocol) && head->target.ptr[0] == '/');
	check(head->field_count <= http1_limits_default.field_count);
	for (unsigned int i = 0; i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		check(http_name_is_valid(field->name) && http_value_is_valid(field->value));
		check(field->id == HTTP_FIELD_TE ||
		      !(http_field_kinds(field->id) & HTTP_FIELD_HOP) ||
		      field->id == HTTP_FIELD_TRAILER || field->id == HTTP_FIELD_PROXY ||
		      field->id == HTTP_FIELD_PROXY_AUTHORIZATION ||
		      field->id == HTTP_FIELD_PROXY_AUTHENTICATE);
	}
}

static void on_head(struct http2 *http2, struct http2_stream *wire, bool end)
{
	struct fuzz_stream *stream = fuzz_stream(wire);
	const nghttp2_nv fields[] = {http2_nv(STR(":status"), STR("200")),
				     http2_nv(STR("x-a"), STR("b"))};
	struct http_head head;
	struct str scheme;

	check(!stream->answered);
	stream->answered = true;
	if (http2_fields_request(&wire->fields, end, &head, &scheme) == 0)
		check_head(&head, end);
	stream->left_bytes = (size_t)wire->id * 1000;
	(void)http2_submit_head(http2, wire->id, fields, ARRAY_SIZE(fields), wire->id % 3 == 0);
}

static void on_data(struct http2 *http2, struct http2_stream *wire, struct str data)
{
	check(fuzz_stream(wire)->answered && !fuzz_stream(wire)->ended);
	http2_consumed(http2, wire->id, data.len);
}

static void on_end(struct http2 *http2, struct http2_stream *wire,
		   const struct http_field *trailers, unsigned int count)
{
	(void)http2;
	check(!fuzz_stream(wire)->ended);
	fuzz_stream(wire)->ended = true;
	for (unsigned int i = 0; i < count; i++)
		check(http_name_is_valid(trailers[i].name) && trailers[i].name.ptr[0] != ':');
}

static void on_closed(struct http2 *http2, struct http2_stream *wire, uint32_t error)
{
	(void)http2;
	(void)error;
	stream_free(fuzz_stream(wire));
}

static size_t on_send_ready(struct http2 *http2, struct http2_stream *wire, size_t max,
			    bool *ret_end)
{
	struct fuzz_stream *stream = fuzz_stream(wire);
	size_t bytes = MIN(stream->left_bytes, max);

	(void)http2;
	*ret_end = bytes == stream->left_bytes;
	return bytes;
}

static bool on_send_data(struct http2 *http2, struct http2_stream *wire, const uint8_t *head,
			 size_t bytes)
{
	static const uint8_t zeros[16384];

	(void)http2;
	check(bytes <= fuzz_stream(wire)->left_bytes);
	fuzz_stream(wire)->left_bytes -= bytes;
	write_out(head, HTTP2_FRAME_HEAD);
	write_out(zeros, bytes);
	return true;
}

static bool on_send_trailers(struct http2 *http2, struct http2_stream *wire)
{
	const nghttp2_nv trailer = http2_nv(STR("x-sum"), STR("1"));

	return wire->id % 5 == 0 && http2_submit_trailers(http2, wire->id, &trailer, 1) == 0;
}

static const struct http2_ops ops = {
	.on_stream = on_stream,
	.on_head = on_head,
	.on_data = on_data,
	.on_end = on_end,
	.on_closed = on_closed,
	.on_send_ready = on_send_ready,
	.on_send_data = on_send_data,
	.on_send_trailers = on_send_trailers,
};

static void pull_all(struct http2 *http2)
{
	struct str bytes;

	while (out.bytes < OUT_MAX_BYTES && http2_pull(http2, &bytes) == 0 && bytes.len)
		write_out((const uint8_t *)bytes.ptr, bytes.len);
}

/* ---- the client ---- */

static void client_ask(struct http2 *http2, const char *method, size_t body_bytes)
{
	const nghttp2_nv fields[] = {
		http2_nv(STR(":method"), str_from_cstr(method)),
		http2_nv(STR(":scheme"), STR("http")),
		http2_nv(STR(":authority"), STR("a")),
		http2_nv(STR(":path"), STR("/")),
	};
	struct fuzz_stream *stream = calloc(1, sizeof(*stream));

	check(stream);
	arena_init(&stream->arena, 0, 1u << 20);
	http2_fields_init(&stream->wire.fields, &stream->arena);
	stream->left_bytes = body_bytes;
	stream->method = http_method_lookup(str_from_cstr(method));
	list_push_back(&streams, &stream->link);
	if (http2_submit_request(http2, &stream->wire, fields, ARRAY_SIZE(fields), !body_bytes) < 0)
		stream_free(stream);
}

static void client_on_head(struct http2 *http2, struct http2_stream *wire, bool end)
{
	struct fuzz_stream *stream = fuzz_stream(wire);
	struct http_head head;

	(void)http2;
	check(!stream->answered && !stream->ended);
	stream->answered = wire->head_done;
	if (http2_fields_response(&wire->fields, stream->method, end, &head) < 0)
		return;
	check(head.status >= 100 && head.status < 600 && head.status != 101 && head.is_http2);
	check((head.status >= 200) == wire->head_done);
	check(!end || head.framing == HTTP_FRAMING_NONE);
	check(stream->method != HTTP_METHOD_HEAD || head.framing == HTTP_FRAMING_NONE);
	check(head.field_count <= http1_limits_default.field_count);
	for (unsigned int i = 0; i < head.field_count; i++) {
		const struct http_field *field = &head.fields[i];

		check(http_name_is_valid(field->name) && http_value_is_valid(field->value));
		check(field->id != HTTP_FIELD_CONNECTION &&
		      field->id != HTTP_FIELD_TRANSFER_ENCODING);
	}
}

static void client_on_data(struct http2 *http2, struct http2_stream *wire, struct str data)
{
	check(fuzz_stream(wire)->answered && !fuzz_stream(wire)->ended);
	check(fuzz_stream(wire)->method != HTTP_METHOD_HEAD || !data.len);
	http2_consumed_connection(http2, data.len);
	if (wire->id % 4 == 1)
		http2_consumed_stream(http2, wire->id, data.len);
}

static void client_on_closed(struct http2 *http2, struct http2_stream *wire, uint32_t error)
{
	int32_t id = wire->id;

	check(wire->sent || error == NGHTTP2_REFUSED_STREAM);
	check(error || fuzz_stream(wire)->ended);
	stream_free(fuzz_stream(wire));
	if (id < 40)
		client_ask(http2, "GET", 0);
}

static const struct http2_ops client_ops = {
	.on_head = client_on_head,
	.on_data = client_on_data,
	.on_end = on_end,
	.on_closed = client_on_closed,
	.on_send_ready = on_send_ready,
	.on_send_data = on_send_data,
	.on_send_trailers = on_send_trailers,
};

static void client_cancel_one(struct http2 *http2)
{
	struct fuzz_stream *stream;

	if (list_is_empty(&streams))
		return;
	stream = list_first(&streams, struct fuzz_stream, link);
	http2_cancel(http2, &stream->wire, NGHTTP2_CANCEL);
	stream_free(stream);
}

/* The preface is no frame. */
static void client_begin(struct http2 *http2)
{
	struct str bytes;

	client_ask(http2, "GET", 0);
	client_ask(http2, "POST", 70000);
	client_ask(http2, "HEAD", 0);
	check(http2_pull(http2, &bytes) == 0 && str_starts_with(bytes, STR(HTTP2_PREFACE)));
	write_out((const uint8_t *)bytes.ptr + HTTP2_PREFACE_BYTES,
		  bytes.len - HTTP2_PREFACE_BYTES);
	pull_all(http2);
	client_ask(http2, "GET", 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool client = size && data[0] == 255;
	const struct http2_config config = {
		.ops = client ? &client_ops : &ops,
		.client = client,
		.limits = &http1_limits_default,
		.max_streams = 8,
		.stream_window_bytes = 65536,
		.connection_window_bytes = 131072,
		.account = &account_bytes,
	};
	struct http2 http2;
	size_t step, turn = 0;
	int ret;

	data += client;
	size -= client;
	if (!size)
		return 0;
	step = data[0] ? data[0] : size;
	data++;
	size--;
	list_init(&streams);
	memset(&out, 0, sizeof(out));
	check(http2_init(&http2, &config) == 0);
	if (client)
		client_begin(&http2);
	ret = client ? 0 : http2_feed(&http2, STR(HTTP2_PREFACE), 0);
	while (ret == 0 && size && !http2_is_over(&http2)) {
		/* Bytes in a block of their own: reading beyond them shows. */
		size_t len = MIN(step, size);
		char *copy = malloc(len);

		check(copy);
		memcpy(copy, data, len);
		ret = http2_feed(&http2, str_make(copy, len), ++turn);
		free(copy);
		data += len;
		size -= len;
		if (client && turn == 3)
			client_cancel_one(&http2);
		if (ret == 0)
			pull_all(&http2);
	}
	list_for_each_safe (link, &streams)
		stream_free(list_entry(link, struct fuzz_stream, link));
	http2_done(&http2);
	check(account_bytes == 0);
	return 0;
}
