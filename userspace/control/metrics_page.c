#include "control/metrics_page.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

/* A piece: some hundred lines, well below a millisecond. */
#define PIECE_BYTES (32u << 10)

static metrics_step *const steps[] = {
	metrics_write_process,	    metrics_write_config,     metrics_write_workers,
	metrics_write_certificates, metrics_write_access_log, metrics_write_dataplane,
	metrics_write_services,	    metrics_write_routes,     metrics_write_policies,
	metrics_write_upstreams,    metrics_write_endpoints,
};

struct metrics_page *metrics_page_new(struct daemon *daemon)
{
	struct metrics_page *page = calloc(1, sizeof(*page));

	if (!page)
		return NULL;
	page->daemon = daemon;
	page->snapshot = snapshot_ref(daemon->snapshot);
	return page;
}

void metrics_page_free(struct metrics_page *page)
{
	if (!page)
		return;
	snapshot_unref(page->snapshot);
	free(page->busy_routes);
	free(page);
}

int metrics_page_more(struct metrics_page *page, struct buf *out)
{
	page->out = out;
	while (page->step < ARRAY_SIZE(steps)) {
		bool done = steps[page->step](page);

		if (page->failed)
			return -ENOMEM;
		if (done) {
			page->step++;
			page->family = page->group = page->item = 0;
		}
		if (out->len >= PIECE_BYTES)
			return 1;
	}
	return 0;
}

static void append(struct metrics_page *page, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void append(struct metrics_page *page, const char *fmt, ...)
{
	char line[1024 + METRICS_LABELS_MAX];
	va_list args;
	int len;

	va_start(args, fmt);
	len = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (buf_append(page->out, str_make(line, MIN((size_t)len, sizeof(line) - 1))))
		page->failed = true;
}

void metrics_family(struct metrics_page *page, const char *name, enum metrics_type type,
		    const char *help)
{
	static const char *const types[] = {
		[METRICS_COUNTER] = "counter",
		[METRICS_GAUGE] = "gauge",
		[METRICS_HISTOGRAM] = "histogram",
	};

	append(page, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, types[type]);
}

void metrics_u64(struct metrics_page *page, const char *name, const char *labels, uint64_t value)
{
	append(page, "%s%s %llu\n", name, labels, (unsigned long long)value);
}

void metrics_double(struct metrics_page *page, const char *name, const char *labels, double value)
{
	append(page, "%s%s %.9g\n", name, labels, value);
}

void metrics_seconds(struct metrics_page *page, const char *name, const char *labels,
		     uint64_t value_us)
{
	append(page, "%s%s %llu.%06llu\n", name, labels, (unsigned long long)(value_us / 1000000),
	       (unsigned long long)(value_us % 1000000));
}

const char *metrics_labels(const struct metrics_label *labels, unsigned int count, char *buf,
			   size_t buf_len)
{
	size_t len = 0;

	for (unsigned int i = 0; i < count; i++) {
		int key =
			snprintf(buf + len, buf_len - len, "%s%s=\"", i ? "," : "{", labels[i].key);

		len += (size_t)key;
		for (size_t at = 0; at < labels[i].value.len && len + 8 < buf_len; at++) {
			char byte = labels[i].value.ptr[at];

			if (byte == '\\' || byte == '"' || byte == '\n')
				buf[len++] = '\\';
			buf[len++] = byte == '\n' ? 'n' : byte;
		}
		buf[len++] = '"';
	}
	(void)snprintf(buf + len, buf_len - len, "}");
	return buf;
}
