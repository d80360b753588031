/* What the files of tls_stream share. Private to tls/. */
#ifndef SLUICE_TLS_TLS_INTERNAL_H
#define SLUICE_TLS_TLS_INTERNAL_H

#include <errno.h>

#include "base/buf.h"
#include "io/stream_layer.h"
#include "tls/tls_ktls.h"
#include "tls/tls_stream.h"

#define TLS_RECORD_BYTES 16384u /* of plaintext, the most that a record holds */
/* One whole record: head, nonce, content type and tag; what is longer goes on in the next chunk. */
#define TLS_CHUNK_BYTES (TLS_RECORD_BYTES + 64u)
#define TLS_CHUNKS_FREE 64
/* Of one SSL at rest, about: as measured with OpenSSL 3.0. */
#define TLS_SSL_BYTES 12288u

/* Ciphertext to be sent, or one record that the kernel encrypts. */
struct tls_chunk {
	struct tls_chunk *next;
	uint32_t len;
	uint8_t record_type; /* of the record */
	char data[TLS_CHUNK_BYTES];
};

struct tls_worker {
	BIO_METHOD *bio_method;
	struct tls_chunk *free_chunks;
	unsigned int free_chunk_count;
	uint64_t streams;
	uint64_t memory_bytes;
	void (*on_ktls)(void *arg, enum tls_ktls_event event); /* or NULL */
	void *on_ktls_arg;
	char gather[TLS_RECORD_BYTES]; /* the plaintext of one record */
};

/* NULL: out of memory. */
struct tls_chunk *tls_chunk_get(struct tls_worker *worker);
void tls_chunk_put(struct tls_worker *worker, struct tls_chunk *chunk);

enum tls_rx {
	TLS_RX_OPENSSL,	 /* which decrypts */
	TLS_RX_KNOWN,	 /* ... but the keys are there */
	TLS_RX_STOPPING, /* receives that are under way end before it changes */
	TLS_RX_KERNEL,
};
#define TLS_RX_BYTES (128u * 1024) /* from then on it is worth the change */

struct tls_stream {
	struct stream_layer layer; /* with sends_raw the kernel encrypts */
	struct stream *stream;
	struct tls_worker *worker;
	SSL *ssl;
	const char *error_text;
	enum tls_failure failure;

	/* From the peer: what the BIO has not read yet, in a receive buffer or in the stash. */
	struct str in;
	struct buf stash; /* the same, while there is no buffer for the plaintext */
	bool starved;	  /* ... which is so now */
	uint8_t want;	  /* enum recv_mode of the owner */
	bool begun;	  /* the first work() was there */
	bool handshaking;
	bool told_data;
	bool raw_ended; /* the socket gives no more */
	bool ended;	/* the owner was told */
	bool failed;	/* of OpenSSL; nothing is read or written any more */
	int raw_result;
	uint64_t barren_since_ms;
	unsigned int barren;

	/* To the peer. */
	struct tls_chunk *out_first, *out_last;
	unsigned int out_count;
	unsigned int out_flight; /* of them, the first so many are being sent */
	int bio_error;		 /* the BIO could not take what OpenSSL wrote */
	bool notified;		 /* close_notify was written */
	bool shut_after;	 /* half-close when all is sent */
	bool ticket_waits;	 /* the handshake's last words go with the first answer */

	/* When the kernel encrypts. */
	uint8_t ktls;	     /* enum tls_ktls_use */
	uint8_t record_type; /* of what OpenSSL writes next; 0: none was said */
	bool direct;	     /* the owner's send is under way as it is */
	bool waiting;	     /* ... is not, for records that come first */
	bool rekey;	     /* the peer wants keys that the kernel does not take */
	struct tls_ktls_record record;

	/* What is received of TLS 1.2: until the kernel decrypts, where in the records we are. */
	uint8_t rx;	     /* enum tls_rx */
	uint8_t rx_head_len; /* of a record's head, so far */
	uint32_t rx_left;    /* of its body, still to come */
	uint64_t rx_records; /* whole ones */
	uint64_t rx_bytes;   /* since it was last tried */
	unsigned char rx_head[5];
	union tls_ktls_keys rx_keys;

