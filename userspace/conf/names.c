#include "conf/names.h"

#include <errno.h>

#define WHAT_MAX    128
#define VALUE_MAX   96
#define HINT_MAX    160
#define SLOTS_LEAST 8

static bool is_name_byte(char byte, bool first)
{
	if ((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9'))
		return true;
	return !first && (byte == '-' || byte == '_');
}

bool name_is_valid(struct str name)
{
	if (str_is_empty(name) || name.len > NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (!is_name_byte(name.ptr[i], i == 0))
			return false;
	return true;
}

static int table_init(struct name_table *table, const char *kind, struct arena *arena,
		      unsigned int capacity)
{
	uint32_t slots = SLOTS_LEAST;

	while (slots / 2 < capacity)
		slots *= 2;
	*table = (struct name_table){
		.kind = kind,
		.entries = arena_new_array(arena, struct name_entry, capacity),
		.texts = arena_new_array(arena, const char *, capacity),
		.slots = arena_new_array(arena, uint32_t, slots),
		.slot_mask = slots - 1,
	};
	return table->entries && table->texts && table->slots ? 0 : -ENOMEM;
}

/* Place of the name, or the empty one where it would go: the table is at most half full. */
static uint32_t *table_slot(const struct name_table *table, struct str name)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < name.len; i++)
		hash = (hash ^ (unsigned char)name.ptr[i]) * 16777619u;
	for (;; hash++) {
		uint32_t *slot = &table->slots[hash & table->slot_mask];

		if (!*slot || str_eq(table->entries[*slot - 1].name, name))
			return slot;
	}
}

const struct name_entry *name_table_find(const struct name_table *table, struct str name)
{
	uint32_t number = *table_slot(table, name);

	return number ? &table->entries[number - 1] : NULL;
}

int name_table_refer(const struct name_table *table, const struct field_context *context,
		     const struct conf_node *node, const char *what,
		     const struct name_entry **ret_entry)
{
	char value[VALUE_MAX], hint[HINT_MAX];
	const struct name_entry *entry;

	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_SCALAR || conf_is_null(node)) {
		conf_error(context->errors, node, "%s: expected the name of %s %s, got %s", what,
			   strchr("aeiou", table->kind[0]) ? "an" : "a", table->kind,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	entry = name_table_find(table, node->value);
	if (!entry) {
		conf_error(context->errors, node, "%s: %s %s is not defined%s", what, table->kind,
			   str_quote(node->value, value, sizeof(value)),
			   field_hint(node->value, table->texts, table->count, hint, sizeof(hint)));
		return -EINVAL;
	}
	*ret_entry = entry;
	return 0;
}

static int table_add(struct name_table *table, const struct field_context *context,
		     const struct conf_node *node, unsigned int index)
{
	uint32_t *slot = table_slot(table, node->value);
	char value[VALUE_MAX];

	(void)str_quote(node->value, value, sizeof(value));
	if (!name_is_valid(node->value)) {
		conf_error(context->errors, node,
			   "%s %s: a name has 1 to %d of the letters a-z, digits, '-' and '_', and "
			   "begins with a letter or digit",
			   table->kind, value, NAME_BYTES_MAX);
		return -EINVAL;
	}
	if (*slot) {
		const struct name_entry *first = &table->entries[*slot - 1];

		conf_error(context->errors, node,
			   "%s %s is defined twice; the first is at line %u, column %u",
			   table->kind, value, first->line, first->column);
		return -EINVAL;
	}
	table->entries[table->count] = (struct name_entry){
		.name = node->value,
		.line = node->line,
		.column = node->column,
		.index = index,
	};
	table->texts[table->count] = node->value.ptr;
	*slot = ++table->count;
	return 0;
}

int list_check(const struct field_context *context, const struct conf_node *node, const char *what)
{
	char value[VALUE_MAX];

	if (node->refused)
		return -EINVAL;
	if (node->type == CONF_SEQUENCE || conf_is_null(node))
		return 0;
	conf_error(context->errors, node, "%s: expected a list, got %s", what,
		   conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

int named_list_read(const struct field_context *context, const struct named_list *list,
		    const struct conf_node *node, struct arena *scratch,
		    struct name_table *ret_names, void **ret_items, unsigned int *ret_count)
{
	unsigned int count = node ? node->count : 0, index = 0;
	int r, result = 0;
	char *items;

	if (node && list_check(context, node, context->what)) {
		result = -EINVAL;
		count = 0;
	}
	r = table_init(ret_names, list->kind, scratch, count);
	items = arena_alloc_zero_array(context->arena, list->item_bytes, count);
	if (r || !items)
		return field_no_memory(context, node);
	*ret_items = items;
	*ret_count = count;
	if (!count)
		return result;

	conf_for_each (item, node) {
		const struct conf_node *name = conf_get(item, "name");
		char what[WHAT_MAX], value[VALUE_MAX];

		if (name && name->type == CONF_SCALAR && !name->refused && !conf_is_null(name)) {
			(void)snprintf(what, sizeof(what), "%s %s", list->kind,
				       str_quote(name->value, value, sizeof(value)));
			if (table_add(ret_names, context, name, index))
				result = -EINVAL;
		} else {
			(void)snprintf(what, sizeof(what), "%s %u", list->kind, index + 1);
		}
		r = list->read(context, item, what, index, items + index * list->item_bytes);
		if (r)
			result = r == -ENOMEM || result == -ENOMEM ? -ENOMEM : -EINVAL;
		index++;
	}
	return result;
}

static int text_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct str *ret_text)
{
	char value[VALUE_MAX];
	struct str copy;

	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_SCALAR || conf_is_null(node)) {
		conf_error(context->errors, node, "%s: expected text, got %s", what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	if (str_is_empty(node->value)) {
		conf_error(context->errors, node, "%s: must not be empty", what);
		return -EINVAL;
	}
	copy = arena_copy(context->arena, node->value);
	if (!copy.ptr)
		return field_no_memory(context, node);
	*ret_text = copy;
	return 0;
}

int texts_read(const struct field_context *context, const struct conf_node *node, const char *what,
	       struct str **ret_texts, unsigned int *ret_count)
{
	bool is_list = node->type == CONF_SEQUENCE;
	unsigned int count = 0;
	struct str *texts;
	int result = 0;

	texts = arena_new_array(context->arena, struct str, is_list ? node->count : 1);
	if (!texts)
		return field_no_memory(context, node);
	if (!is_list) {
		if (text_read(context, node, what, texts))
			return -EINVAL;
		count = 1;
	} else {
		conf_for_each (item, node) {
			if (text_read(context, item, what, &texts[count]))
				result = -EINVAL;
			else
				count++;
		}
	}
	if (!result) {
		*ret_texts = texts;
		*ret_count = count;
	}
	return result;
}
