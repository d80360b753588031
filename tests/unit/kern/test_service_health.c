#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "kern/service_internal.h"
#include "test_support.h"
#include "tests/unit/kern/service_memory.h"

#define SECOND	 1000000000ULL
#define START	 (1000 * SECOND)
#define SLOTS	 401
#define BACKENDS 4

struct fixture {
	struct service_set set;
	struct service_conf conf;
	struct ip_addr address;
	struct service_ports port;
	struct service_backend pool[BACKENDS];
	unsigned int fails_open, recovered;
};

static void note_event(enum service_event event, const char *service, const char *backend,
		       void *arg)
{
	struct fixture *fixture = arg;

	fixture->fails_open += event == SERVICE_FAILS_OPEN;
	fixture->recovered += event == SERVICE_RECOVERED;
}

static struct ip_addr address(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &addr), 0);
	return addr;
}

static void apply(struct fixture *fixture, uint64_t now_ns)
{
	struct error err = {0};

	assert_int_equal(service_set_apply(&fixture->set, &fixture->conf, 1, now_ns, &err), 0);
}

static void fixture_init(struct fixture *fixture)
{
	memset(fixture, 0, sizeof(*fixture));
	fixture->set.maps = (struct service_maps){
		.key_count = 256,
		.range_count = 4,
		.service_count = 4,
		.backend_count = 128,
		.slot_count = 4 * SLOTS,
		.line_count = 4,
	};
	service_memory_init(&fixture->set.maps);
	fixture->set.on_event = note_event;
	fixture->set.arg = fixture;
	fixture->address = address("192.0.2.1");
	fixture->port = (struct service_ports){80, 80};
	for (unsigned int i = 0; i < BACKENDS; i++) {
		fixture->pool[i].addr = address("10.0.0.1");
		fixture->pool[i].addr.bytes[3] = (uint8_t)(i + 1);
		fixture->pool[i].weight = 100;
	}
	fixture->conf = (struct service_conf){
		.name = STR("web"),
		.addresses = &fixture->address,
		.address_count = 1,
		.ports = &fixture->port,
		.port_count = 1,
		.protocol = IPPROTO_TCP,
		.slot_count = SLOTS,
		.backends = fixture->pool,
		.backend_count = BACKENDS,
		.drain_ms = 3600000,
		.health = {.enabled = true, .interval_ms = 2000, .rise = 2, .fall = 3},
	};
	apply(fixture, START);
}

static void fixture_done(struct fixture *fixture)
{
	service_memory_done(&fixture->set.maps);
}

static uint32_t number_of(const struct fixture *fixture)
{
	uint32_t number = service_set_find(&fixture->set, STR("web"));

	assert_int_not_equal(number, UINT32_MAX);
	return number;
}

static uint32_t place_of(const struct fixture *fixture, unsigned int index)
{
	uint32_t place = service_find_backend(&fixture->set, number_of(fixture),
					      &fixture->pool[index].addr, 0);

	assert_int_not_equal(place, 0);
	return place;
}

static unsigned int slots_of(const struct fixture *fixture, unsigned int index)
{
	const struct sl_service *service = &fixture->set.maps.services[number_of(fixture)];
	uint32_t its = place_of(fixture, index) - service->backend_base;
	unsigned int count = 0;

	for (uint32_t i = 0; i < service->slot_count; i++)
		count += SL_SLOT_CURRENT(fixture->set.maps.slots[service->slot_base + i].word) ==
			 its;
	return count;
}

static bool is_dead(const struct fixture *fixture, unsigned int index)
{
	return fixture->set.maps.backends[place_of(fixture, index)].flags & SL_BACKEND_DEAD;
}

static const char *state_of(const struct fixture *fixture, unsigned int index)
{
	return service_backend_state(&fixture->set.maps.backend_info[place_of(fixture, index)]);
}

static void set_health(struct fixture *fixture, unsigned int index, bool up)
{
	assert_int_equal(service_set_health(&fixture->set, "web", &fixture->pool[index].addr, 0, up,
					    START + SECOND),
			 0);
}

/* ---- one backend ---- */

