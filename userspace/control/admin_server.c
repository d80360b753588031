#include "control/admin_server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/log.h"
#include "io/stream.h"
#include "proto/http1/http1.h"

#define REQUEST_BODY_MAX  (1u << 20)
#define TIMEOUT_MS	  10000
#define CONN_ARENA_CHUNK  4096
#define CONN_ARENA_MAX	  (64u << 10)
#define RESPONSE_HEAD_MAX 512
/* A deny list of a million entries is about 120 MB of JSON. */
#define RESPONSE_BYTES_MAX (256u << 20)

static const struct http1_limits limits = {
	.head_bytes = 8192,
	.field_bytes = 4096,
	.field_count = 50,
	.uri_bytes = 2048,
	.chunk_extension_bytes = 256,
	.trailer_bytes = 1024,
};

struct admin_server {
	struct admin_server_config config;
	struct loop *loop;
	int listen_fd;
	struct acceptor acceptor;
	bool accepting;
	bool stopping;
	struct list conns;
	unsigned int conn_count;
};

enum answer_state {
	ANSWER_NONE,  /* the request is being read */
	ANSWER_READY, /* to be sent as soon as the 100 has left */
	ANSWER_MORE,  /* its source has more */
	ANSWER_LAST,  /* what is being sent is the end of it */
};

/* One connection, one request. */
struct admin_conn {
	struct list link;
	struct admin_server *server;
	struct stream stream;
	struct timer timer;
	bool is_allowed;

	struct buf in; /* bytes not consumed yet */
	size_t scan;
	struct arena arena; /* a copy of the head, and what was read from it */
	bool has_head;
	struct http_head head;
	struct http1_body body;
	struct buf request_body;

	enum answer_state answer; /* nothing is read once there is one */
	struct admin_response response;
	bool chunked;
	char head_room[RESPONSE_HEAD_MAX];
	size_t head_len;
	char chunk_room[HTTP1_CHUNK_HEAD_MAX];
};

/* ---- responses ---- */

void admin_response_init(struct admin_response *response)
{
	memset(response, 0, sizeof(*response));
	buf_init(&response->body, RESPONSE_BYTES_MAX);
}

static void drop_source(struct admin_response *response)
{
	void (*done)(void *source) = TAKE_PTR(response->more_done);

	response->more = NULL;
	if (done)
		done(TAKE_PTR(response->source));
}

void admin_response_done(struct admin_response *response)
{
	drop_source(response);
	buf_done(&response->body);
}

void admin_fail(struct admin_response *response, uint16_t status, const char *fmt, ...)
{
	struct json_writer json;
	char text[1024];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	drop_source(response);
	buf_reset(&response->body);
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "error", text);
	json_close_object(&json);
	if (json_finish(&json))
		buf_reset(&response->body); /* out of memory: the status has to do */
	response->status = status;
	response->content_type = NULL;
}

/* ---- answering ---- */

/* Head (once), then a chunk of the body or all of it. */
static void send_part(struct admin_conn *conn)
{
	struct str body = buf_str(&conn->response.body);
	bool last = conn->answer == ANSWER_LAST;
	struct iovec iov[4];
	unsigned int count = 0;

	if (conn->head.method_id == HTTP_METHOD_HEAD)
		body.len = 0;
	if (conn->head_len)
		iov[count++] = (struct iovec){conn->head_room, conn->head_len};
	conn->head_len = 0;
	if (body.len && conn->chunked)
		iov[count++] = (struct iovec){conn->chunk_room,
					      http1_chunk_head(conn->chunk_room, body.len)};
	if (body.len)
		iov[count++] = (struct iovec){(char *)body.ptr, body.len};
	if (conn->chunked && conn->head.method_id != HTTP_METHOD_HEAD) {
		if (body.len && last)
			iov[count++] = (struct iovec){(char *)"\r\n0\r\n\r\n", 7};
		else if (last)
			iov[count++] = (struct iovec){(char *)"0\r\n\r\n", 5};
		else if (body.len)
			iov[count++] = (struct iovec){(char *)"\r\n", 2};
	}
	if (!count || stream_send(&conn->stream, iov, count)) {
		stream_close(&conn->stream);
		return;
	}
	timer_start(conn->server->loop, &conn->timer, TIMEOUT_MS);
}

static void send_more(struct admin_conn *conn)
{
	struct admin_response *response = &conn->response;
	int r;

	do { /* a piece may be empty, which as a chunk would mean the end */
		buf_reset(&response->body);
		r = response->more(response->source, &response->body);
	} while (r > 0 && !response->body.len);
	if (r < 0) {
		stream_abort(&conn->stream); /* it must not look complete */
		return;
	}
	if (!r)
		conn->answer = ANSWER_LAST;
	send_part(conn);
}

static void begin_answer(struct admin_conn *conn)
{
	if (stream_is_sending(&conn->stream)) /* the 100; on_sent() comes back here */
		return;
	conn->answer = conn->response.more ? ANSWER_MORE : ANSWER_LAST;
	if (conn->head.method_id == HTTP_METHOD_HEAD)
		conn->answer = ANSWER_LAST;
	send_part(conn);
}

