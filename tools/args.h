/*
 * args: the words after the options, read by keyword.
 *
 * Words are matched exactly or by unambiguous prefix; what does not match is refused with the
 * nearest name. `KEY VALUE` pairs come in any order, each key once. Thread rule: one owner.
 */
#ifndef SLUICE_TOOLS_ARGS_H
#define SLUICE_TOOLS_ARGS_H

#include <stdbool.h>
#include <stdint.h>

struct cli;

struct args {
	char **words;
	int count;
};

/* NULL at the end. */
const char *args_peek(const struct args *args);
const char *args_take(struct args *args);

/* Index of the exact or only match; -ENOENT: none, -ENOTUNIQ: several. names end with NULL. */
int names_find(const char *word, const char *const *names);
/* The nearest name, or NULL when none is near enough to be meant. */
const char *names_suggest(const char *word, const char *const *names);
/*
 * As names_find, and reports: "unknown WHAT 'wrod'; did you mean 'word'?" or the list of names.
 */
int names_require(struct cli *cli, const char *what, const char *word, const char *const *names);

struct arg_key {
	const char *name;
	const char
		*value_name; /* "CIDR"; NULL: the key alone is all, *ret_value is its name then */
	const char **ret_value; /* stays as it is when the key is absent */
};

/* Reads all that is left. keys end with {NULL}. */
int args_read_keys(struct cli *cli, struct args *args, const struct arg_key *keys);
/* The next word, after its own name if that is given: both `CIDR` and `cidr CIDR`. */
int args_read_value(struct cli *cli, struct args *args, const char *name, const char *value_name,
		    const char **ret_value);
/* A whole number of min..max; refused with the key's name. text NULL: *ret_number stays. */
int args_parse_number(struct cli *cli, const char *name, const char *text, uint64_t min,
		      uint64_t max, uint64_t *ret_number);
/* A duration of min_ms..max_ms, in the same manner. */
int args_parse_duration(struct cli *cli, const char *name, const char *text, uint64_t min_ms,
			uint64_t max_ms, uint64_t *ret_ms);
int args_expect_end(struct cli *cli, const struct args *args);

#endif
