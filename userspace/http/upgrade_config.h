/* upgrade_config: names of protocols in the configuration of routes. See http/upgrade.h. */
#ifndef SLUICE_HTTP_UPGRADE_CONFIG_H
#define SLUICE_HTTP_UPGRADE_CONFIG_H

#include "conf/field.h"

/* One name, or a list of them, in lower case and in the arena. 0 or -EINVAL with errors reported.
 */
int upgrade_tokens_read(const struct field_context *context, const struct conf_node *node,
			const char *what, struct str **ret_tokens, unsigned int *ret_count);
/* Exactly one. */
int upgrade_token_read(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct str *ret_token);

#endif
