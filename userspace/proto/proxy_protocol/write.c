#include <stdio.h>

#include "base/crc32c.h"
#include "proto/proxy_protocol/wire.h"

/* As IPv6: "192.0.2.1" becomes "::ffff:192.0.2.1". */
static struct ip_addr map(const struct ip_addr *addr)
{
	struct ip_addr mapped = {.family = AF_INET6, .bytes = {[10] = 0xff, [11] = 0xff}};

	if (addr->family != AF_INET)
		return *addr;
	memcpy(mapped.bytes + 12, addr->bytes, 4);
	return mapped;
}

/* Both of one family; 0: there is nobody to be named. */
static uint8_t settle(const struct proxy_addresses *given, struct proxy_addresses *ret_addresses)
{
	*ret_addresses = *given;
	if (!given->source.family || !given->destination.family)
		return 0;
	if (given->source.family != given->destination.family) {
		ret_addresses->source = map(&given->source);
		ret_addresses->destination = map(&given->destination);
	}
	return ret_addresses->source.family;
}

static size_t write_v1(const struct proxy_facts *facts, char *room)
{
	struct proxy_addresses addresses;
	uint8_t family = settle(&facts->addresses, &addresses);
	char source[ADDR_TEXT_MAX], destination[ADDR_TEXT_MAX];
	int len;

	if (!family) {
		memcpy(room, "PROXY UNKNOWN\r\n", 15);
		return 15;
	}
	(void)ip_addr_format(&addresses.source, source, sizeof(source));
	(void)ip_addr_format(&addresses.destination, destination, sizeof(destination));
	len = snprintf(room, PROXY_WRITE_MAX, "PROXY TCP%c %s %s %u %u\r\n",
		       family == AF_INET ? '4' : '6', source, destination, addresses.source_port,
		       addresses.destination_port);
	return (size_t)len;
}

static char *put_u16(char *pos, size_t number)
{
	pos[0] = (char)(number >> 8);
	pos[1] = (char)number;
	return pos + 2;
}

static char *put_tlv(char *pos, enum proxy_tlv type, struct str value)
{
	*pos++ = (char)type;
	pos = put_u16(pos, value.len);
	memcpy(pos, value.ptr, value.len);
	return pos + value.len;
}

static char *put_addresses(char *pos, const struct proxy_addresses *addresses, size_t len)
{
	memcpy(pos, addresses->source.bytes, len);
	memcpy(pos + len, addresses->destination.bytes, len);
	pos = put_u16(pos + 2 * len, addresses->source_port);
	return put_u16(pos, addresses->destination_port);
}

static size_t write_v2(const struct proxy_facts *facts, char *room)
{
	struct proxy_addresses addresses;
	uint8_t family = settle(&facts->addresses, &addresses);
	char *pos = room + PROXY_V2_HEAD_BYTES;

	memcpy(room, PROXY_V2_SIGNATURE, sizeof(PROXY_V2_SIGNATURE) - 1);
	room[12] = 2 << 4 | PROXY_COMMAND_PROXY;
	room[13] = PROXY_FAMILY_NONE;
	if (family) {
		room[13] = family == AF_INET ? PROXY_FAMILY_TCP4 : PROXY_FAMILY_TCP6;
		pos = put_addresses(pos, &addresses, family == AF_INET ? 4 : 16);
		if (facts->alpn.len && facts->alpn.len <= PROXY_TEXT_MAX)
			pos = put_tlv(pos, PROXY_TLV_ALPN, facts->alpn);
		if (facts->authority.len && facts->authority.len <= PROXY_TEXT_MAX)
			pos = put_tlv(pos, PROXY_TLV_AUTHORITY, facts->authority);
		if (facts->checksum)
			pos = put_tlv(pos, PROXY_TLV_CRC32C, STR("\0\0\0\0"));
	}
	(void)put_u16(room + 14, (size_t)(pos - room) - PROXY_V2_HEAD_BYTES);
	if (family && facts->checksum) {
		uint32_t crc = crc32c(0, str_make(room, (size_t)(pos - room)));

		(void)put_u16(pos - 4, crc >> 16);
		(void)put_u16(pos - 2, crc & 0xffff);
	}
	return (size_t)(pos - room);
}

size_t proxy_header_write(unsigned int version, const struct proxy_facts *facts,
			  char room[PROXY_WRITE_MAX])
{
	return version == 1 ? write_v1(facts, room) : write_v2(facts, room);
}
