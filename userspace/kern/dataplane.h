/*
 * dataplane: the kernel part of one node: BPF programs, maps and links under one bpffs directory.
 *
 * The daemon opens it read-write: what is pinned there and of our ABI is adopted (maps with their
 * content, links with their attachments; the program behind a link is swapped by bpf_link_update),
 * what is missing is loaded and pinned. It keeps working while the daemon is dead. The CLI opens
 * the same pins without loading anything. Everything read back from a pin is checked like input:
 * another abi_version or map shape is an error that says how to get rid of it.
 * Needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; no further privilege after dataplane_open().
 * Thread rule: the control thread.
 */
#ifndef SLUICE_KERN_DATAPLANE_H
#define SLUICE_KERN_DATAPLANE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct dataplane;

enum xdp_mode { XDP_MODE_AUTO, XDP_MODE_NATIVE, XDP_MODE_GENERIC, XDP_MODE_OFF };

struct dataplane_interface {
	char name[IFNAMSIZ];
	enum xdp_mode mode;
};

/*
 * Loads or adopts. Mounts a bpffs on the nearest ancestor named "bpf" under /sys/fs when the
 * directory is not on one and the caller may. -EBUSY: another owner is changing it.
 */
int dataplane_open(const char *bpffs_dir, struct dataplane **ret_dataplane, struct error *err);
/* For the CLI: existing pins only. -ENOENT when nothing is pinned there. */
int dataplane_open_pinned(const char *bpffs_dir, bool read_only, struct dataplane **ret_dataplane,
			  struct error *err);
/*
 * For a person who looks for the cause, together with log level debug: all that libbpf says, and
 * how much work the verifier had. Process-wide, before anything is opened.
 */
void dataplane_set_verbose(bool verbose);
/* Closes descriptors; pins and attachments stay. */
void dataplane_free(struct dataplane *dataplane);
/* Detaches everything and removes every pin and the directory. Idempotent. */
int dataplane_unload(const char *bpffs_dir, struct error *err);

/* Gives pins and directory to the user the daemon will become. */
int dataplane_chown(struct dataplane *dataplane, uid_t uid, gid_t gid, struct error *err);

/*
 * Makes the attachments exactly these: attaches missing ones, swaps the program of standing ones,
 * detaches those that are not listed. AUTO tries native, then generic. An interface that does not
 * exist is an error naming the nearest one; the others are attached all the same.
 */
int dataplane_set_interfaces(struct dataplane *dataplane,
			     const struct dataplane_interface *interfaces, unsigned int count,
			     struct error *err);

/*
 * Puts the programs of this build in the place of those that are attached, XDP and sk_lookup,
 * wherever they are attached: by one bpf_link_update each, so no packet goes by unseen. Links whose
 * device or namespace is gone are left alone. *ret_count: how many were swapped.
 */
int dataplane_swap_programs(struct dataplane *dataplane, unsigned int *ret_count,
			    struct error *err);

struct dataplane_attachment {
	char interface[IFNAMSIZ];
	unsigned int ifindex;
	enum xdp_mode mode; /* NATIVE or GENERIC: what it came to */
	char how[32];	    /* "libxdp dispatcher" or "bpf_link" */
	uint32_t program_id;
	bool adopted; /* stood before this process opened it */
};

int dataplane_walk_attachments(struct dataplane *dataplane,
			       int (*visit)(const struct dataplane_attachment *attachment,
					    void *arg),
			       void *arg);

/* One row of include/abi/drop_reasons.h with its sum over all CPUs. */
struct dataplane_counter {
	const char *name;    /* "deny", "allow", "parse_short", ... */
	const char *meaning; /* one line for a person */
	uint64_t packets;
	uint64_t bytes;
};

int dataplane_walk_counters(struct dataplane *dataplane,
			    int (*visit)(const struct dataplane_counter *counter, void *arg),
			    void *arg, struct error *err);

#endif
