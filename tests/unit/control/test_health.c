#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/event.h"
#include "control/health.h"
#include "test_support.h"
#include "tests/unit/kern/service_memory.h"

#define POOL_MAX    40
#define DEADLINE_MS 20000

struct fixture {
	struct loop *loop;
	struct service_set set;
	struct health health;
	struct service_conf conf;
	struct ip_addr address;
	struct service_ports port;
	struct service_backend pool[POOL_MAX];
	struct nat_pool_conf nat;
};

/* A listener on 127.0.0.x, or the port that nobody has (*port != 0: that one). */
static int listen_on(unsigned int last_byte, uint16_t *port)
{
	struct sockaddr_in place = {.sin_family = AF_INET, .sin_port = htons(*port)};
	socklen_t place_len = sizeof(place);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	place.sin_addr.s_addr = htonl(0x7f000000 + last_byte);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&place, sizeof(place)), 0);
	assert_int_equal(listen(fd, 128), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&place, &place_len), 0);
	*port = ntohs(place.sin_port);
	return fd;
}

static int sync_health(struct fixture *fixture)
{
	struct error err = {0};
	int r = service_set_apply(&fixture->set, &fixture->conf, 1, clock_boot_ns(), &err);

	if (!r)
		r = health_sync(&fixture->health, &fixture->conf, 1, &fixture->nat, &err);
	return r;
}

static void fixture_init(struct fixture *fixture, unsigned int backends, uint16_t port)
{
	const struct loop_config config = {.engine = IO_ENGINE_EPOLL};
	struct error err = {0};

	memset(fixture, 0, sizeof(*fixture));
	assert_int_equal(loop_new(&config, &fixture->loop, &err), 0);
	fixture->set.maps = (struct service_maps){
		.key_count = 256,
		.range_count = 4,
		.service_count = 4,
		.backend_count = 256,
		.slot_count = 4 * 4001,
		.line_count = 4,
	};
	service_memory_init(&fixture->set.maps);
	fixture->address.family = AF_INET;
	fixture->address.bytes[0] = 192;
	fixture->port = (struct service_ports){port, port};
	for (unsigned int i = 0; i < backends; i++) {
		fixture->pool[i].addr =
			(struct ip_addr){.family = AF_INET, .bytes = {127, 0, 0, (uint8_t)(i + 1)}};
		fixture->pool[i].weight = 100;
	}
	fixture->conf = (struct service_conf){
		.name = STR("web"),
		.addresses = &fixture->address,
		.address_count = 1,
		.ports = &fixture->port,
		.port_count = 1,
		.protocol = IPPROTO_TCP,
		.slot_count = 4001,
		.backends = fixture->pool,
		.backend_count = backends,
		.health = {.enabled = true,
			   .interval_ms = 20,
			   .timeout_ms = 20,
			   .rise = 2,
			   .fall = 3},
	};
	health_init(&fixture->health, &fixture->set, fixture->loop);
}

static void fixture_done(struct fixture *fixture)
{
	health_stop(&fixture->health);
	while (!health_is_stopped(&fixture->health))
		assert_true(loop_run_once(fixture->loop, 1000) >= 0);
	health_done(&fixture->health);
	loop_free(fixture->loop);
	service_memory_done(&fixture->set.maps);
}

static struct service_probe *probe_of(const struct fixture *fixture, unsigned int index)
{
	return fixture->health.probes[fixture->set.maps.services[0].backend_base + 1 + index];
}

static unsigned int slots_of(const struct fixture *fixture, unsigned int index)
{
	const struct sl_service *service = &fixture->set.maps.services[0];
	unsigned int count = 0;

	for (uint32_t i = 0; i < service->slot_count; i++)
		count += SL_SLOT_CURRENT(fixture->set.maps.slots[service->slot_base + i].word) ==
			 index + 1;
	return count;
}

#define run_until(fixture, condition)                                                              \
	do {                                                                                       \
		uint64_t end_ms = clock_mono_ms() + DEADLINE_MS;                                   \
		while (!(condition)) {                                                             \
			assert_true(clock_mono_ms() < end_ms);                                     \
			assert_true(loop_run_once((fixture)->loop, 100) >= 0);                     \
		}                                                                                  \
	} while (0)

