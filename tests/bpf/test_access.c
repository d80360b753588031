/*
 * The allow and deny lists: kern/access_list.h on one side, verdicts of sl_main on the other.
 */
#include "tests/bpf/bpf_env.h"
#include "tests/bpf/frame.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "kern/access_map.h"
#include "kern/access_overlay.h"
#include "kern/dataplane_internal.h"
#include "xdp_main.skel.h"

static struct dataplane *dataplane;
static struct frame frame;

static int ignore_entry(const struct access_entry *entry, void *arg)
{
	unsigned int *count = arg;

	(*count)++;
	return 0;
}

static unsigned int count_entries(enum access_list_kind kind)
{
	unsigned int count = 0;

	assert_int_equal(access_list_walk(dataplane, kind, ignore_entry, &count), 0);
	return count;
}

/* Each test begins with empty lists. */
static void setup_lists(void)
{
	struct error err = {0};

	env_require();
	assert_int_equal(dataplane_unload(ENV_DIR, NULL), 0);
	dataplane_free(dataplane);
	dataplane = NULL;
	env_assert_ok(dataplane_open(ENV_DIR, &dataplane, &err), &err);
}

static int teardown(void **state)
{
	dataplane_free(dataplane);
	return 0;
}

static struct ip_prefix prefix_of(const char *text)
{
	struct ip_prefix prefix;
	struct error err = {0};

	env_assert_ok(ip_prefix_parse(str_from_cstr(text), &prefix, &err), &err);
	return prefix;
}

static struct access_entry entry_of(const char *text, enum access_origin origin)
{
	struct access_entry entry = {.prefix = prefix_of(text), .origin = origin};

	(void)snprintf(entry.reason, sizeof(entry.reason), "%s",
		       origin == ACCESS_FROM_CLI ? "by hand" : "by file");
	return entry;
}

static void add(enum access_list_kind kind, const char *text, enum access_origin origin)
{
	struct access_entry entry = entry_of(text, origin);
	struct error err = {0};

	env_assert_ok(access_list_add(dataplane, kind, &entry, &err), &err);
}

/* Makes one part of an entry as old as time lets it become, as the kernel sees it. */
static void expire(const char *text, int part)
{
	static const struct access_part old = {2, 1, ""};
	struct ip_prefix prefix = prefix_of(text);
	uint32_t place;

	assert_int_equal(access_map_put(dataplane, ACCESS_DENY, &prefix, part, &old, &place), 0);
	/* Written behind the list's back, so its memory of the next expiry is told, too. */
	memset(dataplane->next_expiry_ns, 0, sizeof(dataplane->next_expiry_ns));
}

static const char *reason_for(const char *src)
{
	struct env_counters before, after;
	bool is_v6 = strchr(src, ':') != NULL;
	int verdict;
	const char *reason;

	frame_eth(&frame);
	if (is_v6)
		frame_ip6(&frame, src, "2001:db8::10");
	else
		frame_ip4(&frame, src, "192.0.2.10", 0, 0);
	frame_udp(&frame, 53, 4);
	frame_end(&frame);
	env_read_counters(dataplane, &before);
	verdict =
		env_run_xdp(bpf_program__fd(dataplane->xdp->progs.sl_main), frame.bytes, frame.len);
	env_read_counters(dataplane, &after);
	reason = env_moved(&before, &after);
	assert_int_equal(verdict, strcmp(reason, "deny") ? XDP_PASS : XDP_DROP);
	return reason;
}

static void test_addresses_and_prefixes_are_denied_and_others_pass(void **state)
{
	static const struct {
		const char *src, *reason;
	} rows[] = {
		{"203.0.113.9", "deny"},     {"203.0.113.8", "pass"},
		{"198.51.100.0", "deny"},    {"198.51.100.255", "deny"},
		{"198.51.101.0", "pass"},    {"2001:db8:1::5", "deny"},
		{"2001:db8:1::6", "pass"},   {"2001:db8:2:3::1", "deny"},
		{"2001:db8:2:4::1", "pass"}, {"2001:db8:2:3:ffff::", "deny"},
		{"203.0.113.136", "deny"},   {"203.0.113.144", "pass"},
		{"192.0.2.1", "pass"},
	};

	setup_lists();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_string_equal(reason_for(rows[i].src), "pass");
	add(ACCESS_DENY, "203.0.113.9", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "203.0.113.136/29", ACCESS_FROM_CONFIG);
	add(ACCESS_DENY, "198.51.100.0/24", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "2001:db8:1::5", ACCESS_FROM_CONFIG);
	add(ACCESS_DENY, "2001:db8:2:3::/64", ACCESS_FROM_CLI);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].src, !strcmp(reason_for(rows[i].src), rows[i].reason));
}

