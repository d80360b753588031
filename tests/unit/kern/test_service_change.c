/* What people change of services: words, the overlay, and changes without a daemon. */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kern/service_change.h"
#include "kern/service_words.h"
#include "test_support.h"
#include "tests/unit/kern/service_memory.h"

#define NOW_NS (1000 * 1000000000ULL)

static struct ip_addr address(const char *text)
{
	struct ip_addr addr;

	assert_int_equal(ip_addr_parse(str_from_cstr(text), &addr), 0);
	return addr;
}

static const struct service_words good = {
	.name = "web",
	.address = "192.0.2.1,192.0.2.2",
	.ports = "80,1000-2000",
	.protocol = "tcp",
	.forward = "ipip",
	.slots = "997",
};

static struct service_conf *read_words(const struct service_words *words)
{
	struct service_conf *conf = NULL;
	struct error err = {0};

	assert_int_equal(service_words_read(words, &conf, &err), 0);
	return conf;
}

static void refuse(struct service_words words, const char *reason)
{
	struct service_conf *conf = NULL;
	struct error err = {0};

	assert_int_equal(service_words_read(&words, &conf, &err), -EINVAL);
	assert_null(conf);
	if (!strstr(err.text, reason))
		fail_msg("%s does not say %s", err.text, reason);
}

static void test_words_become_a_service(void **state)
{
	struct service_conf *conf = read_words(&good);

	assert_int_equal(conf->address_count, 2);
	assert_int_equal(conf->port_count, 2);
	assert_int_equal(conf->ports[1].last, 2000);
	assert_int_equal(conf->protocol, IPPROTO_TCP);
	assert_int_equal(conf->slot_count, 997);
	assert_int_equal(conf->drain_ms, SERVICE_DRAIN_DEFAULT_MS);
	assert_true(conf->from_cli);
	service_conf_free(conf);
}

#define REFUSE(member, value, reason)                                                              \
	do {                                                                                       \
		struct service_words words = good;                                                 \
		words.member = (value);                                                            \
		refuse(words, reason);                                                             \
	} while (0)

static void test_words_that_mean_nothing_are_refused(void **state)
{
	REFUSE(name, NULL, "name is missing");
	REFUSE(name, "", "name: expected");
	REFUSE(name, "Web", "name: expected");
	REFUSE(name, "-web", "name: expected");
	REFUSE(name, "a123456789012345678901234567890123456789012345678901234567890123",
	       "name: expected");
	REFUSE(address, NULL, "address is missing");
	REFUSE(address, "", "expected an IP address, got ''");
	REFUSE(address, "192.0.2.1,", "expected an IP address, got ''");
	REFUSE(address, "192.0.2.1,x", "expected an IP address, got 'x'");
	REFUSE(address, "192.0.2.1,::ffff:192.0.2.1", "given twice");
	REFUSE(ports, NULL, "ports are missing");
	REFUSE(ports, "80,", "expected a port");
	REFUSE(ports, "0", "expected a port");
	REFUSE(ports, "65536", "expected a port");
	REFUSE(ports, "80,70-90", "overlaps another one");
	REFUSE(protocol, NULL, "protocol is missing: tcp, udp or any");
	REFUSE(protocol, "sctp", "expected tcp, udp or any, got 'sctp'");
	REFUSE(forward, NULL, "forward is missing");
	REFUSE(forward, "gue", "expected ipip or nat, got 'gue'");
	REFUSE(affinity, "client", "expected five-tuple or source");
	REFUSE(drain_ms, "-1", "drain_ms: expected");
	REFUSE(drain_ms, "86400001", "drain_ms: expected");
	REFUSE(slots, "100", "slots: expected auto or 101 to");
	REFUSE(slots, "many", "slots: expected");
	REFUSE(probe, "http", "probe: expected tcp, got 'http'");
	REFUSE(probe, "tcp", "port is missing: the service has no single port");
	REFUSE(rise, "2", "rise goes with 'probe tcp' only");
}

static const struct service_words probed = {
	.name = "web",
	.address = "192.0.2.1",
	.ports = "80",
	.protocol = "tcp",
	.forward = "ipip",
	.probe = "tcp",
	.timeout_ms = "500",
	.fall = "7",
};

