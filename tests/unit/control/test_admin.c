/* The admin API's server: real sockets, the control loop turned by the test. */
#include "test_support.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/admin.h"

#define PATIENCE_MS 20000
#define ANSWER_MAX  65536

struct server {
	struct daemon daemon;
	char dir[64];
	char path[100];
};

static void server_start(struct server *server)
{
	const struct loop_config config = {.engine = IO_ENGINE_EPOLL, .recv_buf_bytes = 4096};
	struct error err = {0};

	memset(server, 0, sizeof(*server));
	log_configure(LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	(void)snprintf(server->dir, sizeof(server->dir), "/tmp/sluice-admin-XXXXXX");
	assert_non_null(mkdtemp(server->dir));
	assert_int_equal(chmod(server->dir, 0755), 0);
	(void)snprintf(server->path, sizeof(server->path), "%s/run/admin.sock", server->dir);
	server->daemon.config_file = "test.yaml";
	server->daemon.state = DAEMON_READY;
	server->daemon.snapshot = snapshot_new();
	assert_non_null(server->daemon.snapshot);
	assert_int_equal(loop_new(&config, &server->daemon.loop, &err), 0);
	if (admin_new(&server->daemon, str_from_cstr(server->path), NULL, &server->daemon.admin,
		      &err))
		fail_msg("%s", err.text);
}

static void server_stop(struct server *server)
{
	uint64_t deadline = clock_mono_ms() + PATIENCE_MS;
	char run[80];

	admin_stop(server->daemon.admin);
	while (!admin_is_stopped(server->daemon.admin)) {
		assert_true(clock_mono_ms() < deadline);
		assert_true(loop_run_once(server->daemon.loop, 10) >= 0);
	}
	admin_free(server->daemon.admin);
	assert_int_equal(access(server->path, F_OK), -1);
	loop_free(server->daemon.loop);
	snapshot_unref(server->daemon.snapshot);
	(void)snprintf(run, sizeof(run), "%s/run", server->dir);
	assert_int_equal(rmdir(run), 0);
	assert_int_equal(rmdir(server->dir), 0);
}

static int client_connect(const struct server *server)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	memcpy(addr.sun_path, server->path, strlen(server->path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static void client_send(int fd, struct str bytes)
{
	assert_int_equal(send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL), (ssize_t)bytes.len);
}

/* Turns the loop until there is something to read or the end; returns how much there was. */
static size_t client_read_some(struct server *server, int fd, char *buf, size_t buf_len)
{
	uint64_t deadline = clock_mono_ms() + PATIENCE_MS;

	for (;;) {
		ssize_t got = recv(fd, buf, buf_len, 0);

		if (got >= 0)
			return (size_t)got;
		if (errno == ECONNRESET)
			return 0;
		assert_int_equal(errno, EAGAIN);
		assert_true(clock_mono_ms() < deadline);
		assert_true(loop_run_once(server->daemon.loop, 10) >= 0);
	}
}

/* Everything up to the end of the connection, NUL-terminated. */
static const char *client_read_all(struct server *server, int fd)
{
	static char answer[ANSWER_MAX];
	size_t len = 0, got;

	while ((got = client_read_some(server, fd, answer + len, sizeof(answer) - len - 1)))
		len += got;
	answer[len] = '\0';
	return answer;
}

static void assert_answer(const char *answer, const char *status, const char *part)
{
	if (strncmp(answer, status, strlen(status)) || !strstr(answer, part))
		fail_msg("expected '%s' and '%s' in: %s", status, part, answer);
	assert_non_null(strstr(answer, "\r\nConnection: close\r\n"));
	assert_non_null(strstr(answer, "\r\nContent-Type: application/json\r\n"));
}

static void test_a_request_in_single_bytes_is_answered(void **state)
{
	static const char request[] = "GET /v1/version HTTP/1.1\r\nHost: sluice\r\n\r\n";
	struct server server;
	int fd;

	server_start(&server);
	fd = client_connect(&server);
	for (size_t i = 0; i < sizeof(request) - 1; i++) {
		client_send(fd, str_make(request + i, 1));
		assert_true(loop_run_once(server.daemon.loop, 0) >= 0);
	}
	assert_answer(client_read_all(&server, fd), "HTTP/1.1 200 ", "\"abi_version\":");
	(void)close(fd);
	server_stop(&server);
}

static void test_a_client_that_shut_its_sending_side_gets_its_answer(void **state)
{
	struct server server;
	int fd;

	server_start(&server);
	fd = client_connect(&server);
	client_send(fd, STR("GET /nowhere HTTP/1.1\r\nHost: sluice\r\n\r\n"));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_answer(client_read_all(&server, fd), "HTTP/1.1 404 ", "there is no '/nowhere'");
	(void)close(fd);
	server_stop(&server);
}

static const struct {
	const char *name, *request, *status, *part;
} requests[] = {
	{"body by length",
	 "POST /v1/config/check HTTP/1.1\r\nHost: s\r\nContent-Length: 9\r\n\r\n{\"abc\":1}",
	 "HTTP/1.1 400 ", "unknown key 'abc'"},
	{"body in chunks",
	 "POST /v1/config/check HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n"
	 "4\r\n{\"ab\r\n5\r\nc\":1}\r\n0\r\n\r\n",
	 "HTTP/1.1 400 ", "unknown key 'abc'"},
	{"method that is not there",
	 "PUT /v1/deny HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 405 ",
	 "\r\nAllow: GET, POST, DELETE\r\n"},
	{"both framings",
	 "POST /v1/deny HTTP/1.1\r\nHost: s\r\nContent-Length: 1\r\nTransfer-Encoding: "
	 "chunked\r\n\r\n",
	 "HTTP/1.1 400 ", "{\"error\":"},
	{"no Host", "GET /v1/version HTTP/1.1\r\n\r\n", "HTTP/1.1 400 ", "Host is missing"},
	{"bare LF", "GET /v1/version HTTP/1.1\nHost: s\r\n\r\n", "HTTP/1.1 400 ", "bare LF"},
	{"bad chunk",
	 "POST /v1/deny HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	 "HTTP/1.1 400 ", "chunk size"},
	{"announced body too large",
	 "POST /v1/deny HTTP/1.1\r\nHost: s\r\nContent-Length: 1048577\r\n\r\n", "HTTP/1.1 413 ",
	 "too large"},
};

static void test_each_request_is_answered_and_its_connection_closed(void **state)
{
	struct server server;

	server_start(&server);
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		int fd = client_connect(&server);

		client_send(fd, str_from_cstr(requests[i].request));
		assert_answer(client_read_all(&server, fd), requests[i].status, requests[i].part);
		(void)close(fd);
	}
	server_stop(&server);
}

static void test_a_client_that_waits_for_100_gets_it(void **state)
{
	struct server server;
	char interim[256];
	size_t len;
	int fd;

	server_start(&server);
	fd = client_connect(&server);
	client_send(fd, STR("POST /v1/config/check HTTP/1.1\r\nHost: s\r\nContent-Length: 2\r\n"
			    "Expect: 100-continue\r\n\r\n"));
	len = client_read_some(&server, fd, interim, sizeof(interim));
	assert_str(str_make(interim, len), "HTTP/1.1 100 Continue\r\n\r\n");
	client_send(fd, STR("[]"));
	assert_answer(client_read_all(&server, fd), "HTTP/1.1 400 ", "must be a JSON object");
	(void)close(fd);
	server_stop(&server);
}

static void test_a_chunked_body_beyond_a_mebibyte_is_refused(void **state)
{
	static char data[16384];
	struct server server;
	char answer[512];
	size_t len;
	int fd;

	server_start(&server);
	memset(data, 'x', sizeof(data));
	fd = client_connect(&server);
	client_send(fd,
		    STR("POST /v1/deny HTTP/1.1\r\nHost: s\r\nTransfer-Encoding: chunked\r\n\r\n"
			"200000\r\n"));
	for (;;) { /* until the server has had enough */
		if (send(fd, data, sizeof(data), MSG_NOSIGNAL) < 0 && errno != EAGAIN)
			break;
		assert_true(loop_run_once(server.daemon.loop, 1) >= 0);
	}
	len = client_read_some(&server, fd, answer, sizeof(answer) - 1);
	answer[len] = '\0';
	assert_answer(answer, "HTTP/1.1 413 ", "too large");
	(void)close(fd);
	server_stop(&server);
}

static void test_the_connection_after_the_sixty_fourth_is_closed(void **state)
{
	struct server server;
	int fds[65];
	char byte;

	server_start(&server);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = client_connect(&server);
	assert_int_equal(client_read_some(&server, fds[64], &byte, 1), 0);
	(void)close(fds[64]);
	/* The others are served, and make room. */
	client_send(fds[0], STR("GET /v1/version HTTP/1.1\r\nHost: s\r\n\r\n"));
	assert_answer(client_read_all(&server, fds[0]), "HTTP/1.1 200 ", "version");
	fds[64] = client_connect(&server);
	client_send(fds[64], STR("GET /v1/version HTTP/1.1\r\nHost: s\r\n\r\n"));
	assert_answer(client_read_all(&server, fds[64]), "HTTP/1.1 200 ", "version");
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		(void)close(fds[i]);
	server_stop(&server);
}

static void test_the_socket_is_for_its_owner_and_group(void **state)
{
	struct server server;
	struct stat info;

	server_start(&server);
	assert_int_equal(stat(server.path, &info), 0);
	assert_true(S_ISSOCK(info.st_mode));
	assert_int_equal(info.st_mode & 07777, 0660);
	server_stop(&server);
}

/* Another user, on a socket that somebody made writable for all. */
static int ask_as_nobody(const struct server *server)
{
	static const char request[] = "GET /v1/version HTTP/1.1\r\nHost: s\r\n\r\n";
	struct pollfd readable = {.events = POLLIN};
	char answer[64] = "";

	if (setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return 2;
	readable.fd = client_connect(server);
	if (send(readable.fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		return 3;
	if (poll(&readable, 1, PATIENCE_MS) != 1 ||
	    recv(readable.fd, answer, sizeof(answer) - 1, 0) <= 0)
		return 4;
	return strncmp(answer, "HTTP/1.1 403 ", 13) ? 5 : 0;
}

static void test_another_user_is_refused(void **state)
{
	uint64_t deadline = clock_mono_ms() + PATIENCE_MS;
	struct server server;
	int status = 0;
	pid_t child;

	if (geteuid() != 0) {
		print_message("skipped: needs root\n");
		skip();
	}
	server_start(&server);
	assert_int_equal(chmod(server.path, 0666), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		_exit(ask_as_nobody(&server));
	while (waitpid(child, &status, WNOHANG) != child) {
		assert_true(clock_mono_ms() < deadline);
		assert_true(loop_run_once(server.daemon.loop, 10) >= 0);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	server_stop(&server);
}

static void test_a_path_that_cannot_be_made_is_named(void **state)
{
	struct daemon daemon = {0};
	struct error err = {0};
	struct admin *admin = NULL;

	assert_true(admin_new(&daemon, STR("/proc/sluice/admin.sock"), NULL, &admin, &err) < 0);
	assert_non_null(strstr(err.text, "node.admin.socket: cannot make /proc/sluice"));
	assert_null(admin);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_request_in_single_bytes_is_answered),
		cmocka_unit_test(test_a_client_that_shut_its_sending_side_gets_its_answer),
		cmocka_unit_test(test_each_request_is_answered_and_its_connection_closed),
		cmocka_unit_test(test_a_client_that_waits_for_100_gets_it),
		cmocka_unit_test(test_a_chunked_body_beyond_a_mebibyte_is_refused),
		cmocka_unit_test(test_the_connection_after_the_sixty_fourth_is_closed),
		cmocka_unit_test(test_the_socket_is_for_its_owner_and_group),
		cmocka_unit_test(test_another_user_is_refused),
		cmocka_unit_test(test_a_path_that_cannot_be_made_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
