#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "abi/flow_rules.h"
#include "kern/service_internal.h"
#include "test_support.h"
#include "tests/unit/kern/service_memory.h"

#define SECOND	   1000000000ULL
#define START	   (1000 * SECOND)
#define KEYS	   1024
#define RANGES	   16
#define SERVICES   8
#define BACKENDS   2048
#define SLOTS	   (3 * SERVICE_SLOTS_DEFAULT)
#define LINES	   64
#define POOL_MAX   256
#define EVENTS_MAX 64
#define NAT_TABLE  5

struct fixture {
	struct service_set set;
	struct service_conf conf;
	struct ip_addr addresses[2];
	struct service_ports ports[2];
	struct service_backend pool[POOL_MAX];
	enum service_event events[EVENTS_MAX];
	unsigned int event_count;
	struct sl_nat_line *nat_lines; /* of index NAT_TABLE */
};

static void note_event(enum service_event event, const char *service, const char *backend,
		       void *arg)
{
	struct fixture *fixture = arg;

	if (fixture->event_count < EVENTS_MAX)
		fixture->events[fixture->event_count++] = event;
}

static struct ip_addr address(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &addr), 0);
	return addr;
}

static void fixture_init(struct fixture *fixture, unsigned int backends, uint8_t protocol)
{
	struct service_maps *maps = &fixture->set.maps;

	memset(fixture, 0, sizeof(*fixture));
	*maps = (struct service_maps){
		.key_count = KEYS,
		.range_count = RANGES,
		.service_count = SERVICES,
		.backend_count = BACKENDS,
		.slot_count = SLOTS,
		.line_count = LINES,
	};
	service_memory_init(maps);
	fixture->set.on_event = note_event;
	fixture->set.arg = fixture;
	fixture->addresses[0] = address("192.0.2.1");
	fixture->ports[0] = (struct service_ports){80, 80};
	for (unsigned int i = 0; i < backends; i++) {
		fixture->pool[i].addr = address("10.0.0.1");
		fixture->pool[i].addr.bytes[3] = (uint8_t)(i + 1);
		fixture->pool[i].weight = 100;
	}
	fixture->conf = (struct service_conf){
		.name = STR("web"),
		.addresses = fixture->addresses,
		.address_count = 1,
		.ports = fixture->ports,
		.port_count = 1,
		.protocol = protocol,
		.backends = fixture->pool,
		.backend_count = backends,
		.drain_ms = 5000000,
	};
}

static int open_nat_table(void *arg, uint32_t index, struct sl_nat_line **ret_lines)
{
	struct fixture *fixture = arg;

	if (index != NAT_TABLE)
		return -ENOENT;
	*ret_lines = fixture->nat_lines;
	return fixture->nat_lines ? 0 : -EACCES;
}

static void close_nat_table(struct sl_nat_line *lines)
{
	assert_non_null(lines);
}

static void fixture_use_nat(struct fixture *fixture)
{
	struct service_maps *maps = &fixture->set.maps;

	fixture->nat_lines = calloc(SL_NAT_LINES, sizeof(*fixture->nat_lines));
	assert_non_null(fixture->nat_lines);
	maps->nat_open = open_nat_table;
	maps->nat_close = close_nat_table;
	maps->nat_arg = fixture;
	fixture->conf.forward = SL_FORWARD_NAT;
}

static void fixture_done(struct fixture *fixture)
{
	free(fixture->nat_lines);
	service_memory_done(&fixture->set.maps);
}

static int apply_all(struct fixture *fixture, const struct service_conf *confs, unsigned int count,
		     uint64_t now_ns)
{
	struct error err = {0};
	int r = service_set_apply(&fixture->set, confs, count, now_ns, &err);

	assert_int_equal(r != 0, err.text[0] != '\0');
	return r;
}

static void apply(struct fixture *fixture, uint64_t now_ns)
{
	assert_int_equal(apply_all(fixture, &fixture->conf, 1, now_ns), 0);
}

