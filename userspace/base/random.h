/*
 * random: quick numbers that are good enough to spread load, never for secrets (SplitMix64).
 * Each owner has a state of its own; the same seed gives the same numbers. Thread rule: one owner.
 */
#ifndef SLUICE_BASE_RANDOM_H
#define SLUICE_BASE_RANDOM_H

#include <stdint.h>
#include <sys/random.h>

#include "base/clock.h"

struct random_state {
	uint64_t state;
};

static inline void random_init(struct random_state *random)
{
	/* Two owners made at once must differ; without entropy the clock and the place do. */
	if (getrandom(&random->state, sizeof(random->state), GRND_NONBLOCK) !=
	    (ssize_t)sizeof(random->state))
		random->state = clock_mono_ns() ^ (uint64_t)(uintptr_t)random;
}

static inline uint64_t random_next(struct random_state *random)
{
	uint64_t mixed = random->state += 0x9e3779b97f4a7c15ULL;

	mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
	mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
	return mixed ^ (mixed >> 31);
}

/* 0 .. limit - 1. */
static inline uint64_t random_below(struct random_state *random, uint64_t limit)
{
	/* The high half of the product: no division, and no bias that could be seen. */
	return (uint64_t)(((unsigned __int128)random_next(random) * limit) >> 64);
}

#endif
