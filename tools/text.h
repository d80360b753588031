/*
 * text: what a terminal shows: widths, escapes and human units. Pure functions.
 */
#ifndef SLUICE_TOOLS_TEXT_H
#define SLUICE_TOOLS_TEXT_H

#include "base/str.h"

/* Length in bytes of the valid UTF-8 character at the start of a non-empty text; 0: broken. */
size_t text_utf8_len(struct str text);
/* Characters, each taken as one column. */
size_t text_width(struct str text);

#endif