/* A fresh set over the same maps: what a restarted daemon has. */
static void restart(struct fixture *fixture)
{
	struct service_maps maps = fixture->set.maps;

	fixture->set = (struct service_set){.maps = maps, .on_event = note_event, .arg = fixture};
}

static uint32_t slot_of(const struct fixture *fixture, uint32_t slot)
{
	return fixture->set.maps.slots[fixture->set.maps.services[0].slot_base + slot].word;
}

static void count_phases(const struct fixture *fixture, unsigned int *ret_counts)
{
	memset(ret_counts, 0, 4 * sizeof(*ret_counts));
	for (uint32_t i = 0; i < fixture->set.maps.services[0].slot_count; i++)
		ret_counts[SL_SLOT_PHASE(slot_of(fixture, i))]++;
}

static unsigned int count_current(const struct fixture *fixture, uint32_t index)
{
	unsigned int count = 0;

	for (uint32_t i = 0; i < fixture->set.maps.services[0].slot_count; i++)
		count += SL_SLOT_CURRENT(slot_of(fixture, i)) == index;
	return count;
}

/* Number of the service that BPF would find, or -1: the search of bpf/lib/service.h. */
static int look_up(const struct fixture *fixture, const char *text, uint16_t port, uint8_t protocol)
{
	const struct service_maps *maps = &fixture->set.maps;
	struct ip_addr addr = address(text);
	uint32_t be[4];

	service_addr_be(&addr, be);
	for (uint32_t probe = 0; probe < SL_SERVICE_PROBES; probe++) {
		uint32_t place = (service_key_place(be, port, protocol, KEYS) + probe) & (KEYS - 1);
		const struct sl_service_key *key = &maps->keys[place];

		if (key->value == SL_SERVICE_KEY_EMPTY)
			return -1;
		if (key->value != SL_SERVICE_KEY_REMOVED && key->port == port &&
		    key->protocol == protocol && !memcmp(key->addr_be, be, sizeof(be)))
			return (int)key->value - 1;
	}
	return -1;
}

/* ---- tables ---- */

static void test_slots_are_shared_by_weight_and_balanced(void **state)
{
	static const unsigned int counts[] = {2, 10, 100};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
		for (unsigned int weighted = 0; weighted < 2; weighted++) {
			struct fixture fixture;
			unsigned int total = 0;

			fixture_init(&fixture, counts[i], IPPROTO_TCP);
			for (unsigned int j = 0; j < counts[i]; j++) {
				if (weighted)
					fixture.pool[j].weight = 1 + j % 5 * 10;
				total += fixture.pool[j].weight;
			}
			apply(&fixture, START);
			for (unsigned int j = 0; j < counts[i]; j++) {
				double share = (double)fixture.pool[j].weight / total;
				double slots = count_current(&fixture, j + 1);
				double has = slots / SERVICE_SLOTS_DEFAULT;

				assert_true(has - share < 0.005 && share - has < 0.005);
				assert_true(weighted || has <= share * 1.05);
			}
			assert_int_equal(count_current(&fixture, 0), 0);
			fixture_done(&fixture);
		}
}

static void test_few_slots_of_the_others_move_when_a_backend_leaves(void **state)
{
	static const unsigned int counts[] = {10, 100};

	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		struct fixture fixture;
		uint32_t *before = calloc(SERVICE_SLOTS_DEFAULT, sizeof(*before));
		unsigned int moved = 0, others = 0;

		assert_non_null(before);
		fixture_init(&fixture, counts[i], IPPROTO_TCP);
		apply(&fixture, START);
		for (uint32_t j = 0; j < SERVICE_SLOTS_DEFAULT; j++)
			before[j] = SL_SLOT_CURRENT(slot_of(&fixture, j));
		fixture.conf.backend_count--;
		apply(&fixture, START);
		for (uint32_t j = 0; j < SERVICE_SLOTS_DEFAULT; j++) {
			if (before[j] == counts[i])
				continue;
			others++;
			moved += SL_SLOT_CURRENT(slot_of(&fixture, j)) != before[j];
		}
		assert_true(moved * 100 <= others);
		assert_int_equal(count_current(&fixture, counts[i]), 0);
		free(before);
		fixture_done(&fixture);
	}
}

