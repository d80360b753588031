#include "http/hiding.h"

#include "http/exchange.h"
#include "http/forwarding.h"

/* In the order of their bits in route->proxy.exposed. */
static const uint8_t exposable[] = {
	HTTP_FIELD_LOCATION,
	HTTP_FIELD_CONTENT_LOCATION,
	HTTP_FIELD_REFRESH,
	HTTP_FIELD_LINK,
	HTTP_FIELD_SET_COOKIE,
	HTTP_FIELD_SERVER,
	HTTP_FIELD_VIA,
	HTTP_FIELD_ALT_SVC,
	HTTP_FIELD_X_POWERED_BY,
	HTTP_FIELD_X_ASPNET_VERSION,
	HTTP_FIELD_X_ASPNETMVC_VERSION,
	HTTP_FIELD_X_RUNTIME,
	HTTP_FIELD_X_GENERATOR,
	HTTP_FIELD_X_BACKEND,
	HTTP_FIELD_X_BACKEND_SERVER,
	HTTP_FIELD_X_UPSTREAM,
	HTTP_FIELD_X_SERVER,
	HTTP_FIELD_X_SERVER_NAME,
	HTTP_FIELD_X_SERVED_BY,
	HTTP_FIELD_X_HOSTNAME,
	HTTP_FIELD_X_VARNISH,
	HTTP_FIELD_X_ENVOY_UPSTREAM_SERVICE_TIME,
	HTTP_FIELD_X_ENVOY_DECORATOR_OPERATION,
};

_Static_assert(ARRAY_SIZE(exposable) < 32, "bits of a uint32_t");

struct str hiding_field_name(unsigned int number)
{
	return number < ARRAY_SIZE(exposable)
		       ? http_field_name((enum http_field_id)exposable[number])
		       : STR_NULL;
}

static bool is_exposed(uint32_t exposed, enum http_field_id id)
{
	for (unsigned int i = 0; exposed && i < ARRAY_SIZE(exposable); i++)
		if (exposable[i] == id)
			return exposed >> i & 1;
	return false;
}

/* ---- authorities ---- */

/* Of a URL that somebody else wrote: taken apart without judging it. */
struct authority {
	struct str host; /* without brackets, userinfo and final dot */
	bool has_port;
	uint16_t port;
};

static struct authority split_authority(struct str text)
{
	struct authority authority = {.has_port = false};
	ptrdiff_t colon = -1, close;
	uint64_t port;

	for (size_t i = text.len; i > 0; i--) {
		if (text.ptr[i - 1] != '@')
			continue;
		text = str_sub(text, i, text.len);
		break;
	}
	close = text.len && text.ptr[0] == '[' ? str_find_byte(text, ']') : -1;
	for (size_t i = text.len; i > (size_t)(close + 1) && colon < 0; i--)
		if (text.ptr[i - 1] == ':')
			colon = (ptrdiff_t)i - 1;
	if (colon >= 0 && !str_to_u64(str_sub(text, (size_t)colon + 1, text.len), &port) &&
	    port <= UINT16_MAX) {
		authority.has_port = true;
		authority.port = (uint16_t)port;
	}
	if (colon >= 0)
		text.len = (size_t)colon;
	if (close > 0)
		text = str_sub(text, 1, (size_t)close - 1);
	if (text.len > 1 && text.ptr[text.len - 1] == '.')
		text.len--;
	authority.host = text;
	return authority;
}

static uint16_t default_port(bool is_https)
{
	return is_https ? 443 : 80;
}

/* An address of an endpoint, whatever the port, or the upstream's name. */
static bool is_internal_host(const struct hiding *hiding, struct str host)
{
	const struct upstream_conf *upstream = hiding->upstream;
	struct ip_addr addr;

	if (str_eq_nocase(host, upstream->name))
		return true;
	if (!host.len || ip_addr_parse(host, &addr))
		return false;
	ip_addr_unmap(&addr);
	for (unsigned int i = 0; i < upstream->endpoint_count; i++) {
		struct ip_addr endpoint = sock_addr_ip(&upstream->endpoints[i].addr);

		if (endpoint.family == addr.family &&
		    !memcmp(endpoint.bytes, addr.bytes, sizeof(addr.bytes)))
			return true;
	}
	return false;
}

static bool is_endpoint_port(const struct hiding *hiding, uint16_t port)
{
	const struct upstream_conf *upstream = hiding->upstream;

	for (unsigned int i = 0; i < upstream->endpoint_count; i++)
		if (sock_addr_port(&upstream->endpoints[i].addr) == port)
			return true;
	return false;
}

