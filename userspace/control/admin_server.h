/*
 * admin_server: HTTP/1.1 for few and small requests, on the control loop: the admin API on its Unix
 * socket, /metrics on TCP.
 *
 *   connection ──► may it? ──► head, body (http1 codec) ──► dispatch() ──► answer, close
 *
 * One request a connection, complete within 10 s. dispatch() runs to completion and leaves an
 * answer, whole or with a source of more: then the rest is asked for piece by piece as the client
 * takes it, so that a long answer neither holds up the loop nor fills memory.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_ADMIN_SERVER_H
#define SLUICE_CONTROL_ADMIN_SERVER_H

#include "base/buf.h"
#include "io/loop.h"

struct admin_request {
	struct str method;
	struct str path;  /* without query */
	struct str query; /* behind the "?", undecoded */
	struct str body;
};

struct admin_response {
	uint16_t status;
	const char *content_type; /* NULL: application/json */
	struct buf body;
	const char *allow; /* with 405 */

	/* Appends to the (emptied) body: 1 when there is more, 0 at the end, negative: give up. */
	int (*more)(void *source, struct buf *body);
	void (*more_done)(void *source); /* once, whatever became of it */
	void *source;
};

void admin_response_init(struct admin_response *response);
void admin_response_done(struct admin_response *response);
/* {"error": "..."} in place of whatever was written. */
void admin_fail(struct admin_response *response, uint16_t status, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

struct admin_server;

struct admin_server_config {
	const char *what; /* "admin socket": for the log */
	unsigned int connections_max;
	bool (*is_allowed)(int fd); /* NULL: everybody; else 403 */
	const char *forbidden;	    /* what those are told */
	void (*dispatch)(void *arg, const struct admin_request *request,
			 struct admin_response *response);
	void *arg;
};

/* Takes the listening descriptor over, also when it fails. */
int admin_server_new(struct loop *loop, int listen_fd, const struct admin_server_config *config,
		     struct admin_server **ret_server, struct error *err);
/* Closes everything; the loop has to turn until it is stopped. NULL allowed, and stopped. */
void admin_server_stop(struct admin_server *server);
bool admin_server_is_stopped(const struct admin_server *server);
void admin_server_free(struct admin_server *server);

#endif
