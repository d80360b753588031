#include "kern/flow_conf.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/random.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/util.h"
#include "flow_clock.skel.h"

#define FINE_MS	     32
#define COARSE_MS    4096
#define PROBATION_MS 3000
#define IDLE_MS	     300000
#define CLOSING_MS   32000

#define MEASURE_NS    40000000ULL
#define MEASURE_TRIES 50

DEFINE_FREEP(struct flow_clock_bpf, flow_clock_bpf__destroy)

/* The power of two of jiffies that is nearest to so many milliseconds. */
static uint32_t nearest_shift(uint32_t hz, uint32_t ms)
{
	uint64_t wanted = (uint64_t)hz * ms; /* in thousandths of a jiffy */
	uint32_t shift = 0;

	while ((1500ULL << shift) < wanted)
		shift++;
	return shift;
}

static uint32_t in_units(uint32_t hz, uint32_t shift, uint32_t ms)
{
	uint64_t unit = 1000ULL << shift; /* thousandths of a jiffy */

	return (uint32_t)(((uint64_t)hz * ms + unit - 1) / unit);
}

struct sl_flow_clock flow_clock_for(uint32_t hz)
{
	uint32_t fine = nearest_shift(hz, FINE_MS), coarse = nearest_shift(hz, COARSE_MS);

	return (struct sl_flow_clock){
		.fine_shift = fine,
		.coarse_shift = coarse,
		.probation_fine = in_units(hz, fine, PROBATION_MS),
		.idle_coarse = in_units(hz, coarse, IDLE_MS),
		.closing_coarse = in_units(hz, coarse, CLOSING_MS),
		.hz = hz,
	};
}

static int read_jiffies(int program_fd, uint32_t *ret_jiffies)
{
	char frame[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));
	int ret = bpf_prog_test_run_opts(program_fd, &opts);

	*ret_jiffies = opts.retval;
	return ret;
}

/* The moment at which jiffies move on, and what they are then. */
static int wait_for_edge(int program_fd, uint32_t *ret_jiffies, uint64_t *ret_ns)
{
	uint32_t before, now;
	int ret = read_jiffies(program_fd, &before);

	do {
		if (ret == 0)
			ret = read_jiffies(program_fd, &now);
		if (ret)
			return ret;
	} while (now == before);
	*ret_jiffies = now;
	*ret_ns = clock_mono_ns();
	return 0;
}

/* Of the rates that Linux can be built with (CONFIG_HZ), the nearest. */
static uint32_t nearest_rate(uint64_t ticks, uint64_t ns)
{
	static const uint32_t rates[] = {100, 250, 300, 1000};
	uint64_t hz = ticks * 1000000000ULL / ns;
	uint32_t best = rates[0];

	for (size_t i = 1; i < ARRAY_SIZE(rates); i++)
		if (hz * hz > (uint64_t)best * rates[i])
			best = rates[i];
	return best;
}

int flow_clock_measure(uint32_t *ret_hz, struct error *err)
{
	_cleanup_(flow_clock_bpf__destroyp)
	struct flow_clock_bpf *object = flow_clock_bpf__open_and_load();
	struct timespec pause = {.tv_nsec = (long)MEASURE_NS};
	uint32_t last = 0, hz;
	int ret, fd;

	if (!object)
		return error_set_errno(err, -errno, "cannot load the program that reads jiffies");
	fd = bpf_program__fd(object->progs.sl_jiffies);
	/* Who is kept from running between an edge and the clock measures wrong: twice the same. */
	for (int tries = 0; tries < MEASURE_TRIES; tries++) {
		uint64_t begin_ns, end_ns;
		uint32_t begin, end;

		ret = wait_for_edge(fd, &begin, &begin_ns);
		(void)nanosleep(&pause, NULL);
		if (ret == 0)
			ret = wait_for_edge(fd, &end, &end_ns);
		if (ret)
			return error_set_errno(err, ret, "cannot read jiffies by a test run");
		hz = nearest_rate(end - begin, end_ns - begin_ns);
		if (hz == last) {
			*ret_hz = hz;
			return 0;
		}
		last = hz;
	}
	return error_set(err, -EAGAIN, "cannot measure how many jiffies a second has");
}

int flow_conf_make(uint32_t line_count, uint32_t key_count, struct sl_flow_conf *ret_conf,
		   struct error *err)
{
	static const uint32_t outer6_high[] = FLOW_OUTER6_HIGH;
	struct sl_flow_conf conf = {.line_count = line_count, .key_count = key_count};
	uint32_t hz = 0;
	int ret = flow_clock_measure(&hz, err);

	if (ret)
		return ret;
	if (getrandom(conf.hash_keys, sizeof(conf.hash_keys), 0) != (ssize_t)sizeof(conf.hash_keys))
		return error_set_errno(err, -EIO, "cannot make secret keys");
	conf.clock = flow_clock_for(hz);
	conf.outer4_be = htonl(FLOW_OUTER4);
	for (size_t i = 0; i < ARRAY_SIZE(outer6_high); i++)
		conf.outer6_be[i] = htonl(outer6_high[i]);
	*ret_conf = conf;
	return 0;
}
