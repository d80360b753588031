#include "base/addr.h"
#include "proto/http1/gate.h"
#include "proto/http_bytes.h"

#define PORT_DIGITS_MAX	    5
#define HOST_NAME_BYTES_MAX 254 /* RFC 1035 3.1, and a final dot */

/*
 * Length of the IP literal or name at the front; 0: none or malformed. RFC 3986 3.2.2 would let
 * "%41", "a,b" or "a;b=c" be names, too; no host in use has one, and who reads lists in
 * X-Forwarded-Host or decodes escapes would see another host than we do (HARDENING 7).
 */
static size_t host_span(struct str text)
{
	struct ip_addr addr;
	size_t len = 0;

	if (text.len && text.ptr[0] == '[') {
		ptrdiff_t close = str_find_byte(text, ']');

		/* RFC 9110 leaves room for IPvFuture, which nobody has assigned. */
		if (close < 0 || ip_addr_parse(str_sub(text, 1, (size_t)close - 1), &addr) ||
		    str_find_byte(str_sub(text, 1, (size_t)close - 1), ':') < 0)
			return 0;
		return (size_t)close + 1;
	}
	for (; len < text.len && http_byte_is(text.ptr[len], HTTP_BYTE_HOST); len++)
		if (text.ptr[len] == '.' && (len == 0 || text.ptr[len - 1] == '.'))
			return 0; /* an empty label; a final dot makes none */
	return len <= HOST_NAME_BYTES_MAX ? len : 0;
}

bool http1_authority_parse(struct str text, struct http1_authority *ret_authority)
{
	struct http1_authority authority = {.host = {text.ptr, host_span(text)}};
	struct str port = str_sub(text, authority.host.len, text.len);
	uint64_t number;

	if (str_is_empty(authority.host))
		return false;
	if (!str_is_empty(port)) {
		/* An empty port is in the grammar, but readers disagree on what it means; of 0 and
		 * of leading zeros the same can be said. */
		if (port.ptr[0] != ':' || port.len < 2 || port.len > 1 + PORT_DIGITS_MAX ||
		    port.ptr[1] == '0' || str_to_u64(str_sub(port, 1, port.len), &number) ||
		    number > UINT16_MAX)
			return false;
		authority.has_port = true;
		authority.port = (uint16_t)number;
	}
	*ret_authority = authority;
	return true;
}

/* Scheme (RFC 9110 4.2) and its default port. */
static uint16_t cut_scheme(struct str *target)
{
	static const struct {
		struct str prefix;
		uint16_t port;
	} schemes[] = {{{"http://", 7}, 80}, {{"https://", 8}, 443}};

	for (size_t i = 0; i < ARRAY_SIZE(schemes); i++) {
		size_t len = schemes[i].prefix.len;

		if (str_eq_nocase(str_sub(*target, 0, len), schemes[i].prefix)) {
			*target = str_sub(*target, len, target->len);
			return schemes[i].port;
		}
	}
	return 0;
}

static size_t authority_span(struct str rest)
{
	size_t len = 0;

	while (len < rest.len && rest.ptr[len] != '/' && rest.ptr[len] != '?')
		len++;
	return len;
}

int http1_target_check(const struct http_head *head)
{
	struct str target = head->target;
	struct http1_authority asked, host;
	uint16_t default_port;
	bool is_connect = head->method_id == HTTP_METHOD_CONNECT;

	if (head->host.ptr && !http1_authority_parse(head->host, &host))
		return -HTTP1_E_HOST_INVALID;
	if (is_connect) {
		/* RFC 9110 9.3.6: host and port, there is no default. */
		if (!http1_authority_parse(target, &asked) || !asked.has_port)
			return -HTTP1_E_TARGET;
		default_port = asked.port;
	} else {
		if (target.ptr[0] == '/')
			return 0;
		if (target.len == 1 && target.ptr[0] == '*')
			return head->method_id == HTTP_METHOD_OPTIONS ? 0 : -HTTP1_E_TARGET;
		default_port = cut_scheme(&target);
		if (!default_port ||
		    !http1_authority_parse(str_sub(target, 0, authority_span(target)), &asked))
			return -HTTP1_E_TARGET;
	}
	if (!head->host.ptr)
		return 0;
	/*
	 * RFC 9112 3.2.2 lets the target win, but whoever comes after us may look at Host
	 * (HARDENING 7).
	 */
	if (!str_eq_nocase(asked.host, host.host) ||
	    (asked.has_port ? asked.port : default_port) !=
		    (host.has_port ? host.port : default_port))
		return -HTTP1_E_HOST_INVALID;
	return 0;
}
