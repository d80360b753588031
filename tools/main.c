/* sluice: options, then the object and its command. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/duration.h"
#include "base/log.h"
#include "kern/dataplane.h"
#include "tools/cli.h"
#include "tools/output.h"

#define TIMEOUT_MS_MAX (24UL * 60 * 60 * 1000)

static const struct object *const objects[] = {
	&object_status, &object_service, &object_backend,  &object_deny,
	&object_allow,	&object_route,	 &object_upstream, &object_stats,
	&object_event,	&object_config,	 &object_cert,	   &object_prog,
	&object_decap,	&object_map,	 &object_batch,	   &object_version,
};
/* Of the same grammar, for parts of Sluice that do not exist yet. */
static const char *const later_names[] = {"listener", "cache", "conn", "limit",
					  "policy",   "top",   NULL};

static const char main_help[] =
	"Usage: sluice [OPTIONS] OBJECT { COMMAND | help }\n"
	"       sluice [OPTIONS] help\n"
	"\n"
	"       OBJECT := { status | service | backend | deny | allow | route | upstream | stats "
	"|\n"
	"                   event | config | cert | prog | decap | map | batch | version }\n"
	"\n"
	"       sluice status [show]\n"
	"       sluice service [show] [name NAME]\n"
	"       sluice backend [show] [service NAME]\n"
	"       sluice backend add ADDRESS service NAME [weight N]\n"
	"       sluice backend { delete | drain | undrain } ADDRESS service NAME\n"
	"       sluice backend weight ADDRESS service NAME weight N\n"
	"       sluice { deny | allow } { [show] | count } [cidr CIDR] [from ORIGIN] [reason "
	"TEXT]\n"
	"       sluice { deny | allow } add CIDR [reason TEXT] [ttl DURATION]\n"
	"       sluice { deny | allow } delete CIDR\n"
	"       sluice { deny | allow } load file FILE [replace] [dry-run]\n"
	"       sluice { deny | allow } export [file FILE] [from ORIGIN]\n"
	"       sluice { deny | allow } counters\n"
	"       sluice route [show] [name NAME]\n"
	"       sluice upstream [show] [name NAME]\n"
	"       sluice stats [show] [interval DURATION]\n"
	"       sluice stats watch [interval DURATION] [count N]\n"
	"       sluice event [show] [last N] [since SEQ]\n"
	"       sluice event watch [last N] [since SEQ] [count N]\n"
	"       sluice config { [show] | reload | check [file FILE] }\n"
	"       sluice cert { [show] [listener NAME] | reload }\n"
	"       sluice prog { [show] | reload | unload }\n"
	"       sluice decap [show]\n"
	"       sluice decap attach dev DEV address ADDR... [source PREFIX...]\n"
	"       sluice decap detach dev DEV\n"
	"       sluice map [show] [name NAME]\n"
	"       sluice map dump NAME [limit N]\n"
	"       sluice map lookup NAME [key NUMBER] [hex BYTES]\n"
	"       sluice batch file FILE [continue]\n"
	"       sluice version\n"
	"\n"
	"       `list` is another name for `show`. Unambiguous beginnings of names will do.\n"
	"       Exit status: 0 done, 1 failed, 2 not understood.\n" HELP_OPTIONS;

enum option_id {
	OPTION_JSON,
	OPTION_PRETTY,
	OPTION_PATHS,
	OPTION_DEBUG,
	OPTION_VERSION,
	OPTION_HELP,
	OPTION_SOCKET,
	OPTION_BPFFS,
	OPTION_STATE_DIR,
	OPTION_TIMEOUT,
};

static const struct option_name {
	char letter; /* 0: none */
	const char *name;
	const char *value_name; /* NULL: takes none */
	enum option_id id;
} options[] = {
	{'j', "json", NULL, OPTION_JSON},	   {'p', "pretty", NULL, OPTION_PRETTY},
	{'f', "bpffs-paths", NULL, OPTION_PATHS},  {'d', "debug", NULL, OPTION_DEBUG},
	{'V', "version", NULL, OPTION_VERSION},	   {'h', "help", NULL, OPTION_HELP},
	{0, "socket", "PATH", OPTION_SOCKET},	   {0, "bpffs", "DIR", OPTION_BPFFS},
	{0, "state-dir", "DIR", OPTION_STATE_DIR}, {0, "timeout", "DURATION", OPTION_TIMEOUT},
};

/* What is left to do besides setting up the context. */
struct request {
	bool version;
	bool help;
	struct args args; /* object, command and their arguments; the array is ours */
};

