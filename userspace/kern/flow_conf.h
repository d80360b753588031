/*
 * flow_conf: what a flow table begins with (abi/flow.h): secret keys of its hash, its clock, and
 * the addresses that packets to backends come from.
 *
 * Made once, with the table; every program that is loaded over it later gets the same. Thread rule:
 * the loader's.
 */
#ifndef SLUICE_KERN_FLOW_CONF_H
#define SLUICE_KERN_FLOW_CONF_H

#include "abi/flow.h"
#include "base/error.h"

/* Outer sources: FLOW_OUTER4/16 and FLOW_OUTER6/96, private ranges (RFC 1918, RFC 4193). */
#define FLOW_OUTER4 0xac1f0000U /* 172.31.0.0 */
#define FLOW_OUTER6_HIGH                                                                           \
	{                                                                                          \
		0xfd736c75U, 0x69636500U, 0                                                        \
	}

/* The clock for a kernel of so many jiffies a second. */
struct sl_flow_clock flow_clock_for(uint32_t hz);
/* Measures them, by test runs of some ten milliseconds. 0 or a negative errno. */
int flow_clock_measure(uint32_t *ret_hz, struct error *err);
/* A new table's, for maps of these sizes. */
int flow_conf_make(uint32_t line_count, uint32_t key_count, struct sl_flow_conf *ret_conf,
		   struct error *err);

#endif
