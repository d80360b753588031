/*
 * cli: what one run of `sluice` knows and says.
 *
 * A context is passed along instead of globals. Commands only append to `out`; nothing reaches
 * standard output before cli_finish(), which prints either that text or, when p_err() was called,
 * the error: on standard error, or with --json as the one document {"error": "..."} on standard
 * output. So every path prints exactly one JSON document by construction. The first error wins.
 * Only commands that watch print before their end, by cli_flush(): with --json a document a line.
 * Functions return 0 or a negative errno; the exit status is kept here. Thread rule: one thread.
 */
#ifndef SLUICE_TOOLS_CLI_H
#define SLUICE_TOOLS_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "base/str.h"
#include "tools/args.h"

#define CLI_SOCKET_DEFAULT     "/run/sluice/admin.sock"
#define CLI_BPFFS_DEFAULT      "/sys/fs/bpf/sluice"
#define CLI_STATE_DIR_DEFAULT  "/var/lib/sluice"
#define CLI_TIMEOUT_MS_DEFAULT 10000
#define CLI_OUTPUT_MAX	       (1024UL << 20)

/* Exit status. */
enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

struct cli {
	bool json;
	bool pretty;
	bool show_paths; /* -f */
	bool debug;
	const char *object_name; /* of the command that runs, for hints; NULL before that */
	const char *socket_path;
	const char *bpffs_dir;
	bool bpffs_given;	/* by option or environment */
	char bpffs_found[4096]; /* as a daemon told it; bpffs_dir points here then */
	const char *state_dir;
	uint64_t timeout_ms;

	struct buf out;
	struct buf failure;	 /* the sentence; empty while nothing failed */
	const char *hint;	 /* a line after the error's text, not in JSON; NULL: none */
	json_t *failure_list;	 /* further lines of it, or NULL */
	json_t *failure_results; /* of a batch: what was done before, or NULL */
	bool failure_is_printed; /* `out` tells it already */
	bool in_batch;		 /* this is one line of a batch */
	char absence[768];	 /* "no daemon answers on ...", once that is known */
	char absence_reason[64]; /* "no such socket" */
	int exit_status;
};

/* json_decrefp() is jansson's. */
#define _cleanup_json_ _cleanup_(json_decrefp)

void cli_init(struct cli *cli);
void cli_done(struct cli *cli);
/* Prints what there is to print; returns the exit status. */
int cli_finish(struct cli *cli);

/* Prints what was appended so far. Negative: nobody reads any more; cli_finish() says so. */
int cli_flush(struct cli *cli);

/*
 * The one way to report an error, for text and JSON. Values from outside are quoted by the caller
 * through str_quote(). p_err returns `code`, p_usage -EINVAL with exit status 2.
 */
int p_err(struct cli *cli, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
int p_usage(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
int p_out_of_memory(struct cli *cli);
/* One more line of the error: an element of "errors" in JSON. */
void p_err_line(struct cli *cli, struct str line);
/* Only with --debug, on standard error. */
void p_debug(const struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* To `out`. */
void p_text(struct cli *cli, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* {"error": ...}; NULL: out of memory. */
json_t *cli_failure(const struct cli *cli);
/* "Error: ..." on standard error. */
void cli_print_failure(const struct cli *cli);

/* A grammar, or with --json {"help": "..."}. */
int cli_print_help(struct cli *cli, const char *text);

struct command {
	const char *name;
	int (*run)(struct cli *cli, struct args *args);
	bool streams; /* prints before its end, by cli_flush() */
};

#define COMMANDS_MAX 12

struct object {
	const char *name;
	const char *help;
	struct command commands[COMMANDS_MAX]; /* the first one is the default; ends with {NULL} */
	const char *const
		*show_keys; /* keys of the default command, NULL at the end; may be NULL */
};

extern const struct object object_status;
extern const struct object object_service;
extern const struct object object_backend;
extern const struct object object_deny;
extern const struct object object_allow;
extern const struct object object_route;
extern const struct object object_cert;
extern const struct object object_upstream;
extern const struct object object_stats;
extern const struct object object_event;
extern const struct object object_config;
extern const struct object object_prog;
extern const struct object object_decap;
extern const struct object object_map;
extern const struct object object_batch;
extern const struct object object_version;

/* Runs an object's command; all words are taken. In main.c, which knows the objects. */
int cli_run(struct cli *cli, struct args *args);

/* The last lines of every help. */
#define HELP_OPTIONS                                                                               \
	"       OPTIONS := { {-j|--json} [{-p|--pretty}] | {-f|--bpffs-paths} | {-d|--debug} |\n"  \
	"                    --socket PATH | --bpffs DIR | --state-dir DIR | --timeout DURATION "  \
	"|\n"                                                                                      \
	"                    {-V|--version} | {-h|--help} }\n"

#endif
