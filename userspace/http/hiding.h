/*
 * hiding: what an answer would tell of the upstream behind us (HARDENING 36).
 *
 *   Server, Via, X-Powered-By, ...              removed
 *   Location, Content-Location, Refresh, Link   URLs of the upstream become URLs of ours
 *   Set-Cookie                                  Domain of the upstream goes, Path is mapped back
 *
 * A URL is the upstream's own when its host is an endpoint's address, the upstream's name, or the
 * Host that we sent. Where that Host is what the client asked for, too, only a port or scheme that
 * the upstream took from its own side is mended: http://shop.example:8080 of an endpoint on port
 * 8080 becomes the client's http://shop.example, but https://shop.example stays, since it is meant.
 * Other hosts are left alone. Paths are mapped back through a rewritten prefix.
 *
 * Costs nothing for fields that are none of these. Thread rule: pure, on the exchange's worker.
 */
#ifndef SLUICE_HTTP_HIDING_H
#define SLUICE_HTTP_HIDING_H

#include "base/arena.h"
#include "proto/http_head.h"

struct exchange;
struct upstream_conf;

/* Fields that hiding_apply() has to see. */
#define HIDING_KINDS (HTTP_FIELD_FORWARD | HTTP_FIELD_HIDDEN | HTTP_FIELD_REWRITTEN)

enum hiding_verdict { HIDING_KEEP, HIDING_DROP, HIDING_NO_MEMORY };

/* For an answer's field of HIDING_KINDS; its value may be replaced, in the exchange's arena. */
enum hiding_verdict hiding_apply(struct exchange *exchange, struct http_field *field);

/* For the configuration: the fields by number, in lower case; ptr NULL beyond the last. */
struct str hiding_field_name(unsigned int number);
#define HIDING_ALL UINT32_MAX /* every field is exposed */

/* ---- the parts, for tests ---- */

struct hiding {
	const struct upstream_conf *upstream;
	struct str sent_host;	  /* authority that the upstream was asked for */
	struct str public_scheme; /* "http" or "https" */
	struct str public_host;	  /* authority that the client asked for; "": unknown */
	struct str public_prefix, upstream_prefix; /* as in exchange->rewritten */
};

/* Each gives `value` itself back when nothing changes, ptr NULL when the arena is full. */
struct str hiding_map_url(const struct hiding *hiding, struct arena *arena, struct str value);
struct str hiding_map_refresh(const struct hiding *hiding, struct arena *arena, struct str value);
struct str hiding_map_link(const struct hiding *hiding, struct arena *arena, struct str value);
struct str hiding_map_cookie(const struct hiding *hiding, struct arena *arena, struct str value);

#endif
