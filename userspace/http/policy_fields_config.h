/*
 * policy_fields_config: names of fields in the configuration of policies. Thread rule: the control
 * thread.
 */
#ifndef SLUICE_HTTP_POLICY_FIELDS_CONFIG_H
#define SLUICE_HTTP_POLICY_FIELDS_CONFIG_H

#include "conf/field.h"

struct field_names {
	struct str *names; /* in lower case */
	unsigned int count;
};

/* One that a policy may set or remove (http/field_edit.h). `what` ends in the key. 0 or -EINVAL. */
int policy_field_check(const struct field_context *context, const struct conf_node *node,
		       struct str name, const char *what);
/* One name or a list of them, each once. 0 or -EINVAL. */
int policy_field_names_read(const struct field_context *context, const struct conf_node *node,
			    const char *what, struct field_names *ret_names);
/* Where there are any. */
void policy_field_names_write(struct conf_writer *writer, const char *key,
			      const struct field_names *names);

#endif