/* ---- paths ---- */

/* `prefix` ends in no '/': whole segments are compared. */
static bool is_below(struct str path, struct str prefix)
{
	return str_starts_with(path, prefix) &&
	       (path.len == prefix.len || strchr("/?#", path.ptr[prefix.len]));
}

/*
 * What has to be put in place of the first `*ret_cut` bytes of a path with what follows it. A path
 * that is a public one already stays: applications that know where they are mounted write such.
 */
static struct str map_prefix(const struct hiding *hiding, struct str path, size_t *ret_cut)
{
	struct str from = hiding->upstream_prefix, to = hiding->public_prefix;

	*ret_cut = 0;
	if (str_eq(from, to) || !is_below(path, from) || (!from.len && is_below(path, to)))
		return STR("");
	/* "//x" would be a host. */
	if (!to.len && str_starts_with(str_sub(path, from.len, path.len), STR("//")))
		return STR("");
	*ret_cut = from.len;
	/* "/app" of "/app?x" becomes the root. */
	if (!to.len && (path.len == from.len || path.ptr[from.len] != '/'))
		return STR("/");
	return to;
}

static struct str map_path(const struct hiding *hiding, struct arena *arena, struct str path)
{
	size_t cut;
	struct str prefix = map_prefix(hiding, path, &cut);
	struct str rest = str_sub(path, cut, path.len - cut);

	if (!prefix.len)
		return cut ? rest : path;
	return arena_printf(arena, "%.*s%.*s", STR_FMT(prefix), STR_FMT(rest));
}

/* ---- URLs ---- */

struct url {
	bool has_scheme, is_https;
	struct str authority; /* ptr NULL: none */
	struct str rest;      /* path, query and fragment */
};

/* False: a reference that names no host and no path from the root, or another scheme. */
static bool split_url(struct str text, struct url *ret_url)
{
	struct url url = {.has_scheme = false};
	size_t end = 0;

	if (str_eq_nocase(str_sub(text, 0, 7), STR("http://"))) {
		url.has_scheme = true;
		text = str_sub(text, 5, text.len);
	} else if (str_eq_nocase(str_sub(text, 0, 8), STR("https://"))) {
		url.has_scheme = url.is_https = true;
		text = str_sub(text, 6, text.len);
	}
	if (str_starts_with(text, STR("//"))) {
		text = str_sub(text, 2, text.len);
		while (end < text.len && !strchr("/?#", text.ptr[end]))
			end++;
		url.authority = str_sub(text, 0, end);
		text = str_sub(text, end, text.len);
	} else if (!str_starts_with(text, STR("/"))) {
		return false;
	}
	url.rest = text;
	*ret_url = url;
	return true;
}

enum url_owner { OWNER_OTHER, OWNER_PUBLIC, OWNER_UPSTREAM };

/*
 * Whose URL it is. OWNER_PUBLIC: the client can use it as it stands, but for a rewritten prefix;
 * OWNER_UPSTREAM: it has to be made one of ours.
 */
static enum url_owner find_owner(const struct hiding *hiding, const struct url *url)
{
	struct authority asked = split_authority(url->authority);
	struct authority sent = split_authority(hiding->sent_host);
	struct authority ours = split_authority(hiding->public_host);
	bool public_https = str_eq(hiding->public_scheme, STR("https"));
	bool is_https = url->has_scheme ? url->is_https : public_https;
	uint16_t port = asked.has_port ? asked.port : default_port(is_https);
	uint16_t our_port = ours.has_port ? ours.port : default_port(public_https);

	if (!ours.host.len || !str_eq_nocase(asked.host, ours.host)) {
		if (asked.host.len && str_eq_nocase(asked.host, sent.host))
			return OWNER_UPSTREAM;
		return is_internal_host(hiding, asked.host) ? OWNER_UPSTREAM : OWNER_OTHER;
	}
	if (is_https == public_https && port == our_port)
		return OWNER_PUBLIC;
	/* To send the client to https is meant; the way back is an upstream that sees only http. */
	if (is_https && !public_https)
		return OWNER_OTHER;
	if (port == our_port || port == (sent.has_port ? sent.port : default_port(false)) ||
	    is_endpoint_port(hiding, port))
		return OWNER_UPSTREAM;
	return OWNER_OTHER;
}

