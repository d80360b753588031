#include "http/forwarding.h"

#include <errno.h>

#include "http/exchange.h"

bool trusted_proxies_have(const struct trusted_proxies *trusted, const struct ip_addr *addr)
{
	for (unsigned int i = 0; i < trusted->count; i++)
		if (ip_prefix_contains(&trusted->prefixes[i], addr))
			return true;
	return false;
}

/* ---- X-Forwarded-For ---- */

static bool is_port(struct str text)
{
	uint64_t port;

	return text.len >= 1 && text.len <= 5 && !str_to_u64(text, &port) && port <= UINT16_MAX;
}

int forwarding_parse_hop(struct str text, struct ip_addr *ret_addr)
{
	ptrdiff_t colon = str_find_byte(text, ':');
	struct str port = STR_NULL;

	if (text.len && text.ptr[0] == '[') {
		ptrdiff_t close = str_find_byte(text, ']');

		if (close < 0)
			return -EINVAL;
		if ((size_t)close + 1 < text.len) {
			if (text.ptr[close + 1] != ':')
				return -EINVAL;
			port = str_sub(text, (size_t)close + 2, text.len);
		}
		text = str_sub(text, 1, (size_t)close - 1);
		if (str_find_byte(text, ':') < 0)
			return -EINVAL;
	} else if (colon >= 0 &&
		   str_find_byte(str_sub(text, (size_t)colon + 1, text.len), ':') < 0) {
		port = str_sub(text, (size_t)colon + 1, text.len);
		text = str_sub(text, 0, (size_t)colon);
	}
	if (port.ptr && !is_port(port))
		return -EINVAL;
	if (ip_addr_parse(text, ret_addr))
		return -EINVAL;
	ip_addr_unmap(ret_addr);
	return 0;
}

struct ip_addr forwarding_walk(const struct http_head *request, const struct ip_addr *peer,
			       const struct trusted_proxies *trusted)
{
	struct ip_addr client = *peer, hop;
	unsigned int seen = 0;

	/* Fields of one name are one list, in the order in which they came (RFC 9110 5.3). */
	for (unsigned int i = request->field_count; i-- > 0;) {
		struct str rest = request->fields[i].value;

		if (request->fields[i].id != HTTP_FIELD_X_FORWARDED_FOR)
			continue;
		while (rest.len) {
			size_t start = rest.len;
			struct str element;

			while (start > 0 && rest.ptr[start - 1] != ',')
				start--;
			element = str_trim(str_sub(rest, start, rest.len - start));
			rest.len = start ? start - 1 : 0;
			if (!element.len)
				continue;
			if (++seen > FORWARDING_HOPS_MAX ||
			    !trusted_proxies_have(trusted, &client) ||
			    forwarding_parse_hop(element, &hop))
				return client;
			client = hop;
		}
	}
	return client;
}

/* ---- what a trusted peer says ---- */

/* The only field with the id; NULL for none or several, which name nobody. */
static const struct http_field *find_single(const struct http_head *request, enum http_field_id id)
{
	const struct http_field *found = NULL;

	for (unsigned int i = 0; i < request->field_count; i++) {
		if (request->fields[i].id != id)
			continue;
		if (found)
			return NULL;
		found = &request->fields[i];
	}
	return found;
}

void forwarding_identify(struct exchange *exchange)
{
	const struct trusted_proxies *trusted = &exchange->config->snapshot->node.trusted_proxies;
	const struct http_head *request = &exchange->request;
	const struct http_field *field;
	struct http1_authority authority;

	if (!trusted->count || !trusted_proxies_have(trusted, &exchange->sender))
		return;
	exchange->sender_trusted = true;
	exchange->client = forwarding_walk(request, &exchange->sender, trusted);
	field = find_single(request, HTTP_FIELD_X_FORWARDED_PROTO);
	if (field && str_eq_nocase(field->value, STR("https")))
		exchange->public_scheme = STR("https");
	else if (field && str_eq_nocase(field->value, STR("http")))
		exchange->public_scheme = STR("http");
	field = find_single(request, HTTP_FIELD_X_FORWARDED_HOST);
	if (field && http1_authority_parse(field->value, &authority))
		exchange->forwarded_host = field->value;
}

struct str forwarding_public_authority(const struct exchange *exchange)
{
	return exchange->forwarded_host.len ? exchange->forwarded_host : exchange->request.host;
}

/* ---- what goes upstream ---- */

static bool is_dashed(struct str name)
{
	return str_find_byte(name, '_') < 0 && str_find_byte(name, '.') < 0;
}

bool forwarding_field_passes(const struct exchange *exchange, const struct http_field *field)
{
	switch (field->id) {
	case HTTP_FIELD_OTHER:
		/* Spelt with '_' or '.', it would be a second one for who folds names. */
		return !http_name_is_reserved(field->name) ||
		       (exchange->sender_trusted && is_dashed(field->name));
	case HTTP_FIELD_X_FORWARDED_FOR:
	case HTTP_FIELD_X_FORWARDED_PROTO:
	case HTTP_FIELD_X_FORWARDED_HOST:
	case HTTP_FIELD_X_REAL_IP:
	case HTTP_FIELD_FORWARDED:
	case HTTP_FIELD_VIA:
		return false;
	default:
		return !(http_field_kinds(field->id) & HTTP_FIELD_FORWARD) ||
		       exchange->sender_trusted;
	}
}

/* "NAME: what the trusted peer said, " in one field. */
static void write_chain(const struct exchange *exchange, struct http1_writer *writer,
			struct str name_and_colon, enum http_field_id id)
{
	const struct http_head *request = &exchange->request;

	http1_write_bytes(writer, name_and_colon);
	if (!exchange->sender_trusted)
		return;
	for (unsigned int i = 0; i < request->field_count; i++) {
		if (request->fields[i].id != id || !request->fields[i].value.len)
			continue;
		http1_write_bytes(writer, request->fields[i].value);
		http1_write_bytes(writer, STR(", "));
	}
}

void forwarding_write(const struct exchange *exchange, struct http1_writer *writer)
{
	struct str authority = forwarding_public_authority(exchange);
	char text[ADDR_TEXT_MAX];
	struct str sender = str_from_cstr(ip_addr_format(&exchange->sender, text, sizeof(text)));

	write_chain(exchange, writer, STR("X-Forwarded-For: "), HTTP_FIELD_X_FORWARDED_FOR);
	http1_write_bytes(writer, sender);
	if (exchange->sender_trusted)
		sender = str_from_cstr(ip_addr_format(&exchange->client, text, sizeof(text)));
	http1_write_bytes(writer, STR("\r\nX-Real-IP: "));
	http1_write_bytes(writer, sender);
	http1_write_bytes(writer, STR("\r\nX-Forwarded-Proto: "));
	http1_write_bytes(writer, exchange->public_scheme);
	if (authority.len) {
		http1_write_bytes(writer, STR("\r\nX-Forwarded-Host: "));
		http1_write_bytes(writer, authority);
	}
	write_chain(exchange, writer, STR("\r\nVia: "), HTTP_FIELD_VIA);
	http1_write_bytes(writer, exchange->request.is_http2	    ? STR("2 sluice\r\n")
				  : exchange->request.version_minor ? STR("1.1 sluice\r\n")
								    : STR("1.0 sluice\r\n"));
}
