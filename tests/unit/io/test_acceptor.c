#include "io/io_test.h"

#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { CONNECTIONS_MAX = 300 };

struct door {
	struct acceptor acceptor;
	int fds[CONNECTIONS_MAX];
	unsigned int accepted;
	unsigned int errors;
	int last_error;
	unsigned int stopped;
	unsigned int stop_after; /* connections; 0: go on */
};

static void on_accept(struct acceptor *acceptor, int fd)
{
	struct door *door = CONTAINER_OF(acceptor, struct door, acceptor);

	assert_int_equal(door->stopped, 0);
	if (fd < 0) {
		door->errors++;
		door->last_error = fd;
		return;
	}
	assert_true(door->accepted < CONNECTIONS_MAX);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	door->fds[door->accepted++] = fd;
	if (door->stop_after && door->accepted == door->stop_after) {
		acceptor_stop(acceptor);
		assert_int_equal(door->stopped, 0);
	}
}

static void on_stopped(struct acceptor *acceptor)
{
	CONTAINER_OF(acceptor, struct door, acceptor)->stopped++;
}

static void door_init(struct door *door)
{
	memset(door, 0, sizeof(*door));
	door->acceptor.on_accept = on_accept;
	door->acceptor.on_stopped = on_stopped;
}

static void door_finish(struct loop *loop, struct door *door)
{
	acceptor_stop(&door->acceptor);
	run_until(loop, door->stopped == 1);
	for (unsigned int i = 0; i < door->accepted; i++)
		(void)close(door->fds[i]);
}

static void test_connections_are_accepted(void **state)
{
	static int clients[CONNECTIONS_MAX];
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 1000);
	struct door door;

	door_init(&door);
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), -EBUSY);
	for (unsigned int i = 0; i < 10; i++) {
		clients[i] = connect_tcp(&in);
		run_until(loop, door.accepted == i + 1);
	}
	for (unsigned int i = 10; i < CONNECTIONS_MAX; i++)
		clients[i] = connect_tcp(&in);
	run_until(loop, door.accepted == CONNECTIONS_MAX);
	assert_int_equal(door.errors, 0);
	door_finish(loop, &door);
	for (unsigned int i = 0; i < CONNECTIONS_MAX; i++)
		(void)close(clients[i]);
	(void)close(listen_fd);
}

static void test_an_acceptor_may_stop_in_its_callback_and_start_again(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 100);
	int clients[20];
	struct door door, heir;

	door_init(&door);
	door.stop_after = 3;
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		clients[i] = connect_tcp(&in);
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
	run_until(loop, door.stopped == 1);
	assert_true(door.accepted >= 3);
	/* None is lost: those that were not delivered wait in the listener's queue. */
	door_init(&heir);
	assert_int_equal(acceptor_start(loop, &heir.acceptor, listen_fd), 0);
	run_until(loop, door.accepted + heir.accepted == ARRAY_SIZE(clients));
	door_finish(loop, &heir);
	for (unsigned int i = 0; i < door.accepted; i++)
		(void)close(door.fds[i]);
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		(void)close(clients[i]);
	(void)close(listen_fd);
}

static void test_connections_queued_at_the_stop_are_not_lost(void **state)
{
	struct loop *loop = test_loop(state);

	for (int turns = 0; turns < 3; turns++) {
		struct sockaddr_in in;
		int listen_fd = listen_tcp(&in, 100);
		int clients[20];
		struct door door;
		unsigned int left = 0;

		door_init(&door);
		assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
		for (int turn = 0; turn < turns; turn++)
			assert_int_equal(loop_run_once(loop, 0), 0);
		for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
			clients[i] = connect_tcp(&in);
		acceptor_stop(&door.acceptor);
		acceptor_stop(&door.acceptor);
		run_until(loop, door.stopped == 1);
		assert_int_equal(loop_run_once(loop, 0), 0);
		assert_int_equal(door.stopped, 1);
		for (;;) {
			int fd;

			assert_int_equal(fcntl(listen_fd, F_SETFL, O_NONBLOCK), 0);
			fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
			if (fd < 0)
				break;
			left++;
			(void)close(fd);
		}
		assert_int_equal(door.accepted + left, ARRAY_SIZE(clients));
		for (unsigned int i = 0; i < door.accepted; i++)
			(void)close(door.fds[i]);
		for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
			(void)close(clients[i]);
		(void)close(listen_fd);
	}
}

/* Without a descriptor to spare accepting fails, and goes on by itself when there are some again.
 */
