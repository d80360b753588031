/* wire: numbers of the PROXY protocol, for the two files of this folder. */
#ifndef SLUICE_PROTO_PROXY_PROTOCOL_WIRE_H
#define SLUICE_PROTO_PROXY_PROTOCOL_WIRE_H

#include "proto/proxy_protocol/proxy_protocol.h"

#define PROXY_V1_BEGIN	    "PROXY "
#define PROXY_V2_SIGNATURE  "\r\n\r\n\0\r\nQUIT\n"
#define PROXY_V2_HEAD_BYTES 16

enum proxy_command { PROXY_COMMAND_LOCAL, PROXY_COMMAND_PROXY };

/* Address family in the upper half, transport in the lower one (1: a stream). */
enum proxy_family {
	PROXY_FAMILY_NONE = 0x00,
	PROXY_FAMILY_TCP4 = 0x11,
	PROXY_FAMILY_TCP6 = 0x21,
	PROXY_FAMILY_UNIX = 0x31,
};
#define PROXY_TCP4_BYTES 12
#define PROXY_TCP6_BYTES 36
#define PROXY_UNIX_BYTES 216

enum proxy_tlv {
	PROXY_TLV_ALPN = 0x01,
	PROXY_TLV_AUTHORITY = 0x02,
	PROXY_TLV_CRC32C = 0x03,
	PROXY_TLV_NOOP = 0x04,
	PROXY_TLV_UNIQUE_ID = 0x05,
	PROXY_TLV_SSL = 0x20,
	PROXY_TLV_SSL_VERSION = 0x21,
	PROXY_TLV_SSL_CN = 0x22,
	PROXY_TLV_SSL_CIPHER = 0x23,
	PROXY_TLV_SSL_SIGNATURE = 0x24,
	PROXY_TLV_SSL_KEY = 0x25,
	PROXY_TLV_NETNS = 0x30,
};
#define PROXY_TLV_HEAD_BYTES 3
#define PROXY_SSL_HEAD_BYTES 5
#define PROXY_TEXT_MAX	     255 /* of names; no DNS name or protocol id is longer */

#endif
