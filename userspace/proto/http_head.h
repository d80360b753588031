/*
 * http_head: the head of a request or response, independent of the wire.
 *
 * All strs are views into the bytes the codec was given, or into its arena; whoever feeds the codec
 * keeps them alive as long as the head. Field names keep the peer's spelling; compare them by
 * `id` or without case. A codec gives out only heads that passed every framing rule of its wire, so
 * that readers may trust `framing` and `content_length`. Thread rule: one owner.
 */
#ifndef SLUICE_PROTO_HTTP_HEAD_H
#define SLUICE_PROTO_HTTP_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"

/* Fields that code asks for by id: symbol, lower-case name, kinds. */
#define HTTP_FIELD_HOP	   1u /* hop-by-hop: never forwarded (RFC 9110 7.6.1) */
#define HTTP_FIELD_FRAMING 2u /* decides message framing or routing: never in trailers */
#define HTTP_FIELD_SENSITIVE                                                                       \
	4u /* authentication and cookies: never in trailers, redacted in logs */
#define HTTP_FIELD_FORWARD   8u	 /* written by proxies: ours to set, from the untrusted removed */
#define HTTP_FIELD_HIDDEN    16u /* tells of the upstream: removed from answers */
#define HTTP_FIELD_REWRITTEN 32u /* holds URLs or names of the upstream: mapped in answers */
#define HTTP_FIELDS(X)                                                                             \
	X(HOST, "host", HTTP_FIELD_FRAMING)                                                        \
	X(CONTENT_LENGTH, "content-length", HTTP_FIELD_FRAMING)                                    \
	X(TRANSFER_ENCODING, "transfer-encoding", HTTP_FIELD_FRAMING | HTTP_FIELD_HOP)             \
	X(CONNECTION, "connection", HTTP_FIELD_FRAMING | HTTP_FIELD_HOP)                           \
	X(KEEP_ALIVE, "keep-alive", HTTP_FIELD_HOP)                                                \
	X(PROXY_CONNECTION, "proxy-connection", HTTP_FIELD_HOP)                                    \
	X(TE, "te", HTTP_FIELD_FRAMING | HTTP_FIELD_HOP)                                           \
	X(TRAILER, "trailer", HTTP_FIELD_FRAMING | HTTP_FIELD_HOP)                                 \
	X(UPGRADE, "upgrade", HTTP_FIELD_FRAMING | HTTP_FIELD_HOP)                                 \
	X(HTTP2_SETTINGS, "http2-settings", HTTP_FIELD_FRAMING | HTTP_FIELD_HOP)                   \
	X(EXPECT, "expect", HTTP_FIELD_FRAMING)                                                    \
	X(MAX_FORWARDS, "max-forwards", HTTP_FIELD_FRAMING)                                        \
	X(CONTENT_ENCODING, "content-encoding", HTTP_FIELD_FRAMING)                                \
	X(CONTENT_TYPE, "content-type", HTTP_FIELD_FRAMING)                                        \
	X(CONTENT_RANGE, "content-range", HTTP_FIELD_FRAMING)                                      \
	X(RANGE, "range", HTTP_FIELD_FRAMING)                                                      \
	X(IF_RANGE, "if-range", HTTP_FIELD_FRAMING)                                                \
	X(IF_MATCH, "if-match", HTTP_FIELD_FRAMING)                                                \
	X(IF_NONE_MATCH, "if-none-match", HTTP_FIELD_FRAMING)                                      \
	X(IF_MODIFIED_SINCE, "if-modified-since", HTTP_FIELD_FRAMING)                              \
	X(IF_UNMODIFIED_SINCE, "if-unmodified-since", HTTP_FIELD_FRAMING)                          \
	X(CACHE_CONTROL, "cache-control", HTTP_FIELD_FRAMING)                                      \
	X(AUTHORIZATION, "authorization", HTTP_FIELD_SENSITIVE)                                    \
	X(PROXY_AUTHORIZATION, "proxy-authorization", HTTP_FIELD_SENSITIVE | HTTP_FIELD_HOP)       \
	X(PROXY_AUTHENTICATE, "proxy-authenticate", HTTP_FIELD_SENSITIVE | HTTP_FIELD_HOP)         \
	X(WWW_AUTHENTICATE, "www-authenticate", HTTP_FIELD_SENSITIVE)                              \
	X(COOKIE, "cookie", HTTP_FIELD_SENSITIVE)                                                  \
	X(SET_COOKIE, "set-cookie", HTTP_FIELD_SENSITIVE | HTTP_FIELD_REWRITTEN)                   \
	X(FORWARDED, "forwarded", HTTP_FIELD_FORWARD)                                              \
	X(X_FORWARDED_FOR, "x-forwarded-for", HTTP_FIELD_FORWARD)                                  \
	X(X_FORWARDED_PROTO, "x-forwarded-proto", HTTP_FIELD_FORWARD)                              \
	X(X_FORWARDED_HOST, "x-forwarded-host", HTTP_FIELD_FORWARD)                                \
	X(X_FORWARDED_PORT, "x-forwarded-port", HTTP_FIELD_FORWARD)                                \
	X(X_REAL_IP, "x-real-ip", HTTP_FIELD_FORWARD)                                              \
	X(X_CLIENT_IP, "x-client-ip", HTTP_FIELD_FORWARD)                                          \
	X(X_CLUSTER_CLIENT_IP, "x-cluster-client-ip", HTTP_FIELD_FORWARD)                          \
	X(TRUE_CLIENT_IP, "true-client-ip", HTTP_FIELD_FORWARD)                                    \
	X(CF_CONNECTING_IP, "cf-connecting-ip", HTTP_FIELD_FORWARD)                                \
	X(X_ORIGINAL_URL, "x-original-url", HTTP_FIELD_FORWARD) /* some frameworks route by it */  \
	X(X_REWRITE_URL, "x-rewrite-url", HTTP_FIELD_FORWARD)                                      \
	X(PROXY, "proxy", HTTP_FIELD_HOP) /* CGI makes HTTP_PROXY of it */                         \
	X(VIA, "via", HTTP_FIELD_FORWARD | HTTP_FIELD_HIDDEN)                                      \
	X(DATE, "date", 0)                                                                         \
	X(SERVER, "server", HTTP_FIELD_HIDDEN)                                                     \
	X(ALT_SVC, "alt-svc", HTTP_FIELD_HIDDEN)                                                   \
	X(X_POWERED_BY, "x-powered-by", HTTP_FIELD_HIDDEN)                                         \
	X(X_ASPNET_VERSION, "x-aspnet-version", HTTP_FIELD_HIDDEN)                                 \
	X(X_ASPNETMVC_VERSION, "x-aspnetmvc-version", HTTP_FIELD_HIDDEN)                           \
	X(X_RUNTIME, "x-runtime", HTTP_FIELD_HIDDEN)                                               \
	X(X_GENERATOR, "x-generator", HTTP_FIELD_HIDDEN)                                           \
	X(X_BACKEND, "x-backend", HTTP_FIELD_HIDDEN)                                               \
	X(X_BACKEND_SERVER, "x-backend-server", HTTP_FIELD_HIDDEN)                                 \
	X(X_UPSTREAM, "x-upstream", HTTP_FIELD_HIDDEN)                                             \
	X(X_SERVER, "x-server", HTTP_FIELD_HIDDEN)                                                 \
	X(X_SERVER_NAME, "x-server-name", HTTP_FIELD_HIDDEN)                                       \
	X(X_SERVED_BY, "x-served-by", HTTP_FIELD_HIDDEN)                                           \
	X(X_HOSTNAME, "x-hostname", HTTP_FIELD_HIDDEN)                                             \
	X(X_VARNISH, "x-varnish", HTTP_FIELD_HIDDEN)                                               \
	X(X_ENVOY_UPSTREAM_SERVICE_TIME, "x-envoy-upstream-service-time", HTTP_FIELD_HIDDEN)       \
	X(X_ENVOY_DECORATOR_OPERATION, "x-envoy-decorator-operation", HTTP_FIELD_HIDDEN)           \
	X(LOCATION, "location", HTTP_FIELD_REWRITTEN)                                              \
	X(CONTENT_LOCATION, "content-location", HTTP_FIELD_REWRITTEN)                              \
	X(REFRESH, "refresh", HTTP_FIELD_REWRITTEN)                                                \
	X(LINK, "link", HTTP_FIELD_REWRITTEN)                                                      \
	X(ACCEPT, "accept", 0)                                                                     \
	X(USER_AGENT, "user-agent", 0)                                                             \
	X(REFERER, "referer", 0)

