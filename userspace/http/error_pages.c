#include "http/error_pages.h"

#include <stddef.h>

const struct error_page *error_pages_find(const struct error_pages *pages, uint16_t status)
{
	const struct error_page *of_class = NULL;

	for (unsigned int i = 0; i < pages->count; i++) {
		const struct error_page *page = &pages->items[i];

		if (status < page->first || status > page->last)
			continue;
		if (page->first == page->last)
			return page;
		of_class = page;
	}
	return of_class;
}
