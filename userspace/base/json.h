/*
 * json: a writer that appends one JSON document to a buf. Commas and escaping are its work;
 * invalid UTF-8 becomes U+FFFD, so the output is always valid JSON. The first failed append makes
 * the writer fail: json_finish() returns it. Numbers from elsewhere can be written as text by
 * json_raw_number(). Names that jansson exports (json_string, json_null) are avoided: the CLI links
 * both. Thread rule: one owner.
 */
#ifndef SLUICE_BASE_JSON_H
#define SLUICE_BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define JSON_DEPTH_MAX 32

struct json_writer {
	struct buf *out;
	int failed;	    /* first error, negative errno */
	bool pretty;	    /* two spaces a level, as `sluice -p` */
	unsigned int depth; /* open objects and arrays */
	bool filled[JSON_DEPTH_MAX + 1];
	bool is_object[JSON_DEPTH_MAX + 1];
	bool after_key;
};

void json_init(struct json_writer *json, struct buf *out, bool pretty);
/* 0, the first error, or -EPROTO when objects or arrays are still open. */
int json_finish(struct json_writer *json);

/* `key` is NULL inside arrays and at the top. */
void json_open_object(struct json_writer *json, const char *key);
void json_close_object(struct json_writer *json);
void json_open_array(struct json_writer *json, const char *key);
void json_close_array(struct json_writer *json);
void json_str(struct json_writer *json, const char *key, struct str value);
void json_cstring(struct json_writer *json, const char *key, const char *value); /* NULL: null */
void json_u64(struct json_writer *json, const char *key, uint64_t value);
void json_i64(struct json_writer *json, const char *key, int64_t value);
void json_double(struct json_writer *json, const char *key, double value);
void json_bool(struct json_writer *json, const char *key, bool value);
void json_nil(struct json_writer *json, const char *key);
void json_raw_number(struct json_writer *json, const char *key, struct str digits);
/* A member whose name comes from data. The next value call takes key NULL. */
void json_key(struct json_writer *json, struct str key);

#endif