/* ---- phases ---- */

static void test_tcp_change_is_split_then_recorded_then_listed_then_clean(void **state)
{
	struct fixture fixture;
	unsigned int phases[4], changed;

	fixture_init(&fixture, 4, IPPROTO_TCP);
	apply(&fixture, START);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_CLEAN], SERVICE_SLOTS_DEFAULT);

	fixture.pool[0].drained = true;
	apply(&fixture, START);
	count_phases(&fixture, phases);
	changed = phases[SL_PHASE_SPLIT];
	assert_true(changed >= SERVICE_SLOTS_DEFAULT / 4);
	assert_int_equal(phases[SL_PHASE_CLEAN], SERVICE_SLOTS_DEFAULT - changed);

	service_set_tick(&fixture.set, START + 299 * SECOND);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_SPLIT], changed);
	service_set_tick(&fixture.set, START + 300 * SECOND);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_RECORD], changed);
	service_set_tick(&fixture.set, START + 599 * SECOND);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_RECORD], changed);
	/* An entry keeps its slot listed. */
	for (uint32_t i = 0; i < SERVICE_SLOTS_DEFAULT; i++)
		if (SL_SLOT_PHASE(slot_of(&fixture, i)) == SL_PHASE_RECORD) {
			fixture.set.maps.flows[3].entries[1] =
				((((uint64_t)i << 32) / SERVICE_SLOTS_DEFAULT + 1) << 32) | 1;
			break;
		}
	service_set_tick(&fixture.set, START + 600 * SECOND);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_LISTED], changed);
	service_set_tick(&fixture.set, START + 605 * SECOND); /* the next scan */
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_LISTED], 1);
	assert_int_equal(phases[SL_PHASE_CLEAN], SERVICE_SLOTS_DEFAULT - 1);
	fixture.set.maps.flows[3].entries[1] = 0;
	service_set_tick(&fixture.set, START + 610 * SECOND);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_CLEAN], SERVICE_SLOTS_DEFAULT);
	assert_int_equal(fixture.set.maps.phases[0].begun_boot_ns, 0);
	fixture_done(&fixture);
}

static void test_udp_change_begins_recorded(void **state)
{
	struct fixture fixture;
	unsigned int phases[4];

	fixture_init(&fixture, 3, IPPROTO_UDP);
	apply(&fixture, START);
	fixture.pool[0].weight = 10;
	apply(&fixture, START);
	count_phases(&fixture, phases);
	assert_true(phases[SL_PHASE_RECORD] > 0);
	assert_int_equal(phases[SL_PHASE_SPLIT], 0);
	/* Who comes while others are recorded waits for the next turn, to be recorded as long. */
	fixture.pool[1].weight = 10;
	apply(&fixture, START + 30 * SECOND);
	count_phases(&fixture, phases);
	assert_true(phases[SL_PHASE_SPLIT] > 0);
	service_set_tick(&fixture.set, START + 60 * SECOND);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_SPLIT], 0);
	assert_true(phases[SL_PHASE_RECORD] > 0);
	service_set_tick(&fixture.set, START + 119 * SECOND);
	count_phases(&fixture, phases);
	assert_true(phases[SL_PHASE_RECORD] > 0);
	service_set_tick(&fixture.set, START + 120 * SECOND);
	count_phases(&fixture, phases);
	assert_int_equal(phases[SL_PHASE_RECORD], 0);
	fixture_done(&fixture);
}

static unsigned int count_recorded(const struct fixture *fixture)
{
	unsigned int phases[4];

	count_phases(fixture, phases);
	return phases[SL_PHASE_RECORD];
}

