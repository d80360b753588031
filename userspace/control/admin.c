#include "control/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "control/admin_api.h"
#include "io/stream.h"
#include "proto/http1/http1.h"

#define CONNECTIONS_MAX	  64
#define REQUEST_BODY_MAX  (1u << 20)
#define TIMEOUT_MS	  10000
#define LISTEN_BACKLOG	  128
#define CONN_ARENA_CHUNK  4096
#define CONN_ARENA_MAX	  (64u << 10)
#define RESPONSE_HEAD_MAX 512

static const struct http1_limits limits = {
	.head_bytes = 8192,
	.field_bytes = 4096,
	.field_count = 50,
	.uri_bytes = 2048,
	.chunk_extension_bytes = 256,
	.trailer_bytes = 1024,
};

struct admin {
	struct daemon *daemon;
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int listen_fd;
	struct acceptor acceptor;
	bool accepting;
	bool stopping;
	struct list conns;
	unsigned int conn_count;
};

/* One connection, one request. */
struct admin_conn {
	struct list link;
	struct admin *admin;
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

	bool has_answer; /* nothing is read from here on */
	struct admin_response response;
	char head_room[RESPONSE_HEAD_MAX];
	size_t head_len;
	bool sending_answer;
};

/* ---- answering ---- */

static void send_answer(struct admin_conn *conn)
{
	struct str body = buf_str(&conn->response.body);
	const struct iovec iov[2] = {
		{conn->head_room, conn->head_len},
		{(char *)body.ptr, body.len},
	};

	if (stream_is_sending(&conn->stream)) /* the 100; on_sent() comes back here */
		return;
	conn->sending_answer = true;
	if (stream_send(&conn->stream, iov, body.len ? 2 : 1))
		stream_close(&conn->stream);
}

static void answer(struct admin_conn *conn)
{
	struct admin_response *response = &conn->response;
	struct http1_writer writer;

	conn->has_answer = true;
	stream_recv_stop(&conn->stream);
	(void)buf_append(&response->body, STR("\n"));
	http1_write_init(&writer, conn->head_room, sizeof(conn->head_room));
	http1_write_status_line(&writer, response->status);
	http1_write_field(&writer, STR("Content-Type"), STR("application/json"));
	if (response->allow)
		http1_write_field(&writer, STR("Allow"), str_from_cstr(response->allow));
	http1_write_field_u64(&writer, STR("Content-Length"), response->body.len);
	http1_write_field(&writer, STR("Connection"), STR("close"));
	http1_write_end(&writer);
	if (writer.overflowed || writer.invalid) {
		stream_close(&conn->stream);
		return;
	}
	conn->head_len = (size_t)(writer.pos - conn->head_room);
	timer_start(conn->stream.loop, &conn->timer, TIMEOUT_MS);
	send_answer(conn);
}

static void refuse(struct admin_conn *conn, uint16_t status, const char *text)
{
	admin_fail(&conn->response, status, "%s", text);
	answer(conn);
}

static void refuse_by_codec(struct admin_conn *conn, int error)
{
	refuse(conn, http1_error_status((enum http1_error) - error),
	       http1_error_text((enum http1_error) - error));
}

static void dispatch(struct admin_conn *conn)
{
	struct admin_request request = {.method = conn->head.method, .path = conn->head.target};
	ptrdiff_t question = str_find_byte(request.path, '?');

	if (question >= 0) {
		request.query = str_sub(request.path, (size_t)question + 1,
					request.path.len - (size_t)question - 1);
		request.path.len = (size_t)question;
	}
	request.body = buf_str(&conn->request_body);
	admin_dispatch(conn->admin->daemon, &request, &conn->response);
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
		refuse_by_codec(conn, r);
		return false;
	}
	if (!conn->is_allowed) {
		refuse(conn, 403, "only root and the daemon's own user may");
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
	int r;

	if (!buf) {
		/* A client that only shut its sending side still wants its answer. */
		if (result < 0 || !conn->has_answer)
			stream_close(stream);
		return;
	}
	r = conn->has_answer ? 0 : buf_append(&conn->in, recv_buf_str(buf));
	recv_buf_unref(buf);
	if (conn->has_answer || !stream_is_open(stream))
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

	if (result < 0 || conn->sending_answer)
		stream_close(stream);
	else if (conn->has_answer)
		send_answer(conn);
}

