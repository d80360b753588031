#include "tests/bpf/packet_sums.h"

#include <string.h>

#include "tests/bpf/wire.h"

#define PROTOCOL_ICMP	  1
#define PROTOCOL_IP4	  4
#define PROTOCOL_TCP	  6
#define PROTOCOL_UDP	  17
#define PROTOCOL_IP6	  41
#define PROTOCOL_FRAGMENT 44
#define PROTOCOL_AH	  51
#define PROTOCOL_ICMP6	  58

/* The ones' complement sum (RFC 1071), folded after each step. */
static uint32_t add_bytes(uint32_t sum, const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? bytes[i] : (uint32_t)bytes[i] << 8;
		sum = sum > 0xffff ? sum - 0xffff : sum;
	}
	return sum;
}

static bool is_extension(uint8_t protocol)
{
	static const uint8_t known[] = {0, 43, PROTOCOL_FRAGMENT, PROTOCOL_AH, 60, 135, 139, 140};

	return memchr(known, protocol, sizeof(known)) != NULL;
}

static void find_quote(const uint8_t *bytes, struct packet_view *view)
{
	const uint8_t *type = bytes + view->l4_at;

	if (view->l4_at + 8 >= view->end)
		return;
	if (view->protocol == PROTOCOL_ICMP && !view->is_v6 &&
	    (*type == 3 || *type == 11 || *type == 12))
		view->quote_at = view->l4_at + 8;
	else if (view->protocol == PROTOCOL_ICMP6 && view->is_v6 && *type >= 1 && *type <= 4)
		view->quote_at = view->l4_at + 8;
}

static bool view_ip4(const uint8_t *bytes, size_t len, struct packet_view *view)
{
	const uint8_t *ip = bytes + view->ip_at;
	size_t header_len, total_len;

	if (len - view->ip_at < 20)
		return false;
	header_len = (size_t)(ip[0] & 15) * 4;
	total_len = get16(ip + 2);
	if (header_len < 20 || view->ip_at + header_len > len || total_len < header_len)
		return false;
	view->protocol = ip[9];
	view->l4_at = view->ip_at + header_len;
	view->end = view->ip_at + total_len;
	view->is_cut = (get16(ip + 6) & 0x3fff) != 0;
	return true;
}

static bool view_ip6(const uint8_t *bytes, size_t len, struct packet_view *view)
{
	const uint8_t *ip = bytes + view->ip_at;

	if (len - view->ip_at < 40)
		return false;
	view->is_v6 = true;
	view->protocol = ip[6];
	view->l4_at = view->ip_at + 40;
	view->end = view->l4_at + get16(ip + 4);
	while (is_extension(view->protocol) && !view->is_cut) {
		const uint8_t *ext = bytes + view->l4_at;
		size_t ext_len;

		if (view->l4_at + 8 > len || view->l4_at + 8 > view->end)
			break;
		if (view->protocol == PROTOCOL_FRAGMENT) {
			ext_len = 8;
			view->is_cut = (get16(ext + 2) & 0xfff9) != 0;
		} else if (view->protocol == PROTOCOL_AH) {
			ext_len = ((size_t)ext[1] + 2) * 4;
		} else {
			ext_len = ((size_t)ext[1] + 1) * 8;
		}
		view->protocol = ext[0];
		view->l4_at += ext_len;
	}
	return true;
}

struct packet_view packet_view_ip(const uint8_t *bytes, size_t len, size_t ip_at)
{
	struct packet_view view = {.ip_at = ip_at};
	bool is_known = false;

	if (ip_at < len && bytes[ip_at] >> 4 == 4)
		is_known = view_ip4(bytes, len, &view);
	else if (ip_at < len && bytes[ip_at] >> 4 == 6)
		is_known = view_ip6(bytes, len, &view);
	if (!is_known)
		return (struct packet_view){0};
	if (view.end > len) {
		view.end = len;
		view.is_cut = true;
	}
	if (view.l4_at > view.end) {
		view.l4_at = view.end;
		view.is_cut = true;
	}
	if (!view.is_cut)
		find_quote(bytes, &view);
	return view;
}

struct packet_view packet_view_frame(const uint8_t *bytes, size_t len)
{
	size_t at = 12;

	for (int tags = 0; tags <= 2 && at + 2 < len; tags++, at += 4) {
		uint32_t type = get16(bytes + at);

		if ((type == 0x0800 && bytes[at + 2] >> 4 == 4) ||
		    (type == 0x86dd && bytes[at + 2] >> 4 == 6))
			return packet_view_ip(bytes, len, at + 2);
		if (type != 0x8100 && type != 0x88a8 && type != 0x9100)
			break;
	}
	return (struct packet_view){0};
}

