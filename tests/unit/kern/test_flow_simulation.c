/*
 * How many established connections change their backend when backends do: the rules that sl_main
 * runs (abi/flow_rules.h) under the daemon's own scheduler (kern/service.h) over maps in memory,
 * with a clock of ours, beside an LRU table of the same number of entries, which is what balancers
 * usually have. The daemon is restarted every now and then: all it needs to know is in the maps.
 *
 * 100 backends, five events a minute apart: one is drained, one added, one dies, the drained one
 * comes back, ten have their weights halved. Connections of the backend that dies are lost by its
 * death and not counted. The table has as many entries for a connection as 2^20 for a million have,
 * so a flood of 10 packets a second and connection stands for 10 million a second.
 *
 * 30,000 connections; under floods an eighth of that, entries and flood too, for the seconds they
 * take. With SLUICE_LONG=1, and no sanitizer, all of it and a million. Counts depend on the seed
 * alone.
 */
#include "tests/unit/test_support.h"

#include <math.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "abi/flow_rules.h"
#include "base/util.h"
#include "kern/service.h"
#include "tests/unit/kern/flow_workload.h"
#include "tests/unit/kern/service_memory.h"

#define BACKENDS      101
#define KEYS	      64
#define RANGES	      4
#define SERVICES      2
#define BOOT_S	      1000.0 /* CLOCK_BOOTTIME when it begins */
#define NS_PER_S      1e9
#define HZ	      250
#define CHANGE_FIRST  100.0 /* s */
#define CHANGE_EVERY  60.0
#define CHANGES	      5
#define IDLE_S	      SERVICE_TCP_IDLE_S /* R: no shorter gap may break a connection */
#define END_S	      1100.0
#define FLOOD_BEGIN_S 50.0
#define FLOOD_END_S   400.0
#define TICK_S	      1.0
#define RESTART_S     70.0
#define SWEEP_S	      2.5

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLOWED_DOWN true
#else
#define SLOWED_DOWN false
#endif

/* An exact LRU of flow -> backend. */
struct lru {
	uint32_t entry_count, bucket_mask, used, newest, oldest;
	uint32_t *buckets, *chain, *newer, *older;
	uint64_t *hashes;
	uint16_t *backends;
};

#define NOBODY 0xffffffffU

struct simulation {
	bool is_lru;
	struct workload *workload;

	struct service_set set;
	struct service_conf conf;
	struct ip_addr address;
	struct service_ports ports;
	struct service_backend backends[BACKENDS];
	struct sl_flow_counts counts;
	struct flow_now now;

	struct lru lru;

	uint64_t packets, flow_count, broken, broken_early, to_draining;
	uint64_t broken_by[CHANGES + 1];
	unsigned int change_count;
};

/* is_dead() of the rules has no argument of ours. */
static const struct sl_backend *pool;

static const struct sl_flow_clock flow_clock = {
	.fine_shift = 3,    /* 32 ms */
	.coarse_shift = 10, /* 4.096 s */
	.probation_fine = 94,
	.idle_coarse = 73,
	.closing_coarse = 8,
	.hz = HZ,
};

static int is_dead(uint32_t number)
{
	return (pool[number].flags & (SL_BACKEND_LIVE | SL_BACKEND_DEAD)) != SL_BACKEND_LIVE;
}

static bool is_dead_index(const struct simulation *it, uint32_t index)
{
	return is_dead(it->set.maps.services[0].backend_base + index);
}

/* Exact LRU. */

static void lru_init(struct lru *it, uint32_t entry_count)
{
	uint32_t bucket_count = entry_count * 2;

	*it = (struct lru){.entry_count = entry_count, .newest = NOBODY, .oldest = NOBODY};
	it->bucket_mask = bucket_count - 1;
	it->buckets = calloc(bucket_count, sizeof(*it->buckets));
	it->chain = calloc(entry_count, sizeof(*it->chain));
	it->newer = calloc(entry_count, sizeof(*it->newer));
	it->older = calloc(entry_count, sizeof(*it->older));
	it->hashes = calloc(entry_count, sizeof(*it->hashes));
	it->backends = calloc(entry_count, sizeof(*it->backends));
	assert_true(it->buckets && it->chain && it->newer && it->older && it->hashes &&
		    it->backends);
	memset(it->buckets, 0xff, sizeof(*it->buckets) * bucket_count);
}

static void lru_done(struct lru *it)
{
	free(it->buckets);
	free(it->chain);
	free(it->newer);
	free(it->older);
	free(it->hashes);
	free(it->backends);
}

static void lru_unlink(struct lru *it, uint32_t at)
{
	if (it->newer[at] != NOBODY)
		it->older[it->newer[at]] = it->older[at];
	else
		it->newest = it->older[at];
	if (it->older[at] != NOBODY)
		it->newer[it->older[at]] = it->newer[at];
	else
		it->oldest = it->newer[at];
}

