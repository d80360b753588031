/* Passes over the tables of mode nat: entries of backends that are gone must not outlive them. */
#include <errno.h>

#include "kern/service_internal.h"

/* Tables of 1 MiB looked through in one tick: some milliseconds of the control thread. */
#define TABLES_EACH_TICK 4

bool service_nat_is_clear(struct service_set *set, uint32_t number, uint64_t since_ns)
{
	if (set->maps.services[number].forward != SL_FORWARD_NAT || !set->maps.nat_open ||
	    since_ns < set->nat_swept_ns)
		return true;
	set->nat_due = true;
	return false;
}

/* Of nobody, of a service whose time is over, or removed and its drain over. */
static bool is_gone(const struct service_set *set, uint32_t backend)
{
	const struct service_maps *maps = &set->maps;
	const uint32_t gone = SL_BACKEND_REMOVED | SL_BACKEND_OVER;
	const struct sl_backend_info *info;
	uint32_t number;

	if (backend >= maps->backend_count)
		return true;
	info = &maps->backend_info[backend];
	number = maps->backends[backend].service;
	if (!(info->state & SL_BACKEND_USED) || (info->state & gone) == gone ||
	    number >= maps->service_count)
		return true;
	return maps->service_info[number].use != SL_SERVICE_USED &&
	       set->nat_begun_ns > maps->service_info[number].until_boot_ns;
}

static void sweep_table(const struct service_set *set, struct sl_nat_line *lines)
{
	for (uint32_t line = 0; line < SL_NAT_LINES; line++)
		for (uint32_t way = 0; way < SL_NAT_WAYS; way++) {
			__u64 *place = &lines[line].entries[way].value;
			__u64 seen = __atomic_load_n(place, __ATOMIC_RELAXED);

			if (SL_NAT_VALUE_STATE(seen) > SL_NAT_BUSY &&
			    is_gone(set, SL_NAT_VALUE_BACKEND(seen)))
				(void)__sync_bool_compare_and_swap(
					place, seen, SL_NAT_VALUE(0, 0, 0, SL_NAT_FREE, 0));
		}
}

void service_nat_tick(struct service_set *set, uint64_t now_ns)
{
	unsigned int done = 0;

	if (!set->nat_due && !set->nat_begun_ns)
		return;
	if (!set->nat_begun_ns) {
		set->nat_begun_ns = now_ns;
		set->nat_next = 0;
		set->nat_due = false;
	}
	for (; set->nat_next < SL_NAT_ADDRESSES_MAX && done < TABLES_EACH_TICK; set->nat_next++) {
		struct sl_nat_line *lines;
		int r = set->maps.nat_open(set->maps.nat_arg, set->nat_next, &lines);

		if (r == -ENOENT)
			continue;
		/* Nothing is free while one table cannot be read; the next tick tries again. */
		if (r)
			return;
		sweep_table(set, lines);
		set->maps.nat_close(lines);
		done++;
	}
	if (set->nat_next < SL_NAT_ADDRESSES_MAX)
		return;
	set->nat_swept_ns = set->nat_begun_ns;
	set->nat_begun_ns = 0;
}
