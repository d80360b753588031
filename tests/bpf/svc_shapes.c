#include "tests/bpf/svc_shapes.h"

#include <linux/bpf.h>
#include <netinet/in.h>

#include "tests/bpf/packet_sums.h"

#define OVER4 "10.1.0.11"
#define OVER6 "fd01::11"

#define TO4  .backend = OVER4
#define TO46 .backend = OVER6
#define TO6  .backend = OVER6, .is_v6 = true

const struct svc_shape svc_shapes[] = {
	{"tcp4", TO4, .protocol = IPPROTO_TCP, .reason = SL_REASON_SERVICE},
	{"udp4", TO4, .protocol = IPPROTO_UDP, .reason = SL_REASON_SERVICE},
	{"tcp4 in 6", TO46, .protocol = IPPROTO_TCP, .reason = SL_REASON_SERVICE},
	{"udp4 in 6", TO46, .protocol = IPPROTO_UDP, .reason = SL_REASON_SERVICE},
	{"tcp4 with options", TO4, .protocol = IPPROTO_TCP, .options_bytes = 40,
	 .reason = SL_REASON_SERVICE},
	{"udp4 with options in 6", TO46, .protocol = IPPROTO_UDP, .options_bytes = 4,
	 .reason = SL_REASON_SERVICE},
	{"tcp4 with a tag", TO4, .protocol = IPPROTO_TCP, .tags = 1, .reason = SL_REASON_SERVICE},
	{"udp4 with two tags", TO4, .protocol = IPPROTO_UDP, .tags = 2,
	 .reason = SL_REASON_SERVICE},
	{"udp4 with two tags in 6", TO46, .protocol = IPPROTO_UDP, .tags = 2,
	 .reason = SL_REASON_SERVICE},
	{"first fragment 4", TO4, .protocol = IPPROTO_UDP, .part = SVC_FIRST_FRAGMENT,
	 .reason = SL_REASON_SERVICE},
	{"first fragment 4, tcp", TO4, .protocol = IPPROTO_TCP, .part = SVC_FIRST_FRAGMENT,
	 .reason = SL_REASON_SERVICE},
	{"later fragment 4", TO4, .protocol = IPPROTO_UDP, .part = SVC_LATER_FRAGMENT,
	 .reason = SL_REASON_SERVICE},
	{"later fragment 4 in 6, tagged", TO46, .protocol = IPPROTO_UDP, .tags = 1,
	 .part = SVC_LATER_FRAGMENT, .reason = SL_REASON_SERVICE},
	{"tcp6", TO6, .protocol = IPPROTO_TCP, .reason = SL_REASON_SERVICE},
	{"udp6", TO6, .protocol = IPPROTO_UDP, .reason = SL_REASON_SERVICE},
	{"tcp6 with headers", TO6, .protocol = IPPROTO_TCP, .options_bytes = 8,
	 .reason = SL_REASON_SERVICE},
	{"udp6 with headers", TO6, .protocol = IPPROTO_UDP, .options_bytes = 64,
	 .reason = SL_REASON_SERVICE},
	{"tcp6 with two tags", TO6, .protocol = IPPROTO_TCP, .tags = 2,
	 .reason = SL_REASON_SERVICE},
	{"first fragment 6", TO6, .protocol = IPPROTO_UDP, .part = SVC_FIRST_FRAGMENT,
	 .reason = SL_REASON_SERVICE},
	{"first fragment 6 with headers, tcp", TO6, .protocol = IPPROTO_TCP, .options_bytes = 16,
	 .part = SVC_FIRST_FRAGMENT, .reason = SL_REASON_SERVICE},
	{"later fragment 6", TO6, .protocol = IPPROTO_UDP, .part = SVC_LATER_FRAGMENT,
	 .reason = SL_REASON_SERVICE},
	{"later fragment 6 with headers, tagged", TO6, .protocol = IPPROTO_UDP, .tags = 1,
	 .options_bytes = 8, .part = SVC_LATER_FRAGMENT, .reason = SL_REASON_SERVICE},
	{"atomic fragment 6", TO6, .protocol = IPPROTO_TCP, .part = SVC_ATOMIC_FRAGMENT,
	 .reason = SL_REASON_SERVICE},
	{"error 4", TO4, .protocol = IPPROTO_ICMP, .is_error = true,
	 .reason = SL_REASON_SERVICE_ICMP},
	{"error 4 with options in 6", TO46, .protocol = IPPROTO_ICMP, .options_bytes = 8,
	 .is_error = true, .reason = SL_REASON_SERVICE_ICMP},
	{"error 6, tagged", TO6, .protocol = IPPROTO_ICMPV6, .tags = 1, .is_error = true,
	 .reason = SL_REASON_SERVICE_ICMP},
	{"ping 4", TO4, .protocol = IPPROTO_ICMP, .reason = SL_REASON_SERVICE_PING},
	{"ping 4 with options and tags", TO4, .protocol = IPPROTO_ICMP, .tags = 2,
	 .options_bytes = 40, .reason = SL_REASON_SERVICE_PING},
	{"ping 6", TO6, .protocol = IPPROTO_ICMPV6, .reason = SL_REASON_SERVICE_PING},
	{"ping 6 with headers and a tag", TO6, .protocol = IPPROTO_ICMPV6, .tags = 1,
	 .options_bytes = 8, .reason = SL_REASON_SERVICE_PING},
	{"too big 4", TO4, .protocol = IPPROTO_TCP, .is_big = true,
	 .reason = SL_REASON_SERVICE_TOO_BIG},
	{"too big 4 with options and tags", TO4, .protocol = IPPROTO_UDP, .tags = 2,
	 .options_bytes = 40, .is_big = true, .reason = SL_REASON_SERVICE_TOO_BIG},
	{"too big 4 for 6", TO46, .protocol = IPPROTO_UDP, .is_big = true,
	 .reason = SL_REASON_SERVICE_TOO_BIG},
	{"too big 6", TO6, .protocol = IPPROTO_TCP, .is_big = true,
	 .reason = SL_REASON_SERVICE_TOO_BIG},
	{"too big 6 with headers and tags", TO6, .protocol = IPPROTO_UDP, .tags = 2,
	 .options_bytes = 24, .is_big = true, .reason = SL_REASON_SERVICE_TOO_BIG},
};
const size_t svc_shape_count = ARRAY_SIZE(svc_shapes);

