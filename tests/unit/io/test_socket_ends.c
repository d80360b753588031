/* io/socket_ends.h: the ends of accepted connections, by their SYN or by asking for them. */
#include "io/io_test.h"

#include <netinet/tcp.h>

#include "io/socket_ends.h"

/* ---- headers ---- */

static const uint8_t syn4[] =
	{
		0x46, 0, 0, 44, 0,    1,    0x40, 0,  64, 6, 0, 0,
		192,  0, 2, 1,	198,  51,   100,  2, /* and an option */
		1,    1, 1, 0,	0x1f, 0x90, 0,	  80, 0,  0, 0, 1,
		0,    0, 0, 0,	0x50, 2,    0,	  0,  0,  0, 0, 0,
};
static const uint8_t syn6[] = {
	0x60, 0,    0, 0,    0,	   20, 6,    64,   0x20, 1, 0x0d, 0xb8, 0,    0, 0, 0, 0, 0, 0, 0,
	0,    0,    0, 1,    0x20, 1,  0x0d, 0xb8, 0,	 0, 0,	  0,	0,    0, 0, 0, 0, 0, 0, 2,
	0x1f, 0x90, 1, 0xbb, 0,	   0,  0,    1,	   0,	 0, 0,	  0,	0x50, 2, 0, 0, 0, 0, 0, 0,
};

static void assert_end(const struct ip_addr *addr, uint16_t port, const char *want)
{
	struct sock_addr whole = sock_addr_make(addr, port);
	char text[ADDR_TEXT_MAX];

	assert_string_equal(sock_addr_format(&whole, text, sizeof(text)), want);
}

static void test_a_syn_tells_both_ends(void **state)
{
	struct socket_ends ends;

	assert_true(socket_ends_of_syn(syn4, sizeof(syn4), &ends));
	assert_end(&ends.peer, ends.peer_port, "192.0.2.1:8080");
	assert_end(&ends.local, ends.local_port, "198.51.100.2:80");
	assert_true(socket_ends_of_syn(syn6, sizeof(syn6), &ends));
	assert_end(&ends.peer, ends.peer_port, "[2001:db8::1]:8080");
	assert_end(&ends.local, ends.local_port, "[2001:db8::2]:443");
}

/* Each length in memory of just that length, for the sanitizer. */
static void assert_no_shorter(const uint8_t *whole, size_t whole_len)
{
	struct socket_ends ends;

	for (size_t len = 0; len < whole_len; len++) {
		uint8_t *bytes = malloc(len + !len);

		assert_non_null(bytes);
		memcpy(bytes, whole, len);
		assert_false(socket_ends_of_syn(bytes, len, &ends));
		free(bytes);
	}
}

static void test_what_is_cut_or_no_tcp_is_not_read(void **state)
{
	uint8_t other[sizeof(syn6)];
	struct socket_ends ends;

	assert_no_shorter(syn4, sizeof(syn4));
	assert_no_shorter(syn6, sizeof(syn6));
	memcpy(other, syn4, sizeof(syn4));
	other[9] = IPPROTO_UDP;
	assert_false(socket_ends_of_syn(other, sizeof(syn4), &ends));
	other[9] = IPPROTO_TCP;
	other[0] = 0x44; /* a header of 16 bytes */
	assert_false(socket_ends_of_syn(other, sizeof(syn4), &ends));
	other[0] = 0x56;
	assert_false(socket_ends_of_syn(other, sizeof(syn4), &ends));
	memcpy(other, syn6, sizeof(syn6));
	other[6] = IPPROTO_HOPOPTS; /* the kernel is asked instead */
	assert_false(socket_ends_of_syn(other, sizeof(syn6), &ends));
}

/* ---- connections ---- */

static void assert_as_the_kernel_says(int fd)
{
	struct sock_addr addr = {.len = sizeof(addr) - sizeof(addr.len)};
	char want[ADDR_TEXT_MAX];
	struct socket_ends ends;

	assert_int_equal(socket_ends_read(fd, &ends), 0);
	assert_int_equal(getsockname(fd, &addr.any, &addr.len), 0);
	assert_end(&ends.local, ends.local_port, sock_addr_format(&addr, want, sizeof(want)));
	addr.len = sizeof(addr) - sizeof(addr.len);
	assert_int_equal(getpeername(fd, &addr.any, &addr.len), 0);
	assert_end(&ends.peer, ends.peer_port, sock_addr_format(&addr, want, sizeof(want)));
}

static void check_connection(struct sock_addr addr, unsigned int flags)
{
	struct error err = {0};
	uint8_t headers[256];
	socklen_t len = sizeof(headers);
	int listener = -1, client, fd;

	assert_int_equal(listen_socket_open(&addr, flags, 1, &listener, &err), 0);
	assert_int_equal(getsockname(listener, &addr.any, &addr.len), 0);
	client = socket(addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(client, &addr.any, addr.len), 0);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_as_the_kernel_says(fd);
	/* Whoever read it took it away; then, as without, the kernel is asked. */
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, headers, &len), 0);
	assert_int_equal(len, 0);
	assert_as_the_kernel_says(fd);
	(void)close(fd);
	(void)close(client);
	(void)close(listener);
}

static void test_accepted_connections_know_their_ends(void **state)
{
	struct sock_addr v4 = {
		.in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
		.len = sizeof(struct sockaddr_in)};
	struct sock_addr v6 = {.in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT},
			       .len = sizeof(struct sockaddr_in6)};

	check_connection(v4, LISTEN_SAVE_SYN);
	check_connection(v4, 0);
	check_connection(v6, LISTEN_SAVE_SYN);
	check_connection(v6, 0);
}

static void test_a_socket_without_ends_is_an_error(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct socket_ends ends;

	assert_int_equal(socket_ends_read(fd, &ends), -ENOTCONN);
	(void)close(fd);
	assert_int_equal(socket_ends_read(-1, &ends), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_syn_tells_both_ends),
		cmocka_unit_test(test_what_is_cut_or_no_tcp_is_not_read),
		cmocka_unit_test(test_accepted_connections_know_their_ends),
		cmocka_unit_test(test_a_socket_without_ends_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