static void answer(struct admin_conn *conn)
{
	struct admin_response *response = &conn->response;
	struct http1_writer writer;

	conn->answer = ANSWER_READY;
	stream_recv_stop(&conn->stream);
	conn->chunked = response->more && conn->head.version_minor > 0;
	http1_write_init(&writer, conn->head_room, sizeof(conn->head_room));
	http1_write_status_line(&writer, response->status);
	http1_write_field(&writer, STR("Content-Type"),
			  response->content_type ? str_from_cstr(response->content_type)
						 : STR("application/json"));
	if (response->allow)
		http1_write_field(&writer, STR("Allow"), str_from_cstr(response->allow));
	if (conn->chunked)
		http1_write_bytes(&writer, STR("Transfer-Encoding: chunked\r\n"));
	else if (!response->more)
		http1_write_field_u64(&writer, STR("Content-Length"), response->body.len);
	http1_write_field(&writer, STR("Connection"), STR("close"));
	http1_write_end(&writer);
	if (writer.overflowed || writer.invalid) {
		stream_close(&conn->stream);
		return;
	}
	conn->head_len = (size_t)(writer.pos - conn->head_room);
	timer_start(conn->server->loop, &conn->timer, TIMEOUT_MS);
	begin_answer(conn);
}

static void refuse(struct admin_conn *conn, uint16_t status, const char *text)
{
	admin_fail(&conn->response, status, "%s", text);
	(void)buf_append(&conn->response.body, STR("\n"));
	answer(conn);
}

static void refuse_by_codec(struct admin_conn *conn, int error)
{
	refuse(conn, http1_error_status((enum http1_error) - error),
	       http1_error_text((enum http1_error) - error));
}

static void dispatch(struct admin_conn *conn)
{
	const struct admin_server_config *config = &conn->server->config;
	struct admin_request request = {.method = conn->head.method, .path = conn->head.target};
	ptrdiff_t question = str_find_byte(request.path, '?');

	if (question >= 0) {
		request.query = str_sub(request.path, (size_t)question + 1,
					request.path.len - (size_t)question - 1);
		request.path.len = (size_t)question;
	}
	request.body = buf_str(&conn->request_body);
	config->dispatch(config->arg, &request, &conn->response);
	answer(conn);
}

/* ---- reading ---- */

static void send_continue(struct admin_conn *conn)
{
	static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
	const struct iovec iov = {(char *)text, sizeof(text) - 1};

	if (stream_send(&conn->stream, &iov, 1))
		stream_close(&conn->stream);
}

/* True when there is a head to go on with. */
static bool read_head(struct admin_conn *conn)
{
	struct str head;
	size_t len;
	int r;

	r = http1_find_head_end(buf_str(&conn->in), &limits, &conn->scan, &len);
	if (r == 0)
		return false;
	if (r > 0) {
		/* Its own copy: the input moves while the body arrives. */
		head = arena_copy(&conn->arena, str_make(buf_str(&conn->in).ptr, len));
		if (!head.ptr)
			r = -HTTP1_E_NO_MEMORY;
		else
			r = http1_parse_request(head, &limits, &conn->arena, &conn->head);
	}
	if (r < 0) {
		conn->head = (struct http_head){.version_minor = 1};
		refuse_by_codec(conn, r);
		return false;
	}
	if (!conn->is_allowed) {
		refuse(conn, 403, conn->server->config.forbidden);
		return false;
	}
	if (conn->head.has_content_length && conn->head.content_length > REQUEST_BODY_MAX) {
		refuse(conn, 413, "the body is too large");
		return false;
	}
	buf_consume(&conn->in, len);
	conn->has_head = true;
	http1_body_init(&conn->body, conn->head.framing, conn->head.content_length, &limits);
	if (conn->head.expect_continue && !conn->in.len)
		send_continue(conn);
	return true;
}

static void read_body(struct admin_conn *conn)
{
	size_t consumed;
	struct str data;
	int event, r;

	for (;;) {
		event = http1_body_feed(&conn->body, buf_str(&conn->in), &consumed, &data);
		if (event < 0) {
			refuse_by_codec(conn, event);
			return;
		}
		if (event == HTTP1_BODY_DATA) {
			r = buf_append(&conn->request_body, data);
			if (r) {
				refuse(conn, r == -EMSGSIZE ? 413 : 500,
				       r == -EMSGSIZE ? "the body is too large" : "out of memory");
				return;
			}
		}
		buf_consume(&conn->in, consumed);
		if (event == HTTP1_BODY_DONE) {
			dispatch(conn);
			return;
		}
		if (event == HTTP1_BODY_MORE)
			return;
	}
}

