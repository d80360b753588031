#include "control/admin_api.h"

#include <errno.h>
#include <time.h>

static const struct endpoint_entry {
	const char *path;
	const char *allow;
	struct {
		const char *method;
		admin_handler *run;
	} methods[3];
} endpoints[] = {
	{"/v1/version", "GET", {{"GET", admin_get_version}}},
	{"/v1/status", "GET", {{"GET", admin_get_status}}},
	{"/v1/counters", "GET", {{"GET", admin_get_counters}}},
	{"/v1/deny",
	 "GET, POST, DELETE",
	 {{"GET", admin_get_access}, {"POST", admin_post_deny}, {"DELETE", admin_delete_deny}}},
	{"/v1/allow",
	 "GET, POST, DELETE",
	 {{"GET", admin_get_access}, {"POST", admin_post_allow}, {"DELETE", admin_delete_allow}}},
	{"/v1/deny/count", "GET", {{"GET", admin_get_access_count}}},
	{"/v1/allow/count", "GET", {{"GET", admin_get_access_count}}},
	{"/v1/deny/load",
	 "GET, POST, DELETE",
	 {{"GET", admin_get_load}, {"POST", admin_post_load}, {"DELETE", admin_delete_load}}},
	{"/v1/allow/load",
	 "GET, POST, DELETE",
	 {{"GET", admin_get_load}, {"POST", admin_post_load}, {"DELETE", admin_delete_load}}},
	{"/v1/deny/load/part", "POST", {{"POST", admin_post_load_part}}},
	{"/v1/allow/load/part", "POST", {{"POST", admin_post_load_part}}},
	{"/v1/deny/load/commit", "POST", {{"POST", admin_post_load_commit}}},
	{"/v1/allow/load/commit", "POST", {{"POST", admin_post_load_commit}}},
	{"/v1/routes", "GET", {{"GET", admin_get_routes}}},
	{"/v1/routes/explain", "POST", {{"POST", admin_post_explain}}},
	{"/v1/upstreams", "GET", {{"GET", admin_get_upstreams}}},
	{"/v1/services",
	 "GET, POST, DELETE",
	 {{"GET", admin_get_services},
	  {"POST", admin_post_services},
	  {"DELETE", admin_delete_services}}},
	{"/v1/certificates", "GET", {{"GET", admin_get_certificates}}},
	{"/v1/certificates/reload", "POST", {{"POST", admin_post_certificates_reload}}},
	{"/v1/backends", "POST", {{"POST", admin_post_backends}}},
	{"/v1/events", "GET", {{"GET", admin_get_events}}},
	{"/v1/config", "GET", {{"GET", admin_get_config}}},
	{"/v1/config/reload", "POST", {{"POST", admin_post_reload}}},
	{"/v1/config/check", "POST", {{"POST", admin_post_check}}},
};

void admin_finish(struct admin_response *response, struct json_writer *json)
{
	int r = json_finish(json);

	response->status = 200;
	if (r)
		admin_fail(response, 500, "the answer cannot be written: %s", strerror(-r));
}

void admin_dispatch(struct daemon *daemon, const struct admin_request *request,
		    struct admin_response *response)
{
	char quoted[128];

	for (size_t i = 0; i < ARRAY_SIZE(endpoints); i++) {
		const struct endpoint_entry *entry = &endpoints[i];

		if (!str_eq_cstr(request->path, entry->path))
			continue;
		for (size_t j = 0; j < ARRAY_SIZE(entry->methods) && entry->methods[j].run; j++)
			if (str_eq_cstr(request->method, entry->methods[j].method)) {
				entry->methods[j].run(daemon, request, response);
				return;
			}
		response->allow = entry->allow;
		admin_fail(response, 405, "%s takes %s", entry->path, entry->allow);
		return;
	}
	admin_fail(response, 404, "there is no %s here",
		   str_quote(request->path, quoted, sizeof(quoted)));
}

static int hex_digit(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit = ascii_lower(digit);
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static int percent_decode(struct str value, char *buf, size_t buf_len)
{
	size_t len = 0;

	for (size_t i = 0; i < value.len; i++) {
		char byte = value.ptr[i];

		if (byte == '%') {
			int high = i + 2 < value.len ? hex_digit(value.ptr[i + 1]) : -1;
			int low = high >= 0 ? hex_digit(value.ptr[i + 2]) : -1;

			if (low < 0 || (high == 0 && low == 0))
				return -EINVAL;
			byte = (char)(high << 4 | low);
			i += 2;
		}
		if (len + 1 >= buf_len)
			return -EINVAL;
		buf[len++] = byte;
	}
	buf[len] = '\0';
	return 0;
}

int admin_query_get(struct str query, const char *name, char *buf, size_t buf_len)
{
	struct str pair;

	while (str_next_token(&query, '&', &pair)) {
		ptrdiff_t equals = str_find_byte(pair, '=');

		if (equals < 0 || !str_eq_cstr(str_sub(pair, 0, (size_t)equals), name))
			continue;
		return percent_decode(
			str_sub(pair, (size_t)equals + 1, pair.len - (size_t)equals - 1), buf,
			buf_len);
	}
	return -ENOENT;
}

static int find_name(const char *name, const char *const *names, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		if (!strcmp(name, names[i]))
			return (int)i;
	return -1;
}

int admin_read_strings(const struct admin_request *request, struct admin_response *response,
		       const char *const *names, unsigned int count, const char **ret_values,
		       json_t **ret_object)
{
	json_error_t error;
	json_t *object =
		json_loadb(request->body.ptr, request->body.len, JSON_REJECT_DUPLICATES, &error);
	const char *key;
	char quoted[128];
	json_t *value;

	if (!json_is_object(object)) {
		if (object)
			admin_fail(response, 400, "the body must be a JSON object");
		else
			admin_fail(response, 400, "the body is no JSON: line %d, column %d: %s",
				   error.line, error.column, error.text);
		json_decref(object);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < count; i++)
		ret_values[i] = NULL;
	json_object_foreach(object, key, value)
	{
		int index = find_name(key, names, count);

		if (index < 0 || !json_is_string(value)) {
			(void)str_quote(str_from_cstr(key), quoted, sizeof(quoted));
			admin_fail(response, 400,
				   index < 0 ? "unknown key %s" : "%s must be a string", quoted);
			json_decref(object);
			return -EINVAL;
		}
		ret_values[index] = json_string_value(value);
	}
	*ret_object = object;
	return 0;
}

void admin_json_time(struct json_writer *json, const char *key, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm utc;
	char text[32];

	if (!wall_ms || !gmtime_r(&seconds, &utc)) {
		json_nil(json, key);
		return;
	}
	(void)strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
	json_cstring(json, key, text);
}
