/*
 * tls_stream: TLS as a layer of a stream (io/stream_layer.h), by OpenSSL in this process and, of an
 * SSL with SSL_OP_ENABLE_KTLS, by the kernel on the way out.
 *
 *   socket ─► receive buffer ─► BIO ─► SSL_read ─► plaintext in another receive buffer ─► owner
 *   owner ─► vector (small ones gathered) ─► SSL_write ─► BIO ─► chunks ─► one send per turn
 *
 * The BIO reads where the kernel wrote and appends to what is sent next, so OpenSSL makes no system
 * call. What an owner sends is cut into records of up to 16 KiB that know nothing of its vector: a
 * head and its body share one. Handshake answers, tickets and alerts go with the turn's send, too.
 * Ranges of files are read in pieces and encrypted; pipes are refused (stream_can_send_pipe()).
 *
 * Where the kernel encrypts (tls_stream_ktls(), from the handshake's end on) the owner's vectors,
 * files and pipes go into the socket as they are, by the engine; what OpenSSL has to say goes
 * between them, a record at a time. Of TLS 1.2 the kernel decrypts, too, once a connection has
 * received a good deal: buffers then go to the owner as they come. The kernel has the keys of the
 * handshake and takes no others: after a KeyUpdate that asks for an answer the send under way is
 * the last, close_notify follows, and on_recv() tells -EKEYEXPIRED.
 *
 * Ends: on_recv(NULL, 0) is the peer's close_notify, STREAM_CUT an end without one, -EPROTO bytes
 * that are not TLS as it should be (the alert was sent). stream_close() sends our close_notify,
 * stream_abort() does not. Everything that a receive brought is decrypted and told, so RECV_ONE may
 * tell of two buffers.
 *
 * A connection at rest keeps its SSL and this struct, no buffer. Thread rule: the loop's thread.
 */
#ifndef SLUICE_TLS_TLS_STREAM_H
#define SLUICE_TLS_TLS_STREAM_H

#include <openssl/ssl.h>

#include "io/stream.h"
#include "tls/tls_ktls.h"

/*
 * So many records without data (key updates, warnings, empty ones) are taken in so long; more end
 * the connection.
 */
#define TLS_BARREN_MAX	     64
#define TLS_BARREN_WINDOW_MS 10000

struct tls_worker;

/* Why a handshake failed, for counters. */
enum tls_failure {
	TLS_FAILURE_NONE,
	TLS_FAILURE_CLOSED,	 /* the peer went away */
	TLS_FAILURE_PLAIN,	 /* it speaks HTTP without TLS, and was told so */
	TLS_FAILURE_GARBAGE,	 /* it speaks something else */
	TLS_FAILURE_VERSION,	 /* no version in common */
	TLS_FAILURE_CIPHER,	 /* no cipher, group or signature in common */
	TLS_FAILURE_ALPN,	 /* no protocol in common */
	TLS_FAILURE_CERTIFICATE, /* the peer's was missing or not accepted */
	TLS_FAILURE_ALERT,	 /* the peer refused us by an alert */
	TLS_FAILURE_OTHER,
	TLS_FAILURE_COUNT,
};
const char *tls_failure_name(enum tls_failure failure); /* "closed", "plain_http", ... */

struct tls_worker_stats {
	uint64_t streams;      /* open */
	uint64_t memory_bytes; /* of chunks and structs, and about what OpenSSL has for each */
};

/* Once per loop; after its last stream with TLS is closed it can go. */
int tls_worker_new(struct tls_worker **ret_worker);
void tls_worker_free(struct tls_worker *worker); /* NULL allowed */
void tls_worker_get_stats(const struct tls_worker *worker, struct tls_worker_stats *ret_stats);
/* Called from the loop when the kernel begins to decrypt for a connection, or takes no new keys. */
void tls_worker_set_on_ktls(struct tls_worker *worker,
			    void (*on_ktls)(void *arg, enum tls_ktls_event event), void *arg);
/* Gives what is free back to malloc. */
void tls_worker_trim(struct tls_worker *worker);

/*
 * Puts TLS on an open stream, with its accept or connect state set; the handshake begins at once
 * and ends with on_secured(). Takes the SSL over also when it fails: -ENOMEM.
 */
int tls_stream_start(struct tls_worker *worker, struct stream *stream, SSL *ssl);

/* Ciphertext that was received before it started, in its order. -ENOMEM: it is lost. */
int tls_stream_give(struct stream *stream, struct str bytes);

static inline bool stream_is_tls(const struct stream *stream)
{
	return stream->layer;
}
/* Of a stream with TLS, in its on_closed() for the last time. */
SSL *tls_stream_ssl(const struct stream *stream);
enum tls_failure tls_stream_failure(const struct stream *stream);
/* Who encrypts what it sends. After the handshake. */
enum tls_ktls_use tls_stream_ktls(const struct stream *stream);

#endif
