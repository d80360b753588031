#include "exchange_fixture.h"

#include <stdlib.h>

#include "http/router.h"

static struct exchange_fixture *fixture_of(const struct exchange *exchange)
{
	return exchange->stream;
}

static void send_informational(struct exchange *exchange, const struct exchange_response *response)
{
	fixture_of(exchange)->informationals++;
}

static void write_fields(char *room, size_t room_bytes, const struct http_field *fields,
			 unsigned int count)
{
	size_t len = 0;

	room[0] = '\0';
	for (unsigned int i = 0; i < count && len < room_bytes; i++)
		len += (size_t)snprintf(room + len, room_bytes - len, "%.*s: %.*s\n",
					STR_FMT(fields[i].name), STR_FMT(fields[i].value));
}

static void send_head(struct exchange *exchange, const struct exchange_response *response)
{
	struct exchange_fixture *fixture = fixture_of(exchange);

	fixture->heads++;
	fixture->status = response->status;
	write_fields(fixture->added, sizeof(fixture->added), exchange->added,
		     exchange->added_count);
	write_fields(fixture->fields, sizeof(fixture->fields), response->fields,
		     response->field_count);
}

static void send_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	struct exchange_fixture *fixture = fixture_of(exchange);
	size_t room =
		sizeof(fixture->body) - 1 - MIN(fixture->body_bytes, sizeof(fixture->body) - 1);

	memcpy(fixture->body + sizeof(fixture->body) - 1 - room, data.ptr, MIN(data.len, room));
	fixture->body_bytes += data.len;
}

static void send_file(struct exchange *exchange, struct send_file *file, uint64_t offset,
		      uint64_t len)
{
	fixture_of(exchange)->body_bytes += len;
}

static void send_end(struct exchange *exchange, const struct http_field *trailers,
		     unsigned int trailer_count)
{
	fixture_of(exchange)->ends++;
}

static void flush(struct exchange *exchange)
{
}

static void send_abort(struct exchange *exchange)
{
	fixture_of(exchange)->aborts++;
}

static void resume_request(struct exchange *exchange)
{
	fixture_of(exchange)->resumes++;
}

static void tunnel_over(struct exchange *exchange)
{
	fixture_of(exchange)->overs++;
}

static size_t queued(const struct exchange *exchange)
{
	return fixture_of(exchange)->queued;
}

static const struct exchange_downstream downstream = {
	.send_informational = send_informational,
	.send_head = send_head,
	.send_data = send_data,
	.send_file = send_file,
	.send_end = send_end,
	.flush = flush,
	.send_abort = send_abort,
	.resume_request = resume_request,
	.tunnel_over = tunnel_over,
	.queued = queued,
};

int exchange_fixture_setup(void **state)
{
	const struct loop_config config = {.engine = IO_ENGINE_EPOLL,
					   .recv_buf_bytes = 4096,
					   .recv_bufs_ready = 16,
					   .recv_bufs_max = 64};
	struct exchange_fixture *fixture = calloc(1, sizeof(*fixture));
	unsigned int conflicts;
	struct error err = {0};

	assert_non_null(fixture);
	assert_int_equal(loop_new(&config, &fixture->loop, &err), 0);
	fixture->snapshot = snapshot_new();
	assert_non_null(fixture->snapshot);
	fixture->route = arena_new(&fixture->snapshot->arena, struct route);
	fixture->route->name = STR("only");
	fixture->route->path = STR("/");
	fixture->route->action = ROUTE_RESPOND;
	fixture->route->respond.status = 200;
	fixture->listener.name = STR("web");
	fixture->listener.router =
		router_build(&fixture->snapshot->arena, &fixture->route, 1, NULL, 0, &conflicts);
	assert_non_null(fixture->listener.router);
	assert_int_equal(
		http_worker_new(fixture->loop, 0, fixture->snapshot, NULL, &fixture->worker, &err),
		0);
	fixture->peer = (struct ip_addr){AF_INET, {192, 0, 2, 1}};
	*state = fixture;
	return 0;
}

static void on_drained(void *arg)
{
	*(bool *)arg = true;
}

int exchange_fixture_teardown(void **state)
{
	struct exchange_fixture *fixture = *state;
	bool drained = false;

	exchange_fixture_end(fixture);
	http_worker_drain(fixture->worker, 1000, on_drained, &drained);
	while (!drained)
		assert_int_equal(loop_run_once(fixture->loop, 100), 0);
	http_worker_free(fixture->worker);
	snapshot_unref(fixture->snapshot);
	loop_free(fixture->loop);
	free(fixture);
	return 0;
}

static struct exchange *begin(struct exchange_fixture *fixture, const char *target,
			      const struct http_field *fields, unsigned int count, bool post)
{
	struct exchange *exchange;

	exchange_fixture_end(fixture);
	fixture->status = 0;
	fixture->added[0] = fixture->fields[0] = '\0';
	memset(fixture->body, 0, sizeof(fixture->body));
	fixture->body_bytes = 0;
	fixture->heads = fixture->ends = fixture->aborts = fixture->resumes = fixture->overs = 0;
	fixture->informationals = 0;
	fixture->queued = 0;
	fixture->connection.worker = fixture->worker;
	fixture->connection.listener = &fixture->listener;
	fixture->connection.peer = fixture->peer;
	fixture->connection.origin.source = fixture->connection.peer;
	exchange = exchange_new(&fixture->connection, &downstream, fixture);
	assert_non_null(exchange);
	fixture->exchange = exchange;
	exchange->request.method = post ? STR("POST") : STR("GET");
	exchange->request.method_id = post ? HTTP_METHOD_POST : HTTP_METHOD_GET;
	exchange->request.framing = post ? HTTP_FRAMING_CHUNKED : HTTP_FRAMING_NONE;
	exchange->request.target = arena_copy(&exchange->arena, str_from_cstr(target));
	exchange->request.host = STR("shop.example.com");
	exchange->request.version_minor = 1;
	exchange->request.fields = (struct http_field *)fields;
	exchange->request.field_count = count;
	exchange->request_done = !post;
	exchange_start(exchange);
	return exchange;
}

struct exchange *exchange_fixture_begin(struct exchange_fixture *fixture, const char *target,
					const struct http_field *fields, unsigned int count)
{
	return begin(fixture, target, fields, count, false);
}

struct exchange *exchange_fixture_post(struct exchange_fixture *fixture, const char *target,
				       const struct http_field *fields, unsigned int count)
{
	return begin(fixture, target, fields, count, true);
}

void exchange_fixture_end(struct exchange_fixture *fixture)
{
	if (fixture->exchange)
		exchange_free(fixture->exchange);
	fixture->exchange = NULL;
}
