#include "tools/btf_json.h"

#include <arpa/inet.h>
#include <bpf/btf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/str.h"
#include "tools/output.h"

#define DEPTH_MAX 16

json_t *btf_json_hex(const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	_cleanup_free_ char *text = malloc(2 * len + 1);

	if (!text)
		return NULL;
	for (size_t i = 0; i < len; i++) {
		text[2 * i] = digits[bytes[i] >> 4];
		text[2 * i + 1] = digits[bytes[i] & 15];
	}
	return json_stringn(text, 2 * len);
}

static bool is_big_endian(const char *name)
{
	return name && str_ends_with(str_from_cstr(name), STR("_be"));
}

/* NULL: of another size, to be read like any other value. */
static json_t *read_big_endian(const uint8_t *bytes, size_t len)
{
	char text[INET6_ADDRSTRLEN];

	if (len == 2)
		return json_integer(bytes[0] << 8 | bytes[1]);
	if (len != 4 && len != 16)
		return NULL;
	if (!inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text)))
		return NULL;
	return json_string(text);
}

static json_t *number_json(uint64_t number, bool is_signed, unsigned int bits)
{
	char text[24];

	if (is_signed && bits < 64 && number >> (bits - 1))
		number |= ~0ULL << bits;
	if (is_signed || number <= INT64_MAX)
		return json_integer((json_int_t)number);
	(void)snprintf(text, sizeof(text), "0x%llx", (unsigned long long)number);
	return json_string(text);
}

static json_t *integer_json(const struct btf_type *type, const uint8_t *bytes, size_t len)
{
	uint64_t number = 0;

	if (len > sizeof(number))
		return btf_json_hex(bytes, len);
	memcpy(&number, bytes, len); /* little-endian, as all of the ABI */
	if (btf_is_int(type) && (btf_int_encoding(type) & BTF_INT_BOOL))
		return json_boolean(number != 0);
	return number_json(number, btf_is_int(type) && (btf_int_encoding(type) & BTF_INT_SIGNED),
			   (unsigned int)len * 8);
}

static json_t *bit_field_json(const uint8_t *bytes, size_t len, unsigned int bit_offset,
			      unsigned int bits)
{
	uint64_t number = 0;

	for (unsigned int i = 0; i < bits && i < 64; i++) {
		unsigned int bit = bit_offset + i;

		if (bit / 8 < len && (bytes[bit / 8] >> (bit % 8) & 1))
			number |= 1ULL << i;
	}
	return number_json(number, false, bits);
}

static json_t *value_json(const struct btf *btf, uint32_t type_id, const uint8_t *bytes, size_t len,
			  unsigned int depth);

static bool is_char(const struct btf_type *type, const struct btf *btf)
{
	return btf_is_int(type) && type->size == 1 &&
	       !strcmp(btf__name_by_offset(btf, type->name_off), "char");
}

static json_t *array_json(const struct btf *btf, const struct btf_type *type, const uint8_t *bytes,
			  size_t len, unsigned int depth)
{
	const struct btf_array *array = btf_array(type);
	int id = btf__resolve_type(btf, array->type);
	const struct btf_type *element = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
	int64_t size = btf__resolve_size(btf, array->type);
	json_t *list;

	if (!element || size <= 0 || (uint64_t)size * array->nelems > len)
		return btf_json_hex(bytes, len);
	if (is_char(element, btf))
		return document_text(
			str_make((const char *)bytes, strnlen((const char *)bytes, array->nelems)));
	list = json_array();
	for (uint32_t i = 0; list && i < array->nelems; i++) {
		if (json_array_append_new(list,
					  value_json(btf, array->type, bytes + i * (size_t)size,
						     (size_t)size, depth + 1))) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *member_json(const struct btf *btf, const struct btf_type *type, unsigned int nth,
			   const uint8_t *bytes, size_t len, unsigned int depth)
{
	const struct btf_member *member = &btf_members(type)[nth];
	unsigned int offset = btf_member_bit_offset(type, nth) / 8;
	unsigned int bits = btf_member_bitfield_size(type, nth);
	int64_t size = btf__resolve_size(btf, member->type);
	json_t *value = NULL;

	if (bits)
		return bit_field_json(bytes, len, btf_member_bit_offset(type, nth), bits);
	if (size < 0 || offset > len || (uint64_t)size > len - offset)
		return btf_json_hex(bytes, 0);
	if (is_big_endian(btf__name_by_offset(btf, member->name_off)))
		value = read_big_endian(bytes + offset, (size_t)size);
	return value ? value
		     : value_json(btf, member->type, bytes + offset, (size_t)size, depth + 1);
}

/* Members of structs and unions without a name count as those of the outer one. */
static int add_members(json_t *object, const struct btf *btf, const struct btf_type *type,
		       const uint8_t *bytes, size_t len, unsigned int depth)
{
	for (unsigned int i = 0; i < btf_vlen(type); i++) {
		const char *name = btf__name_by_offset(btf, btf_members(type)[i].name_off);
		json_t *value = member_json(btf, type, i, bytes, len, depth);
		int error;

		if (!value)
			return -ENOMEM;
		if (!name[0] && json_is_object(value)) {
			error = json_object_update(object, value);
			json_decref(value);
		} else if (str_starts_with(str_from_cstr(name), STR("pad"))) {
			json_decref(value);
			error = 0;
		} else {
			error = json_object_set_new(object, name[0] ? name : "-", value);
		}
		if (error)
			return -ENOMEM;
	}
	return 0;
}

static json_t *value_json(const struct btf *btf, uint32_t type_id, const uint8_t *bytes, size_t len,
			  unsigned int depth)
{
	int id = btf__resolve_type(btf, type_id);
	const struct btf_type *type = id < 0 ? NULL : btf__type_by_id(btf, (uint32_t)id);
	int64_t size = type ? btf__resolve_size(btf, (uint32_t)id) : -1;
	json_t *object;

	if (!type || size < 0 || (uint64_t)size > len || depth > DEPTH_MAX)
		return btf_json_hex(bytes, len);
	if (btf_is_int(type) || btf_is_any_enum(type))
		return integer_json(type, bytes, (size_t)size);
	if (btf_is_array(type))
		return array_json(btf, type, bytes, (size_t)size, depth);
	if (!btf_is_composite(type))
		return btf_json_hex(bytes, len);
	object = json_object();
	if (object && add_members(object, btf, type, bytes, (size_t)size, depth)) {
		json_decref(object);
		return NULL;
	}
	return object;
}

json_t *btf_json(const struct btf *btf, uint32_t type_id, const uint8_t *bytes, size_t len)
{
	return btf && type_id ? value_json(btf, type_id, bytes, len, 0) : btf_json_hex(bytes, len);
}