static void test_recording_ends_r_after_the_last_refused_insert(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	apply(&fixture, START);
	fixture.pool[0].drained = true;
	apply(&fixture, START);
	/* Recording begins in time, so that those that found no room may be listed. */
	fixture.set.refused = 5;
	service_set_tick(&fixture.set, START + 300 * SECOND);
	assert_true(count_recorded(&fixture) > 0);
	fixture.set.refused = 6;
	service_set_tick(&fixture.set, START + 500 * SECOND);
	service_set_tick(&fixture.set, START + 601 * SECOND);
	assert_true(count_recorded(&fixture) > 0);
	service_set_tick(&fixture.set, START + 799 * SECOND);
	assert_true(count_recorded(&fixture) > 0);
	service_set_tick(&fixture.set, START + 800 * SECOND);
	assert_int_equal(count_recorded(&fixture), 0);
	fixture_done(&fixture);
}

static void test_refusals_before_a_restart_and_while_no_daemon_ran_are_waited_for(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	apply(&fixture, START);
	fixture.pool[0].drained = true;
	apply(&fixture, START);
	service_set_tick(&fixture.set, START + 300 * SECOND);
	fixture.set.refused = 6;
	service_set_tick(&fixture.set, START + 400 * SECOND);
	restart(&fixture);
	fixture.set.refused = 6;
	apply(&fixture, START + 600 * SECOND);
	service_set_tick(&fixture.set, START + 600 * SECOND);
	assert_true(count_recorded(&fixture) > 0);
	restart(&fixture);
	fixture.set.refused = 7;
	apply(&fixture, START + 650 * SECOND);
	/* When it was is not known: R begins with the first look. */
	service_set_tick(&fixture.set, START + 650 * SECOND);
	service_set_tick(&fixture.set, START + 700 * SECOND);
	service_set_tick(&fixture.set, START + 949 * SECOND);
	assert_true(count_recorded(&fixture) > 0);
	service_set_tick(&fixture.set, START + 950 * SECOND);
	assert_int_equal(count_recorded(&fixture), 0);
	fixture_done(&fixture);
}

static void test_refusals_before_a_change_do_not_make_it_longer(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	apply(&fixture, START);
	fixture.set.refused = 3;
	service_set_tick(&fixture.set, START + 99 * SECOND);
	fixture.pool[0].drained = true;
	apply(&fixture, START + 100 * SECOND);
	service_set_tick(&fixture.set, START + 400 * SECOND);
	assert_true(count_recorded(&fixture) > 0);
	service_set_tick(&fixture.set, START + 700 * SECOND);
	assert_int_equal(count_recorded(&fixture), 0);
	fixture_done(&fixture);
}

static void test_drain_that_ends_before_the_change_sends_the_rest_elsewhere(void **state)
{
	struct fixture fixture;
	struct sl_backend *backend;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	fixture.conf.drain_ms = 30000;
	apply(&fixture, START);
	backend = &fixture.set.maps.backends[fixture.set.maps.services[0].backend_base + 1];
	fixture.pool[0].drained = true;
	apply(&fixture, START);
	assert_int_equal(count_current(&fixture, 1), 0);
	service_set_tick(&fixture.set, START + 29 * SECOND);
	assert_int_equal(backend->flags, SL_BACKEND_LIVE);
	service_set_tick(&fixture.set, START + 30 * SECOND);
	assert_int_equal(backend->flags, SL_BACKEND_LIVE | SL_BACKEND_DEAD);
	for (uint32_t i = 0; i < SERVICE_SLOTS_DEFAULT; i++)
		assert_int_not_equal(SL_SLOT_PREVIOUS(slot_of(&fixture, i)), 1);
	assert_int_equal(fixture.events[fixture.event_count - 1], SERVICE_BACKEND_DRAINED);
	/* Undrained, it is as before. */
	fixture.pool[0].drained = false;
	apply(&fixture, START + 40 * SECOND);
	assert_int_equal(backend->flags, SL_BACKEND_LIVE);
	assert_true(count_current(&fixture, 1) > SERVICE_SLOTS_DEFAULT / 3 - 100);
	fixture_done(&fixture);
}

