/*
 * route_template: paths with named parameters: /pages/{id}/x, /files/{name*}.
 *
 * A template is a list of segments between slashes. A literal segment matches itself, {name}
 * exactly one segment that is not empty, {name*} as the last one all that follows its slash,
 * further slashes and the empty rest included. So /files/{name*} matches /files/ and /files/a/b,
 * not /files. Values are views of the canonical path, with the escapes that it keeps.
 *
 * What decides where a template is looked up is its shape: the number of segments, which of them
 * are literal, and whether a rest follows. The more literal segments the earlier; then no rest
 * before a rest; then the longer one; then the one whose first difference is literal.
 * Thread rule: immutable once made; any thread.
 */
#ifndef SLUICE_HTTP_ROUTE_TEMPLATE_H
#define SLUICE_HTTP_ROUTE_TEMPLATE_H

#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"

#define ROUTE_PARAMS_MAX	    16
#define ROUTE_TEMPLATE_SEGMENTS_MAX 32

struct route_param {
	struct str name, value;
};

struct route_shape {
	uint32_t literals; /* bit i: segment i is literal */
	uint8_t count;	   /* segments, without the rest */
	bool rest;
};

struct route_template {
	struct route_shape shape;
	struct str segments[ROUTE_TEMPLATE_SEGMENTS_MAX]; /* literals, or names of parameters */
	struct str rest;				  /* its name */
	unsigned int param_count;
};

/* A path cut at its slashes; one of more segments than a template can have keeps the first ones. */
struct route_path_segments {
	struct str items[ROUTE_TEMPLATE_SEGMENTS_MAX + 1];
	unsigned int count; /* ROUTE_TEMPLATE_SEGMENTS_MAX + 1: that many or more */
	uint64_t empty;	    /* bit i: segment i is empty */
};

/*
 * `text` begins with '/'; only braces and names are looked at. 0, -EINVAL with err set, or -ENOMEM.
 */
int route_template_parse(struct str text, struct arena *arena, struct route_template **ret_template,
			 struct error *err);

/* < 0: left is looked up before right; 0: the same shape. */
int route_shape_compare(struct route_shape left, struct route_shape right);
/* Could paths with these segments match templates of the shape at all? */
bool route_shape_fits(struct route_shape shape, const struct route_path_segments *segments);

void route_path_split(struct str path, struct route_path_segments *ret_segments);
/* The path's segments fit the shape: are the literal ones the same? */
bool route_template_literals_match(const struct route_template *template,
				   const struct route_path_segments *segments);
bool route_template_matches(const struct route_template *template, struct str path);
/* Of a path that matches. Returns the number of parameters; room for ROUTE_PARAMS_MAX. */
unsigned int route_template_params(const struct route_template *template, struct str path,
				   struct route_param *ret_params);
/* Do they match the same paths, whatever the names? */
bool route_template_same(const struct route_template *left, const struct route_template *right);

#endif