static void on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct admin_conn *conn = CONTAINER_OF(stream, struct admin_conn, stream);
	bool reading = conn->answer == ANSWER_NONE;
	int r;

	if (!buf) {
		/* A client that only shut its sending side still wants its answer. */
		if (result < 0 || reading)
			stream_close(stream);
		return;
	}
	r = reading ? buf_append(&conn->in, recv_buf_str(buf)) : 0;
	recv_buf_unref(buf);
	if (!reading || !stream_is_open(stream))
		return;
	if (r) {
		refuse(conn, 413, "the request is too large");
		return;
	}
	if (conn->has_head || read_head(conn))
		read_body(conn);
}

static void on_sent(struct stream *stream, int64_t result)
{
	struct admin_conn *conn = CONTAINER_OF(stream, struct admin_conn, stream);

	if (result < 0 || conn->answer == ANSWER_LAST)
		stream_close(stream);
	else if (conn->answer == ANSWER_READY)
		begin_answer(conn);
	else if (conn->answer == ANSWER_MORE)
		send_more(conn);
}

static void on_timeout(struct timer *timer)
{
	struct admin_conn *conn = CONTAINER_OF(timer, struct admin_conn, timer);

	if (conn->answer != ANSWER_NONE)
		stream_close(&conn->stream);
	else
		refuse(conn, 408, "the request did not arrive in time");
}

/* ---- connections ---- */

static void conn_free(struct admin_conn *conn)
{
	timer_stop(&conn->timer);
	if (conn->has_head)
		http1_body_done(&conn->body);
	buf_done(&conn->in);
	buf_done(&conn->request_body);
	admin_response_done(&conn->response);
	arena_done(&conn->arena);
	list_remove(&conn->link);
	conn->server->conn_count--;
	free(conn);
}

static void on_closed(struct stream *stream)
{
	conn_free(CONTAINER_OF(stream, struct admin_conn, stream));
}

static const struct stream_ops conn_ops = {
	.on_recv = on_recv,
	.on_sent = on_sent,
	.on_closed = on_closed,
};

static void on_accept(struct acceptor *acceptor, int fd)
{
	struct admin_server *server = CONTAINER_OF(acceptor, struct admin_server, acceptor);
	const struct admin_server_config *config = &server->config;
	struct admin_conn *conn;

	if (fd < 0) {
		log_warn("control", "%s: accept: %s", config->what, strerror(-fd));
		return;
	}
	conn = server->conn_count < config->connections_max && !server->stopping
		       ? calloc(1, sizeof(*conn))
		       : NULL;
	if (!conn) {
		log_debug("control", "%s: connection refused, %u are open", config->what,
			  server->conn_count);
		(void)close(fd);
		return;
	}
	conn->server = server;
	conn->is_allowed = !config->is_allowed || config->is_allowed(fd);
	conn->head.version_minor = 1; /* until the client has told */
	list_push_back(&server->conns, &conn->link);
	server->conn_count++;
	buf_init(&conn->in, limits.head_bytes + REQUEST_BODY_MAX);
	buf_init(&conn->request_body, REQUEST_BODY_MAX);
	arena_init(&conn->arena, CONN_ARENA_CHUNK, CONN_ARENA_MAX);
	admin_response_init(&conn->response);
	timer_init(&conn->timer, on_timeout);
	stream_init(&conn->stream, &conn_ops);
	if (stream_adopt(server->loop, &conn->stream, fd)) {
		(void)close(fd);
		conn_free(conn);
		return;
	}
	timer_start(server->loop, &conn->timer, TIMEOUT_MS);
	stream_recv_start(&conn->stream, RECV_MANY);
}

/* ---- life ---- */

static void on_stopped(struct acceptor *acceptor)
{
	CONTAINER_OF(acceptor, struct admin_server, acceptor)->accepting = false;
}

int admin_server_new(struct loop *loop, int listen_fd, const struct admin_server_config *config,
		     struct admin_server **ret_server, struct error *err)
{
	_cleanup_close_ int fd = listen_fd;
	struct admin_server *server = calloc(1, sizeof(*server));
	int r;

	if (!server)
		return error_set(err, -ENOMEM, "out of memory for the %s", config->what);
	server->config = *config;
	server->loop = loop;
	list_init(&server->conns);
	server->acceptor.on_accept = on_accept;
	server->acceptor.on_stopped = on_stopped;
	r = acceptor_start(loop, &server->acceptor, fd);
	if (r) {
		free(server);
		return error_set_errno(err, r, "%s: cannot accept", config->what);
	}
	server->accepting = true;
	server->listen_fd = TAKE_FD(fd);
	*ret_server = server;
	return 0;
}

void admin_server_stop(struct admin_server *server)
{
	if (!server)
		return;
	server->stopping = true;
	if (server->accepting)
		acceptor_stop(&server->acceptor);
	list_for_each (entry, &server->conns)
		stream_close(&list_entry(entry, struct admin_conn, link)->stream);
}

bool admin_server_is_stopped(const struct admin_server *server)
{
	return !server || (!server->accepting && list_is_empty(&server->conns));
}

void admin_server_free(struct admin_server *server)
{
	if (!server)
		return;
	(void)close(server->listen_fd);
	free(server);
}
