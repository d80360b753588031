/*
 * nat_table: entries of include/abi/nat.h: found, claimed, kept alive.
 *
 * What a packet may do to an entry:
 *  - any packet that belongs to it keeps it alive, except a RST and an ICMP error;
 *  - only a packet of the backend's address, port and protocol counts as an answer;
 *  - one side's FIN alone shortens nothing; both make the entry CLOSED;
 *  - a RST is not believed, since anybody can send one from a client's address: the entry stays
 *    as long as it would have, but becomes the first to go where its lines are full and it has
 *    been silent for a while. The next packet of that side that is no RST takes that back.
 */
#ifndef SLUICE_BPF_LIB_NAT_TABLE_H
#define SLUICE_BPF_LIB_NAT_TABLE_H

#include "lib/maps.h"
#include "lib/parse.h"

#define TCP_FLAG_BYTE_RST 0x04

#define NAT_READ(place)	      (*(const volatile __typeof__(place) *)&(place))
#define NAT_WRITE(place, now) (*(volatile __typeof__(place) *)&(place) = (now))

/* What is sought: the key, and those bits of the value that belong to a flow for its life. */
struct nat_search {
	__u64 hash;
	__u64 key;
	__u64 port; /* and the bit of UDP, at their places in the value */
};

#define NAT_UDP_AT    ((__u64)SL_NAT_UDP_BIT << SL_NAT_VALUE_STATE_SHIFT)
#define NAT_PORT_MASK (0xffffULL << SL_NAT_VALUE_PORT_SHIFT | NAT_UDP_AT)

static __always_inline __u32 nat_now(void)
{
	return bpf_ktime_get_coarse_ns() >> SL_NAT_TIME_SHIFT & SL_NAT_TIME_MASK;
}

static __always_inline __u64 nat_key(__u32 client_be, __u16 client_port_be, __u16 place)
{
	return client_be | (__u64)client_port_be << 32 | (__u64)place << 48;
}

static __always_inline void nat_search_init(struct nat_search *search, __u64 hash, __u64 key,
					    __u16 port, __u8 protocol)
{
	search->hash = hash;
	search->key = key;
	search->port =
		(__u64)port << SL_NAT_VALUE_PORT_SHIFT | (protocol == IPPROTO_UDP ? NAT_UDP_AT : 0);
}

/* Without a branch: it is asked for eight entries in a row. */
static __always_inline bool nat_is_idle(const __u16 *limits, __u64 value, __u32 now)
{
	__u32 age = (now + 1 - SL_NAT_VALUE_TIME(value)) & SL_NAT_TIME_MASK;
	__u32 flags = SL_NAT_VALUE_FLAGS(value);
	__u32 has_rst = (flags / SL_NAT_RST_CLIENT | flags / SL_NAT_RST_BACKEND) & 1;
	__u32 index;

	/* clang knows the range and leaves the mask out; the verifier of 6.1 needs it. */
	index = SL_NAT_LIMIT(SL_NAT_VALUE_STATE(value), has_rst);
	barrier_var(index);
	return age >= limits[index & (SL_NAT_LIMITS - 1)];
}

/*
 * A slot is passed as one word, since the daemon replaces slots by single writes. A seat, that is
 * where an entry is: address << 16 | port; 0: nowhere.
 */
static __always_inline __u32 nat_slot_address(__u64 slot)
{
	return slot & (SL_NAT_ADDRESSES_MAX - 1);
}

static __always_inline __u32 nat_slot_line(__u64 slot, __u64 hash, __u32 nth)
{
	__u64 bits = (nth ? hash >> 16 : hash) & 0xffffffff;

	return (slot >> 16 & 0xffff) + (bits * (slot >> 32 & 0xffff) >> 32);
}

static __always_inline int nat_seat(__u64 slot, __u32 line, __u32 way)
{
	return nat_slot_address(slot) << 16 | line * SL_NAT_WAYS | way;
}

