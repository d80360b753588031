/*
 * http1: HTTP/1.0 and 1.1 messages (RFC 9112) as a sans-IO codec: bytes in, events out.
 *
 *   bytes ──► http1_find_head_end ──► http1_parse_request / _response ──► http_head
 *   bytes ──► http1_body_feed ──► data views ... ──► done (+ trailers)
 *
 * A head is parsed when it is complete and contiguous: first our gate, one linear pass that refuses
 * everything llhttp lets through (HARDENING 1-6), then llhttp, whose reading must agree with ours.
 * Nothing is copied: fields and body data are views into the caller's bytes. Errors are codes of
 * HTTP1_ERRORS with the status to answer. No state is shared; thread rule: one owner.
 */
#ifndef SLUICE_PROTO_HTTP1_H
#define SLUICE_PROTO_HTTP1_H

#include "base/buf.h"
#include "proto/http_head.h"

/* symbol, status for the client when a request had it, text for logs and error bodies */
#define HTTP1_ERRORS(X)                                                                            \
	X(BARE_LF, 400, "line ends in a bare LF")                                                  \
	X(BARE_CR, 400, "CR without LF")                                                           \
	X(CONTROL_BYTE, 400, "control byte in the header")                                         \
	X(REQUEST_LINE, 400, "malformed request line")                                             \
	X(STATUS_LINE, 400, "malformed status line")                                               \
	X(VERSION, 505, "HTTP version not supported")                                              \
	X(TARGET, 400, "malformed request target")                                                 \
	X(FIELD_NAME, 400, "malformed field name")                                                 \
	X(FIELD_COLON, 400, "field line without a colon, or space before it")                      \
	X(OBS_FOLD, 400, "folded field line")                                                      \
	X(FIELD_COUNT, 431, "too many fields")                                                     \
	X(FIELD_BYTES, 431, "field too long")                                                      \
	X(HEAD_BYTES, 431, "header too long")                                                      \
	X(URI_BYTES, 414, "request target too long")                                               \
	X(HOST_MISSING, 400, "Host is missing")                                                    \
	X(HOST_DUPLICATE, 400, "more than one Host")                                               \
	X(HOST_INVALID, 400, "malformed Host")                                                     \
	X(LENGTH_AND_CHUNKED, 400, "Content-Length together with Transfer-Encoding")               \
	X(LENGTH_INVALID, 400, "malformed Content-Length")                                         \
	X(LENGTH_DUPLICATE, 400, "more than one Content-Length")                                   \
	X(TRANSFER_ENCODING, 400, "malformed Transfer-Encoding")                                   \
	X(TRANSFER_UNKNOWN, 501, "Transfer-Encoding other than chunked")                           \
	X(TRANSFER_HTTP10, 400, "Transfer-Encoding in HTTP/1.0")                                   \
	X(CONNECTION_FIELD, 400, "field that belongs to an HTTP/1 connection")                     \
	X(EXPECT, 417, "Expect other than 100-continue")                                           \
	X(CHUNK_SIZE, 400, "malformed chunk size")                                                 \
	X(CHUNK_EXTENSION, 400, "malformed chunk extension")                                       \
	X(CHUNK_EXTENSION_BYTES, 400, "chunk extensions too long")                                 \
	X(CHUNK_END, 400, "chunk does not end in CRLF")                                            \
	X(TRAILER, 400, "malformed trailer")                                                       \
	X(TRUNCATED, 400, "connection closed inside the message")                                  \
	X(NO_MEMORY, 503, "out of memory for the header")                                          \
	X(PARSER, 400, "refused by the parser")

enum http1_error {
	HTTP1_OK,
#define X(symbol, status, text) HTTP1_E_##symbol,
	HTTP1_ERRORS(X)
#undef X
		HTTP1_ERROR_COUNT
};

const char *http1_error_name(enum http1_error error); /* "bare_lf", for logs and counters */
const char *http1_error_text(enum http1_error error);
uint16_t http1_error_status(enum http1_error error);

struct http1_limits {
	uint32_t head_bytes;		/* request line and fields; 0: 32 KiB */
	uint32_t field_bytes;		/* one field line; 0: 16 KiB */
	uint32_t field_count;		/* 0: 100 */
	uint32_t uri_bytes;		/* 0: 8 KiB */
	uint32_t chunk_extension_bytes; /* in one message; 0: 1 KiB */
	uint32_t trailer_bytes;		/* 0: 8 KiB */
};
extern const struct http1_limits http1_limits_default;

