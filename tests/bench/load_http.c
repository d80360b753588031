/*
 * The load of the benchmarks: GETs over a fixed number of connections, for a fixed time, from one
 * thread. Every answer must have status 200 and the expected length; the first one of each
 * connection is compared byte by byte with what byte_server sends, the others are thrown away
 * inside the kernel (MSG_TRUNC), so that copying them is not what is measured.
 *
 * usage: load_http [--close] [--tls] [--resume] [--warm] [--sources N] ADDRESS PORT PATH HOST BYTES
 *                  CONNECTIONS SECONDS
 *
 * --close: "Connection: close", one connection per request; the server has to close it.
 * --sources: connections come from so many addresses of 127.1.0.0/16 in turn. Some proxies spread
 * clients over their workers by address, so one source would keep only one worker busy.
 * --tls: TLS 1.3 with TLS_AES_128_GCM_SHA256, X25519 and an ECDSA certificate of P-256: nothing
 * else is offered, so all servers do the same. --resume: each connection resumes the session of the
 * one before it in its place. Both kinds of handshakes are counted. BYTES -1: answers of any
 * length. --warm: each connection has one answer first; then it says "warm", and goes on, and
 * begins to count, once a line comes by standard input.
 *
 * Prints one JSON object. Exit status 1 when anything was not as it must be.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define HEAD_MAX   8192u
#define READ_BYTES (256u << 10)
#define SUB_BITS   6 /* the histogram's error is below 1/64 */
#define BUCKETS	   (64u << SUB_BITS)
#define DRAIN_NS   5000000000ull

struct conn {
	int fd;
	unsigned int number;
	uint64_t start_ns;
	bool connecting, in_body, checked, wants_out, answered, securing;
	SSL *ssl;
	SSL_SESSION *session;
	int64_t left_bytes, offset;
	size_t head_bytes;
	char head[HEAD_MAX + 1];
};

struct totals {
	uint64_t requests, bytes;
	uint64_t connect_errors, early_ends, bad_status, bad_length, bad_content, timeouts;
	uint64_t tls_errors, full, resumed;
};

static struct sockaddr_in server;
static char request[8192];
static char more_fields[4096]; /* of --field */
static size_t request_len;
static bool closing, resuming, warming;
static unsigned int warming_count; /* connections that have no answer yet */
static struct conn *conns;
static unsigned int conn_count;
static double run_seconds;
static SSL_CTX *tls;
static const char *host;
static unsigned int source_count;
static long long expected_bytes;
static int epoll_fd;
static uint64_t start_ns, end_ns;
static struct totals totals;
static uint64_t latency[BUCKETS];
static uint64_t latency_max_ns;
static unsigned int open_count;
static char scratch[READ_BYTES];

static uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- latency: log-linear buckets ---- */

static unsigned int bucket_of(uint64_t ns)
{
	unsigned int shift;

	if (ns < 1u << SUB_BITS)
		return (unsigned int)ns;
	shift = 63u - (unsigned int)__builtin_clzll(ns) - SUB_BITS;
	return ((shift + 1) << SUB_BITS) + (unsigned int)((ns >> shift) - (1u << SUB_BITS));
}

static double bucket_middle_us(unsigned int bucket)
{
	unsigned int shift = bucket >> SUB_BITS;
	uint64_t low = bucket & ((1u << SUB_BITS) - 1);

	if (shift)
		return ((double)((low + (1u << SUB_BITS)) << (shift - 1)) +
			(double)(1ull << (shift - 1)) / 2) /
		       1000;
	return (double)low / 1000;
}

static double percentile_us(double part)
{
	uint64_t rank = (uint64_t)((double)totals.requests * part), seen = 0;

	for (unsigned int i = 0; i < BUCKETS; i++) {
		seen += latency[i];
		if (seen > rank)
			return bucket_middle_us(i);
	}
	return (double)latency_max_ns / 1000;
}

/* ---- TLS ---- */

static SSL_CTX *make_tls(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx || SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256") != 1 ||
	    SSL_CTX_set1_groups_list(ctx, "X25519") != 1 ||
	    SSL_CTX_set1_sigalgs_list(ctx, "ECDSA+SHA256") != 1)
		return NULL;
	SSL_CTX_set_read_ahead(ctx, 1);
	return ctx;
}

static int tls_begin(struct conn *conn)
{
	conn->ssl = SSL_new(tls);
	if (!conn->ssl || SSL_set_fd(conn->ssl, conn->fd) != 1 ||
	    SSL_set_tlsext_host_name(conn->ssl, host) != 1)
		return -1;
	if (conn->session && SSL_set_session(conn->ssl, conn->session) != 1)
		return -1;
	SSL_set_connect_state(conn->ssl);
	conn->securing = true;
	return 0;
}

