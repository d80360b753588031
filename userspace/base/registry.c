#include "base/registry.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/util.h"

#define BUCKETS_FIRST 64

struct registry {
	struct list entries;
	struct registry_entry **buckets;
	size_t bucket_count; /* a power of two */
	size_t entry_count;
};

struct registry *registry_new(void)
{
	struct registry *registry = calloc(1, sizeof(*registry));

	if (!registry)
		return NULL;
	list_init(&registry->entries);
	registry->bucket_count = BUCKETS_FIRST;
	registry->buckets = calloc(registry->bucket_count, sizeof(*registry->buckets));
	if (!registry->buckets) {
		free(registry);
		return NULL;
	}
	return registry;
}

static void entry_free(struct registry_entry *entry)
{
	if (!entry)
		return;
	free(entry->name);
	free(entry->address);
	free(entry);
}

DEFINE_FREEP(struct registry_entry, entry_free)

static void entry_destroy(struct registry_entry *entry)
{
	if (entry->free)
		entry->free(entry);
	entry_free(entry);
}

void registry_free(struct registry *registry)
{
	if (!registry)
		return;
	list_for_each_safe (link, &registry->entries) {
		list_remove(link);
		entry_destroy(list_entry(link, struct registry_entry, link));
	}
	free(registry->buckets);
	free(registry);
}

/* FNV-1a: names come from the configuration, so nobody attacks the table. */
static uint32_t hash_str(uint32_t hash, struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.ptr[i]) * 16777619u;
	return (hash ^ 0xff) * 16777619u;
}

static uint32_t hash_key(const char *kind, struct str name, struct str address)
{
	uint32_t hash = hash_str(2166136261u, str_from_cstr(kind));

	return hash_str(hash_str(hash, name), address);
}

static struct registry_entry **bucket_of(struct registry *registry, uint32_t hash)
{
	return &registry->buckets[hash & (registry->bucket_count - 1)];
}

static struct registry_entry *lookup(struct registry *registry, uint32_t hash, const char *kind,
				     struct str name, struct str address)
{
	struct registry_entry *entry = *bucket_of(registry, hash);

	for (; entry; entry = entry->next_in_bucket)
		if (entry->hash == hash && !strcmp(entry->kind, kind) &&
		    str_eq_cstr(name, entry->name) && str_eq_cstr(address, entry->address))
			return entry;
	return NULL;
}

/* Without memory the old, smaller table goes on working. */
static void grow(struct registry *registry)
{
	size_t count = registry->bucket_count * 2;
	struct registry_entry **buckets = calloc(count, sizeof(*buckets));

	if (!buckets)
		return;
	free(registry->buckets);
	registry->buckets = buckets;
	registry->bucket_count = count;
	list_for_each (link, &registry->entries) {
		struct registry_entry *entry = list_entry(link, struct registry_entry, link);
		struct registry_entry **bucket = bucket_of(registry, entry->hash);

		entry->next_in_bucket = *bucket;
		*bucket = entry;
	}
}

static char *copy_text(struct str text)
{
	char *copy = malloc(text.len + 1);

	if (copy)
		(void)str_to_cstr(text, copy, text.len + 1);
	return copy;
}

struct registry_entry *registry_acquire(struct registry *registry, const char *kind,
					struct str name, struct str address, size_t size_bytes,
					int (*init)(struct registry_entry *entry, void *arg),
					void *arg, void (*free_entry)(struct registry_entry *entry))
{
	_cleanup_(entry_freep)
	struct registry_entry *entry = NULL;
	uint32_t hash = hash_key(kind, name, address);
	struct registry_entry *found, **bucket;

	found = registry_find(registry, kind, name, address);
	if (found) {
		registry_ref(found);
		return found;
	}
	/* Names are kept as C strings. */
	if (str_find_byte(name, '\0') >= 0 || str_find_byte(address, '\0') >= 0)
		return NULL;
	entry = calloc(1, MAX(size_bytes, sizeof(*entry)));
	if (!entry)
		return NULL;
	list_init(&entry->link);
	entry->kind = kind;
	entry->hash = hash;
	entry->name = copy_text(name);
	entry->address = copy_text(address);
	atomic_init(&entry->refs, 1);
	if (!entry->name || !entry->address || (init && init(entry, arg)))
		return NULL;
	entry->free = free_entry;

	if (registry->entry_count >= registry->bucket_count)
		grow(registry);
	bucket = bucket_of(registry, hash);
	entry->next_in_bucket = *bucket;
	*bucket = entry;
	list_push_back(&registry->entries, &entry->link);
	registry->entry_count++;
	return TAKE_PTR(entry);
}

struct registry_entry *registry_find(struct registry *registry, const char *kind, struct str name,
				     struct str address)
{
	return lookup(registry, hash_key(kind, name, address), kind, name, address);
}

void registry_ref(struct registry_entry *entry)
{
	/* The caller holds a reference or is the control thread, which alone frees. */
	(void)atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
}

void registry_unref(struct registry_entry *entry)
{
	/* Release: what this thread wrote to the object is seen by the sweep that frees it. */
	if (entry)
		(void)atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_release);
}

static void unhash(struct registry *registry, struct registry_entry *entry)
{
	struct registry_entry **place = bucket_of(registry, entry->hash);

	while (*place != entry)
		place = &(*place)->next_in_bucket;
	*place = entry->next_in_bucket;
}

unsigned int registry_sweep(struct registry *registry)
{
	unsigned int freed = 0, before;

	/* An object may drop references to others when it goes, so that they go, too. */
	do {
		before = freed;
		list_for_each_safe (link, &registry->entries) {
			struct registry_entry *entry =
				list_entry(link, struct registry_entry, link);

			if (atomic_load_explicit(&entry->refs, memory_order_acquire))
				continue;
			list_remove(link);
			unhash(registry, entry);
			registry->entry_count--;
			entry_destroy(entry);
			freed++;
		}
	} while (freed != before);
	return freed;
}

int registry_walk(struct registry *registry, const char *kind,
		  int (*visit)(struct registry_entry *entry, void *arg), void *arg)
{
	list_for_each_safe (link, &registry->entries) {
		struct registry_entry *entry = list_entry(link, struct registry_entry, link);
		int r;

		if (kind && strcmp(entry->kind, kind))
			continue;
		r = visit(entry, arg);
		if (r)
			return r;
	}
	return 0;
}
