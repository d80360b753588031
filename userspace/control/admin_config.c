/* GET /v1/config, POST /v1/config/reload and /v1/config/check */
#include <errno.h>

#include "base/cleanup.h"
#include "config/config.h"
#include "control/admin_api.h"
#include "control/reload.h"

#define EFFECTIVE_BYTES_MAX (64u << 20)

DEFINE_FREEP(struct conf_errors, conf_errors_free)
DEFINE_FREEP(struct snapshot, snapshot_unref)

void admin_get_config(struct daemon *daemon, const struct admin_request *request,
		      struct admin_response *response)
{
	_cleanup_(buf_done)
	struct buf text;
	struct json_writer json;
	int r;

	buf_init(&text, EFFECTIVE_BYTES_MAX);
	r = config_print_effective(daemon->snapshot, &text);
	if (r) {
		admin_fail(response, 500, "the configuration cannot be printed: %s", strerror(-r));
		return;
	}
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "file", daemon->config_file);
	json_u64(&json, "generation", daemon->generation);
	admin_json_time(&json, "loaded_at", daemon->snapshot->loaded_wall_ms);
	json_str(&json, "effective", buf_str(&text));
	json_close_object(&json);
	admin_finish(response, &json);
}

/* 200 with the generation, or 422 with every error. */
static void answer(struct daemon *daemon, int result, struct conf_errors *errors,
		   struct admin_response *response)
{
	unsigned int count = conf_errors_count(errors);
	const char *first = count ? conf_errors_get(errors, 0) : strerror(-result);
	struct json_writer json;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	if (result) {
		json_cstring(&json, "error", first);
		json_open_array(&json, "errors");
		for (unsigned int i = 0; i < count && conf_errors_get(errors, i); i++)
			json_cstring(&json, NULL, conf_errors_get(errors, i));
		json_close_array(&json);
	} else {
		json_u64(&json, "generation", daemon->generation);
	}
	json_close_object(&json);
	admin_finish(response, &json);
	if (result && response->status == 200)
		response->status = 422;
}

void admin_post_reload(struct daemon *daemon, const struct admin_request *request,
		       struct admin_response *response)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new(daemon->config_file);

	if (!errors) {
		admin_fail(response, 500, "out of memory");
		return;
	}
	answer(daemon, reload_run(daemon, errors), errors, response);
}

static void check_file(struct daemon *daemon, const char *file, struct admin_response *response)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new(file);
	_cleanup_(snapshot_unrefp)
	struct snapshot *snapshot = NULL;

	if (!errors) {
		admin_fail(response, 500, "out of memory");
		return;
	}
	answer(daemon, config_load(file, NULL, daemon->worker_count, errors, &snapshot), errors,
	       response);
}

static void check_text(struct daemon *daemon, const char *text, struct admin_response *response)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new(daemon->config_file);
	_cleanup_(snapshot_unrefp)
	struct snapshot *snapshot = NULL;

	if (!errors) {
		admin_fail(response, 500, "out of memory");
		return;
	}
	answer(daemon,
	       config_load_string(str_from_cstr(text), daemon->config_file, NULL,
				  daemon->worker_count, errors, &snapshot),
	       errors, response);
}

void admin_post_check(struct daemon *daemon, const struct admin_request *request,
		      struct admin_response *response)
{
	static const char *const names[] = {"text", "file"};
	_cleanup_(json_decrefp)
	json_t *object = NULL;
	const char *values[ARRAY_SIZE(names)] = {NULL, NULL};

	if (!str_is_empty(request->body) &&
	    admin_read_strings(request, response, names, ARRAY_SIZE(names), values, &object))
		return;
	if (values[0] && values[1])
		admin_fail(response, 400, "text or file, not both");
	else if (values[0])
		check_text(daemon, values[0], response);
	else if (values[1] && values[1][0] != '/')
		admin_fail(response, 400, "file: an absolute path is needed");
	else
		check_file(daemon, values[1] ? values[1] : daemon->config_file, response);
}
