#include "http/path.h"

#include <errno.h>

#include "base/util.h"

/* What a raw byte of a path is. */
enum path_byte {
	BYTE_PLAIN,   /* RFC 3986 3.3 pchar, and '/' */
	BYTE_SPECIAL, /* '%' */
	BYTE_ENCODE,  /* visible, but not allowed raw: written as %XX */
	BYTE_REFUSE,  /* controls, space, backslash, '?', '#' and beyond ASCII */
};

#define IN(byte, first, last) ((byte) >= (first) && (byte) <= (last))
#define IS_UNRESERVED(byte)                                                                        \
	(IN(byte, '0', '9') || IN(byte, 'a', 'z') || IN(byte, 'A', 'Z') || (byte) == '-' ||        \
	 (byte) == '.' || (byte) == '_' || (byte) == '~')
#define IS_PLAIN(byte)                                                                             \
	(IS_UNRESERVED(byte) || (byte) == '/' || (byte) == '!' || (byte) == '$' ||                 \
	 IN(byte, '&', ',') || (byte) == ';' || (byte) == '=' || (byte) == ':' || (byte) == '@')
#define KIND(byte)                                                                                 \
	(IS_PLAIN(byte)	 ? BYTE_PLAIN                                                              \
	 : (byte) == '%' ? BYTE_SPECIAL                                                            \
	 : !IN(byte, 0x21, 0x7e) || (byte) == '\\' || (byte) == '?' || (byte) == '#'               \
		 ? BYTE_REFUSE                                                                     \
		 : BYTE_ENCODE)
#define KIND4(byte)  KIND(byte), KIND((byte) + 1), KIND((byte) + 2), KIND((byte) + 3)
#define KIND16(byte) KIND4(byte), KIND4((byte) + 4), KIND4((byte) + 8), KIND4((byte) + 12)
#define KIND64(byte) KIND16(byte), KIND16((byte) + 16), KIND16((byte) + 32), KIND16((byte) + 48)

static const uint8_t kinds[256] = {KIND64(0), KIND64(64), KIND64(128), KIND64(192)};

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

/* Nothing to do for it: only plain bytes, no dot segment, no "//". */
static bool is_canonical(struct str path)
{
	unsigned char before = '/';

	for (size_t i = 1; i < path.len; i++) {
		unsigned char byte = (unsigned char)path.ptr[i];

		if (kinds[byte] != BYTE_PLAIN)
			return false;
		/* Perhaps a dot segment; ".well-known" only costs the copy. */
		if (before == '/' && (byte == '.' || byte == '/'))
			return false;
		before = byte;
	}
	return true;
}

static char *put_escape(char *out, unsigned char byte)
{
	static const char digits[] = "0123456789ABCDEF";

	*out++ = '%';
	*out++ = digits[byte >> 4];
	*out++ = digits[byte & 15];
	return out;
}

/* Decodes what may be decoded into `out`, which has room for what is encoded. */
static int decode_once(struct str path, char *out, size_t *ret_len)
{
	char *start = out;

	for (size_t i = 0; i < path.len; i++) {
		unsigned char byte = (unsigned char)path.ptr[i];
		int high, low;

		switch (kinds[byte]) {
		case BYTE_PLAIN:
			*out++ = (char)byte;
			continue;
		case BYTE_ENCODE:
			out = put_escape(out, byte);
			continue;
		case BYTE_REFUSE:
			return -EINVAL;
		default:
			break;
		}
		if (i + 2 >= path.len)
			return -EINVAL;
		high = hex_value(path.ptr[i + 1]);
		low = hex_value(path.ptr[i + 2]);
		if (high < 0 || low < 0)
			return -EINVAL;
		byte = (unsigned char)(high * 16 + low);
		if (byte < 0x20 || byte == 0x7f)
			return -EINVAL;
		if (IS_UNRESERVED(byte))
			*out++ = (char)byte;
		else
			out = put_escape(out, byte);
		i += 2;
	}
	*ret_len = (size_t)(out - start);
	return 0;
}

/* Length of what some readers take for a separator at `at`, an escape of '/' or '\'; 0: none. */
static size_t hidden_separator(const char *path, size_t at, size_t end)
{
	if (path[at] != '%' || end - at < 3)
		return 0;
	return !memcmp(path + at, "%2F", 3) || !memcmp(path + at, "%5C", 3) ? 3 : 0;
}

static bool is_dots(const char *part, size_t len)
{
	return len > 0 && len <= 2 && part[0] == '.' && part[len - 1] == '.';
}

/* One segment: does it hold a hidden separator, and a dot segment beside one? */
static int look_into(const char *path, size_t start, size_t end, bool *ret_hides)
{
	size_t part = start;

	*ret_hides = false;
	for (size_t i = start; i < end; i++) {
		size_t skip = hidden_separator(path, i, end);

		if (!skip)
			continue;
		*ret_hides = true;
		if (is_dots(path + part, i - part))
			return -EINVAL;
		i += skip - 1;
		part = i + 1;
	}
	return *ret_hides && is_dots(path + part, end - part) ? -EINVAL : 0;
}

/*
 * In place; what is written never overtakes what is read. A ".." that climbs above the root, over
 * an empty segment or over one with a hidden separator is refused: other readers end elsewhere.
 */
static int remove_dot_segments(char *path, size_t *len, bool *ret_ambiguous)
{
	size_t read = 0, write = 0;

	while (read < *len) {
		size_t end = read + 1, last; /* path[read] is '/' */
		bool hides;

		while (end < *len && path[end] != '/')
			end++;
		if (!is_dots(path + read + 1, end - read - 1)) {
			if (look_into(path, read + 1, end, &hides))
				return -EINVAL;
			memmove(path + write, path + read, end - read);
			write += end - read;
		} else if (end - read == 2) {
			if (end == *len)
				path[write++] = '/';
		} else {
			if (write == 0 || path[write - 1] == '/')
				return -EINVAL;
			for (last = write; path[last - 1] != '/'; last--)
				;
			(void)look_into(path, last, write, &hides);
			if (hides)
				return -EINVAL;
			write = last - 1;
			if (end == *len)
				path[write++] = '/';
		}
		read = end;
	}
	if (write == 0)
		path[write++] = '/';
	*len = write;
	*ret_ambiguous = false;
	for (size_t i = 1; i < write && !*ret_ambiguous; i++)
		*ret_ambiguous =
			(path[i] == '/' && path[i - 1] == '/') || hidden_separator(path, i, write);
	return 0;
}

int path_canonicalise_flagged(struct str path, struct arena *arena, struct str *ret_path,
			      bool *ret_ambiguous)
{
	size_t len = path.len;
	char *out;
	int ret;

	if (!path.len || path.ptr[0] != '/')
		return -EINVAL;
	if (LIKELY(is_canonical(path))) {
		*ret_path = path;
		*ret_ambiguous = false;
		return 0;
	}
	for (size_t i = 0; i < path.len; i++)
		len += kinds[(unsigned char)path.ptr[i]] == BYTE_ENCODE ? 2 : 0;
	out = arena_alloc_bytes(arena, len);
	if (!out)
		return -ENOMEM;
	ret = decode_once(path, out, &len);
	if (ret < 0)
		return ret;
	ret = remove_dot_segments(out, &len, ret_ambiguous);
	if (ret < 0)
		return ret;
	*ret_path = str_make(out, len);
	return 0;
}

int path_canonicalise(struct str path, struct arena *arena, struct str *ret_path)
{
	bool ambiguous;
	int ret = path_canonicalise_flagged(path, arena, ret_path, &ambiguous);

	return ret == 0 && ambiguous ? -EINVAL : ret;
}
