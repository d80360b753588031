#include "http/request_target.h"

#include <errno.h>

#include "http/downstream.h"
#include "http/path.h"

/*
 * Host without port and final dot, in lower case: a view when it is that already. NULL ptr: out of
 * memory.
 */
struct str request_host_for_routing(struct arena *arena, struct str host)
{
	ptrdiff_t colon = -1;
	char *lower = NULL;

	if (!host.len)
		return STR("");
	for (size_t i = host.len; i > 0 && host.ptr[i - 1] != ']'; i--) {
		if (host.ptr[i - 1] == ':')
			colon = (ptrdiff_t)i - 1;
	}
	if (colon >= 0)
		host.len = (size_t)colon;
	/* "a.example." is a.example, said with all its labels (RFC 1034 3.1). */
	if (host.len > 1 && host.ptr[host.len - 1] == '.')
		host.len--;
	for (size_t i = 0; i < host.len; i++) {
		if (host.ptr[i] < 'A' || host.ptr[i] > 'Z')
			continue;
		lower = arena_alloc_bytes(arena, host.len);
		if (!lower)
			return STR_NULL;
		for (size_t j = 0; j < host.len; j++)
			lower[j] = ascii_lower(host.ptr[j]);
		return str_make(lower, host.len);
	}
	return host;
}

uint16_t request_target_split(struct exchange *exchange, const char **ret_reason)
{
	struct str target = exchange->request.target;
	ptrdiff_t at;
	int ret;

	*ret_reason = "malformed or ambiguous path";
	if (target.len && target.ptr[0] != '/' && target.ptr[0] != '*') {
		/* absolute-form (RFC 9112 3.2.2); its authority agrees with Host, the codec saw to
		 * it */
		const char *authority = memmem(target.ptr, target.len, "://", 3);
		size_t start, slash;

		if (!authority)
			return 400;
		/* RFC 9110 7.4: who asks for https must have got here by TLS. */
		if (ascii_lower(authority[-1]) == 's' && !exchange->connection->origin_tls) {
			*ret_reason = "https was asked for on a connection without TLS";
			return 421;
		}
		start = (size_t)(authority - target.ptr) + 3;
		for (slash = start;
		     slash < target.len && target.ptr[slash] != '/' && target.ptr[slash] != '?';
		     slash++)
			;
		if (!exchange->request.host.ptr)
			exchange->request.host = str_sub(target, start, slash - start);
		target = str_sub(target, slash, target.len - slash);
	}
	at = str_find_byte(target, '?');
	if (at >= 0) {
		exchange->query = str_sub(target, (size_t)at, target.len - (size_t)at);
		target.len = (size_t)at;
	}
	if (!target.len || str_eq(target, STR("*")))
		target = STR("/"); /* OPTIONS * is routed like the root and forwarded as it is */
	ret = path_canonicalise_flagged(target, &exchange->arena, &exchange->path,
					&exchange->path_ambiguous);
	if (ret < 0)
		return ret == -ENOMEM ? 503 : 400;
	return 0;
}
