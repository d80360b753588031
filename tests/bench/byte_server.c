/*
 * The backend of the benchmarks: GET /bytes/N is answered with N bytes, over keep-alive, as cheaply
 * as one thread can. Byte i of every body is 'a' + i % 23, so that whoever reads it can tell a
 * shifted, repeated or mixed-up body from the right one.
 *
 * usage: byte_server ADDRESS PORT        prints "listening" when it is; ends on SIGTERM
 *
 * Small bodies go with their head in one send, big ones by sendfile from memory: what is measured
 * is the proxy in front, and the CPU this program takes is not there for it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define BODY_MAX       ((size_t)8 << 20)
#define SENDFILE_ABOVE 8192u
#define HEAD_ROOM      8192u
#define ANSWER_HEAD    160u

struct client {
	int fd;
	size_t have_bytes;
	size_t left_bytes; /* of the body that is being sent by sendfile */
	off_t offset;
	bool closes, waits_for_room;
	char request[HEAD_ROOM];
};

static const char *body;
static int body_fd;
static int epoll_fd;

static void client_free(struct client *client)
{
	(void)close(client->fd);
	free(client);
}

static int want(struct client *client, bool room)
{
	struct epoll_event event = {.events = room ? EPOLLOUT : EPOLLIN, .data.ptr = client};

	if (client->waits_for_room == room)
		return 0;
	client->waits_for_room = room;
	return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, client->fd, &event);
}

/* The number after "/bytes/" of a whole head, or -1. */
static long long wanted_bytes(const char *head)
{
	const char *line_end = strchr(head, '\r');
	const char *found = strstr(head, "/bytes/");
	long long bytes;

	if (!found || found > line_end)
		return -1;
	bytes = strtoll(found + strlen("/bytes/"), NULL, 10);
	return bytes < 0 || (size_t)bytes > BODY_MAX ? -1 : bytes;
}

/* 1: all is out. 0: the socket is full. Negative: gone. */
static int send_file_part(struct client *client)
{
	while (client->left_bytes) {
		ssize_t sent = sendfile(client->fd, body_fd, &client->offset, client->left_bytes);

		if (sent < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (sent <= 0)
			return -EPIPE;
		client->left_bytes -= (size_t)sent;
	}
	return 1;
}

static int answer(struct client *client, const char *head)
{
	long long bytes = wanted_bytes(head);
	char room[ANSWER_HEAD + SENDFILE_ABOVE];
	bool small = bytes <= (long long)SENDFILE_ABOVE;
	size_t len;

	client->closes = strcasestr(head, "\r\nConnection: close\r\n") != NULL;
	if (bytes < 0)
		len = (size_t)snprintf(room, ANSWER_HEAD,
				       "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
	else
		len = (size_t)snprintf(room, ANSWER_HEAD,
				       "HTTP/1.1 200 OK\r\nServer: bytes\r\n"
				       "Content-Type: application/octet-stream\r\n"
				       "Content-Length: %lld\r\n%s\r\n",
				       bytes, client->closes ? "Connection: close\r\n" : "");
	if (bytes > 0 && small) {
		memcpy(room + len, body, (size_t)bytes);
		len += (size_t)bytes;
	}
	/* One answer at a time on a connection: its socket has room for this. */
	if (send(client->fd, room, len, MSG_NOSIGNAL | (small ? 0 : MSG_MORE)) != (ssize_t)len)
		return -EPIPE;
	if (small)
		return 1;
	client->left_bytes = (size_t)bytes;
	client->offset = 0;
	return send_file_part(client);
}

/* 0 or negative: the connection is at its end. */
static int serve(struct client *client)
{
	int result = 1;

	while (result > 0) {
		char *end;

		client->request[client->have_bytes] = '\0';
		end = strstr(client->request, "\r\n\r\n");
		if (!end)
			return want(client, false);
		end[2] = '\0';
		result = answer(client, client->request);
		if (result > 0 && client->closes)
			return -EPIPE;
		end += 4;
		client->have_bytes -= (size_t)(end - client->request);
		memmove(client->request, end, client->have_bytes);
	}
	return result < 0 ? result : want(client, true);
}

static int on_event(struct client *client)
{
	ssize_t got;
	int result;

	if (client->waits_for_room) {
		result = send_file_part(client);
		if (result <= 0)
			return result;
		return client->closes ? -EPIPE : serve(client);
	}
	got = recv(client->fd, client->request + client->have_bytes,
		   HEAD_ROOM - 1 - client->have_bytes, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (got <= 0)
		return -EPIPE;
	client->have_bytes += (size_t)got;
	return serve(client);
}

static void accept_all(int listen_fd)
{
	for (;;) {
		int on = 1, fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		struct client *client = fd < 0 ? NULL : calloc(1, sizeof(*client));
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};

		if (!client) {
			if (fd >= 0)
				(void)close(fd);
			return;
		}
		client->fd = fd;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
			client_free(client);
	}
}

static int make_body(void)
{
	char *memory;

	body_fd = memfd_create("body", MFD_CLOEXEC);
	if (body_fd < 0 || ftruncate(body_fd, (off_t)BODY_MAX))
		return -1;
	memory = mmap(NULL, BODY_MAX, PROT_READ | PROT_WRITE, MAP_SHARED, body_fd, 0);
	if (memory == MAP_FAILED)
		return -1;
	for (size_t i = 0; i < BODY_MAX; i++)
		memory[i] = (char)('a' + i % 23);
	body = memory;
	return 0;
}

static int listen_on(const char *address, const char *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &addr.sin_addr) != 1 ||
	    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 4096))
		return -1;
	return fd;
}

int main(int argc, char **argv)
{
	struct epoll_event events[128], listening = {.events = EPOLLIN};
	int listen_fd;

	if (argc != 3) {
		fprintf(stderr, "usage: byte_server ADDRESS PORT\n");
		return 2;
	}
	listen_fd = listen_on(argv[1], argv[2]);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (listen_fd < 0 || epoll_fd < 0 || make_body() ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &listening)) {
		perror("byte_server");
		return 1;
	}
	printf("listening\n");
	(void)fflush(stdout);
	for (;;) {
		int count = epoll_wait(epoll_fd, events, ARRAY_SIZE(events), -1);

		for (int i = 0; i < count; i++) {
			struct client *client = events[i].data.ptr;

			if (!client)
				accept_all(listen_fd);
			else if (on_event(client) < 0)
				client_free(client);
		}
	}
}