static struct str public_url(const struct hiding *hiding, struct arena *arena,
			     const struct url *url)
{
	bool public_https = str_eq(hiding->public_scheme, STR("https"));
	bool to_https = url->has_scheme && url->is_https && !public_https;
	struct str authority = hiding->public_host, scheme = STR(""), rest = url->rest, prefix;
	size_t cut;

	/* For a client who gave no Host a path is all that is known. */
	if ((!authority.len || hiding->public_prefix.len) && !str_starts_with(rest, STR("/")))
		rest = arena_printf(arena, "/%.*s", STR_FMT(rest));
	if (!rest.ptr)
		return STR_NULL;
	prefix = map_prefix(hiding, rest, &cut);
	rest = str_sub(rest, cut, rest.len - cut);
	if (!authority.len) {
		while (!prefix.len && str_starts_with(rest, STR("//")))
			rest = str_sub(rest, 1, rest.len); /* two would be followed by a host */
		return arena_printf(arena, "%.*s%.*s", STR_FMT(prefix), STR_FMT(rest));
	}
	if (to_https) {
		/* Upstreams are spoken to without TLS: it means the client to take it up. */
		struct authority ours = split_authority(authority);
		bool is_v6 = str_find_byte(ours.host, ':') >= 0;

		return arena_printf(arena,
				    is_v6 ? "https://[%.*s]%.*s%.*s" : "https://%.*s%.*s%.*s",
				    STR_FMT(ours.host), STR_FMT(prefix), STR_FMT(rest));
	}
	if (url->has_scheme)
		scheme = public_https ? STR("https:") : STR("http:");
	return arena_printf(arena, "%.*s//%.*s%.*s%.*s", STR_FMT(scheme), STR_FMT(authority),
			    STR_FMT(prefix), STR_FMT(rest));
}

struct str hiding_map_url(const struct hiding *hiding, struct arena *arena, struct str value)
{
	struct url url;
	size_t cut;

	if (!split_url(value, &url))
		return value;
	if (!url.authority.ptr)
		return map_path(hiding, arena, value);
	switch (find_owner(hiding, &url)) {
	case OWNER_OTHER:
		return value;
	case OWNER_PUBLIC:
		if (!map_prefix(hiding, url.rest, &cut).len && !cut)
			return value;
		break;
	case OWNER_UPSTREAM:
		break;
	}
	return public_url(hiding, arena, &url);
}

/* `value` with `text` in place of the bytes from `start` to `end`, if it is not these. */
static struct str splice_in(struct arena *arena, struct str value, size_t start, size_t end,
			    struct str text)
{
	if (!text.ptr || (text.ptr == value.ptr + start && text.len == end - start))
		return text.ptr ? value : STR_NULL;
	return arena_printf(arena, "%.*s%.*s%.*s", (int)start, value.ptr, STR_FMT(text),
			    (int)(value.len - end), value.ptr + end);
}

static struct str map_inside(const struct hiding *hiding, struct arena *arena, struct str value,
			     size_t start, size_t end)
{
	return splice_in(arena, value, start, end,
			 hiding_map_url(hiding, arena, str_sub(value, start, end - start)));
}

static size_t skip_blanks(struct str value, size_t at)
{
	while (at < value.len && (value.ptr[at] == ' ' || value.ptr[at] == '\t'))
		at++;
	return at;
}

/* "5; url=URL", as browsers read it: ',' for ';', quotes or none, "url=" or not. */
struct str hiding_map_refresh(const struct hiding *hiding, struct arena *arena, struct str value)
{
	size_t at = 0, end = value.len;

	while (at < value.len && value.ptr[at] != ';' && value.ptr[at] != ',')
		at++;
	if (at == value.len)
		return value;
	at = skip_blanks(value, at + 1);
	if (str_eq_nocase(str_sub(value, at, 3), STR("url"))) {
		size_t equals = skip_blanks(value, at + 3);

		if (equals < value.len && value.ptr[equals] == '=')
			at = skip_blanks(value, equals + 1);
	}
	if (at < value.len && (value.ptr[at] == '"' || value.ptr[at] == '\'')) {
		const char *quote = memchr(value.ptr + at + 1, value.ptr[at], value.len - at - 1);

		at++;
		if (quote)
			end = (size_t)(quote - value.ptr);
	}
	return map_inside(hiding, arena, value, at, end);
}

/* RFC 8288: "<URL>; rel=next, <URL>". */
struct str hiding_map_link(const struct hiding *hiding, struct arena *arena, struct str value)
{
	bool quoted = false;

