/*
 * count: one verdict, one row of include/abi/drop_reasons.h. Per CPU, so no atomics.
 */
#ifndef SLUICE_BPF_LIB_COUNT_H
#define SLUICE_BPF_LIB_COUNT_H

#include "lib/maps.h"

static __always_inline void count_reason(__u32 reason, __u32 len_bytes)
{
	struct sl_counter *counter = bpf_map_lookup_elem(&sl_counters, &reason);

	if (counter) {
		counter->packets++;
		counter->bytes += len_bytes;
	}
}

#endif