static void test_default_route_denies_everybody(void **state)
{
	setup_lists();
	add(ACCESS_DENY, "0.0.0.0/0", ACCESS_FROM_CLI);
	assert_string_equal(reason_for("192.0.2.1"), "deny");
	assert_string_equal(reason_for("2001:db8::1"), "pass");
	add(ACCESS_DENY, "::/0", ACCESS_FROM_CLI);
	assert_string_equal(reason_for("2001:db8::1"), "deny");
	assert_int_equal(count_entries(ACCESS_DENY), 2);
}

static void test_allow_wins_over_deny_whatever_the_lengths(void **state)
{
	setup_lists();
	add(ACCESS_ALLOW, "198.51.100.0/24", ACCESS_FROM_CONFIG);
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "0.0.0.0/0", ACCESS_FROM_CLI);
	assert_string_equal(reason_for("198.51.100.7"), "allow");
	assert_string_equal(reason_for("198.51.101.7"), "deny");
	add(ACCESS_DENY, "2001:db8::/32", ACCESS_FROM_CLI);
	add(ACCESS_ALLOW, "2001:db8:5::/48", ACCESS_FROM_CONFIG);
	assert_string_equal(reason_for("2001:db8:5::1"), "allow");
	assert_string_equal(reason_for("2001:db8:6::1"), "deny");
}

static void test_malformed_packet_of_an_allowed_source_is_still_dropped(void **state)
{
	setup_lists();
	add(ACCESS_ALLOW, "198.51.100.7", ACCESS_FROM_CLI);
	frame_eth(&frame);
	frame_ip4(&frame, "198.51.100.7", "192.0.2.10", 0, 0);
	frame_udp(&frame, 53, 4);
	frame_end(&frame);
	assert_int_equal(env_run_xdp(bpf_program__fd(dataplane->xdp->progs.sl_main), frame.bytes,
				     frame.len - 1),
			 XDP_DROP);
}

static void test_later_fragment_of_a_denied_source_is_dropped(void **state)
{
	setup_lists();
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CLI);
	frame_eth(&frame);
	frame_ip4(&frame, "198.51.100.7", "192.0.2.10", 0, 100);
	frame_payload(&frame, 64);
	frame_end(&frame);
	assert_int_equal(
		env_run_xdp(bpf_program__fd(dataplane->xdp->progs.sl_main), frame.bytes, frame.len),
		XDP_DROP);
}

static void test_expired_entry_matches_no_longer_and_hides_no_shorter_one(void **state)
{
	setup_lists();
	add(ACCESS_DENY, "198.51.100.0/24", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "198.51.100.0/26", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CLI);
	expire("198.51.100.7", SL_ACCESS_CLI);
	expire("198.51.100.0/26", SL_ACCESS_CLI);
	assert_string_equal(reason_for("198.51.100.7"), "deny");
	expire("198.51.100.0/24", SL_ACCESS_CLI);
	assert_string_equal(reason_for("198.51.100.7"), "pass");
	assert_int_equal(count_entries(ACCESS_DENY), 0);
}

static void test_every_dead_length_of_ipv6_is_searched_through(void **state)
{
	char text[64];

	setup_lists();
	for (int bits = 0; bits <= 128; bits++) {
		/* All host bits of :: are zero, so each length is a prefix of it. */
		(void)snprintf(text, sizeof(text), "::/%d", bits);
		add(ACCESS_DENY, text, ACCESS_FROM_CLI);
	}
	for (int bits = 1; bits <= 128; bits++) {
		(void)snprintf(text, sizeof(text), "::/%d", bits);
		expire(text, SL_ACCESS_CLI);
	}
	assert_string_equal(reason_for("::"), "deny");
	expire("::/0", SL_ACCESS_CLI);
	assert_string_equal(reason_for("::"), "pass");
	assert_int_equal(access_list_sweep(dataplane), 129);
}