static void lru_link(struct lru *it, uint32_t at)
{
	it->newer[at] = NOBODY;
	it->older[at] = it->newest;
	if (it->newest != NOBODY)
		it->newer[it->newest] = at;
	else
		it->oldest = at;
	it->newest = at;
}

static uint32_t lru_make_room(struct lru *it)
{
	uint32_t at = it->oldest, *link;

	if (it->used < it->entry_count)
		return it->used++;
	lru_unlink(it, at);
	for (link = &it->buckets[it->hashes[at] & it->bucket_mask]; *link != at;)
		link = &it->chain[*link];
	*link = it->chain[at];
	return at;
}

static uint32_t lru_route(struct lru *it, uint64_t hash, uint32_t current, uint32_t base)
{
	uint32_t at = it->buckets[hash & it->bucket_mask];

	while (at != NOBODY && it->hashes[at] != hash)
		at = it->chain[at];
	if (at != NOBODY) {
		lru_unlink(it, at);
		if (is_dead(base + it->backends[at]))
			it->backends[at] = (uint16_t)current;
	} else {
		at = lru_make_room(it);
		it->hashes[at] = hash;
		it->backends[at] = (uint16_t)current;
		it->chain[at] = it->buckets[hash & it->bucket_mask];
		it->buckets[hash & it->bucket_mask] = at;
	}
	lru_link(it, at);
	return it->backends[at];
}

/* What sl_main does with a packet: bpf/lib/service.h. */

static uint32_t route(struct simulation *it, const struct workload_packet *packet)
{
	const struct service_maps *maps = &it->set.maps;
	const struct sl_service *service = &maps->services[0];
	struct flow_look look = {
		.hash = packet->hash,
		.slot = maps->slots[service->slot_base +
				    flow_slot(packet->hash, service->slot_count)]
				.word,
		.backend_base = service->backend_base,
		.backend_count = service->backend_count,
		.now = it->now,
		.is_syn = packet->is_syn,
		.is_fin = packet->is_fin,
	};

	if (it->is_lru)
		return lru_route(&it->lru, packet->hash, SL_SLOT_CURRENT(look.slot),
				 service->backend_base);
	if (SL_SLOT_PHASE(look.slot) == SL_PHASE_CLEAN)
		return SL_SLOT_CURRENT(look.slot);
	return flow_pick(
		&look, &flow_clock, &maps->flows[flow_line1(packet->hash, maps->line_count)],
		&maps->flows[flow_line2(packet->hash, maps->line_count)], is_dead, &it->counts);
}

/* What the sweeper does: bpf/flow_sweep.bpf.c. */
static void sweep(struct simulation *it)
{
	for (uint32_t line = 0; line < it->set.maps.line_count; line++)
		for (unsigned int way = 0; way < SL_FLOW_WAYS; way++) {
			__u64 *entry = &it->set.maps.flows[line].entries[way];

			if (flow_is_stale(*entry, &flow_clock, it->now))
				*entry = 0;
		}
}

/* The service. */

static void set_up(struct simulation *it, uint32_t line_count)
{
	struct service_maps *maps = &it->set.maps;

	*maps = (struct service_maps){
		.key_count = KEYS,
		.range_count = RANGES,
		.service_count = SERVICES,
		.backend_count = BACKENDS * 3,
		.slot_count = SERVICE_SLOTS_DEFAULT,
		.line_count = line_count,
	};
	service_memory_init(maps);
	pool = maps->backends;
	assert_int_equal(ip_addr_parse(STR("192.0.2.53"), &it->address), 0);
	it->ports = (struct service_ports){443, 443};
	for (unsigned int i = 0; i < BACKENDS; i++) {
		assert_int_equal(ip_addr_parse(STR("10.0.0.1"), &it->backends[i].addr), 0);
		it->backends[i].addr.bytes[3] = (uint8_t)(i + 1);
		it->backends[i].weight = 100;
	}
	it->conf = (struct service_conf){
		.name = STR("web"),
		.addresses = &it->address,
		.address_count = 1,
		.ports = &it->ports,
		.port_count = 1,
		.protocol = IPPROTO_TCP,
		.backends = it->backends,
		.backend_count = BACKENDS - 1,
		.drain_ms = SERVICE_DRAIN_MAX_MS, /* no drain is over before the end */
		.health = {.enabled = true},	  /* else who is down is up after a restart */
	};
}

static void tear_down(struct simulation *it)
{
	service_memory_done(&it->set.maps);
}

static uint64_t boot_ns(double now_s)
{
	return (uint64_t)((BOOT_S + now_s) * NS_PER_S);
}

