#include "kern/nat_pool.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "kern/dataplane_internal.h"
#include "kern/nat_table.h"

/* Where a line is full, what looks dead makes room after this. */
#define PRESSED_HALF_OPEN_S 3
#define PRESSED_OVER_S	    10

#define NS_PER_UNIT (1ULL << SL_NAT_TIME_SHIFT)

_Static_assert(sizeof(struct sl_nat_slot) == sizeof(uint64_t), "one write");

/* ---- slots ---- */

static void write_slot(struct sl_nat_slot *slot, struct sl_nat_slot to)
{
	uint64_t word;

	memcpy(&word, &to, sizeof(word));
	__atomic_store_n((uint64_t *)(void *)slot, word, __ATOMIC_RELEASE);
}

static bool same_slot(const struct sl_nat_slot *left, const struct sl_nat_slot *right)
{
	return !memcmp(left, right, sizeof(*left));
}

static struct sl_nat_slot slot_of(const struct nat_source *source, uint32_t index)
{
	return (struct sl_nat_slot){
		.address = (uint16_t)index,
		.line_first = (uint16_t)(source->port_first / SL_NAT_WAYS),
		.line_count =
			(uint16_t)((source->port_last - source->port_first + 1) / SL_NAT_WAYS),
	};
}

static void move_slot(struct sl_nat_conf *conf, unsigned int nth, struct sl_nat_slot to,
		      uint64_t now_boot_ns)
{
	struct sl_nat_slot from = conf->current[nth];

	if (same_slot(&from, &to))
		return;
	if (from.line_count) {
		write_slot(&conf->previous[nth], from);
		conf->moved_boot_ns = now_boot_ns;
	}
	write_slot(&conf->current[nth], to);
}

/* As many slots for each source as for any other, moving as few as that takes. */
static void spread(struct sl_nat_conf *conf, const struct nat_pool_conf *wanted,
		   const uint32_t *indexes, uint64_t now_boot_ns)
{
	unsigned int has[SL_NAT_ADDRESSES_MAX] = {0}, count = wanted->source_count;
	unsigned int most = count ? (SL_NAT_SLOTS + count - 1) / count : 0;
	bool stays[SL_NAT_SLOTS] = {false};

	for (unsigned int nth = 0; nth < SL_NAT_SLOTS; nth++)
		for (unsigned int i = 0; i < count; i++) {
			struct sl_nat_slot slot = slot_of(&wanted->sources[i], indexes[i]);

			if (same_slot(&conf->current[nth], &slot) && has[i] < most) {
				has[i]++;
				stays[nth] = true;
			}
		}
	for (unsigned int nth = 0; nth < SL_NAT_SLOTS; nth++) {
		unsigned int least = 0;

		if (stays[nth])
			continue;
		for (unsigned int i = 1; i < count; i++)
			if (has[i] < has[least])
				least = i;
		if (!count) {
			move_slot(conf, nth, (struct sl_nat_slot){0}, now_boot_ns);
			continue;
		}
		has[least]++;
		move_slot(conf, nth, slot_of(&wanted->sources[least], indexes[least]), now_boot_ns);
	}
}

/* ---- addresses ---- */

static uint32_t find_address(const struct sl_nat_conf *conf, uint32_t addr_be)
{
	for (uint32_t i = 0; i < SL_NAT_ADDRESSES_MAX; i++)
		if (conf->addresses[i].addr_be == addr_be)
			return i;
	return SL_NAT_ADDRESSES_MAX;
}

static int add_place(struct sl_nat_conf *conf, uint32_t index, uint32_t addr_be)
{
	for (unsigned int probe = 0; probe < SL_NAT_PROBES; probe++) {
		uint8_t *place = &conf->places[SL_NAT_PLACE(addr_be, probe)];

		if (*place && *place != SL_NAT_PLACE_REMOVED)
			continue;
		__atomic_store_n(place, (uint8_t)(index + 1), __ATOMIC_RELEASE);
		return 0;
	}
	return -ENOSPC;
}

/* Others may lie behind it, so it does not become empty unless the next one is. */
static void remove_places(struct sl_nat_conf *conf, uint32_t index)
{
	for (unsigned int i = 0; i < SL_NAT_PLACES; i++)
		if (conf->places[i] == index + 1)
			__atomic_store_n(&conf->places[i], SL_NAT_PLACE_REMOVED, __ATOMIC_RELEASE);
	for (unsigned int i = 2 * SL_NAT_PLACES; i-- > 0;)
		if (conf->places[i % SL_NAT_PLACES] == SL_NAT_PLACE_REMOVED &&
		    !conf->places[(i + 1) % SL_NAT_PLACES])
			__atomic_store_n(&conf->places[i % SL_NAT_PLACES], 0, __ATOMIC_RELEASE);
}

