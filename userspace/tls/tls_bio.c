/*
 * The BIO of a tls_stream, one for both directions. It never blocks and makes no system call: a
 * read beyond what was received asks for a retry, a write fails only without memory. When the
 * kernel is to encrypt (tls_ktls_take()), OpenSSL asks by the commands that its own socket BIO
 * knows.
 */
#include "tls/tls_internal.h"

#include <string.h>

/* Of OpenSSL, whose headers keep them to itself: openssl/bio.h has their numbers in a comment. */
enum { SET_KTLS = 72, SET_RECORD_TYPE = 74, CLEAR_RECORD_TYPE = 75 };

#define HANDSHAKE_RECORD   22
#define KEY_UPDATE_MESSAGE 24

static int bio_read(BIO *bio, char *data, size_t len, size_t *ret_len)
{
	struct tls_stream *tls = BIO_get_data(bio);
	size_t part = MIN(len, tls->in.len);

	BIO_clear_retry_flags(bio);
	if (part == 0) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(data, tls->in.ptr, part);
	if (tls->rx != TLS_RX_OPENSSL)
		tls_ktls_track(tls, data, part);
	tls->in.ptr += part;
	tls->in.len -= part;
	*ret_len = part;
	return 1;
}

static struct tls_chunk *chunk_to_write(struct tls_stream *tls)
{
	struct tls_chunk *chunk = tls->out_last;

	/* The kernel gets record by record. */
	if (chunk && tls->out_count > tls->out_flight && chunk->len < TLS_CHUNK_BYTES &&
	    !tls->layer.sends_raw)
		return chunk;
	chunk = tls_chunk_get(tls->worker);
	if (!chunk) {
		tls->bio_error = -ENOMEM;
		return NULL;
	}
	if (tls->out_last)
		tls->out_last->next = chunk;
	else
		tls->out_first = chunk;
	tls->out_last = chunk;
	tls->out_count++;
	return chunk;
}

/* Plaintext of a record that OpenSSL makes itself. Application data is never written to it then. */
static int write_record(struct tls_stream *tls, const char *data, size_t len)
{
	uint8_t type = tls->record_type;
	struct tls_chunk *chunk;

	if (!type || len > TLS_CHUNK_BYTES) {
		tls->bio_error = -EIO;
		return -1;
	}
	tls->record_type = 0;
	if (type == HANDSHAKE_RECORD && len && data[0] == KEY_UPDATE_MESSAGE) {
		tls->rekey = true;
		return 1;
	}
	chunk = chunk_to_write(tls);
	if (!chunk)
		return -1;
	memcpy(chunk->data, data, len);
	chunk->len = (uint32_t)len;
	chunk->record_type = type;
	return 1;
}

static int bio_write(BIO *bio, const char *data, size_t len, size_t *ret_len)
{
	struct tls_stream *tls = BIO_get_data(bio);
	size_t done = 0;

	BIO_clear_retry_flags(bio);
	if (tls->layer.sends_raw) {
		*ret_len = len;
		return write_record(tls, data, len);
	}
	while (done < len) {
		struct tls_chunk *chunk = chunk_to_write(tls);
		size_t part;

		if (!chunk)
			return -1;
		part = MIN(len - done, (size_t)TLS_CHUNK_BYTES - chunk->len);
		memcpy(chunk->data + chunk->len, data + done, part);
		chunk->len += (uint32_t)part;
		done += part;
	}
	*ret_len = len;
	return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
	struct tls_stream *tls = BIO_get_data(bio);

	switch (command) {
	case BIO_CTRL_FLUSH:
		return 1;
	case BIO_CTRL_PENDING:
		return tls ? (long)tls->in.len : 0;
	case SET_KTLS:
		if (number)
			return tls_ktls_take(tls, pointer);
		tls_ktls_keep(tls, pointer);
		return 0;
	case BIO_CTRL_GET_KTLS_SEND:
		return tls && tls->layer.sends_raw;
	case SET_RECORD_TYPE:
		tls->record_type = (uint8_t)number;
		return 0;
	case CLEAR_RECORD_TYPE:
		tls->record_type = 0;
		return 0;
	default:
		return 0;
	}
}

static int bio_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

BIO_METHOD *tls_bio_method_new(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "sluice stream");

	if (!method)
		return NULL;
	if (!BIO_meth_set_read_ex(method, bio_read) || !BIO_meth_set_write_ex(method, bio_write) ||
	    !BIO_meth_set_ctrl(method, bio_ctrl) || !BIO_meth_set_create(method, bio_create)) {
		BIO_meth_free(method);
		return NULL;
	}
	return method;
}

BIO *tls_bio_new(struct tls_worker *worker, struct tls_stream *tls)
{
	BIO *bio = BIO_new(worker->bio_method);

	if (bio)
		BIO_set_data(bio, tls);
	return bio;
}
