/*
 * access_loads: long work on the allow and deny lists, between turns of the control loop.
 *
 *   begin ──► OPEN ── parts ──► OPEN ── commit ──► APPLYING ──► SAVING ──► DONE, FAILED
 *               └─ no part for 10 s, or abort: gone                          └─ gone after 60 s
 *
 * One load a list. What was sent is held, at most ACCESS_LOAD_ENTRIES_MAX entries, and applied
 * after the commit alone, whether or not the client stays. Each turn of the loop gets some
 * milliseconds of it, so that others are answered meanwhile. The same turns write overlay.json,
 * also when single changes have made its journal long. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_ACCESS_LOADS_H
#define SLUICE_CONTROL_ACCESS_LOADS_H

#include <stdbool.h>

#include "kern/access_list.h"

struct access_loads;
struct daemon;

int access_loads_new(struct daemon *daemon, struct access_loads **ret_loads);
/* Gives up what is under way; the loop has to turn until it is stopped. NULL allowed, and stopped.
 */
void access_loads_stop(struct access_loads *loads);
bool access_loads_is_stopped(const struct access_loads *loads);
void access_loads_free(struct access_loads *loads);

/* After a change of one entry: the journal may have become long. */
void access_loads_check_journal(struct access_loads *loads);

#endif
