#include "tools/http_client.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define READ_STEP (64 * 1024)

struct call {
	int fd;
	uint64_t deadline_ms;
	uint64_t timeout_ms;
	struct error *err;
};

static int report_timeout(struct call *call)
{
	return error_set(call->err, -ETIMEDOUT,
			 "the daemon did not answer within %llu ms; look at its log, or allow more "
			 "with --timeout",
			 (unsigned long long)call->timeout_ms);
}

static int wait_for(struct call *call, short events)
{
	for (;;) {
		uint64_t now = clock_mono_ms();
		struct pollfd poll_fd = {.fd = call->fd, .events = events};
		uint64_t left;
		int ready;

		if (now >= call->deadline_ms)
			return report_timeout(call);
		left = MIN(call->deadline_ms - now, 1000000UL);
		ready = poll(&poll_fd, 1, (int)left);
		if (ready > 0)
			return 0;
		if (ready < 0 && errno != EINTR)
			return error_set_errno(call->err, -errno, "cannot wait for the daemon");
	}
}

/* The reason for an absent daemon, or a sentence for what is wrong with the path. */
static int report_connect(struct call *call, const char *path, int code)
{
	struct stat stat_buf;
	char quoted[160];

	str_quote(str_from_cstr(path), quoted, sizeof(quoted));
	switch (code) {
	case -ENOENT:
	case -ENOTDIR:
		return error_set(call->err, code, "no such socket");
	case -ECONNREFUSED:
		if (!stat(path, &stat_buf) && !S_ISSOCK(stat_buf.st_mode))
			return error_set(call->err, -ENOTSOCK, "%s is not a socket", quoted);
		return error_set(call->err, code, "connection refused");
	case -EACCES:
	case -EPERM:
		return error_set(call->err, code,
				 "no permission to use %s; run as root or as the daemon's user",
				 quoted);
	default:
		return error_set_errno(call->err, code, "cannot connect to %s", quoted);
	}
}

static int connect_socket(struct call *call, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char quoted[160];

	if (str_to_cstr(str_from_cstr(path), addr.sun_path, sizeof(addr.sun_path)))
		return error_set(call->err, -ENAMETOOLONG,
				 "the socket path %s is longer than %zu bytes",
				 str_quote(str_from_cstr(path), quoted, sizeof(quoted)),
				 sizeof(addr.sun_path) - 1);
	call->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (call->fd < 0)
		return error_set_errno(call->err, -errno, "cannot make a socket");
	for (;;) {
		uint64_t now = clock_mono_ms();

		if (!connect(call->fd, (struct sockaddr *)&addr, sizeof(addr)))
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return report_connect(call, path, -errno);
		/* The listener's queue is full. A Unix socket cannot be polled for room in it. */
		if (now >= call->deadline_ms)
			return report_timeout(call);
		(void)poll(NULL, 0, 20);
	}
}