static void test_backend_that_is_down_leaves_at_once_and_returns_by_phases(void **state)
{
	struct fixture fixture;
	unsigned int phases[4];
	struct sl_backend *backend;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	apply(&fixture, START);
	backend = &fixture.set.maps.backends[fixture.set.maps.services[0].backend_base + 2];
	assert_int_equal(
		service_set_health(&fixture.set, "web", &fixture.pool[1].addr, 0, false, START), 0);
	assert_int_equal(backend->flags, SL_BACKEND_LIVE | SL_BACKEND_DEAD);
	assert_int_equal(count_current(&fixture, 2), 0);
	count_phases(&fixture, phases);
	/* Its own slots have nothing to split; of the others' hardly any move. */
	assert_true(phases[SL_PHASE_SPLIT] * 50 < SERVICE_SLOTS_DEFAULT);
	assert_int_equal(service_set_health(&fixture.set, "web", &fixture.pool[1].addr, 0, true,
					    START + SECOND),
			 0);
	assert_int_equal(backend->flags, SL_BACKEND_LIVE);
	assert_true(count_current(&fixture, 2) > SERVICE_SLOTS_DEFAULT / 3 - 100);
	count_phases(&fixture, phases);
	assert_true(phases[SL_PHASE_SPLIT] > SERVICE_SLOTS_DEFAULT / 3 - 100);
	assert_int_equal(
		service_set_health(&fixture.set, "web", &fixture.addresses[0], 0, true, START),
		-ENOENT);
	fixture_done(&fixture);
}

static void test_service_without_a_backend_that_takes_new_connections_has_none(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, 2, IPPROTO_TCP);
	fixture.pool[0].drained = fixture.pool[1].drained = true;
	apply(&fixture, START);
	assert_int_equal(count_current(&fixture, 0), SERVICE_SLOTS_DEFAULT);
	fixture.pool[0].drained = false;
	apply(&fixture, START);
	assert_int_equal(count_current(&fixture, 1), SERVICE_SLOTS_DEFAULT);
	fixture_done(&fixture);
}

/* ---- numbers of backends ---- */

static void test_number_is_used_again_only_when_nothing_names_it(void **state)
{
	struct fixture fixture;
	struct sl_backend_info *info;
	uint64_t *entry;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	fixture.conf.drain_ms = 30000;
	apply(&fixture, START);
	info = &fixture.set.maps.backend_info[fixture.set.maps.services[0].backend_base + 3];
	entry = (uint64_t *)&fixture.set.maps.flows[1].entries[0];
	*entry = (77ULL << SL_FLOW_TAG_AT) | (fixture.set.maps.services[0].backend_base + 3);
	fixture.conf.backend_count = 2;
	apply(&fixture, START);
	assert_true(info->state & SL_BACKEND_REMOVED);
	service_slots_scan(&fixture.set, START + 10 * SECOND);
	assert_true(info->state & SL_BACKEND_USED);
	assert_int_not_equal(*entry, 0);
	/* Another backend meanwhile gets another number. */
	fixture.pool[2].addr.bytes[3] = 99;
	fixture.conf.backend_count = 3;
	apply(&fixture, START + 11 * SECOND);
	assert_int_equal(
		fixture.set.maps.backends[fixture.set.maps.services[0].backend_base + 4].flags,
		SL_BACKEND_LIVE);
	service_set_tick(&fixture.set, START + 30 * SECOND);
	assert_true(info->state & SL_BACKEND_OVER);
	service_slots_scan(&fixture.set, START + 40 * SECOND);
	assert_int_equal(*entry, 0);
	service_slots_scan(&fixture.set, START + 50 * SECOND);
	assert_int_equal(info->state, 0);
	fixture_done(&fixture);
}

