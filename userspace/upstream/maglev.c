#include "upstream/maglev.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/maglev_table.h"
#include "base/util.h"

/* Slots that are looked at for one whose endpoint is not out, before all endpoints are. */
#define PROBES_MAX 64

struct maglev {
	struct registry_entry entry;
	unsigned int bits;		/* per slot */
	_Atomic(unsigned char *) table; /* NULL: not made yet; never changes once it is there */
};

static int maglev_init(struct registry_entry *entry, void *arg)
{
	struct maglev *maglev = CONTAINER_OF(entry, struct maglev, entry);
	const struct upstream_conf *upstream = arg;

	while (1u << maglev->bits < upstream->endpoint_count)
		maglev->bits++;
	return 0;
}

static void maglev_free(struct registry_entry *entry)
{
	struct maglev *maglev = CONTAINER_OF(entry, struct maglev, entry);

	free(atomic_load(&maglev->table));
}

/* What the table depends on. Two hashes of 64 bits: nobody who writes the file wants a clash. */
static void digest(const struct upstream_conf *upstream, char *buf, size_t buf_len)
{
	uint64_t sums[2] = {1, 2};
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < upstream->endpoint_count; i++) {
		const struct endpoint_conf *conf = &upstream->endpoints[i];

		(void)sock_addr_format(&conf->addr, text, sizeof(text));
		for (unsigned int j = 0; j < ARRAY_SIZE(sums); j++)
			sums[j] = XXH64(text, strlen(text), sums[j] ^ conf->weight);
	}
	(void)snprintf(buf, buf_len, "%u-%016llx%016llx", upstream->endpoint_count,
		       (unsigned long long)sums[0], (unsigned long long)sums[1]);
}

int maglev_acquire(struct registry *registry, struct upstream_conf *upstream,
		   struct maglev **ret_maglev)
{
	struct registry_entry *entry;
	char address[64];

	digest(upstream, address, sizeof(address));
	entry = registry_acquire(registry, "maglev", upstream->name, str_from_cstr(address),
				 sizeof(struct maglev), maglev_init, upstream, maglev_free);
	if (!entry)
		return -ENOMEM;
	*ret_maglev = CONTAINER_OF(entry, struct maglev, entry);
	return 0;
}

void maglev_unref(struct maglev *maglev)
{
	if (maglev)
		registry_unref(&maglev->entry);
}

/* ---- making the table ---- */

static void pack(unsigned char *table, const uint16_t *slots, unsigned int bits)
{
	for (uint32_t slot = 0; slot < MAGLEV_SLOTS; slot++) {
		size_t bit = (size_t)slot * bits;
		uint32_t word;

		memcpy(&word, table + bit / 8, sizeof(word));
		word |= (uint32_t)slots[slot] << (bit % 8);
		memcpy(table + bit / 8, &word, sizeof(word));
	}
}

/* Slots are read four bytes at a time. */
size_t maglev_bytes(const struct maglev *maglev)
{
	return (size_t)MAGLEV_SLOTS * maglev->bits / 8 + sizeof(uint32_t);
}

int maglev_build(struct maglev *maglev, const struct upstream_conf *upstream)
{
	unsigned int count = upstream->endpoint_count;
	_cleanup_free_ uint16_t *slots = NULL;
	_cleanup_free_ struct maglev_member *members = NULL;
	_cleanup_free_ char(*texts)[ADDR_TEXT_MAX] = NULL;
	unsigned char *table, *none = NULL;
	int r;

	if (atomic_load_explicit(&maglev->table, memory_order_acquire))
		return 0;
	slots = malloc(sizeof(*slots) * MAGLEV_SLOTS);
	members = calloc(count, sizeof(*members));
	texts = calloc(count, sizeof(*texts));
	table = calloc(1, maglev_bytes(maglev));
	if (!slots || !members || !texts || !table) {
		free(table);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < count; i++) {
		const struct endpoint_conf *conf = &upstream->endpoints[i];

		members[i].key =
			str_from_cstr(sock_addr_format(&conf->addr, texts[i], sizeof(texts[i])));
		members[i].weight = conf->weight;
	}
	r = maglev_table_fill(members, count, MAGLEV_SLOTS, slots);
	if (r) {
		free(table);
		return r;
	}
	pack(table, slots, maglev->bits);
	/* Another worker may have been quicker. */
	if (!atomic_compare_exchange_strong_explicit(&maglev->table, &none, table,
						     memory_order_release, memory_order_relaxed))
		free(table);
	return 0;
}

/* ---- using it ---- */

static unsigned int read_slot(const unsigned char *table, unsigned int bits, uint32_t slot)
{
	size_t bit = (size_t)slot * bits;
	uint32_t word;

	memcpy(&word, table + bit / 8, sizeof(word));
	return word >> (bit % 8) & ((1u << bits) - 1);
}

unsigned int maglev_slot(const struct maglev *maglev, uint32_t slot)
{
	return read_slot(atomic_load_explicit(&maglev->table, memory_order_acquire), maglev->bits,
			 slot);
}

int maglev_pick(const struct balance_ask *ask, unsigned int allow)
{
	struct maglev *maglev = ask->upstream->maglev;
	uint32_t slot = (uint32_t)(ask->key % MAGLEV_SLOTS);
	const unsigned char *table = atomic_load_explicit(&maglev->table, memory_order_acquire);
	unsigned int index;

	if (UNLIKELY(!table)) {
		if (maglev_build(maglev, ask->upstream) < 0)
			return balance_round_robin(ask, allow);
		table = atomic_load_explicit(&maglev->table, memory_order_acquire);
	}
	index = read_slot(table, maglev->bits, slot);
	for (unsigned int probe = 0; probe < PROBES_MAX; probe++) {
		if (LIKELY(balance_is_usable(ask, index, allow)))
			return (int)index;
		slot = slot + 1 == MAGLEV_SLOTS ? 0 : slot + 1;
		index = read_slot(table, maglev->bits, slot);
	}
	for (unsigned int i = 0; i < ask->upstream->endpoint_count; i++) {
		if (balance_is_usable(ask, index, allow))
			return (int)index;
		index = index + 1 == ask->upstream->endpoint_count ? 0 : index + 1;
	}
	return -1;
}
