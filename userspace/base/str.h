/*
 * str: a view of bytes, passed by value (HAProxy's ist is the model).
 *
 * A str owns nothing and is not NUL-terminated: whoever hands one out says how long the bytes
 * live (usually an arena or a receive buffer). A str with ptr NULL and len 0 means "absent";
 * an empty but present value has a non-NULL ptr. Thread rule: none, pure functions.
 */
#ifndef SLUICE_BASE_STR_H
#define SLUICE_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct str {
	const char *ptr;
	size_t len;
};

#define STR(literal) ((struct str){"" literal, sizeof(literal) - 1})
#define STR_NULL     ((struct str){NULL, 0})
/* For printf's "%.*s". */
#define STR_FMT(value) (int)(value).len, (value).ptr

static inline struct str str_make(const char *ptr, size_t len)
{
	return (struct str){ptr, len};
}

static inline struct str str_from_cstr(const char *cstr)
{
	return cstr ? (struct str){cstr, strlen(cstr)} : STR_NULL;
}

static inline bool str_is_empty(struct str value)
{
	return value.len == 0;
}

static inline bool str_eq(struct str left, struct str right)
{
	return left.len == right.len && (left.len == 0 || !memcmp(left.ptr, right.ptr, left.len));
}

static inline bool str_eq_cstr(struct str left, const char *right)
{
	return str_eq(left, str_from_cstr(right));
}

static inline char ascii_lower(char byte)
{
	return byte >= 'A' && byte <= 'Z' ? (char)(byte + 32) : byte;
}

/* ASCII only, independent of the locale (header names, hosts, schemes). */
bool str_eq_nocase(struct str left, struct str right);
bool str_starts_with(struct str value, struct str prefix);
bool str_ends_with(struct str value, struct str suffix);

/* Index of the byte, or -1. */
ptrdiff_t str_find_byte(struct str value, char byte);

struct str str_sub(struct str value, size_t from, size_t len);

/* Without leading and trailing space and tab. */
struct str str_trim(struct str value);

/*
 * Cuts the next element of a list separated by `sep` off `*rest`, trimmed. False at the end.
 * "a, ,b" yields "a", "" and "b".
 */
bool str_next_token(struct str *rest, char sep, struct str *ret_token);
/* The value of the first "NAME=value" of such a list; ptr NULL: it is not in it. */
struct str str_find_pair(struct str list, char sep, struct str name);

/* Digits only, no sign, no space: -EINVAL; beyond 64 bits: -ERANGE. */
int str_to_u64(struct str value, uint64_t *ret_number);

/* Copies with a NUL, for system calls. -ENAMETOOLONG when it does not fit, -EINVAL with a NUL. */
int str_to_cstr(struct str value, char *buf, size_t buf_len);

/*
 * Writes `value` for a person: single quotes around it, control bytes, quotes and bytes above 126
 * as \xNN, cut with "..." when longer than fits. Always NUL-terminated. Returns buf.
 */
const char *str_quote(struct str value, char *buf, size_t buf_len);

/* Levenshtein distance, capped at `cap` (for suggestions). */
unsigned int str_distance(struct str left, struct str right, unsigned int cap);

#endif
