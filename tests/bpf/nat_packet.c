#include "tests/bpf/nat_packet.h"

#include <assert.h>
#include <string.h>

#include "tests/bpf/wire.h"

#define ETH_BYTES 14

/* The ones' complement sum, folded after each step, of bytes in their order on the wire. */
static uint32_t add_bytes(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		if (sum > 0xffff)
			sum -= 0xffff;
	}
	return sum;
}

static const uint8_t *ip_of(const struct nat_packet *packet)
{
	return packet->bytes + ETH_BYTES;
}

static size_t ip_header_bytes(const struct nat_packet *packet)
{
	return (size_t)(ip_of(packet)[0] & 15) * 4;
}

static const uint8_t *transport_of(const struct nat_packet *packet)
{
	return ip_of(packet) + ip_header_bytes(packet);
}

static uint32_t transport_sum(const struct nat_packet *packet)
{
	size_t len = get16(ip_of(packet) + 2) - ip_header_bytes(packet);
	uint8_t pseudo[12];

	memcpy(pseudo, ip_of(packet) + 12, 8);
	pseudo[8] = 0;
	pseudo[9] = ip_of(packet)[9];
	put16(pseudo + 10, len);
	return add_bytes(add_bytes(0, pseudo, sizeof(pseudo)), transport_of(packet), len);
}

static void finish_ip(struct nat_packet *packet)
{
	uint8_t *ip = packet->bytes + ETH_BYTES;

	put16(ip + 2, packet->len - ETH_BYTES);
	put16(ip + 10, 0);
	put16(ip + 10, 0xffff - add_bytes(0, ip, ip_header_bytes(packet)));
}

static uint8_t *begin(struct nat_packet *packet, uint32_t src, uint32_t dst, uint8_t protocol,
		      size_t bytes)
{
	static const uint8_t eth[ETH_BYTES] = {2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0};
	uint8_t *ip = packet->bytes + ETH_BYTES;

	assert(ETH_BYTES + 20 + bytes <= sizeof(packet->bytes) - 8);
	memset(packet, 0, sizeof(*packet));
	memcpy(packet->bytes, eth, sizeof(eth));
	packet->len = ETH_BYTES + 20 + bytes;
	ip[0] = 0x45;
	put16(ip + 4, 4711);
	ip[8] = 64;
	ip[9] = protocol;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	finish_ip(packet);
	return ip + 20;
}

static void put_payload(uint8_t *at, size_t len, uint32_t seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(seed * 31 + i * 7 + 1);
}

void nat_packet_tcp(struct nat_packet *packet, const struct nat_tuple4 *tuple, uint8_t flags,
		    size_t payload_bytes)
{
	uint8_t *tcp = begin(packet, tuple->src, tuple->dst, 6, 20 + payload_bytes);

	put16(tcp, tuple->src_port);
	put16(tcp + 2, tuple->dst_port);
	put32(tcp + 4, 0x01020304);
	put32(tcp + 8, flags & NAT_ACK ? 0x0a0b0c0d : 0);
	tcp[12] = 5 << 4;
	tcp[13] = flags;
	put16(tcp + 14, 65000);
	put_payload(tcp + 20, payload_bytes, tuple->src_port);
	put16(tcp + 16, 0xffff - transport_sum(packet));
}

static uint8_t *put_udp(struct nat_packet *packet, const struct nat_tuple4 *tuple,
			size_t payload_bytes)
{
	uint8_t *udp = begin(packet, tuple->src, tuple->dst, 17, 8 + payload_bytes);

	put16(udp, tuple->src_port);
	put16(udp + 2, tuple->dst_port);
	put16(udp + 4, 8 + payload_bytes);
	return udp;
}

static void put_udp_checksum(struct nat_packet *packet, uint8_t *udp)
{
	uint32_t sum = 0xffff - transport_sum(packet);

	put16(udp + 6, sum ? sum : 0xffff);
}

void nat_packet_udp(struct nat_packet *packet, const struct nat_tuple4 *tuple, bool has_checksum,
		    size_t payload_bytes)
{
	uint8_t *udp = put_udp(packet, tuple, payload_bytes);

	put_payload(udp + 8, payload_bytes, tuple->src_port);
	if (has_checksum)
		put_udp_checksum(packet, udp);
}

