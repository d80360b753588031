#include "auth_stage.h"

#include <stdlib.h>

#define FIELDS_MAX 16

void auth_stage_begin(struct auth_stage *stage, const char *policies)
{
	struct snapshot *snapshot;
	struct route *route;
	void *fixture = NULL;
	char text[4096];

	*stage = (struct auth_stage){.registry = registry_new()};
	assert_non_null(stage->registry);
	assert_int_equal(exchange_fixture_setup(&fixture), 0);
	stage->fixture = fixture;
	(void)snprintf(text, sizeof(text),
		       CONFIG_HEAD CONFIG_WEB "policies: [ %s ]\n"
					      "routes: [ { name: r, policies: [] , "
					      "respond: { status: 200 } } ]\n",
		       policies);
	config_load_text(&stage->loaded, text, stage->registry);
	assert_string_equal(stage->loaded.printed.data, "");
	snapshot = stage->loaded.snapshot;
	assert_in_range(snapshot->policy_count, 1, ARRAY_SIZE(stage->list));
	route = stage->fixture->route;
	route->policies = stage->list;
	for (unsigned int i = 0; i < snapshot->policy_count; i++) {
		const struct policy *policy = &snapshot->policies[i];
		unsigned int count = 0;
		const struct str *names;

		stage->list[route->policy_count++] = policy;
		route->policy_steps |= policy->steps;
		names = policy->type->owned_fields
				? policy->type->owned_fields(policy->conf, &count)
				: NULL;
		if (count) {
			route->owned_fields = (struct str *)names;
			route->owned_field_count = count;
		}
	}
}

void auth_stage_end(struct auth_stage *stage)
{
	void *fixture = stage->fixture;

	exchange_fixture_end(stage->fixture);
	stage->fixture->route->policy_count = 0;
	assert_int_equal(exchange_fixture_teardown(&fixture), 0);
	loaded_done(&stage->loaded);
	registry_free(stage->registry);
}

unsigned int auth_stage_ask_all(struct auth_stage *stage, const char *target,
				const char *const *fields)
{
	static struct http_field list[FIELDS_MAX];
	unsigned int count = 0;

	for (; fields[count]; count++) {
		struct str line = str_from_cstr(fields[count]);
		ptrdiff_t colon = str_find_byte(line, ':');

		assert_true(colon > 0 && count < FIELDS_MAX);
		list[count].name = str_sub(line, 0, (size_t)colon);
		list[count].value = str_trim(str_sub(line, (size_t)colon + 1, line.len));
		list[count].id = http_field_lookup(list[count].name);
	}
	(void)exchange_fixture_begin(stage->fixture, target, list, count);
	return stage->fixture->status;
}

unsigned int auth_stage_ask(struct auth_stage *stage, const char *target, const char *name,
			    const char *value)
{
	const char *fields[] = {NULL, NULL};
	static char line[8192];

	if (name) {
		(void)snprintf(line, sizeof(line), "%s: %s", name, value);
		fields[0] = line;
	}
	return auth_stage_ask_all(stage, target, fields);
}

const char *auth_stage_fields(const struct auth_stage *stage)
{
	const struct http_head *request = &stage->fixture->exchange->request;
	static char text[8192];
	size_t len = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < request->field_count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s: %.*s\n",
					STR_FMT(request->fields[i].name),
					STR_FMT(request->fields[i].value));
	return text;
}

const char *auth_stage_reason(const struct auth_stage *stage)
{
	const struct exchange *exchange = stage->fixture->exchange;
	static char text[512];

	(void)snprintf(text, sizeof(text), "%s%s%s", exchange->failure ? exchange->failure : "",
		       exchange->failure_detail ? ": " : "",
		       exchange->failure_detail ? exchange->failure_detail : "");
	return text;
}

void assert_policy_refused(const char *policy, const char *error)
{
	struct loaded loaded;
	char text[4096];

	(void)snprintf(text, sizeof(text), CONFIG_HEAD "policies: [ { name: p, %s } ]\n", policy);
	config_load_text(&loaded, text, NULL);
	if (!strstr(loaded.printed.data, error))
		print_error("%s\ngave: %s\nnot: %s\n", text, loaded.printed.data, error);
	assert_row(policy, strstr(loaded.printed.data, error));
	loaded_done(&loaded);
}
