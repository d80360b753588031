#include "base/maglev_table.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/cleanup.h"

#define FREE_SLOT 0xffff

/* One member while the table is made. */
struct turn {
	uint64_t taken;
	uint32_t weight;
	uint32_t next, skip; /* of its permutation */
	uint64_t rank;	     /* decides ties: the same on every node */
	unsigned int index;
};

/* Whose turn is earlier: that of turn k of a member of weight w is at k / w. */
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

static void turn_init(struct turn *turn, const struct maglev_member *member, unsigned int index,
		      uint32_t slot_count)
{
	struct str key = member->key;

	turn->weight = member->weight;
	turn->index = index;
	turn->next = (uint32_t)(XXH64(key.ptr, key.len, 1) % slot_count);
	turn->skip = (uint32_t)(XXH64(key.ptr, key.len, 2) % (slot_count - 1) + 1);
	turn->rank = XXH64(key.ptr, key.len, 3);
}

static uint32_t step(const struct turn *turn, uint32_t slot, uint32_t slot_count)
{
	slot += turn->skip;
	return slot >= slot_count ? slot - slot_count : slot;
}

static void fill(uint16_t *slots, uint32_t slot_count, struct turn **heap, unsigned int count)
{
	memset(slots, 0xff, sizeof(*slots) * slot_count);
	for (uint32_t filled = 0; filled < slot_count; filled++) {
		struct turn *turn = heap[0];

		while (slots[turn->next] != FREE_SLOT)
			turn->next = step(turn, turn->next, slot_count);
		slots[turn->next] = (uint16_t)turn->index;
		turn->next = step(turn, turn->next, slot_count);
		turn->taken++;
		sift_down(heap, count, 0);
	}
}

int maglev_table_fill(const struct maglev_member *members, unsigned int count, uint32_t slot_count,
		      uint16_t *slots)
{
	_cleanup_free_ struct turn *turns = NULL;
	_cleanup_free_ struct turn **heap = NULL;
	unsigned int used = 0;

	if (!count)
		return -ENOENT;
	turns = calloc(count, sizeof(*turns));
	heap = calloc(count, sizeof(*heap));
	if (!turns || !heap)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++) {
		if (!members[i].weight)
			continue;
		turn_init(&turns[i], &members[i], i, slot_count);
		heap[used++] = &turns[i];
	}
	if (!used)
		return -ENOENT;
	for (unsigned int place = used / 2; place-- > 0;)
		sift_down(heap, used, place);
	fill(slots, slot_count, heap, used);
	return 0;
}
