/*
 * route: what the files of `sluice route` share. Cells take a route, or what stands for one.
 * Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_ROUTE_H
#define SLUICE_TOOLS_ROUTE_H

#include "tools/cli.h"

int route_cell_methods(const json_t *row, struct buf *out);
int route_cell_path(const json_t *row, struct buf *out);
int route_cell_action(const json_t *row, struct buf *out);

/* `sluice route explain`, in route_explain.c */
int route_explain(struct cli *cli, struct args *args);

#endif
