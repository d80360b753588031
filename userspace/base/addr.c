#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#define QUOTED_MAX 96

static unsigned int family_bits(uint8_t family)
{
	return family == AF_INET ? 32 : 128;
}

int ip_addr_parse(struct str text, struct ip_addr *ret_addr)
{
	struct ip_addr addr = {0};
	char buf[INET6_ADDRSTRLEN];
	int r;

	r = str_to_cstr(text, buf, sizeof(buf));
	if (r)
		return -EINVAL;
	addr.family = str_find_byte(text, ':') >= 0 ? AF_INET6 : AF_INET;
	if (inet_pton(addr.family, buf, addr.bytes) != 1)
		return -EINVAL;
	*ret_addr = addr;
	return 0;
}

void ip_addr_unmap(struct ip_addr *addr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

	if (addr->family != AF_INET6 || memcmp(addr->bytes, mapped, sizeof(mapped)))
		return;
	addr->family = AF_INET;
	memcpy(addr->bytes, addr->bytes + 12, 4);
	memset(addr->bytes + 4, 0, 12);
}

/* Clears the bits after the first `bits`; true when one of them was set. */
static bool clear_host_bits(struct ip_addr *addr, unsigned int bits)
{
	bool found = false;

	for (unsigned int i = 0; i < family_bits(addr->family) / 8; i++) {
		unsigned int kept = bits > 8 * i ? MIN(bits - 8 * i, 8u) : 0;
		uint8_t mask = (uint8_t)(0xff00u >> kept);

		if (addr->bytes[i] & (uint8_t)~mask)
			found = true;
		addr->bytes[i] &= mask;
	}
	return found;
}

int ip_prefix_parse(struct str text, struct ip_prefix *ret_prefix, struct error *err)
{
	char quoted[QUOTED_MAX], hint[ADDR_TEXT_MAX];
	ptrdiff_t slash = str_find_byte(text, '/');
	struct ip_prefix prefix = {0};
	uint64_t bits;

	if (ip_addr_parse(slash < 0 ? text : str_sub(text, 0, (size_t)slash), &prefix.addr))
		return error_set(err, -EINVAL, "%s is not an address or a prefix",
				 str_quote(text, quoted, sizeof(quoted)));
	bits = family_bits(prefix.addr.family);
	if (slash >= 0) {
		struct str digits = str_sub(text, (size_t)slash + 1, text.len);
		uint64_t most = bits;

		if (str_to_u64(digits, &bits) || bits > most ||
		    (digits.len > 1 && digits.ptr[0] == '0'))
			return error_set(err, -EINVAL, "%s: the prefix length must be 0 to %u",
					 str_quote(text, quoted, sizeof(quoted)),
					 (unsigned int)most);
	}
	prefix.bits = (uint8_t)bits;
	if (clear_host_bits(&prefix.addr, prefix.bits))
		return error_set(err, -EINVAL, "%s has host bits set; did you mean '%s'?",
				 str_quote(text, quoted, sizeof(quoted)),
				 ip_prefix_format(&prefix, hint, sizeof(hint)));
	*ret_prefix = prefix;
	return 0;
}

bool ip_addr_equal(const struct ip_addr *left, const struct ip_addr *right)
{
	return left->family == right->family &&
	       !memcmp(left->bytes, right->bytes, sizeof(left->bytes));
}

bool ip_prefix_contains(const struct ip_prefix *prefix, const struct ip_addr *addr)
{
	struct ip_addr network = *addr;

	if (!addr->family || addr->family != prefix->addr.family)
		return false;
	(void)clear_host_bits(&network, prefix->bits);
	return !memcmp(network.bytes, prefix->addr.bytes, sizeof(network.bytes));
}

/* Once a request: inet_ntop() takes several times as long. */
static void format_ipv4(const uint8_t bytes[4], char *out)
{
	for (unsigned int i = 0; i < 4; i++) {
		unsigned int byte = bytes[i];

		if (i)
			*out++ = '.';
		if (byte >= 100)
			*out++ = (char)('0' + byte / 100);
		if (byte >= 10)
			*out++ = (char)('0' + byte / 10 % 10);
		*out++ = (char)('0' + byte % 10);
	}
	*out = '\0';
}

const char *ip_addr_format(const struct ip_addr *addr, char *buf, size_t buf_len)
{
	if (!buf_len)
		return buf;
	if (addr->family == AF_INET && buf_len >= INET_ADDRSTRLEN) {
		format_ipv4(addr->bytes, buf);
		return buf;
	}
	if (!addr->family)
		(void)snprintf(buf, buf_len, "none");
	else if (!inet_ntop(addr->family, addr->bytes, buf, (socklen_t)buf_len))
		buf[0] = '\0';
	return buf;
}

const char *ip_prefix_format(const struct ip_prefix *prefix, char *buf, size_t buf_len)
{
	char text[INET6_ADDRSTRLEN];

	(void)snprintf(buf, buf_len, "%s/%u", ip_addr_format(&prefix->addr, text, sizeof(text)),
		       prefix->bits);
	return buf;
}

struct sock_addr sock_addr_make(const struct ip_addr *addr, uint16_t port)
{
	struct sock_addr made = {.len = 0};

