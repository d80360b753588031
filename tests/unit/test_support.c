#include "test_support.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* Sanitizers bring their own allocator; theirs must be asked, or its free() knows nothing. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif

void *REAL(malloc)(size_t len_bytes);
void *REAL(calloc)(size_t count, size_t len_bytes);
void *REAL(realloc)(void *pointer, size_t len_bytes);

static __thread bool fail_armed;
static __thread bool fail_happened;
static __thread unsigned int fail_left;

/* TSan's runtime allocates before it can take the calls of instrumented code. */
#define UNINSTRUMENTED __attribute__((no_sanitize("thread")))

UNINSTRUMENTED static bool fails_now(void)
{
	if (!fail_armed || fail_left-- > 0)
		return false;
	fail_armed = false;
	fail_happened = true;
	errno = ENOMEM;
	return true;
}

UNINSTRUMENTED void *malloc(size_t len_bytes)
{
	return fails_now() ? NULL : REAL(malloc)(len_bytes);
}

UNINSTRUMENTED void *calloc(size_t count, size_t len_bytes)
{
	return fails_now() ? NULL : REAL(calloc)(count, len_bytes);
}

UNINSTRUMENTED void *realloc(void *pointer, size_t len_bytes)
{
	return fails_now() ? NULL : REAL(realloc)(pointer, len_bytes);
}

void alloc_fail_arm(unsigned int nth)
{
	fail_left = nth;
	fail_happened = false;
	fail_armed = true;
}

bool alloc_fail_disarm(void)
{
	fail_armed = false;
	return fail_happened;
}

unsigned int test_failing_each_allocation(int (*make)(void *arg), void *arg)
{
	unsigned int failures = 0;

	for (unsigned int nth = 0;; nth++) {
		bool happened;
		int r;

		alloc_fail_arm(nth);
		r = make(arg);
		happened = alloc_fail_disarm();
		if (r)
			failures++;
		if (!happened) {
			assert_int_equal(r, 0);
			return failures;
		}
	}
}

void assert_str_at(struct str value, const char *expected, const char *file, int line)
{
	if (value.ptr && expected && str_eq_cstr(value, expected))
		return;
	if (!value.ptr && !expected)
		return;
	print_error("'%.*s' is not '%s'\n", STR_FMT(value), expected ? expected : "(absent)");
	_fail(file, line);
}

char *test_read_file(const char *path)
{
	size_t len = 0, size = 4096;
	char *text = malloc(size);
	FILE *file = fopen(path, "rb");

	assert_non_null(file);
	assert_non_null(text);
	for (;;) {
		size_t got = fread(text + len, 1, size - len - 1, file);

		len += got;
		if (!got)
			break;
		if (size - len == 1) {
			size *= 2;
			text = realloc(text, size);
			assert_non_null(text);
		}
	}
	assert_false(ferror(file));
	(void)fclose(file);
	text[len] = '\0';
	return text;
}

char *test_file_make(const char *name, struct str content)
{
	const char *base = getenv("TMPDIR");
	char directory[PATH_MAX];
	char *path = NULL;
	FILE *file;

	(void)snprintf(directory, sizeof(directory), "%s/sluice-unit-XXXXXX", base ? base : "/tmp");
	assert_non_null(mkdtemp(directory));
	assert_true(asprintf(&path, "%s/%s", directory, name) > 0);
	file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(content.ptr, 1, content.len, file), content.len);
	assert_int_equal(fclose(file), 0);
	return path;
}

void test_file_remove(char *path)
{
	char *slash = strrchr(path, '/');

	assert_int_equal(unlink(path), 0);
	*slash = '\0';
	assert_int_equal(rmdir(path), 0);
	free(path);
}