static void test_fall_failures_in_a_row_are_down_and_rise_successes_up(void **state)
{
	/* '+': the probe succeeded, '-': it failed; what `up` is after each */
	static const struct {
		const char *outcomes, *up;
	} rows[] = {
		{"---", "110"},		{"--+--+---", "111111110"}, {"---+-++", "1100001"},
		{"----+", "11000"},	{"---+-+-+-", "110000000"}, {"++++", "1111"},
		{"---++--", "1100111"}, {"---++---", "11001110"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct service_probe probe = {.up = true, .conf = {.rise = 2, .fall = 3}};

		for (size_t j = 0; rows[i].outcomes[j]; j++) {
			bool was = probe.up, good = rows[i].outcomes[j] == '+';
			bool changed = service_probe_note(&probe, good ? 0 : ECONNREFUSED, START);

			assert_row(rows[i].outcomes, probe.up == (rows[i].up[j] == '1'));
			assert_row(rows[i].outcomes, changed == (was != probe.up));
		}
		assert_row(rows[i].outcomes,
			   probe.succeeded + probe.failed == strlen(rows[i].outcomes));
	}
}

static void test_first_probes_are_spread_over_the_interval_and_later_ones_stay_apart(void **state)
{
	static const struct service_health conf = {.interval_ms = 2000};

	assert_int_equal(service_probe_first_ms(&conf, 0), 0);
	assert_int_equal(service_probe_first_ms(&conf, UINT64_MAX), 1999);
	assert_int_equal(service_probe_first_ms(&conf, UINT64_MAX / 2), 999);
	assert_int_equal(service_probe_next_ms(&conf, 0), 1875);
	assert_int_equal(service_probe_next_ms(&conf, UINT64_MAX), 2125);
}

static void test_port_is_the_one_that_is_said_the_backends_or_the_single_one(void **state)
{
	struct service_ports ports[2] = {{80, 80}, {443, 443}};
	struct service_conf conf = {.ports = ports, .port_count = 1};

	assert_int_equal(service_probe_port(&conf, 0), 80);
	assert_int_equal(service_probe_port(&conf, 8080), 8080);
	conf.port_count = 2;
	assert_int_equal(service_probe_port(&conf, 0), 0);
	conf.health.port = 9000;
	assert_int_equal(service_probe_port(&conf, 8080), 9000);
	conf = (struct service_conf){.ports = ports, .port_count = 1};
	ports[0] = (struct service_ports){0, UINT16_MAX};
	assert_int_equal(service_probe_port(&conf, 0), 0);
}

/* ---- the table ---- */

static void test_backend_that_is_down_gets_nothing_until_it_is_up(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture);
	set_health(&fixture, 1, false);
	assert_int_equal(slots_of(&fixture, 1), 0);
	assert_true(is_dead(&fixture, 1));
	assert_string_equal(state_of(&fixture, 1), "down");
	set_health(&fixture, 1, true);
	assert_true(slots_of(&fixture, 1) > SLOTS / BACKENDS / 2);
	assert_false(is_dead(&fixture, 1));
	assert_string_equal(state_of(&fixture, 1), "up");
	assert_int_equal(fixture.fails_open, 0);
	fixture_done(&fixture);
}

static void test_table_stays_as_it_was_when_all_are_down(void **state)
{
	struct fixture fixture;
	const struct sl_service_info *info;

	fixture_init(&fixture);
	info = &fixture.set.maps.service_info[number_of(&fixture)];
	set_health(&fixture, 0, false);
	set_health(&fixture, 1, false);
	set_health(&fixture, 2, false);
	assert_int_equal(slots_of(&fixture, 3), SLOTS);
	assert_int_equal(fixture.fails_open, 0);
	set_health(&fixture, 3, false);
	assert_int_equal(slots_of(&fixture, 3), SLOTS);
	assert_false(is_dead(&fixture, 3));
	assert_string_equal(state_of(&fixture, 3), "down");
	assert_int_equal(fixture.fails_open, 1);
	assert_true(info->fail_open && info->fail_opens == 1);
	apply(&fixture, START + 2 * SECOND); /* a reload tells nothing anew */
	assert_int_equal(slots_of(&fixture, 3), SLOTS);
	assert_int_equal(fixture.fails_open, 1);
	/* The first that is up gets all, and who is down nothing any more. */
	set_health(&fixture, 0, true);
	assert_int_equal(slots_of(&fixture, 0), SLOTS);
	assert_true(is_dead(&fixture, 3));
	assert_int_equal(fixture.recovered, 1);
	assert_true(!info->fail_open && info->fail_opens == 1);
	fixture_done(&fixture);
}

static void test_all_that_fall_at_once_keep_the_whole_table(void **state)
{
	struct fixture fixture;
	unsigned int before[BACKENDS];

	fixture_init(&fixture);
	for (unsigned int i = 0; i < BACKENDS; i++) {
		before[i] = slots_of(&fixture, i);
		service_set_note_health(&fixture.set, place_of(&fixture, i), false, START);
	}
	assert_int_equal(
		service_set_settle(&fixture.set, number_of(&fixture), false, START + SECOND), 0);
	for (unsigned int i = 0; i < BACKENDS; i++) {
		assert_int_equal(slots_of(&fixture, i), before[i]);
		assert_false(is_dead(&fixture, i));
	}
	assert_int_equal(fixture.fails_open, 1);
	fixture_done(&fixture);
}

static void test_all_share_the_table_when_nobody_of_it_is_left(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture);
	for (unsigned int i = 0; i < BACKENDS; i++)
		set_health(&fixture, i, false);
	assert_int_equal(slots_of(&fixture, 3), SLOTS);
	fixture.conf.backend_count = 3; /* it is taken out */
	apply(&fixture, START + 2 * SECOND);
	for (unsigned int i = 0; i < 3; i++) {
		assert_true(slots_of(&fixture, i) > SLOTS / 6);
		assert_false(is_dead(&fixture, i));
		assert_string_equal(state_of(&fixture, i), "down");
	}
	fixture_done(&fixture);
}