enum http_field_id {
	HTTP_FIELD_OTHER,
#define X(symbol, name, kinds) HTTP_FIELD_##symbol,
	HTTP_FIELDS(X)
#undef X
		HTTP_FIELD_COUNT
};

struct http_field {
	struct str name;
	struct str value; /* trimmed */
	enum http_field_id id;
};

/* Without case. HTTP_FIELD_OTHER when it is not in the table. */
enum http_field_id http_field_lookup(struct str name);
struct str http_field_name(enum http_field_id id);
extern const uint8_t http_field_kind_table[HTTP_FIELD_COUNT];
static inline unsigned int http_field_kinds(enum http_field_id id)
{
	return (unsigned int)id < HTTP_FIELD_COUNT ? http_field_kind_table[id] : 0;
}
/*
 * Would an application that folds '_' and '.' to '-' take it for a field of the first, second or
 * fourth kind (HARDENING 20), or does it begin like X-Forwarded? For names whose id is
 * HTTP_FIELD_OTHER.
 */
bool http_name_is_reserved(struct str name);
/* May this field stand in a trailer section that we forward? (HARDENING 5) */
bool http_field_allowed_in_trailer(const struct http_field *field);
/* RFC 9110 5.6.2 token; RFC 9110 5.5 field value without CR, LF, NUL and other controls. */
bool http_name_is_valid(struct str name);
bool http_value_is_valid(struct str value);