	if (addr->family == AF_INET) {
		made.in.sin_family = AF_INET;
		made.in.sin_port = htons(port);
		memcpy(&made.in.sin_addr, addr->bytes, sizeof(made.in.sin_addr));
		made.len = sizeof(made.in);
	} else if (addr->family == AF_INET6) {
		made.in6.sin6_family = AF_INET6;
		made.in6.sin6_port = htons(port);
		memcpy(&made.in6.sin6_addr, addr->bytes, sizeof(made.in6.sin6_addr));
		made.len = sizeof(made.in6);
	}
	return made;
}

static int unix_addr_parse(struct str path, struct sock_addr *ret_addr, struct error *err)
{
	struct sock_addr made = {.un = {.sun_family = AF_UNIX}};
	int r;

	if (str_is_empty(path))
		return error_set(err, -EINVAL, "'unix:' needs a path after it");
	r = str_to_cstr(path, made.un.sun_path, sizeof(made.un.sun_path));
	if (r == -ENAMETOOLONG)
		return error_set(err, -EINVAL, "the socket path is longer than %zu bytes",
				 sizeof(made.un.sun_path) - 1);
	if (r)
		return error_set(err, -EINVAL, "the socket path has a NUL in it");
	made.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
	*ret_addr = made;
	return 0;
}

int sock_addr_parse(struct str text, struct sock_addr *ret_addr, struct error *err)
{
	struct str host = text, port_text = STR_NULL;
	char quoted[QUOTED_MAX];
	struct ip_addr addr;
	ptrdiff_t at;
	uint64_t port;
	bool bracketed;

	if (str_starts_with(text, STR("unix:")))
		return unix_addr_parse(str_sub(text, 5, text.len), ret_addr, err);

	(void)str_quote(text, quoted, sizeof(quoted));
	bracketed = text.len && text.ptr[0] == '[';
	if (bracketed) {
		at = str_find_byte(text, ']');
		if (at > 0) {
			struct str rest = str_sub(text, (size_t)at + 1, text.len);

			host = str_sub(text, 1, (size_t)at - 1);
			if (str_starts_with(rest, STR(":")))
				port_text = str_sub(rest, 1, rest.len);
		}
	} else {
		at = str_find_byte(text, ':');
		if (at >= 0) {
			host = str_sub(text, 0, (size_t)at);
			port_text = str_sub(text, (size_t)at + 1, text.len);
			if (str_find_byte(port_text, ':') >= 0)
				return error_set(err, -EINVAL,
						 "%s: write an IPv6 address with its port as "
						 "'[ADDRESS]:PORT'",
						 quoted);
		}
	}
	if (!port_text.ptr)
		return error_set(err, -EINVAL, "%s has no port; expected 'ADDRESS:PORT'", quoted);
	if (ip_addr_parse(host, &addr) || bracketed != (addr.family == AF_INET6))
		return error_set(err, -EINVAL, "%s: not an IP address before the port", quoted);
	if (str_to_u64(port_text, &port) || port > UINT16_MAX)
		return error_set(err, -EINVAL, "%s: the port must be 0 to 65535", quoted);
	*ret_addr = sock_addr_make(&addr, (uint16_t)port);
	return 0;
}

const char *sock_addr_format(const struct sock_addr *addr, char *buf, size_t buf_len)
{
	char text[INET6_ADDRSTRLEN];
	struct ip_addr ip;

	if (addr->len > offsetof(struct sockaddr_un, sun_path) && addr->any.sa_family == AF_UNIX) {
		size_t room = addr->len - offsetof(struct sockaddr_un, sun_path);

		(void)snprintf(buf, buf_len, "unix:%.*s", (int)room, addr->un.sun_path);
		return buf;
	}
	ip = sock_addr_ip(addr);
	if (!ip.family) {
		/* A client that did not bind its Unix socket has no path. */
		(void)snprintf(buf, buf_len, "%s",
			       addr->len && addr->any.sa_family == AF_UNIX ? "unix:" : "none");
		return buf;
	}
	(void)ip_addr_format(&ip, text, sizeof(text));
	(void)snprintf(buf, buf_len, ip.family == AF_INET6 ? "[%s]:%u" : "%s:%u", text,
		       sock_addr_port(addr));
	return buf;
}

struct ip_addr sock_addr_ip(const struct sock_addr *addr)
{
	struct ip_addr ip = {0};

	if (!addr->len)
		return ip;
	if (addr->any.sa_family == AF_INET) {
		ip.family = AF_INET;
		memcpy(ip.bytes, &addr->in.sin_addr, 4);
	} else if (addr->any.sa_family == AF_INET6) {
		const uint8_t *bytes = addr->in6.sin6_addr.s6_addr;

		if (IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr)) {
			ip.family = AF_INET;
			memcpy(ip.bytes, bytes + 12, 4);
		} else {
			ip.family = AF_INET6;
			memcpy(ip.bytes, bytes, 16);
		}
	}
	return ip;
}

uint16_t sock_addr_port(const struct sock_addr *addr)
{
	if (addr->len && addr->any.sa_family == AF_INET)
		return ntohs(addr->in.sin_port);
	if (addr->len && addr->any.sa_family == AF_INET6)
		return ntohs(addr->in6.sin6_port);
	return 0;
}
