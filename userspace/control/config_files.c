#include "control/config_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "conf/conf.h"

#define UNREADABLE_BYTES_MAX (64u << 10)

DEFINE_FREEP(struct conf_errors, conf_errors_free)
DEFINE_FREEP(struct conf_doc, conf_doc_free)

struct walk {
	const char *config_path;
	int (*visit)(const char *path, void *arg);
	void *arg;
};

static int visit_named(const struct walk *walk, struct str name, const char *suffix)
{
	struct str config = str_from_cstr(walk->config_path);
	char path[PATH_MAX];
	int len;

	while (config.len && config.ptr[config.len - 1] != '/')
		config.len--;
	if (name.len && name.ptr[0] == '/')
		config.len = 0;
	len = snprintf(path, sizeof(path), "%.*s%.*s%s", STR_FMT(config), STR_FMT(name), suffix);
	if (len < 0 || (size_t)len >= sizeof(path))
		return 0; /* no file system has it: loading it reports that */
	return walk->visit(path, walk->arg);
}

/* What the files of `tls` are: named without saying that they are files. */
static int walk_tls(const struct walk *walk, const struct conf_node *node)
{
	static const char *const keys[] = {"cert", "key", "ocsp", "ca", "crl", "file"};
	int r;

	if (node->type == CONF_SCALAR) {
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			if (str_eq_cstr(node->key, keys[i]))
				return visit_named(walk, node->value, "");
		return 0;
	}
	conf_for_each (child, node) {
		r = walk_tls(walk, child);
		if (r)
			return r;
	}
	return 0;
}

/* Depth is bounded by the parser of conf/. */
static int walk_node(const struct walk *walk, const struct conf_node *node)
{
	int r;

	if (node->type == CONF_SCALAR)
		return str_eq_cstr(node->key, "file") ? visit_named(walk, node->value, "") : 0;
	if (node->type == CONF_MAPPING && str_eq_cstr(node->key, "files")) {
		const struct conf_node *root = conf_get(node, "root");

		return root && root->type == CONF_SCALAR ? visit_named(walk, root->value, "/.") : 0;
	}
	conf_for_each (child, node) {
		if (str_eq_cstr(child->key, "access_log"))
			continue; /* written, not read */
		/* The pages of `errors` are files without saying so. */
		if (child->type == CONF_SCALAR && str_eq_cstr(node->key, "errors"))
			r = visit_named(walk, child->value, "");
		else if (str_eq_cstr(child->key, "tls"))
			r = walk_tls(walk, child);
		else
			r = walk_node(walk, child);
		if (r)
			return r;
	}
	return 0;
}

int config_files_walk(const char *config_path, int (*visit)(const char *path, void *arg), void *arg)
{
	const struct walk walk = {config_path, visit, arg};
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new(config_path);
	_cleanup_(conf_doc_freep)
	struct conf_doc *doc = NULL;
	int r;

	if (!errors)
		return -ENOMEM;
	r = visit(config_path, arg);
	if (r)
		return r;
	r = conf_load_file(config_path, errors, &doc);
	if (r)
		return r;
	return doc->root ? walk_node(&walk, doc->root) : 0;
}

/* ---- readable by whom ---- */

struct path_list {
	char **paths;
	unsigned int count;
};

static void path_list_done(struct path_list *list)
{
	for (unsigned int i = 0; i < list->count; i++)
		free(list->paths[i]);
	free(list->paths);
}

static int path_list_add(const char *path, void *arg)
{
	struct path_list *list = arg;
	char **grown = reallocarray(list->paths, list->count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	list->paths = grown;
	grown[list->count] = strdup(path);
	if (!grown[list->count])
		return -ENOMEM;
	list->count++;
	return 0;
}

/* In the child: nothing is allocated, so that a fork of a threaded process may do it. */
static void report_unreadable(const struct path_list *list, const struct user *user, int out)
{
	int r = user_become(user);

	for (unsigned int i = 0; i < list->count; i++) {
		bool is_directory = str_ends_with(str_from_cstr(list->paths[i]), STR("/."));
		int flags = is_directory ? O_PATH : O_RDONLY | O_NONBLOCK;
		int fd = r ? -1 : open(list->paths[i], flags | O_CLOEXEC);

		if (fd >= 0)
			(void)close(fd);
		else
			dprintf(out, "%s: user '%s' cannot read it: %s\n", list->paths[i],
				user->name, strerror(r ? -r : errno));
	}
}

static int read_to_end(int fd, struct buf *out)
{
	ssize_t got;
	char *room;
	int r;

	for (;;) {
		r = buf_reserve(out, 4096, &room);
		if (r)
			return r;
		got = read(fd, room, 4096);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : 0;
		buf_commit(out, (size_t)got);
	}
}

int config_files_find_unreadable(const char *config_path, const struct user *user, struct buf *out,
				 unsigned int *ret_count)
{
	_cleanup_(path_list_done)
	struct path_list list = {0};
	_cleanup_close_ int read_end = -1;
	_cleanup_(buf_done)
	struct buf found;
	unsigned int count = 0;
	int ends[2], status, r;
	pid_t child;

	buf_init(&found, UNREADABLE_BYTES_MAX);
	r = config_files_walk(config_path, path_list_add, &list);
	if (r)
		return r;
	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	read_end = ends[0];
	child = fork();
	if (child < 0) {
		r = -errno;
		(void)close(ends[1]);
		return r;
	}
	if (child == 0) {
		report_unreadable(&list, user, ends[1]);
		_exit(0);
	}
	(void)close(ends[1]);
	r = read_to_end(read_end, &found);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (r)
		return r;
	for (size_t i = 0; i < found.len; i++)
		count += buf_str(&found).ptr[i] == '\n';
	r = buf_append(out, buf_str(&found));
	if (r)
		return r;
	*ret_count = count;
	return 0;
}
