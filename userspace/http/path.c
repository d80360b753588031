#include "http/path.h"

#include <errno.h>

#include "base/util.h"

/* RFC 3986 2.3: written without encoding in the canonical form. */
static bool is_unreserved(unsigned char byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
	       (byte >= '0' && byte <= '9') || byte == '-' || byte == '.' || byte == '_' ||
	       byte == '~';
}

static int hex_value(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	if (digit >= 'a' && digit <= 'f')
		return digit - 'a' + 10;
	if (digit >= 'A' && digit <= 'F')
		return digit - 'A' + 10;
	return -1;
}

/* Nothing to do for it: no escape, no dot segment, no backslash. */
static bool is_canonical(struct str path)
{
	for (size_t i = 0; i < path.len; i++) {
		if (path.ptr[i] == '%' || path.ptr[i] == '\\')
			return false;
		if (path.ptr[i] == '.' && path.ptr[i - 1] == '/')
			return false; /* perhaps a dot segment; ".well-known" only costs the copy */
	}
	return true;
}

/* Decodes what may be decoded into `out`; refuses what readers disagree about. */
static int decode_once(struct str path, char *out, size_t *ret_len)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t len = 0;

	for (size_t i = 0; i < path.len; i++) {
		unsigned char byte = (unsigned char)path.ptr[i];
		int high, low;

		if (byte == '\\')
			return -EINVAL;
		if (byte != '%') {
			out[len++] = (char)byte;
			continue;
		}
		if (i + 2 >= path.len)
			return -EINVAL;
		high = hex_value(path.ptr[i + 1]);
		low = hex_value(path.ptr[i + 2]);
		if (high < 0 || low < 0)
			return -EINVAL;
		byte = (unsigned char)(high * 16 + low);
		if (byte == '/' || byte == '\\' || byte < 0x20 || byte == 0x7f)
			return -EINVAL;
		if (is_unreserved(byte)) {
			out[len++] = (char)byte;
		} else {
			out[len++] = '%';
			out[len++] = digits[byte >> 4];
			out[len++] = digits[byte & 15];
		}
		i += 2;
	}
	*ret_len = len;
	return 0;
}

/* In place; what is written never overtakes what is read. */
static int remove_dot_segments(char *path, size_t *len)
{
	size_t read = 0, write = 0;

	while (read < *len) {
		size_t end = read + 1; /* path[read] is '/' */
		size_t segment;

		while (end < *len && path[end] != '/')
			end++;
		segment = end - read - 1;
		if (segment == 1 && path[read + 1] == '.') {
			if (end == *len)
				path[write++] = '/';
		} else if (segment == 2 && path[read + 1] == '.' && path[read + 2] == '.') {
			/* Above the root, or over an empty segment that others would merge away. */
			if (write == 0 || path[write - 1] == '/')
				return -EINVAL;
			while (path[write - 1] != '/')
				write--;
			write--;
			if (end == *len)
				path[write++] = '/';
		} else {
			memmove(path + write, path + read, end - read);
			write += end - read;
		}
		read = end;
	}
	*len = write;
	return 0;
}

int path_canonicalise(struct str path, struct arena *arena, struct str *ret_path)
{
	char *out;
	size_t len;
	int ret;

	if (!path.len || path.ptr[0] != '/')
		return -EINVAL;
	if (LIKELY(is_canonical(path))) {
		*ret_path = path;
		return 0;
	}
	out = arena_alloc_bytes(arena, path.len + 1);
	if (!out)
		return -ENOMEM;
	ret = decode_once(path, out, &len);
	if (ret < 0)
		return ret;
	ret = remove_dot_segments(out, &len);
	if (ret < 0)
		return ret;
	if (len == 0)
		out[len++] = '/';
	*ret_path = str_make(out, len);
	return 0;
}