void nat_packet_udp_word(struct nat_packet *packet, const struct nat_tuple4 *tuple, uint16_t word)
{
	uint8_t *udp = put_udp(packet, tuple, 2);

	put16(udp + 8, word);
	put_udp_checksum(packet, udp);
}

void nat_packet_icmp_error(struct nat_packet *packet, uint32_t src, uint32_t dst, uint8_t type,
			   uint8_t code, const struct nat_packet *about, size_t quoted_bytes)
{
	uint8_t *icmp;

	assert(quoted_bytes <= about->len - ETH_BYTES);
	icmp = begin(packet, src, dst, 1, 8 + quoted_bytes);
	icmp[0] = type;
	icmp[1] = code;
	if (type == 3 && code == 4)
		put16(icmp + 6, 1400);
	memcpy(icmp + 8, ip_of(about), quoted_bytes);
	put16(icmp + 2, 0xffff - add_bytes(0, icmp, 8 + quoted_bytes));
}

void nat_packet_add_options(struct nat_packet *packet)
{
	uint8_t *ip = packet->bytes + ETH_BYTES;

	memmove(ip + 28, ip + 20, packet->len - ETH_BYTES - 20);
	memset(ip + 20, 1, 8); /* no operation */
	ip[0] = 0x47;
	packet->len += 8;
	finish_ip(packet);
}

void nat_packet_set_ttl(struct nat_packet *packet, uint8_t ttl)
{
	packet->bytes[ETH_BYTES + 8] = ttl;
	finish_ip(packet);
}

void nat_packet_set_fragment(struct nat_packet *packet, uint16_t fragment)
{
	put16(packet->bytes + ETH_BYTES + 6, fragment);
	finish_ip(packet);
}

void nat_packet_cut(struct nat_packet *packet, size_t len)
{
	packet->len = len;
	if (len >= ETH_BYTES + 20)
		finish_ip(packet);
}

uint8_t nat_packet_ttl(const struct nat_packet *packet)
{
	return ip_of(packet)[8];
}

void nat_packet_read(const struct nat_packet *packet, struct nat_tuple4 *ret_tuple)
{
	const uint8_t *ip = ip_of(packet), *transport = transport_of(packet);

	*ret_tuple = (struct nat_tuple4){
		.src = get32(ip + 12),
		.dst = get32(ip + 16),
		.src_port = get16(transport),
		.dst_port = get16(transport + 2),
		.protocol = ip[9],
	};
}

void nat_packet_quoted(const struct nat_packet *packet, struct nat_packet *ret_quoted)
{
	size_t at = (size_t)(transport_of(packet) - packet->bytes) + 8;

	memset(ret_quoted, 0, sizeof(*ret_quoted));
	ret_quoted->len = packet->len - at + ETH_BYTES;
	memcpy(ret_quoted->bytes + ETH_BYTES, packet->bytes + at, packet->len - at);
}

bool nat_packet_lacks_checksum(const struct nat_packet *packet)
{
	return get16(transport_of(packet) + 6) == 0;
}

bool nat_packet_has_twin_checksum(const struct nat_packet *packet)
{
	return get16(transport_of(packet) + 6) == 0xffff;
}

const char *nat_packet_wrong(const struct nat_packet *packet)
{
	const uint8_t *ip = ip_of(packet);
	size_t len = get16(ip + 2);
	struct nat_packet quoted;

	if (add_bytes(0, ip, ip_header_bytes(packet)) != 0xffff)
		return "IP checksum";
	switch (ip[9]) {
	case 6:
	case 17:
		if (len + ETH_BYTES > packet->len)
			return NULL; /* quoted in part */
		if (ip[9] == 17 && nat_packet_lacks_checksum(packet))
			return NULL;
		return transport_sum(packet) == 0xffff ? NULL : "transport checksum";
	case 1:
		if (add_bytes(0, transport_of(packet), len - ip_header_bytes(packet)) != 0xffff)
			return "ICMP checksum";
		nat_packet_quoted(packet, &quoted);
		return nat_packet_wrong(&quoted) ? "checksum of the quoted packet" : NULL;
	default:
		return "unknown protocol";
	}
}