static void on_timeout(struct timer *timer)
{
	struct admin_conn *conn = CONTAINER_OF(timer, struct admin_conn, timer);

	if (conn->has_answer)
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
	conn->admin->conn_count--;
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

static bool peer_is_allowed(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void on_accept(struct acceptor *acceptor, int fd)
{
	struct admin *admin = CONTAINER_OF(acceptor, struct admin, acceptor);
	struct loop *loop = admin->daemon->loop;
	struct admin_conn *conn;

	if (fd < 0) {
		log_warn("control", "admin socket: accept: %s", strerror(-fd));
		return;
	}
	conn = admin->conn_count < CONNECTIONS_MAX && !admin->stopping ? calloc(1, sizeof(*conn))
								       : NULL;
	if (!conn) {
		log_debug("control", "admin socket: connection refused, %u are open",
			  admin->conn_count);
		(void)close(fd);
		return;
	}
	conn->admin = admin;
	conn->is_allowed = peer_is_allowed(fd);
	list_push_back(&admin->conns, &conn->link);
	admin->conn_count++;
	buf_init(&conn->in, limits.head_bytes + REQUEST_BODY_MAX);
	buf_init(&conn->request_body, REQUEST_BODY_MAX);
	arena_init(&conn->arena, CONN_ARENA_CHUNK, CONN_ARENA_MAX);
	admin_response_init(&conn->response);
	timer_init(&conn->timer, on_timeout);
	stream_init(&conn->stream, &conn_ops);
	if (stream_adopt_accepted(loop, &conn->stream, fd)) {
		(void)close(fd);
		conn_free(conn);
		return;
	}
	timer_start(loop, &conn->timer, TIMEOUT_MS);
	stream_recv_start(&conn->stream, RECV_MANY);
}

/* ---- the socket ---- */

static void on_stopped(struct acceptor *acceptor)
{
	CONTAINER_OF(acceptor, struct admin, acceptor)->accepting = false;
}

/* Its directory, when that is missing; /run is empty after every boot. */
static int make_directory(const char *path, const struct user *owner, struct error *err)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, 0755)) {
		if (errno == EEXIST)
			return 0;
		return error_set_errno(err, -errno, "node.admin.socket: cannot make %s", dir);
	}
	/* To remove the socket, its user has to own the directory. */
	if (owner && geteuid() == 0 && chown(dir, owner->uid, owner->gid))
		return error_set_errno(err, -errno, "node.admin.socket: cannot give %s to '%s'",
				       dir, owner->name);
	return 0;
}

static int open_socket(struct admin *admin, const struct user *owner, struct error *err)
{
	struct sock_addr addr = {.un = {.sun_family = AF_UNIX}};
	mode_t before;
	int r;

	memcpy(addr.un.sun_path, admin->path, sizeof(admin->path));
	addr.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(admin->path) + 1);
	r = make_directory(admin->path, owner, err);
	if (r)
		return r;
	before = umask(0177); /* nobody else may connect before it has its owner */
	r = listen_socket_open(&addr, 0, LISTEN_BACKLOG, &admin->listen_fd, err);
	(void)umask(before);
	if (r) {
		error_prefix(err, "node.admin.socket");
		return r;
	}
	if (owner && geteuid() == 0 && chown(admin->path, owner->uid, owner->gid))
		return error_set_errno(err, -errno, "node.admin.socket: cannot give it to '%s'",
				       owner->name);
	if (chmod(admin->path, 0660))
		return error_set_errno(err, -errno, "node.admin.socket: cannot set its mode");
	return 0;
}

int admin_new(struct daemon *daemon, struct str socket_path, const struct user *owner,
	      struct admin **ret_admin, struct error *err)
{
	struct admin *admin = calloc(1, sizeof(*admin));
	int r;

	if (!admin)
		return error_set(err, -ENOMEM, "out of memory for the admin API");
	admin->daemon = daemon;
	admin->listen_fd = -1;
	list_init(&admin->conns);
	r = str_to_cstr(socket_path, admin->path, sizeof(admin->path));
	if (r) {
		admin->path[0] = '\0';
		(void)error_set_errno(err, r, "node.admin.socket");
	} else {
		r = open_socket(admin, owner, err);
	}
	if (!r) {
		admin->acceptor.on_accept = on_accept;
		admin->acceptor.on_stopped = on_stopped;
		r = acceptor_start(daemon->loop, &admin->acceptor, admin->listen_fd);
		if (r)
			(void)error_set_errno(err, r, "node.admin.socket: cannot accept");
	}
	if (r) {
		admin_free(admin);
		return r;
	}
	admin->accepting = true;
	*ret_admin = admin;
	return 0;
}

void admin_stop(struct admin *admin)
{
	if (!admin)
		return;
	admin->stopping = true;
	if (admin->accepting)
		acceptor_stop(&admin->acceptor);
	list_for_each (entry, &admin->conns)
		stream_close(&list_entry(entry, struct admin_conn, link)->stream);
}

bool admin_is_stopped(const struct admin *admin)
{
	return !admin || (!admin->accepting && list_is_empty(&admin->conns));
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	if (admin->listen_fd >= 0) {
		/* Only what we bound: a failed start must not remove a living daemon's socket. */
		if (unlink(admin->path) && errno != ENOENT)
			log_info("control", "the admin socket stays behind: %s", strerror(errno));
		(void)close(admin->listen_fd);
	}
	free(admin);
}
