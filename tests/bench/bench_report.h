/*
 * bench_report: the JSON that every benchmark leaves in build/bench/NAME.json, for those in C:
 * {machine, rows: [{name, unit, ours, peer, peer_name, ratio, rounds}]}. benchlib/report.py does
 * the same for those in Python. One report per process; the current directory is the project's.
 */
#ifndef SLUICE_BENCH_REPORT_H
#define SLUICE_BENCH_REPORT_H

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"

#define REPORT_CAP_BYTES (1u << 20)

struct bench_report {
	const char *name;
	struct buf text;
	struct json_writer json;
};

static void report_machine(struct json_writer *json)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256], text[512], model[200] = "unknown CPU";
	struct utsname kernel = {0};

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "model name : %199[^\n]", model) == 1)
			break;
	}
	if (file)
		(void)fclose(file);
	(void)uname(&kernel);
	(void)snprintf(text, sizeof(text), "Linux %s, %ld CPUs, %s", kernel.release,
		       sysconf(_SC_NPROCESSORS_ONLN), model);
	json_cstring(json, "machine", text);
}

static void report_begin(struct bench_report *report, const char *name)
{
	report->name = name;
	buf_init(&report->text, REPORT_CAP_BYTES);
	json_init(&report->json, &report->text, true);
	json_open_object(&report->json, NULL);
	report_machine(&report->json);
	json_open_array(&report->json, "rows");
}

/* peer_name NULL: there is nothing to compare with. */
static void report_row(struct bench_report *report, const char *name, const char *unit, double ours,
		       const char *peer_name, double peer, unsigned int rounds)
{
	struct json_writer *json = &report->json;

	json_open_object(json, NULL);
	json_cstring(json, "name", name);
	json_cstring(json, "unit", unit);
	json_double(json, "ours", ours);
	if (peer_name)
		json_double(json, "peer", peer);
	else
		json_nil(json, "peer");
	json_cstring(json, "peer_name", peer_name);
	if (peer_name && peer > 0)
		json_double(json, "ratio", ours / peer);
	else
		json_nil(json, "ratio");
	json_u64(json, "rounds", rounds);
	json_close_object(json);
}

/* Writes the file; 0 or a negative errno. */
static int report_end(struct bench_report *report)
{
	char path[256], beside[256];
	int result;
	FILE *file;

	json_close_array(&report->json);
	json_close_object(&report->json);
	result = json_finish(&report->json);
	(void)mkdir("build", 0755);
	(void)mkdir("build/bench", 0755);
	(void)snprintf(path, sizeof(path), "build/bench/%s.json", report->name);
	(void)snprintf(beside, sizeof(beside), "build/bench/.%s.json.%d", report->name, getpid());
	file = result == 0 ? fopen(beside, "we") : NULL;
	if (result == 0 && !file)
		result = -errno;
	if (file) {
		struct str text = buf_str(&report->text);

		if (fwrite(text.ptr, 1, text.len, file) != text.len)
			result = -EIO;
		if (fclose(file) && result == 0)
			result = -errno;
		if (result == 0 && rename(beside, path))
			result = -errno;
	}
	if (result < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-result));
	buf_done(&report->text);
	return result;
}

#endif