enum packet_sum packet_sum_header(const uint8_t *bytes, const struct packet_view *view)
{
	const uint8_t *ip = bytes + view->ip_at;

	if (!view->ip_at || view->is_v6)
		return PACKET_SUM_NONE;
	return add_bytes(0, ip, (size_t)(ip[0] & 15) * 4) == 0xffff ? PACKET_SUM_RIGHT
								    : PACKET_SUM_WRONG;
}

/* Where the checksum is, and how much it covers; 0: there is none. */
static size_t find_transport(const uint8_t *bytes, const struct packet_view *view, size_t *ret_len)
{
	size_t len = view->end - view->l4_at, udp_len;

	if (!view->ip_at || view->is_cut)
		return 0;
	*ret_len = len;
	switch (view->protocol) {
	case PROTOCOL_TCP:
		return len >= 20 ? view->l4_at + 16 : 0;
	case PROTOCOL_UDP:
		udp_len = len >= 8 ? get16(bytes + view->l4_at + 4) : 0;
		*ret_len = udp_len;
		return udp_len >= 8 && udp_len <= len ? view->l4_at + 6 : 0;
	case PROTOCOL_ICMP:
		return !view->is_v6 && len >= 4 ? view->l4_at + 2 : 0;
	case PROTOCOL_ICMP6:
		return view->is_v6 && len >= 4 ? view->l4_at + 2 : 0;
	default:
		return 0;
	}
}

static uint32_t transport_sum(const uint8_t *bytes, const struct packet_view *view, size_t len)
{
	uint8_t tail[4] = {0, view->protocol, (uint8_t)(len >> 8), (uint8_t)len};
	uint32_t sum = 0;

	if (view->is_v6)
		sum = add_bytes(sum, bytes + view->ip_at + 8, 32);
	else
		sum = add_bytes(sum, bytes + view->ip_at + 12, 8);
	sum = add_bytes(sum, tail, sizeof(tail));
	if (view->protocol == PROTOCOL_ICMP) /* the only one without a pseudo header */
		sum = 0;
	return add_bytes(sum, bytes + view->l4_at, len);
}

enum packet_sum packet_sum_transport(const uint8_t *bytes, const struct packet_view *view)
{
	size_t len, at = find_transport(bytes, view, &len);

	if (!at || (view->protocol == PROTOCOL_UDP && get16(bytes + at) == 0))
		return PACKET_SUM_NONE;
	return transport_sum(bytes, view, len) == 0xffff ? PACKET_SUM_RIGHT : PACKET_SUM_WRONG;
}

const char *packet_sums_wrong(const uint8_t *bytes, size_t len)
{
	struct packet_view view = packet_view_frame(bytes, len);

	/* Each begins behind the one before, so this ends. */
	while (view.ip_at) {
		if (packet_sum_header(bytes, &view) == PACKET_SUM_WRONG)
			return "IP header";
		if (packet_sum_transport(bytes, &view) == PACKET_SUM_WRONG)
			return "transport";
		if (view.quote_at)
			view = packet_view_ip(bytes, view.end, view.quote_at);
		else if (!view.is_cut &&
			 (view.protocol == PROTOCOL_IP4 || view.protocol == PROTOCOL_IP6))
			view = packet_view_ip(bytes, view.end, view.l4_at);
		else
			return NULL;
	}
	return NULL;
}

void packet_sums_seal(uint8_t *bytes, size_t len)
{
	struct packet_view view = packet_view_frame(bytes, len);
	size_t covered, at = find_transport(bytes, &view, &covered);
	uint8_t *ip = bytes + view.ip_at;
	uint32_t sum;

	if (view.ip_at && !view.is_v6) {
		put16(ip + 10, 0);
		put16(ip + 10, 0xffff - add_bytes(0, ip, (size_t)(ip[0] & 15) * 4));
	}
	if (!at)
		return;
	put16(bytes + at, 0);
	sum = 0xffff - transport_sum(bytes, &view, covered);
	put16(bytes + at, sum || view.protocol != PROTOCOL_UDP ? sum : 0xffff);
}

uint64_t packet_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state * 0x2545f4914f6cdd1d;
}

void packet_random_fill(uint64_t *state, uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(packet_random(state) >> 56);
}
