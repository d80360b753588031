/*
 * btf_json: bytes of a map's key or value as JSON, by the BTF that the map carries.
 *
 * Structs become objects, arrays lists, arrays of char text. Our ABI says the byte order in the
 * field's name, so members that end in "_be" are read by their size: 2 bytes a number, 4 an IPv4
 * and 16 an IPv6 address. Numbers that JSON readers would round (above 2^63) are hexadecimal text.
 * What has no BTF, or is of a kind that no map of ours holds, is hexadecimal text as a whole.
 * Thread rule: pure.
 */
#ifndef SLUICE_TOOLS_BTF_JSON_H
#define SLUICE_TOOLS_BTF_JSON_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct btf;

/* btf may be NULL. NULL: out of memory. */
json_t *btf_json(const struct btf *btf, uint32_t type_id, const uint8_t *bytes, size_t len);
/* "0a00ff" */
json_t *btf_json_hex(const uint8_t *bytes, size_t len);

#endif
