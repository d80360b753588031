/* `sluice batch`: many commands from a file, a line each. */
#include <errno.h>

#include "tools/cli.h"
#include "tools/output.h"

#define NAME_MAX_BYTES 512

struct batch {
	struct cli *cli;
	char name[NAME_MAX_BYTES]; /* of the file, for errors */
	FILE *file;
	bool goes_on; /* after a line that failed */
	unsigned long line, commands, failed;
	json_t *results; /* with --json */
};

/* ---- words of a line ---- */

struct line {
	char *text; /* of getline(); the words stand in it, unquoted and ended by NUL */
	size_t room;
	char **words;
	size_t words_room;
	struct args args;
};

static void line_done(struct line *line)
{
	free(line->text);
	free(line->words);
}

static int add_word(struct line *line, char *word)
{
	size_t count = (size_t)line->args.count;

	if (count + 1 > line->words_room) {
		size_t room = line->words_room ? line->words_room * 2 : 16;
		char **grown = realloc(line->words, room * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		line->words = grown;
		line->words_room = room;
	}
	line->words[count] = word;
	line->args.count++;
	line->args.words = line->words;
	return 0;
}

static bool is_space(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/*
 * Takes the word at *read, without its quotes, to *write, which never gets ahead of it. As in a
 * shell: '...' is literal, "..." and bare text know the backslash. -EINVAL: a quote is not closed.
 */
static int unquote_word(char **read, char **write)
{
	char *from = *read, *to = *write, quote = '\0';

	for (; *from && (quote || !is_space(*from)); from++) {
		if (*from == quote)
			quote = '\0';
		else if (!quote && (*from == '\'' || *from == '"'))
			quote = *from;
		else if (*from == '\\' && quote != '\'' && from[1] && from[1] != '\n')
			*to++ = *++from;
		else
			*to++ = *from;
	}
	if (quote)
		return -EINVAL;
	if (*from)
		from++;
	*to = '\0';
	*read = from;
	*write = to + 1;
	return 0;
}

static int split_line(struct line *line)
{
	char *read = line->text, *write = line->text;
	int error = 0;

	line->args.count = 0;
	while (!error) {
		char *word = write;

		while (is_space(*read))
			read++;
		if (!*read || *read == '#')
			break;
		error = unquote_word(&read, &write);
		if (!error)
			error = add_word(line, word);
	}
	return error;
}

/* ---- one command ---- */

static void begin_command(const struct cli *cli, struct cli *sub)
{
	cli_init(sub);
	sub->json = cli->json;
	sub->show_paths = cli->show_paths;
	sub->debug = cli->debug;
	sub->socket_path = cli->socket_path;
	sub->bpffs_dir = cli->bpffs_dir;
	sub->bpffs_given = cli->bpffs_given;
	sub->state_dir = cli->state_dir;
	sub->timeout_ms = cli->timeout_ms;
	sub->in_batch = true;
}

/* Puts "FILE:LINE: " in front of what failed. */
static int say_where(const struct batch *batch, struct cli *sub)
{
	_cleanup_(buf_done)
	struct buf text;
	int error;

	buf_init(&text, CLI_OUTPUT_MAX);
	error = buf_printf(&text, "%s:%lu: %.*s", batch->name, batch->line,
			   STR_FMT(buf_str(&sub->failure)));
	buf_reset(&sub->failure);
	return error ? error : buf_append(&sub->failure, buf_str(&text));
}

static int keep_result(struct batch *batch, struct cli *sub)
{
	struct str text = buf_str(&sub->out);
	json_t *result;
	int error = 0;

	if (!batch->results) {
		error = buf_append(&batch->cli->out, text);
		return error ? p_out_of_memory(batch->cli) : cli_flush(batch->cli);
	}
	if (sub->exit_status != CLI_DONE)
		result = cli_failure(sub);
	else
		result = json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL);
	return json_array_append_new(batch->results, result) ? p_out_of_memory(batch->cli) : 0;
}

/* The failed line becomes the failure of the batch, after the results of those before it. */
static int give_up(struct batch *batch, struct cli *sub)
{
	struct cli *cli = batch->cli;

	cli->exit_status = sub->exit_status;
	(void)buf_append(&cli->failure, buf_str(&sub->failure));
	cli->failure_list = json_incref(sub->failure_list);
	cli->failure_results = json_incref(batch->results);
	cli->hint = sub->hint;
	return -ECANCELED;
}

static int report_failure(struct batch *batch, struct cli *sub)
{
	batch->failed++;
	if (say_where(batch, sub))
		return p_out_of_memory(batch->cli);
	if (!batch->goes_on)
		return give_up(batch, sub);
	if (batch->results)
		return keep_result(batch, sub);
	cli_print_failure(sub);
	return 0;
}

static int run_command(struct batch *batch, struct args *args)
{
	_cleanup_(cli_done)
	struct cli sub;

	begin_command(batch->cli, &sub);
	batch->commands++;
	if (args->words[0][0] == '-')
		(void)p_usage(&sub, "options stand in front of 'batch', not in its lines");
	else
		(void)cli_run(&sub, args);
	return sub.exit_status == CLI_DONE ? keep_result(batch, &sub) : report_failure(batch, &sub);
}

/* A line that is none at all. */
static int refuse_line(struct batch *batch, const char *why)
{
	_cleanup_(cli_done)
	struct cli sub;

	begin_command(batch->cli, &sub);
	batch->commands++;
	(void)p_usage(&sub, "%s", why);
	return report_failure(batch, &sub);
}

static int run_line(struct batch *batch, struct line *line, size_t len)
{
	int error;

	if (strlen(line->text) != len)
		return refuse_line(batch, "the line has a zero byte; is that a text file?");
	error = split_line(line);
	if (error == -EINVAL)
		return refuse_line(batch, "a quote is not closed on its line");
	if (error)
		return p_out_of_memory(batch->cli);
	return line->args.count ? run_command(batch, &line->args) : 0;
}

static int run_lines(struct batch *batch)
{
	_cleanup_(line_done)
	struct line line = {0};
	int error = 0;

	while (!error) {
		ssize_t len = getline(&line.text, &line.room, batch->file);

		if (len < 0)
			break;
		batch->line++;
		error = run_line(batch, &line, (size_t)len);
	}
	if (!error && ferror(batch->file))
		return p_err(batch->cli, -EIO, "cannot read %s: %s", batch->name,
			     strerrordesc_np(errno));
	return error;
}

/* ---- the batch ---- */

static int finish(struct batch *batch)
{
	struct cli *cli = batch->cli;

	if (!batch->failed)
		return batch->results && output_document(cli, batch->results) ? p_out_of_memory(cli)
									      : 0;
	if (!batch->results)
		return p_err(cli, -ECANCELED, "%lu of %lu lines failed", batch->failed,
			     batch->commands);
	/* The array has the errors in it, each at its place. */
	if (output_document(cli, batch->results))
		return p_out_of_memory(cli);
	cli->exit_status = CLI_FAILED;
	cli->failure_is_printed = true;
	return -ECANCELED;
}

static int read_arguments(struct batch *batch, struct args *args, const char **ret_path)
{
	static const char *const flags[] = {"continue", NULL};
	struct cli *cli = batch->cli;
	const char *word = args_take(args);

	if (!word)
		return p_usage(cli, "FILE is missing, '-' means standard input; see 'sluice batch "
				    "help'");
	*ret_path = word;
	word = args_take(args);
	if (word && names_require(cli, "word", word, flags) < 0)
		return -EINVAL;
	batch->goes_on = word != NULL;
	return args_expect_end(cli, args);
}

static int file(struct cli *cli, struct args *args)
{
	_cleanup_json_ json_t *results = NULL;
	struct batch batch = {.cli = cli};
	const char *path = NULL;
	char quoted[NAME_MAX_BYTES];
	bool is_input;
	int error;

	if (cli->in_batch)
		return p_usage(cli, "a batch cannot have another one in it");
	error = read_arguments(&batch, args, &path);
	if (error)
		return error;
	is_input = !strcmp(path, "-");
	(void)snprintf(batch.name, sizeof(batch.name), "%s", is_input ? "stdin" : path);
	batch.file = is_input ? stdin : fopen(path, "re");
	if (!batch.file)
		return p_err(cli, -errno, "cannot open %s: %s",
			     str_quote(str_from_cstr(path), quoted, sizeof(quoted)),
			     strerrordesc_np(errno));
	if (cli->json)
		batch.results = results = json_array();
	error = cli->json && !results ? p_out_of_memory(cli) : run_lines(&batch);
	if (!is_input)
		(void)fclose(batch.file);
	return error ? error : finish(&batch);
}

const struct object object_batch = {
	.name = "batch",
	.help = "Usage: sluice [OPTIONS] batch file FILE [continue]\n"
		"       sluice [OPTIONS] batch help\n"
		"\n"
		"       FILE := a command a line without 'sluice' and options; '-' is standard "
		"input\n" HELP_OPTIONS,
	.commands = {{"file", file}, {NULL, NULL}},
};
