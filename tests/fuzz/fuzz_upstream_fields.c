/*
 * fuzz_upstream_fields: any bytes as a head that goes to HTTP/2. What is accepted has the
 * pseudo-fields first and once, and only names and values that HTTP/2 may carry.
 */
#include <stdlib.h>

#include "upstream/upstream_http2.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str head = str_make((const char *)data, size);
	nghttp2_nv *fields = NULL;
	unsigned int count = 0;
	bool pseudo = true;
	struct arena arena;

	arena_init(&arena, 4096, (size_t)8 << 20);
	if (upstream_fields_read(&arena, head, size % 2, &fields, &count) == 0) {
		check(count >= 3);
		for (unsigned int i = 0; i < count; i++) {
			struct str name = str_make((const char *)fields[i].name, fields[i].namelen);
			struct str value =
				str_make((const char *)fields[i].value, fields[i].valuelen);

			check(name.len > 0);
			if (name.ptr[0] == ':') {
				check(pseudo && i < 4);
				continue;
			}
			pseudo = false;
			check(http_name_is_valid(name) && http_value_is_valid(value));
			for (size_t j = 0; j < name.len; j++)
				check(name.ptr[j] < 'A' || name.ptr[j] > 'Z');
		}
	}
	arena_done(&arena);
	return 0;
}