/* 1: secured; 0: it goes on, with *ret_out for when the socket takes more; -1: failed. */
static int tls_handshake(struct conn *conn, bool *ret_out)
{
	int ret, error;

	*ret_out = false;
	ERR_clear_error();
	ret = SSL_do_handshake(conn->ssl);
	if (ret == 1) {
		conn->securing = false;
		if (SSL_session_reused(conn->ssl))
			totals.resumed++;
		else
			totals.full++;
		return 1;
	}
	error = SSL_get_error(conn->ssl, ret);
	*ret_out = error == SSL_ERROR_WANT_WRITE;
	return error == SSL_ERROR_WANT_READ || *ret_out ? 0 : -1;
}

/* With the answer at the latest its ticket was there. */
static void tls_keep_session(struct conn *conn)
{
	SSL_SESSION_free(conn->session);
	conn->session = SSL_get1_session(conn->ssl);
}

static void tls_end(struct conn *conn)
{
	/* Else OpenSSL takes it for broken off, and its session for not to be resumed. */
	SSL_set_shutdown(conn->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(conn->ssl);
	conn->ssl = NULL;
}

/* As recv(); a broken end is an end. */
static ssize_t tls_recv(struct conn *conn, char *data, size_t len)
{
	int got;

	ERR_clear_error();
	got = SSL_read(conn->ssl, data, (int)len);
	if (got > 0)
		return got;
	if (SSL_get_error(conn->ssl, got) != SSL_ERROR_WANT_READ)
		return 0;
	errno = EAGAIN;
	return -1;
}

/* ---- one connection ---- */

static void warm_one(void);

static void conn_close(struct conn *conn)
{
	if (conn->fd < 0)
		return;
	if (warming && !conn->answered)
		warm_one();
	if (conn->ssl)
		tls_end(conn);
	(void)close(conn->fd);
	conn->fd = -1;
	open_count--;
}

static int conn_watch(struct conn *conn, int op, bool out)
{
	struct epoll_event event = {.events = out ? EPOLLOUT : EPOLLIN, .data.ptr = conn};

	conn->wants_out = out;
	return epoll_ctl(epoll_fd, op, conn->fd, &event);
}

/* Begins a request; the socket has room for it, there is none other under way. */
static int conn_ask(struct conn *conn)
{
	conn->head_bytes = 0;
	conn->in_body = conn->answered = false;
	conn->offset = 0;
	if (conn->ssl)
		return SSL_write(conn->ssl, request, (int)request_len) == (int)request_len ? 0 : -1;
	return send(conn->fd, request, request_len, MSG_NOSIGNAL) == (ssize_t)request_len ? 0 : -1;
}

/* A step of the way to the first request. 0 or -1; *ret_out: the socket has to take more first. */
static int conn_secure(struct conn *conn, bool *ret_out)
{
	int ret = tls_handshake(conn, ret_out);

	return ret > 0 ? conn_ask(conn) : ret;
}

static int bind_source(const struct conn *conn)
{
	unsigned int nth = conn->number % source_count;
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(0x7f010001u + nth)};
	int on = 1;

	/* Without this each bind would take a port from all servers at once. */
	(void)setsockopt(conn->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(conn->fd, (struct sockaddr *)&addr, sizeof(addr));
}

static void conn_open(struct conn *conn)
{
	int on = 1;

	conn->start_ns = now_ns();
	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (conn->fd < 0) {
		totals.connect_errors++;
		if (warming)
			warm_one();
		return;
	}
	open_count++;
	conn->connecting = conn->securing = conn->answered = false;
	if (!closing || tls)
		(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (source_count && bind_source(conn))
		goto fail;
	if (connect(conn->fd, (struct sockaddr *)&server, sizeof(server)) && errno != EINPROGRESS)
		goto fail;
	/* Over loopback the handshake is mostly through already. */
	if (tls) {
		if (tls_begin(conn) || conn_secure(conn, &conn->connecting) < 0)
			goto fail;
	} else if (conn_ask(conn) < 0) {
		if (errno != EAGAIN && errno != ENOTCONN && errno != EINPROGRESS)
			goto fail;
		conn->connecting = true;
	}
	if (conn_watch(conn, EPOLL_CTL_ADD, conn->connecting) == 0)
		return;
fail:
	totals.connect_errors++;
	conn_close(conn);
}

/* All that have an answer wait for the word, which somebody gives who looks at a clock before it.
 */
static void warm_one(void)
{
	char line[8];

	if (--warming_count)
		return;
	warming = false;
	printf("warm\n");
	(void)fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		fprintf(stderr, "load_http: nobody gave the word\n"); /* go on all the same */
	totals.requests = totals.bytes = 0;
	memset(latency, 0, sizeof(latency));
	latency_max_ns = 0;
	start_ns = now_ns();
	end_ns = start_ns + (uint64_t)(run_seconds * 1e9);
	for (unsigned int i = 0; i < conn_count; i++) {
		if (conns[i].fd < 0 || !conns[i].answered)
			continue;
		conns[i].start_ns = start_ns;
		if (conn_ask(&conns[i]) < 0) {
			totals.early_ends++;
			conn_close(&conns[i]);
		}
	}
}

static void conn_answered(struct conn *conn)
{
	uint64_t now = now_ns(), took_ns = now - conn->start_ns;

	conn->answered = true;
	conn->checked = true;
	if (resuming)
		tls_keep_session(conn);
	/* What is answered after the time is up counts too: its work was done. */
	totals.requests++;
	latency[bucket_of(took_ns)]++;
	latency_max_ns = MAX(latency_max_ns, took_ns);
	conn->start_ns = now;
	if (closing)
		return; /* the end of the stream comes next */
	if (warming)
		warm_one();
	else if (now >= end_ns)
		conn_close(conn);
	else if (conn_ask(conn) < 0) {
		totals.early_ends++;
		conn_close(conn);
	}
}

static void take_body(struct conn *conn, const char *bytes, size_t len)
{
	if (bytes) {
		for (size_t i = 0; i < len && !totals.bad_content; i++)
			totals.bad_content += bytes[i] != 'a' + (conn->offset + (int64_t)i) % 23;
	}
	conn->offset += (int64_t)len;
	conn->left_bytes -= (int64_t)len;
	totals.bytes += len;
	if (conn->left_bytes < 0)
		totals.bad_length++;
	if (conn->left_bytes <= 0)
		conn_answered(conn);
}

/* False: not a good answer. */
static bool read_head(struct conn *conn, size_t *ret_len, bool *ret_whole)
{
	char *end, *field;

	conn->head[conn->head_bytes] = '\0';
	end = strstr(conn->head, "\r\n\r\n");
	*ret_whole = end != NULL;
	if (!end)
		return conn->head_bytes < HEAD_MAX;
	end[2] = '\0';
	if (strncmp(conn->head, "HTTP/1.1 200 ", 13)) {
		totals.bad_status++;
		return false;
	}
	field = strcasestr(conn->head, "\r\nContent-Length:");
	if (!field) {
		totals.bad_length++;
		return false;
	}
	conn->left_bytes = strtoll(field + 17, NULL, 10);
	if (expected_bytes >= 0 && conn->left_bytes != expected_bytes) {
		totals.bad_length++;
		return false;
	}
	*ret_len = (size_t)(end + 4 - conn->head);
	return true;
}

/* False: the connection is at its end. */
static bool take_head(struct conn *conn, ssize_t got)
{
	size_t len = 0, rest;
	bool whole;

	conn->head_bytes += (size_t)got;
	totals.bytes += (uint64_t)got;
	if (!read_head(conn, &len, &whole))
		return false;
	if (!whole)
		return true;
	rest = conn->head_bytes - len;
	conn->in_body = true;
	totals.bytes -= rest;
	take_body(conn, expected_bytes < 0 ? NULL : conn->head + len, rest);
	return true;
}

static void conn_ended(struct conn *conn)
{
	bool again = closing && now_ns() < end_ns;

	if (!conn->answered)
		totals.early_ends++;
	conn_close(conn);
	if (again)
		conn_open(conn);
}

static bool go_on_securing(struct conn *conn)
{
	bool out;

	if (conn_secure(conn, &out) < 0) {
		totals.tls_errors++;
		conn_close(conn);
	}
	return conn->fd >= 0 && !conn->securing;
}

static ssize_t conn_recv(struct conn *conn, char *data, size_t len, bool drop)
{
	if (conn->ssl)
		return tls_recv(conn, data, len);
	return recv(conn->fd, data, len, drop ? MSG_TRUNC : 0);
}

/* False: there is no more to be read now. */
static bool on_input(struct conn *conn)
{
	bool drop = conn->in_body && (conn->checked || expected_bytes < 0);
	bool head = !conn->in_body && !conn->answered;
	ssize_t got = head ? conn_recv(conn, conn->head + conn->head_bytes,
				       HEAD_MAX - conn->head_bytes, false)
			   : conn_recv(conn, scratch, sizeof(scratch), drop);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0) {
		conn_ended(conn);
		return false;
	}
	if (conn->answered) {
		totals.bad_length++;
		conn_close(conn);
	} else if (!head) {
		take_body(conn, drop ? NULL : scratch, (size_t)got);
	} else if (!take_head(conn, got)) {
		conn_close(conn);
	}
	return conn->ssl != NULL;
}

static void on_output(struct conn *conn)
{
	int error = 0;
	socklen_t len = sizeof(error);

	(void)getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error || (conn->ssl ? conn_secure(conn, &conn->connecting) : conn_ask(conn)) < 0) {
		totals.connect_errors++;
		conn_close(conn);
		return;
	}
	conn->connecting = false;
	(void)conn_watch(conn, EPOLL_CTL_MOD, false);
}

