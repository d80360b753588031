/* The way out: from the owner's vector or file to records, and from records to the socket. */
#include "tls/tls_internal.h"

#include <openssl/err.h>
#include <unistd.h>

/* A piece of so many bytes is a record of its own, where it lies; shorter ones share one. */
#define TLS_OWN_RECORD_BYTES (12u * 1024)
/* Of plaintext, encrypted at a time: what a slow reader holds. Longer sends go on after it. */
#define ENCRYPT_AT_ONCE_BYTES (64u * 1024)

/* ---- plaintext ---- */

void tls_send_begin(struct tls_stream *tls, const struct iovec *iov, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		tls->iov[i] = iov[i];
	tls->iov_first = 0;
	tls->iov_count = count;
	tls->taken_bytes = 0;
	tls->file_bytes = 0;
	tls->pipe = NULL;
	tls->quiet = false;
}

int tls_layer_send(struct stream *stream, const struct iovec *iov, unsigned int count, bool quiet)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->handshaking)
		return -ENOTCONN;
	if (tls->layer.sends_raw)
		return tls_ktls_send(stream, iov, count, quiet);
	tls_send_begin(tls, iov, count);
	tls->quiet = quiet;
	stream_layer_queue(stream);
	return 0;
}

/* Until the first byte of it is encrypted, here or by the kernel. */
bool tls_layer_send_is_open(const struct stream *stream)
{
	const struct tls_stream *tls = tls_of(stream);

	if (tls->direct)
		return stream_raw_send_is_open(stream);
	return tls->iov_count && !tls->taken_bytes && !tls->file_bytes && !tls->send_result;
}

int tls_layer_send_more(struct stream *stream, const struct iovec *iov, unsigned int count,
			bool quiet)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->direct)
		return stream_raw_send_more(stream, iov, count, quiet);
	if (count > STREAM_IOV_MAX - tls->iov_count)
		return -EINVAL;
	for (unsigned int i = 0; i < count; i++)
		tls->iov[tls->iov_count++] = iov[i];
	tls->quiet = quiet;
	return 0;
}

int tls_layer_send_file(struct stream *stream, const struct iovec *iov, unsigned int count,
			int file_fd, uint64_t offset, uint64_t len)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->handshaking)
		return -ENOTCONN;
	if (tls->layer.sends_raw)
		return tls_ktls_send_file(stream, iov, count, file_fd, offset, len);
	tls_send_begin(tls, iov, count);
	tls->file_fd = file_fd;
	tls->file_offset = offset;
	tls->file_bytes = MIN(len, (uint64_t)STREAM_FILE_AT_ONCE);
	stream_layer_queue(stream);
	return 0;
}

/* So many bytes of the file, at most, into the room. -ENODATA: it ends before its range. */
static ssize_t read_file(struct tls_stream *tls, char *room, size_t room_bytes)
{
	ssize_t got;

	do
		got = pread(tls->file_fd, room, MIN(room_bytes, tls->file_bytes),
			    (off_t)tls->file_offset);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return got < 0 ? -errno : -ENODATA;
	tls->file_offset += (uint64_t)got;
	tls->file_bytes -= (uint64_t)got;
	return got;
}

/*
 * Of a long piece that does not fit, so many bytes that its rest and the long ones behind it can be
 * records of their own; else as many as fit.
 */
static size_t part_to_gather(const struct tls_stream *tls, size_t room_bytes)
{
	const struct iovec *iov = &tls->iov[tls->iov_first];
	bool more = tls->iov_first + 1 < tls->iov_count && iov[1].iov_len >= TLS_OWN_RECORD_BYTES;

	if (iov->iov_len <= room_bytes)
		return iov->iov_len;
	if (more && iov->iov_len > TLS_OWN_RECORD_BYTES)
		return MIN(iov->iov_len - TLS_OWN_RECORD_BYTES, room_bytes);
	return room_bytes;
}

static size_t take_memory(struct tls_stream *tls, char *room, size_t room_bytes)
{
	size_t filled = 0;

	while (tls->iov_first < tls->iov_count && filled < room_bytes) {
		struct iovec *iov = &tls->iov[tls->iov_first];
		size_t part = part_to_gather(tls, room_bytes - filled);

		if (part) /* an empty piece may point nowhere */
			memcpy(room + filled, iov->iov_base, part);
		filled += part;
		iov->iov_base = (char *)iov->iov_base + part;
		iov->iov_len -= part;
		if (iov->iov_len)
			break;
		tls->iov_first++;
	}
	return filled;
}

/* The plaintext of the next record: where it lies if it is long or the last, else gathered. */
static ssize_t next_record(struct tls_stream *tls, const char **ret_data)
{
	char *gather = tls->worker->gather;
	size_t filled;
	ssize_t got;

	if (tls->iov_first < tls->iov_count) {
		struct iovec *iov = &tls->iov[tls->iov_first];
		bool last = tls->iov_first + 1 == tls->iov_count && !tls->file_bytes;
		size_t part = MIN(iov->iov_len, (size_t)TLS_RECORD_BYTES);

		if (part >= TLS_OWN_RECORD_BYTES || last) {
			*ret_data = iov->iov_base;
			iov->iov_base = (char *)iov->iov_base + part;
			iov->iov_len -= part;
			if (!iov->iov_len)
				tls->iov_first++;
			return (ssize_t)part;
		}
	}
	*ret_data = gather;
	filled = take_memory(tls, gather, TLS_RECORD_BYTES);
	while (tls->file_bytes && filled < TLS_RECORD_BYTES) {
		got = read_file(tls, gather + filled, TLS_RECORD_BYTES - filled);
		if (got < 0 && !filled)
			return got;
		if (got < 0)
			break; /* the owner's next send meets it again */
		filled += (size_t)got;
	}
	return (ssize_t)filled;
}

