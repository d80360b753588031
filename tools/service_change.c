/* `sluice service add` and `sluice service delete`. */
#include <errno.h>

#include "kern/service_words.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/service.h"
#include "tools/service_offline.h"

/* "NAME: added." or {"service": ..., "done": ..., "daemon": ...} */
static int tell(struct cli *cli, const char *name, const char *done, bool daemon)
{
	_cleanup_json_ json_t *doc =
		json_pack("{s:o, s:s, s:b}", "service", document_text(str_from_cstr(name)), "done",
			  done, "daemon", (int)daemon);

	if (!doc)
		return p_out_of_memory(cli);
	if (cli->json)
		return output_document(cli, doc) ? p_out_of_memory(cli) : 0;
	p_text(cli, "service %s: %s.\n", name, done);
	service_print_offline(cli, daemon);
	return 0;
}

int service_check_answer(struct cli *cli, const json_t *answer)
{
	if (document_string(answer, "done") && document_string(answer, "service"))
		return 0;
	return p_err(cli, -EPROTO,
		     "the daemon's answer is not understood (it does not say what was done); are "
		     "sluice and sluiced of the same version?");
}

void service_print_offline(struct cli *cli, bool daemon)
{
	if (!daemon && !cli->json)
		p_text(cli,
		       "No daemon is running: written to %s and kept in %s for the next start.\n",
		       cli->bpffs_dir, cli->state_dir);
}

static json_t *make_request(const struct service_words *words)
{
	const struct {
		const char *key, *value;
	} members[] = {
		{"name", words->name},	       {"address", words->address},
		{"ports", words->ports},       {"protocol", words->protocol},
		{"forward", words->forward},   {"affinity", words->affinity},
		{"drain_ms", words->drain_ms}, {"slots", words->slots},
	};
	json_t *request = json_object();

	for (size_t i = 0; i < ARRAY_SIZE(members) && request; i++)
		if (members[i].value &&
		    json_object_set_new(request, members[i].key, json_string(members[i].value))) {
			json_decref(request);
			return NULL;
		}
	return request;
}

/* Looked at here first, so that what is wrong with the words is said without a daemon, too. */
static int add_words(struct cli *cli, const struct service_words *words)
{
	_cleanup_json_ json_t *request = NULL;
	_cleanup_json_ json_t *answer = NULL;
	struct service_conf *conf = NULL;
	struct error err = {0};
	int error = service_words_read(words, &conf, &err);

	if (error)
		return error == -EINVAL ? p_usage(cli, "%s", err.text) : p_out_of_memory(cli);
	request = make_request(words);
	if (request) {
		error = client_try(cli, "POST", "/v1/services", request, &answer);
		if (error == -ENOTCONN)
			error = service_offline_add(cli, conf);
		else if (!error)
			error = service_check_answer(cli, answer);
	} else {
		error = p_out_of_memory(cli);
	}
	service_conf_free(conf);
	return error ? error : tell(cli, words->name, "added", answer);
}

int service_add(struct cli *cli, struct args *args)
{
	struct service_words words = {0};
	const char *drain = NULL;
	const struct arg_key keys[] = {
		{"address", "ADDRESSES", &words.address},
		{"ports", "PORTS", &words.ports},
		{"protocol", "PROTOCOL", &words.protocol},
		{"forward", "MODE", &words.forward},
		{"affinity", "AFFINITY", &words.affinity},
		{"drain", "DURATION", &drain},
		{"slots", "N", &words.slots},
		{NULL, NULL, NULL},
	};
	char drain_ms[24];
	uint64_t number = 0;
	int error = args_read_value(cli, args, "name", "NAME", &words.name);

	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error)
		error = args_parse_duration(cli, "drain", drain, 0, SERVICE_DRAIN_MAX_MS, &number);
	if (error)
		return error;
	if (drain) {
		(void)snprintf(drain_ms, sizeof(drain_ms), "%llu", (unsigned long long)number);
		words.drain_ms = drain_ms;
	}
	return add_words(cli, &words);
}

int service_delete(struct cli *cli, struct args *args)
{
	_cleanup_(buf_done)
	struct buf target;
	_cleanup_json_ json_t *answer = NULL;
	const char *name = NULL;
	int error = args_read_value(cli, args, "name", "NAME", &name);

	buf_init(&target, 4096);
	if (!error)
		error = args_expect_end(cli, args);
	if (error)
		return error;
	if (strlen(name) >= SL_SERVICE_NAME_MAX)
		return p_err(cli, -ENOENT, "there is no service of so long a name");
	if (buf_append(&target, STR("/v1/services?name=")) ||
	    client_append_encoded(&target, str_from_cstr(name)) ||
	    buf_append(&target, str_make("", 1)))
		return p_out_of_memory(cli);
	error = client_try(cli, "DELETE", buf_str(&target).ptr, NULL, &answer);
	if (error == -ENOTCONN)
		error = service_offline_delete(cli, name);
	else if (!error)
		error = service_check_answer(cli, answer);
	return error ? error : tell(cli, name, "deleted", answer);
}
