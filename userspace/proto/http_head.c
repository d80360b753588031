#include "proto/http_head.h"

#include "base/util.h"
#include "proto/http_bytes.h"

/* A power of two with room to spare, so that a name that is not ours mostly meets an empty slot. */
#define FIELD_SLOTS 256

static const struct str names[HTTP_FIELD_COUNT] = {[HTTP_FIELD_OTHER] = {"", 0},
#define X(symbol, text, bits) [HTTP_FIELD_##symbol] = {text, sizeof(text) - 1},
						   HTTP_FIELDS(X)
#undef X
};

const uint8_t http_field_kind_table[HTTP_FIELD_COUNT] = {
#define X(symbol, text, bits) [HTTP_FIELD_##symbol] = bits,
	HTTP_FIELDS(X)
#undef X
};

/* Ids by hash with linear probing, filled from the table above before main() and then constant. */
static uint8_t field_slots[FIELD_SLOTS];

_Static_assert(HTTP_FIELD_COUNT <= UINT8_MAX, "ids fit a slot");
_Static_assert(HTTP_FIELD_COUNT * 2 < FIELD_SLOTS, "probing ends soon");

/* Case is folded by setting the bit that tells letters apart; equality is checked afterwards. */
static unsigned int field_hash(struct str name)
{
	unsigned int first = (uint8_t)name.ptr[0] | 0x20u;
	unsigned int middle = (uint8_t)name.ptr[name.len / 2] | 0x20u;
	unsigned int last = (uint8_t)name.ptr[name.len - 1] | 0x20u;

	return ((unsigned int)name.len * 37 + first * 5 + middle * 17 + last) % FIELD_SLOTS;
}

/* Of which reserved names with a '-' begin, a bit each. */
static uint32_t folding_letters;

static uint32_t first_letter(struct str name)
{
	return name.len ? 1u << ((unsigned char)name.ptr[0] & 31) : 0;
}

static char fold(char byte)
{
	return byte == '_' || byte == '.' ? '-' : ascii_lower(byte);
}

__attribute__((constructor)) static void field_slots_fill(void)
{
	for (unsigned int id = 1; id < HTTP_FIELD_COUNT; id++) {
		unsigned int slot = field_hash(names[id]);

		if ((http_field_kind_table[id] &
		     (HTTP_FIELD_HOP | HTTP_FIELD_FRAMING | HTTP_FIELD_FORWARD)) &&
		    str_find_byte(names[id], '-') >= 0)
			folding_letters |= first_letter(names[id]);
		while (field_slots[slot])
			slot = (slot + 1) % FIELD_SLOTS;
		field_slots[slot] = (uint8_t)id;
	}
}

enum http_field_id http_field_lookup(struct str name)
{
	if (str_is_empty(name))
		return HTTP_FIELD_OTHER;
	for (unsigned int slot = field_hash(name); field_slots[slot];
	     slot = (slot + 1) % FIELD_SLOTS) {
		unsigned int id = field_slots[slot];

		if (str_eq_nocase(names[id], name))
			return (enum http_field_id)id;
	}
	return HTTP_FIELD_OTHER;
}

struct str http_field_name(enum http_field_id id)
{
	return (unsigned int)id < HTTP_FIELD_COUNT ? names[id] : names[0];
}

/* CGI-like applications see no difference between '_', '.' and '-' (HARDENING 20). */
static enum http_field_id lookup_folded(struct str name)
{
	char folded[32];

	if (name.len > sizeof(folded))
		return HTTP_FIELD_OTHER;
	for (size_t i = 0; i < name.len; i++)
		folded[i] = fold(name.ptr[i]);
	return http_field_lookup(str_make(folded, name.len));
}

bool http_name_is_reserved(struct str name)
{
	static const struct str prefix = {"x-forwarded", 11};

	/* Most names go no further. */
	if (!(folding_letters & first_letter(name)))
		return false;
	if (name.len >= prefix.len) {
		size_t i = 0;

		while (i < prefix.len && fold(name.ptr[i]) == prefix.ptr[i])
			i++;
		if (i == prefix.len)
			return true;
	}
	return http_field_kinds(lookup_folded(name)) &
	       (HTTP_FIELD_HOP | HTTP_FIELD_FRAMING | HTTP_FIELD_FORWARD);
}

bool http_field_allowed_in_trailer(const struct http_field *field)
{
	if (field->id)
		return !http_field_kinds(field->id);
	return !http_name_is_reserved(field->name) && !http_field_kinds(lookup_folded(field->name));
}

bool http_name_is_valid(struct str name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!http_byte_is(name.ptr[i], HTTP_BYTE_TOKEN))
			return false;
	return name.len > 0;
}

bool http_value_is_valid(struct str value)
{
	const char *end = value.ptr + value.len;

	return !value.len || http_value_span(value.ptr, end) == end;
}

enum http_method http_method_lookup(struct str method)
{
	static const struct {
		const char name[8];
		enum http_method id;
	} by_length[8][3] = {
		[3] = {{"GET", HTTP_METHOD_GET}, {"PUT", HTTP_METHOD_PUT}},
		[4] = {{"POST", HTTP_METHOD_POST}, {"HEAD", HTTP_METHOD_HEAD}},
		[5] = {{"PATCH", HTTP_METHOD_PATCH}, {"TRACE", HTTP_METHOD_TRACE}},
		[6] = {{"DELETE", HTTP_METHOD_DELETE}},
		[7] = {{"OPTIONS", HTTP_METHOD_OPTIONS}, {"CONNECT", HTTP_METHOD_CONNECT}},
	};

	if (!method.len || method.len >= ARRAY_SIZE(by_length))
		return HTTP_METHOD_OTHER;
	/* Each row ends in an entry without a name. */
	for (unsigned int i = 0; by_length[method.len][i].id; i++)
		if (!memcmp(by_length[method.len][i].name, method.ptr, method.len))
			return by_length[method.len][i].id;
	return HTTP_METHOD_OTHER;
}

const struct http_field *http_head_find(const struct http_head *head, enum http_field_id id)
{
	for (unsigned int i = 0; i < head->field_count; i++)
		if (head->fields[i].id == id)
			return &head->fields[i];
	return NULL;
}

bool http_head_connection_lists(const struct http_head *head, struct str name)
{
	for (unsigned int i = 0; i < head->field_count; i++) {
		struct str rest = head->fields[i].value, option;

		if (head->fields[i].id != HTTP_FIELD_CONNECTION)
			continue;
		while (str_next_token(&rest, ',', &option))
			if (str_eq_nocase(option, name))
				return true;
	}
	return false;
}
