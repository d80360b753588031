/*
 * exchange_fixture: a worker with a loop, a snapshot made by hand, and a downstream that writes
 * down what it is told, so that steps of an exchange can be tested without sockets.
 */
#ifndef SLUICE_TESTS_UNIT_EXCHANGE_FIXTURE_H
#define SLUICE_TESTS_UNIT_EXCHANGE_FIXTURE_H

#include "http/downstream.h"
#include "http/worker_internal.h"
#include "test_support.h"

struct exchange_fixture {
	struct loop *loop;
	struct snapshot *snapshot;
	struct http_worker *worker;
	struct listener_conf listener;
	struct downstream connection; /* without a socket */
	struct ip_addr peer;	      /* whom it comes from */
	struct route *route;	      /* the only one: every host, every path */

	/* What the downstream heard since exchange_fixture_begin(). */
	struct exchange *exchange;
	uint16_t status;
	char added[512];  /* "name: value\n" of each */
	char fields[512]; /* of the head itself, likewise */
	char body[512];	  /* as much of it as there is room for */
	size_t body_bytes;
	unsigned int heads, ends, aborts, resumes, overs, informationals;
	size_t queued; /* what it says when it is asked */
};

/* For cmocka; the route answers 200 by itself. */
int exchange_fixture_setup(void **state);
int exchange_fixture_teardown(void **state);

/* A GET of the target, with these fields, up to exchange_start(). */
struct exchange *exchange_fixture_begin(struct exchange_fixture *fixture, const char *target,
					const struct http_field *fields, unsigned int count);
/* The same of a POST whose body follows, in chunks: exchange_request_data() and so on. */
struct exchange *exchange_fixture_post(struct exchange_fixture *fixture, const char *target,
				       const struct http_field *fields, unsigned int count);
/* As the downstream does at the end of an exchange. */
void exchange_fixture_end(struct exchange_fixture *fixture);

#endif