bool svc_shape_is_answered(const struct svc_shape *shape)
{
	return shape->reason == SL_REASON_SERVICE_PING ||
	       shape->reason == SL_REASON_SERVICE_TOO_BIG;
}

static void put_ip(const struct svc_shape *shape, enum svc_part part, struct frame *frame)
{
	static const uint16_t fields[] = {
		[SVC_FIRST_FRAGMENT] = FRAME_MORE,
		[SVC_LATER_FRAGMENT] = 1480 / 8,
	};
	static const uint16_t tag_types[] = {0x88a8, 0x8100};

	frame_eth(frame);
	for (unsigned int nth = 0; nth < shape->tags; nth++)
		frame_vlan(frame, tag_types[2 - shape->tags + nth]);
	if (!shape->is_v6) {
		uint16_t field = part == SVC_WHOLE ? 0x4000 : fields[part];

		frame_ip4(frame, SVC_CLIENT4, SVC_VIP4, shape->options_bytes, field);
		return;
	}
	frame_ip6(frame, SVC_CLIENT6, SVC_VIP6);
	if (shape->options_bytes) {
		frame_ip6_ext(frame, IPPROTO_HOPOPTS, 8);
		frame_ip6_ext(frame, IPPROTO_ROUTING, 24);
		frame_ip6_ext(frame, IPPROTO_DSTOPTS, shape->options_bytes);
	}
	if (part != SVC_WHOLE)
		frame_ip6_fragment(frame, part == SVC_LATER_FRAGMENT ? 1480 : 0,
				   part == SVC_FIRST_FRAGMENT);
}

/* A packet of the service to a client, as a router quotes it in an error. */
static void put_error(const struct svc_shape *shape, struct frame *frame)
{
	static const uint8_t head4[8] = {3, 4, [6] = 5, [7] = 120};
	static const uint8_t head6[8] = {2, [6] = 5, [7] = 120};
	struct frame about;
	size_t at;

	frame_eth(&about);
	if (shape->is_v6)
		frame_ip6(&about, SVC_VIP6, SVC_CLIENT6);
	else
		frame_ip4(&about, SVC_VIP4, SVC_CLIENT4, 0, 0);
	frame_udp(&about, SVC_CLIENT_PORT, 20);
	frame_end(&about);
	about.bytes[about.udp_at] = SVC_PORT >> 8;
	about.bytes[about.udp_at + 1] = SVC_PORT & 0xff;
	packet_sums_seal(about.bytes, about.len);
	frame_protocol(frame, shape->protocol);
	at = frame->len;
	frame_payload(frame, 8 + about.len - about.ip_at);
	memcpy(frame->bytes + at, shape->is_v6 ? head6 : head4, 8);
	memcpy(frame->bytes + at + 8, about.bytes + about.ip_at, about.len - about.ip_at);
}