/* Where the entry of a flow is among the two lines that a slot gives it. */
static __always_inline int nat_find_at(const struct nat_search *search, __u64 slot)
{
	__u32 address = nat_slot_address(slot), found = 0;
	void *table;

	if (!(slot >> 32 & 0xffff))
		return 0;
	table = bpf_map_lookup_elem(&sl_nat_tables, &address);
	if (!table)
		return 0;
	for (__u32 nth = 0; nth < 2; nth++) {
		__u32 at = nat_slot_line(slot, search->hash, nth);
		struct sl_nat_line *line = bpf_map_lookup_elem(table, &at);

		if (!line)
			return 0;
#pragma unroll
		for (__u32 way = 0; way < SL_NAT_WAYS; way++) {
			struct sl_nat_entry *entry = &line->entries[way];

			if (NAT_READ(entry->key) == search->key &&
			    (NAT_READ(entry->value) & NAT_PORT_MASK) == search->port)
				found = nat_seat(slot, at, way);
		}
		if (found)
			return found;
	}
	return 0;
}

/* Two searches that fewer packets make are global functions: the verifier walks them once. */
__noinline int nat_find(const struct nat_search *search, __u64 slot)
{
	return search ? nat_find_at(search, slot) : 0;
}

static __always_inline __u32 nat_count_idle(struct sl_nat_line *line, const __u16 *limits,
					    __u32 now)
{
	__u32 count = 0;

#pragma unroll
	for (__u32 way = 0; way < SL_NAT_WAYS; way++)
		count += nat_is_idle(limits, NAT_READ(line->entries[way].value), now);
	return count;
}

/* Takes a free entry in one of the two lines, in the emptier one when there is a choice. */
__noinline int nat_claim(const struct nat_search *search, __u64 slot, __u64 value, bool is_pressed)
{
	__u32 address = nat_slot_address(slot), zero = 0, now = SL_NAT_VALUE_TIME(value), nths[2];
	struct sl_nat_conf *conf = bpf_map_lookup_elem(&sl_nat_conf, &zero);
	struct sl_nat_line *line, *other;
	const __u16 *limits;
	void *table;

	if (!search || !conf || !(slot >> 32 & 0xffff))
		return 0;
	limits = is_pressed ? conf->limits_pressed : conf->limits;
	table = bpf_map_lookup_elem(&sl_nat_tables, &address);
	if (!table)
		return 0;
	nths[0] = nat_slot_line(slot, search->hash, 0);
	nths[1] = nat_slot_line(slot, search->hash, 1);
	line = bpf_map_lookup_elem(table, &nths[0]);
	other = bpf_map_lookup_elem(table, &nths[1]);
	if (!line || !other)
		return 0;
	if (nat_count_idle(other, limits, now) > nat_count_idle(line, limits, now)) {
		__u32 nth = nths[0];

		nths[0] = nths[1];
		nths[1] = nth;
	}
	for (__u32 turn = 0; turn < 2; turn++) {
		__u32 at = turn ? nths[1] : nths[0];

		line = bpf_map_lookup_elem(table, &at);
		if (!line)
			return 0;
		for (__u32 way = 0; way < SL_NAT_WAYS; way++) {
			struct sl_nat_entry *entry = &line->entries[way];
			__u64 seen = NAT_READ(entry->value);

			if (!nat_is_idle(limits, seen, now))
				continue;
			if (__sync_val_compare_and_swap(&entry->value, seen,
							SL_NAT_VALUE(0, 0, now, SL_NAT_BUSY, 0)) !=
			    seen)
				continue;
			NAT_WRITE(entry->key, search->key);
			barrier();
			NAT_WRITE(entry->value, value);
			return nat_seat(slot, at, way);
		}
	}
	return 0;
}

/* Reads the entry of a seat as a whole; NULL when it is nobody's. */
static __always_inline struct sl_nat_entry *nat_read(__u32 seat, __u64 *ret_key, __u64 *ret_value)
{
	__u32 address = seat >> 16, at = (seat & 0xffff) / SL_NAT_WAYS;
	void *table = bpf_map_lookup_elem(&sl_nat_tables, &address);
	struct sl_nat_line *line = table ? bpf_map_lookup_elem(table, &at) : NULL;
	struct sl_nat_entry *entry;

	if (!line)
		return NULL;
	entry = &line->entries[seat % SL_NAT_WAYS];
	*ret_key = NAT_READ(entry->key);
	*ret_value = NAT_READ(entry->value);
	if (SL_NAT_VALUE_STATE(*ret_value) <= SL_NAT_BUSY || NAT_READ(entry->key) != *ret_key)
		return NULL;
	return entry;
}

