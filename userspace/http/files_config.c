#include "http/files_config.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>

#include "base/cleanup.h"
#include "conf/names.h"
#include "http/route_config.h"

#define VALUE_MAX 96
#define WHAT_MAX  160

/* Absolute, but with its links as they are: a reload looks again where they lead. */
static int root_path(const struct field_context *context, struct str value, char path[PATH_MAX])
{
	_cleanup_free_ char *base = NULL;
	int len;

	if (str_starts_with(value, STR("/")))
		return str_to_cstr(value, path, PATH_MAX);
	base = realpath(*context->base_dir ? context->base_dir : ".", NULL);
	if (!base)
		return -errno;
	len = snprintf(path, PATH_MAX, "%s/%.*s", base, STR_FMT(value));
	return len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* NULL, or why it cannot be used. */
static const char *check_directory(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0)
		return NULL;
	if (errno != EACCES)
		return strerror(errno);
	/* Landlock lets nothing be opened there; without that, files may be read all the same. */
	if (!access(path, R_OK))
		return "it is none of those that were named when the daemon started: restart it";
	return access(path, X_OK) ? strerror(EACCES) : NULL;
}

static int root_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct route_files *files = target;
	char value[VALUE_MAX], path[PATH_MAX];
	const char *reason;
	int r;

	if (node->type != CONF_SCALAR || !node->value.len) {
		conf_error(context->errors, node, "%s: root: expected a directory, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	r = root_path(context, node->value, path);
	reason = r ? strerror(-r) : check_directory(path);
	if (reason) {
		conf_error(context->errors, node, "%s: root: directory %s cannot be used: %s",
			   context->what, str_quote(node->value, value, sizeof(value)), reason);
		return -EINVAL;
	}
	files->root = arena_copy(context->arena, str_from_cstr(path));
	return files->root.ptr ? 0 : field_no_memory(context, node);
}

static void root_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct route_files *)target)->root);
}

static bool is_file_name(struct str name)
{
	return name.len && name.len <= NAME_MAX && str_find_byte(name, '/') < 0 &&
	       str_find_byte(name, '\0') < 0 && !str_eq(name, STR(".")) && !str_eq(name, STR(".."));
}

static int index_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	const struct conf_node *item = node->type == CONF_SEQUENCE ? node->children : node;
	struct route_files *files = target;
	char what[WHAT_MAX], value[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: index", context->what);
	if (texts_read(context, node, what, &files->indexes, &files->index_count))
		return -EINVAL;
	for (unsigned int i = 0; i < files->index_count; i++, item = item->next) {
		if (is_file_name(files->indexes[i]))
			continue;
		conf_error(context->errors, item,
			   "%s: expected the name of a file, without '/', "
			   "got %s",
			   what, str_quote(item->value, value, sizeof(value)));
		result = -EINVAL;
	}
	return result;
}

static void index_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route_files *files = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < files->index_count; i++)
		conf_write_str(writer, NULL, files->indexes[i]);
	conf_write_close(writer);
}

/* What is known of each file itself. */
static bool is_of_the_file(struct str name)
{
	static const struct str names[] = {STR("content-type"), STR("content-range"),
					   STR("accept-ranges"), STR("etag"), STR("last-modified")};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_eq_nocase(name, names[i]))
			return true;
	return false;
}

static int files_headers_read(const struct field_context *context, const struct conf_node *node,
			      void *target)
{
	struct route_files *files = target;
	char value[VALUE_MAX];
	int r = route_headers_read(context, node, &files->fields, &files->field_count);

	if (node->type != CONF_MAPPING)
		return r;
	conf_for_each (member, node) {
		if (!is_of_the_file(member->key))
			continue;
		conf_error_key(context->errors, member,
			       "%s: headers: %s is written by Sluice itself", context->what,
			       str_quote(member->key, value, sizeof(value)));
		r = -EINVAL;
	}
	return r;
}

static void files_headers_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct route_files *files = target;

	route_headers_write(writer, key, files->fields, files->field_count);
}

static const struct field files_fields[] = {
	{.key = "root",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = root_read,
	 .print = root_print},
	{.key = "index", .kind = FIELD_CUSTOM, .read = index_read, .print = index_print},
	{.key = "hidden",
	 .kind = FIELD_BOOL,
	 .offset = offsetof(struct route_files, hidden),
	 .default_text = "off"},
	{.key = "headers",
	 .kind = FIELD_CUSTOM,
	 .read = files_headers_read,
	 .print = files_headers_print},
};

int files_config_read(const struct field_context *context, const struct conf_node *node,
		      const char *what, struct route_files *files)
{
	files->indexes = arena_new(context->arena, struct str);
	if (!files->indexes)
		return field_no_memory(context, node);
	files->indexes[0] = STR("index.html");
	files->index_count = 1;
	return field_read(context, files_fields, ARRAY_SIZE(files_fields), node, what, files);
}

void files_config_write(struct conf_writer *writer, const struct route_files *files)
{
	field_write(writer, files_fields, ARRAY_SIZE(files_fields), files);
}