	for (size_t at = 0; at < value.len; at++) {
		const char *close;
		size_t tail;

		if (quoted && value.ptr[at] == '\\')
			at++;
		else if (value.ptr[at] == '"')
			quoted = !quoted;
		if (at >= value.len || quoted || value.ptr[at] != '<')
			continue;
		close = memchr(value.ptr + at, '>', value.len - at);
		if (!close)
			break;
		tail = (size_t)(value.ptr + value.len - close);
		value = map_inside(hiding, arena, value, at + 1, value.len - tail);
		if (!value.ptr)
			return value;
		at = value.len - tail;
	}
	return value;
}

/* ---- cookies ---- */

/* A domain that only the upstream's side knows: the client would not take the cookie. */
static bool is_internal_domain(const struct hiding *hiding, struct str domain)
{
	struct str sent = split_authority(hiding->sent_host).host;
	struct str ours = split_authority(hiding->public_host).host;
	const struct {
		struct str host;
		bool internal;
	} sides[] = {{ours, false}, {sent, true}};

	if (domain.len && domain.ptr[0] == '.')
		domain = str_sub(domain, 1, domain.len);
	/* RFC 6265 5.1.3: itself, or a parent of it. */
	for (size_t i = 0; i < ARRAY_SIZE(sides); i++) {
		struct str host = sides[i].host;
		size_t more = host.len > domain.len ? host.len - domain.len : 0;

		if (domain.len && domain.len <= host.len &&
		    str_eq_nocase(str_sub(host, more, host.len), domain) &&
		    (!more || host.ptr[more - 1] == '.'))
			return sides[i].internal;
	}
	return is_internal_host(hiding, split_authority(domain).host);
}

struct str hiding_map_cookie(const struct hiding *hiding, struct arena *arena, struct str value)
{
	ptrdiff_t first = str_find_byte(value, ';');
	size_t at = first < 0 ? value.len : (size_t)first;

	while (at < value.len) {
		struct str rest = str_sub(value, at + 1, value.len);
		ptrdiff_t next = str_find_byte(rest, ';');
		struct str piece = next < 0 ? rest : str_sub(rest, 0, (size_t)next);
		ptrdiff_t equals = str_find_byte(piece, '=');
		size_t end = at + 1 + piece.len;
		struct str name, text;

		if (equals < 0) {
			at = end;
			continue;
		}
		name = str_trim(str_sub(piece, 0, (size_t)equals));
		text = str_trim(str_sub(piece, (size_t)equals + 1, piece.len));
		if (str_eq_nocase(name, STR("domain")) && is_internal_domain(hiding, text)) {
			/* Without it the cookie is the public host's alone. */
			value = splice_in(arena, value, at, end, STR(""));
			if (!value.ptr)
				return value;
			continue;
		}
		if (str_eq_nocase(name, STR("path"))) {
			size_t tail = value.len - end, start = (size_t)(text.ptr - value.ptr);

			if (str_starts_with(text, STR("/")))
				value = splice_in(arena, value, start, start + text.len,
						  map_path(hiding, arena, text));
			if (!value.ptr)
				return value;
			end = value.len - tail;
		}
		at = end;
	}
	return value;
}

/* ---- fields ---- */

enum hiding_verdict hiding_apply(struct exchange *exchange, struct http_field *field)
{
	unsigned int kinds = http_field_kinds(field->id);
	struct hiding hiding = {.upstream = exchange->upstream};
	struct arena *arena = &exchange->arena;

	if (is_exposed(exchange->route->proxy.exposed, field->id) ||
	    exchange->route->proxy.exposed == HIDING_ALL)
		return HIDING_KEEP;
	/* Forwarding fields mean nothing in an answer but that somebody echoes them. */
	if (kinds & (HTTP_FIELD_HIDDEN | HTTP_FIELD_FORWARD))
		return HIDING_DROP;

	hiding.sent_host =
		exchange->upstream_host.len ? exchange->upstream_host : exchange->upstream->name;
	hiding.public_scheme = exchange->public_scheme;
	hiding.public_host = forwarding_public_authority(exchange);
	if (!exchange->rewritten.opaque) {
		hiding.public_prefix = exchange->rewritten.public_prefix;
		hiding.upstream_prefix = exchange->rewritten.upstream_prefix;
	}
	switch (field->id) {
	case HTTP_FIELD_SET_COOKIE:
		field->value = hiding_map_cookie(&hiding, arena, field->value);
		break;
	case HTTP_FIELD_REFRESH:
		field->value = hiding_map_refresh(&hiding, arena, field->value);
		break;
	case HTTP_FIELD_LINK:
		field->value = hiding_map_link(&hiding, arena, field->value);
		break;
	default:
		field->value = hiding_map_url(&hiding, arena, field->value);
		break;
	}
	return field->value.ptr ? HIDING_KEEP : HIDING_NO_MEMORY;
}