/* ---- the run ---- */

static void run(void)
{
	struct epoll_event events[256];

	for (unsigned int i = 0; i < conn_count; i++) {
		conns[i].number = i;
		conns[i].fd = -1;
	}
	for (unsigned int i = 0; i < conn_count; i++)
		conn_open(&conns[i]);
	while (open_count) {
		int ready = epoll_wait(epoll_fd, events, ARRAY_SIZE(events), 100);

		for (int i = 0; i < ready; i++) {
			struct conn *conn = events[i].data.ptr;

			if (conn->fd < 0)
				continue;
			if (conn->connecting) {
				on_output(conn);
				continue;
			}
			if (conn->securing && !go_on_securing(conn))
				continue;
			while (on_input(conn))
				;
		}
		if (now_ns() > end_ns + DRAIN_NS) {
			totals.timeouts += open_count;
			return;
		}
	}
}

static int report(double seconds)
{
	uint64_t errors = totals.connect_errors + totals.early_ends + totals.bad_status +
			  totals.bad_length + totals.bad_content + totals.timeouts +
			  totals.tls_errors;

	printf("{\"requests\": %llu, \"bytes\": %llu, \"seconds\": %.6f, "
	       "\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, \"errors\": {",
	       (unsigned long long)totals.requests, (unsigned long long)totals.bytes, seconds,
	       percentile_us(0.5), percentile_us(0.99), (double)latency_max_ns / 1000);
	printf("\"connect\": %llu, \"early_end\": %llu, \"status\": %llu, \"length\": %llu, "
	       "\"content\": %llu, \"timeout\": %llu, \"tls\": %llu}, \"full_handshakes\": %llu, "
	       "\"resumed_handshakes\": %llu}\n",
	       (unsigned long long)totals.connect_errors, (unsigned long long)totals.early_ends,
	       (unsigned long long)totals.bad_status, (unsigned long long)totals.bad_length,
	       (unsigned long long)totals.bad_content, (unsigned long long)totals.timeouts,
	       (unsigned long long)totals.tls_errors, (unsigned long long)totals.full,
	       (unsigned long long)totals.resumed);
	return errors || !totals.requests;
}

