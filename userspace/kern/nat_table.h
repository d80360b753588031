/*
 * nat_table: the tables of source ports of forward mode nat, one for each index of a source
 * address (include/abi/nat.h), as memory.
 *
 * They are inner maps, which only CAP_SYS_ADMIN opens by number; so each is pinned, too, and a
 * daemon without privileges, and the CLI, open the pin. Thread rule: none.
 */
#ifndef SLUICE_KERN_NAT_TABLE_H
#define SLUICE_KERN_NAT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "abi/nat.h"

struct dataplane;

/* Makes an empty table for this index in place of the one that may be there. */
int nat_table_make(struct dataplane *dataplane, uint32_t index);
/* SL_NAT_LINES lines; -ENOENT: this index has no table. */
int nat_table_open(const struct dataplane *dataplane, uint32_t index, bool read_only,
		   struct sl_nat_line **ret_lines);
void nat_table_close(struct sl_nat_line *lines);

#endif