static bool has_passed(void *arg)
{
	return !strcmp(reason_for(arg), "pass");
}

static void test_entry_expires_by_the_clock(void **state)
{
	struct access_entry entry = entry_of("198.51.100.7", ACCESS_FROM_CLI), found;
	struct error err = {0};

	setup_lists();
	entry.expires_wall_ms = clock_wall_ms() + 3600000;
	env_assert_ok(access_list_add(dataplane, ACCESS_DENY, &entry, &err), &err);
	assert_string_equal(reason_for("198.51.100.7"), "deny");
	assert_int_equal(access_list_sweep(dataplane), 0);
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &entry.prefix, &found), 0);
	assert_true(found.expires_wall_ms == entry.expires_wall_ms);
	entry.expires_wall_ms = clock_wall_ms() + 30;
	env_assert_ok(access_list_add(dataplane, ACCESS_DENY, &entry, &err), &err);
	assert_true(env_wait(has_passed, "198.51.100.7"));
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &entry.prefix, &found), -ENOENT);
	assert_int_equal(access_list_sweep(dataplane), 1);
	assert_int_equal(access_list_sweep(dataplane), 0);
	assert_int_equal(access_list_add(dataplane, ACCESS_DENY, &entry, &err), -EINVAL);
	assert_string_equal(err.text, "198.51.100.7/32 has expired already");
}

static void test_persons_entry_stands_before_the_files_and_uncovers_it_when_it_ends(void **state)
{
	struct ip_prefix prefix = prefix_of("198.51.100.7");
	struct access_entry found;

	setup_lists();
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CONFIG);
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CLI);
	assert_int_equal(count_entries(ACCESS_DENY), 1);
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &prefix, &found), 0);
	assert_int_equal(found.origin, ACCESS_FROM_CLI);
	assert_string_equal(found.reason, "by hand");
	expire("198.51.100.7", SL_ACCESS_CLI);
	assert_string_equal(reason_for("198.51.100.7"), "deny");
	assert_int_equal(access_list_sweep(dataplane), 1);
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &prefix, &found), 0);
	assert_int_equal(found.origin, ACCESS_FROM_CONFIG);
	assert_string_equal(found.reason, "by file");
	assert_string_equal(reason_for("198.51.100.7"), "deny");
}

static void test_removed_entry_is_gone_at_once_and_an_unknown_one_is_an_error(void **state)
{
	struct ip_prefix prefix = prefix_of("198.51.100.7"), wider = prefix_of("198.51.100.0/24");
	struct access_entry found;
	struct error err = {0};

	setup_lists();
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CONFIG);
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CLI);
	assert_int_equal(access_list_remove(dataplane, ACCESS_DENY, &wider, &err), -ENOENT);
	assert_string_equal(err.text, "198.51.100.0/24 is not on the deny list");
	assert_int_equal(access_list_remove(dataplane, ACCESS_DENY, &prefix, NULL), 0);
	assert_string_equal(reason_for("198.51.100.7"), "pass");
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &prefix, &found), -ENOENT);
	assert_int_equal(access_list_remove(dataplane, ACCESS_DENY, &prefix, NULL), -ENOENT);
}

static void test_lookup_of_a_covered_prefix_is_exact(void **state)
{
	struct ip_prefix covered = prefix_of("198.51.100.7");
	struct access_entry found;

	setup_lists();
	add(ACCESS_DENY, "198.51.100.0/24", ACCESS_FROM_CLI);
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &covered, &found), -ENOENT);
	add(ACCESS_DENY, "198.51.100.7", ACCESS_FROM_CLI);
	assert_int_equal(count_entries(ACCESS_DENY), 2);
}