static int apply_option(struct cli *cli, struct request *request, const struct option_name *option,
			const char *value)
{
	char quoted[80];

	switch (option->id) {
	case OPTION_JSON:
		cli->json = true;
		return 0;
	case OPTION_PRETTY:
		cli->json = true;
		cli->pretty = true;
		return 0;
	case OPTION_PATHS:
		cli->show_paths = true;
		return 0;
	case OPTION_DEBUG:
		cli->debug = true;
		return 0;
	case OPTION_VERSION:
		request->version = true;
		return 0;
	case OPTION_HELP:
		request->help = true;
		return 0;
	case OPTION_TIMEOUT:
		if (duration_parse_ms(str_from_cstr(value), &cli->timeout_ms) ||
		    cli->timeout_ms == 0 || cli->timeout_ms > TIMEOUT_MS_MAX)
			return p_usage(cli,
				       "--timeout %s is not a duration up to 24h; write it as "
				       "500ms, 30s or 5m",
				       str_quote(str_from_cstr(value), quoted, sizeof(quoted)));
		return 0;
	default:
		break;
	}
	if (!value[0])
		return p_usage(cli, "--%s needs a value: --%s %s", option->name, option->name,
			       option->value_name);
	if (option->id == OPTION_SOCKET)
		cli->socket_path = value;
	else if (option->id == OPTION_STATE_DIR)
		cli->state_dir = value;
	else
		cli->bpffs_dir = value;
	cli->bpffs_given |= option->id == OPTION_BPFFS;
	return 0;
}

static int unknown_option(struct cli *cli, const char *word, const char *name)
{
	const char *names[ARRAY_SIZE(options) + 1] = {NULL};
	const char *suggestion;
	char quoted[80];

	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		names[i] = options[i].name;
	str_quote(str_from_cstr(word), quoted, sizeof(quoted));
	suggestion = name ? names_suggest(name, names) : NULL;
	if (suggestion)
		return p_usage(cli, "unknown option %s; did you mean '--%s'?", quoted, suggestion);
	return p_usage(cli,
		       "unknown option %s; 'sluice help' lists them, and arguments that begin "
		       "with '-' come after '--'",
		       quoted);
}

/* "--name", "--name VALUE" or "--name=VALUE". */
static int read_long_option(struct cli *cli, struct request *request, struct args *words,
			    const char *word)
{
	struct str text = str_from_cstr(word + 2);
	ptrdiff_t equals = str_find_byte(text, '=');
	struct str name = equals < 0 ? text : str_sub(text, 0, (size_t)equals);
	char name_text[64];

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const char *value = equals < 0 ? NULL : word + 2 + equals + 1;

		if (!str_eq_cstr(name, options[i].name))
			continue;
		if (value && !options[i].value_name)
			return p_usage(cli, "--%s takes no value", options[i].name);
		if (!value && options[i].value_name && !(value = args_take(words)))
			return p_usage(cli, "--%s needs a value: --%s %s", options[i].name,
				       options[i].name, options[i].value_name);
		return apply_option(cli, request, &options[i], value);
	}
	return unknown_option(cli, word,
			      str_to_cstr(name, name_text, sizeof(name_text)) ? NULL : name_text);
}

/* "-jp": several letters in one word. */
static int read_letters(struct cli *cli, struct request *request, const char *word)
{
	int result = 0;

	for (const char *letter = word + 1; *letter; letter++) {
		const struct option_name *found = NULL;
		int error;

		for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
			if (options[i].letter == *letter)
				found = &options[i];
		}
		error = found ? apply_option(cli, request, found, NULL)
			      : unknown_option(cli, word, NULL);
		if (error)
			result = error;
	}
	return result;
}

/*
 * Options may stand anywhere before "--". After an error reading goes on, as a later --json says
 * in which form to report it.
 */
static int read_words(struct cli *cli, struct request *request, struct args words)
{
	const char *word;
	int result = 0;

	while ((word = args_take(&words))) {
		int error = 0;

		if (!strcmp(word, "--"))
			break;
		if (word[0] != '-' || !word[1])
			request->args.words[request->args.count++] = (char *)word;
		else if (word[1] == '-')
			error = read_long_option(cli, request, &words, word);
		else
			error = read_letters(cli, request, word);
		if (error)
			result = error;
	}
	while ((word = args_take(&words)))
		request->args.words[request->args.count++] = (char *)word;
	return result;
}

static void read_environment(struct cli *cli)
{
	const char *socket_path = getenv("SLUICE_SOCKET");
	const char *bpffs_dir = getenv("SLUICE_BPFFS");
	const char *state_dir = getenv("SLUICE_STATE_DIR");

	if (socket_path && socket_path[0])
		cli->socket_path = socket_path;
	if (bpffs_dir && bpffs_dir[0]) {
		cli->bpffs_dir = bpffs_dir;
		cli->bpffs_given = true;
	}
	if (state_dir && state_dir[0])
		cli->state_dir = state_dir;
}