static bool take_event(enum event_kind kind, const char *object)
{
	struct event event;
	bool found = false;

	while (event_take(&event))
		found |= event.kind == kind && !strcmp(event.object, object);
	return found;
}

static void test_backend_whose_program_ends_is_down_and_comes_back_with_it(void **state)
{
	struct fixture fixture;
	uint16_t port = 0;
	int first = listen_on(1, &port), second = listen_on(2, &port);

	fixture_init(&fixture, 2, port);
	assert_int_equal(sync_health(&fixture), 0);
	run_until(&fixture,
		  probe_of(&fixture, 0)->succeeded > 3 && probe_of(&fixture, 1)->succeeded > 3);
	assert_int_equal(slots_of(&fixture, 0) + slots_of(&fixture, 1), 4001);
	(void)take_event(EVENT_BACKEND_DOWN, "");
	assert_int_equal(close(second), 0);
	run_until(&fixture, slots_of(&fixture, 1) == 0);
	assert_int_equal(slots_of(&fixture, 0), 4001);
	assert_false(probe_of(&fixture, 1)->up);
	assert_int_equal(probe_of(&fixture, 1)->last_error, ECONNREFUSED);
	assert_true(take_event(EVENT_BACKEND_DOWN, "web 127.0.0.2"));
	/* Those who are asked again are asked with what was known of them. */
	fixture.conf.health.fall = 5;
	assert_int_equal(sync_health(&fixture), 0);
	assert_false(probe_of(&fixture, 1)->up);
	assert_true(probe_of(&fixture, 1)->failed >= 3);
	assert_int_equal(probe_of(&fixture, 1)->conf.fall, 5);
	second = listen_on(2, &port);
	run_until(&fixture, slots_of(&fixture, 1) > 1900);
	assert_true(take_event(EVENT_BACKEND_UP, "web 127.0.0.2"));
	fixture_done(&fixture);
	(void)close(first);
	(void)close(second);
}

static void test_all_down_keeps_the_table_until_one_answers(void **state)
{
	struct fixture fixture;
	uint16_t port = 0;
	int fd = listen_on(1, &port);

	assert_int_equal(close(fd), 0);
	fixture_init(&fixture, 3, port);
	assert_int_equal(sync_health(&fixture), 0);
	run_until(&fixture, fixture.set.maps.service_info[0].fail_open);
	run_until(&fixture, probe_of(&fixture, 0)->failed > 6 &&
				    probe_of(&fixture, 1)->failed > 6 &&
				    probe_of(&fixture, 2)->failed > 6);
	assert_int_equal(slots_of(&fixture, 0) + slots_of(&fixture, 1) + slots_of(&fixture, 2),
			 4001);
	fd = listen_on(2, &port);
	run_until(&fixture, slots_of(&fixture, 1) == 4001);
	assert_false(fixture.set.maps.service_info[0].fail_open);
	fixture_done(&fixture);
	(void)close(fd);
}

static void test_few_descriptors_are_enough_for_many_backends(void **state)
{
	struct fixture fixture;
	struct rlimit before, few;
	uint16_t port = 0;
	int fds[POOL_MAX];

	for (unsigned int i = 0; i < POOL_MAX; i++)
		fds[i] = listen_on(i + 1, &port);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = 64; /* 16 for probes */
	fixture_init(&fixture, POOL_MAX, port);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	health_init(&fixture.health, &fixture.set, fixture.loop);
	assert_int_equal(fixture.health.limit, 16);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	fixture.health.limit = 1;
	fixture.conf.health.interval_ms = 1; /* all at once */
	fixture.conf.health.timeout_ms = 5000;
	assert_int_equal(sync_health(&fixture), 0);
	for (unsigned int i = 0; i < POOL_MAX; i++)
		run_until(&fixture,
			  (assert_true(fixture.health.under_way <= 1),
			   probe_of(&fixture, i)->succeeded + probe_of(&fixture, i)->failed >= 3));
	for (unsigned int i = 0; i < POOL_MAX; i++) {
		assert_int_equal(probe_of(&fixture, i)->failed, 0);
		(void)close(fds[i]);
	}
	assert_true(fixture.health.delayed > 0);
	fixture_done(&fixture);
}

