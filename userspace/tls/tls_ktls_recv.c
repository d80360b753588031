/*
 * The way in when the kernel decrypts: of TLS 1.2, and of connections that receive much.
 *
 * OpenSSL would have the kernel begin in the handshake, but by then a receive may have taken bytes
 * that the kernel would need. So it goes on by itself, and we keep the keys and count the records
 * it reads. When the change is worth it receiving stops; the rest of the record that OpenSSL has
 * begun is read here, byte by byte as it needs them; and the next record is the kernel's.
 */
#include "tls/tls_internal.h"

#define ALERT_RECORD  21
#define ALERT_WARNING 1
#define CLOSE_NOTIFY  0

void tls_ktls_keep(struct tls_stream *tls, const void *info)
{
	if (!tls_ktls_support()->receives || !tls_ktls_keys_copy(&tls->rx_keys, info))
		return;
	tls->rx = TLS_RX_KNOWN;
	tls->rx_head_len = 0;
	tls->rx_left = 0;
	tls->rx_records = tls->rx_bytes = 0;
}

void tls_ktls_track(struct tls_stream *tls, const char *data, size_t len)
{
	tls->rx_bytes += len;
	while (len) {
		size_t part = 1;

		if (tls->rx_left) {
			part = MIN(len, (size_t)tls->rx_left);
			tls->rx_left -= (uint32_t)part;
			tls->rx_records += !tls->rx_left;
		} else {
			tls->rx_head[tls->rx_head_len++] = (unsigned char)*data;
			if (tls->rx_head_len == sizeof(tls->rx_head)) {
				tls->rx_left = (uint32_t)tls->rx_head[3] << 8 | tls->rx_head[4];
				tls->rx_head_len = 0;
				tls->rx_records += !tls->rx_left;
			}
		}
		data += part;
		len -= part;
	}
}

/* To the end of the head, or of the record, that OpenSSL is reading; 0: it has just read one. */
static size_t bytes_missing(const struct tls_stream *tls)
{
	if (tls->rx_left)
		return tls->rx_left;
	return tls->rx_head_len ? sizeof(tls->rx_head) - tls->rx_head_len : 0;
}

/* False: the rest is not there, or there is nothing to go on with. */
static bool finish_record(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);
	char *room = tls->worker->gather;
	size_t missing;

	while ((missing = bytes_missing(tls))) {
		ssize_t got = recv(stream->fd, room, MIN(missing, (size_t)TLS_RECORD_BYTES),
				   MSG_DONTWAIT);

		if (got <= 0) /* an end, too, is the engine's to find */
			return false;
		tls_take_bytes(stream, str_make(room, (size_t)got));
		if (!tls_can_read(stream) || tls->starved)
			return false;
	}
	return !SSL_pending(tls->ssl);
}

void tls_ktls_change_over(struct stream *stream)
{
	struct tls_stream *tls = tls_of(stream);

	tls->rx = TLS_RX_KNOWN;
	tls->rx_bytes = 0;
	if (!tls_can_read(stream) || tls->raw_ended || !finish_record(stream))
		return;
	if (tls_ktls_start_receiving(stream->fd, &tls->rx_keys, tls->rx_records) < 0) {
		tls->rx = TLS_RX_OPENSSL; /* not asked again */
		return;
	}
	tls->rx = TLS_RX_KERNEL;
	tls->layer.recvs_records = true;
	stream_raw_recv_again(stream);
	if (tls->worker->on_ktls)
		tls->worker->on_ktls(tls->worker->on_ktls_arg, TLS_KTLS_RECEIVES);
}

/* ---- records that are no data ---- */

static void fail(struct stream *stream, const char *text)
{
	struct tls_stream *tls = tls_of(stream);

	tls->failed = true;
	tls->failure = TLS_FAILURE_OTHER;
	tls->error_text = text;
	tls_tell_end(stream, -EPROTO);
}

bool tls_ktls_take_record(struct stream *stream)
{
	unsigned char room[256];
	uint8_t type;
	ssize_t len = tls_ktls_record_get(stream->fd, &type, room, sizeof(room));

	if (len < 0 && len != -EAGAIN)
		return false;
	stream_raw_recv_again(stream);
	if (len < 0)
		return true;
	if (type != ALERT_RECORD || len != 2)
		fail(stream, "a message that has no place here");
	else if (room[1] == CLOSE_NOTIFY)
		tls_tell_end(stream, 0);
	else if (room[0] != ALERT_WARNING)
		fail(stream, "the peer ended it by an alert");
	else
		tls_count_barren(stream);
	if (stream_is_open(stream) && tls_of(stream)->failed && !tls_of(stream)->ended)
		tls_tell_end(stream, -EPROTO); /* too many of them */
	return true;
}
