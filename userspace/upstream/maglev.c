#include "upstream/maglev.h"

#include <errno.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/cleanup.h"
#include "base/util.h"

#define FREE_SLOT 0xffff
/* Slots that are looked at for one whose endpoint is not out, before all endpoints are. */
#define PROBES_MAX 64

struct maglev {
	struct registry_entry entry;
	unsigned int bits;		/* per slot */
	_Atomic(unsigned char *) table; /* NULL: not made yet; never changes once it is there */
};

/* One endpoint while the table is made. */
struct turn {
	uint64_t taken;
	uint32_t weight;
	uint32_t next, skip; /* of its permutation */
	uint64_t rank;	     /* decides ties: the same on every node */
	unsigned int index;
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

/* Whose turn is earlier: that of turn k of an endpoint of weight w is at k / w. */
static bool is_before(const struct turn *left, const struct turn *right)
{
	uint64_t left_time = (left->taken + 1) * right->weight;
	uint64_t right_time = (right->taken + 1) * left->weight;

	return left_time != right_time ? left_time < right_time : left->rank < right->rank;
}

static void sift_down(struct turn **heap, unsigned int count, unsigned int place)
{
	struct turn *turn = heap[place];

	for (;;) {
		unsigned int child = 2 * place + 1;

		if (child >= count)
			break;
		if (child + 1 < count && is_before(heap[child + 1], heap[child]))
			child++;
		if (!is_before(heap[child], turn))
			break;
		heap[place] = heap[child];
		place = child;
	}
	heap[place] = turn;
}

static void turn_init(struct turn *turn, const struct endpoint_conf *conf, unsigned int index)
{
	char text[ADDR_TEXT_MAX];
	size_t len = strlen(sock_addr_format(&conf->addr, text, sizeof(text)));

	turn->weight = conf->weight;
	turn->index = index;
	turn->next = (uint32_t)(XXH64(text, len, 1) % MAGLEV_SLOTS);
	turn->skip = (uint32_t)(XXH64(text, len, 2) % (MAGLEV_SLOTS - 1) + 1);
	turn->rank = XXH64(text, len, 3);
}

static uint32_t step(const struct turn *turn, uint32_t slot)
{
	slot += turn->skip;
	return slot >= MAGLEV_SLOTS ? slot - MAGLEV_SLOTS : slot;
}

/* The number of slots is prime, so each permutation comes by every slot. */
static void fill(uint16_t *slots, struct turn **heap, unsigned int count)
{
	memset(slots, 0xff, sizeof(*slots) * MAGLEV_SLOTS);
	for (uint32_t filled = 0; filled < MAGLEV_SLOTS; filled++) {
		struct turn *turn = heap[0];

		while (slots[turn->next] != FREE_SLOT)
			turn->next = step(turn, turn->next);
		slots[turn->next] = (uint16_t)turn->index;
		turn->next = step(turn, turn->next);
		turn->taken++;
		sift_down(heap, count, 0);
	}
}

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
	_cleanup_free_ struct turn *turns = NULL;
	_cleanup_free_ struct turn **heap = NULL;
	unsigned char *table, *none = NULL;

	if (atomic_load_explicit(&maglev->table, memory_order_acquire))
		return 0;
	slots = malloc(sizeof(*slots) * MAGLEV_SLOTS);
	turns = calloc(count, sizeof(*turns));
	heap = calloc(count, sizeof(*heap));
	table = calloc(1, maglev_bytes(maglev));
	if (!slots || !turns || !heap || !table) {
		free(table);
		return -ENOMEM;
	}
	for (unsigned int i = 0; i < count; i++) {
		turn_init(&turns[i], &upstream->endpoints[i], i);
		heap[i] = &turns[i];
	}
	for (unsigned int place = count / 2; place-- > 0;)
		sift_down(heap, count, place);
	fill(slots, heap, count);
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
