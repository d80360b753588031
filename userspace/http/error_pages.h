/*
 * error_pages: bodies of error answers that the configuration gives by file, in the snapshot.
 * They are read at load, so that answering never waits for a disk. Thread rule: read by any thread.
 */
#ifndef SLUICE_HTTP_ERROR_PAGES_H
#define SLUICE_HTTP_ERROR_PAGES_H

#include <stdint.h>

#include "base/str.h"

struct error_page {
	uint16_t first, last; /* statuses: one, or all of a class */
	struct str file;      /* absolute */
	struct str type;      /* its Content-Type */
	struct str body;
};

struct error_pages {
	struct error_page *items;
	unsigned int count;
};

/* The page for just this status before that of its class; NULL: none. */
const struct error_page *error_pages_find(const struct error_pages *pages, uint16_t status);

#endif
