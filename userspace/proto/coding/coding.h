/*
 * coding: content codings (RFC 9110 8.4.1): gzip, br and zstd, sans-IO, both ways.
 *
 *   coder_get() ──► coder_run(FEED, FLUSH ..., FINISH) ──► coder_put()
 *
 * A coder is one body. Those that can begin anew are kept in a cache of their worker; what all take
 * is in its account. Windows are kept small, since a body has to fit no memory but ours: encoders
 * take about 256 KiB to 1 MiB. Decoders refuse windows above 8 MiB (RFC 9659), bytes behind the end
 * of a br body, and a body that ends within. How much they may put out is their user's to watch.
 * Thread rule: a cache and its coders are of one thread.
 */
#ifndef SLUICE_PROTO_CODING_CODING_H
#define SLUICE_PROTO_CODING_CODING_H

#include "base/str.h"

enum coding { CODING_IDENTITY, CODING_GZIP, CODING_BR, CODING_ZSTD, CODING_COUNT };

const char *coding_name(enum coding coding);
/* Without case, "x-gzip" too. CODING_COUNT: another one. */
enum coding coding_lookup(struct str name);

/* ---- what a client accepts (RFC 9110 12.5.3) ---- */

struct coding_accept {
	int weights[CODING_COUNT]; /* 0 to 1000; -1: not named */
	int other;		   /* of "*" */
};

void coding_accept_init(struct coding_accept *accept);
/* One field's value; what makes no sense accepts nothing. */
void coding_accept_add(struct coding_accept *accept, struct str value);
/* The one of these that is accepted most, the first among equals; IDENTITY: none. */
enum coding coding_accept_choose(const struct coding_accept *accept, const enum coding *offered,
				 unsigned int count);

/* ---- coders ---- */

struct coder;

struct coder_cache {
	struct coder *free[2][CODING_COUNT]; /* encoders, decoders */
	unsigned int free_count;
	size_t *account; /* bytes of all coders, in use or kept; NULL: nobody counts */
};

void coder_cache_trim(struct coder_cache *cache);

enum coder_step { CODER_FEED, CODER_FLUSH, CODER_FINISH };

/* NULL: out of memory. */
struct coder *coder_get(struct coder_cache *cache, enum coding coding, bool decodes);
void coder_put(struct coder_cache *cache, struct coder *coder); /* NULL allowed */
/*
 * Takes from *in and puts to `out`; *ret_len of `room` were written. 1: not through with this step,
 * to be called again with what is left of *in and new room; 0: through; -EBADMSG: what is to be
 * decoded is broken, or ended too early; -ENOMEM. FINISH comes with no input and ends the body.
 */
int coder_run(struct coder *coder, enum coder_step step, struct str *in, char *out, size_t room,
	      size_t *ret_len);

#endif
