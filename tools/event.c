/* `sluice event`: what happened lately, and what happens. */
#include <errno.h>
#include <inttypes.h>
#include <time.h>

#include "tools/cli.h"
#include "tools/client.h"
#include "tools/output.h"

#define POLL_MS	 500
#define LAST_MAX 1024 /* as many as the daemon keeps */

static const struct output_column columns[] = {
	{"SEQ", "seq", OUTPUT_TEXT, NULL},
	{"TIME", "time", OUTPUT_TEXT, NULL},
	{"LEVEL", "level", OUTPUT_TEXT, NULL},
	{"KIND", "kind", OUTPUT_TEXT, NULL},
	{"OBJECT", "object", OUTPUT_TEXT, NULL},
	{"EVENT", "text", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};
static const struct output_section section = {
	.kind = OUTPUT_TABLE,
	.path = "events",
	.required = true,
	.columns = columns,
	.empty = "There were no such events.",
};
static const struct output_view view = {&section, 1};

struct wishes {
	const char *last_text, *since_text, *count_text;
	uint64_t last, since, count;
};

static int parse_wishes(struct cli *cli, struct wishes *wishes)
{
	int error = args_parse_number(cli, "last", wishes->last_text, 0, LAST_MAX, &wishes->last);

	if (!error)
		error = args_parse_number(cli, "since", wishes->since_text, 0, INT64_MAX,
					  &wishes->since);
	return error ? error
		     : args_parse_number(cli, "count", wishes->count_text, 1, INT64_MAX,
					 &wishes->count);
}

static int ask(struct cli *cli, uint64_t since, uint64_t last, json_t **ret_doc)
{
	char target[96];

	(void)snprintf(target, sizeof(target), "/v1/events?since=%" PRIu64 "&last=%" PRIu64, since,
		       last);
	return client_try(cli, "GET", target, NULL, ret_doc);
}

static int show(struct cli *cli, struct args *args)
{
	struct wishes wishes = {.last = LAST_MAX};
	const struct arg_key keys[] = {{"last", "N", &wishes.last_text},
				       {"since", "SEQ", &wishes.since_text},
				       {NULL, NULL, NULL}};
	_cleanup_json_ json_t *doc = NULL;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = parse_wishes(cli, &wishes);
	if (!error)
		error = ask(cli, wishes.since, wishes.last, &doc);
	if (error == -ENOTCONN)
		return client_report_absence(cli);
	return error ? error : output_print(cli, doc, &view);
}

/* ---- watch ---- */

static int print_line(struct cli *cli, const json_t *event)
{
	struct buf *out = &cli->out;
	int error;

	if (cli->json)
		return output_document(cli, event);
	error = output_member(out, event, "time", OUTPUT_TEXT, "", "");
	if (!error)
		error = output_member(out, event, "level", OUTPUT_TEXT, " ", "");
	if (!error)
		error = output_member(out, event, "kind", OUTPUT_TEXT, " ", "");
	if (!error)
		error = output_member(out, event, "object", OUTPUT_TEXT, " ", "");
	if (!error)
		error = output_member(out, event, "text", OUTPUT_TEXT, ": ", "");
	return error ? error : buf_append(out, STR("\n"));
}

/* Events that the daemon had forgotten before they were asked for. */
static int print_missed(struct cli *cli, uint64_t missed)
{
	_cleanup_json_ json_t *doc = NULL;

	if (!missed)
		return 0;
	if (!cli->json)
		return buf_printf(&cli->out, "(%" PRIu64 " earlier events are gone)\n", missed);
	doc = json_pack("{s:I}", "missed", (json_int_t)missed);
	return doc ? output_document(cli, doc) : -ENOMEM;
}

struct watching {
	uint64_t since;
	uint64_t instance; /* of the daemon that counts so; 0: none was asked yet */
	uint64_t left;	   /* events to print before the end; UINT64_MAX: no end */
	bool waiting;	   /* no daemon answers, and that was said */
};

static uint64_t number_of(const json_t *doc, const char *name)
{
	json_int_t number = json_integer_value(json_object_get(doc, name));

	return number > 0 ? (uint64_t)number : 0;
}

static int print_new(struct cli *cli, struct watching *watching, json_t *doc, bool report_missed)
{
	const json_t *events = json_object_get(doc, "events");
	size_t index;
	json_t *event;
	int error = 0;

	if (report_missed)
		error = print_missed(cli, number_of(doc, "missed"));
	json_array_foreach((json_t *)events, index, event)
	{
		if (error || !watching->left)
			break;
		if (!json_is_object(event))
			continue;
		error = print_line(cli, event);
		if (watching->left != UINT64_MAX)
			watching->left--;
	}
	watching->since = number_of(doc, "newest");
	return error ? p_out_of_memory(cli) : cli_flush(cli);
}

/* One round. A daemon that is away may come back: it is waited for. */
static int poll_once(struct cli *cli, struct watching *watching)
{
	_cleanup_json_ json_t *doc = NULL;
	int error = ask(cli, watching->since, LAST_MAX, &doc);

	if (error == -ENOTCONN) {
		if (!watching->waiting && !cli->json)
			(void)fprintf(stderr, "%s; waiting for one\n", cli->absence);
		watching->waiting = true;
		return 0;
	}
	if (!error)
		error = output_check(cli, doc, &view);
	if (error)
		return error;
	watching->waiting = false;
	if (number_of(doc, "instance") != watching->instance) {
		/* Another daemon, which counts from one: all that it has is new. */
		watching->instance = number_of(doc, "instance");
		watching->since = 0;
		return poll_once(cli, watching);
	}
	return print_new(cli, watching, doc, true);
}

static int watch(struct cli *cli, struct args *args)
{
	const struct timespec pause = {.tv_nsec = POLL_MS * 1000000L};
	struct wishes wishes = {.count = UINT64_MAX};
	const struct arg_key keys[] = {{"last", "N", &wishes.last_text},
				       {"since", "SEQ", &wishes.since_text},
				       {"count", "N", &wishes.count_text},
				       {NULL, NULL, NULL}};
	struct watching watching = {0};
	_cleanup_json_ json_t *doc = NULL;
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = parse_wishes(cli, &wishes);
	if (error)
		return error;
	/* Only what comes from now on, unless some of the past is asked for. */
	if (wishes.since_text && !wishes.last_text)
		wishes.last = LAST_MAX;
	watching.left = wishes.count;
	error = ask(cli, wishes.since, wishes.last, &doc);
	if (error == -ENOTCONN)
		return client_report_absence(cli);
	if (!error)
		error = output_check(cli, doc, &view);
	if (error)
		return error;
	watching.instance = number_of(doc, "instance");
	error = print_new(cli, &watching, doc, wishes.since_text != NULL);
	while (!error && watching.left) {
		(void)nanosleep(&pause, NULL);
		error = poll_once(cli, &watching);
	}
	return error;
}

static const char *const show_keys[] = {"last", "since", NULL};

const struct object object_event = {
	.name = "event",
	.help = "Usage: sluice [OPTIONS] event [show] [last N] [since SEQ]\n"
		"       sluice [OPTIONS] event watch [last N] [since SEQ] [count N]\n"
		"       sluice [OPTIONS] event help\n"
		"\n" HELP_OPTIONS,
	.commands = {{"show", show, false}, {"list", show, false}, {"watch", watch, true}, {NULL}},
	.show_keys = show_keys,
};
