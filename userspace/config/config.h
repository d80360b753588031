/*
 * config: a YAML file becomes a snapshot; a snapshot becomes YAML again.
 *
 * Every section is read by a table of fields (conf/field.h) that lives beside the struct it fills:
 * node and dataplane here, upstreams, listeners and routes in their own *_config.c. All errors are
 * collected; references are resolved when everything is read; runtime objects are acquired last,
 * when nothing but memory can fail. Thread rule: the control thread, or --check.
 */
#ifndef SLUICE_CONFIG_CONFIG_H
#define SLUICE_CONFIG_CONFIG_H

#include "base/registry.h"
#include "conf/conf.h"
#include "http/snapshot.h"

#define CONFIG_ENGINE_ENV "SLUICE_IO" /* overrides node.io when it is set */

/*
 * registry NULL: no runtime objects are made (--check): `endpoint` and `stats` stay NULL.
 * worker_count: rows of the runtime objects' counters; 0: config_worker_count().
 * -EINVAL with errors collected, or another negative errno, collected too.
 */
int config_load(const char *path, struct registry *registry, unsigned int worker_count,
		struct conf_errors *errors, struct snapshot **ret_snapshot);

/* As config_load(), for text that would stand in the file `path`; nothing is read from there. */
int config_load_string(struct str text, const char *path, struct registry *registry,
		       unsigned int worker_count, struct conf_errors *errors,
		       struct snapshot **ret_snapshot);

/* node.workers, or one per CPU that this process may run on. */
unsigned int config_worker_count(const struct snapshot *snapshot);

/*
 * Appends the effective configuration: YAML with every default filled in, which config_load() reads
 * to the same snapshot. File names are absolute in it. 0 or a negative errno.
 */
int config_print_effective(const struct snapshot *snapshot, struct buf *out);

#endif
