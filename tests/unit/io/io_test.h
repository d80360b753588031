/*
 * io_test: what the tests of io/ share. Each test runs under both engines: BOTH_ENGINES(name)
 * makes two cmocka entries. A fixture holds the loop and, when it is taken down, checks that no
 * descriptor was leaked. A case that needs io_uring where the kernel refuses it is skipped with
 * the kernel's reason.
 */
#ifndef SLUICE_TESTS_IO_TEST_H
#define SLUICE_TESTS_IO_TEST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "io/loop.h"
#include "io/stream.h"

#define DEADLINE_MS 60000

struct fixture {
	enum io_engine engine;
	struct loop *loop; /* NULL: skip */
	int fds_before;
};

static inline int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	(void)closedir(dir);
	return count - 3; /* ".", ".." and the directory itself */
}

/* `*state` is the engine's place in this array. */
static enum io_engine test_engines[]
	__attribute__((unused)) = {IO_ENGINE_IO_URING, IO_ENGINE_EPOLL};

static inline int setup_with(void **state, struct loop_config config)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct error err = {0};

	assert_non_null(fixture);
	fixture->engine = *(enum io_engine *)*state;
	fixture->fds_before = count_fds();
	config.engine = fixture->engine;
	if (fixture->engine == IO_ENGINE_IO_URING && !io_uring_is_usable(&err))
		print_message("io_uring is not usable: %s\n", err.text);
	else if (loop_new(&config, &fixture->loop, &err) < 0)
		fail_msg("%s", err.text);
	*state = fixture;
	return 0;
}

static inline int setup(void **state)
{
	return setup_with(state, (struct loop_config){.restrict_ops = true, .coalesce = true});
}

static inline int teardown(void **state)
{
	struct fixture *fixture = *state;

	if (fixture->loop) {
		struct loop_stats stats;

		/* What was asked for last, such as closing, is done by then. */
		assert_int_equal(loop_run_once(fixture->loop, 0), 0);
		loop_get_stats(fixture->loop, &stats);
		assert_int_equal(stats.streams_open, 0);
		assert_int_equal(stats.recv_bufs_held, 0);
		loop_free(fixture->loop);
	}
	assert_int_equal(count_fds(), fixture->fds_before);
	free(fixture);
	return 0;
}

#define ENGINE_TEST(function, set_up, index, suffix)                                               \
	{                                                                                          \
		.name = #function " [" suffix "]", .test_func = function, .setup_func = set_up,    \
		.teardown_func = teardown, .initial_state = &test_engines[index],                  \
	}
#define BOTH_ENGINES_WITH(function, set_up)                                                        \
	ENGINE_TEST(function, set_up, 0, "io_uring"), ENGINE_TEST(function, set_up, 1, "epoll")
#define BOTH_ENGINES(function) BOTH_ENGINES_WITH(function, setup)

static inline struct loop *test_loop(void **state)
{
	struct fixture *fixture = *state;

	if (!fixture->loop)
		skip();
	return fixture->loop;
}

/* Turns the loop until the condition holds. */
#define run_until(loop, condition)                                                                 \
	do {                                                                                       \
		uint64_t give_up_ms = clock_mono_ms() + DEADLINE_MS;                               \
                                                                                                   \
		while (!(condition)) {                                                             \
			assert_int_equal(loop_run_once(loop, 100), 0);                             \
			if (clock_mono_ms() > give_up_ms)                                          \
				fail_msg("waited in vain for: %s", #condition);                    \
		}                                                                                  \
	} while (0)

/* ---- a stream that notes what happens to it ---- */

struct peer {
	struct stream stream;
	char *received;
	size_t received_len;
	size_t received_cap;
	unsigned int recv_calls;
	unsigned int ends; /* ends and errors delivered */
	int end_result;
	unsigned int sent_calls;
	int64_t sent_result;
	unsigned int piped_calls;
	size_t piped_bytes; /* of the last call */
	unsigned int connected_calls;
	int connected_result;
	unsigned int closed_calls;
	/* Called at the end of the callback, when set. */
	void (*then_recv)(struct peer *peer, struct recv_buf *buf, int result);
	void (*then_sent)(struct peer *peer);
	void (*then_piped)(struct peer *peer);
	void (*then_connected)(struct peer *peer);
	void (*then_closed)(struct peer *peer);
	void *arg;
};

static inline struct peer *peer_of(struct stream *stream)
{
	return CONTAINER_OF(stream, struct peer, stream);
}

static inline void peer_append(struct peer *peer, const char *data, size_t len)
{
	if (peer->received_len + len > peer->received_cap) {
		peer->received_cap = (peer->received_len + len) * 2;
		peer->received = realloc(peer->received, peer->received_cap);
		assert_non_null(peer->received);
	}
	memcpy(peer->received + peer->received_len, data, len);
	peer->received_len += len;
}

static inline void peer_on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct peer *peer = peer_of(stream);

	assert_int_equal(peer->closed_calls, 0);
	assert_true(stream_is_open(stream));
	peer->recv_calls++;
	if (buf) {
		assert_int_equal(result, (int)buf->len);
		assert_true(buf->len > 0 && buf->len <= buf->size_bytes);
		assert_int_equal(peer->ends, 0);
	} else {
		assert_true(result <= 0);
		peer->ends++;
		peer->end_result = result;
	}
	if (peer->then_recv) {
		peer->then_recv(peer, buf, result);
	} else if (buf) {
		peer_append(peer, buf->data, buf->len);
		recv_buf_unref(buf);
	}
}

