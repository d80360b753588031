/* /metrics: what belongs to the process and the node as a whole. */
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/metrics_page.h"

/* ---- process: names and meanings are those of Prometheus' client libraries ---- */

static uint64_t count_open_fds(void)
{
	struct dirent *entry;
	uint64_t count = 0;
	struct stat info;
	DIR *dir;

	/* Linux 6.2 tells without walking, which takes milliseconds with many connections. */
	if (!stat("/proc/self/fd", &info) && info.st_size)
		return (uint64_t)info.st_size;
	dir = opendir("/proc/self/fd");
	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	(void)closedir(dir);
	return count ? count - 1 : 0; /* without that of the directory */
}

static void write_memory(struct metrics_page *page)
{
	unsigned long long virtual_pages = 0, resident_pages = 0;
	uint64_t page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
	FILE *file = fopen("/proc/self/statm", "re");

	if (!file)
		return;
	if (fscanf(file, "%llu %llu", &virtual_pages, &resident_pages) == 2) {
		metrics_family(page, "process_virtual_memory_bytes", METRICS_GAUGE,
			       "virtual memory of the daemon");
		metrics_u64(page, "process_virtual_memory_bytes", "", virtual_pages * page_bytes);
		metrics_family(page, "process_resident_memory_bytes", METRICS_GAUGE,
			       "resident memory of the daemon");
		metrics_u64(page, "process_resident_memory_bytes", "", resident_pages * page_bytes);
	}
	(void)fclose(file);
}

