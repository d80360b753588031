#include "tls/tls_stream.h"

#include <openssl/err.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "tls/tls_internal.h"

/* What may arrive while there is no buffer for plaintext; the receives in flight stop meanwhile. */
#define STASH_BYTES (8u * 1024 * 1024)

static void fail_handshake(struct stream *stream, int result)
{
	struct tls_stream *tls = tls_of(stream);

	tls->failed = true;
	stream_raw_recv(stream, RECV_OFF);
	if (tls->failure == TLS_FAILURE_PLAIN)
		tls_answer_plain_http(stream);
	tls_flush_now(stream); /* the alert */
	tls->handshaking = false;
	stream_tell_secured(stream, result);
}

static void fail_closed(struct stream *stream, int result)
{
	struct tls_stream *tls = tls_of(stream);

	tls->failure = TLS_FAILURE_CLOSED;
	tls->error_text = "closed in the handshake";
	fail_handshake(stream, result < 0 ? result : STREAM_CUT);
}

static void handshake(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);
	size_t before;
	int ret, error;

	/* Without SSL_MODE_AUTO_RETRY it may come back with more to be read. */
	do {
		before = tls->in.len;
		ERR_clear_error();
		ret = SSL_do_handshake(tls->ssl);
		if (ret == 1) {
			tls->handshaking = false;
			stream_tell_secured(stream, 0);
			return;
		}
		error = SSL_get_error(tls->ssl, ret);
	} while (error == SSL_ERROR_WANT_READ && tls->in.len && tls->in.len < before);
	if (error == SSL_ERROR_WANT_READ && !tls->in.len)
		return;
	tls_note_error(tls);
	fail_handshake(stream, tls->bio_error ? tls->bio_error : -EPROTO);
}

/* ---- receiving ---- */

static void tell_recv(struct stream *stream, struct recv_buf *buf, int len_or_result)
{
	struct tls_stream *tls = tls_of(stream);

	if (buf)
		tls->told_data = true;
	else
		tls->ended = true;
	if (!buf || tls->want == RECV_ONE)
		tls->want = RECV_OFF;
	stream_tell_recv(stream, buf, len_or_result);
}

/* A record that brought nothing to the owner. */
void tls_count_barren(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);
	uint64_t now_ms = loop_now_ms(stream->loop);

	if (now_ms - tls->barren_since_ms > TLS_BARREN_WINDOW_MS) {
		tls->barren_since_ms = now_ms;
		tls->barren = 0;
	}
	if (++tls->barren <= TLS_BARREN_MAX)
		return;
	tls->failed = true;
	tls->failure = TLS_FAILURE_OTHER;
	tls->error_text = "too many records without data";
}

/* False: nothing more can be read now. */
static bool read_failed(struct stream *stream, int ret, bool *ret_end)
{
	struct tls_stream *tls = tls_of(stream);

	switch (SSL_get_error(tls->ssl, ret)) {
	case SSL_ERROR_WANT_READ:
		/* Without SSL_MODE_AUTO_RETRY it comes back after each record of that kind. */
		if (tls->in.len)
			tls_count_barren(stream);
		return tls->in.len && !tls->failed;
	case SSL_ERROR_ZERO_RETURN:
		*ret_end = true;
		return false;
	default:
		tls_note_error(tls);
		return false;
	}
}

/* Decrypts what there is and tells the owner. Leaves tls->in where no buffer can be had. */
static void decrypt(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);
	struct recv_buf *buf = NULL;
	bool end = false, more = true;
	size_t filled = 0, got;

	while (more && (tls->in.len || SSL_pending(tls->ssl) > 0)) {
		int ret;

		if (!buf)
			buf = stream_take_buf(stream);
		if (!buf)
			return;
		ERR_clear_error();
		ret = SSL_read_ex(tls->ssl, buf->data + filled, buf->size_bytes - filled, &got);
		if (ret != 1)
			more = read_failed(stream, ret, &end);
		/* OpenSSL would answer with its next write of data, which never comes. */
		if (tls->layer.sends_raw &&
		    SSL_get_key_update_type(tls->ssl) != SSL_KEY_UPDATE_NONE)
			tls->rekey = true;
		if (tls->rekey)
			more = false;
		if (ret != 1)
			continue;
		filled += got;
		if (filled == buf->size_bytes) {
			tell_recv(stream, TAKE_PTR(buf), (int)filled);
			filled = 0;
			more = more && stream_is_open(stream);
		}
	}
	if (filled)
		tell_recv(stream, TAKE_PTR(buf), (int)filled);
	if (buf)
		stream_put_buf_back(buf);
	if (!stream_is_open(stream))
		return;
	if (tls->failed) {
		tls_flush_now(stream); /* the alert */
		tell_recv(stream, NULL, tls->bio_error ? tls->bio_error : -EPROTO);
	} else if (end) {
		tell_recv(stream, NULL, 0);
	} else if (tls->rekey) {
		tls_end_for_rekey(stream);
	}
}