/* The protocol of an entry in use is that of its state. */
static __always_inline __u8 nat_protocol(__u64 value)
{
	return SL_NAT_VALUE_STATE(value) & SL_NAT_UDP_BIT ? IPPROTO_UDP : IPPROTO_TCP;
}

/*
 * The value after a packet of the client. A SYN for a connection that is not over changes nothing:
 * it is sent again, or forged, or the client has forgotten; the backend will tell.
 */
static __always_inline __u64 nat_after_client(__u64 value, bool is_tcp, __u8 tcp_flags, __u32 now)
{
	__u32 state = SL_NAT_VALUE_STATE(value), flags = SL_NAT_VALUE_FLAGS(value);

	if (is_tcp && tcp_flags & TCP_FLAG_BYTE_RST)
		return value | (__u64)SL_NAT_RST_CLIENT << SL_NAT_VALUE_FLAGS_SHIFT;
	if (is_tcp && !(tcp_flags & TCP_FLAG_BYTE_SYN)) {
		flags &= ~SL_NAT_RST_CLIENT;
		if (state == SL_NAT_ANSWERED)
			state = SL_NAT_ESTABLISHED;
		if (tcp_flags & TCP_FLAG_BYTE_FIN)
			flags |= SL_NAT_FIN_CLIENT;
		if (flags & SL_NAT_FIN_CLIENT && flags & SL_NAT_FIN_BACKEND)
			state = SL_NAT_CLOSED;
	}
	return SL_NAT_VALUE(SL_NAT_VALUE_BACKEND(value), SL_NAT_VALUE_PORT(value), now, state,
			    flags);
}

/* The value after a packet of the backend, which was verified to be that. */
static __always_inline __u64 nat_after_backend(__u64 value, bool is_tcp, __u8 tcp_flags, __u32 now)
{
	__u32 state = SL_NAT_VALUE_STATE(value), flags = SL_NAT_VALUE_FLAGS(value);

	if (!is_tcp) {
		state = SL_NAT_UDP;
	} else if (tcp_flags & TCP_FLAG_BYTE_RST) {
		if (state != SL_NAT_SYN && state != SL_NAT_ANSWERED)
			return value | (__u64)SL_NAT_RST_BACKEND << SL_NAT_VALUE_FLAGS_SHIFT;
		state = SL_NAT_CLOSED; /* refused */
	} else {
		flags &= ~SL_NAT_RST_BACKEND;
		if (state == SL_NAT_SYN && tcp_flags & TCP_FLAG_BYTE_SYN)
			state = SL_NAT_ANSWERED;
		if (tcp_flags & TCP_FLAG_BYTE_FIN)
			flags |= SL_NAT_FIN_BACKEND;
		if (flags & SL_NAT_FIN_CLIENT && flags & SL_NAT_FIN_BACKEND)
			state = SL_NAT_CLOSED;
	}
	return SL_NAT_VALUE(SL_NAT_VALUE_BACKEND(value), SL_NAT_VALUE_PORT(value), now, state,
			    flags);
}

/*
 * Writes what a packet made of the value. False when the entry has become another flow's between
 * our look and now; a change by another packet of the same flow is as good as ours.
 */
static __always_inline bool nat_update(struct sl_nat_entry *entry, __u64 key, __u64 old, __u64 new)
{
	if (old == new || __sync_val_compare_and_swap(&entry->value, old, new) == old)
		return true;
	old = NAT_READ(entry->value);
	return SL_NAT_VALUE_STATE(old) > SL_NAT_BUSY && NAT_READ(entry->key) == key;
}

/* Index of a source address, or -1. */
static __always_inline int nat_address(const struct sl_nat_conf *conf, __u32 addr_be)
{
	for (__u32 probe = 0; probe < SL_NAT_PROBES; probe++) {
		__u32 place = conf->places[SL_NAT_PLACE(addr_be, probe)];

		if (!place)
			return -1;
		place = (place - 1) & (SL_NAT_ADDRESSES_MAX - 1);
		if (conf->addresses[place].addr_be == addr_be)
			return place;
	}
	return -1;
}

#endif
