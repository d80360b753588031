#include "io/recv_pool.h"

#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/util.h"

#if defined(__SANITIZE_ADDRESS__)
#define POOL_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_ASAN 1
#endif
#endif
#ifdef POOL_ASAN
#include <sanitizer/asan_interface.h>
#define poison(ptr, len)   ASAN_POISON_MEMORY_REGION(ptr, len)
#define unpoison(ptr, len) ASAN_UNPOISON_MEMORY_REGION(ptr, len)
#else
#define poison(ptr, len)   ((void)(ptr), (void)(len))
#define unpoison(ptr, len) ((void)(ptr), (void)(len))
#endif

#define SLAB_BUFS     64u
#define RING_BUFS_MAX 32768u /* the kernel's limit for a provided buffer ring */
#define BUFS_MAX      65536u /* ids have 16 bits */

struct recv_pool {
	uint32_t buf_bytes;
	uint32_t max;
	uint32_t allocated;
	uint32_t held;
	uint32_t held_max;

	/* A stack of ids. Below `trimmed`, the pages were given back; below `free_low`, nothing was
	 * taken since the last trim. */
	uint32_t free_count;
	uint32_t free_low;
	uint32_t trimmed;
	uint16_t *free_ids;

	struct recv_buf *bufs; /* by id; max of them, allocated in use */
	char **slabs;
	uint32_t slab_count;

	uint32_t ready; /* in the ring, as far as completions tell */
	uint32_t ready_share;
	uint32_t ring_entries;
	struct io_uring_buf_ring *ring;
};

int recv_pool_new(uint32_t buf_bytes, uint32_t ready_bufs, uint32_t max_bufs,
		  struct recv_pool **ret_pool)
{
	_cleanup_(recv_pool_freep)
	struct recv_pool *pool = NULL;

	if (buf_bytes == 0 || buf_bytes > (uint32_t)1 << 30 || ready_bufs == 0 ||
	    ready_bufs > RING_BUFS_MAX || (ready_bufs & (ready_bufs - 1)) || max_bufs == 0 ||
	    max_bufs > BUFS_MAX)
		return -EINVAL;
	pool = calloc(1, sizeof(*pool));
	if (!pool)
		return -ENOMEM;
	pool->buf_bytes = buf_bytes;
	pool->max = max_bufs;
	pool->ready_share = MIN(ready_bufs, max_bufs);
	pool->ring_entries = ready_bufs;
	/* Touched as buffers come to exist, so the big maximum costs address space only. */
	pool->free_ids = calloc(max_bufs, sizeof(*pool->free_ids));
	pool->bufs = calloc(max_bufs, sizeof(*pool->bufs));
	pool->slabs = calloc((max_bufs + SLAB_BUFS - 1) / SLAB_BUFS, sizeof(*pool->slabs));
	if (!pool->free_ids || !pool->bufs || !pool->slabs)
		return -ENOMEM;
	*ret_pool = TAKE_PTR(pool);
	return 0;
}

static uint32_t slab_bufs(const struct recv_pool *pool, uint32_t slab)
{
	return MIN(SLAB_BUFS, pool->max - slab * SLAB_BUFS);
}

static size_t ring_bytes(const struct recv_pool *pool)
{
	return pool->ring_entries * sizeof(struct io_uring_buf);
}

void recv_pool_free(struct recv_pool *pool)
{
	if (!pool)
		return;
	for (uint32_t slab = 0; slab < pool->slab_count; slab++) {
		size_t bytes = (size_t)slab_bufs(pool, slab) * pool->buf_bytes;

		unpoison(pool->slabs[slab], bytes);
		(void)munmap(pool->slabs[slab], bytes);
	}
	if (pool->ring)
		(void)munmap(pool->ring, ring_bytes(pool));
	free(pool->slabs);
	free(pool->bufs);
	free(pool->free_ids);
	free(pool);
}

static void push_free(struct recv_pool *pool, struct recv_buf *buf)
{
	poison(buf->data, buf->size_bytes);
	pool->free_ids[pool->free_count++] = buf->id;
}

static void grow(struct recv_pool *pool)
{
	uint32_t count = slab_bufs(pool, pool->slab_count);
	char *memory = mmap(NULL, (size_t)count * pool->buf_bytes, PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);

	if (memory == MAP_FAILED)
		return;
	pool->slabs[pool->slab_count++] = memory;
	/* Backwards, so that the stack gives the lowest first. */
	for (uint32_t i = count; i > 0; i--) {
		struct recv_buf *buf = &pool->bufs[pool->allocated + i - 1];

		buf->pool = pool;
		buf->data = memory + (size_t)(i - 1) * pool->buf_bytes;
		buf->size_bytes = pool->buf_bytes;
		buf->id = (uint16_t)(pool->allocated + i - 1);
		push_free(pool, buf);
	}
	pool->allocated += count;
}