static void encrypt(struct tls_stream *tls)
{
	size_t left = ENCRYPT_AT_ONCE_BYTES;

	while (left && (tls->iov_first < tls->iov_count || tls->file_bytes)) {
		const char *data;
		ssize_t len = next_record(tls, &data);
		size_t written;

		if (len < 0 && !tls->taken_bytes)
			tls->send_result = (int)len;
		if (len < 0)
			return;
		if (len == 0)
			continue;
		ERR_clear_error();
		/* The BIO takes all or fails. */
		if (SSL_write_ex(tls->ssl, data, (size_t)len, &written) != 1) {
			tls_note_error(tls);
			tls->send_result = tls->bio_error ? tls->bio_error : -EPROTO;
			return;
		}
		tls->taken_bytes += len;
		left -= MIN(left, (size_t)len);
	}
}

static bool has_more(const struct tls_stream *tls)
{
	/* With a file it completes with what went out at once. */
	if (tls->file_bytes)
		return !tls->taken_bytes;
	return tls->iov_first < tls->iov_count;
}

/* ---- ciphertext ---- */

void tls_out_pop(struct tls_stream *tls)
{
	struct tls_chunk *chunk = tls->out_first;

	tls->out_first = chunk->next;
	if (!tls->out_first)
		tls->out_last = NULL;
	tls->out_count--;
	tls_chunk_put(tls->worker, chunk);
}

void tls_out_clear(struct tls_stream *tls)
{
	while (tls->out_first)
		tls_out_pop(tls);
	tls->out_flight = 0;
}

static void send_out(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);
	struct iovec iov[STREAM_IOV_MAX];
	unsigned int count = 0;

	for (struct tls_chunk *chunk = tls->out_first; chunk && count < STREAM_IOV_MAX;
	     chunk = chunk->next)
		iov[count++] = (struct iovec){chunk->data, chunk->len};
	tls->out_flight = count;
	stream_raw_send(stream, iov, count,
			tls->quiet && count == tls->out_count && !has_more(tls));
}

void tls_finish_send(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	tls->iov_first = tls->iov_count = 0;
	tls->file_bytes = 0;
	stream_tell_sent(stream, tls->send_result < 0 ? tls->send_result : tls->taken_bytes);
}

void tls_flush(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->layer.sends_raw) {
		tls_ktls_flush(stream);
		return;
	}
	while (stream_is_open(stream) && !tls->out_flight) {
		bool sending = stream_is_sending(stream);

		if (sending && !tls->send_result && has_more(tls)) {
			tls->ticket_waits = false;
			encrypt(tls);
		}
		if (tls->out_first && !tls->ticket_waits) {
			send_out(stream);
			return;
		}
		if (!sending) {
			if (tls->shut_after)
				stream_raw_shutdown(stream);
			tls->shut_after = false;
			return;
		}
		tls_finish_send(stream);
	}
}

void tls_flush_now(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->out_flight)
		return;
	if (tls->layer.sends_raw) {
		tls_ktls_flush_now(stream);
		return;
	}
	while (tls->out_first) {
		struct tls_chunk *chunk = tls->out_first;
		ssize_t sent = stream_raw_send_now(stream, chunk->data, chunk->len);

		if (sent < 0)
			return;
		if ((size_t)sent < chunk->len) {
			memmove(chunk->data, chunk->data + sent, chunk->len - (size_t)sent);
			chunk->len -= (uint32_t)sent;
			return;
		}
		tls_out_pop(tls);
	}
}

void tls_layer_on_sent(struct stream *stream, int64_t result)
{
	struct tls_stream *tls = tls_of(stream);

	if (tls->layer.sends_raw) {
		tls_ktls_on_sent(stream, result);
		return;
	}
	for (; tls->out_flight; tls->out_flight--)
		tls_out_pop(tls);
	if (result < 0) {
		/* Whoever sends next is told; receiving tells what it finds itself. */
		tls->send_result = (int)result;
		tls_out_clear(tls);
	}
	tls_flush(stream);
}

/* ---- ends ---- */

void tls_answer_plain_http(struct stream *stream)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\n"
				     "Content-Type: text/plain\r\n"
				     "Content-Length: 30\r\n"
				     "Connection: close\r\n"
				     "\r\n"
				     "This port speaks HTTPS only.\r\n";

	tls_out_clear(tls_of(stream));
	(void)stream_raw_send_now(stream, answer, sizeof(answer) - 1);
}

bool tls_notify(struct tls_stream *tls)
{
	if (tls->failed || tls->handshaking || tls->notified || tls->send_result)
		return false;
	tls->notified = true;
	ERR_clear_error();
	return SSL_shutdown(tls->ssl) >= 0;
}

void tls_layer_shutdown_send(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	(void)tls_notify(tls);
	tls->ticket_waits = false;
	tls_flush_now(stream);
	if (!tls->out_first) {
		stream_raw_shutdown(stream);
		return;
	}
	tls->shut_after = true;
	stream_layer_queue(stream);
}

void tls_layer_closing(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	/* Behind half a record it would not be understood, and who is gone would answer by RST. */
	if (tls->out_flight || tls->direct || tls->raw_ended)
		return;
	if (tls_notify(tls))
		tls_flush_now(stream);
}
