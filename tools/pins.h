/*
 * pins: the kernel part without a daemon.
 *
 * Opens what is pinned under --bpffs. A change takes the owner lock of --state-dir first and holds
 * it until pins_close(), so that no daemon starts meanwhile; a lock that is held means that one
 * lives which does not answer on our socket. Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_PINS_H
#define SLUICE_TOOLS_PINS_H

#include <stdbool.h>

#include "kern/dataplane.h"
#include "tools/cli.h"
#include "tools/output.h"

struct pins {
	struct dataplane *dataplane;
	int lock_fd; /* -1: opened for reading */
};

#define PINS_NONE ((struct pins){NULL, -1})

/* Errors are reported. Call after admin_try() said that there is no daemon. */
int pins_open(struct cli *cli, bool read_only, struct pins *ret_pins);
void pins_close(struct pins *pins);
/* Takes the lock alone, for work on what is pinned as a whole. */
int pins_lock(struct cli *cli, int *ret_fd);
/* Is there a directory of ours? */
bool pins_exist(const struct cli *cli);

/*
 * {"interfaces": [...], "steering": {"attached": BOOL, "tuples": [...]}}; the interfaces in the
 * form of the admin API.
 */
int pins_describe(struct cli *cli, const struct pins *pins, json_t **ret_doc);
extern const struct output_column interface_columns[];

/* Line for the text form: what follows is without a daemon. */
void pins_print_note(struct cli *cli);

#endif