void tls_end_for_rekey(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->ended || tls->direct)
		return;
	if (tls->worker->on_ktls)
		tls->worker->on_ktls(tls->worker->on_ktls_arg, TLS_KTLS_REKEY);
	(void)tls_notify(tls);
	tls_flush_now(stream);
	tls->send_result = -EKEYEXPIRED;
	tell_recv(stream, NULL, -EKEYEXPIRED);
}

bool tls_can_read(const struct stream *stream)
{
	const struct tls_stream *tls = tls_of(stream);

	return stream_is_open(stream) && !tls->failed && !tls->ended && !tls->rekey;
}

/* As far as tls->in goes. */
static void take_input(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->handshaking) {
		handshake(stream);
		if (tls->handshaking || !tls_can_read(stream))
			return;
		decrypt(stream);
		/* With the request in hand, the ticket can go with its answer. */
		tls->ticket_waits = stream_is_open(stream) && tls->out_first && tls->told_data &&
				    !tls->layer.sends_raw;
		return;
	}
	if (tls_can_read(stream))
		decrypt(stream);
}

/* Is there something that only a buffer is missing for? */
static bool is_starved(const struct stream *stream)
{
	const struct tls_stream *tls = tls_of(stream);

	return tls_can_read(stream) && !tls->handshaking &&
	       (tls->in.len || SSL_pending(tls->ssl) > 0);
}

static void take_stash(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	tls->in = buf_str(&tls->stash);
	take_input(stream);
	tls->starved = is_starved(stream);
	if (tls->starved) {
		buf_consume(&tls->stash, tls->stash.len - tls->in.len);
		stream_layer_starve(stream);
	} else {
		buf_done(&tls->stash);
	}
	tls->in = STR_NULL;
}

/* No buffer for the plaintext: the ciphertext's becomes one. */
static void stash_input(struct stream *stream, struct recv_buf *buf)
{
	struct tls_stream *tls = tls_of(stream);

	if (!tls->starved)
		buf_init(&tls->stash, STASH_BYTES);
	tls->starved = true;
	if (buf_append(&tls->stash, tls->in) < 0) {
		tls->bio_error = -ENOMEM;
		tls_note_error(tls);
	}
	tls->in = STR_NULL;
	recv_buf_unref(buf);
	if (!tls->failed)
		take_stash(stream);
	else
		tell_recv(stream, NULL, -ENOMEM);
}

void tls_take_bytes(struct stream *stream, struct str bytes)
{
	struct tls_stream *tls = tls_of(stream);

	tls->in = bytes;
	take_input(stream);
	if (is_starved(stream))
		stash_input(stream, NULL);
	else
		tls->in = STR_NULL;
}

void tls_tell_end(struct stream *stream, int result)
{
	tell_recv(stream, NULL, result);
}

static void take_end(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	if (!tls->raw_ended || !tls_can_read(stream) || tls->starved)
		return;
	if (tls->handshaking)
		fail_closed(stream, tls->raw_result);
	else
		tell_recv(stream, NULL, tls->raw_result < 0 ? tls->raw_result : STREAM_CUT);
}

static void choose_raw_recv(struct stream *stream)
{
	const struct tls_stream *tls = tls_of(stream);
	enum recv_mode mode = tls->want;

	if (tls->handshaking)
		mode = RECV_MANY;
	if (tls->failed || tls->ended || tls->starved || tls->rekey || tls->rx == TLS_RX_STOPPING)
		mode = RECV_OFF;
	stream_raw_recv(stream, mode);
}

static void after_input(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	take_end(stream);
	if (!stream_is_open(stream))
		return;
	if (tls->rx == TLS_RX_KNOWN && tls->rx_bytes >= TLS_RX_BYTES && !tls->starved &&
	    tls->want != RECV_OFF && tls_can_read(stream)) {
		tls->rx = TLS_RX_STOPPING;
		stream_layer_queue(stream);
	}
	choose_raw_recv(stream);
	if (tls->out_first)
		stream_layer_queue(stream);
}

/* The kernel has decrypted it. */
static void pass_recv(struct stream *stream, struct recv_buf *buf)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->want == RECV_ONE)
		tls->want = RECV_OFF;
	stream_pass_recv(stream, buf);
}