static void test_sync_makes_the_files_entries_exactly_these(void **state)
{
	struct access_entry first[] = {
		entry_of("198.51.100.0/24", ACCESS_FROM_CONFIG),
		entry_of("203.0.113.1", ACCESS_FROM_CONFIG),
		entry_of("2001:db8:1::/48", ACCESS_FROM_CONFIG),
	};
	struct access_entry second[] = {
		entry_of("2001:db8:1::/48", ACCESS_FROM_CONFIG),
		entry_of("203.0.113.2", ACCESS_FROM_CONFIG),
	};
	struct ip_prefix by_hand = prefix_of("203.0.113.1");
	struct access_entry found;
	struct error err = {0};

	setup_lists();
	second[1].expires_wall_ms = 1; /* over before it began */
	env_assert_ok(access_list_sync_config(dataplane, ACCESS_DENY, first, 3, &err), &err);
	assert_int_equal(count_entries(ACCESS_DENY), 3);
	add(ACCESS_DENY, "203.0.113.1", ACCESS_FROM_CLI);
	env_assert_ok(access_list_sync_config(dataplane, ACCESS_DENY, second, 2, &err), &err);
	assert_int_equal(count_entries(ACCESS_DENY), 2);
	assert_string_equal(reason_for("198.51.100.7"), "pass");
	assert_string_equal(reason_for("203.0.113.1"), "deny");
	assert_string_equal(reason_for("203.0.113.2"), "pass");
	assert_string_equal(reason_for("2001:db8:1::1"), "deny");
	env_assert_ok(access_list_sync_config(dataplane, ACCESS_DENY, NULL, 0, &err), &err);
	assert_int_equal(count_entries(ACCESS_DENY), 1);
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &by_hand, &found), 0);
	assert_int_equal(found.origin, ACCESS_FROM_CLI);
}

static void test_full_list_says_so(void **state)
{
	struct access_entry entry = entry_of("10.0.0.0", ACCESS_FROM_CLI);
	struct error err = {0};
	uint32_t number = 0;
	int ret;

	setup_lists();
	do {
		uint32_t addr_be = htonl(0x0a000000 + number);

		memcpy(entry.prefix.addr.bytes, &addr_be, sizeof(addr_be));
		ret = access_list_add(dataplane, ACCESS_ALLOW, &entry, &err);
	} while (ret == 0 && ++number <= SL_ALLOW_MAX);
	assert_int_equal(ret, -ENOSPC);
	assert_int_equal(number, SL_ALLOW_MAX);
	assert_string_equal(err.text, "the allow list is full: cannot add 10.1.0.0/32");
	assert_int_equal(count_entries(ACCESS_ALLOW), SL_ALLOW_MAX);
	assert_string_equal(reason_for("10.0.255.255"), "allow");
}

static int stop_at_second(const struct access_entry *entry, void *arg)
{
	return ++*(int *)arg == 2 ? 42 : 0;
}

static void test_walk_stops_when_it_is_told(void **state)
{
	int seen = 0;

	setup_lists();
	add(ACCESS_DENY, "203.0.113.1", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "203.0.113.2", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "203.0.113.3", ACCESS_FROM_CLI);
	assert_int_equal(access_list_walk(dataplane, ACCESS_DENY, stop_at_second, &seen), 42);
	assert_int_equal(seen, 2);
}

static void test_cli_reads_and_changes_the_pins_without_loading(void **state)
{
	struct dataplane *loader = NULL, *cli = NULL;
	struct access_entry entry = entry_of("203.0.113.1", ACCESS_FROM_CLI);
	struct error err = {0};

	setup_lists();
	loader = dataplane;
	env_assert_ok(dataplane_open_pinned(ENV_DIR, false, &cli, &err), &err);
	env_assert_ok(access_list_add(cli, ACCESS_DENY, &entry, &err), &err);
	dataplane_free(cli);
	assert_string_equal(reason_for("203.0.113.1"), "deny");

	env_assert_ok(dataplane_open_pinned(ENV_DIR, true, &cli, &err), &err);
	dataplane = cli;
	assert_int_equal(count_entries(ACCESS_DENY), 1);
	dataplane = loader;
	assert_int_equal(access_list_remove(cli, ACCESS_DENY, &entry.prefix, &err), -EPERM);
	dataplane_free(cli);
}

