#include "tools/args.h"

#include <errno.h>
#include <string.h>

#include "base/duration.h"
#include "base/str.h"
#include "tools/cli.h"

#define QUOTED_MAX   80
#define ARG_KEYS_MAX 16

const char *args_peek(const struct args *args)
{
	return args->count > 0 ? args->words[0] : NULL;
}

const char *args_take(struct args *args)
{
	if (args->count <= 0)
		return NULL;
	args->count--;
	return *args->words++;
}

int names_find(const char *word, const char *const *names)
{
	struct str wanted = str_from_cstr(word);
	int found = -ENOENT;

	if (str_is_empty(wanted))
		return -ENOENT;
	for (int i = 0; names[i]; i++) {
		struct str name = str_from_cstr(names[i]);

		if (str_eq(name, wanted))
			return i;
		if (str_starts_with(name, wanted))
			found = found == -ENOENT ? i : -ENOTUNIQ;
	}
	return found;
}

const char *names_suggest(const char *word, const char *const *names)
{
	struct str wanted = str_from_cstr(word);
	unsigned int allowed = wanted.len <= 3 ? 1 : wanted.len <= 6 ? 2 : 3;
	unsigned int nearest = allowed + 1;
	const char *suggestion = NULL;

	if (str_is_empty(wanted))
		return NULL;
	for (int i = 0; names[i]; i++) {
		unsigned int distance = str_distance(wanted, str_from_cstr(names[i]), allowed + 1);

		if (distance < nearest) {
			nearest = distance;
			suggestion = names[i];
		}
	}
	return suggestion;
}

/* "status, deny or allow", of those that start with `start`. */
static void join_names(struct buf *out, const char *const *names, struct str start)
{
	const char *held = NULL;
	bool first = true;

	for (int i = 0; names[i]; i++) {
		if (!str_starts_with(str_from_cstr(names[i]), start))
			continue;
		if (held) {
			(void)buf_printf(out, "%s'%s'", first ? "" : ", ", held);
			first = false;
		}
		held = names[i];
	}
	if (held)
		(void)buf_printf(out, "%s'%s'", first ? "" : " or ", held);
}

int names_require(struct cli *cli, const char *what, const char *word, const char *const *names)
{
	_cleanup_(buf_done)
	struct buf list = {.cap_bytes = 4096};
	char quoted[QUOTED_MAX];
	const char *suggestion;
	int found;

	found = names_find(word, names);
	if (found >= 0)
		return found;

	str_quote(str_from_cstr(word), quoted, sizeof(quoted));
	if (found == -ENOTUNIQ) {
		join_names(&list, names, str_from_cstr(word));
		return p_usage(cli, "%s %s is ambiguous: %.*s", what, quoted,
			       STR_FMT(buf_str(&list)));
	}
	suggestion = names_suggest(word, names);
	if (suggestion)
		return p_usage(cli, "unknown %s %s; did you mean '%s'?", what, quoted, suggestion);
	join_names(&list, names, STR(""));
	return p_usage(cli, "unknown %s %s; expected %.*s", what, quoted, STR_FMT(buf_str(&list)));
}

int args_read_keys(struct cli *cli, struct args *args, const struct arg_key *keys)
{
	const char *names[ARG_KEYS_MAX + 1] = {NULL};
	bool seen[ARG_KEYS_MAX] = {false};
	const char *word;

	for (int i = 0; keys[i].name && i < ARG_KEYS_MAX; i++)
		names[i] = keys[i].name;
	while ((word = args_take(args))) {
		int key = names_require(cli, "key", word, names);

		if (key < 0)
			return key;
		if (seen[key])
			return p_usage(cli, "'%s' is given twice", names[key]);
		seen[key] = true;
		if (!keys[key].value_name) {
			*keys[key].ret_value = names[key];
			continue;
		}
		*keys[key].ret_value = args_take(args);
		if (!*keys[key].ret_value)
			return p_usage(cli, "'%s' needs a value: %s %s", names[key], names[key],
				       keys[key].value_name);
	}
	return 0;
}

int args_read_value(struct cli *cli, struct args *args, const char *name, const char *value_name,
		    const char **ret_value)
{
	const char *word = args_take(args);

	if (word && !strcmp(word, name))
		word = args_take(args);
	if (!word)
		return p_usage(cli, "%s is missing; see 'sluice %s help'", value_name,
			       cli->object_name);
	*ret_value = word;
	return 0;
}

int args_parse_number(struct cli *cli, const char *name, const char *text, uint64_t min,
		      uint64_t max, uint64_t *ret_number)
{
	char quoted[QUOTED_MAX];
	uint64_t number;

	if (!text)
		return 0;
	if (str_to_u64(str_from_cstr(text), &number) || number < min || number > max)
		return p_usage(cli, "%s %s: expected a whole number of %llu to %llu", name,
			       str_quote(str_from_cstr(text), quoted, sizeof(quoted)),
			       (unsigned long long)min, (unsigned long long)max);
	*ret_number = number;
	return 0;
}

int args_parse_duration(struct cli *cli, const char *name, const char *text, uint64_t min_ms,
			uint64_t max_ms, uint64_t *ret_ms)
{
	char quoted[QUOTED_MAX];
	uint64_t ms;

	if (!text)
		return 0;
	if (duration_parse_ms(str_from_cstr(text), &ms) || ms < min_ms || ms > max_ms)
		return p_usage(cli,
			       "%s %s: expected a duration of %llums to %llus, such as 500ms or 2s",
			       name, str_quote(str_from_cstr(text), quoted, sizeof(quoted)),
			       (unsigned long long)min_ms, (unsigned long long)max_ms / 1000);
	*ret_ms = ms;
	return 0;
}

int args_expect_end(struct cli *cli, const struct args *args)
{
	char quoted[QUOTED_MAX];

	if (args->count <= 0)
		return 0;
	return p_usage(cli, "unexpected argument %s; see 'sluice %s help'",
		       str_quote(str_from_cstr(args->words[0]), quoted, sizeof(quoted)),
		       cli->object_name);
}
