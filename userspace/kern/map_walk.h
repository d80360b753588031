/*
 * map_walk: reads BPF maps whole. Keys are collected before anything is done with them, since a
 * walk whose current key disappears begins again from the front. Thread rule: none.
 */
#ifndef SLUICE_KERN_MAP_WALK_H
#define SLUICE_KERN_MAP_WALK_H

#include <stddef.h>

/*
 * All keys, to be released with free(); NULL when the map is empty. -EAGAIN when another process
 * changes the map faster than it can be read.
 */
int map_collect_keys(int map_fd, size_t key_bytes, size_t max_entries, void **ret_keys,
		     size_t *ret_count);

#endif
