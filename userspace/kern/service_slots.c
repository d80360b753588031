/* Slots of services: tables, phases of changes, scans of the flow table. Rules: abi/flow.h. */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "abi/flow_rules.h"
#include "base/cleanup.h"
#include "base/maglev_table.h"
#include "base/util.h"
#include "kern/service_internal.h"

#define NO_BACKEND 0 /* index that is never one: the packet is dropped, with its reason */

bool service_takes_new(const struct sl_backend_info *info)
{
	return (info->state & SL_BACKEND_USED) && info->weight &&
	       !(info->state &
		 (SL_BACKEND_DRAINING | SL_BACKEND_REMOVED | SL_BACKEND_DOWN | SL_BACKEND_OVER));
}

static bool is_dead(const struct sl_backend_info *pool, uint32_t index)
{
	return index == NO_BACKEND || !(pool[index].state & SL_BACKEND_USED) ||
	       (pool[index].state & (SL_BACKEND_DOWN | SL_BACKEND_OVER));
}

/* ---- tables ---- */

/* indices[slot]: of the pool. All NO_BACKEND when none takes new connections. */
static int make_table(const struct service_set *set, uint32_t number, uint16_t *indices)
{
	const struct sl_service *service = &set->maps.services[number];
	const struct sl_backend *pool = &set->maps.backends[service->backend_base];
	const struct sl_backend_info *info = &set->maps.backend_info[service->backend_base];
	_cleanup_free_ struct maglev_member *members =
		calloc(service->backend_count, sizeof(*members));
	_cleanup_free_ char(*texts)[ADDR_TEXT_MAX] = calloc(service->backend_count, sizeof(*texts));
	int r;

	if (!members || !texts)
		return -ENOMEM;
	for (uint32_t i = 1; i < service->backend_count; i++) {
		struct ip_addr addr;

		if (!service_takes_new(&info[i]))
			continue;
		addr = service_ip(pool[i].addr_be, pool[i].family);
		members[i].key = str_from_cstr(
			service_backend_format(&addr, pool[i].port, texts[i], sizeof(texts[i])));
		members[i].weight = info[i].weight;
	}
	r = maglev_table_fill(members, service->backend_count, service->slot_count, indices);
	if (r == -ENOENT) {
		memset(indices, 0, service->slot_count * sizeof(*indices));
		return 0;
	}
	return r;
}

int service_slots_fill(struct service_set *set, uint32_t number)
{
	const struct sl_service *service = &set->maps.services[number];
	_cleanup_free_ uint16_t *indices = calloc(service->slot_count, sizeof(*indices));
	struct service_slot *slots = &set->maps.slots[service->slot_base];
	int r = indices ? make_table(set, number, indices) : -ENOMEM;

	for (uint32_t i = 0; i < service->slot_count && !r; i++)
		publish_u32(&slots[i].word, SL_SLOT(indices[i], indices[i], SL_PHASE_CLEAN));
	return r;
}

/* The phase in which a slot begins to change now; its time is set. */
static uint32_t begin_phase(struct sl_phase_times *times, uint64_t now_ns)
{
	uint64_t before_record_ns = (uint64_t)(times->window_s - times->idle_s) * NS_PER_S;

	if (!times->begun_boot_ns)
		times->begun_boot_ns = now_ns;
	/* Recording lasts R from its first slot on: later ones wait for the next. */
	if (!before_record_ns && !times->listed_boot_ns) {
		times->listed_boot_ns = now_ns + (uint64_t)times->idle_s * NS_PER_S;
		return SL_PHASE_RECORD;
	}
	/* Within the time of a phase nothing is lost by joining those that are there already. */
	if (!times->record_boot_ns)
		times->record_boot_ns = MAX(now_ns + before_record_ns, times->listed_boot_ns);
	return SL_PHASE_SPLIT;
}

static uint32_t changed_slot(uint32_t slot, uint32_t current, const struct sl_backend_info *pool,
			     uint32_t begin)
{
	uint32_t previous = SL_SLOT_PREVIOUS(slot), phase = SL_SLOT_PHASE(slot);

	if (phase == SL_PHASE_CLEAN || phase == SL_PHASE_LISTED) {
		previous = SL_SLOT_CURRENT(slot);
		if (is_dead(pool, previous))
			previous = current;
		else if (previous != current)
			phase = begin;
	} else if (is_dead(pool, previous)) {
		previous = current;
	}
	/* Who is not listed goes to `current` in any case: nobody needs to be listed any more. */
	if (previous == current && phase != SL_PHASE_CLEAN)
		phase = SL_PHASE_LISTED;
	return SL_SLOT(current, previous, phase);
}

