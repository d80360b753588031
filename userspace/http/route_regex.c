#include "http/route_regex.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/util.h"

/*
 * Limits of one match. A subject is at most a URL or a field (some KiB), and a pattern that goes
 * through it once or a few times stays far below them.
 */
#define MATCH_STEPS_MAX	    100000u
#define MATCH_DEPTH_MAX	    20000u
#define MATCH_HEAP_KIB_MAX  4096u
#define JIT_STACK_BYTES	    (32u * 1024)
#define JIT_STACK_BYTES_MAX (1024u * 1024) /* reserved; used by need */

struct route_regex {
	struct str pattern;
	pcre2_code *code;
	uint32_t group_count;
	bool jit;
};

/* Per thread, for as long as it lives. */
struct scratch {
	pcre2_match_context *context;
	pcre2_match_data *data;
	pcre2_jit_stack *stack;
};

static _Thread_local struct scratch *scratch;
static pthread_key_t scratch_key;
static pthread_once_t scratch_once = PTHREAD_ONCE_INIT;
static bool scratch_key_made;
static _Thread_local uint64_t limit_hits;

static void scratch_free(void *pointer)
{
	struct scratch *it = pointer;

	if (!it)
		return;
	pcre2_jit_stack_free(it->stack);
	pcre2_match_data_free(it->data);
	pcre2_match_context_free(it->context);
	free(it);
}

static void make_scratch_key(void)
{
	scratch_key_made = !pthread_key_create(&scratch_key, scratch_free);
}

static struct scratch *scratch_new(void)
{
	struct scratch *it = calloc(1, sizeof(*it));

	if (!it)
		return NULL;
	it->context = pcre2_match_context_create(NULL);
	it->data = pcre2_match_data_create(ROUTE_REGEX_GROUPS_MAX, NULL);
	/* Without it the JIT has 32 KiB of the thread's stack, which long subjects can use up. */
	it->stack = pcre2_jit_stack_create(JIT_STACK_BYTES, JIT_STACK_BYTES_MAX, NULL);
	(void)pthread_once(&scratch_once, make_scratch_key);
	if (!it->context || !it->data || !scratch_key_made ||
	    pthread_setspecific(scratch_key, it)) {
		scratch_free(it);
		return NULL;
	}
	(void)pcre2_set_match_limit(it->context, MATCH_STEPS_MAX);
	(void)pcre2_set_depth_limit(it->context, MATCH_DEPTH_MAX);
	(void)pcre2_set_heap_limit(it->context, MATCH_HEAP_KIB_MAX);
	if (it->stack)
		pcre2_jit_stack_assign(it->context, NULL, it->stack);
	scratch = it;
	return it;
}

static void release_code(void *code)
{
	pcre2_code_free(code);
}

static int refuse(struct route_regex_error *error, int code, size_t offset)
{
	error->offset = offset;
	/* Cut with a NUL when it is longer. */
	(void)pcre2_get_error_message(code, (PCRE2_UCHAR *)error->text, sizeof(error->text));
	return -EINVAL;
}

int route_regex_compile(struct str pattern, enum route_regex_span span, struct arena *arena,
			struct route_regex **ret_regex, struct route_regex_error *reterr_error)
{
	uint32_t options =
		PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_NEVER_BACKSLASH_C;
	struct route_regex *regex = arena_new(arena, struct route_regex);
	PCRE2_SIZE offset = 0;
	int code = 0;

	if (!regex)
		return -ENOMEM;
	if (pattern.len > ROUTE_REGEX_BYTES_MAX) {
		reterr_error->offset = ROUTE_REGEX_BYTES_MAX;
		(void)snprintf(reterr_error->text, sizeof(reterr_error->text),
			       "a pattern has at most %d bytes", ROUTE_REGEX_BYTES_MAX);
		return -EINVAL;
	}
	if (span == ROUTE_REGEX_WHOLE)
		options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED;
	regex->pattern = arena_copy(arena, pattern);
	if (!regex->pattern.ptr)
		return -ENOMEM;
	regex->code = pcre2_compile((PCRE2_SPTR)regex->pattern.ptr, regex->pattern.len, options,
				    &code, &offset, NULL);
	if (!regex->code)
		return code == PCRE2_ERROR_HEAP_FAILED ? -ENOMEM
						       : refuse(reterr_error, code, offset);
	if (!arena_at_end(arena, release_code, regex->code)) {
		pcre2_code_free(regex->code);
		return -ENOMEM;
	}
	/* Refused under W^X rules and in some containers: then the interpreter does it. */
	regex->jit = !pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
	(void)pcre2_pattern_info(regex->code, PCRE2_INFO_CAPTURECOUNT, &regex->group_count);
	*ret_regex = regex;
	return 0;
}

