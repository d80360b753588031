/*
 * service_check: what makes a service impossible beyond its single values, for the configuration
 * and for people alike. Sentences say what is wrong, not of which service. Thread rule: none.
 */
#ifndef SLUICE_KERN_SERVICE_CHECK_H
#define SLUICE_KERN_SERVICE_CHECK_H

#include "kern/nat_pool.h"
#include "kern/service.h"
#include "kern/steer.h"

/* Families of addresses and backends. *ret_backend: the one at fault. -EINVAL. */
int service_check_families(const struct service_conf *conf,
			   const struct service_backend **ret_backend, struct error *err);
/* Forward mode nat and its source addresses. *ret_backend: the one at fault, or NULL. -EINVAL. */
int service_check_nat(const struct service_conf *conf, const struct nat_source *sources,
		      unsigned int source_count, const struct service_backend **ret_backend,
		      struct error *err);
/* An address that both have with a port that both have, or NULL. */
const struct ip_addr *service_shared_place(const struct service_conf *left,
					   const struct service_conf *right);
/* True, and the place in `buf`, when a listener with this tuple would lose connections to it. */
bool service_meets_tuple(const struct service_conf *conf, const struct steer_tuple *tuple,
			 char *buf, size_t buf_len);

#endif
