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
		{"name", words->name},
		{"address", words->address},
		{"ports", words->ports},
		{"protocol", words->protocol},
		{"forward", words->forward},
		{"affinity", words->affinity},
		{"drain_ms", words->drain_ms},
		{"slots", words->slots},
		{"probe", words->probe},
		{"health_port", words->health_port},
		{"interval_ms", words->interval_ms},
		{"timeout_ms", words->timeout_ms},
		{"rise", words->rise},
		{"fall", words->fall},
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

/* A duration in words as the number of milliseconds that goes over the wire; NULL stays. */
static int duration_word(struct cli *cli, const char *key, const char **word, uint64_t min_ms,
			 uint64_t max_ms, char buf[24])
{
	uint64_t number = 0;
	int error = args_parse_duration(cli, key, *word, min_ms, max_ms, &number);

	if (error || !*word)
		return error;
	(void)snprintf(buf, 24, "%llu", (unsigned long long)number);
	*word = buf;
	return 0;
}

int service_add(struct cli *cli, struct args *args)
{
	struct service_words words = {0};
	const struct arg_key keys[] = {
		{"address", "ADDRESSES", &words.address},
		{"ports", "PORTS", &words.ports},
		{"protocol", "PROTOCOL", &words.protocol},
		{"forward", "MODE", &words.forward},
		{"affinity", "AFFINITY", &words.affinity},
		{"drain", "DURATION", &words.drain_ms},
		{"slots", "N", &words.slots},
		{"probe", "PROBE", &words.probe},
		{"port", "PORT", &words.health_port},
		{"interval", "DURATION", &words.interval_ms},
		{"timeout", "DURATION", &words.timeout_ms},
		{"rise", "N", &words.rise},
		{"fall", "N", &words.fall},
		{NULL, NULL, NULL},
	};
	char drain_ms[24], interval_ms[24], timeout_ms[24];
	int error = args_read_value(cli, args, "name", "NAME", &words.name);

	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error)
		error = duration_word(cli, "drain", &words.drain_ms, 0, SERVICE_DRAIN_MAX_MS,
				      drain_ms);
	if (!error)
		error = duration_word(cli, "interval", &words.interval_ms, 100, 3600000,
				      interval_ms);
	if (!error)
		error = duration_word(cli, "timeout", &words.timeout_ms, 10, 60000, timeout_ms);
	return error ? error : add_words(cli, &words);
}

int service_delete(struct cli *cli, struct args *args)
{
	_cleanup_(buf_done)
	struct buf target;
	_cleanup_json_ json_t *answer = NULL;
	const char *name = NULL, *drain = NULL;
	const struct arg_key keys[] = {{"drain", "DURATION", &drain}, {NULL, NULL, NULL}};
	uint64_t drain_ms = 0;
	int error = args_read_value(cli, args, "name", "NAME", &name);

	buf_init(&target, 4096);
	if (!error)
		error = args_read_keys(cli, args, keys);
	if (!error)
		error = args_parse_duration(cli, "drain", drain, 0, SERVICE_DRAIN_MAX_MS,
					    &drain_ms);
	if (error)
		return error;
	if (strlen(name) >= SL_SERVICE_NAME_MAX)
		return p_err(cli, -ENOENT, "there is no service of so long a name");
	if (buf_append(&target, STR("/v1/services?name=")) ||
	    client_append_encoded(&target, str_from_cstr(name)) ||
	    (drain_ms && buf_printf(&target, "&drain_ms=%llu", (unsigned long long)drain_ms)) ||
	    buf_append(&target, str_make("", 1)))
		return p_out_of_memory(cli);
	error = client_try(cli, "DELETE", buf_str(&target).ptr, NULL, &answer);
	if (error == -ENOTCONN && drain_ms)
		return p_err(cli, error,
			     "%s; without one nobody would delete the service when its drain is "
			     "over; start sluiced, or leave 'drain' out",
			     cli->absence);
	if (error == -ENOTCONN)
		error = service_offline_delete(cli, name);
	else if (!error)
		error = service_check_answer(cli, answer);
	return error ? error : tell(cli, name, drain_ms ? "draining" : "deleted", answer);
}
