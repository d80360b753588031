/*
 * fuzz_path: any bytes as a request path. What is accepted must be canonical: the same again when
 * canonicalised again, without dot segments, backslashes or encodings of unreserved bytes.
 */
#include <stdlib.h>

#include "http/path.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

static bool is_dot_segment(struct str segment)
{
	return str_eq(segment, STR(".")) || str_eq(segment, STR(".."));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str path = str_make((const char *)data, size), canonical, again;
	struct arena arena;

	arena_init(&arena, 0, 1 << 20);
	if (path_canonicalise(path, &arena, &canonical) == 0) {
		size_t start = 1;

		check(canonical.len >= 1 && canonical.ptr[0] == '/' && canonical.len <= size);
		for (size_t i = 1; i <= canonical.len; i++) {
			if (i < canonical.len && canonical.ptr[i] != '/')
				continue;
			check(!is_dot_segment(str_sub(canonical, start, i - start)));
			start = i + 1;
		}
		check(str_find_byte(canonical, '\\') < 0);
		check(path_canonicalise(canonical, &arena, &again) == 0);
		check(str_eq(canonical, again));
	}
	arena_done(&arena);
	return 0;
}
