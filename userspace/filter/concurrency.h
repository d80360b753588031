/*
 * concurrency: the policy `concurrency`: at most so many requests at once, for the node; some more
 * wait for their turn, in the order in which they came, and the others hear 503.
 *
 * A request has its slot (filter/slots.h) until its exchange is over, however that comes about: the
 * answer is sent, the client has gone, a tunnel has ended. Thread rule: the conf is immutable, the
 * slots are shared by all workers.
 */
#ifndef SLUICE_FILTER_CONCURRENCY_H
#define SLUICE_FILTER_CONCURRENCY_H

#include "filter/slots.h"
#include "http/policy.h"

struct concurrency {
	uint64_t max, queue, wait_ms;
	struct slots *slots; /* when it is acquired */
};

extern const struct policy_type concurrency_policy;

/* concurrency_config.c */
int concurrency_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, void *conf);
void concurrency_write(struct conf_writer *writer, const void *conf);

#endif