struct str route_regex_pattern(const struct route_regex *regex)
{
	return regex->pattern;
}

unsigned int route_regex_group_count(const struct route_regex *regex)
{
	return regex->group_count;
}

bool route_regex_is_jit(const struct route_regex *regex)
{
	return regex->jit;
}

uint64_t route_regex_limit_hits(void)
{
	return limit_hits;
}

/* Groups found, or 0. */
static int match(const struct route_regex *regex, struct str subject)
{
	const struct scratch *it = scratch ? scratch : scratch_new();
	int r = PCRE2_ERROR_NOMEMORY;

	if (it)
		r = pcre2_match(regex->code, (PCRE2_SPTR)(subject.ptr ? subject.ptr : ""),
				subject.len, 0, 0, it->data, it->context);
	/* 0: it matched with more groups than there is room for. */
	if (r >= 0)
		return r ? r : ROUTE_REGEX_GROUPS_MAX;
	if (r != PCRE2_ERROR_NOMATCH)
		limit_hits++;
	return 0;
}

bool route_regex_matches(const struct route_regex *regex, struct str subject)
{
	return match(regex, subject) > 0;
}

bool route_regex_find(const struct route_regex *regex, struct str subject, struct str *ret_groups,
		      unsigned int group_max)
{
	int count = match(regex, subject);
	const PCRE2_SIZE *ends;

	if (!count)
		return false;
	ends = pcre2_get_ovector_pointer(scratch->data);
	for (unsigned int i = 0; i < group_max; i++) {
		PCRE2_SIZE start = ends[2 * i], end = ends[2 * i + 1];

		/* With \K in a lookahead a match can end before it starts. */
		if ((int)i >= count || start == PCRE2_UNSET || start > end)
			ret_groups[i] = STR_NULL;
		else
			ret_groups[i] = str_sub(subject, start, end - start);
	}
	return true;
}

static bool is_one_of(char byte, const char *bytes)
{
	return byte && strchr(bytes, byte);
}

static bool is_plain(char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || is_one_of(byte, "/-_~:@!%&=,;'\" ");
}

static char byte_at(struct str text, size_t at)
{
	return at < text.len ? text.ptr[at] : '\0';
}

/* Place behind the class that begins at `at`; 0: it is not one that we can tell the end of. */
static size_t skip_class(struct str pattern, size_t at)
{
	at++;
	if (byte_at(pattern, at) == '^')
		at++;
	if (byte_at(pattern, at) == ']')
		at++;
	for (; at < pattern.len; at++) {
		if (pattern.ptr[at] == ']')
			return at + 1;
		if (pattern.ptr[at] == '[')
			return 0;
		if (pattern.ptr[at] == '\\')
			at++;
	}
	return 0;
}

/*
 * Does an alternative stand outside of groups, or does the pattern use what could hide one from
 * this reading: quoting, comments, verbs, options?
 */
static bool may_have_alternatives(struct str pattern)
{
	int depth = 0;

	for (size_t at = 0; at < pattern.len;) {
		char byte = pattern.ptr[at], next = byte_at(pattern, at + 1);

		if (byte == '|' && depth <= 0)
			return true;
		if (byte == '\\' && is_one_of(next, "QE"))
			return true;
		if (byte == '(' && next == '*')
			return true;
		if (byte == '(' && next == '?' && !is_one_of(byte_at(pattern, at + 2), ":<P=!>|"))
			return true;
		if (byte == '[') {
			at = skip_class(pattern, at);
			if (!at)
				return true;
			continue;
		}
		depth += (byte == '(') - (byte == ')');
		at += byte == '\\' ? 2 : 1;
	}
	return false;
}

size_t route_regex_literal_prefix(struct str pattern, char *buf, size_t room)
{
	size_t len = 0, at = 0, last = 0;

	if (may_have_alternatives(pattern))
		return 0;
	if (byte_at(pattern, 0) == '^')
		at = 1;
	while (at < pattern.len && len < room) {
		char byte = pattern.ptr[at];

		if (byte == '\\' && is_one_of(byte_at(pattern, at + 1), "./-"))
			byte = pattern.ptr[++at];
		else if (!is_plain(byte))
			break;
		last = len;
		buf[len++] = byte;
		at++;
	}
	/* A quantifier makes the last byte one that need not be there. */
	if (is_one_of(byte_at(pattern, at), "?*{"))
		len = last;
	return len;
}
