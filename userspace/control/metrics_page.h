/*
 * metrics_page: the answer to one GET /metrics, in Prometheus' text format 0.0.4, made piece by
 * piece: a page of ten thousand routes is some 20 MB, which would hold up the control thread.
 *
 * The page keeps the snapshot it began with. Families are written one after the other, as the
 * format demands, so that two families may differ by what happened between them; the lines of one
 * histogram agree. Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_METRICS_PAGE_H
#define SLUICE_CONTROL_METRICS_PAGE_H

#include "control/daemon.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"
#define METRICS_LABELS_MAX   640

struct metrics_page {
	struct daemon *daemon;
	struct snapshot *snapshot; /* one reference */
	unsigned int step;
	unsigned int family, group, item; /* where the step goes on; 0 at its beginning */
	unsigned int *busy_routes;	  /* those with requests, once they were looked for */
	unsigned int busy_count;
	struct buf *out;
	bool failed; /* out of memory */
};

/* NULL: out of memory. */
struct metrics_page *metrics_page_new(struct daemon *daemon);
void metrics_page_free(struct metrics_page *page);
/* Appends the next piece: 1, 0 at the end of the page, or -ENOMEM. */
int metrics_page_more(struct metrics_page *page, struct buf *out);

/* ---- for those who write families ---- */

enum metrics_type { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/* HELP and TYPE. */
void metrics_family(struct metrics_page *page, const char *name, enum metrics_type type,
		    const char *help);
/* labels: as from metrics_labels(), or "". */
void metrics_u64(struct metrics_page *page, const char *name, const char *labels, uint64_t value);
void metrics_double(struct metrics_page *page, const char *name, const char *labels, double value);
/* Microseconds as seconds, digit for digit. */
void metrics_seconds(struct metrics_page *page, const char *name, const char *labels,
		     uint64_t value_us);

struct metrics_label {
	const char *key;
	struct str value;
};
/* {key="value",...} with values escaped. Returns buf. */
const char *metrics_labels(const struct metrics_label *labels, unsigned int count, char *buf,
			   size_t buf_len);

/*
 * Steps: each writes its next lines, and returns true when it has no more. metrics_node.c has what
 * belongs to the process, metrics_service.c L4 services, metrics_tls.c certificates, metrics_http.c
 * routes and upstreams.
 */
typedef bool metrics_step(struct metrics_page *page);
metrics_step metrics_write_process, metrics_write_config, metrics_write_workers,
	metrics_write_certificates, metrics_write_access_log, metrics_write_dataplane,
	metrics_write_services, metrics_write_routes, metrics_write_policies,
	metrics_write_upstreams, metrics_write_endpoints;

#endif
