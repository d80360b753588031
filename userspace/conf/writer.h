/*
 * conf_writer: writes YAML that conf_load_string() reads back to the same tree, for the effective
 * configuration of `sluiced --check`. Block style; values are quoted wherever a plain one could be
 * read as something else. The first failed append makes conf_writer_finish() fail.
 *
 * Inside a list, open an item with conf_write_open_item() for a mapping, or give key NULL to a
 * value. An empty list or mapping that is opened and closed is written as [] or {}.
 * Thread rule: one owner.
 */
#ifndef SLUICE_CONF_WRITER_H
#define SLUICE_CONF_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

#define CONF_WRITER_DEPTH_MAX 16

struct conf_writer {
	struct buf *out;
	int failed;
	unsigned int depth;
	struct {
		bool is_list;
		bool filled;
	} levels[CONF_WRITER_DEPTH_MAX + 1];
	bool after_dash; /* a list item was begun on this line: its first key stays there */
};

void conf_writer_init(struct conf_writer *writer, struct buf *out);
/* 0, the first error, or -EPROTO when something is still open. */
int conf_writer_finish(struct conf_writer *writer);

void conf_write_open_mapping(struct conf_writer *writer, const char *key);
void conf_write_open_list(struct conf_writer *writer, const char *key);
void conf_write_open_item(struct conf_writer *writer);
void conf_write_close(struct conf_writer *writer);

/* Text from outside: quoted unless it is plain beyond doubt. */
void conf_write_str(struct conf_writer *writer, const char *key, struct str value);
/* A key that comes from outside, too. */
void conf_write_member(struct conf_writer *writer, struct str key, struct str value);
/* Words, numbers and units of our own: as they are. */
void conf_write_plain(struct conf_writer *writer, const char *key, const char *value);
void conf_write_u64(struct conf_writer *writer, const char *key, uint64_t value);
/* A list of them; nothing where there are none. */
void conf_write_texts(struct conf_writer *writer, const char *key, const struct str *texts,
		      unsigned int count);

#endif
