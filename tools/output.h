/*
 * output: one document, shown as JSON or as text by one description of it.
 *
 * A command makes (or gets from the daemon) a JSON document and hands it over with a view: the list
 * of its sections and columns. With --json the document itself is printed, so members that a newer
 * daemon adds are there at once; otherwise the view turns it into aligned text with human units.
 * Text from outside is escaped: nothing in a document can move the cursor of a terminal.
 * Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_OUTPUT_H
#define SLUICE_TOOLS_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>

#include "base/buf.h"
#include "base/str.h"

struct cli;

enum output_format {
	OUTPUT_TEXT,	/* strings, numbers, yes and no, lists joined by ", " */
	OUTPUT_COUNT,	/* 1,234,567; to the right */
	OUTPUT_BYTES,	/* 1.5 MiB; to the right */
	OUTPUT_SECONDS, /* 3d 4h */
	OUTPUT_RATE,	/* 12.5; to the right */
	OUTPUT_CELL,	/* what cell() writes */
};

struct output_column {
	const char *title;
	const char *path; /* member of the row: "connections.open"; NULL with OUTPUT_CELL */
	enum output_format format;
	/* Appends the text; nothing for an absent value. */
	int (*cell)(const json_t *row, struct buf *out);
};

enum output_kind {
	OUTPUT_RECORD,	 /* "title  value" lines of one object; absent values have no line */
	OUTPUT_RECORDS,	 /* one record per element, an empty line between them */
	OUTPUT_TABLE,	 /* a line per element under a head; absent values are "-" */
	OUTPUT_MEMBERS,	 /* an object's numbers, a line each, sorted as they come */
	OUTPUT_LINES,	 /* a list of strings, a line each */
	OUTPUT_VERBATIM, /* a text of many lines, as it is */
};

struct output_section {
	enum output_kind kind;
	const char *path; /* of the object or list in the document; NULL: the document */
	bool required;	  /* a document without it is not understood */
	const struct output_column *columns; /* ends with {NULL} */
	const char *empty;		     /* line for an empty list; NULL: no section then */
};

struct output_view {
	const struct output_section *sections; /* ends with a section without columns and path */
	unsigned int count;
};

/* By the view, or as JSON. -EPROTO, reported: a required member is missing. */
int output_print(struct cli *cli, json_t *doc, const struct output_view *view);
/* Only that check; output_print() makes it for text and JSON, so that both fail alike. */
int output_check(struct cli *cli, const json_t *doc, const struct output_view *view);
/* The document as JSON, whatever the mode. */
int output_document(struct cli *cli, const json_t *doc);

/* Reading: NULL when the path leads nowhere. */
const json_t *document_get(const json_t *doc, const char *path);
/* NULL when absent or no string. */
const char *document_string(const json_t *doc, const char *path);
/* Making: a string of any bytes; what is not UTF-8 becomes U+FFFD. NULL: out of memory. */
json_t *document_text(struct str text);
json_t *document_null(void);

/* Appends `before`, the member in that format and `after`; nothing when it is absent. */
int output_member(struct buf *out, const json_t *row, const char *path, enum output_format format,
		  const char *before, const char *after);
/*
 * Appends text for a terminal: control bytes (C1 included) as \xNN, broken UTF-8 as \xNN.
 * lines: newlines and tabs are kept.
 */
int output_escape(struct buf *out, struct str text, bool lines);
int output_count(struct buf *out, uint64_t number);
int output_bytes(struct buf *out, uint64_t bytes);
int output_seconds(struct buf *out, uint64_t seconds);

#endif
