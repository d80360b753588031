/*
 * arena: memory that is released all at once, with a hard cap (varnish's workspace is the model).
 *
 * Allocation never fails loudly: past the cap it returns NULL and sets a sticky `overflowed` flag
 * that the owner turns into 431, 413 or 503 at its next checkpoint. Memory comes in chunks; the
 * first chunk is kept over arena_reset(), so that a connection's next request allocates nothing.
 * The cap counts the bytes asked for, alignment included, not the chunks' own heads. What an
 * arena's memory refers to outside (compiled regexes) is linked to it by arena_at_end() and dropped
 * with it. Thread rule: one owner at a time. Pointers die at arena_reset() and arena_done().
 */
#ifndef SLUICE_BASE_ARENA_H
#define SLUICE_BASE_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"
#include "base/util.h"

struct arena_chunk;
struct arena_release;

struct arena {
	struct arena_chunk *first; /* kept by arena_reset() */
	struct arena_chunk *current;
	size_t chunk_bytes; /* size of the next chunk */
	size_t used_bytes;
	size_t cap_bytes;
	struct arena_release *releases; /* by arena_at_end(), the last first */
	size_t *account;		/* NULL, or whose sum the chunks' bytes are part of */
	bool overflowed;
};

/* Allocates nothing yet. chunk_bytes 0: 4 KiB. No account: set it before the first allocation. */
void arena_init(struct arena *arena, size_t chunk_bytes, size_t cap_bytes);
void arena_done(struct arena *arena);
void arena_reset(struct arena *arena);

/* Aligned for any type; uninitialised. NULL and `overflowed` past the cap or without memory. */
void *arena_alloc(struct arena *arena, size_t len_bytes);
void *arena_alloc_zero(struct arena *arena, size_t len_bytes);
/*
 * release(object) will run at arena_reset() or arena_done(), the last one added first. False, with
 * nothing linked, on overflow.
 */
bool arena_at_end(struct arena *arena, void (*release)(void *object), void *object);
/* Unaligned bytes. */
char *arena_alloc_bytes(struct arena *arena, size_t len_bytes);

/* Copies end in a NUL that the length does not count. ptr is NULL on overflow. */
struct str arena_copy(struct arena *arena, struct str value);
struct str arena_printf(struct arena *arena, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define arena_new(arena, type) ((type *)arena_alloc_zero((arena), sizeof(type)))
#define arena_new_array(arena, type, count)                                                        \
	((type *)arena_alloc_zero_array((arena), sizeof(type), (count)))
/* Overflow-checked product. */
void *arena_alloc_zero_array(struct arena *arena, size_t size_bytes, size_t count);

#endif
