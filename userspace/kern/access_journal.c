#include "kern/access_journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cleanup.h"

#define NEW_FILE    ACCESS_JOURNAL_FILE ".new"
#define HEAD_FORMAT "sluice-journal 1 %016" PRIx64 " %" PRIu64 "\n"
#define BYTES_MAX   (1UL << 30)
#define COPY_BYTES  65536

/* An open journal of the ID that was asked for. */
struct journal {
	int fd;		   /* -1: there is none */
	uint64_t start;	   /* position of the first line */
	uint64_t head_len; /* bytes in front of it */
	uint64_t size;	   /* of the file, without an incomplete last line */
};

static void journal_done(struct journal *journal)
{
	close_fdp(&journal->fd);
}

bool access_mark_parse(struct str head, struct access_mark *ret_mark)
{
	char text[ACCESS_HEAD_MAX];
	struct access_mark mark;
	int len = 0;

	head.len = MIN(head.len, sizeof(text) - 1);
	if (memchr(head.ptr, '\0', head.len) || str_to_cstr(head, text, sizeof(text)))
		return false;
	if (sscanf(text, "{\"version\":1,\"journal\":\"%16" SCNx64 "\",\"offset\":%" SCNu64 ",\n%n",
		   &mark.id, &mark.offset, &len) != 2 ||
	    !len || !mark.id)
		return false;
	*ret_mark = mark;
	return true;
}

