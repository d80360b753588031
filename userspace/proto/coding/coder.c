#include "proto/coding/coding.h"

#include <brotli/decode.h>
#include <brotli/encode.h>
#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "base/util.h"

#define GZIP_LEVEL	 5
#define GZIP_WINDOW_BITS (15 + 16) /* with gzip's own head and tail */
#define GZIP_MEM_LEVEL	 8
#define BR_QUALITY	 4
#define BR_WINDOW_BITS	 18
#define ZSTD_LEVEL	 3
#define ZSTD_WINDOW_BITS 18
#define ZSTD_READ_BITS	 23 /* RFC 9659 */
#define KEPT_MAX	 16

struct coder {
	struct coder *next; /* in the cache */
	size_t *account;
	enum coding coding;
	bool decodes;
	bool ended;   /* decoders: at the end of a frame, where a body may end */
	bool started; /* something was fed */
	size_t counted_bytes;
	/*
	 * libbrotli's encoder ends the process when it is refused memory. So it is left by a jump
	 * where that happens, and what it had, all of it ours, is freed without it.
	 */
	jmp_buf *no_memory;
	bool lost;
	struct counted_block *blocks;
	union {
		z_stream zlib;
		BrotliEncoderState *br_encoder;
		BrotliDecoderState *br_decoder;
		ZSTD_CCtx *zstd_encoder;
		ZSTD_DCtx *zstd_decoder;
	};
};

/* ---- memory that is counted ---- */

static void count(struct coder *coder, size_t bytes)
{
	coder->counted_bytes += bytes;
	if (coder->account)
		*coder->account += bytes;
}

static void uncount(struct coder *coder, size_t bytes)
{
	coder->counted_bytes -= bytes;
	if (coder->account)
		*coder->account -= bytes;
}

struct counted_block {
	struct counted_block *next, **previous; /* in coder->blocks */
	size_t bytes;
	max_align_t data[];
};

static void *counted_alloc(void *opaque, size_t bytes)
{
	struct coder *coder = opaque;
	struct counted_block *block = malloc(sizeof(*block) + bytes);

	if (!block && coder->no_memory)
		longjmp(*coder->no_memory, 1);
	if (!block)
		return NULL;
	block->bytes = sizeof(*block) + bytes;
	block->next = coder->blocks;
	block->previous = &coder->blocks;
	if (block->next)
		block->next->previous = &block->next;
	coder->blocks = block;
	count(coder, block->bytes);
	return block->data;
}

static void counted_free(void *opaque, void *data)
{
	struct counted_block *block;

	if (!data)
		return;
	block = (struct counted_block *)((char *)data - offsetof(struct counted_block, data));
	*block->previous = block->next;
	if (block->next)
		block->next->previous = block->previous;
	uncount(opaque, block->bytes);
	free(block);
}

static voidpf zlib_alloc(voidpf opaque, uInt items, uInt bytes)
{
	return counted_alloc(opaque, (size_t)items * bytes);
}

static void zlib_free(voidpf opaque, voidpf data)
{
	counted_free(opaque, data);
}

/* zstd tells how much it has, once it has begun. */
static void recount_zstd(struct coder *coder)
{
	size_t bytes = coder->decodes ? ZSTD_sizeof_DCtx(coder->zstd_decoder)
				      : ZSTD_sizeof_CCtx(coder->zstd_encoder);

	uncount(coder, coder->counted_bytes);
	count(coder, bytes);
}

/* ---- life ---- */

static bool begin_zstd(struct coder *coder)
{
	if (coder->decodes) {
		coder->zstd_decoder = ZSTD_createDCtx();
		return coder->zstd_decoder &&
		       !ZSTD_isError(ZSTD_DCtx_setParameter(coder->zstd_decoder,
							    ZSTD_d_windowLogMax, ZSTD_READ_BITS));
	}
	coder->zstd_encoder = ZSTD_createCCtx();
	return coder->zstd_encoder &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(coder->zstd_encoder, ZSTD_c_compressionLevel,
						    ZSTD_LEVEL)) &&
	       !ZSTD_isError(ZSTD_CCtx_setParameter(coder->zstd_encoder, ZSTD_c_windowLog,
						    ZSTD_WINDOW_BITS));
}

static bool begin_br(struct coder *coder)
{
	if (coder->decodes) {
		coder->br_decoder = BrotliDecoderCreateInstance(counted_alloc, counted_free, coder);
		return coder->br_decoder != NULL;
	}
	coder->br_encoder = BrotliEncoderCreateInstance(counted_alloc, counted_free, coder);
	return coder->br_encoder &&
	       BrotliEncoderSetParameter(coder->br_encoder, BROTLI_PARAM_QUALITY, BR_QUALITY) &&
	       BrotliEncoderSetParameter(coder->br_encoder, BROTLI_PARAM_LGWIN, BR_WINDOW_BITS);
}

static bool begin_gzip(struct coder *coder)
{
	coder->zlib.zalloc = zlib_alloc;
	coder->zlib.zfree = zlib_free;
	coder->zlib.opaque = coder;
	if (coder->decodes)
		return inflateInit2(&coder->zlib, GZIP_WINDOW_BITS) == Z_OK;
	return deflateInit2(&coder->zlib, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW_BITS, GZIP_MEM_LEVEL,
			    Z_DEFAULT_STRATEGY) == Z_OK;
}