int service_slots_rebuild(struct service_set *set, uint32_t number, uint64_t now_ns)
{
	const struct sl_service *service = &set->maps.services[number];
	const struct sl_backend_info *pool = &set->maps.backend_info[service->backend_base];
	_cleanup_free_ uint16_t *indices = calloc(service->slot_count, sizeof(*indices));
	struct service_slot *slots = &set->maps.slots[service->slot_base];
	struct sl_phase_times *times = &set->maps.phases[number];
	uint32_t begin = 0;
	int r = indices ? make_table(set, number, indices) : -ENOMEM;

	for (uint32_t i = 0; i < service->slot_count && !r; i++) {
		uint32_t slot = read_u32(&slots[i].word), current = SL_SLOT_CURRENT(slot);

		/* Flows of mode nat have entries of their own: `current` is for new ones alone. */
		if (service->forward == SL_FORWARD_NAT) {
			publish_u32(&slots[i].word,
				    SL_SLOT(indices[i], indices[i], SL_PHASE_CLEAN));
			continue;
		}
		/* The schedule is pinned before the first slot begins. */
		if (!begin && current != indices[i] && !is_dead(pool, current) &&
		    (SL_SLOT_PHASE(slot) == SL_PHASE_CLEAN ||
		     SL_SLOT_PHASE(slot) == SL_PHASE_LISTED))
			begin = begin_phase(times, now_ns);
		slot = changed_slot(slot, indices[i], pool, begin);
		if (slot != slots[i].word)
			publish_u32(&slots[i].word, slot);
	}
	set->scan_due = true;
	return r;
}

void service_slots_forget(struct service_set *set, uint32_t number, uint32_t index)
{
	const struct sl_service *service = &set->maps.services[number];
	struct service_slot *slots = &set->maps.slots[service->slot_base];

	for (uint32_t i = 0; i < service->slot_count; i++) {
		uint32_t slot = read_u32(&slots[i].word), current = SL_SLOT_CURRENT(slot);
		uint32_t phase = SL_SLOT_PHASE(slot);

		if (SL_SLOT_PREVIOUS(slot) != index || current == index)
			continue;
		if (phase != SL_PHASE_CLEAN)
			phase = SL_PHASE_LISTED;
		publish_u32(&slots[i].word, SL_SLOT(current, current, phase));
	}
	set->scan_due = true;
}

bool service_slots_in_change(const struct service_set *set, uint32_t number)
{
	const struct sl_service *service = &set->maps.services[number];
	const struct service_slot *slots = &set->maps.slots[service->slot_base];

	for (uint32_t i = 0; i < service->slot_count; i++)
		if (SL_SLOT_PHASE(slots[i].word) != SL_PHASE_CLEAN)
			return true;
	return false;
}

/* ---- phases ---- */

static uint32_t flip(struct service_set *set, uint32_t number, uint32_t from, uint32_t to)
{
	const struct sl_service *service = &set->maps.services[number];
	struct service_slot *slots = &set->maps.slots[service->slot_base];
	uint32_t count = 0;

	for (uint32_t i = 0; i < service->slot_count; i++) {
		uint32_t slot = read_u32(&slots[i].word), previous = SL_SLOT_PREVIOUS(slot);

		if (SL_SLOT_PHASE(slot) != from)
			continue;
		if (to == SL_PHASE_LISTED)
			previous = SL_SLOT_CURRENT(slot);
		publish_u32(&slots[i].word, SL_SLOT(SL_SLOT_CURRENT(slot), previous, to));
		count++;
	}
	return count;
}

/*
 * What is pinned is compared with what is counted: refusals while no daemon ran are seen as well.
 * Of a change that begins later they delay nothing, since it lasts R in any case.
 */
static void note_refusals(struct sl_phase_times *times, uint64_t refused, uint64_t now_ns)
{
	if (times->refused_count == refused)
		return;
	times->refused_boot_ns = now_ns;
	times->refused_count = refused;
}

static bool is_list_complete(const struct sl_phase_times *times, uint64_t now_ns)
{
	return !times->refused_boot_ns ||
	       now_ns >= times->refused_boot_ns + (uint64_t)times->idle_s * NS_PER_S;
}

/* Each time is written before the slots it is for, so that a daemon that dies here loses none. */
void service_slots_tick(struct service_set *set, uint32_t number, uint64_t now_ns)
{
	struct sl_phase_times *times = &set->maps.phases[number];

	note_refusals(times, set->refused, now_ns);
	if (times->listed_boot_ns && now_ns >= times->listed_boot_ns &&
	    is_list_complete(times, now_ns)) {
		(void)flip(set, number, SL_PHASE_RECORD, SL_PHASE_LISTED);
		times->listed_boot_ns = 0;
		set->scan_due = true;
	}
	if (times->record_boot_ns && now_ns >= times->record_boot_ns && !times->listed_boot_ns) {
		times->listed_boot_ns = now_ns + (uint64_t)times->idle_s * NS_PER_S;
		if (!flip(set, number, SL_PHASE_SPLIT, SL_PHASE_RECORD))
			times->listed_boot_ns = 0;
		times->record_boot_ns = 0;
	}
}

/* ---- the flow table ---- */

void service_flows_clear(struct service_set *set, uint32_t first, uint32_t count)
{
	for (uint32_t line = 0; line < set->maps.line_count; line++)
		for (uint32_t way = 0; way < SL_FLOW_WAYS; way++) {
			__u64 *entry = &set->maps.flows[line].entries[way];
			__u64 seen = __atomic_load_n(entry, __ATOMIC_RELAXED);

			if (seen && SL_FLOW_BACKEND(seen) - first < count)
				(void)__sync_bool_compare_and_swap(entry, seen, 0);
		}
}