int access_mark_read(int dir_fd, struct access_mark *ret_mark, uint64_t *ret_bytes)
{
	_cleanup_close_ int fd =
		openat(dir_fd, ACCESS_OVERLAY_FILE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	char head[ACCESS_HEAD_MAX];
	struct stat status;
	ssize_t len;

	*ret_mark = (struct access_mark){0};
	*ret_bytes = 0;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	len = pread(fd, head, sizeof(head), 0);
	if (len < 0 || fstat(fd, &status))
		return -errno;
	*ret_bytes = (uint64_t)status.st_size;
	(void)access_mark_parse(str_make(head, (size_t)len), ret_mark);
	return 0;
}

/* Where the last line feed is, from `end` backwards; 0: there is none. */
static int find_last_line(int fd, uint64_t end, uint64_t *ret_end)
{
	char block[4096];

	while (end) {
		size_t len = MIN(end, (uint64_t)sizeof(block));
		ssize_t got = pread(fd, block, len, (off_t)(end - len));
		const char *feed;

		if (got != (ssize_t)len)
			return got < 0 ? -errno : -EIO;
		feed = memrchr(block, '\n', len);
		if (feed) {
			*ret_end = end - len + (uint64_t)(feed - block) + 1;
			return 0;
		}
		end -= len;
	}
	*ret_end = 0;
	return 0;
}

/* fd -1 when there is no journal of this ID; -EPROTO: it is no journal. */
static int open_journal(int dir_fd, const struct access_mark *mark, struct journal *ret_journal)
{
	_cleanup_close_ int fd =
		openat(dir_fd, ACCESS_JOURNAL_FILE, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
	struct journal journal = {.fd = -1};
	char head[ACCESS_HEAD_MAX] = "";
	struct stat status;
	uint64_t id;
	ssize_t len;
	int r, head_len = 0;

	*ret_journal = journal;
	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	len = pread(fd, head, sizeof(head) - 1, 0);
	if (len < 0 || fstat(fd, &status))
		return -errno;
	if (!S_ISREG(status.st_mode) || (uint64_t)status.st_size > BYTES_MAX)
		return -EFBIG;
	if (!memchr(head, '\n', (size_t)len))
		return 0; /* the crash was while it was made */
	if (sscanf(head, "sluice-journal 1 %16" SCNx64 " %" SCNu64 "%n", &id, &journal.start,
		   &head_len) != 2 ||
	    head[head_len] != '\n')
		return -EPROTO;
	journal.head_len = (uint64_t)head_len + 1;
	r = find_last_line(fd, (uint64_t)status.st_size, &journal.size);
	if (r || id != mark->id)
		return r;
	/* What is missing between the two cannot be told any more. */
	if (journal.start > mark->offset ||
	    mark->offset - journal.start > journal.size - journal.head_len)
		return -EPROTO;
	journal.fd = TAKE_FD(fd);
	*ret_journal = journal;
	return 0;
}

int access_journal_end(int dir_fd, const struct access_mark *mark, uint64_t *ret_end)
{
	_cleanup_(journal_done)
	struct journal journal;
	int r = open_journal(dir_fd, mark, &journal);

	if (r)
		return r;
	*ret_end = journal.fd < 0 ? mark->offset : journal.start + journal.size - journal.head_len;
	return 0;
}

static int write_all(int fd, struct str bytes)
{
	while (bytes.len) {
		ssize_t written = write(fd, bytes.ptr, bytes.len);

		if (written < 0 && errno != EINTR)
			return -errno;
		if (written > 0)
			bytes = str_sub(bytes, (size_t)written, bytes.len);
	}
	return 0;
}

/* A journal of its head and what `tail` has from `from` on (-1: nothing), in place of the old. */
static int replace_journal(int dir_fd, const struct access_mark *mark, int tail, uint64_t from,
			   struct str more)
{
	_cleanup_close_ int fd = openat(
		dir_fd, NEW_FILE, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	char block[COPY_BYTES];
	int len = snprintf(block, sizeof(block), HEAD_FORMAT, mark->id, mark->offset), r;

	if (fd < 0)
		return -errno;
	r = write_all(fd, str_make(block, (size_t)len));
	while (!r && tail >= 0) {
		ssize_t got = pread(tail, block, sizeof(block), (off_t)from);

		if (got <= 0) {
			r = got < 0 ? -errno : 0;
			break;
		}
		from += (uint64_t)got;
		r = write_all(fd, str_make(block, (size_t)got));
	}
	if (!r)
		r = write_all(fd, more);
	if (!r && (fdatasync(fd) || renameat(dir_fd, NEW_FILE, dir_fd, ACCESS_JOURNAL_FILE) ||
		   fsync(dir_fd)))
		r = -errno;
	if (r)
		(void)unlinkat(dir_fd, NEW_FILE, 0);
	return r;
}

int access_journal_append(int dir_fd, const struct access_mark *mark, struct str line)
{
	_cleanup_(journal_done)
	struct journal journal;
	int r = open_journal(dir_fd, mark, &journal);

	if (r)
		return r;
	if (journal.fd < 0)
		return replace_journal(dir_fd, mark, -1, 0, line);
	if (ftruncate(journal.fd, (off_t)journal.size))
		return -errno;
	r = write_all(journal.fd, line);
	if (!r && fdatasync(journal.fd))
		r = -errno;
	/* A line that was not kept must not come back; without its line feed it will not, either.
	 */
	if (r && ftruncate(journal.fd, (off_t)journal.size))
		return -EIO;
	return r;
}

int access_journal_trim(int dir_fd, const struct access_mark *mark)
{
	_cleanup_(journal_done)
	struct journal journal;
	int r = open_journal(dir_fd, mark, &journal);
	uint64_t from;

	if (r)
		return r;
	from = journal.head_len + mark->offset - journal.start;
	if (journal.fd < 0 || from == journal.size)
		return unlinkat(dir_fd, ACCESS_JOURNAL_FILE, 0) && errno != ENOENT ? -errno : 0;
	if (ftruncate(journal.fd, (off_t)journal.size))
		return -errno;
	return from == journal.head_len ? 0
					: replace_journal(dir_fd, mark, journal.fd, from, STR(""));
}

static int read_all(const struct journal *journal, uint64_t from, struct buf *out)
{
	uint64_t left = journal->size - from;
	char *room;
	int r = buf_reserve(out, left, &room);

	while (!r && left) {
		ssize_t got = pread(journal->fd, room + out->len, left, (off_t)from);

		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		buf_commit(out, (size_t)got);
		from += (uint64_t)got;
		left -= (uint64_t)got;
	}
	return r;
}

int access_journal_read(int dir_fd, const struct access_mark *mark,
			int (*visit)(struct str line, unsigned long number, void *arg), void *arg,
			struct error *err)
{
	_cleanup_(journal_done)
	struct journal journal;
	_cleanup_(buf_done)
	struct buf content;
	unsigned long number = 1;
	struct str text;
	int r = open_journal(dir_fd, mark, &journal);

	buf_init(&content, BYTES_MAX);
	if (!r && journal.fd >= 0)
		r = read_all(&journal, journal.head_len + mark->offset - journal.start, &content);
	if (r == -EPROTO)
		return error_set(err, r,
				 ACCESS_JOURNAL_FILE " does not go on where " ACCESS_OVERLAY_FILE
						     " ends");
	if (r)
		return error_set_errno(err, r, "cannot read " ACCESS_JOURNAL_FILE);
	text = buf_str(&content);
	while (text.len && !r) {
		size_t len = (size_t)str_find_byte(text, '\n');

		r = visit(str_sub(text, 0, len), number++, arg);
		text = str_sub(text, len + 1, text.len);
		/* A crash can have left a hole in what was being written. */
		if (r == -EINVAL && !text.len) {
			error_reset(err);
			r = 0;
		}
	}
	return r;
}
