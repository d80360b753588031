/*
 * config_fixture: a directory of its own as the working directory, a file sluice.yaml in it, and
 * what came of loading it.
 */
#ifndef SLUICE_TESTS_UNIT_CONFIG_FIXTURE_H
#define SLUICE_TESTS_UNIT_CONFIG_FIXTURE_H

#include "config/config.h"
#include "test_support.h"

struct loaded {
	struct conf_errors *errors;
	struct snapshot *snapshot; /* NULL when the file was refused */
	struct buf printed;	   /* the errors; ends in a NUL that len does not count */
	int result;
};

/* cmocka's setup and teardown: enter and leave a fresh directory, with SLUICE_IO unset. */
int config_enter_dir(void **state);
int config_leave_dir(void **state);

void config_write_file(const char *name, const char *text);
/* Loads sluice.yaml, written anew unless text is NULL. */
void config_load_text(struct loaded *loaded, const char *text, struct registry *registry);
void loaded_done(struct loaded *loaded);

/* The smallest file that loads, for tests that add to it. */
#define CONFIG_HEAD "version: 1\n"
#define CONFIG_WEB  "listeners: [ { name: web, address: \"192.0.2.10:80\", protocol: http } ]\n"
#define CONFIG_UP   "upstreams: [ { name: shop, endpoints: [ 10.0.0.1:8080 ] } ]\n"

#endif
