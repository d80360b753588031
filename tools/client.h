/*
 * client: requests to the daemon and their JSON answers, with the errors reported.
 *
 * "No daemon" is an own case, not an error by itself: commands that can work on the pins go on
 * without one, the others report it by client_report_absence(). Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_CLIENT_H
#define SLUICE_TOOLS_CLIENT_H

#include <jansson.h>

#include "tools/cli.h"

/*
 * 0 with an object; -ENOTCONN, not reported, when no daemon answers (cli->absence says why);
 * another negative errno, reported. `body` may be NULL.
 */
int client_try(struct cli *cli, const char *method, const char *target, const json_t *body,
	       json_t **ret_doc);
/* The same for commands that need the daemon: its absence is reported, too. */
int client_call(struct cli *cli, const char *method, const char *target, const json_t *body,
		json_t **ret_doc);
int client_report_absence(struct cli *cli);
/* A POST whose body is text. */
int client_send_text(struct cli *cli, const char *target, struct str text, json_t **ret_doc);
/*
 * A GET whose answer is text, the caller's to buf_done(). A daemon that has none answers with a
 * document all the same: then *ret_doc is set instead. Errors as client_try().
 */
int client_try_text(struct cli *cli, const char *target, struct buf *ret_text, json_t **ret_doc);

/* GET, then print by the view. */
struct output_view;
int client_show(struct cli *cli, const char *target, const struct output_view *view);
/*
 * Keeps the elements of doc[list] whose `name` is the one given. -ENOENT, reported with a
 * suggestion: there is none. name NULL: keeps all.
 */
int client_keep_named(struct cli *cli, json_t *doc, const char *list, const char *what,
		      const char *name);

/* Percent-encodes all but unreserved characters. */
int client_append_encoded(struct buf *out, struct str value);

#endif
