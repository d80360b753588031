/*
 * decap: the program of a backend that takes the outer header off (bpf/decap.bpf.c).
 *
 * Independent of the daemon and its pins. Each interface has a directory of its own below `dir`:
 *
 *   DIR/IF/link, sl_decap_dst, sl_decap_src, sl_decap_count
 *
 * The attachment is the link: it lives as long as its pin. What one needs is made before the link
 * is, so a program never runs with half of its addresses. Changes hold a lock on `dir`. Reading and
 * changing need root. Thread rule: one thread a directory.
 */
#ifndef SLUICE_KERN_DECAP_H
#define SLUICE_KERN_DECAP_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#include "abi/decap.h"
#include "base/addr.h"
#include "base/error.h"

struct decap_config {
	const char *interface;
	const struct ip_addr *addresses; /* outer destinations, at least one */
	unsigned int address_count;
	const struct ip_prefix *sources; /* of outer sources; none: any */
	unsigned int source_count;
};

struct decap_counter {
	const char *name;
	const char *verdict; /* "pass", "open" or "drop" */
	const char *meaning;
	uint64_t packets;
	uint64_t bytes;
};

/* Owned by decap_walk(), valid during the visit. */
struct decap_state {
	char interface[IFNAMSIZ];
	bool is_attached; /* false: the device is gone or in another network namespace */
	bool is_generic;
	uint32_t program_id;
	const struct ip_addr *addresses;
	size_t address_count;
	const struct ip_prefix *sources;
	size_t source_count;
	struct decap_counter counters[SL_DECAP_REASONS];
};

/*
 * Natively, or generically where the driver cannot. -EEXIST: it is attached there already.
 * Nothing is left behind when it fails.
 */
int decap_attach(const char *dir, const struct decap_config *config, struct error *err);
/* -ENOENT: not attached. Removes `dir` when it was the last one. */
int decap_detach(const char *dir, const char *interface, struct error *err);
/* In the order of names. No directory: no visit. Ends with the first visit that does not give 0. */
int decap_walk(const char *dir, int (*visit)(const struct decap_state *state, void *arg), void *arg,
	       struct error *err);

#endif
