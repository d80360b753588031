/*
 * forwarding: who the client is, and the fields by which proxies tell each other.
 *
 *   sender = the peer, or whom the PROXY header of a trusted peer names
 *   sender untrusted:  client = sender; its X-Forwarded-*, Forwarded, Via and their like are
 * dropped sender trusted:    client = walk of X-Forwarded-For from the right, over trusted
 * addresses
 *
 * What goes upstream: X-Forwarded-For (a trusted sender's chain, and the sender), -Proto, -Host,
 * X-Real-IP (the client as found) and Via (appended). Forwarded (RFC 7239) is always removed: two
 * chains that could differ are worse than one. Other forwarding fields of a trusted sender pass.
 * Ours are written after everything else was filtered, so that no Connection field of the client
 * names them away (HARDENING 19-21). Thread rule: the worker's thread; the walk is pure.
 */
#ifndef SLUICE_HTTP_FORWARDING_H
#define SLUICE_HTTP_FORWARDING_H

#include "base/addr.h"
#include "proto/http1/http1.h"

struct exchange;

/* Elements of X-Forwarded-For that are looked at; nobody has more proxies that he trusts. */
#define FORWARDING_HOPS_MAX 64

struct trusted_proxies {
	struct ip_prefix *prefixes;
	unsigned int count;
};

bool trusted_proxies_have(const struct trusted_proxies *trusted, const struct ip_addr *addr);

/* "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:80". -EINVAL. */
int forwarding_parse_hop(struct str text, struct ip_addr *ret_addr);
/*
 * The first address, from the right, that is not trusted; the last trusted one before what is no
 * address or the end of the chain.
 */
struct ip_addr forwarding_walk(const struct http_head *request, const struct ip_addr *peer,
			       const struct trusted_proxies *trusted);

/* From the head: exchange->client, ->sender_trusted, ->public_scheme and ->forwarded_host. */
void forwarding_identify(struct exchange *exchange);
/* The authority that the client used, as far as we know. "": none. */
struct str forwarding_public_authority(const struct exchange *exchange);

/* Does a field of the request go on as it is, as far as forwarding is concerned? */
bool forwarding_field_passes(const struct exchange *exchange, const struct http_field *field);
/* Our fields. They take at most FORWARDING_BYTES more than the fields and Host of the request. */
#define FORWARDING_BYTES 320
void forwarding_write(const struct exchange *exchange, struct http1_writer *writer);

#endif