static void on_raw_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct tls_stream *tls = tls_of(stream);

	tls->ticket_waits = false;
	if (tls->rx == TLS_RX_KERNEL && tls_can_read(stream) &&
	    (buf || (result == -EIO && tls_ktls_take_record(stream)))) {
		if (buf)
			pass_recv(stream, buf);
	} else if (!buf) {
		tls->raw_ended = true;
		tls->raw_result = result;
	} else if (!tls_can_read(stream)) {
		recv_buf_unref(buf);
	} else {
		tls->in = recv_buf_str(buf);
		if (!tls->starved)
			take_input(stream);
		if (tls->starved || is_starved(stream)) {
			stash_input(stream, buf);
		} else {
			tls->in = STR_NULL;
			recv_buf_unref(buf);
		}
	}
	after_input(stream);
}

/* ---- the rest of the layer ---- */

static void recv_start(struct stream *stream, enum recv_mode mode)
{
	struct tls_stream *tls = tls_of(stream);

	tls->want = (uint8_t)mode;
	choose_raw_recv(stream);
}

static void work(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->starved) {
		take_stash(stream);
		after_input(stream);
	}
	if (tls->rx == TLS_RX_STOPPING && !tls->starved && stream_raw_recv_is_off(stream)) {
		tls_ktls_change_over(stream);
		after_input(stream);
	}
	if (!tls->begun) {
		tls->begun = true;
		choose_raw_recv(stream);
		if (!SSL_is_server(tls->ssl))
			handshake(stream);
	}
	if (stream_is_open(stream))
		tls_flush(stream);
}

static const char *error_text(const struct stream *stream)
{
	return tls_of(stream)->error_text;
}

static void tls_free(struct stream_layer *layer)
{
	struct tls_stream *tls = CONTAINER_OF(layer, struct tls_stream, layer);
	struct tls_worker *worker = tls->worker;

	SSL_free(tls->ssl);
	tls_out_clear(tls);
	buf_done(&tls->stash);
	OPENSSL_cleanse(&tls->rx_keys, sizeof(tls->rx_keys));
	worker->memory_bytes -= sizeof(*tls) + TLS_SSL_BYTES;
	worker->streams--;
	free(tls);
}

static const struct stream_layer_ops tls_ops = {
	.send = tls_layer_send,
	.send_is_open = tls_layer_send_is_open,
	.send_more = tls_layer_send_more,
	.send_file = tls_layer_send_file,
	.send_pipe = tls_ktls_send_pipe,
	.recv_start = recv_start,
	.shutdown_send = tls_layer_shutdown_send,
	.closing = tls_layer_closing,
	.error_text = error_text,
	.work = work,
	.on_recv = on_raw_recv,
	.on_sent = tls_layer_on_sent,
	.free = tls_free,
};

int tls_stream_start(struct tls_worker *worker, struct stream *stream, SSL *ssl)
{
	struct tls_stream *tls = calloc(1, sizeof(*tls));
	BIO *bio = tls ? tls_bio_new(worker, tls) : NULL;

	if (!bio) {
		free(tls);
		SSL_free(ssl);
		return -ENOMEM;
	}
	tls->layer.ops = &tls_ops;
	tls->stream = stream;
	tls->worker = worker;
	tls->ssl = ssl;
	if (SSL_get_options(ssl) & SSL_OP_ENABLE_KTLS)
		tls->ktls = TLS_KTLS_NO_CIPHER; /* unless OpenSSL asks for it */
	tls->handshaking = true;
	SSL_set_bio(ssl, bio, bio);
	/* Buffers are kept only with something in them. */
	SSL_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
	worker->memory_bytes += sizeof(*tls) + TLS_SSL_BYTES;
	worker->streams++;
	stream_layer_set(stream, &tls->layer);
	return 0;
}

int tls_stream_give(struct stream *stream, struct str bytes)
{
	struct tls_stream *tls = tls_of(stream);

	if (!tls->starved)
		buf_init(&tls->stash, STASH_BYTES);
	tls->starved = true; /* work() takes it */
	stream_layer_queue(stream);
	return buf_append(&tls->stash, bytes) < 0 ? -ENOMEM : 0;
}

SSL *tls_stream_ssl(const struct stream *stream)
{
	return tls_of(stream)->ssl;
}

enum tls_failure tls_stream_failure(const struct stream *stream)
{
	return tls_of(stream)->failure;
}

enum tls_ktls_use tls_stream_ktls(const struct stream *stream)
{
	return (enum tls_ktls_use)tls_of(stream)->ktls;
}