static __u64 *nat_value(struct fixture *fixture, uint32_t port, uint32_t backend)
{
	__u64 *value = &fixture->nat_lines[port / SL_NAT_WAYS].entries[port % SL_NAT_WAYS].value;

	*value = SL_NAT_VALUE(fixture->set.maps.services[0].backend_base + backend, 80, 7,
			      SL_NAT_ESTABLISHED, 0);
	return value;
}

static void test_number_is_used_again_only_when_no_nat_entry_names_it(void **state)
{
	struct fixture fixture;
	struct sl_nat_line *lines;
	struct sl_backend_info *info;
	__u64 *stays, *goes;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	fixture_use_nat(&fixture);
	fixture.conf.drain_ms = 30000;
	apply(&fixture, START);
	info = &fixture.set.maps.backend_info[fixture.set.maps.services[0].backend_base + 3];
	stays = nat_value(&fixture, 1024, 1);
	goes = nat_value(&fixture, 65535, 3);
	fixture.conf.backend_count = 2;
	apply(&fixture, START);
	for (unsigned int second = 1; second < 30; second++)
		service_set_tick(&fixture.set, START + second * SECOND);
	assert_int_not_equal(*goes, 0); /* its flows go on while it drains */
	/* A table that cannot be read may hold anything. */
	lines = fixture.nat_lines;
	fixture.nat_lines = NULL;
	for (unsigned int second = 30; second < 60; second++)
		service_set_tick(&fixture.set, START + second * SECOND);
	assert_int_equal(info->state & (SL_BACKEND_USED | SL_BACKEND_OVER),
			 SL_BACKEND_USED | SL_BACKEND_OVER);
	fixture.nat_lines = lines;
	for (unsigned int second = 60; second < 120 && info->state; second++)
		service_set_tick(&fixture.set, START + second * SECOND);
	assert_int_equal(info->state, 0);
	assert_int_equal(*goes, 0);
	assert_int_not_equal(*stays, 0);
	fixture_done(&fixture);
}

static void test_places_of_a_nat_service_are_free_when_no_entry_names_them(void **state)
{
	struct fixture fixture;
	struct sl_service_info *info;
	__u64 *value;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	fixture_use_nat(&fixture);
	apply(&fixture, START);
	value = nat_value(&fixture, 4096, 2);
	info = &fixture.set.maps.service_info[0];
	assert_int_equal(apply_all(&fixture, NULL, 0, START + SECOND), 0);
	assert_int_equal(info->use, SL_SERVICE_LEAVING);
	service_set_tick(&fixture.set, START + SECOND); /* the grace time */
	assert_int_not_equal(*value, 0);
	service_set_tick(&fixture.set, START + 2 * SECOND);
	assert_int_equal(info->use, SL_SERVICE_LEAVING);
	assert_int_equal(*value, 0);
	service_set_tick(&fixture.set, START + 3 * SECOND);
	assert_int_equal(info->use, SL_SERVICE_FREE);
	fixture_done(&fixture);
}

static void test_backend_that_comes_back_keeps_its_number(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, 3, IPPROTO_TCP);
	apply(&fixture, START);
	fixture.conf.backend_count = 2;
	apply(&fixture, START);
	fixture.conf.backend_count = 3;
	apply(&fixture, START);
	assert_true(count_current(&fixture, 3) > SERVICE_SLOTS_DEFAULT / 3 - 100);
	assert_int_equal(count_current(&fixture, 4), 0);
	fixture_done(&fixture);
}

/* ---- restarts ---- */

