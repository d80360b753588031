/*
 * flow_sweep: takes stale entries out of the flow table (abi/flow.h), beside traffic and without a
 * daemon.
 *
 * The loader runs sl_sweep_start once by BPF_PROG_TEST_RUN, which arms the timer in sl_flow_sweep.
 * A later loader's takes the timer over: its callback is replaced, it goes on at the same line.
 * Never put on a device.
 */
#include "lib/maps.h"

#include "abi/flow_rules.h"

#define CLOCK_MONOTONIC 1
#define NS_PER_MS	1000000ULL
#define EBUSY		16
#define CPUS_MAX	8192

struct sweep_run {
	struct sl_flow_clock clock;
	struct flow_now now;
	__u32 line, line_count;
	__u32 found, expired;
};

static long sweep_line(__u32 index, void *arg)
{
	struct sweep_run *run = arg;
	__u32 at = (run->line + index) & (run->line_count - 1);
	struct sl_flow_line *line = bpf_map_lookup_elem(&sl_flows, &at);

	if (!line)
		return 1;
	FLOW_UNROLL
	for (__u32 way = 0; way < SL_FLOW_WAYS; way++) {
		__u64 entry = *(volatile __u64 *)&line->entries[way];

		if (!entry)
			continue;
		if (flow_is_stale(entry, &run->clock, run->now) &&
		    __sync_val_compare_and_swap(&line->entries[way], entry, 0) == entry)
			run->expired++;
		else
			run->found++;
	}
	return 0;
}

static long add_listed(__u32 cpu, void *arg)
{
	__u64 *listed = arg;
	struct sl_flow_counts *counts;
	__u32 zero = 0;

	counts = bpf_map_lookup_percpu_elem(&sl_flow_counts, &zero, cpu);
	if (!counts)
		return 1;
	*listed += counts->inserted + counts->recorded;
	return 0;
}

/* True: the table was empty, and nothing has been listed since. */
static bool sweep_begin(struct sl_flow_sweep *sweep)
{
	__u64 listed = 0;

	bpf_loop(CPUS_MAX, add_listed, &listed, 0);
	if (sweep->sweeps && !sweep->entries && listed == sweep->listed)
		return true;
	sweep->listed = listed;
	sweep->found = 0;
	return false;
}

/* Returns the time to the next chunk. */
static __u64 sweep_chunk(struct sl_flow_sweep *sweep)
{
	struct sweep_run run = {};
	struct sl_flow_conf *conf;
	__u32 zero = 0, count;

	conf = bpf_map_lookup_elem(&sl_flow_conf, &zero);
	if (!conf || (!sweep->line && sweep_begin(sweep))) {
		sweep->skipped++;
		sweep->looked_boot_ns = bpf_ktime_get_boot_ns();
		return SL_SWEEP_MS * NS_PER_MS;
	}
	run.clock = conf->clock;
	run.now = flow_now(&run.clock, bpf_jiffies64());
	run.line = sweep->line;
	run.line_count = conf->line_count;
	count = conf->line_count / SL_SWEEP_CHUNKS;
	if (!count)
		count = 1;
	bpf_loop(count, sweep_line, &run, 0);
	sweep->expired += run.expired;
	sweep->found += run.found;
	sweep->line += count;
	if (sweep->line >= conf->line_count) {
		sweep->line = 0;
		sweep->entries = sweep->found;
		sweep->sweeps++;
		sweep->looked_boot_ns = bpf_ktime_get_boot_ns();
	}
	return SL_SWEEP_MS * NS_PER_MS / SL_SWEEP_CHUNKS;
}

static int sweep_run(void *map, __u32 *key, struct sl_flow_sweep *sweep)
{
	__u64 wait_ns = sweep_chunk(sweep);

	(void)bpf_timer_start(&sweep->timer, wait_ns, 0);
	return 0;
}

/* 0 or an errno: there is a timer now, and it is this program's. */
SEC("xdp")
int sl_sweep_start(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct sl_flow_sweep *sweep = bpf_map_lookup_elem(&sl_flow_sweep, &zero);
	long ret;

	if (!sweep)
		return EBUSY;
	ret = bpf_timer_init(&sweep->timer, &sl_flow_sweep, CLOCK_MONOTONIC);
	if (ret && ret != -EBUSY) /* it is there already */
		return (int)-ret;
	ret = bpf_timer_set_callback(&sweep->timer, sweep_run);
	if (!ret)
		ret = bpf_timer_start(&sweep->timer, 0, 0);
	return (int)-ret;
}

char _license[] SEC("license") = "GPL";
