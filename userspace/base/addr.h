/*
 * addr: IP addresses, prefixes and socket addresses with their text forms, by value.
 *
 * An address is kept as 16 bytes in network order with its family, so that it compares with
 * memcmp; IPv4 uses the first four bytes, the rest are zero. Text: "192.0.2.1", "2001:db8::1",
 * "192.0.2.0/24", "192.0.2.1:80", "[2001:db8::1]:443", "unix:/path". Thread rule: pure.
 */
#ifndef SLUICE_BASE_ADDR_H
#define SLUICE_BASE_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>

#include "base/error.h"
#include "base/str.h"

#define ADDR_TEXT_MAX 128 /* any text form below, NUL included */

struct ip_addr {
	uint8_t family; /* AF_INET, AF_INET6; 0: none */
	uint8_t bytes[16];
};

struct ip_prefix {
	struct ip_addr addr; /* host bits are zero */
	uint8_t bits;
};

/* A place to connect to or to listen on. */
struct sock_addr {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t len;
};

int ip_addr_parse(struct str text, struct ip_addr *ret_addr);
/* A bare address is a /32 or /128. With host bits set: -EINVAL. */
int ip_prefix_parse(struct str text, struct ip_prefix *ret_prefix, struct error *err);
/* "::ffff:192.0.2.1" becomes 192.0.2.1; any other address stays. */
void ip_addr_unmap(struct ip_addr *addr);
bool ip_addr_equal(const struct ip_addr *left, const struct ip_addr *right);
bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *addr);
const char *ip_addr_format(const struct ip_addr *addr, char *buf, size_t buf_len);
/* Always with its length: "192.0.2.1/32". */
const char *ip_prefix_format(const struct ip_prefix *prefix, char *buf, size_t buf_len);

/* "ADDRESS:PORT", "[ADDRESS]:PORT" or "unix:PATH". */
int sock_addr_parse(struct str text, struct sock_addr *ret_addr, struct error *err);
struct sock_addr sock_addr_make(const struct ip_addr *addr, uint16_t port);
const char *sock_addr_format(const struct sock_addr *addr, char *buf, size_t buf_len);
/* family 0 for Unix sockets. IPv4-mapped IPv6 comes out as IPv4. */
struct ip_addr sock_addr_ip(const struct sock_addr *addr);
uint16_t sock_addr_port(const struct sock_addr *addr);

#endif