static void test_overlay_brings_back_what_people_changed(void **state)
{
	char dir[] = "/tmp/sluice-kern-XXXXXX", path[64];
	struct access_entry entry = entry_of("203.0.113.1", ACCESS_FROM_CLI), found;
	struct error err = {0};

	setup_lists();
	assert_non_null(mkdtemp(dir));
	env_assert_ok(access_overlay_load(dataplane, dir, &err), &err);
	entry.expires_wall_ms = clock_wall_ms() + 3600000;
	env_assert_ok(access_list_add(dataplane, ACCESS_DENY, &entry, &err), &err);
	add(ACCESS_ALLOW, "2001:db8:1::/48", ACCESS_FROM_CLI);
	add(ACCESS_DENY, "198.51.100.0/24", ACCESS_FROM_CONFIG);
	env_assert_ok(access_overlay_save(dataplane, dir, &err), &err);
	setup_lists();
	env_assert_ok(access_overlay_load(dataplane, dir, &err), &err);
	assert_int_equal(count_entries(ACCESS_DENY), 1);
	assert_int_equal(count_entries(ACCESS_ALLOW), 1);
	assert_int_equal(access_list_find(dataplane, ACCESS_DENY, &entry.prefix, &found), 0);
	assert_string_equal(found.reason, "by hand");
	assert_int_equal(found.origin, ACCESS_FROM_CLI);
	assert_true(found.expires_wall_ms == entry.expires_wall_ms);
	(void)snprintf(path, sizeof(path), "%s/overlay.json", dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(rmdir(dir), 0); /* no temporary file is left */
}

static void test_damaged_overlay_is_an_error_that_names_the_place(void **state)
{
	static const struct {
		const char *content, *text;
	} rows[] = {
		{"", "'['"},
		{"{\"version\":1,\"deny\":[", "overlay.json:1:"},
		{"{\"version\":2}", "version 2, this is 1"},
		{"{}", "version 0"},
		{"{\"version\":1,\"deny\":{}}", "'deny' is no array"},
		{"{\"version\":1,\"deny\":[7]}", "deny[0]"},
		{"{\"version\":1,\"deny\":[{\"prefix\":\"1.2.3.4\"},{\"prefix\":9}]}", "deny[1]"},
		{"{\"version\":1,\"allow\":[{\"prefix\":\"1.2.3.4/33\"}]}", "allow[0]"},
		{"{\"version\":1,\"allow\":[{\"prefix\":\"1.2.3.4\",\"extra\":1}]}", "extra"},
		{"{\"version\":1,\"allow\":[{\"prefix\":\"1.2.3.4\",\"expires\":-5}]}",
		 "'expires' is negative"},
	};

	setup_lists();
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char *path = test_file_make("overlay.json", str_from_cstr(rows[i].content));
		char dir[256];
		struct error err = {0};
		int ret;

		(void)snprintf(dir, sizeof(dir), "%s", path);
		*strrchr(dir, '/') = '\0';
		ret = access_overlay_load(dataplane, dir, &err);
		test_file_remove(path);
		assert_row(rows[i].content, ret < 0);
		if (!strstr(err.text, rows[i].text)) {
			print_error("row '%s': '%s'\n", rows[i].content, err.text);
			fail();
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses_and_prefixes_are_denied_and_others_pass),
		cmocka_unit_test(test_default_route_denies_everybody),
		cmocka_unit_test(test_allow_wins_over_deny_whatever_the_lengths),
		cmocka_unit_test(test_malformed_packet_of_an_allowed_source_is_still_dropped),
		cmocka_unit_test(test_later_fragment_of_a_denied_source_is_dropped),
		cmocka_unit_test(test_expired_entry_matches_no_longer_and_hides_no_shorter_one),
		cmocka_unit_test(test_every_dead_length_of_ipv6_is_searched_through),
		cmocka_unit_test(test_entry_expires_by_the_clock),
		cmocka_unit_test(
			test_persons_entry_stands_before_the_files_and_uncovers_it_when_it_ends),
		cmocka_unit_test(test_removed_entry_is_gone_at_once_and_an_unknown_one_is_an_error),
		cmocka_unit_test(test_lookup_of_a_covered_prefix_is_exact),
		cmocka_unit_test(test_sync_makes_the_files_entries_exactly_these),
		cmocka_unit_test(test_full_list_says_so),
		cmocka_unit_test(test_walk_stops_when_it_is_told),
		cmocka_unit_test(test_cli_reads_and_changes_the_pins_without_loading),
		cmocka_unit_test(test_overlay_brings_back_what_people_changed),
		cmocka_unit_test(test_damaged_overlay_is_an_error_that_names_the_place),
	};

	return cmocka_run_group_tests(tests, env_setup, teardown);
}
