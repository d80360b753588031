/* The way out when the kernel encrypts: data as it is, and OpenSSL's own records between it. */
#include "tls/tls_internal.h"

#define ALERT_RECORD 21

bool tls_ktls_take(struct tls_stream *tls, const void *info)
{
	struct stream *stream = tls->stream;

	/* All that is sent from here on gets encrypted: what was written before goes first. */
	tls_flush_now(stream);
	if (tls->out_first) {
		tls->ktls = TLS_KTLS_BUSY;
		return false;
	}
	if (tls_ktls_start(stream->fd, info) < 0) {
		tls->ktls = TLS_KTLS_REFUSED;
		return false;
	}
	tls->ktls = TLS_KTLS_SENDS;
	tls->layer.sends_raw = true;
	return true;
}

/* ---- records ---- */

static int send_record_now(struct stream *stream, struct tls_chunk *chunk)
{
	struct tls_stream *tls = tls_of(stream);
	ssize_t sent;

	/*
	 * The last word is followed by the socket's end, and what the kernel has encrypted but not
	 * yet queued would be lost with that: it is pushed by a send that finds enough room.
	 */
	tls_ktls_record_set(&tls->record, chunk->record_type, chunk->data, chunk->len);
	if (chunk->record_type == ALERT_RECORD && !stream_raw_is_writable(stream))
		return -EAGAIN;
	sent = stream_raw_send_msg_now(stream, &tls->record.msg);
	return sent < 0 ? (int)sent : 0;
}

static void fail_sends(struct tls_stream *tls, int result)
{
	/* Whoever sends next is told; receiving tells what it finds itself. */
	tls->send_result = result;
	tls_out_clear(tls);
}

/* False: one waits for room. */
static bool send_records(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	while (tls->out_first && !tls->out_flight) {
		int r = send_record_now(stream, tls->out_first);

		if (r == -EAGAIN) {
			tls->out_flight = 1;
			stream_raw_send_msg(stream, &tls->record.msg);
		} else if (r < 0) {
			fail_sends(tls, r);
		} else {
			tls_out_pop(tls);
		}
	}
	return !tls->out_flight;
}

/* ---- the owner's send ---- */

/* Can it begin from within the owner's call? */
static bool may_begin(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	return !tls->send_result && !tls->rekey && !tls->direct && send_records(stream) &&
	       !tls->send_result;
}

static void wait_for_turn(struct stream *stream, const struct iovec *iov, unsigned int count)
{
	struct tls_stream *tls = tls_of(stream);

	tls_send_begin(tls, iov, count);
	tls->waiting = true;
	stream_layer_queue(stream);
}

int tls_ktls_send(struct stream *stream, const struct iovec *iov, unsigned int count, bool quiet)
{
	struct tls_stream *tls = tls_of(stream);

	if (LIKELY(may_begin(stream))) {
		tls->direct = true;
		stream_raw_send(stream, iov, count, quiet);
		return 0;
	}
	wait_for_turn(stream, iov, count);
	tls->quiet = quiet;
	return 0;
}

int tls_ktls_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
		       int file_fd, uint64_t offset, uint64_t len)
{
	struct tls_stream *tls = tls_of(stream);

	if (LIKELY(may_begin(stream))) {
		tls->direct = true;
		stream_raw_send_file(stream, iov, count, file_fd, offset, len);
		return 0;
	}
	wait_for_turn(stream, iov, count);
	tls->file_fd = file_fd;
	tls->file_offset = offset;
	tls->file_bytes = len;
	return 0;
}

int tls_ktls_send_pipe(struct stream *stream, const struct iovec *iov, unsigned int count,
		       struct splice_pipe *pipe, size_t len)
{
	struct tls_stream *tls = tls_of(stream);

	if (LIKELY(may_begin(stream))) {
		tls->direct = true;
		stream_raw_send_pipe(stream, iov, count, pipe, len);
		return 0;
	}
	wait_for_turn(stream, iov, count);
	tls->pipe = pipe;
	tls->file_bytes = len;
	return 0;
}

static void begin_waiting(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	tls->waiting = false;
	tls->direct = true;
	if (tls->pipe)
		stream_raw_send_pipe(stream, tls->iov, tls->iov_count, tls->pipe, tls->file_bytes);
	else if (tls->file_bytes)
		stream_raw_send_file(stream, tls->iov, tls->iov_count, tls->file_fd,
				     tls->file_offset, tls->file_bytes);
	else
		stream_raw_send(stream, tls->iov, tls->iov_count, tls->quiet);
}

void tls_ktls_flush(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	while (stream_is_open(stream) && !tls->direct && send_records(stream)) {
		if (!tls->waiting) {
			if (tls->shut_after)
				stream_raw_shutdown(stream);
			tls->shut_after = false;
			return;
		}
		if (!tls->send_result && !tls->rekey) {
			begin_waiting(stream);
			return;
		}
		tls->waiting = false;
		if (!tls->send_result)
			tls->send_result = -EKEYEXPIRED;
		tls_finish_send(stream);
	}
}

void tls_ktls_flush_now(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	/* Also beside the owner's send: records stay whole. */
	while (tls->out_first && !tls->out_flight) {
		int r = send_record_now(stream, tls->out_first);

		if (r == -EAGAIN)
			return;
		if (r < 0)
			fail_sends(tls, r);
		else
			tls_out_pop(tls);
	}
}

void tls_ktls_on_sent(struct stream *stream, int64_t result)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->out_flight) { /* a record */
		tls->out_flight = 0;
		if (result < 0)
			fail_sends(tls, (int)result);
		else
			tls_out_pop(tls);
	} else {
		tls->direct = false;
		if (result < 0)
			fail_sends(tls, (int)result);
		stream_tell_sent(stream, result);
		if (tls->rekey && stream_is_open(stream))
			tls_end_for_rekey(stream);
	}
	if (stream_is_open(stream))
		tls_ktls_flush(stream);
}
