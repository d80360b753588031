#include "conf/value_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

#define VALUE_MAX  96
#define READ_BYTES ((size_t)65536)

static int read_whole(const char *path, struct buf *content)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode))
		return S_ISDIR(status.st_mode) ? -EISDIR : -ENODEV;
	for (;;) {
		size_t most = MIN(READ_BYTES, content->cap_bytes - content->len);
		char *room, beyond;
		ssize_t got;
		int r;

		if (!most) {
			got = read(fd, &beyond, 1);
			if (got < 0 && errno == EINTR)
				continue;
			return got > 0 ? -EFBIG : got < 0 ? -errno : 0;
		}
		r = buf_reserve(content, most, &room);
		if (r)
			return r;
		got = read(fd, room, most);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : 0;
		buf_commit(content, (size_t)got);
	}
}

static int make_path(const struct field_context *context, struct str name, char path[PATH_MAX])
{
	int len;

	if (str_starts_with(name, STR("/")))
		return str_to_cstr(name, path, PATH_MAX);
	if (memchr(name.ptr, '\0', name.len))
		return -EINVAL;
	len = snprintf(path, PATH_MAX, "%s%.*s", context->base_dir, STR_FMT(name));
	return len >= 0 && len < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int value_file_read(const struct field_context *context, const struct conf_node *node,
		    const char *what, struct str name, size_t bytes_max, struct value_file *file)
{
	_cleanup_free_ char *absolute = NULL;
	char value[VALUE_MAX];
	int r;

	buf_init(&file->content, bytes_max);
	r = make_path(context, name, file->path);
	if (!r)
		r = read_whole(file->path, &file->content);
	if (r == -ENOMEM)
		return field_no_memory(context, node);
	if (r) {
		conf_error(context->errors, node, "%s: file %s cannot be read: %s", what,
			   str_quote(name, value, sizeof(value)),
			   r == -ENODEV ? "not a regular file" : strerrordesc_np(-r));
		return -EINVAL;
	}
	absolute = realpath(file->path, NULL);
	file->absolute =
		arena_copy(context->arena, str_from_cstr(absolute ? absolute : file->path));
	return file->absolute.ptr ? 0 : field_no_memory(context, node);
}