static void test_accepting_pauses_without_descriptors_and_goes_on(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 100);
	struct loop_stats before, after;
	struct rlimit old, low;
	struct door door;
	int clients[4];

	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		clients[i] = connect_tcp(&in);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = (struct rlimit){.rlim_cur = (rlim_t)clients[3] + 1, .rlim_max = old.rlim_max};
	door_init(&door);
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (door.errors == 0)
		assert_int_equal(loop_run_once(loop, 100), 0);
	assert_int_equal(door.last_error, -EMFILE);
	/* The pause: only its timer wakes us, though connections wait. */
	loop_get_stats(loop, &before);
	while (door.errors == 1)
		assert_int_equal(loop_run_once(loop, -1), 0);
	loop_get_stats(loop, &after);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(door.errors, 2);
	assert_int_equal(door.accepted, 0);
	assert_true(after.turns - before.turns <= 6);
	run_until(loop, door.accepted == ARRAY_SIZE(clients));
	door_finish(loop, &door);

	/* Stopped during the pause. */
	door_init(&door);
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
	(void)close(clients[0]);
	clients[0] = connect_tcp(&in);
	low.rlim_cur = (rlim_t)clients[3] + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	while (door.errors == 0)
		assert_int_equal(loop_run_once(loop, 100), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	door_finish(loop, &door);
	assert_int_equal(door.accepted, 0);
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		(void)close(clients[i]);
	(void)close(listen_fd);
}

static void test_only_listening_sockets_are_taken(void **state)
{
	struct loop *loop = test_loop(state);
	struct door door;
	int fds[2];

	door_init(&door);
	make_pair(PAIR_TCP, fds);
	assert_int_equal(acceptor_start(loop, &door.acceptor, fds[0]), -EINVAL);
	assert_int_equal(acceptor_start(loop, &door.acceptor, -1), -EBADF);
	acceptor_stop(&door.acceptor); /* harmless */
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void test_an_accepted_connection_can_be_adopted(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 100);
	struct sock_addr addr = test_addr(&in);
	struct peer client, server;
	struct door door;

	door_init(&door);
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
	peer_init(&client);
	assert_int_equal(stream_connect(loop, &client.stream, &addr), 0);
	run_until(loop, door.accepted == 1 && client.connected_calls == 1);
	peer_adopt(loop, &server, door.fds[0]);
	door.accepted = 0;
	stream_recv_start(&server.stream, RECV_MANY);
	peer_send(&client, "hello", 5);
	run_until(loop, server.received_len == 5);
	peer_finish(loop, &client);
	peer_finish(loop, &server);
	door_finish(loop, &door);
	(void)close(listen_fd);
}

/* ---- listen_socket_open() ---- */

static struct sock_addr loopback(void)
{
	return (struct sock_addr){
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
		.len = sizeof(struct sockaddr_in)};
}

