/*
 * template: text of the configuration with variables of an exchange in it.
 *
 *   "/users/{claim.sub}?from={client.address}"  ──► parts at load ──► text for one exchange
 *
 * A variable is {NAME} or {GROUP.ARGUMENT}; {{ and }} stand for braces. All there are stand in one
 * table (template_variables.c), which whoever makes something worth telling extends. Values come
 * from outside: they are encoded for the place they are put in (HARDENING 13, 29), so that they
 * stay text there: no value begins another line of a head, another segment of a path or another
 * parameter of a query. A variable that has no value is nothing.
 *
 *   place    what stays as it is                      and else
 *   HEADER   everything but control bytes             %0D
 *   PATH     unreserved, and !$&'()*+,;=:@            %2F   (what is of a path keeps its encoding)
 *   QUERY    unreserved                               %26   (the template's own text, too)
 *
 * Thread rule: templates are immutable; reading on the control thread, text on the exchange's
 * worker.
 */
#ifndef SLUICE_HTTP_TEMPLATE_H
#define SLUICE_HTTP_TEMPLATE_H

#include "conf/field.h"

struct exchange;
struct exchange_response;

#define TEMPLATE_PARTS_MAX 32

enum template_place { TEMPLATE_HEADER, TEMPLATE_PATH, TEMPLATE_QUERY };

struct template_variable {
	const char *name; /* "client.address", or "header." that an argument follows */
	/* Is it one that there can be? NULL: it has no argument. */
	bool (*argument_is_valid)(struct str argument);
	const char *argument_what; /* "a header name" */
	bool of_answer;		   /* there must be one */
	bool encoded;		   /* its value is percent-encoded as it stands in a URL */
	bool has_slashes;	   /* in a path they are the path's */
	/* ptr NULL: there is none. May use the arena. `response` NULL: there is no answer yet. */
	struct str (*get)(struct exchange *exchange, const struct exchange_response *response,
			  struct str argument);
};

extern const struct template_variable template_variables[];
extern const unsigned int template_variable_count;

struct template_part {
	const struct template_variable *variable; /* NULL: literal */
	struct str text;			  /* or the argument */
};

struct template
{
	struct str written;
	struct template_part *parts;
	unsigned int part_count;
	bool constant; /* no variables: parts[0] is all, or there are none */
};

/*
 * Reads a scalar. `what` ends in the key. of_answer: variables of the answer may be in it. 0, or
 * -EINVAL with an error that says what is not known and what comes nearest.
 */
int template_read(const struct field_context *context, const struct conf_node *node,
		  const char *what, bool of_answer, struct template *ret_template);
/* In the arena, or in the snapshot where it is constant. ptr NULL: out of memory. */
struct str template_text(const struct template *template, struct exchange *exchange,
			 const struct exchange_response *response, enum template_place place);

/* Percent-encodes a value for a place; returns its length. Room for three times as much. */
size_t template_encode(char *out, struct str value, enum template_place place, bool encoded,
		       bool slashes);

#endif