static void test_words_of_health_have_the_limits_of_the_configuration(void **state)
{
	struct service_conf *conf = read_words(&probed);

	assert_true(conf->health.enabled);
	assert_int_equal(conf->health.port, 0);
	assert_int_equal(service_probe_port(conf, 0), 80);
	assert_int_equal(conf->health.interval_ms, 2000);
	assert_int_equal(conf->health.timeout_ms, 500);
	assert_int_equal(conf->health.rise, 2);
	assert_int_equal(conf->health.fall, 7);
	service_conf_free(conf);
#define REFUSE_PROBED(member, value, reason)                                                       \
	do {                                                                                       \
		struct service_words words = probed;                                               \
		words.member = (value);                                                            \
		refuse(words, reason);                                                             \
	} while (0)
	REFUSE_PROBED(health_port, "0", "port: expected 1 to 65535");
	REFUSE_PROBED(health_port, "65536", "port: expected 1 to 65535");
	REFUSE_PROBED(interval_ms, "99", "interval: expected 100 to 3600000 ms");
	REFUSE_PROBED(interval_ms, "400", "timeout is longer than interval");
	REFUSE_PROBED(timeout_ms, "60001", "timeout: expected 10 to 60000 ms");
	REFUSE_PROBED(rise, "0", "rise: expected 1 to 100");
	REFUSE_PROBED(fall, "x", "fall: expected 1 to 100");
}

/* ---- the overlay ---- */

static struct service_change wish(enum service_change_kind kind, const char *addr, uint16_t port)
{
	struct service_change change = {.kind = kind, .addr = address(addr), .port = port};

	(void)snprintf(change.service, sizeof(change.service), "web");
	change.weight = 7;
	return change;
}

static void note(struct service_overlay *overlay, struct service_change change)
{
	struct error err = {0};

	assert_int_equal(service_overlay_note(overlay, &change, &err), 0);
}

