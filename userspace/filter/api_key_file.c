/*
 * The keys file: one key a line, blank lines and lines that begin with '#' aside.
 *
 *   acme sha256:HEX groups=partners,eu scopes=read expires=2027-12-31 plan=gold
 *
 * Consumer, digest, then whatever is known of the caller: groups, scopes and the day behind the
 * last one on which the key is good (UTC) have a meaning, other names are claims. Nothing that
 * stands in the place of a digest is ever quoted in an error: it may be a key.
 */
#include <errno.h>
#include <time.h>

#include "filter/api_key.h"

#define NAME_MAX_BYTES	63
#define VALUE_BYTES_MAX 256
#define CLAIMS_MAX	32
#define LIST_MAX	64
#define VALUE_MAX	96

struct reading {
	const struct field_context *context;
	const char *path;
	uint32_t line;
	struct str text;  /* of the line */
	const char *word; /* where the word at work stands */
	bool failed;
};

static int complain(struct reading *reading, const char *sentence, struct str word)
{
	char value[VALUE_MAX];

	reading->failed = true;
	conf_error_in_file(reading->context->errors, reading->path, reading->line,
			   (uint32_t)(reading->word - reading->text.ptr) + 1, "%s%s%s", sentence,
			   word.ptr ? ": " : "",
			   word.ptr ? str_quote(word, value, sizeof(value)) : "");
	return -EINVAL;
}

static bool next_word(struct reading *reading, struct str *rest, struct str *ret_word)
{
	size_t len = 0;

	*rest = str_trim(*rest);
	if (!rest->len)
		return false;
	while (len < rest->len && rest->ptr[len] != ' ' && rest->ptr[len] != '\t')
		len++;
	reading->word = rest->ptr;
	*ret_word = str_sub(*rest, 0, len);
	*rest = str_make(rest->ptr + len, rest->len - len);
	return true;
}

static bool is_name(struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		char byte = ascii_lower(text.ptr[i]);

		if (!(byte >= 'a' && byte <= 'z') && !(byte >= '0' && byte <= '9') &&
		    !strchr("._@+:/-", byte))
			return false;
	}
	return text.len && text.len <= NAME_MAX_BYTES;
}

static bool is_value(struct str text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
			return false;
	return text.len && text.len <= VALUE_BYTES_MAX;
}

static int read_list(struct reading *reading, struct str text, const struct str **ret_list,
		     unsigned int *ret_count)
{
	struct arena *arena = reading->context->arena;
	struct str *list, item;
	unsigned int count = 0;

	if (*ret_count)
		return complain(reading, "is given twice", STR_NULL);
	list = arena_new_array(arena, struct str, LIST_MAX);
	if (!list)
		return field_no_memory(reading->context, NULL);
	while (str_next_token(&text, ',', &item)) {
		if (!is_name(item) || count == LIST_MAX)
			return complain(reading, "expected up to 64 names with ',' between them",
					item);
		list[count++] = arena_copy(arena, item);
	}
	*ret_list = list;
	*ret_count = count;
	return 0;
}

/* YYYY-MM-DD: the key is good on that day, too. */
static int read_expiry(struct reading *reading, struct str text, uint64_t *ret_seconds)
{
	struct tm day = {0};
	char buf[16];
	const char *end = NULL;
	time_t seconds;

	if (text.len == 10 && !str_to_cstr(text, buf, sizeof(buf)))
		end = strptime(buf, "%Y-%m-%d", &day);
	seconds = end && !*end ? timegm(&day) : -1;
	/* What timegm() had to put right was no date. */
	if (seconds < 0 || strftime(buf, sizeof(buf), "%Y-%m-%d", &day) != 10 ||
	    !str_eq_cstr(text, buf))
		return complain(reading, "expires: expected a day as YYYY-MM-DD", text);
	*ret_seconds = (uint64_t)seconds + 86400;
	return 0;
}

static int read_attribute(struct reading *reading, struct str word, struct api_key_entry *entry,
			  struct identity_claim *claims)
{
	struct identity_finding *finding = &entry->finding;
	ptrdiff_t equals = str_find_byte(word, '=');
	struct str name = str_sub(word, 0, equals < 0 ? 0 : (size_t)equals);
	struct str value = equals < 0 ? STR_NULL : str_sub(word, name.len + 1, word.len);
	struct arena *arena = reading->context->arena;

