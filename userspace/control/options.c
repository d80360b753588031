#include "control/options.h"

#include <errno.h>

#include "base/str.h"

const char options_usage[] =
	"usage: sluiced --config FILE      run in the foreground until SIGTERM; SIGHUP reloads\n"
	"       sluiced --check FILE       print the effective configuration or every error\n"
	"       sluiced --version | --help\n"
	"\n"
	"  -c, --config FILE   configuration to run with\n"
	"      --check FILE    configuration to check: exit status 0 when it is good, else 1\n"
	"  -V, --version       print the version\n"
	"  -h, --help          print this\n"
	"\n"
	"Environment: SLUICE_IO=io_uring|epoll overrides node.io; NOTIFY_SOCKET is systemd's.\n";

static const struct {
	const char *short_name, *long_name;
	enum options_action action;
	bool takes_file;
} known[] = {
	{"-c", "--config", OPTIONS_RUN, true},
	{NULL, "--check", OPTIONS_CHECK, true},
	{"-V", "--version", OPTIONS_VERSION, false},
	{"-h", "--help", OPTIONS_HELP, false},
};

/* Index into `known`; *ret_value is what stands after "=", ptr NULL when nothing does. */
static int find_option(const char *argument, struct str *ret_value)
{
	struct str name = str_from_cstr(argument);
	ptrdiff_t equals = str_starts_with(name, STR("--")) ? str_find_byte(name, '=') : -1;

	*ret_value = STR_NULL;
	if (equals >= 0) {
		*ret_value = str_sub(name, (size_t)equals + 1, name.len - (size_t)equals - 1);
		name.len = (size_t)equals;
	}
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (str_eq_cstr(name, known[i].long_name) ||
		    (known[i].short_name && str_eq_cstr(name, known[i].short_name)))
			return (int)i;
	return -1;
}

int options_parse(int argc, char *const *argv, struct options *ret_options, struct error *err)
{
	struct options options = {0};
	bool chosen = false;
	char quoted[128];

	for (int i = 1; i < argc; i++) {
		struct str value;
		int index = find_option(argv[i], &value);

		(void)str_quote(str_from_cstr(argv[i]), quoted, sizeof(quoted));
		if (index < 0)
			return error_set(err, -EINVAL, "%s %s",
					 argv[i][0] == '-' ? "unknown option"
							   : "unexpected argument",
					 quoted);
		if (chosen)
			return error_set(
				err, -EINVAL,
				"%s: one of --config, --check, --version and --help is enough",
				quoted);
		chosen = true;
		options.action = known[index].action;
		if (!known[index].takes_file) {
			if (value.ptr)
				return error_set(err, -EINVAL, "%s takes no value",
						 known[index].long_name);
			continue;
		}
		if (value.ptr)
			options.file = value.ptr; /* the rest of the argument, so NUL-terminated */
		else if (i + 1 < argc)
			options.file = argv[++i];
		if (!options.file || !*options.file)
			return error_set(err, -EINVAL, "%s needs a file name",
					 known[index].long_name);
	}
	if (!chosen)
		return error_set(err, -EINVAL, "nothing to do: give --config FILE");
	*ret_options = options;
	return 0;
}