static void test_a_port_is_shared_only_by_reuseport(void **state)
{
	struct sock_addr addr = loopback();
	struct error err = {0};
	int first = -1, second = -1;

	assert_int_equal(listen_socket_open(&addr, LISTEN_REUSEPORT, 10, &first, &err), 0);
	assert_int_equal(fcntl(first, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_int_equal(fcntl(first, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	assert_int_equal(getsockname(first, &addr.any, &addr.len), 0);
	assert_int_equal(listen_socket_open(&addr, LISTEN_REUSEPORT, 10, &second, &err), 0);
	(void)close(second);
	second = -1;
	assert_int_equal(listen_socket_open(&addr, 0, 10, &second, &err), -EADDRINUSE);
	assert_int_equal(second, -1);
	assert_non_null(strstr(err.text, "127.0.0.1:"));
	(void)close(first);
}

static void test_an_ipv6_listener_leaves_ipv4_alone(void **state)
{
	struct sock_addr addr = {.in6 = {.sin6_family = AF_INET6},
				 .len = sizeof(struct sockaddr_in6)};
	struct sock_addr same_port = {.in = {.sin_family = AF_INET},
				      .len = sizeof(struct sockaddr_in)};
	struct error err = {0};
	int first = -1, second = -1;
	int result = listen_socket_open(&addr, 0, 10, &first, &err);

	if (result == -EAFNOSUPPORT || result == -EADDRNOTAVAIL) {
		print_message("no IPv6 here: %s\n", err.text);
		skip();
	}
	assert_int_equal(result, 0);
	assert_int_equal(getsockname(first, &addr.any, &addr.len), 0);
	same_port.in.sin_port = addr.in6.sin6_port;
	assert_int_equal(listen_socket_open(&same_port, 0, 10, &second, &err), 0);
	(void)close(first);
	(void)close(second);
}

static void test_an_address_of_another_machine_is_refused(void **state)
{
	struct sock_addr addr = loopback();
	struct error err = {0};
	int fd = -1;

	addr.in.sin_addr.s_addr = htonl(0xc0000201); /* 192.0.2.1 */
	assert_int_equal(listen_socket_open(&addr, 0, 10, &fd, &err), -EADDRNOTAVAIL);
	assert_non_null(strstr(err.text, "192.0.2.1"));
	assert_int_equal(fd, -1);
}

static void test_a_dead_unix_socket_is_replaced_a_living_one_is_not(void **state)
{
	char dir[] = "/tmp/sluice-io-XXXXXX";
	struct sock_addr addr = {.len = sizeof(addr.un)};
	struct error err = {0};
	struct stat status;
	int first = -1, second = -1;
	int file;

	assert_non_null(mkdtemp(dir));
	addr.un.sun_family = AF_UNIX;
	(void)snprintf(addr.un.sun_path, sizeof(addr.un.sun_path), "%s/socket", dir);
	assert_int_equal(listen_socket_open(&addr, 0, 10, &first, &err), 0);
	assert_int_equal(listen_socket_open(&addr, 0, 10, &second, &err), -EADDRINUSE);
	assert_int_equal(second, -1);
	(void)close(first);
	error_reset(&err);
	assert_int_equal(listen_socket_open(&addr, 0, 10, &second, &err), 0);
	(void)close(second);
	(void)unlink(addr.un.sun_path);

	/* A file that is no socket is somebody's. */
	file = open(addr.un.sun_path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	(void)close(file);
	assert_int_equal(listen_socket_open(&addr, 0, 10, &second, &err), -EADDRINUSE);
	assert_int_equal(stat(addr.un.sun_path, &status), 0);
	assert_true(S_ISREG(status.st_mode));
	(void)unlink(addr.un.sun_path);
	(void)rmdir(dir);
}

/* stream_adopt_accepted() makes no system call and trusts in this. */
static void assert_ready_to_adopt(const struct loop *loop, int fd)
{
	bool epoll = loop_engine(loop) == IO_ENGINE_EPOLL;
	int nodelay = 0;
	socklen_t len = sizeof(nodelay);

	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &len), 0);
	assert_int_equal(nodelay, 1);
	assert_int_equal(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), epoll);
}

static void test_accepted_sockets_are_as_the_engine_needs_them(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 10);
	struct door door;
	int clients[2], late;

	door_init(&door);
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
	clients[0] = connect_tcp(&in);
	run_until(loop, door.accepted == 1);
	assert_ready_to_adopt(loop, door.fds[0]);
	door_finish(loop, &door);
	clients[1] = connect_tcp(&in);
	late = acceptor_take(loop, listen_fd);
	assert_true(late >= 0);
	assert_ready_to_adopt(loop, late);
	assert_int_equal(acceptor_take(loop, listen_fd), -EAGAIN);
	for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
		(void)close(clients[i]);
	(void)close(late);
	(void)close(listen_fd);
}

static void test_a_held_acceptor_leaves_connections_in_the_queue(void **state)
{
	struct loop *loop = test_loop(state);
	struct sockaddr_in in;
	int listen_fd = listen_tcp(&in, 100);
	int clients[4];
	struct door door;

	door_init(&door);
	acceptor_hold(&door.acceptor, true); /* not started: nothing happens */
	assert_int_equal(acceptor_start(loop, &door.acceptor, listen_fd), 0);
	clients[0] = connect_tcp(&in);
	run_until(loop, door.accepted == 1);
	acceptor_hold(&door.acceptor, true);
	acceptor_hold(&door.acceptor, true);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(loop_run_once(loop, 0), 0);
	clients[1] = connect_tcp(&in);
	clients[2] = connect_tcp(&in);
	for (unsigned int i = 0; i < 20; i++)
		assert_int_equal(loop_run_once(loop, 10), 0);
	assert_int_equal(door.accepted, 1);
	acceptor_hold(&door.acceptor, false);
	run_until(loop, door.accepted == 3);
	/* On and off within a turn, and stopping while held. */
	acceptor_hold(&door.acceptor, true);
	acceptor_hold(&door.acceptor, false);
	clients[3] = connect_tcp(&in);
	run_until(loop, door.accepted == 4);
	acceptor_hold(&door.acceptor, true);
	assert_int_equal(loop_run_once(loop, 0), 0);
	door_finish(loop, &door);
	acceptor_hold(&door.acceptor, false);
	assert_int_equal(door.errors, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(clients); i++)
		(void)close(clients[i]);
	(void)close(listen_fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_connections_are_accepted),
		BOTH_ENGINES(test_an_acceptor_may_stop_in_its_callback_and_start_again),
		BOTH_ENGINES(test_connections_queued_at_the_stop_are_not_lost),
		BOTH_ENGINES(test_accepting_pauses_without_descriptors_and_goes_on),
		BOTH_ENGINES(test_a_held_acceptor_leaves_connections_in_the_queue),
		BOTH_ENGINES(test_only_listening_sockets_are_taken),
		BOTH_ENGINES(test_an_accepted_connection_can_be_adopted),
		BOTH_ENGINES(test_accepted_sockets_are_as_the_engine_needs_them),
		ENGINE_TEST(test_a_port_is_shared_only_by_reuseport, setup, 1, "listen"),
		ENGINE_TEST(test_an_ipv6_listener_leaves_ipv4_alone, setup, 1, "listen"),
		ENGINE_TEST(test_an_address_of_another_machine_is_refused, setup, 1, "listen"),
		ENGINE_TEST(test_a_dead_unix_socket_is_replaced_a_living_one_is_not, setup, 1,
			    "listen"),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