bool metrics_write_process(struct metrics_page *page)
{
	const struct daemon *daemon = page->daemon;
	const struct metrics_label version = {"version", str_from_cstr(daemon_version)};
	char labels[METRICS_LABELS_MAX];
	struct rlimit limit;
	struct rusage usage;

	metrics_family(page, "sluice_build_info", METRICS_GAUGE, "1, labelled with the version");
	metrics_u64(page, "sluice_build_info", metrics_labels(&version, 1, labels, sizeof(labels)),
		    1);
	metrics_family(page, "process_start_time_seconds", METRICS_GAUGE,
		       "when the daemon was started, in seconds since 1970");
	metrics_seconds(page, "process_start_time_seconds", "", daemon->started_wall_ms * 1000);
	if (!getrusage(RUSAGE_SELF, &usage)) {
		metrics_family(page, "process_cpu_seconds_total", METRICS_COUNTER,
			       "CPU time of the daemon, in user and kernel mode");
		metrics_seconds(
			page, "process_cpu_seconds_total", "",
			(uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
				(uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
	}
	write_memory(page);
	metrics_family(page, "process_open_fds", METRICS_GAUGE, "open descriptors of the daemon");
	metrics_u64(page, "process_open_fds", "", count_open_fds());
	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		metrics_family(page, "process_max_fds", METRICS_GAUGE,
			       "descriptors that the daemon may have open");
		metrics_u64(page, "process_max_fds", "", limit.rlim_cur);
	}
	return true;
}

/* ---- configuration ---- */

bool metrics_write_config(struct metrics_page *page)
{
	const struct daemon *daemon = page->daemon;

	metrics_family(page, "sluice_config_generation", METRICS_GAUGE,
		       "number of the configuration in force, counted since the start");
	metrics_u64(page, "sluice_config_generation", "", daemon->generation);
	metrics_family(page, "sluice_config_last_reload_successful", METRICS_GAUGE,
		       "0 when the last reload was refused, else 1");
	metrics_u64(page, "sluice_config_last_reload_successful", "", !daemon->last_error[0]);
	metrics_family(page, "sluice_config_last_reload_success_timestamp_seconds", METRICS_GAUGE,
		       "when the configuration in force was loaded, in seconds since 1970");
	metrics_seconds(page, "sluice_config_last_reload_success_timestamp_seconds", "",
			daemon->snapshot->loaded_wall_ms * 1000);
	return true;
}

/* ---- workers ---- */

static const char *worker_label(unsigned int index, char *buf, size_t buf_len)
{
	(void)snprintf(buf, buf_len, "{worker=\"%u\"}", index);
	return buf;
}

/* Zero for one that has ended. */
static struct http_worker_stats stats_of(const struct daemon *daemon, unsigned int index)
{
	struct http_worker_stats stats = {0};

	if (daemon->workers && daemon->workers[index])
		worker_get_stats(daemon->workers[index], &stats);
	return stats;
}

static void write_worker_gauges(struct metrics_page *page)
{
	static const struct {
		const char *name, *help;
		size_t offset;
	} gauges[] = {
		{"sluice_http_connections", "open connections of clients",
		 offsetof(struct http_worker_stats, connections_open)},
		{"sluice_http_exchanges", "requests that are being answered",
		 offsetof(struct http_worker_stats, exchanges_open)},
		{"sluice_http_tunnels", "open tunnels, such as WebSockets",
		 offsetof(struct http_worker_stats, tunnels_open)},
		{"sluice_http_upstream_connections", "open connections to endpoints",
		 offsetof(struct http_worker_stats, upstream_connections_open)},
	};
	char labels[32];

	for (size_t i = 0; i < ARRAY_SIZE(gauges); i++) {
		metrics_family(page, gauges[i].name, METRICS_GAUGE, gauges[i].help);
		for (unsigned int j = 0; j < page->daemon->worker_count; j++) {
			struct http_worker_stats stats = stats_of(page->daemon, j);

			metrics_u64(page, gauges[i].name, worker_label(j, labels, sizeof(labels)),
				    *(uint64_t *)((char *)&stats + gauges[i].offset));
		}
	}
}

static void write_limits(struct metrics_page *page)
{
	const struct http_node *node = page->daemon->http_node;

	if (!node)
		return;
	metrics_family(page, "sluice_memory_used_bytes", METRICS_GAUGE,
		       "memory that peers make the workers hold");
	metrics_u64(page, "sluice_memory_used_bytes", "", http_node_memory(node));
	metrics_family(page, "sluice_memory_limit_bytes", METRICS_GAUGE, "node.memory_limit");
	metrics_u64(page, "sluice_memory_limit_bytes", "", node->memory_limit_bytes);
}

bool metrics_write_workers(struct metrics_page *page)
{
	enum http_counter counter = (enum http_counter)page->family;
	char name[96], labels[32];

	if (page->family == HTTP_COUNTER_COUNT) {
		write_worker_gauges(page);
		write_limits(page);
		return true;
	}
	(void)snprintf(name, sizeof(name), "sluice_http_%s_total", http_counter_name(counter));
	metrics_family(page, name, METRICS_COUNTER, http_counter_help(counter));
	for (unsigned int i = 0; i < page->daemon->worker_count; i++)
		metrics_u64(page, name, worker_label(i, labels, sizeof(labels)),
			    stats_of(page->daemon, i).counters[counter]);
	page->family++;
	return false;
}

/* ---- access log ---- */

bool metrics_write_access_log(struct metrics_page *page)
{
	struct access_log_stats stats;

	if (!page->daemon->access_log.sink)
		return true;
	stats = access_log_sink_stats(page->daemon->access_log.sink);
	metrics_family(page, "sluice_access_log_lines_total", METRICS_COUNTER,
		       "lines written to the access log");
	metrics_u64(page, "sluice_access_log_lines_total", "", stats.lines);
	metrics_family(page, "sluice_access_log_bytes_total", METRICS_COUNTER,
		       "bytes written to the access log");
	metrics_u64(page, "sluice_access_log_bytes_total", "", stats.bytes);
	metrics_family(page, "sluice_access_log_lost_lines_total", METRICS_COUNTER,
		       "lines lost because the access log could not be written");
	metrics_u64(page, "sluice_access_log_lost_lines_total", "", stats.lines_lost);
	return true;
}

/* ---- dataplane ---- */

struct reasons {
	struct metrics_page *page;
	const char *name;
	bool bytes;
};

static int write_reason(const struct dataplane_counter *counter, void *arg)
{
	const struct reasons *reasons = arg;
	const struct metrics_label label = {"reason", str_from_cstr(counter->name)};
	char labels[METRICS_LABELS_MAX];

	metrics_u64(reasons->page, reasons->name, metrics_labels(&label, 1, labels, sizeof(labels)),
		    reasons->bytes ? counter->bytes : counter->packets);
	return 0;
}

static void write_auto_deny(struct metrics_page *page)
{
	const struct daemon *daemon = page->daemon;
	char labels[METRICS_LABELS_MAX];

	if (!daemon->auto_deny.counts)
		return;
	metrics_family(
		page, "sluice_auto_denied_total", METRICS_COUNTER,
		"sources that were denied because they offended too often, by what they did");
	for (unsigned int i = 0; i < OFFENCE_KIND_COUNT; i++) {
		const struct metrics_label label = {
			"event", str_from_cstr(offence_name((enum offence_kind)i))};

		metrics_u64(page, "sluice_auto_denied_total",
			    metrics_labels(&label, 1, labels, sizeof(labels)),
			    daemon->auto_deny.denied[i]);
	}
	metrics_family(page, "sluice_auto_deny_lost_total", METRICS_COUNTER,
		       "offences that were not counted, because there were too many at once");
	metrics_u64(page, "sluice_auto_deny_lost_total", "", offence_lost());
}

bool metrics_write_dataplane(struct metrics_page *page)
{
	struct reasons packets = {page, "sluice_dataplane_packets_total", false};
	struct reasons bytes = {page, "sluice_dataplane_bytes_total", true};
	struct dataplane *dataplane = page->daemon->dataplane;
	struct error err = {0};

	if (!dataplane)
		return true;
	metrics_family(page, packets.name, METRICS_COUNTER,
		       "packets that XDP has seen, by the reason of their verdict");
	(void)dataplane_walk_counters(dataplane, write_reason, &packets, &err);
	metrics_family(page, bytes.name, METRICS_COUNTER, "bytes of these packets");
	(void)dataplane_walk_counters(dataplane, write_reason, &bytes, &err);
	write_auto_deny(page);
	return true;
}
