/*
 * pinned: the kernel part without a daemon.
 *
 * Opens what is pinned under --bpffs. A change takes the owner lock of --state-dir first and holds
 * it until pinned_close(), so that no daemon starts meanwhile; a lock that is held means that one
 * lives which does not answer on our socket. Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_PINNED_H
#define SLUICE_TOOLS_PINNED_H

#include <stdbool.h>

#include "kern/dataplane.h"
#include "tools/cli.h"
#include "tools/output.h"

struct pinned {
	struct dataplane *dataplane;
	int lock_fd; /* -1: opened for reading */
};

#define PINNED_NONE ((struct pinned){NULL, -1})

/* Errors are reported. Call after client_try() said that there is no daemon. */
int pinned_open(struct cli *cli, bool read_only, struct pinned *ret_pins);
void pinned_close(struct pinned *pins);
/* Takes the lock alone, for work on what is pinned as a whole. */
int pinned_lock(struct cli *cli, int *ret_fd);
/* Is there a directory of ours? */
bool pinned_exist(const struct cli *cli);
/*
 * Asks a daemon, if one lives, for its status and takes its directory, which it knows better than
 * our default. ret_status stays NULL without one.
 */
int pinned_find(struct cli *cli, json_t **ret_status, bool *ret_lives);
/* After pinned_find(): -ENOENT, reported, when there is no directory of ours. */
int pinned_require(struct cli *cli, bool lives);

/*
 * {"interfaces": [...], "steering": {"attached": BOOL, "tuples": [...]}}; the interfaces in the
 * form of the admin API.
 */
int pinned_describe(struct cli *cli, const struct pinned *pins, json_t **ret_doc);
extern const struct output_column interface_columns[];
/* {"reasons": [...]} in the form of the admin API, from the pins. */
int pinned_counters(struct cli *cli, json_t **ret_doc);

/* Line for the text form: what follows is without a daemon. */
void pinned_print_note(struct cli *cli);

#endif
