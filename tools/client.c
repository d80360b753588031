#include "tools/client.h"

#include <errno.h>

#include "tools/http_client.h"
#include "tools/output.h"

/* What the daemon says of a request it refused: its sentence and, of a configuration, its lines. */
static int report_refusal(struct cli *cli, int status, const json_t *doc)
{
	const json_t *error = json_object_get(doc, "error");
	const json_t *lines = json_object_get(doc, "errors");
	struct str sentence = str_make(json_string_value(error), json_string_length(error));
	size_t index;
	json_t *line;

	if (!sentence.ptr || !sentence.len)
		return p_err(cli, -EPROTO,
			     "the daemon answered with status %d and no reason; look at its log",
			     status);
	(void)p_err(cli, -EREMOTEIO, "%.*s", STR_FMT(sentence));
	json_array_foreach((json_t *)lines, index, line)
	{
		if (json_is_string(line))
			p_err_line(cli,
				   str_make(json_string_value(line), json_string_length(line)));
	}
	return -EREMOTEIO;
}

static int read_answer(struct cli *cli, const struct http_answer *answer, json_t **ret_doc)
{
	struct str body = buf_str(&answer->body);
	_cleanup_json_ json_t *doc = NULL;
	json_error_t error;

	doc = json_loadb(body.ptr, body.len, JSON_REJECT_DUPLICATES, &error);
	if (answer->status < 200 || answer->status > 299)
		return report_refusal(cli, answer->status, doc);
	if (!doc || !json_is_object(doc)) {
		char quoted[160];

		str_quote(str_from_cstr(doc ? "no object" : error.text), quoted, sizeof(quoted));
		return p_err(cli, -EPROTO,
			     "the daemon's answer is no JSON object (%s); is that sluiced's admin "
			     "socket?",
			     quoted);
	}
	*ret_doc = TAKE_PTR(doc);
	return 0;
}

/* -ENOTCONN, not reported: nobody is there. */
static int call_daemon(struct cli *cli, const struct http_call *request,
		       struct http_answer *ret_answer)
{
	bool is_json = !request->content_type && request->body.len;
	struct error err = {0};
	char quoted[160];
	int error;

	p_debug(cli, "> %s %s at %s%s%.*s", request->method, request->target,
		str_quote(str_from_cstr(cli->socket_path), quoted, sizeof(quoted)),
		is_json ? " " : "", is_json ? (int)request->body.len : 0,
		is_json ? request->body.ptr : "");
	error = http_client_call(cli->socket_path, request, cli->timeout_ms, ret_answer, &err);
	if (error == -ENOENT || error == -ENOTDIR || error == -ECONNREFUSED) {
		p_debug(cli, "< %s", err.text);
		(void)snprintf(cli->absence, sizeof(cli->absence), "no daemon answers on %s (%s)",
			       cli->socket_path, err.text);
		(void)snprintf(cli->absence_reason, sizeof(cli->absence_reason), "%.63s", err.text);
		return -ENOTCONN;
	}
	if (error) {
		p_debug(cli, "< %s", err.text);
		return p_err(cli, error, "%s", err.text);
	}
	p_debug(cli, "< %d, %zu bytes", ret_answer->status, ret_answer->body.len);
	return 0;
}

static int call_for_document(struct cli *cli, const struct http_call *request, json_t **ret_doc)
{
	struct http_answer answer;
	int error = call_daemon(cli, request, &answer);

	if (error)
		return error;
	error = read_answer(cli, &answer, ret_doc);
	buf_done(&answer.body);
	return error;
}

int client_try(struct cli *cli, const char *method, const char *target, const json_t *body,
	       json_t **ret_doc)
{
	_cleanup_free_ char *text = NULL;
	struct http_call request = {.method = method, .target = target};

	if (body && !(text = json_dumps(body, JSON_COMPACT)))
		return p_out_of_memory(cli);
	request.body = str_from_cstr(text);
	return call_for_document(cli, &request, ret_doc);
}

int client_send_text(struct cli *cli, const char *target, struct str text, json_t **ret_doc)
{
	struct http_call request = {"POST", target, "text/plain", text};
	int error = call_for_document(cli, &request, ret_doc);

	return error == -ENOTCONN ? client_report_absence(cli) : error;
}

int client_try_text(struct cli *cli, const char *target, struct buf *ret_text, json_t **ret_doc)
{
	struct http_call request = {.method = "GET", .target = target};
	struct http_answer answer;
	int error = call_daemon(cli, &request, &answer);

	if (error)
		return error;
	if (answer.is_text && answer.status == 200) {
		*ret_text = answer.body;
		return 0;
	}
	error = read_answer(cli, &answer, ret_doc);
	buf_done(&answer.body);
	return error;
}

int client_report_absence(struct cli *cli)
{
	return p_err(cli, -ENOTCONN, "%s; start sluiced or name its socket with --socket",
		     cli->absence);
}

int client_call(struct cli *cli, const char *method, const char *target, const json_t *body,
		json_t **ret_doc)
{
	int error = client_try(cli, method, target, body, ret_doc);

	return error == -ENOTCONN ? client_report_absence(cli) : error;
}

int client_show(struct cli *cli, const char *target, const struct output_view *view)
{
	_cleanup_json_ json_t *doc = NULL;
	int error = client_call(cli, "GET", target, NULL, &doc);

	return error ? error : output_print(cli, doc, view);
}

static int report_no_name(struct cli *cli, const json_t *rows, const char *what, const char *name)
{
	size_t count = json_array_size(rows), known = 0, index;
	_cleanup_free_ const char **names = calloc(count + 1, sizeof(*names));
	const char *suggestion;
	char quoted[160];
	json_t *row;

	if (!names)
		return p_out_of_memory(cli);
	json_array_foreach((json_t *)rows, index, row)
	{
		const char *candidate = document_string(row, "name");

		if (candidate)
			names[known++] = candidate;
	}
	str_quote(str_from_cstr(name), quoted, sizeof(quoted));
	suggestion = names_suggest(name, names);
	if (suggestion) {
		char near[160];

		return p_err(cli, -ENOENT, "%s %s is not configured; did you mean %s?", what,
			     quoted, str_quote(str_from_cstr(suggestion), near, sizeof(near)));
	}
	return p_err(cli, -ENOENT, "%s %s is not configured; 'sluice %s' lists what is", what,
		     quoted, what);
}

int client_keep_named(struct cli *cli, json_t *doc, const char *list, const char *what,
		      const char *name)
{
	json_t *rows = json_object_get(doc, list);
	_cleanup_json_ json_t *kept = NULL;
	size_t index;
	json_t *row;

	if (!name || !json_is_array(rows))
		return 0;
	kept = json_array();
	if (!kept)
		return p_out_of_memory(cli);
	json_array_foreach(rows, index, row)
	{
		const char *candidate = document_string(row, "name");

		if (candidate && !strcmp(candidate, name) && json_array_append(kept, row))
			return p_out_of_memory(cli);
	}
	if (json_array_size(kept) == 0)
		return report_no_name(cli, rows, what, name);
	return json_object_set(doc, list, kept) ? p_out_of_memory(cli) : 0;
}

int client_append_encoded(struct buf *out, struct str value)
{
	static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
					 "0123456789-._~";
	int error = 0;

	for (size_t i = 0; i < value.len && !error; i++) {
		if (value.ptr[i] != '\0' && strchr(unreserved, value.ptr[i]))
			error = buf_append(out, str_sub(value, i, 1));
		else
			error = buf_printf(out, "%%%02X", (unsigned char)value.ptr[i]);
	}
	return error;
}