static void coder_free(struct coder *coder)
{
	switch (coder->coding) {
	case CODING_GZIP:
		if (coder->decodes)
			(void)inflateEnd(&coder->zlib);
		else
			(void)deflateEnd(&coder->zlib);
		break;
	case CODING_BR:
		if (coder->decodes)
			BrotliDecoderDestroyInstance(coder->br_decoder);
		else if (!coder->lost)
			BrotliEncoderDestroyInstance(coder->br_encoder);
		while (coder->blocks)
			counted_free(coder, coder->blocks->data);
		break;
	case CODING_ZSTD:
		if (coder->decodes)
			(void)ZSTD_freeDCtx(coder->zstd_decoder);
		else
			(void)ZSTD_freeCCtx(coder->zstd_encoder);
		break;
	default:
		break;
	}
	uncount(coder, coder->counted_bytes);
	free(coder);
}

static struct coder *coder_new(struct coder_cache *cache, enum coding coding, bool decodes)
{
	struct coder *coder = calloc(1, sizeof(*coder));
	bool ok = false;

	if (!coder)
		return NULL;
	coder->account = cache->account;
	coder->coding = coding;
	coder->decodes = decodes;
	switch (coding) {
	case CODING_GZIP:
		ok = begin_gzip(coder);
		break;
	case CODING_BR:
		ok = begin_br(coder);
		break;
	case CODING_ZSTD:
		ok = begin_zstd(coder);
		break;
	default:
		break;
	}
	if (ok)
		return coder;
	/* zlib's ends need a state that was begun. */
	if (coding == CODING_GZIP)
		coder->coding = CODING_IDENTITY;
	coder_free(coder);
	return NULL;
}

struct coder *coder_get(struct coder_cache *cache, enum coding coding, bool decodes)
{
	struct coder *coder = cache->free[decodes][coding];

	if (!coder)
		return coder_new(cache, coding, decodes);
	cache->free[decodes][coding] = coder->next;
	cache->free_count--;
	coder->next = NULL;
	return coder;
}

/* Ready for another body. */
static bool coder_reset(struct coder *coder)
{
	coder->ended = coder->started = false;
	if (coder->coding == CODING_GZIP)
		return (coder->decodes ? inflateReset(&coder->zlib) : deflateReset(&coder->zlib)) ==
		       Z_OK;
	if (coder->coding == CODING_ZSTD && coder->decodes)
		return !ZSTD_isError(ZSTD_DCtx_reset(coder->zstd_decoder, ZSTD_reset_session_only));
	if (coder->coding == CODING_ZSTD)
		return !ZSTD_isError(ZSTD_CCtx_reset(coder->zstd_encoder, ZSTD_reset_session_only));
	return false; /* of br each is made anew */
}

void coder_put(struct coder_cache *cache, struct coder *coder)
{
	if (!coder)
		return;
	if (cache->free_count >= KEPT_MAX || !coder_reset(coder)) {
		coder_free(coder);
		return;
	}
	coder->next = cache->free[coder->decodes][coder->coding];
	cache->free[coder->decodes][coder->coding] = coder;
	cache->free_count++;
}

void coder_cache_trim(struct coder_cache *cache)
{
	for (unsigned int decodes = 0; decodes < 2; decodes++) {
		for (unsigned int i = 0; i < CODING_COUNT; i++) {
			while (cache->free[decodes][i]) {
				struct coder *coder = cache->free[decodes][i];

				cache->free[decodes][i] = coder->next;
				coder_free(coder);
			}
		}
	}
	cache->free_count = 0;
}

/* ---- encoding ---- */

static int encode_gzip(struct coder *coder, enum coder_step step)
{
	static const int flushes[] = {
		[CODER_FEED] = Z_NO_FLUSH, [CODER_FLUSH] = Z_SYNC_FLUSH, [CODER_FINISH] = Z_FINISH};
	int r = deflate(&coder->zlib, flushes[step]);

	if (r == Z_STREAM_END)
		return 0;
	if (r != Z_OK && r != Z_BUF_ERROR)
		return -ENOMEM;
	return step == CODER_FINISH || coder->zlib.avail_in || !coder->zlib.avail_out;
}

static int encode_br(struct coder *coder, enum coder_step step, size_t *in_len, const uint8_t **in,
		     size_t *room, uint8_t **out)
{
	static const BrotliEncoderOperation operations[] = {[CODER_FEED] = BROTLI_OPERATION_PROCESS,
							    [CODER_FLUSH] = BROTLI_OPERATION_FLUSH,
							    [CODER_FINISH] =
								    BROTLI_OPERATION_FINISH};

	jmp_buf no_memory;
	bool ok;

	if (coder->lost)
		return -ENOMEM;
	if (setjmp(no_memory)) {
		coder->no_memory = NULL;
		coder->lost = true;
		return -ENOMEM;
	}
	coder->no_memory = &no_memory;
	ok = BrotliEncoderCompressStream(coder->br_encoder, operations[step], in_len, in, room, out,
					 NULL);
	coder->no_memory = NULL;
	if (!ok)
		return -ENOMEM;
	if (step == CODER_FINISH)
		return !BrotliEncoderIsFinished(coder->br_encoder);
	return *in_len || BrotliEncoderHasMoreOutput(coder->br_encoder);
}