	if (!is_name(name) || !is_value(value))
		return complain(reading, "expected NAME=VALUE", word);
	if (str_eq(name, STR("groups")))
		return read_list(reading, value, &finding->groups, &finding->group_count);
	if (str_eq(name, STR("scopes")))
		return read_list(reading, value, &finding->scopes, &finding->scope_count);
	if (str_eq(name, STR("expires")))
		return read_expiry(reading, value, &entry->expires_s);
	if (str_eq(name, STR("consumer")))
		return complain(reading, "the consumer is the first word of the line", STR_NULL);
	for (unsigned int i = 0; i < finding->claim_count; i++)
		if (str_eq(claims[i].name, name))
			return complain(reading, "is given twice", name);
	if (finding->claim_count == CLAIMS_MAX)
		return complain(reading, "more than 32 claims", STR_NULL);
	claims[finding->claim_count++] = (struct identity_claim){.name = arena_copy(arena, name),
								 .value = arena_copy(arena, value)};
	return 0;
}

static int read_line(struct reading *reading, struct api_key_entry *entry)
{
	struct identity_claim claims[CLAIMS_MAX], *kept;
	struct identity_finding *finding = &entry->finding;
	struct arena *arena = reading->context->arena;
	struct str rest = reading->text, word;

	if (!next_word(reading, &rest, &word))
		return 0;
	if (!is_name(word))
		return complain(reading,
				"a consumer has up to 63 letters, digits and . _ @ + : / -",
				STR_NULL);
	finding->scheme = "api_key";
	finding->consumer = arena_copy(arena, word);
	reading->word = rest.ptr;
	if (!next_word(reading, &rest, &word) || !str_starts_with(word, STR("sha256:")) ||
	    !digest_from_hex(str_sub(word, 7, word.len), entry->digest))
		return complain(reading,
				"expected 'sha256:' and the 64 hex digits of the key's SHA-256",
				STR_NULL);
	while (next_word(reading, &rest, &word))
		if (read_attribute(reading, word, entry, claims))
			return -EINVAL;
	kept = arena_new_array(arena, struct identity_claim, finding->claim_count);
	if (!kept)
		return field_no_memory(reading->context, NULL);
	if (finding->claim_count)
		memcpy(kept, claims, finding->claim_count * sizeof(*kept));
	finding->claims = kept;
	return 0;
}

static bool is_key_line(struct str line)
{
	line = str_trim(line);
	return line.len && line.ptr[0] != '#';
}

static bool next_line(struct str *rest, struct str *ret_line)
{
	ptrdiff_t end;

	if (!rest->len)
		return false;
	end = str_find_byte(*rest, '\n');
	*ret_line = end < 0 ? *rest : str_make(rest->ptr, (size_t)end);
	*rest = end < 0 ? str_make(rest->ptr + rest->len, 0)
			: str_make(rest->ptr + end + 1, rest->len - (size_t)end - 1);
	if (ret_line->len && ret_line->ptr[ret_line->len - 1] == '\r')
		ret_line->len--;
	return true;
}

static int make_room(const struct field_context *context, struct str text,
		     struct api_key_table *table)
{
	struct str line;
	unsigned int lines = 0;
	size_t slots = 4;

	while (next_line(&text, &line))
		lines += is_key_line(line);
	while (slots < (size_t)lines * 2)
		slots *= 2;
	table->entries = arena_new_array(context->arena, struct api_key_entry, lines);
	table->slots = arena_new_array(context->arena, uint32_t, slots);
	table->mask = (uint32_t)slots - 1;
	return table->entries && table->slots ? 0 : field_no_memory(context, NULL);
}

static bool put(struct api_key_table *table, uint32_t number)
{
	const uint8_t *digest = table->entries[number - 1].digest;
	uint32_t at;

	memcpy(&at, digest, sizeof(at));
	for (; table->slots[at & table->mask]; at++)
		if (digest_equal(table->entries[table->slots[at & table->mask] - 1].digest, digest))
			return false;
	table->slots[at & table->mask] = number;
	return true;
}

int api_key_file_parse(const struct field_context *context, const char *path, struct str text,
		       struct api_key_table *table)
{
	struct reading reading = {.context = context, .path = path};
	unsigned int lines = 0;

	if (make_room(context, text, table))
		return -EINVAL;
	while (next_line(&text, &reading.text)) {
		struct api_key_entry *entry = &table->entries[table->count];

		reading.line++;
		reading.word = reading.text.ptr;
		if (!is_key_line(reading.text))
			continue;
		lines++;
		if (read_line(&reading, entry)) {
			reading.failed = true;
			memset(entry, 0, sizeof(*entry));
			continue;
		}
		table->count++;
		if (!put(table, table->count)) {
			reading.word = reading.text.ptr;
			table->count--;
			(void)complain(&reading, "the same key stands in an earlier line",
				       STR_NULL);
		}
	}
	if (!lines) {
		conf_error_in_file(context->errors, path, 1, 1, "there is no key in the file");
		return -EINVAL;
	}
	return reading.failed ? -EINVAL : 0;
}
