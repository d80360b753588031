/* The sweeper: started by the loader, it lives as long as the maps are pinned. */
#include <bpf/bpf.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "abi/flow_rules.h"
#include "flow_clock.skel.h"
#include "kern/dataplane_internal.h"
#include "kern/flow_sweep.h"
#include "tests/bpf/bpf_env.h"

#define LINES	  8 /* a sweep of so few takes 0.3 s */
#define PROGRAMS  "sl_sweep_start"
#define MAP_COUNT 64

/* A table that is pinned already is taken as it is. */
static void pin_small_table(void)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "sl_flows", sizeof(uint32_t),
				sizeof(struct sl_flow_line), LINES, &opts);

	assert_true(fd >= 0);
	assert_int_equal(mkdir(ENV_DIR, 0700), 0);
	assert_int_equal(bpf_obj_pin(fd, ENV_DIR "/sl_flows"), 0);
	(void)close(fd);
}

static struct dataplane *open_pinned(void)
{
	struct dataplane *dataplane = NULL;
	struct error err = {0};

	env_assert_ok(dataplane_open_pinned(ENV_DIR, true, &dataplane, &err), &err);
	return dataplane;
}

static void read_state(struct dataplane *dataplane, struct flow_table_state *ret_state)
{
	struct error err = {0};

	env_assert_ok(flow_sweep_read(dataplane, ret_state, &err), &err);
}

struct waiting {
	struct dataplane *dataplane;
	struct flow_table_state least, seen;
};

static bool has_come(void *arg)
{
	struct waiting *it = arg;

	read_state(it->dataplane, &it->seen);
	return it->seen.sweeps >= it->least.sweeps && it->seen.skipped >= it->least.skipped;
}

static uint32_t map_id(struct dataplane *dataplane)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);

	assert_int_equal(
		bpf_obj_get_info_by_fd(dataplane->maps[DATAPLANE_MAP_FLOW_SWEEP], &info, &len), 0);
	return info.id;
}

/* Sweepers in the kernel that use this map. */
static unsigned int count_programs(uint32_t map)
{
	unsigned int count = 0;

	for (uint32_t id = 0; bpf_prog_get_next_id(id, &id) == 0;) {
		uint32_t maps[MAP_COUNT];
		struct bpf_prog_info info = {.map_ids = (uintptr_t)maps, .nr_map_ids = MAP_COUNT};
		uint32_t len = sizeof(info);
		int fd = bpf_prog_get_fd_by_id(id);

		if (fd < 0)
			continue;
		if (bpf_obj_get_info_by_fd(fd, &info, &len) == 0 &&
		    !strncmp(info.name, PROGRAMS, sizeof(info.name) - 1))
			for (uint32_t i = 0; i < info.nr_map_ids && i < MAP_COUNT; i++)
				count += maps[i] == map;
		(void)close(fd);
	}
	return count;
}

struct programs {
	uint32_t map;
	unsigned int count;
};

static bool are_so_many(void *arg)
{
	struct programs *it = arg;

	return count_programs(it->map) == it->count;
}

static uint64_t read_jiffies(void)
{
	struct flow_clock_bpf *object = flow_clock_bpf__open_and_load();
	char frame[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));

	assert_non_null(object);
	assert_int_equal(bpf_prog_test_run_opts(bpf_program__fd(object->progs.sl_jiffies), &opts),
			 0);
	flow_clock_bpf__destroy(object);
	return opts.retval;
}

/* As BPF counts what it lists. */
static void count_listed(struct dataplane *dataplane, uint64_t listed)
{
	struct sl_flow_counts counts[256] = {{.inserted = listed}};
	uint32_t zero = 0;

	assert_int_equal(bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_FLOW_COUNTS], &zero,
					     counts, BPF_ANY),
			 0);
}

static struct sl_flow_line *map_lines(struct dataplane *dataplane)
{
	void *lines = mmap(NULL, LINES * sizeof(struct sl_flow_line), PROT_READ | PROT_WRITE,
			   MAP_SHARED, dataplane->maps[DATAPLANE_MAP_FLOWS], 0);

