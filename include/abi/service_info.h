/*
 * service_info: what userspace alone knows of L4 services, beside the maps that BPF reads.
 *
 * Pinned like those, so that another daemon, and the CLI without one, find names, weights, drains
 * and schedules where the last one left them. Written by the owner of the lock in state_dir.
 */
#ifndef SLUICE_ABI_SERVICE_INFO_H
#define SLUICE_ABI_SERVICE_INFO_H

#include "abi/service.h"

#define SL_SERVICE_NAME_MAX 64 /* NUL included */

enum sl_service_use {
	SL_SERVICE_FREE,
	SL_SERVICE_USED,
	SL_SERVICE_LEAVING, /* no key names it; its places are free after `until` */
};

/* Element of sl_svc_info, by service. */
struct sl_service_info {
	char name[SL_SERVICE_NAME_MAX];
	__u64 until_boot_ns; /* LEAVING; USED: it is deleted then, 0: it stays */
	__u32 use;	     /* enum sl_service_use */
	__u8 protocol;	     /* IPPROTO_TCP, IPPROTO_UDP; 0: both */
	__u8 from_cli;
	__u8 probed; /* the daemon probes its backends */
	__u8 pad;
	__u64 drain_ms;
	__u32 last_id;	  /* of sl_backend.id */
	__u32 fail_open;  /* 1: probes of all backends fail; the table stays as it was */
	__u32 fail_opens; /* how often that began */
	__u32 pad2[7];
};
_Static_assert(sizeof(struct sl_service_info) == 128, "struct sl_service_info");

#define SL_BACKEND_USED	    0x01
#define SL_BACKEND_DRAINING 0x02 /* a person said so, or it was removed: no new connections */
#define SL_BACKEND_REMOVED  0x04 /* goes when its drain is over and nothing names it */
#define SL_BACKEND_DOWN	    0x08 /* FAILING, and so nothing is sent there */
#define SL_BACKEND_OVER	    0x10 /* its drain is over: what remained goes elsewhere */
#define SL_BACKEND_FROM_CLI 0x20
#define SL_BACKEND_FAILING  0x40 /* its probes fail */

/* Element of sl_be_info, by number of the backend. */
struct sl_backend_info {
	__u64 drain_until_boot_ns; /* DRAINING; 0: without an end */
	__u64 named_boot_ns;	   /* REMOVED and OVER: not to be used again before a later scan */
	__u32 state;		   /* SL_BACKEND_* */
	__u32 weight;		   /* as configured */
	__u64 health_boot_ns;	   /* since when it is FAILING or not; 0: it never changed */
};
_Static_assert(sizeof(struct sl_backend_info) == 32, "struct sl_backend_info");

#endif