static bool read_options(int *argc, char ***argv)
{
	while (*argc > 1 && !strncmp((*argv)[1], "--", 2)) {
		const char *option = (*argv)[1];

		if (!strcmp(option, "--close")) {
			closing = true;
		} else if (!strcmp(option, "--tls")) {
			tls = make_tls();
			if (!tls)
				return false;
		} else if (!strcmp(option, "--resume")) {
			resuming = true;
		} else if (!strcmp(option, "--field") && *argc > 2) {
			size_t len = strlen(more_fields);

			(void)snprintf(more_fields + len, sizeof(more_fields) - len, "%s\r\n",
				       (*argv)[2]);
			(*argc)--;
			(*argv)++;
		} else if (!strcmp(option, "--warm")) {
			warming = true;
		} else if (!strcmp(option, "--sources") && *argc > 2) {
			source_count = (unsigned int)MIN(strtoul((*argv)[2], NULL, 10), 60000ul);
			(*argc)--;
			(*argv)++;
		} else {
			return false;
		}
		(*argc)--;
		(*argv)++;
	}
	return *argc == 8 && (tls || !resuming) && !(warming && closing);
}

int main(int argc, char **argv)
{
	if (!read_options(&argc, &argv)) {
		fprintf(stderr,
			"usage: load_http [--close] [--tls] [--resume] [--warm] [--sources N] "
			"[--field TEXT]... ADDRESS PORT PATH HOST BYTES CONNECTIONS SECONDS\n");
		return 2;
	}
	server = (struct sockaddr_in){.sin_family = AF_INET,
				      .sin_port = htons((uint16_t)atoi(argv[2]))};
	expected_bytes = atoll(argv[5]);
	host = argv[4];
	conn_count = warming_count = (unsigned int)strtoul(argv[6], NULL, 10);
	run_seconds = strtod(argv[7], NULL);
	request_len = (size_t)snprintf(request, sizeof(request),
				       "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: load_http\r\n"
				       "Accept: */*\r\n%s%s\r\n",
				       argv[3], argv[4], more_fields,
				       closing ? "Connection: close\r\n" : "");
	conns = calloc(conn_count, sizeof(*conns));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1 || !conn_count || !conns ||
	    epoll_fd < 0 || request_len >= sizeof(request)) {
		fprintf(stderr, "load_http: bad arguments\n");
		return 2;
	}
	start_ns = now_ns();
	end_ns = start_ns + (uint64_t)(run_seconds * 1e9);
	run();
	return report((double)(now_ns() - start_ns) / 1e9);
}