	assert_true(lines != MAP_FAILED);
	return lines;
}

static void open_all(struct dataplane **ret_dataplane)
{
	struct error err = {0};

	env_assert_ok(dataplane_open(ENV_DIR, ret_dataplane, &err), &err);
}

static void test_sweeper_skips_an_empty_table_takes_stale_entries_and_outlives_daemons(void **state)
{
	struct waiting waiting = {0};
	struct dataplane *dataplane = NULL;
	struct sl_flow_line *lines;
	struct sl_flow_conf conf;
	struct programs programs;
	struct flow_now now, idle, few;
	struct error err = {0};
	uint32_t zero = 0;
	uint64_t fresh;

	env_require();
	pin_small_table();
	open_all(&dataplane);
	waiting = (struct waiting){.dataplane = dataplane, .least = {.sweeps = 1, .skipped = 1}};
	assert_true(env_wait(has_come, &waiting));
	assert_int_equal(waiting.seen.entries, 0);
	assert_int_equal(waiting.seen.capacity, LINES * SL_FLOW_WAYS);
	assert_true(waiting.seen.looked_boot_ns > 0);

	assert_int_equal(
		bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_FLOW_CONF], &zero, &conf), 0);
	assert_int_equal(conf.line_count, LINES);
	now = flow_now(&conf.clock, read_jiffies());
	idle = (struct flow_now){(uint8_t)(now.fine - conf.clock.probation_fine - 1),
				 (uint8_t)(now.coarse - 2 * conf.clock.idle_coarse - 1)};
	few = (struct flow_now){now.fine, (uint8_t)(now.coarse - conf.clock.closing_coarse - 1)};
	fresh = flow_entry(5ULL << SL_FLOW_TAG_AT, few, SL_FLOW_ESTABLISHED, 7);
	lines = map_lines(dataplane);
	lines[0].entries[0] = flow_entry(1ULL << SL_FLOW_TAG_AT, idle, SL_FLOW_ESTABLISHED, 7);
	lines[3].entries[7] = flow_entry(2ULL << SL_FLOW_TAG_AT, idle, SL_FLOW_OLD, 7);
	lines[4].entries[1] = flow_entry(3ULL << SL_FLOW_TAG_AT, few, SL_FLOW_CLOSING, 7);
	lines[7].entries[2] = flow_entry(4ULL << SL_FLOW_TAG_AT, idle, SL_FLOW_PROBATION, 7);
	lines[7].entries[3] = fresh;
	count_listed(dataplane, 5);
	dataplane_free(dataplane);

	/* The next daemon takes the timer over. */
	open_all(&dataplane);
	waiting.dataplane = dataplane;
	waiting.least.sweeps = waiting.seen.sweeps + 1;
	assert_true(env_wait(has_come, &waiting));
	assert_int_equal(waiting.seen.entries, 1);
	assert_int_equal(waiting.seen.expired, 4);
	for (int line = 0; line < LINES; line++)
		for (int way = 0; way < SL_FLOW_WAYS; way++)
			assert_int_equal(lines[line].entries[way],
					 line == 7 && way == 3 ? fresh : 0);
	programs = (struct programs){map_id(dataplane), 1};
	assert_true(env_wait(are_so_many, &programs));
	dataplane_free(dataplane);
	(void)munmap(lines, LINES * sizeof(*lines));

	/* Nobody is there any more. */
	dataplane = open_pinned();
	waiting.dataplane = dataplane;
	waiting.least.sweeps = waiting.seen.sweeps + 2;
	assert_true(env_wait(has_come, &waiting));
	assert_int_equal(waiting.seen.entries, 1);
	dataplane_free(dataplane);

	env_assert_ok(dataplane_unload(ENV_DIR, &err), &err);
	programs.count = 0;
	assert_true(env_wait(are_so_many, &programs));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			test_sweeper_skips_an_empty_table_takes_stale_entries_and_outlives_daemons),
	};

	return cmocka_run_group_tests(tests, env_setup, NULL);
}
