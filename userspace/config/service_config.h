/*
 * service_config: the `services` section: L4 services of the kernel part.
 * Thread rule: the control thread, or --check.
 */
#ifndef SLUICE_CONFIG_SERVICE_CONFIG_H
#define SLUICE_CONFIG_SERVICE_CONFIG_H

#include "conf/names.h"
#include "http/listener.h"
#include "kern/service.h"

/* As listeners_read(). */
int services_read(const struct field_context *context, const struct conf_node *node,
		  struct arena *scratch, struct name_table *ret_names,
		  struct service_conf **ret_services, unsigned int *ret_count);
/* Two services, or a service and a listener, on the same address, port and protocol are errors. */
void services_check_places(const struct field_context *context, const struct service_conf *services,
			   unsigned int count, const struct listener_conf *listeners,
			   unsigned int listener_count);
/* The elements, into an open list. */
void services_write(struct conf_writer *writer, const struct service_conf *services,
		    unsigned int count);

#endif
