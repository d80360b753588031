/*
 * coalesce: how long a busy loop lets completions pile up before it wakes for them, as NICs do with
 * adaptive interrupt moderation.
 *
 * Under load, what arrives comes in bursts: a peer that was sent twenty requests answers twenty
 * times within some microseconds. A loop that wakes at the first answer runs beside the peer, one
 * answer at a time: each wake-up costs both of them (an interrupt to another CPU, a switch), and
 * their sockets' locks and cache lines go to and fro. So the loop asks for `want` completions at
 * once, but waits no longer than COALESCE_NS for them.
 *
 *   met in time            ──► ask for more, at most for half of the requests that are open
 *   not met                ──► ask for less than what came, and be slow to ask for more again
 *   less than COALESCE_MIN ──► off for a number of turns that doubles while trials fail
 *
 * With few requests open nothing is ever delayed. Pure; no thread rule.
 */
#ifndef SLUICE_IO_COALESCE_H
#define SLUICE_IO_COALESCE_H

#include <stdbool.h>
#include <stdint.h>

#define COALESCE_NS	  100000
#define COALESCE_MIN	  4
#define COALESCE_MAX	  32
#define COALESCE_REST_MAX 4096 /* turns */

struct coalesce {
	bool enabled;
	unsigned int want;     /* 0: off */
	unsigned int met;      /* waits in a row that got what they asked for */
	unsigned int patience; /* so many before it asks for one more */
	unsigned int rest;     /* turns until the next trial */
	unsigned int rest_next;
};

void coalesce_init(struct coalesce *coalesce, bool enabled);
/* Before a wait that may sleep, with `open` requests open: 0, or for how many to wait. */
unsigned int coalesce_want(struct coalesce *coalesce, unsigned int open);
/* After a wait that coalesce_want() gave a number for: how many came. */
void coalesce_tell(struct coalesce *coalesce, unsigned int want, unsigned int got);

#endif