enum http_method {
	HTTP_METHOD_OTHER, /* a token we have no name for */
	HTTP_METHOD_GET,
	HTTP_METHOD_HEAD,
	HTTP_METHOD_POST,
	HTTP_METHOD_PUT,
	HTTP_METHOD_DELETE,
	HTTP_METHOD_OPTIONS,
	HTTP_METHOD_PATCH,
	HTTP_METHOD_TRACE,
	HTTP_METHOD_CONNECT,
};
enum http_method http_method_lookup(struct str method); /* case-sensitive (RFC 9110 9.1) */

enum http_framing {
	HTTP_FRAMING_NONE,	  /* no body */
	HTTP_FRAMING_LENGTH,	  /* content_length bytes */
	HTTP_FRAMING_CHUNKED,	  /* HTTP/1.1 chunks */
	HTTP_FRAMING_UNTIL_CLOSE, /* responses only */
};

struct http_head {
	/* Requests. */
	struct str method;
	enum http_method method_id;
	struct str target;   /* as sent: origin-form, absolute-form, authority-form or "*" */
	struct str host;     /* value of Host; absent (ptr NULL) when there was none */
	struct str protocol; /* of an extended CONNECT (RFC 8441); ptr NULL: it is none */

	/* Responses. */
	uint16_t status;
	struct str reason;

	/* Both. */
	uint8_t version_minor; /* 0: HTTP/1.0, 1: HTTP/1.1 and later */
	bool is_http2;
	struct http_field *fields;
	unsigned int field_count;
	enum http_framing framing;
	uint64_t content_length; /* with HTTP_FRAMING_LENGTH; for answers to HEAD what was announced
				  */
	bool has_content_length;
	bool keep_alive;      /* the sender lets the connection live on (version, Connection) */
	bool expect_continue; /* Expect: 100-continue on HTTP/1.1 */
	bool has_upgrade;     /* Upgrade together with "Connection: upgrade" */
};

/* First field with the id, or NULL. */
const struct http_field *http_head_find(const struct http_head *head, enum http_field_id id);
/* Is the name listed in one of the Connection fields? (then it is hop-by-hop) */
bool http_head_connection_lists(const struct http_head *head, struct str name);

#endif