struct recv_buf *recv_pool_take(struct recv_pool *pool)
{
	struct recv_buf *buf;

	if (pool->free_count == 0 && pool->allocated < pool->max)
		grow(pool);
	if (pool->free_count == 0)
		return NULL;
	buf = &pool->bufs[pool->free_ids[--pool->free_count]];
	pool->free_low = MIN(pool->free_low, pool->free_count);
	pool->trimmed = MIN(pool->trimmed, pool->free_count);
	unpoison(buf->data, buf->size_bytes);
	return buf;
}

void recv_pool_put_back(struct recv_buf *buf)
{
	push_free(buf->pool, buf);
}

void recv_pool_hand_out(struct recv_buf *buf, uint32_t len_bytes)
{
	struct recv_pool *pool = buf->pool;

	buf->refs = 1;
	buf->len = len_bytes;
	pool->held++;
	pool->held_max = MAX(pool->held_max, pool->held);
}

void recv_buf_unref(struct recv_buf *buf)
{
	if (!buf)
		return;
	assert(buf->refs > 0);
	if (--buf->refs > 0)
		return;
	buf->pool->held--;
	push_free(buf->pool, buf);
}

uint32_t recv_pool_spare(const struct recv_pool *pool)
{
	return pool->free_count + (pool->max - pool->allocated);
}

void recv_pool_trim(struct recv_pool *pool)
{
	/* Only whole pages can be given back. */
	if (pool->buf_bytes % 4096 == 0) {
		for (; pool->trimmed < pool->free_low; pool->trimmed++) {
			struct recv_buf *buf = &pool->bufs[pool->free_ids[pool->trimmed]];

			(void)madvise(buf->data, buf->size_bytes, MADV_DONTNEED);
		}
	}
	pool->free_low = pool->free_count;
}

int recv_pool_register_ring(struct recv_pool *pool, struct io_uring *ring)
{
	struct io_uring_buf_reg reg;
	void *memory = mmap(NULL, ring_bytes(pool), PROT_READ | PROT_WRITE,
			    MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
	int result;

	if (memory == MAP_FAILED)
		return -errno;
	/* liburing 2.3 registers a ring but has no io_uring_setup_buf_ring() to make one. */
	reg = (struct io_uring_buf_reg){.ring_addr = (uintptr_t)memory,
					.ring_entries = pool->ring_entries,
					.bgid = RECV_POOL_GROUP};
	result = io_uring_register_buf_ring(ring, &reg, 0);
	if (result < 0) {
		(void)munmap(memory, ring_bytes(pool));
		return result;
	}
	pool->ring = memory;
	io_uring_buf_ring_init(pool->ring);
	return 0;
}

bool recv_pool_refill_ring(struct recv_pool *pool)
{
	int mask = io_uring_buf_ring_mask(pool->ring_entries);
	int added = 0;

	while (pool->ready + (uint32_t)added < pool->ready_share) {
		struct recv_buf *buf = recv_pool_take(pool);

		if (!buf)
			break;
		io_uring_buf_ring_add(pool->ring, buf->data, buf->size_bytes, buf->id, mask, added);
		poison(buf->data, buf->size_bytes);
		added++;
	}
	if (added) {
		io_uring_buf_ring_advance(pool->ring, added);
		pool->ready += (uint32_t)added;
	}
	return pool->ready > 0;
}

struct recv_buf *recv_pool_take_from_ring(struct recv_pool *pool, uint32_t id)
{
	struct recv_buf *buf = &pool->bufs[id];

	assert(id < pool->allocated && pool->ready > 0);
	pool->ready--;
	unpoison(buf->data, buf->size_bytes);
	return buf;
}

uint32_t recv_pool_ready(const struct recv_pool *pool)
{
	return pool->ready;
}

uint64_t recv_pool_bytes(const struct recv_pool *pool)
{
	return ((uint64_t)pool->held + pool->ready) * pool->buf_bytes;
}

uint64_t recv_pool_max(const struct recv_pool *pool)
{
	return pool->max;
}

uint64_t recv_pool_held(const struct recv_pool *pool)
{
	return pool->held;
}

uint64_t recv_pool_held_max(const struct recv_pool *pool)
{
	return pool->held_max;
}
