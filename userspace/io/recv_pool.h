/*
 * recv_pool: the receive buffers of one loop. Private to io/; recv_buf.h is what owners see.
 *
 *   free (a stack, the last used first) ──► ready (in the kernel's ring) ──► held by an owner ─┐
 *     ▲      └───────── epoll: recv_pool_take() ────────────────────────────────▲              │
 *     └────────────────────── recv_buf_unref() of the last reference ──────────────────────────┘
 *
 * free + ready + held is what exists, at most `max`. Memory comes in slabs, lives until the loop
 * goes, and pages of buffers that were long unused go back to the system. Under the address
 * sanitizer the bytes of free and ready buffers are poisoned. Thread rule: the loop's thread.
 */
#ifndef SLUICE_IO_RECV_POOL_H
#define SLUICE_IO_RECV_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "io/recv_buf.h"

struct io_uring;

struct recv_pool;

/* ready_bufs: power of two, at most 32768; more than max_bufs counts as max_bufs. */
int recv_pool_new(uint32_t buf_bytes, uint32_t ready_bufs, uint32_t max_bufs,
		  struct recv_pool **ret_pool);
void recv_pool_free(struct recv_pool *pool);
DEFINE_FREEP(struct recv_pool, recv_pool_free)

/* A free buffer to read into; NULL: all are in use. Goes to recv_pool_hand_out() or _put_back(). */
struct recv_buf *recv_pool_take(struct recv_pool *pool);
void recv_pool_put_back(struct recv_buf *buf);
/* It has bytes and becomes an owner's, with one reference. */
void recv_pool_hand_out(struct recv_buf *buf, uint32_t len_bytes);
/* How many recv_pool_take() could give. */
uint32_t recv_pool_spare(const struct recv_pool *pool);

/* Gives pages of buffers back that nobody needed since the last call but one. */
void recv_pool_trim(struct recv_pool *pool);

/* Provided buffer ring (IORING_REGISTER_PBUF_RING, Linux 5.19) as buffer group 0. */
#define RECV_POOL_GROUP 0
int recv_pool_register_ring(struct recv_pool *pool, struct io_uring *ring);
/* Fills the ring up to its share again; true: the kernel has at least one. */
bool recv_pool_refill_ring(struct recv_pool *pool);
/* The kernel used this one. */
struct recv_buf *recv_pool_take_from_ring(struct recv_pool *pool, uint32_t id);
uint32_t recv_pool_ready(const struct recv_pool *pool);

/* Of held and ready ones. */
uint64_t recv_pool_bytes(const struct recv_pool *pool);
uint64_t recv_pool_max(const struct recv_pool *pool);
uint64_t recv_pool_held(const struct recv_pool *pool);
uint64_t recv_pool_held_max(const struct recv_pool *pool);

#endif
