/*
 * fuzz_path: any bytes as a request path. What is accepted must be canonical: the same again when
 * canonicalised again, without dot segments, backslashes or bytes that have to be encoded. What is
 * not ambiguous reads the same for those who merge "//", and decode %2F and %5C before they take
 * the path apart.
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

/* The path as a careless reader takes it: every escape decoded, '\\' as '/', "//" as one. */
static size_t read_carelessly(struct str path, char *out)
{
	size_t len = 0;

	for (size_t i = 0; i < path.len; i++) {
		char byte = path.ptr[i];

		if (byte == '%') {
			char digits[3] = {path.ptr[i + 1], path.ptr[i + 2], 0};

			byte = (char)strtoul(digits, NULL, 16);
			i += 2;
		}
		if (byte == '\\')
			byte = '/';
		if (byte == '/' && len && out[len - 1] == '/')
			continue;
		out[len++] = byte;
	}
	return len;
}

static unsigned int count_segments(struct str path)
{
	unsigned int count = 0;

	for (size_t i = 0; i < path.len; i++)
		count += path.ptr[i] == '/';
	return count;
}

static void check_canonical(struct str canonical, bool ambiguous)
{
	char *careless = malloc(canonical.len);
	struct str read;
	size_t start = 1;

	check(canonical.len >= 1 && canonical.ptr[0] == '/' && careless);
	for (size_t i = 1; i <= canonical.len; i++) {
		if (i < canonical.len && canonical.ptr[i] != '/')
			continue;
		check(!is_dot_segment(str_sub(canonical, start, i - start)));
		start = i + 1;
	}
	for (size_t i = 0; i < canonical.len; i++)
		check(canonical.ptr[i] > ' ' && canonical.ptr[i] < 0x7f &&
		      !strchr("\\?#\"<>^`{|}", canonical.ptr[i]));
	read = str_make(careless, read_carelessly(canonical, careless));
	check(ambiguous || count_segments(read) == count_segments(canonical));
	/* Not even there does a way up come out. */
	start = 1;
	for (size_t i = 1; i <= read.len; i++) {
		if (i < read.len && read.ptr[i] != '/')
			continue;
		check(!is_dot_segment(str_sub(read, start, i - start)));
		start = i + 1;
	}
	free(careless);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str path = str_make((const char *)data, size), canonical, again;
	bool ambiguous, again_ambiguous;
	struct arena arena;
	int strict;

	arena_init(&arena, 0, 16u << 20);
	strict = path_canonicalise(path, &arena, &canonical);
	if (path_canonicalise_flagged(path, &arena, &canonical, &ambiguous) == 0) {
		check((strict == 0) == !ambiguous);
		check(canonical.len <= 3 * size);
		check_canonical(canonical, ambiguous);
		check(path_canonicalise_flagged(canonical, &arena, &again, &again_ambiguous) == 0);
		check(str_eq(canonical, again) && ambiguous == again_ambiguous);
	} else {
		check(strict != 0);
	}
	arena_done(&arena);
	return 0;
}