static void test_restart_writes_nothing_anew_and_goes_on_with_the_change(void **state)
{
	struct fixture fixture;
	struct service_slot *before = calloc(SLOTS, sizeof(*before));
	struct sl_phase_times times;
	unsigned int phases[4];

	assert_non_null(before);
	fixture_init(&fixture, 5, IPPROTO_TCP);
	apply(&fixture, START);
	fixture.pool[1].drained = true;
	apply(&fixture, START + SECOND);
	memcpy(before, fixture.set.maps.slots, SLOTS * sizeof(*before));
	times = fixture.set.maps.phases[0];
	restart(&fixture);
	fixture.event_count = 0;
	apply(&fixture, START + 100 * SECOND);
	assert_memory_equal(before, fixture.set.maps.slots, SLOTS * sizeof(*before));
	assert_memory_equal(&times, &fixture.set.maps.phases[0], sizeof(times));
	assert_int_equal(fixture.event_count, 0);
	service_set_tick(&fixture.set, START + 301 * SECOND);
	count_phases(&fixture, phases);
	assert_true(phases[SL_PHASE_RECORD] > 0);
	free(before);
	fixture_done(&fixture);
}

/* ---- addresses ---- */

static void test_addresses_and_ports_lead_to_their_service_and_go_with_it(void **state)
{
	struct fixture fixture;
	struct service_conf confs[2];
	struct ip_addr six = address("2001:db8::1");
	struct service_ports ports[2] = {{53, 53}, {1000, 2000}};

	fixture_init(&fixture, 2, IPPROTO_TCP);
	confs[0] = fixture.conf;
	confs[1] = fixture.conf;
	confs[1].name = STR("dns");
	confs[1].addresses = &six;
	confs[1].ports = ports;
	confs[1].port_count = 2;
	confs[1].protocol = 0;
	assert_int_equal(apply_all(&fixture, confs, 2, START), 0);
	assert_int_equal(look_up(&fixture, "192.0.2.1", 80, IPPROTO_TCP), 0);
	assert_int_equal(look_up(&fixture, "192.0.2.1", 80, IPPROTO_UDP), -1);
	assert_int_equal(look_up(&fixture, "192.0.2.1", 81, IPPROTO_TCP), -1);
	assert_int_equal(look_up(&fixture, "2001:db8::1", 53, IPPROTO_TCP), 1);
	assert_int_equal(look_up(&fixture, "2001:db8::1", 53, IPPROTO_UDP), 1);
	assert_int_equal(look_up(&fixture, "2001:db8::1", 0, 0), (int)SL_SERVICE_KEY_ADDRESS - 1);
	assert_int_equal(fixture.set.maps.state->key_count, 5);
	assert_int_equal(fixture.set.maps.state->range_count, 1);
	assert_int_equal(apply_all(&fixture, &confs[1], 1, START + SECOND), 0);
	assert_int_equal(look_up(&fixture, "192.0.2.1", 80, IPPROTO_TCP), -1);
	assert_int_equal(fixture.set.maps.state->key_count, 3);
	assert_int_equal(fixture.set.maps.service_info[0].use, SL_SERVICE_LEAVING);
	service_set_tick(&fixture.set, START + 2 * SECOND);
	assert_int_equal(fixture.set.maps.service_info[0].use, SL_SERVICE_FREE);
	assert_int_equal(apply_all(&fixture, NULL, 0, START + 3 * SECOND), 0);
	assert_int_equal(fixture.set.maps.state->key_count, 0);
	assert_int_equal(fixture.set.maps.state->range_count, 0);
	fixture_done(&fixture);
}

static void test_change_of_affinity_makes_a_new_service_beside_the_old_one(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, 2, IPPROTO_TCP);
	apply(&fixture, START);
	fixture.conf.affinity = SL_AFFINITY_SOURCE;
	apply(&fixture, START + SECOND);
	assert_int_equal(look_up(&fixture, "192.0.2.1", 80, IPPROTO_TCP), 1);
	assert_int_equal(fixture.set.maps.services[0].flags, 0);
	assert_int_equal(fixture.set.maps.services[1].affinity, SL_AFFINITY_SOURCE);
	assert_int_equal(fixture.events[fixture.event_count - 1], SERVICE_REPLACED);
	fixture_done(&fixture);
}