static void fill(struct frame *frame, size_t len, uint64_t *random)
{
	size_t at = frame->len;

	frame_payload(frame, len);
	packet_random_fill(random, frame->bytes + at, len);
}

static void put_transport(const struct svc_shape *shape, enum svc_part part, uint64_t *random,
			  struct frame *frame)
{
	/* A fragment that is not the last has a multiple of eight bytes. */
	size_t payload = part == SVC_FIRST_FRAGMENT ? 8 * (packet_random(random) % 20)
			 : shape->is_big	    ? 1500 + packet_random(random) % 100
						    : packet_random(random) % 200;
	size_t at = frame->len;

	if (part == SVC_LATER_FRAGMENT) {
		frame_protocol(frame, shape->protocol);
		fill(frame, payload, random);
	} else if (shape->is_error) {
		put_error(shape, frame);
	} else if (shape->protocol == IPPROTO_TCP) {
		frame_tcp(frame, SVC_PORT, FRAME_TCP_ACK, part == SVC_FIRST_FRAGMENT ? 12 : 0);
		packet_random_fill(random, frame->bytes + at, 2);
		fill(frame, payload, random);
	} else if (shape->protocol == IPPROTO_UDP) {
		frame_udp(frame, SVC_PORT, payload);
		packet_random_fill(random, frame->bytes + at, 2);
		packet_random_fill(random, frame->bytes + at + 8, payload);
	} else {
		frame_icmp(frame);
		if (shape->is_v6)
			fill(frame, 4, random);
		fill(frame, payload, random);
	}
}

/* Where a fragment header is, from the IP header on. */
static size_t fragment_at(const struct svc_shape *shape)
{
	return 40 + (shape->options_bytes ? 8 + 24 + shape->options_bytes : 0);
}

static void build_part(const struct svc_shape *shape, enum svc_part part, uint64_t *random,
		       struct frame *frame)
{
	put_ip(shape, part, frame);
	if (!shape->is_v6)
		packet_random_fill(random, frame->bytes + frame->ip_at + 4, 2);
	else if (part != SVC_WHOLE)
		packet_random_fill(random, frame->bytes + frame->ip_at + fragment_at(shape) + 4, 4);
	if (!shape->is_error) /* it comes from a router, and what it quotes names the client */
		packet_random_fill(random, frame->bytes + frame->ip_at + (shape->is_v6 ? 20 : 13),
				   shape->is_v6 ? 4 : 3);
	put_transport(shape, part, random, frame);
	frame_end(frame);
	packet_sums_seal(frame->bytes, frame->len);
}

/* Of the client and the number of the datagram, so that the later one belongs to the first. */
static void copy_identity(const struct svc_shape *shape, const struct frame *first,
			  struct frame *later)
{
	const uint8_t *from = first->bytes + first->ip_at;
	uint8_t *to = later->bytes + later->ip_at;

	if (!shape->is_v6) {
		memcpy(to + 4, from + 4, 2);
		memcpy(to + 12, from + 12, 4);
		return;
	}
	memcpy(to + 8, from + 8, 16);
	memcpy(to + fragment_at(shape) + 4, from + fragment_at(shape) + 4, 4);
}

void svc_shape_build(const struct svc_shape *shape, uint64_t *random, struct frame *ret_frame)
{
	struct frame first;

	svc_put_backend(SVC_FIRST, shape->backend, SVC_LO, 1500, SL_BACKEND_LIVE);
	build_part(shape, shape->part, random, ret_frame);
	if (shape->part != SVC_LATER_FRAGMENT)
		return;
	build_part(shape, SVC_FIRST_FRAGMENT, random, &first);
	svc_run(&first, XDP_TX, SL_REASON_SERVICE);
	copy_identity(shape, &first, ret_frame);
	packet_sums_seal(ret_frame->bytes, ret_frame->len);
}
