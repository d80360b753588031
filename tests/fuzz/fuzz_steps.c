/*
 * fuzz_steps: any bytes as what steps of an exchange take from a client: the first line as a path
 * and query to be rewritten, the rest as cookies of a split. A rewritten path must be canonical and
 * fit where a request line is written; a cookie names a variant that takes requests, or none.
 */
#include <stdlib.h>

#include "filter/rewrite.h"
#include "http/path.h"
#include "http/split.h"
#include "upstream/upstream.h"

static struct arena config_arena;
static struct rewrite rewrites[6];
static struct upstream_conf upstreams[] = {{.name = {"blue", 4}}, {.name = {"green", 5}}};
static struct split_variant variants[] = {
	{.upstream = &upstreams[0], .weight = 3},
	{.upstream = &upstreams[1], .weight = 0},
};
static struct split split = {
	.variants = variants,
	.count = 2,
	.sticky = SPLIT_BY_COOKIE,
	.sticky_name = {"v", 1},
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void make_rewrite(struct rewrite *rewrite, const char *text)
{
	const struct field_context context = {
		.errors = conf_errors_new("fuzz"), .arena = &config_arena, .what = "rewrite"};
	struct conf_doc *doc = NULL;

	check(context.errors && !conf_load_string(str_from_cstr(text), context.errors, &doc));
	check(!rewrite_read(&context, doc->root, "rewrite", rewrite));
	conf_doc_free(doc);
	conf_errors_free(context.errors);
}

static void make_once(void)
{
	static const char *const texts[] = {
		"path: { prefix: /a, to: / }",
		"path: { prefix: /, to: /b/c }",
		"path: { regex: \"^/v1/(.*)$\", to: \"/$1\" }",
		"path: { regex: \"^/(.*)-(.*)$\", to: \"/$1/.$2\" }",
		"path: { regex: \"(.)(.)\", to: \"/$2$1$0?x=$2&y=$1\" }",
		"path: { regex: \"^(/.*)$\", to: \"/p$1?$1\" }",
	};

	if (split.weight_sum)
		return;
	arena_init(&config_arena, 0, 1u << 20);
	for (unsigned int i = 0; i < ARRAY_SIZE(rewrites); i++)
		make_rewrite(&rewrites[i], texts[i]);
	check(!split_prepare(&split, &config_arena));
}

static void check_rewritten(struct str path, struct str query, bool unsafe)
{
	struct arena arena;
	struct str again;
	bool ambiguous;

	arena_init(&arena, 0, 16u << 20);
	check(path_canonicalise_flagged(path, &arena, &again, &ambiguous) == 0);
	check(str_eq(path, again) && (unsafe || !ambiguous));
	for (size_t i = 0; i < query.len; i++)
		check(query.ptr[i] > ' ' && query.ptr[i] < 0x7f && query.ptr[i] != '#');
	check(!query.len || query.ptr[0] == '?');
	arena_done(&arena);
}

static void try_path(struct str target)
{
	struct str path, canonical;
	bool ambiguous;
	struct arena arena;
	ptrdiff_t question = str_find_byte(target, '?');

	path = question < 0 ? target : str_sub(target, 0, (size_t)question);
	arena_init(&arena, 0, 16u << 20);
	if (path_canonicalise_flagged(path, &arena, &canonical, &ambiguous) == 0) {
		for (unsigned int i = 0; i < ARRAY_SIZE(rewrites); i++) {
			struct str new_path = canonical, new_query = STR("");
			int r = rewrite_path(&rewrites[i], ambiguous, &arena, &new_path,
					     &new_query);

			if (r > 0)
				check_rewritten(new_path, new_query, ambiguous);
			check(r != 0 || new_path.ptr == canonical.ptr);
		}
	}
	arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str input = str_make((const char *)data, size), line = input;
	struct http_field field = {STR("Cookie"), STR(""), HTTP_FIELD_COOKIE};
	const struct http_head head = {.fields = &field, .field_count = 1};
	ptrdiff_t end = str_find_byte(input, '\n');
	int variant;

	make_once();
	if (end >= 0) {
		line = str_sub(input, 0, (size_t)end);
		field.value = str_sub(input, (size_t)end + 1, size - (size_t)end - 1);
	}
	try_path(line);
	variant = split_by_cookie(&split, &head);
	check(variant == -1 || variant == 0);
	check(split_by_value(&split, field.value) == 0);
	return 0;
}