static int add_address(struct sl_nat_conf *conf, uint32_t addr_be,
		       int (*make_table)(uint32_t index, void *arg), void *arg, uint32_t *ret_index)
{
	uint32_t index = find_address(conf, 0);
	int ret;

	if (index == SL_NAT_ADDRESSES_MAX)
		return -ENOSPC;
	ret = make_table(index, arg);
	if (ret)
		return ret;
	conf->addresses[index].line_first = conf->addresses[index].line_count = 0;
	ret = add_place(conf, index, addr_be);
	if (ret)
		return ret;
	__atomic_store_n(&conf->addresses[index].addr_be, addr_be, __ATOMIC_RELEASE);
	*ret_index = index;
	return 0;
}

/* What answers may come to: the lines that slots name, now or before. */
static void set_range(struct sl_nat_conf *conf, uint32_t index, const struct nat_source *source)
{
	uint32_t first = SL_NAT_LINES, end = 0;

	if (source) {
		first = source->port_first / SL_NAT_WAYS;
		end = (source->port_last + 1U) / SL_NAT_WAYS;
	}
	for (unsigned int nth = 0; nth < 2 * SL_NAT_SLOTS; nth++) {
		const struct sl_nat_slot *slot = nth < SL_NAT_SLOTS
							 ? &conf->current[nth]
							 : &conf->previous[nth - SL_NAT_SLOTS];

		if (!slot->line_count || slot->address != index)
			continue;
		if (slot->line_first < first)
			first = slot->line_first;
		if ((uint32_t)slot->line_first + slot->line_count > end)
			end = (uint32_t)slot->line_first + slot->line_count;
	}
	conf->addresses[index].line_first = (uint16_t)(end ? first : 0);
	conf->addresses[index].line_count = (uint16_t)(end ? end - first : 0);
}

/* ---- times ---- */

static void set_limit(struct sl_nat_conf *conf, unsigned int state, uint64_t idle_ms,
		      uint64_t pressed_s)
{
	uint64_t idle_s = (idle_ms + 999) / 1000;

	/* In place: a packet may meet the old limit of one state and the new one of another. */
	conf->limits[SL_NAT_LIMIT(state, 0)] = SL_NAT_LIMIT_OF(idle_s);
	conf->limits[SL_NAT_LIMIT(state, 1)] = SL_NAT_LIMIT_OF(idle_s);
	conf->limits_pressed[SL_NAT_LIMIT(state, 0)] =
		SL_NAT_LIMIT_OF(pressed_s && pressed_s < idle_s ? pressed_s : idle_s);
	conf->limits_pressed[SL_NAT_LIMIT(state, 1)] =
		SL_NAT_LIMIT_OF(PRESSED_OVER_S < idle_s ? PRESSED_OVER_S : idle_s);
}

static void set_limits(struct sl_nat_conf *conf, const struct nat_idle *idle)
{
	set_limit(conf, SL_NAT_BUSY, 2000, 0);
	set_limit(conf, SL_NAT_SYN, idle->tcp_opening_ms, PRESSED_HALF_OPEN_S);
	set_limit(conf, SL_NAT_ANSWERED, idle->tcp_opening_ms, PRESSED_HALF_OPEN_S);
	set_limit(conf, SL_NAT_ESTABLISHED, idle->tcp_ms, 0);
	set_limit(conf, SL_NAT_CLOSED, idle->tcp_closing_ms, PRESSED_OVER_S);
	set_limit(conf, SL_NAT_UDP_NEW, idle->udp_unanswered_ms, PRESSED_HALF_OPEN_S);
	set_limit(conf, SL_NAT_UDP, idle->udp_ms, 0);
}

/* ---- all of it ---- */

int nat_pool_plan(struct sl_nat_conf *conf, const struct nat_pool_conf *wanted,
		  uint64_t now_boot_ns, int (*make_table)(uint32_t index, void *arg), void *arg)
{
	uint32_t indexes[SL_NAT_ADDRESSES_MAX];

	if (wanted->source_count > SL_NAT_ADDRESSES_MAX)
		return -ENOSPC;
	nat_pool_forget(conf, now_boot_ns);
	if (wanted->source_count) /* else the flows that are there keep their times */
		set_limits(conf, &wanted->idle);
	for (unsigned int i = 0; i < wanted->source_count; i++) {
		const struct nat_source *source = &wanted->sources[i];
		int ret;

		indexes[i] = find_address(conf, source->addr_be);
		if (indexes[i] == SL_NAT_ADDRESSES_MAX) {
			ret = add_address(conf, source->addr_be, make_table, arg, &indexes[i]);
			if (ret)
				return ret;
		}
		set_range(conf, indexes[i], source);
	}
	spread(conf, wanted, indexes, now_boot_ns);
	if (wanted->source_count)
		__atomic_store_n(&conf->is_on, 1, __ATOMIC_RELEASE);
	nat_pool_forget(conf, now_boot_ns);
	return 0;
}

