/*
 * fuzz_http1: what the fuzz targets of proto/http1 share. Inputs are plain messages, so that seeds
 * can be read; where a target needs a choice (a split, a method) it takes a hash of the input.
 */
#ifndef SLUICE_TESTS_FUZZ_FUZZ_HTTP1_H
#define SLUICE_TESTS_FUZZ_FUZZ_HTTP1_H

#include <stdlib.h>

#include "proto/http1/http1.h"

#define ARENA_CAP_BYTES (1024 * 1024)
/* Byte by byte is quadratic where a target parses at every step. */
#define SINGLE_BYTES_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void check(bool holds)
{
	if (!holds)
		abort();
}

/* FNV-1a */
static inline uint32_t hash_bytes(struct str bytes)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < bytes.len; i++)
		hash = (hash ^ (uint8_t)bytes.ptr[i]) * 16777619u;
	return hash;
}

/* A heap block of just that size; free() it. Reading past it is an error of the sanitizer. */
static inline char *copy_bytes(struct str bytes)
{
	char *copy = malloc(bytes.len ? bytes.len : 1);

	check(copy != NULL);
	if (bytes.len)
		memcpy(copy, bytes.ptr, bytes.len);
	return copy;
}

static inline void check_inside(struct str view, struct str bytes)
{
	check(view.ptr >= bytes.ptr && view.ptr + view.len <= bytes.ptr + bytes.len);
}

/* The end of the head, the same found at once, in two pieces and byte by byte. */
static inline int find_end(struct str bytes, size_t *ret_len)
{
	size_t scan = 0, len = 0, other_len = 0;
	int whole = http1_find_head_end(bytes, NULL, &scan, &len), other = 0;
	size_t cut = bytes.len ? hash_bytes(bytes) % bytes.len : 0;
	char *copy = copy_bytes(str_sub(bytes, 0, cut));

	scan = 0;
	other = http1_find_head_end(str_make(copy, cut), NULL, &scan, &other_len);
	if (!other)
		other = http1_find_head_end(bytes, NULL, &scan, &other_len);
	check(other == whole && (whole != 1 || other_len == len));
	free(copy);

	scan = 0;
	for (size_t given = 0; bytes.len <= SINGLE_BYTES_MAX && given <= bytes.len; given++) {
		other = http1_find_head_end(str_make(bytes.ptr, given), NULL, &scan, &other_len);
		check(other == 0 || (other == whole && (whole < 0 || given == len)));
		if (other)
			break;
		check(given < bytes.len || whole == 0);
	}
	*ret_len = len;
	return whole;
}

static inline void check_fields(const struct http_head *head, struct str bytes)
{
	for (unsigned int i = 0; i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		check_inside(field->name, bytes);
		check_inside(field->value, bytes);
		check(http_name_is_valid(field->name) && http_value_is_valid(field->value));
		check(str_eq(str_trim(field->value), field->value));
		check(field->id == http_field_lookup(field->name));
	}
}

/* Of two heads of which one was written from the other. */
static inline void check_same(const struct http_head *left, const struct http_head *right)
{
	check(str_eq(left->method, right->method) && left->method_id == right->method_id);
	check(str_eq(left->target, right->target) && str_eq(left->host, right->host));
	check(left->status == right->status && str_eq(left->reason, right->reason));
	check(left->version_minor == right->version_minor);
	check(left->framing == right->framing && left->content_length == right->content_length);
	check(left->has_content_length == right->has_content_length);
	check(left->keep_alive == right->keep_alive && left->has_upgrade == right->has_upgrade);
	check(left->expect_continue == right->expect_continue);
	check(left->field_count == right->field_count);
	for (unsigned int i = 0; i < left->field_count; i++)
		check(str_eq(left->fields[i].name, right->fields[i].name) &&
		      str_eq(left->fields[i].value, right->fields[i].value) &&
		      left->fields[i].id == right->fields[i].id);
}

/* The fields and the end, into room that must do. Our ": " may be a byte more than was sent. */
static inline struct str write_fields(struct http1_writer *writer, const char *room,
				      const struct http_head *head)
{
	for (unsigned int i = 0; i < head->field_count; i++)
		http1_write_field(writer, head->fields[i].name, head->fields[i].value);
	http1_write_end(writer);
	check(!writer->overflowed && !writer->invalid);
	return str_make(room, (size_t)(writer->pos - room));
}

static const struct http1_limits wide_limits = {
	.head_bytes = 64 * 1024,
	.field_bytes = 32 * 1024,
	.field_count = 200,
	.uri_bytes = 16 * 1024,
};

#endif