struct scan {
	struct service_set *set;
	uint64_t *slots; /* bit n: an entry is of slot n */
	bool *named;	 /* by number of the backend */
	uint64_t begun_ns;
};

static bool is_bit_set(const uint64_t *bits, uint32_t bit)
{
	return bits[bit / 64] >> (bit % 64) & 1;
}

/*
 * Entries of backends that are gone for good would only hold their numbers, and who is listed with
 * `current` in phase LISTED goes there without an entry as well.
 */
static bool is_needless(const struct service_maps *maps, uint32_t number, uint32_t index,
			uint32_t slot)
{
	const uint32_t gone = SL_BACKEND_REMOVED | SL_BACKEND_OVER;

	return (maps->backend_info[number].state & gone) == gone ||
	       (SL_SLOT_PHASE(slot) == SL_PHASE_LISTED && SL_SLOT_CURRENT(slot) == index);
}

static void look_at_entry(struct scan *scan, __u64 *place)
{
	struct service_maps *maps = &scan->set->maps;
	__u64 entry = __atomic_load_n(place, __ATOMIC_RELAXED);
	uint32_t number = SL_FLOW_BACKEND(entry), slot;
	const struct sl_service *service;

	if (!entry || number >= maps->backend_count ||
	    maps->backends[number].service >= maps->service_count)
		return;
	service = &maps->services[maps->backends[number].service];
	if (number - service->backend_base >= service->backend_count)
		return;
	slot = service->slot_base + flow_slot_of_entry(entry, service->slot_count);
	if (is_needless(maps, number, number - service->backend_base,
			read_u32(&maps->slots[slot].word)) &&
	    __sync_bool_compare_and_swap(place, entry, 0))
		return;
	scan->named[number] = true;
	scan->slots[slot / 64] |= 1ULL << (slot % 64);
}

static void clean_service(struct scan *scan, uint32_t number)
{
	struct service_maps *maps = &scan->set->maps;
	const struct sl_service *service = &maps->services[number];
	struct sl_phase_times *times = &maps->phases[number];
	bool in_change = false;

	for (uint32_t i = 0; i < service->slot_count; i++) {
		uint32_t place = service->slot_base + i, slot = read_u32(&maps->slots[place].word);
		uint32_t current = SL_SLOT_CURRENT(slot), phase = SL_SLOT_PHASE(slot);

		if (phase == SL_PHASE_LISTED && !is_bit_set(scan->slots, place)) {
			phase = SL_PHASE_CLEAN;
			publish_u32(&maps->slots[place].word, SL_SLOT(current, current, phase));
		}
		in_change |= phase != SL_PHASE_CLEAN;
		scan->named[service->backend_base + current] = true;
		if (phase != SL_PHASE_CLEAN)
			scan->named[service->backend_base + SL_SLOT_PREVIOUS(slot)] = true;
	}
	if (!in_change)
		times->begun_boot_ns = times->record_boot_ns = times->listed_boot_ns = 0;
	scan->set->scan_due |= in_change;
}

static void free_backends(struct scan *scan, uint32_t number)
{
	struct service_set *set = scan->set;
	const struct sl_service *service = &set->maps.services[number];

	for (uint32_t i = 1; i < service->backend_count; i++) {
		uint32_t place = service->backend_base + i;
		struct sl_backend_info *info = &set->maps.backend_info[place];

		if (!(info->state & SL_BACKEND_REMOVED))
			continue;
		if (!(info->state & SL_BACKEND_OVER) || scan->named[place] ||
		    info->named_boot_ns >= scan->begun_ns ||
		    !service_nat_is_clear(set, number, info->named_boot_ns)) {
			set->scan_due = true;
			continue;
		}
		publish_u32(&set->maps.backends[place].flags, 0);
		*info = (struct sl_backend_info){.state = 0};
	}
}

void service_slots_scan(struct service_set *set, uint64_t now_ns)
{
	struct service_maps *maps = &set->maps;
	_cleanup_free_ uint64_t *slots = calloc(maps->slot_count / 64 + 1, sizeof(*slots));
	_cleanup_free_ bool *named = calloc(maps->backend_count, sizeof(*named));
	struct scan scan = {.set = set, .slots = slots, .named = named, .begun_ns = now_ns};

	if (!slots || !named)
		return; /* the next tick tries again */
	set->scan_due = false;
	set->scanned_ns = now_ns;
	for (uint32_t line = 0; line < maps->line_count; line++)
		for (uint32_t way = 0; way < SL_FLOW_WAYS; way++)
			look_at_entry(&scan, &maps->flows[line].entries[way]);
	for (uint32_t i = 0; i < maps->service_count; i++) {
		if (maps->service_info[i].use != SL_SERVICE_USED)
			continue;
		clean_service(&scan, i);
		free_backends(&scan, i);
	}
}