static bool is_named(const struct sl_nat_conf *conf, uint32_t index)
{
	for (unsigned int nth = 0; nth < SL_NAT_SLOTS; nth++)
		if ((conf->current[nth].line_count && conf->current[nth].address == index) ||
		    (conf->previous[nth].line_count && conf->previous[nth].address == index))
			return true;
	return false;
}

void nat_pool_forget(struct sl_nat_conf *conf, uint64_t now_boot_ns)
{
	uint64_t longest_ns = 0, age_ns = now_boot_ns - conf->moved_boot_ns;
	uint32_t is_on = 0;

	for (unsigned int i = 0; i < SL_NAT_LIMITS; i++)
		if (conf->limits[i] * NS_PER_UNIT > longest_ns)
			longest_ns = conf->limits[i] * NS_PER_UNIT;
	if (now_boot_ns >= conf->moved_boot_ns && age_ns > longest_ns)
		for (unsigned int nth = 0; nth < SL_NAT_SLOTS; nth++)
			write_slot(&conf->previous[nth], (struct sl_nat_slot){0});
	for (uint32_t i = 0; i < SL_NAT_ADDRESSES_MAX; i++) {
		if (!conf->addresses[i].addr_be)
			continue;
		if (is_named(conf, i)) {
			is_on = 1;
			continue;
		}
		__atomic_store_n(&conf->addresses[i].addr_be, 0, __ATOMIC_RELEASE);
		remove_places(conf, i);
	}
	if (!is_on)
		__atomic_store_n(&conf->is_on, 0, __ATOMIC_RELEASE);
}

/* ---- the maps ---- */

/* A table that is not the one of flows of another address. */
static int make_table(uint32_t index, void *arg)
{
	return nat_table_make(arg, index);
}

static struct sl_nat_conf *open_conf(struct dataplane *dataplane)
{
	void *conf = mmap(NULL, sizeof(struct sl_nat_conf), PROT_READ | PROT_WRITE, MAP_SHARED,
			  dataplane->maps[DATAPLANE_MAP_NAT_CONF], 0);

	return conf == MAP_FAILED ? NULL : conf;
}

int nat_pool_apply(struct dataplane *dataplane, const struct nat_pool_conf *wanted,
		   struct error *err)
{
	struct sl_nat_conf *conf = open_conf(dataplane);
	int ret;

	if (!conf)
		return error_set_errno(err, -errno, "cannot map sl_nat_conf");
	ret = nat_pool_plan(conf, wanted, clock_boot_ns(), make_table, dataplane);
	(void)munmap(conf, sizeof(*conf));
	if (ret == -ENOSPC)
		return error_set(err, ret,
				 "no room for another address: %d at a time, those that still "
				 "have flows included",
				 SL_NAT_ADDRESSES_MAX);
	return ret ? error_set_errno(err, ret, "cannot make a table of source ports") : 0;
}

int nat_pool_settle(struct dataplane *dataplane, struct error *err)
{
	struct sl_nat_conf *conf = open_conf(dataplane);

	if (!conf)
		return error_set_errno(err, -errno, "cannot map sl_nat_conf");
	nat_pool_forget(conf, clock_boot_ns());
	(void)munmap(conf, sizeof(*conf));
	return 0;
}

int nat_pool_read(struct dataplane *dataplane, struct nat_source *ret_sources,
		  unsigned int *ret_count, struct error *err)
{
	struct sl_nat_conf conf;
	uint32_t zero = 0;
	unsigned int count = 0;
	int ret = bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_NAT_CONF], &zero, &conf);

	if (ret)
		return error_set_errno(err, ret, "cannot read sl_nat_conf");
	for (uint32_t i = 0; i < SL_NAT_ADDRESSES_MAX; i++) {
		bool is_current = false;

		for (unsigned int nth = 0; nth < SL_NAT_SLOTS; nth++)
			is_current |=
				conf.current[nth].line_count && conf.current[nth].address == i;
		if (!is_current || !conf.addresses[i].addr_be)
			continue;
		ret_sources[count++] = (struct nat_source){
			.addr_be = conf.addresses[i].addr_be,
			.port_first = conf.addresses[i].line_first * SL_NAT_WAYS,
			.port_last = (uint16_t)((conf.addresses[i].line_first +
						 conf.addresses[i].line_count) *
							SL_NAT_WAYS -
						1),
		};
	}
	*ret_count = count;
	return 0;
}
