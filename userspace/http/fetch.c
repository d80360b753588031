#include "http/fetch.h"

#include <errno.h>

#include "http/worker_internal.h"
#include "proto/http1/http1.h"

#define HEAD_EXTRA_BYTES   128
#define BODY_FIRST_BYTES   1024u
#define DEADLINE_DEFAULT_S 10

static struct fetch *call_fetch(struct upstream_call *call)
{
	return CONTAINER_OF(call, struct fetch, call);
}

/* ---- ends ---- */

static void over(struct fetch *fetch)
{
	fetch->running = false;
	timer_stop(&fetch->deadline);
	worker_snapshot_unref(fetch->config);
	fetch->config = NULL;
}

static void fail(struct fetch *fetch, const char *failure)
{
	upstream_call_abort(&fetch->call);
	over(fetch);
	fetch->status = 0;
	fetch->failure = failure;
	fetch->on_done(fetch);
}

void fetch_abandon(struct fetch *fetch)
{
	if (!fetch->running)
		return;
	upstream_call_abort(&fetch->call);
	over(fetch);
}

static void on_deadline(struct timer *timer)
{
	fail(CONTAINER_OF(timer, struct fetch, deadline), "no answer in time");
}

/* ---- the answer ---- */

static void on_head(struct upstream_call *call, const struct http_head *head)
{
	struct fetch *fetch = call_fetch(call);

	if (head->status < 200)
		return;
	if (head->framing == HTTP_FRAMING_LENGTH && head->content_length > fetch->body_max) {
		fail(fetch, "the answer is too long");
		return;
	}
	fetch->status = head->status;
	fetch->answer_fields = head->fields;
	fetch->answer_field_count = head->field_count;
	if (head->framing == HTTP_FRAMING_LENGTH)
		fetch->room_bytes = (size_t)head->content_length;
}

/* Room for so many bytes more. */
static bool make_room(struct fetch *fetch, size_t more)
{
	size_t size = fetch->room ? fetch->room_bytes : MAX(fetch->room_bytes, BODY_FIRST_BYTES);
	char *room;

	if (fetch->room && fetch->room_bytes - fetch->len >= more)
		return true;
	while (size < fetch->len + more)
		size *= 2;
	room = arena_alloc_bytes(fetch->arena, size);
	if (!room)
		return false;
	if (fetch->len)
		memcpy(room, fetch->room, fetch->len);
	fetch->room = room;
	fetch->room_bytes = size;
	return true;
}

static void on_data(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	struct fetch *fetch = call_fetch(call);

	if (data.len > fetch->body_max - fetch->len) {
		fail(fetch, "the answer is too long");
	} else if (!make_room(fetch, data.len)) {
		fail(fetch, "out of memory for the answer");
	} else {
		memcpy(fetch->room + fetch->len, data.ptr, data.len);
		fetch->len += data.len;
	}
}

static void on_end(struct upstream_call *call, const struct http_field *trailers,
		   unsigned int trailer_count)
{
	struct fetch *fetch = call_fetch(call);

	over(fetch);
	fetch->answer = fetch->room ? str_make(fetch->room, fetch->len) : STR("");
	fetch->on_done(fetch);
}

static void on_error(struct upstream_call *call, enum upstream_error error, const char *detail)
{
	struct fetch *fetch = call_fetch(call);

	fail(fetch, upstream_error_text(error));
}

static void on_batch(struct upstream_call *call)
{
	(void)call;
}

/* ---- the request ---- */

static void send_body(struct fetch *fetch)
{
	if (fetch->body.ptr) {
		upstream_call_send(&fetch->call, fetch->body, NULL);
		upstream_call_send_end(&fetch->call, NULL, 0);
	}
	upstream_call_flush(&fetch->call);
}

/* The call has its place now. */
static void on_drained(struct upstream_call *call)
{
	if (!call->request_done && !call->body_taken)
		send_body(call_fetch(call));
}

static const struct upstream_call_ops call_ops = {
	.on_head = on_head,
	.on_data = on_data,
	.on_end = on_end,
	.on_error = on_error,
	.on_batch = on_batch,
	.on_drained = on_drained,
};

static int write_head(struct fetch *fetch)
{
	struct str host = fetch->host.len ? fetch->host : fetch->upstream->name;
	size_t room_bytes = HEAD_EXTRA_BYTES + fetch->method.len + fetch->target.len + host.len;
	struct http1_writer writer;
	char *room;

	for (unsigned int i = 0; i < fetch->field_count; i++)
		room_bytes += fetch->fields[i].name.len + fetch->fields[i].value.len + 4;
	room = arena_alloc_bytes(fetch->arena, room_bytes);
	if (!room)
		return -ENOMEM;
	http1_write_init(&writer, room, room_bytes);
	http1_write_request_line(&writer, fetch->method, fetch->target);
	http1_write_field(&writer, STR("Host"), host);
	for (unsigned int i = 0; i < fetch->field_count; i++)
		http1_write_field(&writer, fetch->fields[i].name, fetch->fields[i].value);
	if (fetch->body.ptr)
		http1_write_field_u64(&writer, STR("Content-Length"), fetch->body.len);
	http1_write_end(&writer);
	if (writer.invalid || writer.overflowed)
		return -EINVAL;
	fetch->call.head = str_make(room, (size_t)(writer.pos - room));
	return 0;
}

int fetch_start(struct fetch *fetch)
{
	struct upstream_call *call = &fetch->call;
	struct http_worker *worker = fetch->worker;
	int r;

	fetch->status = 0;
	fetch->failure = NULL;
	fetch->answer = STR("");
	fetch->answer_fields = NULL;
	fetch->answer_field_count = 0;
	fetch->room = NULL;
	fetch->room_bytes = fetch->len = 0;
	*call = (struct upstream_call){
		.ops = &call_ops,
		.pools = worker->pools,
		.upstream = fetch->upstream,
		.arena = fetch->arena,
		.framing = fetch->body.ptr ? HTTP_FRAMING_LENGTH : HTTP_FRAMING_NONE,
		.method_id = http_method_lookup(fetch->method),
	};
	r = write_head(fetch);
	if (r) {
		fetch->failure = r == -ENOMEM ? "out of memory for the request"
					      : "the request cannot be written";
		return r;
	}
	r = upstream_call_start(call);
	if (r < 0) {
		fetch->failure = upstream_error_text(call->failure);
		return r;
	}
	if (!fetch->config)
		fetch->config = worker->config;
	worker_snapshot_ref(fetch->config);
	fetch->running = true;
	timer_init(&fetch->deadline, on_deadline);
	timer_start(worker->loop, &fetch->deadline,
		    fetch->timeout_ms ? fetch->timeout_ms : DEADLINE_DEFAULT_S * 1000);
	if (!upstream_call_queued(call) || upstream_call_queued(call) < UPSTREAM_HIGH_WATER)
		send_body(fetch);
	return 0;
}

const struct http_field *fetch_answer_field(const struct fetch *fetch, struct str name)
{
	for (unsigned int i = 0; i < fetch->answer_field_count; i++)
		if (str_eq_nocase(fetch->answer_fields[i].name, name))
			return &fetch->answer_fields[i];
	return NULL;
}
