#include "http/route_template.h"

#include <errno.h>

#define NAME_BYTES_MAX 32

static bool is_name(struct str name)
{
	if (!name.len || name.len > NAME_BYTES_MAX)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		char byte = name.ptr[i];

		if (!(byte >= 'a' && byte <= 'z') && byte != '_' &&
		    !(i && byte >= '0' && byte <= '9'))
			return false;
	}
	return true;
}

static bool has_brace(struct str segment)
{
	return str_find_byte(segment, '{') >= 0 || str_find_byte(segment, '}') >= 0;
}

static int parse_name(const struct route_template *template, struct str name, struct error *err)
{
	char quoted[96];

	(void)str_quote(name, quoted, sizeof(quoted));
	if (!is_name(name))
		return error_set(err, -EINVAL,
				 "%s is not a parameter's name (1 to %d of a-z, 0-9 and '_', not a "
				 "digit first)",
				 quoted, NAME_BYTES_MAX);
	if (template->param_count == ROUTE_PARAMS_MAX)
		return error_set(err, -EINVAL, "at most %d parameters", ROUTE_PARAMS_MAX);
	for (unsigned int i = 0; i < template->shape.count; i++)
		if (!(template->shape.literals & (1u << i)) && str_eq(template->segments[i], name))
			return error_set(err, -EINVAL, "parameter %s is there twice", quoted);
	return 0;
}

static int parse_segment(struct route_template *template, struct str segment, bool last,
			 struct error *err)
{
	struct route_shape *shape = &template->shape;
	bool is_param =
		segment.len >= 2 && segment.ptr[0] == '{' && segment.ptr[segment.len - 1] == '}';
	char quoted[96];
	int r;

	(void)str_quote(segment, quoted, sizeof(quoted));
	if (is_param)
		segment = str_sub(segment, 1, segment.len - 2);
	if (has_brace(segment))
		return error_set(err, -EINVAL,
				 "%s: a parameter is a whole segment, as in /{id}/ (a brace itself "
				 "is written %%7B or %%7D)",
				 quoted);
	if (is_param && str_ends_with(segment, STR("*"))) {
		segment.len--;
		r = parse_name(template, segment, err);
		if (r)
			return r;
		if (!last)
			return error_set(err, -EINVAL, "%s must be the last segment", quoted);
		shape->rest = true;
		template->rest = segment;
		template->param_count++;
		return 0;
	}
	if (shape->count == ROUTE_TEMPLATE_SEGMENTS_MAX)
		return error_set(err, -EINVAL, "at most %d segments", ROUTE_TEMPLATE_SEGMENTS_MAX);
	if (is_param) {
		r = parse_name(template, segment, err);
		if (r)
			return r;
		template->param_count++;
	} else {
		shape->literals |= 1u << shape->count;
	}
	template->segments[shape->count++] = segment;
	return 0;
}

int route_template_parse(struct str text, struct arena *arena, struct route_template **ret_template,
			 struct error *err)
{
	struct route_template *template = arena_new(arena, struct route_template);
	struct str rest = arena_copy(arena, str_sub(text, 1, text.len - 1));
	bool last = false;
	int r = 0;

	if (!template || !rest.ptr)
		return -ENOMEM;
	while (!r && !last) {
		ptrdiff_t at = str_find_byte(rest, '/');
		struct str segment = rest;

		last = at < 0;
		if (!last) {
			segment.len = (size_t)at;
			rest = str_make(rest.ptr + at + 1, rest.len - (size_t)at - 1);
		}
		r = parse_segment(template, segment, last, err);
	}
	if (!r && !template->param_count)
		r = error_set(err, -EINVAL, "has no {parameter}; 'exact' is for such a path");
	if (!r)
		*ret_template = template;
	return r;
}

int route_shape_compare(struct route_shape left, struct route_shape right)
{
	int left_literals = __builtin_popcount(left.literals);
	int right_literals = __builtin_popcount(right.literals);
	uint32_t differ = left.literals ^ right.literals;

	if (left_literals != right_literals)
		return right_literals - left_literals;
	if (left.rest != right.rest)
		return left.rest ? 1 : -1;
	if (left.count != right.count)
		return right.count - left.count;
	if (!differ)
		return 0;
	return left.literals & (differ & -differ) ? -1 : 1;
}

bool route_shape_fits(struct route_shape shape, const struct route_path_segments *segments)
{
	uint64_t params = ~(uint64_t)shape.literals & (((uint64_t)1 << shape.count) - 1);

	if (shape.rest ? segments->count <= shape.count : segments->count != shape.count)
		return false;
	return !(segments->empty & params);
}

void route_path_split(struct str path, struct route_path_segments *ret_segments)
{
	const char *pos = path.ptr + 1, *end = path.ptr + path.len;

	ret_segments->count = 0;
	ret_segments->empty = 0;
	if (!path.len)
		return;
	while (ret_segments->count < ARRAY_SIZE(ret_segments->items)) {
		const char *slash = memchr(pos, '/', (size_t)(end - pos));
		size_t len = (size_t)((slash ? slash : end) - pos);

		if (!len)
			ret_segments->empty |= (uint64_t)1 << ret_segments->count;
		ret_segments->items[ret_segments->count++] = str_make(pos, len);
		if (!slash)
			return;
		pos = slash + 1;
	}
}

bool route_template_literals_match(const struct route_template *template,
				   const struct route_path_segments *segments)
{
	for (uint32_t left = template->shape.literals; left; left &= left - 1) {
		int i = __builtin_ctz(left);

		if (!str_eq(template->segments[i], segments->items[i]))
			return false;
	}
	return true;
}

bool route_template_matches(const struct route_template *template, struct str path)
{
	struct route_path_segments segments;

	route_path_split(path, &segments);
	return route_shape_fits(template->shape, &segments) &&
	       route_template_literals_match(template, &segments);
}

unsigned int route_template_params(const struct route_template *template, struct str path,
				   struct route_param *ret_params)
{
	struct route_path_segments segments;
	unsigned int count = 0;

	route_path_split(path, &segments);
	for (unsigned int i = 0; i < template->shape.count; i++)
		if (!(template->shape.literals & (1u << i)))
			ret_params[count++] =
				(struct route_param){template->segments[i], segments.items[i]};
	if (template->shape.rest) {
		const char *start = segments.items[template->shape.count].ptr;

		ret_params[count++] = (struct route_param){
			template->rest, str_make(start, (size_t)(path.ptr + path.len - start))};
	}
	return count;
}

bool route_template_same(const struct route_template *left, const struct route_template *right)
{
	if (route_shape_compare(left->shape, right->shape))
		return false;
	for (unsigned int i = 0; i < left->shape.count; i++)
		if ((left->shape.literals & (1u << i)) &&
		    !str_eq(left->segments[i], right->segments[i]))
			return false;
	return true;
}
