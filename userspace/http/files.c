#include "http/files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/conditional.h"
#include "http/files_name.h"
#include "http/files_root.h"
#include "http/local_answer.h"
#include "http/media_type.h"
#include "http/worker_internal.h"
#include "proto/http_date.h"
#include "proto/http_range.h"

/* As much is read and sent together with the head; from 16 KiB on sendfile(2) costs less. */
#define READ_MAX_BYTES (8u * 1024)
#define NAME_BYTES     4096 /* of a path, as everywhere in Linux */
#define OPEN_TRIES     4
#define BOUNDARY_BYTES 16
#define FIELDS_OWN_MAX 8
#define RECENT_SECONDS 2

/* One file on its way into an answer. */
struct found_file {
	int fd;
	uint64_t size_bytes;
	struct http_validators validators;
	struct str type;
	char etag_room[64];
	char modified_room[HTTP_DATE_LEN];
};

/* ---- opening ---- */

/*
 * O_NONBLOCK: opening a FIFO must not wait for a writer. Links may lead about inside the directory;
 * absolute ones, those that leave it and those of /proc are refused by the kernel (Linux 5.6).
 */
static int open_beneath(int dir_fd, const char *name)
{
	struct open_how how = {
		.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -1;

	for (int try = 0; try < OPEN_TRIES && fd < 0; try++) {
		fd = syscall(SYS_openat2, dir_fd, name, &how, sizeof(how));
		/* Again: something was renamed while ".." of a link was looked at. */
		if (fd < 0 && errno != EAGAIN && errno != EINTR)
			break;
	}
	return fd < 0 ? -errno : (int)fd;
}

static void fail_open(struct exchange *exchange, int error)
{
	switch (error) {
	case -ENOENT:
	case -ENOTDIR:
	case -ENAMETOOLONG:
	case -ELOOP:
	case -EXDEV: /* beyond the root */
	case -ENXIO: /* a socket */
	case -ENODEV:
		exchange_fail(exchange, 404, "no such file");
		break;
	case -EACCES:
	case -EPERM:
		exchange_fail(exchange, 403, "the file may not be read");
		break;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
	case -EAGAIN:
	case -EINTR:
		exchange_fail(exchange, 503, "the file cannot be opened now");
		break;
	default:
		exchange_fail(exchange, 500, "the file cannot be opened");
	}
}

/* 0 with a regular file, -EISDIR, or another negative errno. */
static int open_file(const struct exchange *exchange, const char *name, int *ret_fd,
		     struct stat *ret_info)
{
	_cleanup_close_ int fd = open_beneath(exchange->route->files.directory->dir_fd, name);

	if (fd < 0)
		return fd;
	if (fstat(fd, ret_info))
		return -errno;
	if (S_ISDIR(ret_info->st_mode))
		return -EISDIR;
	if (!S_ISREG(ret_info->st_mode))
		return -ENOENT;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* The first index that is there. */
static int open_index(const struct exchange *exchange, char *room, size_t len, int *ret_fd,
		      struct stat *ret_info, struct str *ret_name)
{
	const struct route_files *files = &exchange->route->files;
	int r = -ENOENT;

	for (unsigned int i = 0; i < files->index_count && (r == -ENOENT || r == -EISDIR); i++) {
		if (str_to_cstr(files->indexes[i], room + len, NAME_BYTES - len))
			return -ENAMETOOLONG;
		r = open_file(exchange, room, ret_fd, ret_info);
		*ret_name = files->indexes[i];
	}
	return r == -EISDIR ? -ENOENT : r;
}

/* ---- answers without a body ---- */

static void redirect_to_directory(struct exchange *exchange)
{
	struct http_field fields[2];
	/* It cannot begin with "//", which would name another host: names have no empty segments.
	 */
	struct str location = arena_printf(&exchange->arena, "%.*s/%.*s", STR_FMT(exchange->path),
					   STR_FMT(exchange->query));

	if (!location.ptr) {
		exchange_fail(exchange, 503, "out of memory for the answer");
		return;
	}
	fields[0] =
		(struct http_field){STR("date"), worker_date(exchange->worker), HTTP_FIELD_DATE};
	fields[1] = (struct http_field){STR("location"), location, HTTP_FIELD_LOCATION};
	exchange_respond(exchange, 301, fields, 2, STR(""), false);
}

static void fail_range(struct exchange *exchange, const struct found_file *file)
{
	struct str value = arena_printf(&exchange->arena, "bytes */%llu",
					(unsigned long long)file->size_bytes);

	if (value.ptr && exchange->added_count < EXCHANGE_ADDED_MAX)
		exchange->added[exchange->added_count++] =
			(struct http_field){STR("content-range"), value, HTTP_FIELD_CONTENT_RANGE};
	exchange_fail(exchange, 416, "none of the ranges is in the file");
}

/* ---- heads ---- */

struct field_list {
	struct http_field *fields;
	unsigned int count;
};

static void add_field(struct field_list *list, enum http_field_id id, struct str name,
		      struct str value)
{
	list->fields[list->count++] = (struct http_field){name, value, id};
}

/* Those of every answer about the file, 304 included (RFC 9110 15.4.5). */
static bool begin_fields(struct exchange *exchange, const struct found_file *file,
			 struct field_list *ret_list)
{
	const struct route_files *files = &exchange->route->files;
	struct field_list *list = ret_list;

	list->count = 0;
	list->fields = arena_new_array(&exchange->arena, struct http_field,
				       files->field_count + FIELDS_OWN_MAX);
	if (!list->fields) {
		exchange_fail(exchange, 503, "out of memory for the answer");
		return false;
	}
	add_field(list, HTTP_FIELD_DATE, STR("date"), worker_date(exchange->worker));
	add_field(list, HTTP_FIELD_OTHER, STR("etag"), file->validators.etag);
	add_field(list, HTTP_FIELD_OTHER, STR("last-modified"),
		  str_make(file->modified_room, HTTP_DATE_LEN));
	for (unsigned int i = 0; i < files->field_count; i++)
		add_field(list, HTTP_FIELD_OTHER, files->fields[i].name, files->fields[i].value);
	return true;
}

static void respond_not_modified(struct exchange *exchange, const struct found_file *file)
{
	struct field_list list;

	if (begin_fields(exchange, file, &list))
		exchange_respond(exchange, 304, list.fields, list.count, STR(""), false);
}

/* ---- bodies ---- */

/* Everything below has its place in the answer's order: head, data, file, data ... */
static bool begin_body(struct exchange *exchange, uint16_t status, const struct field_list *list,
		       uint64_t length)
{
	bool has_body = exchange_has_response_body(exchange, status) && length;
	const struct exchange_response response = {
		.status = status,
		.fields = list->fields,
		.field_count = list->count,
		.framing = has_body ? HTTP_FRAMING_LENGTH : HTTP_FRAMING_NONE,
		.content_length = length,
		.has_content_length = true,
	};

	exchange->action = NULL;
	return exchange_send_head(exchange, &response);
}

static void end_body(struct exchange *exchange)
{
	exchange_send_end(exchange, NULL, 0);
	exchange->downstream->flush(exchange);
}

/* 0, or a negative errno: what was announced is not there. */
static int read_range(int fd, char *room, const struct http_range *range)
{
	size_t done = 0;

	while (done < range->len) {
		ssize_t got =
			pread(fd, room + done, range->len - done, (off_t)(range->first + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ENODATA;
		done += (size_t)got;
	}
	return 0;
}

/* The descriptor goes into segments of the downstream's queue. NULL: out of memory. */
static struct send_file *take_file(struct exchange *exchange, struct found_file *file)
{
	struct send_file *taken = send_file_new(&exchange->worker->segments, file->fd);

	if (taken)
		file->fd = -1;
	return taken;
}

/* The whole, or one range of it. */
static void respond_range(struct exchange *exchange, struct found_file *file, uint16_t status,
			  const struct field_list *list, const struct http_range *range)
{
	bool has_body = exchange_has_response_body(exchange, status) && range->len;
	struct send_file *queued = NULL;
	char *room = NULL;
	bool wanted;

	if (has_body && range->len <= READ_MAX_BYTES) {
		room = arena_alloc_bytes(&exchange->arena, range->len);
		if (room && read_range(file->fd, room, range)) {
			exchange_fail(exchange, 500, "the file cannot be read");
			return;
		}
	} else if (has_body) {
		queued = take_file(exchange, file);
	}
	if (has_body && !room && !queued) {
		exchange_fail(exchange, 503, "out of memory for the answer");
		return;
	}
	wanted = begin_body(exchange, status, list, range->len);
	if (wanted && room)
		wanted = exchange_send_data(exchange, str_make(room, range->len), NULL);
	else if (wanted && queued)
		wanted = exchange_send_file(exchange, queued, range->first, range->len);
	send_file_unref(queued);
	if (wanted)
		end_body(exchange);
}

/* Parts of a multipart body as RFC 9110 14.6 has them; the heads of parts are made beforehand. */
struct multipart {
	char boundary[2 * BOUNDARY_BYTES + 1];
	struct str heads[HTTP_RANGES_MAX];
	struct str end;
	uint64_t length;
};

static bool multipart_make(struct exchange *exchange, const struct found_file *file,
			   const struct http_range *ranges, unsigned int count,
			   struct multipart *ret_multipart)
{
	struct multipart *multipart = ret_multipart;
	unsigned char random[BOUNDARY_BYTES];

	/* Nobody may know it beforehand, or a file could be made to hold a part of its own. */
	if (getrandom(random, sizeof(random), GRND_NONBLOCK) != sizeof(random))
		return false;
	for (size_t i = 0; i < sizeof(random); i++)
		(void)snprintf(multipart->boundary + 2 * i, 3, "%02x", random[i]);
	multipart->length = 0;
	for (unsigned int i = 0; i < count; i++) {
		multipart->heads[i] =
			arena_printf(&exchange->arena,
				     "%s--%s\r\nContent-Type: %.*s\r\nContent-Range: bytes "
				     "%llu-%llu/%llu\r\n\r\n",
				     i ? "\r\n" : "", multipart->boundary, STR_FMT(file->type),
				     (unsigned long long)ranges[i].first,
				     (unsigned long long)(ranges[i].first + ranges[i].len - 1),
				     (unsigned long long)file->size_bytes);
		if (!multipart->heads[i].ptr)
			return false;
		multipart->length += multipart->heads[i].len + ranges[i].len;
	}
	multipart->end = arena_printf(&exchange->arena, "\r\n--%s--\r\n", multipart->boundary);
	multipart->length += multipart->end.len;
	return multipart->end.ptr != NULL;
}

static void respond_parts(struct exchange *exchange, struct found_file *file,
			  struct field_list *list, const struct http_range *ranges,
			  unsigned int count)
{
	struct multipart multipart;
	bool has_body = exchange_has_response_body(exchange, 206), wanted;
	struct send_file *queued = NULL;
	struct str type = STR_NULL;

	if (multipart_make(exchange, file, ranges, count, &multipart)) {
		type = arena_printf(&exchange->arena, "multipart/byteranges; boundary=%s",
				    multipart.boundary);
	}
	if (type.ptr)
		queued = take_file(exchange, file);
	if (!queued) {
		exchange_fail(exchange, 503, "out of memory for the answer");
		return;
	}
	add_field(list, HTTP_FIELD_CONTENT_TYPE, STR("content-type"), type);
	wanted = begin_body(exchange, 206, list, multipart.length);
	for (unsigned int i = 0; i < count && has_body && wanted; i++)
		wanted = exchange_send_data(exchange, multipart.heads[i], NULL) &&
			 exchange_send_file(exchange, queued, ranges[i].first, ranges[i].len);
	if (has_body && wanted)
		wanted = exchange_send_data(exchange, multipart.end, NULL);
	send_file_unref(queued);
	if (wanted)
		end_body(exchange);
}

static void respond_single(struct exchange *exchange, struct found_file *file, uint16_t status,
			   struct field_list *list, const struct http_range *range)
{
	struct str value;

	add_field(list, HTTP_FIELD_CONTENT_TYPE, STR("content-type"), file->type);
	if (status == 200) {
		add_field(list, HTTP_FIELD_OTHER, STR("accept-ranges"), STR("bytes"));
	} else {
		value = arena_printf(&exchange->arena, "bytes %llu-%llu/%llu",
				     (unsigned long long)range->first,
				     (unsigned long long)(range->first + range->len - 1),
				     (unsigned long long)file->size_bytes);
		if (!value.ptr) {
			exchange_fail(exchange, 503, "out of memory for the answer");
			return;
		}
		add_field(list, HTTP_FIELD_CONTENT_RANGE, STR("content-range"), value);
	}
	respond_range(exchange, file, status, list, range);
}

static void respond_file(struct exchange *exchange, struct found_file *file)
{
	struct http_range ranges[HTTP_RANGES_MAX] = {{0, file->size_bytes}};
	struct str wanted = conditional_range(&exchange->request, &file->validators);
	enum http_range_result result = HTTP_RANGE_IGNORED;
	struct field_list list;
	unsigned int count = 1;

	if (wanted.ptr)
		result = http_range_parse(wanted, file->size_bytes, ranges, &count);
	if (result == HTTP_RANGE_UNSATISFIABLE) {
		fail_range(exchange, file);
		return;
	}
	if (!begin_fields(exchange, file, &list))
		return;
	if (result == HTTP_RANGE_SATISFIABLE && count > 1)
		respond_parts(exchange, file, &list, ranges, count);
	else
		respond_single(exchange, file, result == HTTP_RANGE_SATISFIABLE ? 206 : 200, &list,
			       &ranges[0]);
}

/* ---- the whole ---- */

/*
 * A file that changed a moment ago may change again without its time or length showing it: its tag
 * is weak until then, which caches may use but ranges may not be put together by.
 */
static void describe(struct found_file *file, const struct stat *info, struct str name)
{
	int64_t now = (int64_t)(clock_wall_ms() / 1000);
	bool recent = info->st_mtim.tv_sec > now - RECENT_SECONDS;
	int len;

	file->size_bytes = (uint64_t)info->st_size;
	file->validators.now = now;
	/* RFC 9110 8.8.2.1: never later than Date. */
	file->validators.modified = MIN((int64_t)info->st_mtim.tv_sec, now);
	file->validators.modified_strong = !recent;
	len = snprintf(file->etag_room, sizeof(file->etag_room), "%s\"%llx.%lx-%llx\"",
		       recent ? "W/" : "", (unsigned long long)info->st_mtim.tv_sec,
		       (unsigned long)info->st_mtim.tv_nsec, (unsigned long long)info->st_size);
	file->validators.etag = str_make(file->etag_room, (size_t)len);
	(void)http_date_format(file->validators.modified, file->modified_room);
	file->type = media_type_of(name);
}

static void answer_file(struct exchange *exchange, struct found_file *file)
{
	switch (conditional_check(&exchange->request, &file->validators)) {
	case CONDITIONAL_FAILED:
		exchange_fail(exchange, 412, "the file is not in the state asked for");
		break;
	case CONDITIONAL_NOT_MODIFIED:
		respond_not_modified(exchange, file);
		break;
	case CONDITIONAL_PROCEED:
		respond_file(exchange, file);
		break;
	}
}

void files_answer(struct exchange *exchange)
{
	struct str path = exchange->path, name = STR_NULL;
	bool is_directory = str_ends_with(path, STR("/"));
	struct found_file file = {.fd = -1};
	char room[NAME_BYTES];
	struct stat info;
	int r;

	r = files_name_decode(files_path_below(exchange->route, path),
			      exchange->route->files.hidden, room, sizeof(room), &name);
	if (!r && is_directory)
		r = open_index(exchange, room, name.len, &file.fd, &info, &name);
	else if (!r)
		r = name.len ? open_file(exchange, room, &file.fd, &info) : -EISDIR;
	if (r == -EISDIR) {
		redirect_to_directory(exchange);
	} else if (r) {
		fail_open(exchange, r);
	} else {
		describe(&file, &info, name);
		answer_file(exchange, &file);
	}
	if (file.fd >= 0)
		(void)close(file.fd);
}

void files_start(struct exchange *exchange)
{
	enum http_method method = exchange->request.method_id;

	if (method == HTTP_METHOD_GET || method == HTTP_METHOD_HEAD) {
		local_answer_start(exchange, EXCHANGE_LOCAL_FILES);
		return;
	}
	exchange->local.allow = 1u << HTTP_METHOD_GET | 1u << HTTP_METHOD_HEAD;
	local_answer_start(exchange, EXCHANGE_LOCAL_NO_METHOD);
}