static void apply(struct simulation *it, double now_s)
{
	struct error err = {0};

	if (service_set_apply(&it->set, &it->conf, 1, boot_ns(now_s), &err))
		fail_msg("%s", err.text);
}

static void tick(struct simulation *it, double now_s)
{
	it->set.refused = it->counts.refused + it->counts.displaced;
	service_set_tick(&it->set, boot_ns(now_s));
}

/* As control/services.c begins. */
static void restart(struct simulation *it, double now_s)
{
	it->set = (struct service_set){.maps = it->set.maps, .scan_due = true};
	apply(it, now_s);
}

static void change(struct simulation *it, double now_s)
{
	switch (it->change_count++) {
	case 0: /* drain */
		it->backends[9].drained = true;
		break;
	case 1: /* add */
		it->conf.backend_count = BACKENDS;
		break;
	case 2: /* kill */
		assert_int_equal(service_set_health(&it->set, "web", &it->backends[19].addr, 0,
						    false, boot_ns(now_s)),
				 0);
		return;
	case 3: /* undrain */
		it->backends[9].drained = false;
		break;
	default: /* ten weights halved */
		for (unsigned int i = 29; i < 39; i++)
			it->backends[i].weight = 50;
	}
	apply(it, now_s);
}

static void count(struct simulation *it, const struct workload_packet *packet, double now_s)
{
	uint32_t backend = route(it, packet);
	struct workload_flow *flow = packet->flow;

	it->packets++;
	if (!flow)
		return;
	assert_in_range(backend, 1, BACKENDS);
	if (packet->is_syn) {
		it->flow_count++;
		if (it->backends[backend - 1].drained)
			it->to_draining++;
	} else if (backend != flow->backend && !is_dead_index(it, flow->backend) && !flow->broken) {
		flow->broken = true;
		it->broken++;
		it->broken_by[it->change_count]++;
		if (now_s - flow->last_s < IDLE_S - 5) /* a unit of the clock is 4 s */
			it->broken_early++;
	}
	flow->backend = (uint16_t)backend;
	flow->last_s = (float)now_s;
}

static void run(struct simulation *it)
{
	double next_tick_s = TICK_S, next_sweep_s = SWEEP_S, next_change_s = CHANGE_FIRST;
	double next_restart_s = RESTART_S, now_s;
	struct workload_packet packet;

	do {
		uint64_t jiffies;

		now_s = workload_next(it->workload, &packet);
		jiffies = (uint64_t)(now_s * HZ);
		it->now = flow_now(&flow_clock, jiffies);
		if (it->change_count < CHANGES && now_s >= next_change_s) {
			change(it, now_s);
			next_change_s += CHANGE_EVERY;
		}
		if (now_s >= next_restart_s) {
			restart(it, now_s);
			next_restart_s += RESTART_S;
		}
		if (now_s >= next_tick_s) {
			tick(it, now_s);
			next_tick_s += TICK_S;
		}
		if (!it->is_lru && now_s >= next_sweep_s) {
			sweep(it);
			next_sweep_s += SWEEP_S;
		}
		count(it, &packet, now_s);
	} while (now_s < END_S);
}

struct counted {
	uint64_t broken, broken_early, listed, refused;
};

struct scenario {
	const char *name;
	uint32_t flows;
	uint32_t lines;
	double flood_per_flow_s;
	unsigned int flood_packets;
};

static struct counted simulate(const struct scenario *scenario, uint64_t seed, bool is_lru)
{
	struct workload_config config = {
		.seed = seed,
		.flows = scenario->flows,
		.flood_per_s = scenario->flood_per_flow_s * scenario->flows,
		.flood_packets = scenario->flood_packets,
		.flood_begin_s = FLOOD_BEGIN_S,
		.flood_end_s = FLOOD_END_S,
	};
	struct simulation *it = calloc(1, sizeof(*it));
	struct counted counted;

	assert_non_null(it);
	it->is_lru = is_lru;
	set_up(it, scenario->lines);
	it->workload = workload_new(&config);
	assert_non_null(it->workload);
	lru_init(&it->lru, scenario->lines * SL_FLOW_WAYS);
	apply(it, 0);
	run(it);
	workload_free(it->workload);
	lru_done(&it->lru);
	tear_down(it);
	print_message("%-22s %-5s %8u connections, %9.0f/s flood: broken %llu of %llu (drain %llu, "
		      "add %llu, kill %llu, undrain %llu, halve %llu), %llu of them not idle; "
		      "%llu new to the draining one, %llu refused\n",
		      scenario->name, is_lru ? "LRU" : "rules", scenario->flows, config.flood_per_s,
		      (unsigned long long)it->broken, (unsigned long long)it->flow_count,
		      (unsigned long long)it->broken_by[1], (unsigned long long)it->broken_by[2],
		      (unsigned long long)it->broken_by[3], (unsigned long long)it->broken_by[4],
		      (unsigned long long)it->broken_by[5], (unsigned long long)it->broken_early,
		      (unsigned long long)it->to_draining, (unsigned long long)it->counts.refused);
	counted = (struct counted){it->broken, it->broken_early,
				   it->counts.inserted + it->counts.recorded, it->counts.refused};
	free(it);
	return counted;
}

