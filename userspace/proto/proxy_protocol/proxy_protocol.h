/*
 * proxy_protocol: the header by which a proxy tells, before the first byte of a connection that it
 * passes on, whose connection it was (HAProxy's PROXY protocol, versions 1 and 2). Sans-IO.
 *
 *   v1   "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"                     at most 107 bytes
 *   v2   signature (12) │ version, command │ family, transport │ length (2) │ addresses │ TLVs
 *
 * Strict: whatever the specification lets a receiver drop is refused, so are a TLV or one inside of
 * PP2_TYPE_SSL that is given twice or does not fit, a checksum that does not match and values that
 * are none. TLVs of other types are skipped. LOCAL (the proxy's own connection), UNKNOWN and
 * families without IP addresses are well-formed and name nobody; their contents are passed over.
 * Thread rule: pure functions.
 */
#ifndef SLUICE_PROTO_PROXY_PROTOCOL_H
#define SLUICE_PROTO_PROXY_PROTOCOL_H

#include "base/addr.h"

#define PROXY_HEADER_MAX    4096 /* the longest that is read, TLVs included */
#define PROXY_V1_MAX	    107	 /* by the specification */
#define PROXY_UNIQUE_ID_MAX 128

/* symbol, text */
#define PROXY_ERRORS(X)                                                                            \
	X(ABSENT, "no PROXY header")                                                               \
	X(V1, "malformed PROXY header of version 1")                                               \
	X(VERSION, "PROXY header of a version other than 1 and 2")                                 \
	X(COMMAND, "PROXY header with an unknown command")                                         \
	X(FAMILY, "PROXY header with an unknown address family or transport")                      \
	X(TOO_LONG, "PROXY header too long")                                                       \
	X(ADDRESSES, "PROXY header without room for its addresses")                                \
	X(TLV, "PROXY header with a malformed TLV")                                                \
	X(TLV_TWICE, "PROXY header that has a TLV twice")                                          \
	X(CHECKSUM, "PROXY header with a wrong checksum")

enum proxy_error {
	PROXY_OK,
#define X(symbol, text) PROXY_E_##symbol,
	PROXY_ERRORS(X)
#undef X
		PROXY_ERROR_COUNT
};

const char *proxy_error_text(enum proxy_error error);

/* Both of one family, or none. */
struct proxy_addresses {
	struct ip_addr source, destination; /* family 0: not named */
	uint16_t source_port, destination_port;
};

/* Views lie in the bytes that were parsed; ptr NULL: not given. */
struct proxy_header {
	uint8_t version;
	bool local; /* the proxy speaks for itself, not for a client */
	struct proxy_addresses addresses;

	/* version 2 */
	struct str alpn, authority, unique_id, netns;
	bool has_checksum;
	struct {
		bool given;
		uint8_t client;	 /* bits of PROXY_SSL_* */
		uint32_t verify; /* 0: the client's certificate was verified */
		struct str version, common_name, cipher, signature, key;
	} ssl;
	size_t len; /* what follows belongs to the connection */
};

#define PROXY_SSL_CLIENT       1u /* it came over TLS */
#define PROXY_SSL_CERT_CONN    2u
#define PROXY_SSL_CERT_SESSION 4u

/* 1: whole. 0: more is needed. Negative enum proxy_error. *ret_header is written with 1 only. */
int proxy_header_parse(struct str bytes, struct proxy_header *ret_header);

/* ---- writing ---- */

struct proxy_facts {
	struct proxy_addresses addresses;
	struct str alpn, authority; /* version 2 only; len 0: left out; longer than 255: too */
	bool checksum;		    /* version 2 only */
};

#define PROXY_WRITE_MAX (16 + 36 + 2 * (3 + 255) + 7)

/*
 * Addresses of two families are written as IPv6, without addresses the header names nobody (v1
 * UNKNOWN, v2 UNSPEC). Returns the length.
 */
size_t proxy_header_write(unsigned int version, const struct proxy_facts *facts,
			  char room[PROXY_WRITE_MAX]);

#endif
