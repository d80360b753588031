#include "filter/rewrite.h"

#include <errno.h>

#include "http/exchange.h"
#include "http/local_answer.h"
#include "http/path.h"

/* ---- the path ---- */

/* Below `prefix`, which has no last '/': /api and /api/x are, /apis is not. */
static bool is_below(struct str path, struct str prefix)
{
	return str_starts_with(path, prefix) &&
	       (path.len == prefix.len || path.ptr[prefix.len] == '/');
}

static int replace_prefix(const struct rewrite *rewrite, struct arena *arena, struct str *path)
{
	struct str rest =
		str_sub(*path, rewrite->from_segments.len, path->len - rewrite->from_segments.len);

	if (!rewrite->to_segments.len) {
		/* Taking away needs no copy. */
		*path = rest.len ? rest : STR("/");
		return 1;
	}
	*path = arena_printf(arena, "%.*s%.*s", STR_FMT(rewrite->to_segments), STR_FMT(rest));
	return path->ptr ? 1 : -ENOMEM;
}

static bool is_plain_in_query(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || strchr("-._~/%", byte);
}

/* In a query '&', '=', '+' and their like would be more than text. What is encoded stays so. */
static size_t put_in_query(char *out, struct str text)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = 0;

	for (size_t i = 0; i < text.len; i++) {
		unsigned char byte = (unsigned char)text.ptr[i];

		if (is_plain_in_query((char)byte)) {
			out[len++] = (char)byte;
			continue;
		}
		out[len++] = '%';
		out[len++] = digits[byte >> 4];
		out[len++] = digits[byte & 15];
	}
	return len;
}

static int replace_whole(const struct rewrite *rewrite, const struct str *groups,
			 struct arena *arena, struct str *path, struct str *query)
{
	size_t room_bytes = 1, path_len = 0, len = 0;
	char *out;

	for (unsigned int i = 0; i < rewrite->part_count; i++) {
		const struct rewrite_part *part = &rewrite->parts[i];

		if (part->group < 0)
			room_bytes += part->text.len;
		else
			room_bytes += groups[part->group].len * (part->in_query ? 3 : 1);
	}
	out = arena_alloc_bytes(arena, room_bytes);
	if (!out)
		return -ENOMEM;
	for (unsigned int i = 0; i < rewrite->part_count; i++) {
		const struct rewrite_part *part = &rewrite->parts[i];
		struct str text = part->group < 0 ? part->text : groups[part->group];

		if (part->group >= 0 && part->in_query) {
			len += put_in_query(out + len, text);
		} else if (text.len) { /* a group that took no part is nothing */
			memcpy(out + len, text.ptr, text.len);
			len += text.len;
		}
		if (!part->in_query)
			path_len = len;
	}
	*path = str_make(out, path_len);
	if (rewrite->has_query)
		*query = str_make(out + path_len, len - path_len);
	return 1;
}

int rewrite_path(const struct rewrite *rewrite, bool unsafe, struct arena *arena, struct str *path,
		 struct str *query)
{
	struct str groups[ROUTE_REGEX_GROUPS_MAX];
	struct str canonical;
	bool ambiguous;
	int r;

	if (rewrite->regex) {
		if (!route_regex_find(rewrite->regex, *path, groups, ARRAY_SIZE(groups)))
			return 0;
		r = replace_whole(rewrite, groups, arena, path, query);
	} else {
		if (!rewrite->prefix.ptr || !is_below(*path, rewrite->from_segments))
			return 0;
		r = replace_prefix(rewrite, arena, path);
	}
	if (r < 0)
		return r;
	r = path_canonicalise_flagged(*path, arena, &canonical, &ambiguous);
	if (r < 0)
		return r;
	return str_eq(canonical, *path) && (unsafe || !ambiguous) ? 1 : -EINVAL;
}

/* ---- the policy ---- */

/* One prefix after the other is one prefix only where the second begins with what the first made.
 */
static void note_for_answers(struct exchange *exchange, const struct rewrite *rewrite)
{
	bool rewritten_before = exchange->rewritten.public_prefix.ptr != NULL;
	bool follows = !rewritten_before ||
		       str_eq(exchange->rewritten.upstream_prefix, rewrite->from_segments);

	if (rewrite->regex || exchange->rewritten.opaque || !follows) {
		exchange->rewritten.opaque = true;
		return;
	}
	if (!rewritten_before)
		exchange->rewritten.public_prefix = rewrite->from_segments;
	exchange->rewritten.upstream_prefix = rewrite->to_segments;
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	const struct rewrite *rewrite = conf;
	int r = rewrite_path(rewrite, exchange->route->unsafe_paths, &exchange->arena,
			     &exchange->upstream_path, &exchange->upstream_query);

	if (r < 0) {
		local_answer_start_error(exchange, r == -ENOMEM ? 503 : 400,
					 r == -ENOMEM ? "out of memory for the request"
						      : "the rewritten path is not canonical");
		return POLICY_ANSWERED;
	}
	if (r)
		note_for_answers(exchange, rewrite);
	if (rewrite->host.ptr)
		exchange->upstream_host = rewrite->host;
	return POLICY_NEXT;
}

static bool proxy_only(const void *conf)
{
	(void)conf;
	return true;
}

const struct policy_type rewrite_policy = {
	.key = "rewrite",
	.conf_bytes = sizeof(struct rewrite),
	.proxy_only = proxy_only,
	.read = rewrite_read,
	.write = rewrite_write,
	.request_head = request_head,
};