static int send_all(struct call *call, struct str bytes)
{
	while (bytes.len > 0) {
		ssize_t sent = send(call->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
		int error;

		if (sent >= 0) {
			bytes = str_sub(bytes, (size_t)sent, bytes.len - (size_t)sent);
			continue;
		}
		/* The daemon may answer, and close, before it has read all: its answer counts. */
		if (errno == EPIPE || errno == ECONNRESET)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return error_set_errno(call->err, -errno, "cannot send to the daemon");
		error = wait_for(call, POLLOUT);
		if (error)
			return error;
	}
	return 0;
}

/* Reads once. 0 at the end, else the number of bytes, or a negative errno. */
static ssize_t receive(struct call *call, struct buf *in)
{
	char *room;
	int error;

	if (buf_reserve(in, READ_STEP, &room))
		return error_set(call->err, -EMSGSIZE, "the daemon's answer is too big");
	for (;;) {
		ssize_t got = recv(call->fd, room, READ_STEP, 0);

		if (got >= 0) {
			buf_commit(in, (size_t)got);
			return got;
		}
		if (errno == ECONNRESET)
			return error_set(call->err, -ECONNRESET,
					 "the daemon closed the connection without an answer; look "
					 "at its log");
		if (errno != EAGAIN && errno != EINTR)
			return error_set_errno(call->err, -errno,
					       "cannot read the daemon's answer");
		error = wait_for(call, POLLIN);
		if (error)
			return error;
	}
}

static int report_broken(struct call *call, const char *what)
{
	return error_set(call->err, -EPROTO,
			 "the daemon's answer is broken (%s); is that sluiced's admin socket?",
			 what);
}

struct head {
	int status;
	bool is_text;
	bool is_chunked;
	bool has_length;
	uint64_t length;
};

static int parse_status(struct call *call, struct str line, struct head *head)
{
	uint64_t status;

	if (line.len < 12 || !str_starts_with(line, STR("HTTP/1.")) ||
	    (line.ptr[7] != '0' && line.ptr[7] != '1') || line.ptr[8] != ' ' ||
	    (line.len > 12 && line.ptr[12] != ' ') || str_to_u64(str_sub(line, 9, 3), &status) ||
	    status < 200 || status > 599)
		return report_broken(call, "no HTTP/1.1 status line");
	head->status = (int)status;
	return 0;
}

static int parse_field(struct call *call, struct str line, struct head *head)
{
	ptrdiff_t colon = str_find_byte(line, ':');
	struct str name, value;
	uint64_t length;

	if (colon <= 0)
		return report_broken(call, "a header line without a colon");
	name = str_sub(line, 0, (size_t)colon);
	value = str_trim(str_sub(line, (size_t)colon + 1, line.len - (size_t)colon - 1));
	if (str_eq_nocase(name, STR("content-type"))) {
		head->is_text = str_starts_with(value, STR("text/plain"));
		return 0;
	}
	if (str_eq_nocase(name, STR("transfer-encoding"))) {
		if (head->is_chunked || !str_eq_nocase(value, STR("chunked")))
			return report_broken(call, "it has a transfer encoding");
		head->is_chunked = true;
		return 0;
	}
	if (!str_eq_nocase(name, STR("content-length")))
		return 0;
	if (str_to_u64(value, &length) || (head->has_length && head->length != length))
		return report_broken(call, "its Content-Length is no number");
	if (length > HTTP_BODY_MAX)
		return error_set(call->err, -EMSGSIZE,
				 "the daemon's answer is too big: %llu bytes, the limit is %lu",
				 (unsigned long long)length, HTTP_BODY_MAX);
	head->has_length = true;
	head->length = length;
	return 0;
}

/* `text` ends with the empty line. */
static int parse_head(struct call *call, struct str text, struct head *ret_head)
{
	struct head head = {0};
	bool first = true;
	int error;

	while (text.len > 0) {
		ptrdiff_t end = str_find_byte(text, '\n');
		struct str line;

		if (end < 1 || text.ptr[end - 1] != '\r')
			return report_broken(call, "a header line without CRLF");
		line = str_sub(text, 0, (size_t)end - 1);
		text = str_sub(text, (size_t)end + 1, text.len - (size_t)end - 1);
		if (line.len == 0)
			break;
		error = first ? parse_status(call, line, &head) : parse_field(call, line, &head);
		if (error)
			return error;
		first = false;
	}
	if (first)
		return report_broken(call, "no HTTP/1.1 status line");
	if (head.is_chunked && head.has_length)
		return report_broken(call, "chunks and a Content-Length");
	*ret_head = head;
	return 0;
}

/* Leaves the beginning of the body in `in`. */
static int read_head(struct call *call, struct buf *in, struct head *ret_head)
{
	for (;;) {
		struct str bytes = buf_str(in);
		const char *end = memmem(bytes.ptr, bytes.len, "\r\n\r\n", 4);
		ssize_t got;

		if (end) {
			size_t head_len = (size_t)(end - bytes.ptr) + 4;
			int error;

			if (head_len > HTTP_HEAD_MAX)
				return report_broken(call, "its head is too big");
			error = parse_head(call, str_sub(bytes, 0, head_len), ret_head);
			if (!error)
				buf_consume(in, head_len);
			return error;
		}
		if (bytes.len > HTTP_HEAD_MAX)
			return report_broken(call, "its head is too big");
		got = receive(call, in);
		if (got < 0)
			return (int)got;
		if (got == 0)
			return bytes.len == 0
				       ? error_set(call->err, -ECONNRESET,
						   "the daemon closed the connection without an "
						   "answer; look at its log")
				       : report_broken(call, "it ends within the head");
	}
}

static int read_body(struct call *call, struct buf *in, const struct head *head)
{
	while (!head->has_length || in->len < head->length) {
		ssize_t got = receive(call, in);

		if (got < 0)
			return (int)got;
		if (in->len > HTTP_BODY_MAX)
			return error_set(call->err, -EMSGSIZE,
					 "the daemon's answer is too big: the limit is %lu bytes",
					 HTTP_BODY_MAX);
		if (got > 0)
			continue;
		if (head->has_length)
			return report_broken(call, "it ends within the body");
		return 0;
	}
	if (in->len > head->length)
		return report_broken(call, "bytes after its end");
	return 0;
}

/* "1f4\r\n" at `at`. Negative: it is none. */
static ssize_t read_chunk_size(struct str bytes, size_t *at)
{
	size_t size = 0, start = *at;

	for (; *at < bytes.len && *at < start + 8; (*at)++) {
		char digit = ascii_lower(bytes.ptr[*at]);

		if (digit >= '0' && digit <= '9')
			size = size << 4 | (size_t)(digit - '0');
		else if (digit >= 'a' && digit <= 'f')
			size = size << 4 | (size_t)(digit - 'a' + 10);
		else
			break;
	}
	if (*at == start || !str_eq(str_sub(bytes, *at, 2), STR("\r\n")))
		return -EPROTO;
	*at += 2;
	return (ssize_t)size;
}

/* The chunks become one body, at the same place; they end with the connection. */
static int join_chunks(struct call *call, struct buf *in)
{
	struct str bytes = buf_str(in);
	char *body = (char *)bytes.ptr;
	size_t at = 0, len = 0;

	for (;;) {
		ssize_t size = read_chunk_size(bytes, &at);

		if (size < 0 || (size_t)size > bytes.len - at)
			return report_broken(call, "it ends within the body");
		memmove(body + len, bytes.ptr + at, (size_t)size);
		len += (size_t)size;
		at += (size_t)size;
		if (!str_eq(str_sub(bytes, at, 2), STR("\r\n")))
			return report_broken(call, "a chunk is of another length than it says");
		at += 2;
		if (size == 0)
			break;
	}
	if (at != bytes.len)
		return report_broken(call, "bytes after its end");
	in->len = len;
	return 0;
}

static int exchange(struct call *call, struct str request, struct buf *in, struct head *ret_head)
{
	int error = send_all(call, request);

	if (!error)
		error = read_head(call, in, ret_head);
	if (!error)
		error = read_body(call, in, ret_head);
	if (!error && ret_head->is_chunked)
		error = join_chunks(call, in);
	return error;
}

int http_client_call(const char *socket_path, const struct http_call *request, uint64_t timeout_ms,
		     struct http_answer *ret_answer, struct error *err)
{
	struct call call = {.fd = -1, .timeout_ms = timeout_ms, .err = err};
	_cleanup_close_ int fd = -1;
	_cleanup_(buf_done)
	struct buf text;
	_cleanup_(buf_done)
	struct buf in;
	struct head head = {0};
	int error;

	buf_init(&text, HTTP_BODY_MAX);
	buf_init(&in, HTTP_BODY_MAX + HTTP_HEAD_MAX + 2 * READ_STEP);
	call.deadline_ms = clock_mono_ms() + timeout_ms;
	error = buf_printf(&text, "%s %s HTTP/1.1\r\nHost: sluice\r\nConnection: close\r\n",
			   request->method, request->target);
	if (!error && (request->body.len > 0 || !strcmp(request->method, "POST")))
		error = buf_printf(&text, "Content-Type: %s\r\nContent-Length: %zu\r\n",
				   request->content_type ? request->content_type
							 : "application/json",
				   request->body.len);
	if (!error)
		error = buf_append(&text, STR("\r\n"));
	if (!error)
		error = buf_append(&text, request->body);
	if (error)
		return error_set(err, error, "the request is too big");

	error = connect_socket(&call, socket_path);
	fd = call.fd;
	if (!error)
		error = exchange(&call, buf_str(&text), &in, &head);
	if (error)
		return error;
	ret_answer->status = head.status;
	ret_answer->is_text = head.is_text;
	ret_answer->body = in;
	buf_init(&in, 0);
	return 0;
}
