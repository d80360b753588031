/*
 * field: tables that say which keys a section has, of what kind, with which default.
 *
 * One table drives reading, `--check` output and the unknown-key suggestion, so a key cannot be
 * parsed and then forgotten. Defaults are text in the same notation as the file and are read by the
 * same code. A key of the contract that is not built yet is in the table as FIELD_NOT_YET and is
 * refused with "not supported yet". Thread rule: pure functions on the caller's objects.
 */
#ifndef SLUICE_CONF_FIELD_H
#define SLUICE_CONF_FIELD_H

#include "conf/conf.h"
#include "conf/writer.h"

enum field_kind {
	FIELD_STRING,	   /* struct str, copied into the target arena; not empty unless min is 0 */
	FIELD_BOOL,	   /* bool: true, false, on, off */
	FIELD_U64,	   /* uint64_t within min..max */
	FIELD_DURATION_MS, /* uint64_t: "500ms 2s 10m 24h 7d" */
	FIELD_SIZE_BYTES,  /* uint64_t: "64KiB 1GiB", plain bytes */
	FIELD_PERCENT,	   /* uint64_t, parts of 10,000: "20%", "0.5%" */
	FIELD_ENUM,	   /* int, from names */
	FIELD_SECTION,	   /* a mapping with a table of its own; absent: its defaults */
	FIELD_CUSTOM,	   /* read() does it */
	FIELD_NOT_YET,	   /* in the contract, not built: refused */
};

struct field_name {
	const char *name;
	int value;
	bool not_yet; /* a value of the contract that is not built: refused */
};

/* What a reading needs: where errors go, where values live, and the owner's own state. */
struct field_context {
	struct conf_errors *errors;
	struct arena *arena;  /* values are copied here, so that the document may go */
	const char *base_dir; /* relative FILE names are relative to the configuration file */
	const char *what;     /* set for read(): the section, for the front of its sentences */
	const void *user;
};

struct field {
	const char *key;
	enum field_kind kind;
	size_t offset; /* of the value in the target struct */
	bool required;
	const char *default_text; /* NULL: the target keeps what it has */
	uint64_t min, max;	  /* numbers, durations, sizes, percentages; both 0: any */
	const struct field_name *names;
	unsigned int name_count;
	const struct field *fields; /* FIELD_SECTION: offsets count from `offset` */
	unsigned int field_count;
	/* Reports its own errors; 0 or -EINVAL. `target` is the whole struct. */
	int (*read)(const struct field_context *context, const struct conf_node *node,
		    void *target);
	/* FIELD_CUSTOM: writes the whole member, or nothing; NULL: never shown. */
	void (*print)(struct conf_writer *writer, const char *key, const void *target);
};

/* -EINVAL when any error was added; every field is tried. `what` names the section in errors. */
int field_read(const struct field_context *context, const struct field *fields,
	       unsigned int field_count, const struct conf_node *node, const char *what,
	       void *target);
/* Defaults alone, for a section that is absent; what it requires is not asked for. */
int field_read_defaults(const struct field_context *context, const struct field *fields,
			unsigned int field_count, const char *what, void *target);

/* The value of one field, where a section's short form has no mapping around it. */
int field_read_value(const struct field_context *context, const struct field *field,
		     const struct conf_node *node, const char *what, void *target);
/* Reports it at the node; -ENOMEM. */
int field_no_memory(const struct field_context *context, const struct conf_node *node);
/* Members of an open mapping, for --check. Strings that are absent are left out. */
void field_write(struct conf_writer *writer, const struct field *fields, unsigned int field_count,
		 const void *target);
/* "; did you mean 'x'?" or "": the end of a sentence about a name that is not known. */
const char *field_hint(struct str name, const char *const *names, unsigned int count, char *buf,
		       size_t buf_len);

/* Units by themselves. 0, -EINVAL (not of that form) or -ERANGE. */
int units_parse_duration_ms(struct str text, uint64_t *ret_ms);
int units_parse_size_bytes(struct str text, uint64_t *ret_bytes);
/* "100/s 5/m 1000/h": events per 1000 seconds are not lost: count and period apart. */
int units_parse_rate(struct str text, uint64_t *ret_count, uint64_t *ret_period_ms);
/* "20%" or "0.5%": parts of 10,000. */
int units_parse_percent(struct str text, uint32_t *ret_basis_points);
const char *units_format_duration(uint64_t ms, char *buf, size_t buf_len);
const char *units_format_size(uint64_t bytes, char *buf, size_t buf_len);
const char *units_format_percent(uint64_t basis_points, char *buf, size_t buf_len);

#endif
