#include "test_support.h"

#include <errno.h>

#include "control/options.h"

struct row {
	const char *argv[6]; /* without the program's name */
	int result;
	enum options_action action;
	const char *file;
	const char *text; /* part of the error */
};

static const struct row rows[] = {
	{{"--config", "a.yaml"}, 0, OPTIONS_RUN, "a.yaml", NULL},
	{{"--config=a.yaml"}, 0, OPTIONS_RUN, "a.yaml", NULL},
	{{"-c", "a.yaml"}, 0, OPTIONS_RUN, "a.yaml", NULL},
	{{"-c", "--odd"}, 0, OPTIONS_RUN, "--odd", NULL},
	{{"--check", "a.yaml"}, 0, OPTIONS_CHECK, "a.yaml", NULL},
	{{"--check=/etc/x=y"}, 0, OPTIONS_CHECK, "/etc/x=y", NULL},
	{{"--version"}, 0, OPTIONS_VERSION, NULL, NULL},
	{{"-V"}, 0, OPTIONS_VERSION, NULL, NULL},
	{{"--help"}, 0, OPTIONS_HELP, NULL, NULL},
	{{"-h"}, 0, OPTIONS_HELP, NULL, NULL},
	{{NULL}, -EINVAL, 0, NULL, "nothing to do"},
	{{"--config"}, -EINVAL, 0, NULL, "--config needs a file name"},
	{{"-c"}, -EINVAL, 0, NULL, "--config needs a file name"},
	{{"--config="}, -EINVAL, 0, NULL, "--config needs a file name"},
	{{"--check", ""}, -EINVAL, 0, NULL, "--check needs a file name"},
	{{"--version=1"}, -EINVAL, 0, NULL, "--version takes no value"},
	{{"--verbose"}, -EINVAL, 0, NULL, "unknown option '--verbose'"},
	{{"-c=a.yaml"}, -EINVAL, 0, NULL, "unknown option '-c=a.yaml'"},
	{{"a.yaml"}, -EINVAL, 0, NULL, "unexpected argument 'a.yaml'"},
	{{"--config", "a.yaml", "extra"}, -EINVAL, 0, NULL, "unexpected argument 'extra'"},
	{{"--config", "a.yaml", "--check", "b.yaml"}, -EINVAL, 0, NULL, "is enough"},
	{{"--\x1b[31m"}, -EINVAL, 0, NULL, "'--\\x1b[31m'"},
};

static void test_each_command_line_gives_its_action_or_its_error(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		struct options options = {.file = "untouched"};
		struct error err = {0};
		char *argv[8] = {"sluiced"};
		char name[64];
		int argc = 1;

		for (size_t j = 0; j < ARRAY_SIZE(row->argv) && row->argv[j]; j++)
			argv[argc++] = (char *)row->argv[j];
		(void)snprintf(name, sizeof(name), "%zu: %s", i, row->argv[0] ? row->argv[0] : "");

		assert_row(name, options_parse(argc, argv, &options, &err) == row->result);
		if (row->result) {
			assert_row(name, strstr(err.text, row->text));
			assert_row(name, !strcmp(options.file, "untouched"));
			continue;
		}
		assert_row(name, options.action == row->action);
		assert_row(name, !row->file == !options.file);
		assert_row(name, !row->file || !strcmp(options.file, row->file));
	}
}

static void test_usage_names_every_option(void **state)
{
	static const char *const names[] = {"--config", "--check", "--version", "--help",
					    "-c",	"-V",	   "-h",	"SLUICE_IO"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_row(names[i], strstr(options_usage, names[i]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_command_line_gives_its_action_or_its_error),
		cmocka_unit_test(test_usage_names_every_option),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
