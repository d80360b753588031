#include "tests/unit/kern/flow_workload.h"

#include <math.h>
#include <stdlib.h>

#include "abi/flow_rules.h"
#include "base/util.h"

#define HANDSHAKE_S    0.05
#define WAITING_MAX    (1U << 16) /* handshakes under way; a power of two */
#define PACKETS_MAX    100000
#define SLOW_GAP_S     30
#define SLOWEST_GAP_S  120
#define SLOWEST_LENGTH 60

struct waiting {
	uint64_t due; /* number of the packet of which it comes instead */
	uint64_t hash;
	uint32_t place;
	uint32_t count;
};

struct workload {
	struct workload_config config;
	uint64_t random[2];
	__u64 keys[SL_HASH_KEYS];
	uint32_t fast_count, slowest_from;
	struct workload_flow *flows;
	/* Walker's alias method: whose turn is next. */
	double *own_share;
	uint32_t *alias;
	uint64_t sent; /* packets of flows, handshakes apart */
	struct waiting *waiting;
	uint32_t waiting_head, waiting_tail;
	double flood_due;
	uint64_t flood_hash;
	unsigned int flood_left; /* packets of the flood's flow still to come */
};

/* xorshift128+ */
static uint64_t draw(struct workload *it)
{
	uint64_t a = it->random[0], b = it->random[1];

	it->random[0] = b;
	a ^= a << 23;
	it->random[1] = a ^ b ^ (a >> 17) ^ (b >> 26);
	return it->random[1] + b;
}

/* 0 <= it < 1 */
static double draw_share(struct workload *it)
{
	return (double)(draw(it) >> 11) * 0x1p-53;
}

/* A five-tuple of a client, through the hash that sl_main uses. */
static uint64_t draw_hash(struct workload *it)
{
	uint64_t bits = draw(it);
	struct flow_tuple tuple = {
		.src_be = {(uint32_t)bits},
		.dst_be = {0x35020002}, /* 192.0.2.53 */
		.ports = (uint32_t)(bits >> 32 & 0xffff) << 16 | 443,
		.protocol = 6,
	};

	return flow_hash4(it->keys, &tuple);
}

static void begin_flow(struct workload *it, uint32_t place)
{
	struct workload_flow *flow = &it->flows[place];

	*flow = (struct workload_flow){.hash = draw_hash(it)};
	if (place < it->fast_count) {
		double length = 4 * pow(1 - draw_share(it), -1 / 1.1);

		flow->left = length > PACKETS_MAX ? PACKETS_MAX : (uint32_t)length;
	} else {
		flow->left =
			place >= it->slowest_from ? SLOWEST_LENGTH : 4 + (uint32_t)(draw(it) % 40);
	}
}

static double weight_of(const struct workload *it, uint32_t place, double fast_sum)
{
	if (place < it->fast_count)
		return 1 / pow(place + 10, 0.9);
	return fast_sum / it->fast_count / (place >= it->slowest_from ? SLOWEST_GAP_S : SLOW_GAP_S);
}

static bool make_alias(struct workload *it)
{
	uint32_t count = it->config.flows, small = 0, large = count, *stack;
	double sum = 0, fast_sum = 0;

	stack = calloc(count, sizeof(*stack));
	if (!stack)
		return false;
	for (uint32_t i = 0; i < it->fast_count; i++)
		fast_sum += weight_of(it, i, 0);
	for (uint32_t i = 0; i < count; i++) {
		it->own_share[i] = weight_of(it, i, fast_sum);
		sum += it->own_share[i];
	}
	for (uint32_t i = 0; i < count; i++) {
		it->own_share[i] *= count / sum;
		it->alias[i] = i;
		stack[it->own_share[i] < 1 ? small++ : --large] = i;
	}
	while (small > 0 && large < count) {
		uint32_t less = stack[--small], more = stack[large];

		it->alias[less] = more;
		it->own_share[more] -= 1 - it->own_share[less];
		if (it->own_share[more] < 1) {
			large++;
			stack[small++] = more;
		}
	}
	while (small > 0)
		it->own_share[stack[--small]] = 1;
	for (; large < count; large++)
		it->own_share[stack[large]] = 1;
	free(stack);
	return true;
}

