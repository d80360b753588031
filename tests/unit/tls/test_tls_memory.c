/*
 * TLS without memory: each allocation of a whole connection (handshake, request, answer, end) fails
 * once, on the server's thread only. The client is a thread of its own.
 */
#include "tls/tls_test.h"

#include <pthread.h>
#include <signal.h>

#include "test_support.h"

static SSL_CTX *server_context, *client_context;
static struct tls_worker *worker;

static void ask(int fd)
{
	SSL *ssl = SSL_new(client_context);
	char room[100];

	SSL_set_fd(ssl, fd);
	if (SSL_connect(ssl) == 1 && SSL_write(ssl, "question", 8) == 8)
		while (SSL_read(ssl, room, sizeof(room)) > 0)
			;
	SSL_free(ssl);
	ERR_clear_error();
	(void)close(fd);
}

/* For each descriptor that comes through the pipe, one connection. */
static void *run_client(void *arg)
{
	int fd;

	while (read(*(int *)arg, &fd, sizeof(fd)) == sizeof(fd))
		ask(fd);
	return NULL;
}

struct server {
	struct loop *loop;
	int pipe_fd;
};

static void answer(struct peer *peer, struct recv_buf *buf, int result)
{
	if (buf && buf->len == 8)
		peer_send(peer, "answer", 6);
	recv_buf_unref(buf);
}

static int serve(void *arg)
{
	struct server *server = arg;
	struct tls_peer peer = {0};
	SSL *ssl = SSL_new(server_context);
	int fds[2], result;

	if (!ssl)
		return -ENOMEM;
	SSL_set_accept_state(ssl);
	make_pair(PAIR_UNIX, fds);
	stream_init(&peer.peer.stream, tls_test_peer_ops);
	peer.peer.then_recv = answer;
	assert_int_equal(stream_adopt(server->loop, &peer.peer.stream, fds[0]), 0);
	result = tls_stream_start(worker, &peer.peer.stream, ssl);
	assert_int_equal(write(server->pipe_fd, &fds[1], sizeof(fds[1])), sizeof(fds[1]));
	if (result == 0) {
		stream_recv_start(&peer.peer.stream, RECV_MANY);
		run_until(server->loop,
			  peer.secured_result < 0 || peer.peer.sent_calls || peer.peer.ends);
		result = peer.secured_result;
		if (result == 0)
			result = peer.peer.sent_calls ? (int)MIN(peer.peer.sent_result, 0)
						      : peer.peer.end_result;
	}
	peer_finish(server->loop, &peer.peer);
	return result;
}

static void test_each_allocation_of_a_connection_may_fail(void **state)
{
	struct server server = {.loop = test_loop(state)};
	struct tls_worker_stats stats;
	pthread_t thread;
	int fds[2];

	server_context = tls_test_server_context();
	client_context = tls_test_client_context();
	assert_int_equal(tls_worker_new(&worker), 0);
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	server.pipe_fd = fds[1];
	assert_int_equal(pthread_create(&thread, NULL, run_client, &fds[0]), 0);
	assert_int_equal(serve(&server), 0); /* what is made once is made */
	tls_worker_trim(worker);
	assert_true(test_failing_each_allocation(serve, &server) > 50);
	(void)close(fds[1]);
	assert_int_equal(pthread_join(thread, NULL), 0);
	(void)close(fds[0]);
	tls_worker_trim(worker);
	tls_worker_get_stats(worker, &stats);
	assert_int_equal(stats.streams, 0);
	assert_int_equal(stats.memory_bytes, 0);
	tls_worker_free(worker);
	SSL_CTX_free(server_context);
	SSL_CTX_free(client_context);
}

static int make_worker(void *arg)
{
	struct tls_worker *made = NULL;
	int result = tls_worker_new(&made);

	tls_worker_free(made);
	return result;
}

static void test_a_worker_without_memory_is_told(void **state)
{
	assert_true(test_failing_each_allocation(make_worker, NULL) >= 2);
	ERR_clear_error();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_each_allocation_of_a_connection_may_fail),
		cmocka_unit_test(test_a_worker_without_memory_is_told),
	};

	(void)signal(SIGPIPE, SIG_IGN); /* the client writes by write(2) */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
