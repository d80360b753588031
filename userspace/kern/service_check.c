#include "kern/service_check.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

/* 4in6 is there, 6in4 is not. */
int service_check_families(const struct service_conf *conf,
			   const struct service_backend **ret_backend, struct error *err)
{
	bool has_v6 = false;
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < conf->address_count; i++)
		has_v6 |= conf->addresses[i].family == AF_INET6;
	for (unsigned int i = 0; i < conf->backend_count && has_v6; i++) {
		if (conf->backends[i].addr.family == AF_INET6)
			continue;
		*ret_backend = &conf->backends[i];
		return error_set(err, -EINVAL,
				 "backend '%s' has an IPv4 address, but the service has an IPv6 "
				 "address; ipip takes IPv6 packets to IPv6 backends only",
				 ip_addr_format(&conf->backends[i].addr, text, sizeof(text)));
	}
	return 0;
}

static bool is_all_v4(const struct service_conf *conf)
{
	for (unsigned int i = 0; i < conf->address_count; i++)
		if (conf->addresses[i].family != AF_INET)
			return false;
	for (unsigned int i = 0; i < conf->backend_count; i++)
		if (conf->backends[i].addr.family != AF_INET)
			return false;
	return true;
}

/* A port of a service that answers to a source address could come to, too. */
static bool takes_answers(const struct nat_source *source, const struct service_conf *conf)
{
	bool is_here = false;

	for (unsigned int i = 0; i < conf->address_count; i++)
		is_here |= conf->addresses[i].family == AF_INET &&
			   !memcmp(conf->addresses[i].bytes, &source->addr_be,
				   sizeof(source->addr_be));
	for (unsigned int i = 0; i < conf->port_count && is_here; i++)
		if (conf->ports[i].first <= source->port_last &&
		    conf->ports[i].last >= source->port_first)
			return true;
	return false;
}

static int check_ports(const struct service_conf *conf, const struct service_backend **ret_backend,
		       struct error *err)
{
	bool is_nat = conf->forward == SL_FORWARD_NAT, is_one_port;

	is_one_port = conf->port_count == 1 && conf->ports[0].first == conf->ports[0].last;
	for (unsigned int i = 0; i < conf->backend_count; i++) {
		if (!conf->backends[i].port || (is_nat && is_one_port))
			continue;
		*ret_backend = &conf->backends[i];
		return error_set(err, -EINVAL,
				 is_nat ? "a backend's port needs a service of one port"
					: "a backend's port is for forward: nat; ipip delivers "
					  "packets as they came");
	}
	return 0;
}

int service_check_nat(const struct service_conf *conf, const struct nat_source *sources,
		      unsigned int source_count, const struct service_backend **ret_backend,
		      struct error *err)
{
	int r;

	*ret_backend = NULL;
	if (conf->forward == SL_FORWARD_NAT && !source_count)
		return error_set(err, -EINVAL,
				 "forward: nat needs 'dataplane.nat.addresses', the addresses that "
				 "backends shall see as their clients");
	if (conf->forward == SL_FORWARD_NAT && !is_all_v4(conf))
		return error_set(err, -EINVAL,
				 "forward: nat is for IPv4 addresses and backends; ipip does IPv6");
	r = check_ports(conf, ret_backend, err);
	for (unsigned int i = 0; i < source_count && !r; i++)
		if (takes_answers(&sources[i], conf))
			r = error_set(err, -EINVAL,
				      "has an address of 'dataplane.nat' and a port of its range "
				      "%u-%u; narrow 'dataplane.nat.ports'",
				      sources[i].port_first, sources[i].port_last);
	return r;
}

/* ---- places ---- */

static bool ports_meet(const struct service_conf *left, const struct service_conf *right)
{
	if (left->protocol && right->protocol && left->protocol != right->protocol)
		return false;
	for (unsigned int i = 0; i < left->port_count; i++)
		for (unsigned int j = 0; j < right->port_count; j++) {
			/* A port by itself goes before any range. */
			bool single = left->ports[i].first == left->ports[i].last;
			bool other = right->ports[j].first == right->ports[j].last;

			if (single == other && left->ports[i].first <= right->ports[j].last &&
			    right->ports[j].first <= left->ports[i].last)
				return true;
		}
	return false;
}

const struct ip_addr *service_shared_place(const struct service_conf *left,
					   const struct service_conf *right)
{
	for (unsigned int i = 0; i < left->address_count; i++)
		for (unsigned int j = 0; j < right->address_count; j++)
			if (ip_addr_equal(&left->addresses[i], &right->addresses[j]))
				return ports_meet(left, right) ? &left->addresses[i] : NULL;
	return NULL;
}

bool service_meets_tuple(const struct service_conf *conf, const struct steer_tuple *tuple,
			 char *buf, size_t buf_len)
{
	if (conf->protocol == IPPROTO_UDP)
		return false;
	for (unsigned int i = 0; i < conf->address_count; i++) {
		if (!ip_prefix_contains(&tuple->prefix, &conf->addresses[i]))
			continue;
		for (unsigned int j = 0; j < conf->port_count; j++) {
			const struct service_ports *ports = &conf->ports[j];
			uint16_t port =
				ports->first > tuple->port_first ? ports->first : tuple->port_first;

			if (port > ports->last || port > tuple->port_last)
				continue;
			(void)service_backend_format(&conf->addresses[i], port, buf, buf_len);
			return true;
		}
	}
	return false;
}
