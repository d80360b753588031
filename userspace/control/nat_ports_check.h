/*
 * nat_ports_check: would this host's own connections take source ports of forward mode nat?
 *
 * Where an address of `dataplane.nat` is also the host's, XDP takes the answers to its ports for
 * those of flows: a connection that the host makes from such a port never hears of its peer. The
 * kernel chooses from net.ipv4.ip_local_port_range, without net.ipv4.ip_local_reserved_ports.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_NAT_PORTS_CHECK_H
#define SLUICE_CONTROL_NAT_PORTS_CHECK_H

#include "base/str.h"
#include "kern/nat_pool.h"

/*
 * The first port of the source that the kernel may choose: 1 to 65535. 0: there is none, also when
 * the texts, as they are in /proc/sys, cannot be understood.
 */
uint16_t nat_ports_find_taken(const struct nat_source *source, struct str range,
			      struct str reserved);
/* A warning for each address of the pool that is the host's and has such ports. */
void nat_ports_check_log(const struct nat_pool_conf *nat);

#endif