/*
 * What is to be expected of 30,000 connections. The slowest 600 of them send a packet every 97 s
 * (of the law in flow_workload.h, less what the mean of one a second takes), so 1 in 22 sends none
 * in the R in which old ones are recorded: exp(-300 / 97). Halving ten of a hundred weights moves 5
 * % of the slots, what was drained is back by then: 600 / 22 * 5 % = 1.4. Others hardly count.
 * Counts swing by their root; three times that is let pass.
 */
#define BROKEN_EXPECTED 1.4
/* Under floods the measured counts of the prototype may not be exceeded. */
#define BROKEN_MAX_SYN	12
#define BROKEN_MAX_TWO	55
#define FLOWS_OF_COUNTS 30000

#define SEEDS	   4
#define SEEDS_LONG 20

static const struct scenario quiet = {"quiet", 30000, 4096, 0, 1};
static const struct scenario syn[] = {{"SYN flood", 3750, 512, 10, 1},
				      {"SYN flood", 30000, 4096, 10, 1}};
static const struct scenario two[] = {{"two-packet flood", 3750, 512, 10, 2},
				      {"two-packet flood", 30000, 4096, 10, 2}};

static bool is_long(void)
{
	const char *text = getenv("SLUICE_LONG");

	return text && !strcmp(text, "1") && !SLOWED_DOWN;
}

/* Not one that sent something within R. Returns how many of the others, of all seeds. */
static uint64_t simulate_seeds(const struct scenario *scenario, unsigned int seeds)
{
	uint64_t broken = 0, worst = 0;

	for (uint64_t seed = 1; seed <= seeds; seed++) {
		struct counted counted = simulate(scenario, seed, false);

		assert_int_equal(counted.broken_early, 0);
		assert_true(counted.listed > 0);
		assert_true(scenario->flood_per_flow_s == 0 || counted.refused > 0);
		broken += counted.broken;
		worst = MAX(worst, counted.broken);
	}
	print_message("%-22s rules: %.1f broken on average, %llu at worst, of %u seeds\n",
		      scenario->name, (double)broken / seeds, (unsigned long long)worst, seeds);
	return broken;
}

static uint64_t most_of(double expected)
{
	return (uint64_t)(expected + 3 * sqrt(expected));
}

static void test_changes_break_hardly_a_connection(void **state)
{
	unsigned int seeds = is_long() ? SEEDS_LONG : SEEDS;
	uint64_t broken = simulate_seeds(&quiet, seeds), lru_broken;

	assert_in_range(broken, 0, most_of(BROKEN_EXPECTED * seeds));
	/* What others do breaks far more. */
	lru_broken = simulate(&quiet, 1, true).broken;
	assert_true(lru_broken * seeds > 20 * broken && lru_broken > quiet.flows / 50);
}

static void check_flood(const struct scenario *scenarios, uint64_t max)
{
	const struct scenario *scenario = &scenarios[is_long()];
	unsigned int seeds = is_long() ? SEEDS : 1;
	uint64_t broken = simulate_seeds(scenario, seeds);

	assert_in_range(broken * FLOWS_OF_COUNTS, 0, max * seeds * scenario->flows);
}

static void test_changes_under_a_syn_flood_break_hardly_a_connection(void **state)
{
	check_flood(syn, BROKEN_MAX_SYN);
}

static void test_changes_under_a_flood_of_syn_and_ack_break_hardly_a_connection(void **state)
{
	check_flood(two, BROKEN_MAX_TWO);
}

static void test_changes_break_hardly_one_of_a_million_connections(void **state)
{
	static const struct scenario million = {"quiet", 1000000, 131072, 0, 1};
	double expected = BROKEN_EXPECTED * million.flows / FLOWS_OF_COUNTS;

	assert_in_range(simulate_seeds(&million, 1), 0, most_of(expected));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changes_break_hardly_a_connection),
		cmocka_unit_test(test_changes_under_a_syn_flood_break_hardly_a_connection),
		cmocka_unit_test(
			test_changes_under_a_flood_of_syn_and_ack_break_hardly_a_connection),
		cmocka_unit_test(test_changes_break_hardly_one_of_a_million_connections),
	};

	/* The last one takes minutes. */
	return _cmocka_run_group_tests("flow_simulation", tests,
				       ARRAY_SIZE(tests) - (is_long() ? 0 : 1), NULL, NULL);
}