static void test_only_drained_ones_are_up_and_so_the_others_are_used(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture);
	set_health(&fixture, 0, false);
	fixture.pool[1].drained = fixture.pool[2].drained = fixture.pool[3].drained = true;
	apply(&fixture, START + 2 * SECOND);
	assert_int_equal(slots_of(&fixture, 0), SLOTS);
	assert_int_equal(fixture.fails_open, 1);
	fixture.pool[1].drained = false;
	apply(&fixture, START + 3 * SECOND);
	assert_int_equal(slots_of(&fixture, 1), SLOTS);
	assert_true(is_dead(&fixture, 0));
	fixture_done(&fixture);
}

/* ---- beside what people say ---- */

static void test_drain_and_health_do_not_forget_each_other(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture);
	set_health(&fixture, 0, false);
	fixture.pool[0].drained = true;
	apply(&fixture, START + SECOND);
	assert_string_equal(state_of(&fixture, 0), "draining");
	fixture.pool[0].drained = false;
	fixture.pool[0].weight = 300;
	apply(&fixture, START + 2 * SECOND);
	assert_string_equal(state_of(&fixture, 0), "down");
	assert_int_equal(slots_of(&fixture, 0), 0);
	assert_true(is_dead(&fixture, 0));
	fixture.pool[0].drained = true;
	apply(&fixture, START + 3 * SECOND);
	set_health(&fixture, 0, true);
	assert_string_equal(state_of(&fixture, 0), "draining");
	assert_int_equal(slots_of(&fixture, 0), 0);
	assert_false(is_dead(&fixture, 0)); /* connections that stand may end */
	fixture.pool[0].drained = false;
	apply(&fixture, START + 4 * SECOND);
	assert_true(slots_of(&fixture, 0) > SLOTS / 3);
	fixture_done(&fixture);
}

static void test_restart_and_new_table_go_on_with_who_was_down(void **state)
{
	struct fixture fixture;
	struct service_maps maps;

	fixture_init(&fixture);
	set_health(&fixture, 2, false);
	maps = fixture.set.maps;
	fixture.set = (struct service_set){.maps = maps, .on_event = note_event, .arg = &fixture};
	apply(&fixture, START + 2 * SECOND);
	assert_int_equal(slots_of(&fixture, 2), 0);
	assert_true(is_dead(&fixture, 2));
	fixture.conf.affinity = SL_AFFINITY_SOURCE; /* makes the service anew */
	apply(&fixture, START + 3 * SECOND);
	assert_string_equal(state_of(&fixture, 2), "down");
	assert_int_equal(slots_of(&fixture, 2), 0);
	assert_true(is_dead(&fixture, 2));
	assert_true(slots_of(&fixture, 1) > 0);
	fixture_done(&fixture);
}

static void test_without_probes_nobody_is_down(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture);
	set_health(&fixture, 0, false);
	fixture.conf.health.enabled = false;
	apply(&fixture, START + 2 * SECOND);
	assert_string_equal(state_of(&fixture, 0), "up");
	assert_true(slots_of(&fixture, 0) > 0);
	assert_false(is_dead(&fixture, 0));
	fixture_done(&fixture);
}

static void test_settling_that_found_no_memory_is_made_up_for(void **state)
{
	struct fixture fixture;
	bool failed = true;

	for (unsigned int nth = 0; failed; nth++) {
		int r;

		fixture_init(&fixture);
		service_set_note_health(&fixture.set, place_of(&fixture, 1), false, START);
		alloc_fail_arm(nth);
		r = service_set_settle(&fixture.set, number_of(&fixture), false, START);
		failed = alloc_fail_disarm();
		assert_int_equal(r, failed ? -ENOMEM : 0);
		assert_true(failed || nth >= 3);
		if (r)
			r = service_set_settle(&fixture.set, number_of(&fixture), true, START);
		assert_int_equal(r, 0);
		assert_int_equal(slots_of(&fixture, 1), 0);
		assert_true(is_dead(&fixture, 1));
		fixture_done(&fixture);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fall_failures_in_a_row_are_down_and_rise_successes_up),
		cmocka_unit_test(
			test_first_probes_are_spread_over_the_interval_and_later_ones_stay_apart),
		cmocka_unit_test(test_port_is_the_one_that_is_said_the_backends_or_the_single_one),
		cmocka_unit_test(test_backend_that_is_down_gets_nothing_until_it_is_up),
		cmocka_unit_test(test_table_stays_as_it_was_when_all_are_down),
		cmocka_unit_test(test_all_that_fall_at_once_keep_the_whole_table),
		cmocka_unit_test(test_all_share_the_table_when_nobody_of_it_is_left),
		cmocka_unit_test(test_only_drained_ones_are_up_and_so_the_others_are_used),
		cmocka_unit_test(test_drain_and_health_do_not_forget_each_other),
		cmocka_unit_test(test_restart_and_new_table_go_on_with_who_was_down),
		cmocka_unit_test(test_without_probes_nobody_is_down),
		cmocka_unit_test(test_settling_that_found_no_memory_is_made_up_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
