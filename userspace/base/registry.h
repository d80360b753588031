/*
 * registry: runtime objects that outlive configuration (DESIGN: health, pools, counters, caches).
 *
 * A snapshot never owns such an object, it holds a reference: the next snapshot asks for the same
 * (kind, name, address) and gets the same object, so that a reload keeps health, ejection state
 * and counters. An object dies with its last reference. The owner of the kind embeds
 * `struct registry_entry` as its first member and gives constructor and destructor.
 * Thread rule: acquire and walk on the control thread; ref and unref from any thread (atomic).
 * An unref that reaches zero on a worker only marks the entry; registry_sweep(), called by the
 * control thread after every reload and once a second, frees the marked ones.
 */
#ifndef SLUICE_BASE_REGISTRY_H
#define SLUICE_BASE_REGISTRY_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/list.h"
#include "base/str.h"

struct registry;

struct registry_entry {
	struct list link; /* in the registry, in the order of making */
	struct registry_entry *next_in_bucket;
	uint32_t hash;
	const char *kind; /* "endpoint", "upstream", ...: a literal */
	char *name;	  /* NUL-terminated, owned by the entry */
	char *address;	  /* "" when the kind has none */
	atomic_uint refs;
	void (*free)(struct registry_entry *entry);
};

struct registry *registry_new(void);
/* Frees every entry, referenced or not: only at exit. */
void registry_free(struct registry *registry);

/*
 * Finds the entry and takes a reference, or makes one: allocates `size_bytes` zeroed (the kind's
 * struct, whose first member is the entry), fills the head, calls init(entry, arg) if given, and
 * returns it with one reference. `free_entry` releases what init took; the registry frees the
 * memory itself afterwards. NULL: out of memory or init failed.
 */
struct registry_entry *registry_acquire(struct registry *registry, const char *kind,
					struct str name, struct str address, size_t size_bytes,
					int (*init)(struct registry_entry *entry, void *arg),
					void *arg,
					void (*free_entry)(struct registry_entry *entry));
/* Without making one. NULL when it is not there. */
struct registry_entry *registry_find(struct registry *registry, const char *kind, struct str name,
				     struct str address);

void registry_ref(struct registry_entry *entry);
void registry_unref(struct registry_entry *entry);
/* Returns how many entries were freed. */
unsigned int registry_sweep(struct registry *registry);

/* Calls visit for each entry of the kind (NULL: all); stops at the first non-zero and returns it.
 */
int registry_walk(struct registry *registry, const char *kind,
		  int (*visit)(struct registry_entry *entry, void *arg), void *arg);

#endif
