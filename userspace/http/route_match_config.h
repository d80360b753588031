/*
 * route_match_config: the `match` section of a route: hosts, path, methods, headers and query.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_HTTP_ROUTE_MATCH_CONFIG_H
#define SLUICE_HTTP_ROUTE_MATCH_CONFIG_H

#include "conf/field.h"
#include "http/route.h"

/* Tables whose target is struct route. */
extern const struct field route_match_fields[];
extern const unsigned int route_match_field_count;

/* Lower-case letters, digits, '-' and '_' in labels of 1 to 63, or an IP address as in a URL. */
bool route_host_is_valid(struct str host);

#endif