struct workload *workload_new(const struct workload_config *config)
{
	struct workload *it = calloc(1, sizeof(*it));

	if (!it)
		return NULL;
	it->config = *config;
	it->random[0] = config->seed;
	it->random[1] = config->seed ^ 0x9e3779b97f4a7c15ULL;
	for (unsigned int i = 0; i < 20; i++)
		(void)draw(it);
	for (unsigned int i = 0; i < SL_HASH_KEYS; i++)
		it->keys[i] = draw(it);
	it->fast_count = config->flows - config->flows / 5;
	it->slowest_from = config->flows - config->flows / 50;
	it->flood_due = config->flood_per_s > 0 ? config->flood_begin_s : INFINITY;
	it->flows = calloc(config->flows, sizeof(*it->flows));
	it->own_share = calloc(config->flows, sizeof(*it->own_share));
	it->alias = calloc(config->flows, sizeof(*it->alias));
	it->waiting = calloc(WAITING_MAX, sizeof(*it->waiting));
	if (!it->flows || !it->own_share || !it->alias || !it->waiting || !make_alias(it)) {
		workload_free(it);
		return NULL;
	}
	for (uint32_t place = 0; place < config->flows; place++)
		begin_flow(it, place);
	return it;
}

void workload_free(struct workload *it)
{
	if (!it)
		return;
	free(it->flows);
	free(it->own_share);
	free(it->alias);
	free(it->waiting);
	free(it);
}

static bool take_flood(struct workload *it, double now_s, struct workload_packet *ret_packet)
{
	if (it->flood_left == 0) {
		if (now_s < it->flood_due || now_s >= it->config.flood_end_s)
			return false;
		it->flood_due += 1 / it->config.flood_per_s;
		it->flood_hash = draw_hash(it);
		it->flood_left = it->config.flood_packets;
	}
	*ret_packet = (struct workload_packet){
		.hash = it->flood_hash,
		.is_syn = it->flood_left == it->config.flood_packets,
	};
	it->flood_left--;
	return true;
}

static bool take_handshake(struct workload *it, struct workload_packet *ret_packet)
{
	while (it->waiting_head != it->waiting_tail) {
		struct waiting *next = &it->waiting[it->waiting_head & (WAITING_MAX - 1)];
		struct workload_flow *flow = &it->flows[next->place];

		if (next->due > it->sent)
			return false;
		/* Another connection is there, or this one has ended. */
		if (flow->hash != next->hash || flow->left == 0 || next->count == 0) {
			it->waiting_head++;
			continue;
		}
		next->count--;
		*ret_packet = (struct workload_packet){.hash = flow->hash, .flow = flow};
		flow->seen++;
		return true;
	}
	return false;
}

double workload_next(struct workload *it, struct workload_packet *ret_packet)
{
	double now_s = (double)it->sent / it->config.flows;
	struct workload_flow *flow;
	uint32_t place;

	if (take_flood(it, now_s, ret_packet) || take_handshake(it, ret_packet))
		return now_s;
	place = (uint32_t)(draw(it) % it->config.flows);
	if (draw_share(it) > it->own_share[place])
		place = it->alias[place];
	flow = &it->flows[place];
	if (flow->left == 0)
		begin_flow(it, place);
	*ret_packet = (struct workload_packet){.hash = flow->hash, .flow = flow};
	ret_packet->is_syn = flow->seen == 0;
	ret_packet->is_fin = flow->left == 1 && !ret_packet->is_syn && draw_share(it) < 0.9;
	if (ret_packet->is_syn && flow->left > 3 &&
	    it->waiting_tail - it->waiting_head < WAITING_MAX)
		it->waiting[it->waiting_tail++ & (WAITING_MAX - 1)] = (struct waiting){
			.due = it->sent + (uint64_t)(HANDSHAKE_S * it->config.flows),
			.hash = flow->hash,
			.place = place,
			.count = 2,
		};
	flow->seen++;
	flow->left--;
	it->sent++;
	return now_s;
}
