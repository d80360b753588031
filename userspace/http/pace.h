/*
 * pace: does a peer move enough bytes while we wait for it? A credit of waiting time.
 *
 *   bytes moved ──► credit, up to a cap ──► spent while we wait ──► none left: too slow
 *
 * Every byte earns the time that it takes at the lowest rate allowed, so what was sent fast pays
 * for a pause later, up to `cap_ms`; a first credit lets things begin. Time in which nobody waits
 * for the peer (our own side is blocked) costs nothing. With rate 0 every byte earns the whole cap:
 * a plain timeout between two movements.
 * Times are loop_now_ms(); the owner has the timer. Thread rule: one owner.
 */
#ifndef SLUICE_HTTP_PACE_H
#define SLUICE_HTTP_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/util.h"

#define PACE_GRACE_MS 5000 /* the first credit */
#define PACE_LOOK_MS  100  /* between two looks that cost a system call */

struct pace {
	uint64_t since_ms; /* waiting, and paid up to here; 0: not waiting */
	int64_t credit_us; /* microseconds, since at high rates a byte is less than a millisecond */
};

static inline void pace_init(struct pace *pace, uint64_t credit_ms)
{
	*pace = (struct pace){.credit_us = (int64_t)credit_ms * 1000};
}

static inline uint64_t pace_first_credit_ms(uint32_t rate_bytes_per_s, uint64_t cap_ms)
{
	return rate_bytes_per_s ? MIN((uint64_t)PACE_GRACE_MS, cap_ms) : cap_ms;
}

/* Pays for the waiting so far. */
static inline void pace_settle(struct pace *pace, uint64_t now_ms)
{
	if (!pace->since_ms)
		return;
	pace->credit_us -= (int64_t)(now_ms - pace->since_ms) * 1000;
	pace->since_ms = now_ms;
}

static inline void pace_wait(struct pace *pace, uint64_t now_ms)
{
	if (!pace->since_ms)
		pace->since_ms = now_ms;
}

static inline void pace_pause(struct pace *pace, uint64_t now_ms)
{
	pace_settle(pace, now_ms);
	pace->since_ms = 0;
}

static inline void pace_earn(struct pace *pace, uint64_t bytes, uint32_t rate_bytes_per_s,
			     uint64_t cap_ms)
{
	int64_t cap_us = (int64_t)cap_ms * 1000;

	if (!bytes)
		return;
	/* More than the biggest cap pays for would only overflow. */
	if (!rate_bytes_per_s || bytes > UINT64_MAX / 1000000)
		pace->credit_us = cap_us;
	else
		pace->credit_us +=
			(int64_t)MIN(bytes * 1000000 / rate_bytes_per_s, (uint64_t)cap_us);
	pace->credit_us = MIN(pace->credit_us, cap_us);
}

static inline bool pace_is_spent(const struct pace *pace)
{
	return pace->credit_us <= 0;
}

/*
 * When to look again; 0: nothing is waited for. `least_ms` is the shortest time from the last
 * settling: 0 where every movement settles, or who moves often enough would never be looked at.
 */
static inline uint64_t pace_due_ms(const struct pace *pace, uint64_t least_ms)
{
	int64_t credit_ms = pace->credit_us / 1000;

	if (!pace->since_ms)
		return 0;
	return pace->since_ms + (uint64_t)MAX(credit_ms, (int64_t)least_ms);
}

#endif