	/* The owner's send. */
	bool quiet;
	struct splice_pipe *pipe;
	int send_result;
	unsigned int iov_first, iov_count;
	int64_t taken_bytes; /* encrypted of it */
	int file_fd;
	uint64_t file_offset, file_bytes;
	struct iovec iov[STREAM_IOV_MAX];
};

static inline struct tls_stream *tls_of(const struct stream *stream)
{
	return CONTAINER_OF(stream->layer, struct tls_stream, layer);
}

/* ---- tls_bio.c ---- */

BIO_METHOD *tls_bio_method_new(void);
/* NULL: out of memory. Reads tls->in, appends to tls->out. */
BIO *tls_bio_new(struct tls_worker *worker, struct tls_stream *tls);

/* ---- tls_ktls_send.c: when the kernel encrypts ---- */

/* OpenSSL has the keys of what is sent next. False: it goes on encrypting. */
bool tls_ktls_take(struct tls_stream *tls, const void *info);
/* In the places of those of tls_send.c. */
int tls_ktls_send(struct stream *stream, const struct iovec *iov, unsigned int count, bool quiet);
int tls_ktls_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
		       int file_fd, uint64_t offset, uint64_t len);
int tls_ktls_send_pipe(struct stream *stream, const struct iovec *iov, unsigned int count,
		       struct splice_pipe *pipe, size_t len);
void tls_ktls_flush(struct stream *stream);
void tls_ktls_flush_now(struct stream *stream);
void tls_ktls_on_sent(struct stream *stream, int64_t result);

/* ---- tls_ktls_recv.c: when it decrypts, too ---- */

/* OpenSSL has the keys of what is received next. */
void tls_ktls_keep(struct tls_stream *tls, const void *info);
/* OpenSSL reads so many bytes of records. */
void tls_ktls_track(struct tls_stream *tls, const char *data, size_t len);
/* Receiving is off: finishes the record that OpenSSL has begun, and changes over if it can. */
void tls_ktls_change_over(struct stream *stream);
/* With TLS_RX_KERNEL: a record that is no data is in the socket. False: `result` is an error. */
bool tls_ktls_take_record(struct stream *stream);

/* ---- tls_failure.c ---- */

/* Takes the oldest error of OpenSSL's queue, empties it, and notes text and reason. */
void tls_note_error(struct tls_stream *tls);

/* ---- tls_send.c ---- */

int tls_layer_send(struct stream *stream, const struct iovec *iov, unsigned int count, bool quiet);
bool tls_layer_send_is_open(const struct stream *stream);
int tls_layer_send_more(struct stream *stream, const struct iovec *iov, unsigned int count,
			bool quiet);
int tls_layer_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
			int file_fd, uint64_t offset, uint64_t len);
void tls_layer_on_sent(struct stream *stream, int64_t result);
void tls_layer_shutdown_send(struct stream *stream);
void tls_layer_closing(struct stream *stream);
/* Encrypts what the owner sends and starts a send of all there is, unless one is under way. */
void tls_flush(struct stream *stream);
/* Last words, straight into the socket, as far as it takes them now. */
void tls_flush_now(struct stream *stream);
/* Instead of an alert, for who speaks HTTP to a port that speaks TLS. */
void tls_answer_plain_http(struct stream *stream);
void tls_out_clear(struct tls_stream *tls);
void tls_out_pop(struct tls_stream *tls);
void tls_send_begin(struct tls_stream *tls, const struct iovec *iov, unsigned int count);
/* The owner's send is over, with send_result or taken_bytes. */
void tls_finish_send(struct stream *stream);
/* Writes close_notify, once, where there may be one. */
bool tls_notify(struct tls_stream *tls);

/* ---- tls_stream.c ---- */

bool tls_can_read(const struct stream *stream);
/* Ciphertext, from memory that is not kept. */
void tls_take_bytes(struct stream *stream, struct str bytes);
void tls_tell_end(struct stream *stream, int result);
/* A record that brought nothing to the owner. */
void tls_count_barren(struct stream *stream);
/* `rekey` is set: says goodbye and tells the owner, unless it is sending. */
void tls_end_for_rekey(struct stream *stream);

#endif