static inline void peer_on_sent(struct stream *stream, int64_t result)
{
	struct peer *peer = peer_of(stream);

	assert_int_equal(peer->closed_calls, 0);
	assert_false(stream_is_sending(stream));
	peer->sent_calls++;
	peer->sent_result = result;
	if (peer->then_sent)
		peer->then_sent(peer);
}

static inline void peer_on_piped(struct stream *stream, size_t bytes)
{
	struct peer *peer = peer_of(stream);

	assert_int_equal(peer->closed_calls, 0);
	assert_true(bytes > 0);
	peer->piped_calls++;
	peer->piped_bytes = bytes;
	if (peer->then_piped)
		peer->then_piped(peer);
}

static inline void peer_on_connected(struct stream *stream, int result)
{
	struct peer *peer = peer_of(stream);

	assert_int_equal(peer->closed_calls, 0);
	peer->connected_calls++;
	peer->connected_result = result;
	if (peer->then_connected)
		peer->then_connected(peer);
}

static inline void peer_on_closed(struct stream *stream)
{
	struct peer *peer = peer_of(stream);

	assert_false(stream_is_open(stream));
	assert_int_equal(stream->fd, -1);
	peer->closed_calls++;
	if (peer->then_closed)
		peer->then_closed(peer);
}

static const struct stream_ops peer_ops = {
	.on_recv = peer_on_recv,
	.on_sent = peer_on_sent,
	.on_piped = peer_on_piped,
	.on_connected = peer_on_connected,
	.on_closed = peer_on_closed,
};

static inline void peer_init(struct peer *peer)
{
	memset(peer, 0, sizeof(*peer));
	stream_init(&peer->stream, &peer_ops);
}

static inline void peer_adopt(struct loop *loop, struct peer *peer, int fd)
{
	peer_init(peer);
	assert_int_equal(stream_adopt(loop, &peer->stream, fd), 0);
}

/* Closes it and waits for on_closed(). */
static inline void peer_finish(struct loop *loop, struct peer *peer)
{
	stream_close(&peer->stream);
	run_until(loop, peer->closed_calls == 1);
	free(peer->received);
	peer->received = NULL;
}

static inline void peer_send(struct peer *peer, const void *data, size_t len)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};

	assert_int_equal(stream_send(&peer->stream, &iov, 1), 0);
}

/* ---- pairs of connected sockets ---- */

enum pair_kind { PAIR_UNIX, PAIR_TCP };

/* Port 0 of 127.0.0.1; `ret_addr` says which it became. */
static inline int listen_tcp(struct sockaddr_in *ret_addr, int backlog)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, backlog), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*ret_addr = addr;
	return fd;
}

/* Blocking. */
static inline int connect_tcp(const struct sockaddr_in *addr)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)), 0);
	return fd;
}

static inline void make_pair(enum pair_kind kind, int fds[2])
{
	struct sockaddr_in addr;
	int listen_fd;

	if (kind == PAIR_UNIX) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		return;
	}
	listen_fd = listen_tcp(&addr, 1);
	fds[0] = connect_tcp(&addr);
	fds[1] = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fds[1] >= 0);
	(void)close(listen_fd);
}

static inline struct sock_addr test_addr(const struct sockaddr_in *in)
{
	struct sock_addr addr = {.len = sizeof(*in)};

	addr.in = *in;
	return addr;
}

/* Small, fast, the same everywhere: what tests call random comes from a fixed seed. */
static inline uint32_t next_random(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
	return (uint32_t)(*seed >> 33);
}

/*
 * What a sender sends: byte i of stream `seed` is pattern(seed, i)[0], and the bytes after it
 * follow for at least PATTERN_RUN. The period is a prime, so that no buffer size hides a shift.
 */
#define PATTERN_PERIOD 65521u
#define PATTERN_RUN    65536u

static inline const char *pattern(uint32_t seed, uint64_t offset)
{
	static char bytes[PATTERN_PERIOD + PATTERN_RUN];
	static bool made;

	if (!made) {
		uint64_t state = 1;

		for (size_t i = 0; i < PATTERN_PERIOD; i++)
			bytes[i] = (char)next_random(&state);
		for (size_t i = PATTERN_PERIOD; i < sizeof(bytes); i++)
			bytes[i] = bytes[i - PATTERN_PERIOD];
		made = true;
	}
	return bytes + (seed + offset) % PATTERN_PERIOD;
}

#endif
