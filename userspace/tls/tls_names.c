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

static void collect(struct tls_server *server)
{
	for (unsigned int i = 0; i < server->identity_count; i++) {
		const struct tls_identity *identity = server->identities[i];

		for (unsigned int j = 0; j < identity->name_count; j++)
			server->names[server->name_count++] = (struct tls_name){
				.name = identity->names[j],
				.identity = (uint16_t)i,
			};
	}
	qsort(server->names, server->name_count, sizeof(*server->names), compare_names);
}

/* The first of each kind, in the order of the file. */
static struct tls_tuple tuple_of(const struct tls_server *server, const struct tls_name *names,
				 unsigned int count)
{
	struct tls_tuple tuple;

	for (unsigned int kind = 0; kind < TLS_KEY_KINDS; kind++)
		tuple.identities[kind] = TLS_NO_IDENTITY;
	for (unsigned int i = 0; i < count; i++) {
		unsigned int kind = server->identities[names[i].identity]->kind;

		if (tuple.identities[kind] == TLS_NO_IDENTITY)
			tuple.identities[kind] = names[i].identity;
	}
	return tuple;
}

/* From the last: names in the order of the alphabet often share certificates with those before. */
static unsigned int add_tuple(struct tls_server *server, const struct tls_tuple *tuple)
{
	for (unsigned int i = server->tuple_count; i > 0; i--)
		if (!memcmp(&server->tuples[i - 1], tuple, sizeof(*tuple)))
			return i - 1;
	server->tuples[server->tuple_count] = *tuple;
	return server->tuple_count++;
}

/* The first certificate, with those of other kinds for the first of its names. */
static void add_default(struct tls_server *server)
{
	const struct tls_identity *first = server->identities[0];
	struct tls_name alone = {.identity = 0};
	struct tls_tuple tuple = tuple_of(server, &alone, 1);

	for (unsigned int i = 0; first->name_count && i < server->name_count; i++) {
		const struct tls_name *name = &server->names[i];
		unsigned int kind = server->identities[name->identity]->kind;

		if (!strcmp(name->name, first->names[0]) &&
		    tuple.identities[kind] == TLS_NO_IDENTITY)
			tuple.identities[kind] = name->identity;
	}
	(void)add_tuple(server, &tuple);
}

/* Each name once, with its tuple. */
static void fold(struct tls_server *server)
{
	unsigned int kept = 0, next;

	for (unsigned int i = 0; i < server->name_count; i = next) {
		struct tls_tuple tuple;
		struct tls_name name = server->names[i];

		for (next = i + 1; next < server->name_count; next++)
			if (strcmp(server->names[next].name, name.name) != 0)
				break;
		tuple = tuple_of(server, &server->names[i], next - i);
		name.tuple = (uint16_t)add_tuple(server, &tuple);
		server->names[kept++] = name;
	}
	server->name_count = kept;
}

int tls_names_build(struct tls_server *server, struct error *err)
{
	unsigned int count = 0;

	if (server->tuples)
		return 0;
	for (unsigned int i = 0; i < server->identity_count; i++)
		count += server->identities[i]->name_count;
	server->names = calloc(count + 1, sizeof(*server->names));
	server->tuples = calloc(count + 1, sizeof(*server->tuples));
	if (!server->names || !server->tuples)
		return error_set(err, -ENOMEM, "out of memory");
	if (count >= TLS_NO_IDENTITY)
		return error_set(err, -E2BIG, "more than %d names in certificates",
				 TLS_NO_IDENTITY - 1);
	collect(server);
	add_default(server);
	fold(server);
	return 0;
}

static int compare_key(const void *key, const void *item)
{
	return strcmp(key, ((const struct tls_name *)item)->name);
}

static const struct tls_name *find(const struct tls_server *server, const char *name)
{
	return bsearch(name, server->names, server->name_count, sizeof(*server->names),
		       compare_key);
}

unsigned int tls_names_find(const struct tls_server *server, struct str name)
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
	found = find(server, text);
	dot = strchr(text, '.');
	if (!found && dot && dot > text) {
		/* "*.example.com" stands for one label (RFC 6125 6.4.3). */
		dot[-1] = '*';
		found = find(server, dot - 1);
	}
	return found ? found->tuple : 0;
}
