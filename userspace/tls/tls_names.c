/* Which certificates a name has: see tls_context.h. */
#include "tls/tls_server.h"

#include <errno.h>
#include <stdlib.h>

#include "base/util.h"

#define NAME_BYTES_MAX 253

static int compare_names(const void *left_ptr, const void *right_ptr)
{
	const struct tls_name *left = left_ptr, *right = right_ptr;
	int r = strcmp(left->name, right->name);

	return r ? r : (int)left->identity - (int)right->identity;
}

static void collect(struct tls_set *set)
{
	for (unsigned int i = 0; i < set->identity_count; i++) {
		const struct tls_identity *identity = set->identities[i];

		for (unsigned int j = 0; j < identity->name_count; j++)
			set->names[set->name_count++] = (struct tls_name){
				.name = identity->names[j],
				.identity = (uint16_t)i,
			};
	}
	qsort(set->names, set->name_count, sizeof(*set->names), compare_names);
}

/* The first of each kind, in the order of the file. */
static struct tls_tuple tuple_of(const struct tls_set *set, const struct tls_name *names,
				 unsigned int count)
{
	struct tls_tuple tuple;

	for (unsigned int kind = 0; kind < TLS_KEY_KINDS; kind++)
		tuple.identities[kind] = TLS_NO_IDENTITY;
	for (unsigned int i = 0; i < count; i++) {
		unsigned int kind = set->identities[names[i].identity]->kind;

		if (tuple.identities[kind] == TLS_NO_IDENTITY)
			tuple.identities[kind] = names[i].identity;
	}
	return tuple;
}

/* From the last: names in the order of the alphabet often share certificates with those before. */
static unsigned int add_tuple(struct tls_set *set, const struct tls_tuple *tuple)
{
	for (unsigned int i = set->tuple_count; i > 0; i--)
		if (!memcmp(&set->tuples[i - 1], tuple, sizeof(*tuple)))
			return i - 1;
	set->tuples[set->tuple_count] = *tuple;
	return set->tuple_count++;
}

/* The first certificate, with those of other kinds for the first of its names. */
static void add_default(struct tls_set *set)
{
	const struct tls_identity *first = set->identities[0];
	struct tls_name alone = {.identity = 0};
	struct tls_tuple tuple = tuple_of(set, &alone, 1);

	for (unsigned int i = 0; first->name_count && i < set->name_count; i++) {
		const struct tls_name *name = &set->names[i];
		unsigned int kind = set->identities[name->identity]->kind;

		if (!strcmp(name->name, first->names[0]) &&
		    tuple.identities[kind] == TLS_NO_IDENTITY)
			tuple.identities[kind] = name->identity;
	}
	(void)add_tuple(set, &tuple);
}

/* Each name once, with its tuple. */
static void fold(struct tls_set *set)
{
	unsigned int kept = 0, next;

	for (unsigned int i = 0; i < set->name_count; i = next) {
		struct tls_tuple tuple;
		struct tls_name name = set->names[i];

		for (next = i + 1; next < set->name_count; next++)
			if (strcmp(set->names[next].name, name.name) != 0)
				break;
		tuple = tuple_of(set, &set->names[i], next - i);
		name.tuple = (uint16_t)add_tuple(set, &tuple);
		set->names[kept++] = name;
	}
	set->name_count = kept;
}

int tls_names_build(struct tls_set *set, struct error *err)
{
	unsigned int count = 0;

	if (set->tuples)
		return 0;
	for (unsigned int i = 0; i < set->identity_count; i++)
		count += set->identities[i]->name_count;
	set->names = calloc(count + 1, sizeof(*set->names));
	set->tuples = calloc(count + 1, sizeof(*set->tuples));
	if (!set->names || !set->tuples)
		return error_set(err, -ENOMEM, "out of memory");
	if (count >= TLS_NO_IDENTITY)
		return error_set(err, -E2BIG, "more than %d names in certificates",
				 TLS_NO_IDENTITY - 1);
	collect(set);
	add_default(set);
	fold(set);
	return 0;
}

static int compare_key(const void *key, const void *item)
{
	return strcmp(key, ((const struct tls_name *)item)->name);
}

static const struct tls_name *find(const struct tls_set *set, const char *name)
{
	return bsearch(name, set->names, set->name_count, sizeof(*set->names), compare_key);
}

unsigned int tls_names_find(const struct tls_set *set, struct str name)
{
	const struct tls_name *found;
	char text[NAME_BYTES_MAX + 2];
	char *dot;

	if (name.len && name.ptr[name.len - 1] == '.')
		name.len--;
	if (!name.len || name.len > NAME_BYTES_MAX || memchr(name.ptr, '\0', name.len))
		return 0;
	for (size_t i = 0; i < name.len; i++)
		text[i] = ascii_lower(name.ptr[i]);
	text[name.len] = '\0';
	found = find(set, text);
	dot = strchr(text, '.');
	if (!found && dot && dot > text) {
		/* "*.example.com" stands for one label (RFC 6125 6.4.3). */
		dot[-1] = '*';
		found = find(set, dot - 1);
	}
	return found ? found->tuple : 0;
}
