#include "base/arena.h"

#include <stdlib.h>

#define ARENA_ALIGN	    _Alignof(max_align_t)
#define ARENA_CHUNK_DEFAULT 4096

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_POISONS 1
#endif

/* Under ASan the unused rest of a chunk is poisoned, so that a pointer kept over a reset shows. */
#ifdef ARENA_POISONS
#include <sanitizer/asan_interface.h>
#define poison(ptr, len)   ASAN_POISON_MEMORY_REGION(ptr, len)
#define unpoison(ptr, len) ASAN_UNPOISON_MEMORY_REGION(ptr, len)
#else
#define poison(ptr, len)   ((void)(ptr), (void)(len))
#define unpoison(ptr, len) ((void)(ptr), (void)(len))
#endif

struct arena_chunk {
	struct arena_chunk *next;
	size_t size_bytes;
	size_t used_bytes;
	max_align_t data[];
};

struct arena_release {
	struct arena_release *next;
	void (*run)(void *object);
	void *object;
};

static char *chunk_bytes(struct arena_chunk *chunk)
{
	return (char *)chunk->data;
}

static void chunk_free(struct arena *arena, struct arena_chunk *chunk)
{
	if (arena->account)
		*arena->account -= sizeof(*chunk) + chunk->size_bytes;
	unpoison(chunk->data, chunk->size_bytes);
	free(chunk);
}

void arena_init(struct arena *arena, size_t chunk_len, size_t cap_bytes)
{
	*arena = (struct arena){
		.chunk_bytes = chunk_len ? chunk_len : ARENA_CHUNK_DEFAULT,
		.cap_bytes = cap_bytes,
	};
}

/* Before any memory goes: the list and its objects live in it. */
static void run_releases(struct arena *arena)
{
	for (struct arena_release *release = arena->releases; release; release = release->next)
		release->run(release->object);
	arena->releases = NULL;
}

void arena_done(struct arena *arena)
{
	struct arena_chunk *chunk = arena->first;
	size_t *account = arena->account;

	run_releases(arena);
	while (chunk) {
		struct arena_chunk *next = chunk->next;

		chunk_free(arena, chunk);
		chunk = next;
	}
	arena_init(arena, arena->chunk_bytes, arena->cap_bytes);
	arena->account = account;
}

void arena_reset(struct arena *arena)
{
	struct arena_chunk *first = arena->first;

	run_releases(arena);
	/* A first chunk that one big request made would stay with an idle connection. */
	if (!first || first->size_bytes > arena->chunk_bytes) {
		arena_done(arena);
		return;
	}
	arena->first = first->next;
	arena_done(arena);
	first->next = NULL;
	first->used_bytes = 0;
	poison(first->data, first->size_bytes);
	arena->first = arena->current = first;
}

/* The chunk with room for len bytes, the current one or a new one. */
static struct arena_chunk *chunk_add(struct arena *arena, size_t len_bytes)
{
	size_t size_bytes = MAX(len_bytes, arena->chunk_bytes);
	struct arena_chunk *chunk, *current = arena->current;
	size_t total_bytes;

	if (__builtin_add_overflow(size_bytes, sizeof(*chunk), &total_bytes))
		return NULL;
	chunk = malloc(total_bytes);
	if (!chunk)
		return NULL;
	if (arena->account)
		*arena->account += total_bytes;
	*chunk = (struct arena_chunk){.size_bytes = size_bytes};
	poison(chunk->data, size_bytes);
	if (!current) {
		arena->first = arena->current = chunk;
		return chunk;
	}
	chunk->next = current->next;
	current->next = chunk;
	/* A chunk made for one big piece is full; the current one may still have room. */
	if (size_bytes == arena->chunk_bytes)
		arena->current = chunk;
	return chunk;
}

static void *arena_take(struct arena *arena, size_t len_bytes, size_t align)
{
	struct arena_chunk *chunk = arena->current;
	size_t start = 0, pad = 0, counted;
	char *ptr;

	if (chunk) {
		start = (chunk->used_bytes + align - 1) & ~(align - 1);
		pad = start - chunk->used_bytes;
		if (start > chunk->size_bytes || len_bytes > chunk->size_bytes - start) {
			chunk = NULL;
			start = pad = 0;
		}
	}
	if (__builtin_add_overflow(len_bytes, pad, &counted) ||
	    counted > arena->cap_bytes - arena->used_bytes)
		goto overflow;
	if (!chunk) {
		chunk = chunk_add(arena, len_bytes);
		if (!chunk)
			goto overflow;
	}
	ptr = chunk_bytes(chunk) + start;
	unpoison(ptr, len_bytes);
	chunk->used_bytes = start + len_bytes;
	arena->used_bytes += counted;
	return ptr;

overflow:
	arena->overflowed = true;
	return NULL;
}

void *arena_alloc(struct arena *arena, size_t len_bytes)
{
	return arena_take(arena, len_bytes, ARENA_ALIGN);
}

void *arena_alloc_zero(struct arena *arena, size_t len_bytes)
{
	void *ptr = arena_alloc(arena, len_bytes);

	return ptr ? memset(ptr, 0, len_bytes) : NULL;
}

void *arena_alloc_zero_array(struct arena *arena, size_t size_bytes, size_t count)
{
	size_t len_bytes;

	if (__builtin_mul_overflow(size_bytes, count, &len_bytes)) {
		arena->overflowed = true;
		return NULL;
	}
	return arena_alloc_zero(arena, len_bytes);
}

bool arena_at_end(struct arena *arena, void (*release)(void *object), void *object)
{
	struct arena_release *link = arena_alloc(arena, sizeof(*link));

	if (!link)
		return false;
	*link = (struct arena_release){arena->releases, release, object};
	arena->releases = link;
	return true;
}

char *arena_alloc_bytes(struct arena *arena, size_t len_bytes)
{
	return arena_take(arena, len_bytes, 1);
}

struct str arena_copy(struct arena *arena, struct str value)
{
	char *copy;

	if (value.len == SIZE_MAX) {
		arena->overflowed = true;
		return STR_NULL;
	}
	copy = arena_alloc_bytes(arena, value.len + 1);
	if (!copy)
		return STR_NULL;
	if (value.len)
		memcpy(copy, value.ptr, value.len);
	copy[value.len] = '\0';
	return str_make(copy, value.len);
}

struct str arena_printf(struct arena *arena, const char *fmt, ...)
{
	va_list args, again;
	char *text = NULL;
	int len;

	va_start(args, fmt);
	va_copy(again, args);
	len = vsnprintf(NULL, 0, fmt, args);
	va_end(args);
	if (len < 0)
		arena->overflowed = true;
	else
		text = arena_alloc_bytes(arena, (size_t)len + 1);
	if (text)
		(void)vsnprintf(text, (size_t)len + 1, fmt, again);
	va_end(again);
	return text ? str_make(text, (size_t)len) : STR_NULL;
}
