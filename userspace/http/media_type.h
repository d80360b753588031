/*
 * media_type: the Content-Type of a file by the extension of its name.
 * Text is said to be UTF-8, which is what people store. Thread rule: pure function.
 */
#ifndef SLUICE_HTTP_MEDIA_TYPE_H
#define SLUICE_HTTP_MEDIA_TYPE_H

#include "base/str.h"

/* "application/octet-stream" where nothing is known. The result is a literal. */
struct str media_type_of(struct str file_name);

#endif
