/*
 * access_log_format: one exchange as one line, as JSON or in the combined format of NCSA httpd.
 *
 * Bytes of a peer never break a line or a JSON document: JSON escapes control bytes and replaces
 * what is no UTF-8 by U+FFFD; combined writes quotes, backslashes, control bytes and bytes above
 * 126 as \xHH. Long values are cut. Thread rule: pure, on the caller's objects.
 */
#ifndef SLUICE_HTTP_ACCESS_LOG_FORMAT_H
#define SLUICE_HTTP_ACCESS_LOG_FORMAT_H

#include "base/addr.h"

enum access_log_format { ACCESS_LOG_JSON, ACCESS_LOG_COMBINED };

/* Bytes of a value that are written; the rest is cut. */
#define ACCESS_LOG_TARGET_MAX 4096
#define ACCESS_LOG_VALUE_MAX  1024 /* of a peer */
#define ACCESS_LOG_NAME_MAX   128  /* of ours */
#define ACCESS_LOG_SNI_MAX    255
#define ACCESS_LOG_SAN_MAX    512
#define ACCESS_LOG_FIXED_MAX  3072 /* keys, numbers, addresses, the reason */
/* More than any line takes, were each byte of each value written as six. */
#define ACCESS_LOG_LINE_MAX                                                                        \
	(6u * (ACCESS_LOG_TARGET_MAX + 4 * ACCESS_LOG_VALUE_MAX + 5 * ACCESS_LOG_NAME_MAX +        \
	       ACCESS_LOG_SNI_MAX + ACCESS_LOG_SAN_MAX) +                                          \
	 ACCESS_LOG_FIXED_MAX)

#define ACCESS_LOG_NEVER UINT64_MAX

/* ptr NULL: there is none. */
struct access_log_entry {
	uint64_t wall_ms;	     /* when the head was complete */
	struct ip_addr client, peer; /* peer is written where it differs */
	struct str listener, route;
	struct str consumer;		 /* whom a policy found the caller to be */
	struct str method, host, target; /* as sent */
	struct str refused_line;	 /* in place of the three where the head was refused */
	uint8_t version_minor;
	bool is_http2;
	uint16_t status; /* 0: no answer was begun */
	const char *reason;
	const char *reason_detail; /* NULL: none */
	uint64_t bytes_in, bytes_out;
	uint64_t duration_us;
	uint64_t first_byte_us; /* ACCESS_LOG_NEVER */

	bool has_upstream; /* and then: */
	struct str upstream, endpoint;
	unsigned int attempts;
	bool reused;
	uint64_t connect_us, head_us; /* ACCESS_LOG_NEVER */

	bool has_tls; /* and then: */
	struct str tls_version, tls_cipher, tls_sni, tls_alpn;
	bool tls_resumed;
	struct str client_san, client_fingerprint; /* ptr NULL: no client certificate */

	struct str user_agent, referer;
};

/* The date and time of the second last written, which most lines share. Zeroed at first. */
struct access_log_clock {
	uint64_t second;   /* of json and combined */
	char json[24];	   /* "2026-01-31T12:00:00." */
	char combined[32]; /* "[31/Jan/2026:12:00:00 +0000]" */
};

/* An upper bound of what access_log_format() writes, quickly found. At most _LINE_MAX. */
size_t access_log_format_bound(const struct access_log_entry *entry);
/* Writes a whole line with its line feed; returns its length. `room` has that many bytes. */
size_t access_log_format(enum access_log_format format, const struct access_log_entry *entry,
			 struct access_log_clock *clock, char *room);

#endif