/*
 * Looks for the end of a head in bytes that start at its first byte. `*scan` is 0 at first and
 * carries on between calls on the growing bytes. 1: complete, *ret_len bytes with the empty line;
 * 0: more is needed; negative enum http1_error: hopeless already (bare LF, too long, a first line
 * that is longer than any allowed).
 * Up to two empty lines before a request line are part of the head and skipped (RFC 9112 2.2).
 */
int http1_find_head_end(struct str bytes, const struct http1_limits *limits, size_t *scan,
			size_t *ret_len);

/* `head` is a whole head as found above. 0 or negative enum http1_error. */
int http1_parse_request(struct str head, const struct http1_limits *limits, struct arena *arena,
			struct http_head *ret_head);
/*
 * `request_method` decides framing (answers to HEAD have no body; a 2xx to CONNECT neither). 1xx,
 * 204 and 304 have none either: with Transfer-Encoding or a Content-Length other than 0 on 1xx or
 * 204 they are refused.
 */
int http1_parse_response(struct str head, const struct http1_limits *limits,
			 enum http_method request_method, struct arena *arena,
			 struct http_head *ret_head);

/* uri-host [ ":" port ] of Host and of absolute and authority forms, or an RFC 3986 authority. */
struct http1_authority {
	struct str host; /* with the brackets of an IPv6 address */
	bool has_port;
	uint16_t port;
};
/* False when malformed: userinfo, no host, a bad port, a byte no name has, no address in []. */
bool http1_authority_parse(struct str text, struct http1_authority *ret_authority);

/* ---- bodies ---- */

enum http1_body_event {
	HTTP1_BODY_MORE, /* all input consumed, the body goes on */
	HTTP1_BODY_DATA, /* *ret_data is a view of the input; call again with the rest */
	HTTP1_BODY_DONE, /* the message is over; unconsumed input belongs to the next one */
};

struct http1_body {
	enum http_framing framing;
	uint8_t state;
	uint8_t size_digits;
	uint64_t left_bytes; /* of the body (LENGTH) or of the chunk */
	uint64_t data_bytes; /* body bytes given out so far */
	uint32_t extension_bytes;
	const struct http1_limits *limits;
	struct buf trailer; /* raw trailer section as it arrives; no memory without one */
};

/* `limits` must outlive the body. */
void http1_body_init(struct http1_body *body, enum http_framing framing, uint64_t content_length,
		     const struct http1_limits *limits);
void http1_body_done(struct http1_body *body);

/* An event, or negative enum http1_error. Never consumes past the end of the message. */
int http1_body_feed(struct http1_body *body, struct str input, size_t *ret_consumed,
		    struct str *ret_data);
/* The peer closed: HTTP1_BODY_DONE when that is the end (UNTIL_CLOSE), else -HTTP1_E_TRUNCATED. */
int http1_body_eof(struct http1_body *body);
bool http1_body_is_done(const struct http1_body *body);
/* So many bytes of a LENGTH body, at most left_bytes, went another way. True: it is done. */
bool http1_body_skip(struct http1_body *body, uint64_t bytes);
/*
 * After DONE: the trailer fields that passed the gate; forwarding filters them further by
 * http_field_allowed_in_trailer(). Views into body->trailer.
 */
int http1_body_trailers(struct http1_body *body, struct arena *arena,
			struct http_field **ret_fields, unsigned int *ret_count);

/* ---- writing ---- */

/* Appends to fixed room; `overflowed` sticks, also for a name or value that may not be sent. */
struct http1_writer {
	char *pos, *end;
	bool overflowed; /* no room */
	bool invalid;	 /* CR, LF, NUL or a control byte in a name or value (HARDENING 13) */
};

void http1_write_init(struct http1_writer *writer, char *room, size_t room_bytes);
void http1_write_bytes(struct http1_writer *writer, struct str bytes); /* trusted bytes only */
void http1_write_request_line(struct http1_writer *writer, struct str method, struct str target);
/* Reason phrases are ours, by status. */
void http1_write_status_line(struct http1_writer *writer, uint16_t status);
void http1_write_field(struct http1_writer *writer, struct str name, struct str value);
void http1_write_field_u64(struct http1_writer *writer, struct str name, uint64_t value);
void http1_write_end(struct http1_writer *writer); /* the empty line */
const char *http_reason_phrase(uint16_t status);   /* "Unknown" for one we do not know */

#define HTTP1_CHUNK_HEAD_MAX 18
/* "1f\r\n" into out; returns its length. The data is followed by CRLF. */
size_t http1_chunk_head(char out[HTTP1_CHUNK_HEAD_MAX], uint64_t len);

#endif