static int encode_zstd(struct coder *coder, enum coder_step step, ZSTD_inBuffer *in,
		       ZSTD_outBuffer *out)
{
	static const ZSTD_EndDirective directives[] = {[CODER_FEED] = ZSTD_e_continue,
						       [CODER_FLUSH] = ZSTD_e_flush,
						       [CODER_FINISH] = ZSTD_e_end};
	size_t left = ZSTD_compressStream2(coder->zstd_encoder, out, in, directives[step]);

	if (ZSTD_isError(left))
		return -ENOMEM;
	if (!coder->started)
		recount_zstd(coder);
	coder->started = true;
	return step == CODER_FEED ? in->pos < in->size : left != 0;
}

/* ---- decoding ---- */

static int decode_gzip(struct coder *coder)
{
	int r;

	/* Another member (RFC 1952 2.2). */
	if (coder->ended && coder->zlib.avail_in) {
		if (inflateReset(&coder->zlib) != Z_OK)
			return -EBADMSG;
		coder->ended = false;
	}
	if (!coder->zlib.avail_in && coder->ended)
		return 0;
	r = inflate(&coder->zlib, Z_NO_FLUSH);
	if (r == Z_STREAM_END) {
		coder->ended = true;
		return coder->zlib.avail_in != 0;
	}
	if (r == Z_MEM_ERROR)
		return -ENOMEM;
	if (r != Z_OK && r != Z_BUF_ERROR)
		return -EBADMSG;
	return coder->zlib.avail_in || !coder->zlib.avail_out;
}

static int decode_br(struct coder *coder, size_t *in_len, const uint8_t **in, size_t *room,
		     uint8_t **out)
{
	BrotliDecoderResult r;

	if (coder->ended)
		return *in_len ? -EBADMSG : 0;
	r = BrotliDecoderDecompressStream(coder->br_decoder, in_len, in, room, out, NULL);
	switch (r) {
	case BROTLI_DECODER_RESULT_SUCCESS:
		coder->ended = true;
		return *in_len ? -EBADMSG : 0;
	case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
		return 0;
	case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
		return 1;
	case BROTLI_DECODER_RESULT_ERROR:
		break;
	}
	return BrotliDecoderGetErrorCode(coder->br_decoder) <=
			       BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES
		       ? -ENOMEM
		       : -EBADMSG;
}

static int decode_zstd(struct coder *coder, ZSTD_inBuffer *in, ZSTD_outBuffer *out)
{
	size_t left;

	if (in->pos == in->size && coder->ended)
		return 0;
	left = ZSTD_decompressStream(coder->zstd_decoder, out, in);
	if (ZSTD_isError(left))
		return -EBADMSG;
	recount_zstd(coder);
	coder->ended = left == 0;
	return in->pos < in->size || (out->pos == out->size && left != 0);
}

static int finish_decoding(const struct coder *coder)
{
	return coder->ended ? 0 : -EBADMSG;
}

int coder_run(struct coder *coder, enum coder_step step, struct str *in, char *out, size_t room,
	      size_t *ret_len)
{
	ZSTD_inBuffer zstd_in = {in->ptr, in->len, 0};
	ZSTD_outBuffer zstd_out = {out, room, 0};
	const uint8_t *next_in = (const uint8_t *)in->ptr;
	uint8_t *next_out = (uint8_t *)out;
	size_t in_len = in->len, out_left = room;
	int r = -EINVAL;

	*ret_len = 0;
	if (coder->decodes && step == CODER_FLUSH)
		return 0;
	if (coder->decodes && step == CODER_FINISH)
		return finish_decoding(coder);
	switch (coder->coding) {
	case CODING_GZIP:
		coder->zlib.next_in = (Bytef *)in->ptr;
		coder->zlib.avail_in = (uInt)in->len;
		coder->zlib.next_out = (Bytef *)out;
		coder->zlib.avail_out = (uInt)room;
		r = coder->decodes ? decode_gzip(coder) : encode_gzip(coder, step);
		in_len = coder->zlib.avail_in;
		out_left = coder->zlib.avail_out;
		break;
	case CODING_BR:
		r = coder->decodes
			    ? decode_br(coder, &in_len, &next_in, &out_left, &next_out)
			    : encode_br(coder, step, &in_len, &next_in, &out_left, &next_out);
		break;
	case CODING_ZSTD:
		r = coder->decodes ? decode_zstd(coder, &zstd_in, &zstd_out)
				   : encode_zstd(coder, step, &zstd_in, &zstd_out);
		in_len = in->len - zstd_in.pos;
		out_left = room - zstd_out.pos;
		break;
	default:
		break;
	}
	*in = str_sub(*in, in->len - in_len, in_len);
	*ret_len = room - out_left;
	return r;
}