static void test_without_descriptors_nothing_is_held_against_a_backend(void **state)
{
	struct fixture fixture;
	struct rlimit before, none;
	uint16_t port = 0;
	int fd = listen_on(1, &port);

	fixture_init(&fixture, 1, port);
	assert_int_equal(sync_health(&fixture), 0);
	run_until(&fixture, probe_of(&fixture, 0)->succeeded);
	run_until(&fixture, !fixture.health.under_way);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	run_until(&fixture, probe_of(&fixture, 0)->not_made > 5);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_true(probe_of(&fixture, 0)->up && !probe_of(&fixture, 0)->failed);
	fixture_done(&fixture);
	(void)close(fd);
}

static void test_source_ports_of_nat_are_not_used(void **state)
{
	struct nat_source source = {
		.addr_be = htonl(0x7f000001), .port_first = 1024, .port_last = 65531};
	struct fixture fixture;
	uint16_t port = 0;
	int fd = listen_on(1, &port);

	fixture_init(&fixture, 1, port);
	fixture.nat = (struct nat_pool_conf){.sources = &source, .source_count = 1};
	assert_int_equal(sync_health(&fixture), 0);
	run_until(&fixture, probe_of(&fixture, 0)->succeeded > 2);
	source.port_last = 65535; /* none is left */
	assert_int_equal(sync_health(&fixture), 0);
	run_until(&fixture, probe_of(&fixture, 0)->not_made > 2);
	assert_true(probe_of(&fixture, 0)->up);
	fixture_done(&fixture);
	(void)close(fd);
}

static void test_backends_that_go_are_forgotten_in_the_middle_of_a_probe(void **state)
{
	struct fixture fixture;
	uint16_t port = 0;
	int fd = listen_on(1, &port);

	fixture_init(&fixture, 3, port);
	fixture.pool[2].addr = (struct ip_addr){.family = AF_INET, .bytes = {127, 0, 0, 1}};
	fixture.conf.backend_count = 1;
	fixture.conf.health.interval_ms = 1;
	assert_int_equal(sync_health(&fixture), 0);
	run_until(&fixture, fixture.health.under_way == 1);
	fixture.conf.backends = &fixture.pool[1]; /* another one in its stead */
	assert_int_equal(sync_health(&fixture), 0);
	assert_int_equal(fixture.health.target_count, 1);
	assert_null(probe_of(&fixture, 0));
	run_until(&fixture, !probe_of(&fixture, 1)->up);
	fixture.conf.health.enabled = false;
	assert_int_equal(sync_health(&fixture), 0);
	assert_int_equal(fixture.health.target_count, 0);
	assert_int_equal(fixture.set.maps.backend_info[2].state & SL_BACKEND_DOWN, 0);
	fixture_done(&fixture);
	(void)close(fd);
}

static int make_health(void *arg)
{
	struct fixture *fixture = arg;
	struct error err = {0};
	int r = health_sync(&fixture->health, &fixture->conf, 1, &fixture->nat, &err);

	health_stop(&fixture->health);
	health_done(&fixture->health);
	health_init(&fixture->health, &fixture->set, fixture->loop);
	return r;
}

static void test_out_of_memory_is_said(void **state)
{
	struct fixture fixture;

	fixture_init(&fixture, 3, 80);
	assert_int_equal(sync_health(&fixture), 0);
	health_stop(&fixture.health);
	health_done(&fixture.health);
	health_init(&fixture.health, &fixture.set, fixture.loop);
	assert_int_equal(test_failing_each_allocation(make_health, &fixture), 5);
	fixture_done(&fixture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_backend_whose_program_ends_is_down_and_comes_back_with_it),
		cmocka_unit_test(test_all_down_keeps_the_table_until_one_answers),
		cmocka_unit_test(test_few_descriptors_are_enough_for_many_backends),
		cmocka_unit_test(test_without_descriptors_nothing_is_held_against_a_backend),
		cmocka_unit_test(test_source_ports_of_nat_are_not_used),
		cmocka_unit_test(test_backends_that_go_are_forgotten_in_the_middle_of_a_probe),
		cmocka_unit_test(test_out_of_memory_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