static void test_added_service_is_laid_with_its_backends_and_read_again(void **state)
{
	char dir[] = "/tmp/sluice-overlay-XXXXXX", path[64];
	struct service_overlay overlay = {0}, again = {0};
	struct service_conf *conf = read_words(&good);
	struct service_confs confs;
	struct error err = {0};

	assert_non_null(mkdtemp(dir));
	assert_int_equal(service_overlay_make(&overlay, conf, &err), 0);
	assert_int_equal(service_overlay_make(&overlay, conf, &err), -EEXIST);
	error_reset(&err);
	note(&overlay, wish(SERVICE_CHANGE_ADD, "10.0.0.1", 0));
	note(&overlay, wish(SERVICE_CHANGE_ADD, "10.0.0.1", 8080));
	note(&overlay, wish(SERVICE_CHANGE_DRAIN, "10.0.0.1", 8080));
	assert_int_equal(service_overlay_save(&overlay, dir, &err), 0);
	assert_int_equal(service_overlay_load(&again, dir, &err), 0);
	assert_int_equal(service_overlay_lay(&again, NULL, 0, &confs, &err), 0);
	assert_int_equal(confs.count, 1);
	assert_true(str_eq(confs.items[0].name, conf->name));
	assert_true(confs.items[0].from_cli);
	assert_int_equal(confs.items[0].address_count, 2);
	assert_true(ip_addr_equal(&confs.items[0].addresses[1], &conf->addresses[1]));
	assert_memory_equal(confs.items[0].ports, conf->ports, 2 * sizeof(*conf->ports));
	assert_int_equal(confs.items[0].slot_count, 997);
	assert_int_equal(confs.items[0].backend_count, 2);
	assert_int_equal(confs.items[0].backends[0].port, 0);
	assert_false(confs.items[0].backends[0].drained);
	assert_int_equal(confs.items[0].backends[0].weight, 7);
	assert_int_equal(confs.items[0].backends[1].port, 8080);
	assert_true(confs.items[0].backends[1].drained);
	service_confs_done(&confs);
	/* The file may not have it, too. */
	assert_int_equal(service_overlay_lay(&again, conf, 1, &confs, &err), -EEXIST);
	assert_non_null(strstr(err.text, "sluice service delete web"));
	error_reset(&err);
	assert_int_equal(service_overlay_unmake(&again, "web", &err), 0);
	assert_int_equal(again.count, 0);
	assert_int_equal(service_overlay_unmake(&again, "web", &err), -ENOENT);
	(void)snprintf(path, sizeof(path), "%s/services.json", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	service_overlay_done(&overlay);
	service_overlay_done(&again);
	service_conf_free(conf);
}

/* ---- without a daemon ---- */

#define KEYS	 256
#define RANGES	 8
#define SERVICES 4
#define BACKENDS 256
#define SLOTS	 8192

static void maps_init(struct service_set *set)
{
	memset(set, 0, sizeof(*set));
	set->maps = (struct service_maps){
		.key_count = KEYS,
		.range_count = RANGES,
		.service_count = SERVICES,
		.backend_count = BACKENDS,
		.slot_count = SLOTS,
	};
	service_memory_init(&set->maps);
}

static void maps_done(struct service_set *set)
{
	service_memory_done(&set->maps);
}

/* What the CLI does: looks, changes, tries, makes. */
static void test_service_that_is_to_go_is_drained_until_its_time_and_kept_in_mind(void **state)
{
	char dir[] = "/tmp/sluice-overlay-XXXXXX", path[64];
	struct service_overlay overlay = {0}, again = {0}, copy;
	struct service_change change = wish(SERVICE_CHANGE_UNDRAIN, "10.0.0.1", 0);
	struct service_conf *conf = read_words(&probed);
	struct service_confs confs;
	struct error err = {0};
	uint64_t due_ms;

	assert_non_null(mkdtemp(dir));
	assert_int_equal(service_overlay_make(&overlay, conf, &err), 0);
	note(&overlay, wish(SERVICE_CHANGE_ADD, "10.0.0.1", 0));
	assert_null(service_overlay_due(&overlay, UINT64_MAX));
	assert_int_equal(service_overlay_leave(&overlay, "dns", 60000, &err), -ENOENT);
	error_reset(&err);
	assert_int_equal(service_overlay_leave(&overlay, "web", 60000, &err), 0);
	assert_int_equal(service_overlay_leave(&overlay, "web", 60000, &err), -EEXIST);
	error_reset(&err);
	due_ms = overlay.made[0]->leave_wall_ms;
	assert_null(service_overlay_due(&overlay, due_ms - 1));
	assert_string_equal(service_overlay_due(&overlay, due_ms), "web");
	assert_int_equal(service_overlay_copy(&overlay, &copy, &err), 0);
	assert_int_equal(service_overlay_save(&copy, dir, &err), 0);
	assert_int_equal(service_overlay_load(&again, dir, &err), 0);
	assert_string_equal(service_overlay_due(&again, due_ms), "web");
	assert_int_equal(service_overlay_lay(&again, NULL, 0, &confs, &err), 0);
	assert_int_equal(confs.items[0].drain_ms, 60000);
	assert_true(confs.items[0].leave_boot_ns > 0);
	assert_true(confs.items[0].backends[0].drained);
	assert_memory_equal(&confs.items[0].health, &conf->health, sizeof(conf->health));
	assert_int_equal(service_change_check(&confs, &change, NULL, 0, &err), -EPERM);
	service_confs_done(&confs);
	(void)snprintf(path, sizeof(path), "%s/services.json", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0);
	service_overlay_done(&overlay);
	service_overlay_done(&again);
	service_overlay_done(&copy);
	service_conf_free(conf);
}

static int change_unattended(struct service_set *set, struct service_change change,
			     struct error *err)
{
	struct service_confs confs;
	int r = service_set_confs(set, &confs, err);

	assert_int_equal(r, 0);
	r = service_change_check(&confs, &change, NULL, 0, err);
	if (!r)
		r = service_confs_change(&confs, &change, err);
	if (!r)
		r = service_set_apply_unattended(set, &confs, NOW_NS, err);
	service_confs_done(&confs);
	return r;
}

static void add_unattended(struct service_set *set, const struct service_words *words)
{
	struct service_conf *conf = read_words(words);
	struct service_confs confs;
	struct error err = {0};

	assert_int_equal(service_set_confs(set, &confs, &err), 0);
	assert_int_equal(service_confs_add(&confs, conf, &err), 0);
	assert_int_equal(service_set_apply_unattended(set, &confs, NOW_NS, &err), 0);
	service_confs_done(&confs);
	service_conf_free(conf);
}

static void test_what_the_maps_hold_reads_as_it_was_asked_for(void **state)
{
	struct service_set set;
	struct service_confs confs;
	struct error err = {0};

	maps_init(&set);
	add_unattended(&set, &good);
	assert_int_equal(change_unattended(&set, wish(SERVICE_CHANGE_ADD, "10.0.0.1", 0), &err), 0);
	assert_int_equal(service_set_confs(&set, &confs, &err), 0);
	assert_int_equal(confs.count, 1);
	assert_true(str_eq_cstr(confs.items[0].name, "web"));
	assert_int_equal(confs.items[0].address_count, 2);
	assert_int_equal(confs.items[0].port_count, 2);
	assert_int_equal(confs.items[0].protocol, IPPROTO_TCP);
	assert_int_equal(confs.items[0].slot_count, 997);
	assert_int_equal(confs.items[0].drain_ms, SERVICE_DRAIN_DEFAULT_MS);
	assert_true(confs.items[0].from_cli);
	assert_int_equal(confs.items[0].backend_count, 1);
	assert_int_equal(confs.items[0].backends[0].weight, 7);
	assert_true(confs.items[0].backends[0].from_cli);
	service_confs_done(&confs);
	maps_done(&set);
}

static void test_only_changes_without_phases_are_made_unattended(void **state)
{
	struct service_slot before[SLOTS];
	struct service_set set;
	struct error err = {0};

	maps_init(&set);
	add_unattended(&set, &good);
	/* The first backend takes nothing from anybody. */
	assert_int_equal(change_unattended(&set, wish(SERVICE_CHANGE_ADD, "10.0.0.1", 0), &err), 0);
	assert_int_equal(SL_SLOT_CURRENT(set.maps.slots[0].word), 1);
	assert_int_equal(SL_SLOT_PHASE(set.maps.slots[0].word), SL_PHASE_CLEAN);
	memcpy(before, set.maps.slots, sizeof(before));
	assert_int_equal(change_unattended(&set, wish(SERVICE_CHANGE_ADD, "10.0.0.2", 0), &err),
			 -EBUSY);
	assert_non_null(strstr(err.text, "service 'web'"));
	error_reset(&err);
	assert_int_equal(change_unattended(&set, wish(SERVICE_CHANGE_DRAIN, "10.0.0.1", 0), &err),
			 -EBUSY);
	error_reset(&err);
	assert_memory_equal(before, set.maps.slots, sizeof(before));
	assert_false(set.maps.backend_info[set.maps.services[0].backend_base + 2].state);
	/* All slots stay where they are. */
	assert_int_equal(change_unattended(&set, wish(SERVICE_CHANGE_WEIGHT, "10.0.0.1", 0), &err),
			 0);
	assert_memory_equal(before, set.maps.slots, sizeof(before));
	assert_int_equal(change_unattended(&set, wish(SERVICE_CHANGE_DRAIN, "10.9.9.9", 0), &err),
			 -ENOENT);
	maps_done(&set);
}

static void test_nat_changes_unattended_since_its_flows_have_entries(void **state)
{
	static const struct nat_source source = {0x0100000a, 1024, 65535};
	struct service_words words = good;
	struct service_change change;
	struct service_confs confs;
	struct service_set set;
	struct error err = {0};

	words.forward = "nat";
	words.ports = "80";
	maps_init(&set);
	add_unattended(&set, &words);
	for (uint16_t port = 8080; port <= 8081; port++) {
		change = wish(SERVICE_CHANGE_ADD, "10.0.0.1", port);
		assert_int_equal(service_set_confs(&set, &confs, &err), 0);
		assert_int_equal(service_change_check(&confs, &change, NULL, 0, &err), -EINVAL);
		error_reset(&err);
		assert_int_equal(service_change_check(&confs, &change, &source, 1, &err), 0);
		assert_int_equal(service_confs_change(&confs, &change, &err), 0);
		assert_int_equal(service_set_apply_unattended(&set, &confs, NOW_NS, &err), 0);
		service_confs_done(&confs);
	}
	assert_int_not_equal(SL_SLOT_CURRENT(set.maps.slots[0].word), 0);
	for (uint32_t i = 0; i < set.maps.services[0].slot_count; i++)
		assert_int_equal(SL_SLOT_PHASE(set.maps.slots[i].word), SL_PHASE_CLEAN);
	/* Which of the two? */
	assert_int_equal(change_unattended(&set, wish(SERVICE_CHANGE_DRAIN, "10.0.0.1", 0), &err),
			 -ENOTUNIQ);
	assert_non_null(strstr(err.text, "port 8080 or port 8081"));
	error_reset(&err);
	change = wish(SERVICE_CHANGE_DRAIN, "10.0.0.1", 8081);
	change.has_port = true;
	assert_int_equal(change_unattended(&set, change, &err), 0);
	for (uint32_t i = 0; i < set.maps.services[0].slot_count; i++)
		assert_int_equal(SL_SLOT_CURRENT(set.maps.slots[i].word), 1);
	maps_done(&set);
}

static void test_service_is_deleted_unattended_if_people_added_it(void **state)
{
	struct service_confs confs;
	struct service_set set;
	struct error err = {0};

	maps_init(&set);
	add_unattended(&set, &good);
	assert_int_equal(service_set_confs(&set, &confs, &err), 0);
	assert_int_equal(service_confs_delete(&confs, STR("dns"), &err), -ENOENT);
	error_reset(&err);
	confs.items[0].from_cli = false;
	assert_int_equal(service_confs_delete(&confs, STR("web"), &err), -EPERM);
	assert_non_null(strstr(err.text, "take it out there and reload"));
	error_reset(&err);
	confs.items[0].from_cli = true;
	assert_int_equal(service_confs_delete(&confs, STR("web"), &err), 0);
	assert_int_equal(confs.count, 0);
	assert_int_equal(service_set_apply_unattended(&set, &confs, NOW_NS, &err), 0);
	assert_int_equal(set.maps.state->key_count, 0);
	assert_int_equal(set.maps.service_info[0].use, SL_SERVICE_LEAVING);
	service_confs_done(&confs);
	maps_done(&set);
}

static void test_new_service_must_go_with_the_others(void **state)
{
	struct service_words words = good;
	struct service_confs confs = {0};
	struct service_conf *web = read_words(&good), *other;
	struct error err = {0};

	confs = (struct service_confs){.items = web, .count = 1};
	assert_int_equal(service_change_check_new(&confs, web, NULL, 0, &err), -EEXIST);
	error_reset(&err);
	words.name = "other";
	other = read_words(&words);
	assert_int_equal(service_change_check_new(&confs, other, NULL, 0, &err), -EEXIST);
	assert_non_null(strstr(err.text, "has ports of 192.0.2.1 that service 'web' has"));
	error_reset(&err);
	other->protocol = IPPROTO_UDP;
	assert_int_equal(service_change_check_new(&confs, other, NULL, 0, &err), 0);
	other->forward = SL_FORWARD_NAT;
	assert_int_equal(service_change_check_new(&confs, other, NULL, 0, &err), -EINVAL);
	assert_non_null(strstr(err.text, "dataplane.nat.addresses"));
	service_conf_free(web);
	service_conf_free(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words_become_a_service),
		cmocka_unit_test(test_words_that_mean_nothing_are_refused),
		cmocka_unit_test(test_words_of_health_have_the_limits_of_the_configuration),
		cmocka_unit_test(
			test_service_that_is_to_go_is_drained_until_its_time_and_kept_in_mind),
		cmocka_unit_test(test_added_service_is_laid_with_its_backends_and_read_again),
		cmocka_unit_test(test_what_the_maps_hold_reads_as_it_was_asked_for),
		cmocka_unit_test(test_only_changes_without_phases_are_made_unattended),
		cmocka_unit_test(test_nat_changes_unattended_since_its_flows_have_entries),
		cmocka_unit_test(test_service_is_deleted_unattended_if_people_added_it),
		cmocka_unit_test(test_new_service_must_go_with_the_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
