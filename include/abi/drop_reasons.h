/*
 * drop_reasons: every verdict of the kernel part, one row each: symbol, name, meaning.
 *
 * Each packet that sl_main sees and each connection that sl_steer decides on ends in exactly one
 * row, and the per-CPU counter of that row moves. Rows are numbered by their place: add at the end
 * of the table only, since the numbers are the keys of the pinned counters. `name` is what people
 * and metrics see. Rows of sl_steer count connections and no bytes.
 *
 * Rule for malformed packets: what claims to be IP and cannot be parsed is dropped with its
 * reason, also from an address on the allow list. What does not claim to be IP passes, counted.
 */
#ifndef SLUICE_ABI_DROP_REASONS_H
#define SLUICE_ABI_DROP_REASONS_H

/* The first row is 0, which parsers return for "go on", so it must be a pass. */
#define SL_REASON_TABLE(ROW)                                                                       \
	ROW(PASS, "pass", "IP packet that no list names")                                          \
	ROW(PASS_FRAGMENT, "pass_fragment", "later IP fragment that no list names")                \
	ROW(PASS_ARP, "pass_arp", "ARP")                                                           \
	ROW(PASS_ETHERTYPE, "pass_ethertype", "neither IP nor ARP")                                \
	ROW(ALLOW, "allow", "source is on the allow list")                                         \
	ROW(DENY, "deny", "source is on the deny list")                                            \
	ROW(ETH_SHORT, "eth_short", "frame ends within the Ethernet header")                       \
	ROW(VLAN_SHORT, "vlan_short", "frame ends within a VLAN tag")                              \
	ROW(VLAN_DEPTH, "vlan_depth", "more than two VLAN tags")                                   \
	ROW(IP4_SHORT, "ip4_short", "frame ends within the IPv4 header")                           \
	ROW(IP4_VERSION, "ip4_version", "IPv4 by ethertype but not by version field")              \
	ROW(IP4_HEADER_LEN, "ip4_header_len", "IPv4 header length below 20 bytes")                 \
	ROW(IP4_TOTAL_LEN, "ip4_total_len", "IPv4 total length below the header or beyond frame")  \
	ROW(IP6_SHORT, "ip6_short", "frame ends within the IPv6 header")                           \
	ROW(IP6_VERSION, "ip6_version", "IPv6 by ethertype but not by version field")              \
	ROW(IP6_PAYLOAD_LEN, "ip6_payload_len", "IPv6 payload length beyond the frame")            \
	ROW(IP6_EXT_SHORT, "ip6_ext_short", "packet ends within an IPv6 extension header")         \
	ROW(IP6_EXT_DEPTH, "ip6_ext_depth", "more than eight IPv6 extension headers")              \
	ROW(FRAGMENT_BAD, "fragment_bad", "IP fragment of impossible offset or length")            \
	ROW(TCP_SHORT, "tcp_short", "packet ends within the TCP header")                           \
	ROW(TCP_HEADER_LEN, "tcp_header_len", "TCP header length below 20 bytes")                  \
	ROW(UDP_SHORT, "udp_short", "packet ends within the UDP header")                           \
	ROW(UDP_LEN, "udp_len", "UDP length below its header or beyond the packet")                \
	ROW(ICMP_SHORT, "icmp_short", "packet ends within the ICMP header")                        \
	ROW(STEER, "steer", "connection handed to the worker of its slot")                         \
	ROW(STEER_OTHER, "steer_other", "connection handed to another worker, its own has none")   \
	ROW(STEER_DEAD_DROP, "steer_dead_drop", "new connection dropped, no listener is alive")    \
	ROW(STEER_DEAD_PASS, "steer_dead_pass", "left to the stack, no listener for too long")     \
	ROW(STEER_REFUSED, "steer_refused", "the kernel refused the listener for this connection") \
	ROW(SERVICE, "service", "forwarded to a backend of an L4 service")                         \
	ROW(SERVICE_PING, "service_ping", "ping to a service address, answered")                   \
	ROW(SERVICE_ICMP, "service_icmp", "ICMP error from the path, forwarded to its backend")    \
	ROW(SERVICE_TOO_BIG, "service_too_big", "answered: too big for the way to the backend")    \
	ROW(SERVICE_TOO_BIG_DROP, "service_too_big_drop",                                          \
	    "too big for the backend, no answer due")                                              \
	ROW(SERVICE_NO_BACKEND, "service_no_backend", "the service has no backend for the packet") \
	ROW(SERVICE_FAMILY, "service_family", "IPv6 packet, but the backend has an IPv4 address")  \
	ROW(SERVICE_FRAGMENT, "service_fragment", "later fragment whose first one was not seen")   \
	ROW(SERVICE_NO_ROUTE, "service_no_route", "no route to the backend")                       \
	ROW(SERVICE_NO_NEIGH, "service_no_neigh", "next hop to the backend is not resolved")       \
	ROW(SERVICE_HEADROOM, "service_headroom", "the driver left no room for an outer header")   \
	ROW(SERVICE_MODE, "service_mode", "forward mode that this program was loaded without")     \
	ROW(NAT_FORWARD, "nat_forward", "packet of a client sent to its backend by NAT")           \
	ROW(NAT_REVERSE, "nat_reverse", "packet of a backend sent to its client by NAT")           \
	ROW(NAT_ICMP, "nat_icmp", "ICMP error about a packet of NAT, passed on to its sender")     \
	ROW(NAT_FULL, "nat_full", "new flow, but no source port is free for it")                   \
	ROW(NAT_FLOW, "nat_flow", "belongs to no flow of NAT that is known, and begins none")      \
	ROW(NAT_REFUSED, "nat_refused", "to a source port of NAT, from who is not its backend")    \
	ROW(NAT_FRAGMENT, "nat_fragment",                                                          \
	    "first fragment for NAT, which later ones cannot follow")                              \
	ROW(NAT_TTL, "nat_ttl", "translated packet whose TTL is over")                             \
	ROW(NAT_NO_ROUTE, "nat_no_route", "no route for a translated packet")                      \
	ROW(NAT_NO_NEIGH, "nat_no_neigh", "next hop of a translated packet is not resolved")       \
	ROW(NAT_NO_FORWARDING, "nat_no_forwarding",                                                \
	    "forwarding is off for the interface of a packet for NAT")

enum sl_reason {
#define SL_REASON_ENUM(symbol, name, meaning) SL_REASON_##symbol,
	SL_REASON_TABLE(SL_REASON_ENUM)
#undef SL_REASON_ENUM
		SL_REASON_COUNT
};

/* Size of the counters' map, a power of two: room for later rows without another map shape. */
#define SL_REASON_MAX 128

_Static_assert(SL_REASON_PASS == 0, "0 means go on");
_Static_assert(SL_REASON_COUNT <= SL_REASON_MAX, "enlarge SL_REASON_MAX and SL_ABI_VERSION");

#endif
