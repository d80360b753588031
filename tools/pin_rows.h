/*
 * pin_rows: programs, links and maps of kern/pin_info.h as rows of a document.
 * Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_PIN_ROWS_H
#define SLUICE_TOOLS_PIN_ROWS_H

#include <jansson.h>

#include "kern/pin_info.h"

struct cli;

/* "/sys/fs/bpf/sluice/NAME", null without a name; only with -f, else "path" is left out. */
int pin_row_add_path(const struct cli *cli, json_t *row, const struct pin *pin);
/* NULL: out of memory. */
json_t *pin_row_of_map(const struct pin *pin);
json_t *pin_row_of_program(const struct pin *pin);
json_t *pin_row_of_link(const struct pin *pin);
/* "2026-11-24T05:30:00Z" or null. */
json_t *pin_row_time(uint64_t wall_ms);

#endif
