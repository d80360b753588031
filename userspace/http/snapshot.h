/*
 * snapshot: one generation of the configuration, immutable, reference-counted, swapped whole.
 *
 * config/ builds it in its own arena and gives it to the control thread with one reference; each
 * worker holds one, and each exchange keeps the one it began with, so a reload never touches a
 * running request. The last unref (any thread) releases the runtime objects it refers to and frees
 * the arena. Thread rule: fields are read-only after publication; the count is atomic.
 */
#ifndef SLUICE_HTTP_SNAPSHOT_H
#define SLUICE_HTTP_SNAPSHOT_H

#include <stdatomic.h>

#include "base/log.h"
#include "http/error_pages.h"
#include "http/forwarding.h"
#include "http/access_log.h"
#include "http/listener.h"
#include "http/policy.h"
#include "http/route.h"
#include "io/loop.h"
#include "kern/access_list.h"
#include "kern/dataplane.h"
#include "kern/service.h"
#include "kern/nat_pool.h"
#include "upstream/upstream.h"

/* node: read at start; a change of these by reload is refused with "needs a restart". */
struct node_conf {
	uint64_t workers; /* 0: auto, one per CPU */
	struct str user;  /* ptr NULL: stay */
	struct str state_dir;
	struct str bpffs;
	struct str admin_socket;
	int io;	      /* enum io_engine */
	int coalesce; /* a truth: io/coalesce.h */
	uint64_t memory_limit_bytes;
	int log_level;	/* enum log_level; may change by reload */
	int log_format; /* enum log_format; may change by reload */
	uint64_t drain_ms;
	struct trusted_proxies trusted_proxies; /* may change by reload */
	struct error_pages error_pages;		/* of listeners that have none of their own; too */
	struct access_log_conf access_log;	/* may change by reload */
	struct str metrics;			/* as written; ptr NULL: none */
	struct sock_addr metrics_addr;
};

/* An element of allow or deny as it is written, for the effective configuration. */
struct access_source {
	struct str file; /* absolute; ptr NULL: the prefix itself */
	struct ip_prefix prefix;
	struct str reason; /* ptr NULL: none */
	uint64_t ttl_ms;   /* 0: for ever */
	uint32_t line, column;
};

struct access_conf {
	struct access_source *sources;
	unsigned int source_count;
};

struct auto_deny_rule {
	int event; /* enum offence_kind (http/offence.h) */
	uint64_t count, period_ms;
	uint64_t ttl_ms;
};

struct auto_deny_conf {
	struct auto_deny_rule *rules;
	unsigned int rule_count;
};

struct dataplane_conf {
	struct dataplane_interface *interfaces;
	unsigned int interface_count;
	struct access_entry *allow; /* each prefix once, those of files included */
	size_t allow_count;
	struct access_entry *deny;
	size_t deny_count;
	struct access_conf allow_written, deny_written;
	struct nat_pool_conf nat;
	struct auto_deny_conf auto_deny;
};

struct snapshot {
	atomic_uint refs;
	uint64_t generation; /* 1, 2, ... set by the control thread on publication */
	uint64_t loaded_wall_ms;
	struct arena arena; /* owns all below */
	struct str file;
	struct node_conf node;
	struct dataplane_conf dataplane;
	struct service_conf *services;
	unsigned int service_count;
	struct listener_conf *listeners;
	unsigned int listener_count;
	struct upstream_conf *upstreams;
	unsigned int upstream_count;
	struct policy *policies;
	unsigned int policy_count;
	struct route *routes;
	unsigned int route_count;
	/* Opened by the control thread before publication; one reference. NULL: no access log. */
	struct access_log_file *access_log_file;
};

/* Empty, with one reference. NULL: out of memory. */
struct snapshot *snapshot_new(void);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot);

#endif
