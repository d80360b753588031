#include "tools/cli.h"

#include <errno.h>
#include <stdarg.h>

#include "tools/output.h"

void cli_init(struct cli *cli)
{
	*cli = (struct cli){
		.socket_path = CLI_SOCKET_DEFAULT,
		.bpffs_dir = CLI_BPFFS_DEFAULT,
		.state_dir = CLI_STATE_DIR_DEFAULT,
		.timeout_ms = CLI_TIMEOUT_MS_DEFAULT,
	};
	buf_init(&cli->out, CLI_OUTPUT_MAX);
	buf_init(&cli->failure, 64 * 1024);
}

void cli_done(struct cli *cli)
{
	buf_done(&cli->out);
	buf_done(&cli->failure);
	json_decref(cli->failure_list);
	json_decref(cli->failure_results);
}

static void fail(struct cli *cli, int exit_status, const char *fmt, va_list args)
	__attribute__((format(printf, 3, 0)));

static void fail(struct cli *cli, int exit_status, const char *fmt, va_list args)
{
	char text[4096];

	if (cli->exit_status != CLI_DONE)
		return;
	cli->exit_status = exit_status;
	(void)vsnprintf(text, sizeof(text), fmt, args);
	(void)buf_append(&cli->failure, str_from_cstr(text));
}

int p_err(struct cli *cli, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail(cli, CLI_FAILED, fmt, args);
	va_end(args);
	return code;
}

int p_usage(struct cli *cli, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fail(cli, CLI_USAGE, fmt, args);
	va_end(args);
	return -EINVAL;
}

int p_out_of_memory(struct cli *cli)
{
	return p_err(cli, -ENOMEM, "out of memory");
}

void p_err_line(struct cli *cli, struct str line)
{
	if (!cli->failure_list)
		cli->failure_list = json_array();
	if (cli->failure_list)
		(void)json_array_append_new(cli->failure_list, document_text(line));
}

void p_debug(const struct cli *cli, const char *fmt, ...)
{
	va_list args;

	if (!cli->debug)
		return;
	va_start(args, fmt);
	(void)vfprintf(stderr, fmt, args);
	va_end(args);
	(void)fputc('\n', stderr);
}

void p_text(struct cli *cli, const char *fmt, ...)
{
	char text[4096];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (buf_append(&cli->out, str_from_cstr(text)))
		(void)p_out_of_memory(cli);
}

int cli_print_help(struct cli *cli, const char *text)
{
	_cleanup_json_ json_t *doc = NULL;

	if (!cli->json) {
		if (buf_append(&cli->out, str_from_cstr(text)))
			return p_out_of_memory(cli);
		return 0;
	}
	doc = json_object();
	if (!doc || json_object_set_new(doc, "help", document_text(str_from_cstr(text))))
		return p_out_of_memory(cli);
	return output_document(cli, doc);
}

json_t *cli_failure(const struct cli *cli)
{
	json_t *doc = json_object();

	if (doc && !json_object_set_new(doc, "error", document_text(buf_str(&cli->failure))) &&
	    (!cli->failure_list || !json_object_set(doc, "errors", cli->failure_list)) &&
	    (!cli->failure_results || !json_object_set(doc, "results", cli->failure_results)))
		return doc;
	json_decref(doc);
	return NULL;
}

/* The error as JSON; without memory for that, as a literal. */
static void print_failure_json(struct cli *cli)
{
	_cleanup_json_ json_t *doc = cli_failure(cli);

	buf_reset(&cli->out);
	if (!doc || output_document(cli, doc)) {
		buf_reset(&cli->out);
		(void)buf_append(&cli->out, STR("{\"error\": \"out of memory\"}\n"));
	}
}

void cli_print_failure(const struct cli *cli)
{
	_cleanup_(buf_done)
	struct buf text;
	size_t index;
	json_t *line;

	buf_init(&text, CLI_OUTPUT_MAX);
	(void)buf_append(&text, STR("Error: "));
	(void)output_escape(&text, buf_str(&cli->failure), false);
	(void)buf_append(&text, STR("\n"));
	json_array_foreach(cli->failure_list, index, line)
	{
		struct str value = str_make(json_string_value(line), json_string_length(line));

		/* The first one usually is the sentence that stands there already. */
		if (str_eq(value, buf_str(&cli->failure)))
			continue;
		(void)buf_append(&text, STR("  "));
		(void)output_escape(&text, value, false);
		(void)buf_append(&text, STR("\n"));
	}
	if (cli->hint)
		(void)buf_printf(&text, "%s\n", cli->hint);
	(void)fwrite(buf_str(&text).ptr, 1, text.len, stderr);
}

int cli_flush(struct cli *cli)
{
	if (cli->out.len > 0)
		(void)fwrite(buf_str(&cli->out).ptr, 1, cli->out.len, stdout);
	buf_reset(&cli->out);
	return fflush(stdout) || ferror(stdout) ? -EPIPE : 0;
}

int cli_finish(struct cli *cli)
{
	if (cli->exit_status != CLI_DONE && !cli->failure_is_printed) {
		if (cli->json) {
			print_failure_json(cli);
		} else {
			cli_print_failure(cli);
			return cli->exit_status;
		}
	}
	if (cli->out.len > 0)
		(void)fwrite(buf_str(&cli->out).ptr, 1, cli->out.len, stdout);
	if (fflush(stdout) || ferror(stdout)) {
		/* A reader that has seen enough, such as `head`, is no error worth a line. */
		if (errno != EPIPE)
			(void)fprintf(stderr, "Error: cannot write the output: %s\n",
				      strerrordesc_np(errno));
		return cli->exit_status ? cli->exit_status : CLI_FAILED;
	}
	return cli->exit_status;
}