static int print_version(struct cli *cli)
{
	_cleanup_json_ json_t *doc = NULL;

	if (!cli->json) {
		p_text(cli, "sluice %s\n", SLUICE_VERSION);
		return 0;
	}
	doc = json_pack("{s:s}", "version", SLUICE_VERSION);
	return !doc || output_document(cli, doc) ? p_out_of_memory(cli) : 0;
}

/* NULL in *ret_object: the word `help`. */
static int find_object(struct cli *cli, const char *word, const struct object **ret_object)
{
	const char *object_names[ARRAY_SIZE(objects) + 2] = {NULL};
	int index;

	for (size_t i = 0; i < ARRAY_SIZE(objects); i++)
		object_names[i] = objects[i]->name;
	object_names[ARRAY_SIZE(objects)] = "help";
	index = names_find(word, object_names);

	if (index < 0) {
		for (int i = 0; later_names[i]; i++) {
			if (!strcmp(word, later_names[i]))
				return p_usage(cli, "object '%s' is not supported yet", word);
		}
		return names_require(cli, "object", word, object_names);
	}
	*ret_object = (size_t)index < ARRAY_SIZE(objects) ? objects[index] : NULL;
	return 0;
}

static bool is_show_key(const struct object *object, const char *word)
{
	return object->show_keys && names_find(word, object->show_keys) >= 0;
}

/* `show` may be left out, also in front of its keys. */
static int run_object(struct cli *cli, const struct object *object, struct args *args)
{
	const char *names[COMMANDS_MAX + 2] = {NULL};
	const char *word = args_peek(args);
	unsigned int count = 0;
	int index;

	while (object->commands[count].name) {
		names[count] = object->commands[count].name;
		count++;
	}
	names[count] = "help";
	if (!word)
		return object->commands[0].run(cli, args);
	if (names_find(word, names) == -ENOENT && is_show_key(object, word))
		return object->commands[0].run(cli, args);
	index = names_require(cli, "command", word, names);
	if (index < 0)
		return index;
	(void)args_take(args);
	if ((unsigned int)index == count)
		return cli_print_help(cli, object->help);
	if (cli->in_batch && object->commands[index].streams)
		return p_usage(cli, "'%s %s' goes on printing, which no line of a batch may",
			       object->name, object->commands[index].name);
	return object->commands[index].run(cli, args);
}

int cli_run(struct cli *cli, struct args *args)
{
	const struct object *object = NULL;
	const char *word = args_take(args);
	int error = find_object(cli, word, &object);

	if (error)
		return error;
	if (!object)
		return cli_print_help(cli, main_help);
	cli->object_name = object->name;
	return run_object(cli, object, args);
}

static int run(struct cli *cli, struct request *request)
{
	const struct object *object = NULL;
	struct args *args = &request->args;
	const char *word;
	bool help = request->help;
	int error;

	if (request->version)
		return print_version(cli);
	if (!args_peek(args) && !help)
		return p_usage(cli, "no object is named; 'sluice status' shows what is going on, "
				    "'sluice help' the grammar");
	/* `help`, `help OBJECT` and `-h OBJECT`: a second round only after the word `help`. */
	for (int round = 0; round < 2 && !object && (word = args_take(args)); round++) {
		error = find_object(cli, word, &object);
		if (error)
			return error;
		help |= !object;
	}
	if (help)
		return cli_print_help(cli, object ? object->help : main_help);
	cli->object_name = object->name;
	return run_object(cli, object, args);
}

/*
 * A descriptor 0 to 2 that is closed would be the next one opened: what is printed would go into
 * a socket or the lock's file. Reading from 1 is allowed and writing is not, so that the output
 * that nobody gets is an error.
 */
static void fill_standard_descriptors(void)
{
	for (int fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) < 0)
			return;
}

int main(int argc, char **argv)
{
	_cleanup_(cli_done)
	struct cli cli;
	_cleanup_free_ char **words = calloc((size_t)argc + 1, sizeof(*words));
	struct request request = {.args = {.words = words}};

	/* A closed pipe is an error of write(), not a death without a word. */
	(void)signal(SIGPIPE, SIG_IGN);
	fill_standard_descriptors();
	cli_init(&cli);
	read_environment(&cli);
	if (!words)
		(void)p_out_of_memory(&cli);
	else
		(void)read_words(&cli, &request, (struct args){argv + 1, MAX(argc - 1, 0)});
	log_configure(cli.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	dataplane_set_verbose(cli.debug);
	if (cli.exit_status == CLI_DONE)
		(void)run(&cli, &request);
	return cli_finish(&cli);
}