static void test_what_does_not_fit_changes_nothing(void **state)
{
	struct fixture fixture;
	struct service_conf confs[4];
	struct sl_service_key *keys = calloc(KEYS, sizeof(*keys));

	assert_non_null(keys);
	fixture_init(&fixture, 2, IPPROTO_TCP);
	apply(&fixture, START);
	memcpy(keys, fixture.set.maps.keys, KEYS * sizeof(*keys));
	/* The same place twice. */
	confs[0] = confs[1] = fixture.conf;
	confs[1].name = STR("other");
	assert_int_equal(apply_all(&fixture, confs, 2, START), -EEXIST);
	/* More slots than there are. */
	for (unsigned int i = 0; i < ARRAY_SIZE(confs); i++) {
		static const char *const names[] = {"web", "b", "c", "d"};
		static struct service_ports ports[] = {{80, 80}, {81, 81}, {82, 82}, {83, 83}};

		confs[i] = fixture.conf;
		confs[i].name = str_from_cstr(names[i]);
		confs[i].ports = &ports[i];
	}
	assert_int_equal(apply_all(&fixture, confs, 4, START), -ENOSPC);
	assert_memory_equal(keys, fixture.set.maps.keys, KEYS * sizeof(*keys));
	assert_int_equal(fixture.set.maps.service_info[1].use, SL_SERVICE_FREE);
	assert_int_equal(apply_all(&fixture, confs, 3, START), 0);
	free(keys);
	fixture_done(&fixture);
}

static void test_number_of_slots_is_a_prime_with_room_for_each_backend(void **state)
{
	assert_int_equal(service_slots_choose(1), SERVICE_SLOTS_DEFAULT);
	assert_int_equal(service_slots_choose(655), SERVICE_SLOTS_DEFAULT);
	assert_int_equal(service_slots_choose(1000), 200003);
	assert_int_equal(service_slots_prime(1000), 1009);
	assert_int_equal(service_slots_prime(SERVICE_SLOTS_MAX), SERVICE_SLOTS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_are_shared_by_weight_and_balanced),
		cmocka_unit_test(test_few_slots_of_the_others_move_when_a_backend_leaves),
		cmocka_unit_test(test_tcp_change_is_split_then_recorded_then_listed_then_clean),
		cmocka_unit_test(test_udp_change_begins_recorded),
		cmocka_unit_test(test_recording_ends_r_after_the_last_refused_insert),
		cmocka_unit_test(
			test_refusals_before_a_restart_and_while_no_daemon_ran_are_waited_for),
		cmocka_unit_test(test_refusals_before_a_change_do_not_make_it_longer),
		cmocka_unit_test(test_drain_that_ends_before_the_change_sends_the_rest_elsewhere),
		cmocka_unit_test(test_backend_that_is_down_leaves_at_once_and_returns_by_phases),
		cmocka_unit_test(
			test_service_without_a_backend_that_takes_new_connections_has_none),
		cmocka_unit_test(test_number_is_used_again_only_when_nothing_names_it),
		cmocka_unit_test(test_number_is_used_again_only_when_no_nat_entry_names_it),
		cmocka_unit_test(test_places_of_a_nat_service_are_free_when_no_entry_names_them),
		cmocka_unit_test(test_backend_that_comes_back_keeps_its_number),
		cmocka_unit_test(test_restart_writes_nothing_anew_and_goes_on_with_the_change),
		cmocka_unit_test(test_addresses_and_ports_lead_to_their_service_and_go_with_it),
		cmocka_unit_test(test_change_of_affinity_makes_a_new_service_beside_the_old_one),
		cmocka_unit_test(test_what_does_not_fit_changes_nothing),
		cmocka_unit_test(test_number_of_slots_is_a_prime_with_room_for_each_backend),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
