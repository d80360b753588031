#include "io/socket_ends.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

/* RFC 791 3.1, RFC 8200 3, RFC 9293 3.1. */
#define IP4_BYTES     20
#define IP6_BYTES     40
#define TCP_BYTES     20
#define SYN_BYTES_MAX 256 /* 60 and 60 with all options; IPv6 may have extension headers before */

static struct ip_addr addr_at(const uint8_t *bytes, uint8_t family)
{
	struct ip_addr addr = {.family = family};

	memcpy(addr.bytes, bytes, family == AF_INET ? 4 : 16);
	return addr;
}

static uint16_t port_at(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

bool socket_ends_of_syn(const uint8_t *headers, size_t len, struct socket_ends *ret_ends)
{
	const uint8_t *tcp;

	if (len >= IP4_BYTES && headers[0] >> 4 == 4) {
		size_t ip_len = (size_t)(headers[0] & 15) * 4;

		if (ip_len < IP4_BYTES || len < ip_len + TCP_BYTES || headers[9] != IPPROTO_TCP)
			return false;
		ret_ends->peer = addr_at(headers + 12, AF_INET);
		ret_ends->local = addr_at(headers + 16, AF_INET);
		tcp = headers + ip_len;
	} else if (len >= IP6_BYTES + TCP_BYTES && headers[0] >> 4 == 6 &&
		   headers[6] == IPPROTO_TCP) {
		ret_ends->peer = addr_at(headers + 8, AF_INET6);
		ret_ends->local = addr_at(headers + 24, AF_INET6);
		tcp = headers + IP6_BYTES;
	} else {
		return false;
	}
	ret_ends->peer_port = port_at(tcp);
	ret_ends->local_port = port_at(tcp + 2);
	return true;
}

static int ask_twice(int fd, struct socket_ends *ret_ends)
{
	struct sock_addr addr = {.len = sizeof(addr) - sizeof(addr.len)};

	if (getsockname(fd, &addr.any, &addr.len) < 0)
		return -errno;
	ret_ends->local = sock_addr_ip(&addr);
	ret_ends->local_port = sock_addr_port(&addr);
	addr.len = sizeof(addr) - sizeof(addr.len);
	if (getpeername(fd, &addr.any, &addr.len) < 0)
		return -errno;
	ret_ends->peer = sock_addr_ip(&addr);
	ret_ends->peer_port = sock_addr_port(&addr);
	return 0;
}

int socket_ends_read(int fd, struct socket_ends *ret_ends)
{
	uint8_t headers[SYN_BYTES_MAX];
	socklen_t len = sizeof(headers);

	/* Linux 4.3; length 0 where none was saved. Where it is too long it stays where it is. */
	if (!getsockopt(fd, IPPROTO_TCP, TCP_SAVED_SYN, headers, &len) && len &&
	    socket_ends_of_syn(headers, len, ret_ends))
		return 0;
	return ask_twice(fd, ret_ends);
}
