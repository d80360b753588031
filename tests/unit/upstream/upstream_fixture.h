/*
 * upstream_fixture: an upstream of N endpoints with its runtime objects, as a snapshot would hold
 * it, and a clock of the test's own.
 */
#ifndef SLUICE_TESTS_UNIT_UPSTREAM_FIXTURE_H
#define SLUICE_TESTS_UNIT_UPSTREAM_FIXTURE_H

#include "test_support.h"
#include "upstream/balance.h"

struct fixture {
	struct registry *registry;
	struct arena arena;
	struct upstream_conf upstream;
	struct balance_seat seat;
	uint64_t now_ms;
};

/* weights NULL: all 1. */
void fixture_init(struct fixture *fixture, int balance, unsigned int count,
		  const uint32_t *weights);
void fixture_done(struct fixture *fixture);

/* Index of the endpoint that balance_pick() chooses; -1: NULL. */
int fixture_pick(struct fixture *fixture);
int fixture_pick_key(struct fixture *fixture, uint64_t key);
int fixture_pick_again(struct fixture *fixture, const uint16_t *tried, unsigned int tried_count,
		       bool again);
struct endpoint *fixture_endpoint(struct fixture *fixture, unsigned int index);
/* Ejected from now on for the time. */
void fixture_eject(struct fixture *fixture, unsigned int index, uint64_t time_ms);

#endif
