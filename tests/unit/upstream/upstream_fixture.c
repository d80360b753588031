#include "upstream_fixture.h"

#define WORKERS 2

void fixture_init(struct fixture *fixture, int balance, unsigned int count, const uint32_t *weights)
{
	struct upstream_conf *upstream = &fixture->upstream;

	memset(fixture, 0, sizeof(*fixture));
	fixture->registry = registry_new();
	assert_non_null(fixture->registry);
	arena_init(&fixture->arena, 0, 64u << 20);
	fixture->now_ms = 1000000;
	upstream->name = STR("shop");
	upstream->balance = balance;
	upstream->endpoint_count = count;
	upstream->endpoints = arena_new_array(&fixture->arena, struct endpoint_conf, count);
	assert_non_null(upstream->endpoints);
	for (unsigned int i = 0; i < count; i++) {
		struct endpoint_conf *conf = &upstream->endpoints[i];

		conf->address = arena_printf(&fixture->arena, "10.0.%u.%u:8080", i / 256, i % 256);
		assert_int_equal(sock_addr_parse(conf->address, &conf->addr, NULL), 0);
		conf->weight = weights ? weights[i] : 1;
	}
	upstream->ejection.consecutive_failures = 5;
	upstream->ejection.base_ms = 30000;
	upstream->ejection.max_share = 5000;
	upstream->retry.attempts = 3;
	upstream->retry.budget = 2000;
	assert_int_equal(upstream_acquire(fixture->registry, upstream, WORKERS, UINT64_MAX), 0);
	assert_int_equal(balance_build(upstream, &fixture->arena), 0);
	balance_seat_init(&fixture->seat, 0, 4711);
}

void fixture_done(struct fixture *fixture)
{
	upstream_release(&fixture->upstream);
	(void)registry_sweep(fixture->registry);
	registry_free(fixture->registry);
	arena_done(&fixture->arena);
}

static int pick(struct fixture *fixture, struct balance_ask *ask)
{
	const struct endpoint_conf *chosen;

	ask->upstream = &fixture->upstream;
	ask->seat = &fixture->seat;
	ask->now_ms = fixture->now_ms;
	chosen = balance_pick(ask);
	return chosen ? (int)(chosen - fixture->upstream.endpoints) : -1;
}

int fixture_pick(struct fixture *fixture)
{
	struct balance_ask ask = {.again = true};

	return pick(fixture, &ask);
}

int fixture_pick_key(struct fixture *fixture, uint64_t key)
{
	struct balance_ask ask = {.again = true, .has_key = true, .key = key};

	return pick(fixture, &ask);
}

int fixture_pick_again(struct fixture *fixture, const uint16_t *tried, unsigned int tried_count,
		       bool again)
{
	struct balance_ask ask = {.again = again, .tried = tried, .tried_count = tried_count};

	return pick(fixture, &ask);
}

struct endpoint *fixture_endpoint(struct fixture *fixture, unsigned int index)
{
	return fixture->upstream.endpoints[index].endpoint;
}

void fixture_eject(struct fixture *fixture, unsigned int index, uint64_t time_ms)
{
	atomic_store(&fixture_endpoint(fixture, index)->ejected_until_ms,
		     fixture->now_ms + time_ms);
}
