#include "config_fixture.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define FIXTURE_FILE "sluice.yaml"

static char fixture_dir[PATH_MAX];

int config_enter_dir(void **state)
{
	const char *base = getenv("TMPDIR");

	(void)unsetenv(CONFIG_ENGINE_ENV);
	(void)snprintf(fixture_dir, sizeof(fixture_dir), "%s/sluice-config-XXXXXX",
		       base ? base : "/tmp");
	return mkdtemp(fixture_dir) && chdir(fixture_dir) == 0 ? 0 : -1;
}

int config_leave_dir(void **state)
{
	DIR *directory = opendir(".");
	struct dirent *entry;

	if (!directory)
		return -1;
	while ((entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			(void)unlink(entry->d_name);
	(void)closedir(directory);
	return chdir("/") == 0 && rmdir(fixture_dir) == 0 ? 0 : -1;
}

void config_write_file(const char *name, const char *text)
{
	FILE *file = fopen(name, "wb");

	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
}

void config_load_text(struct loaded *loaded, const char *text, struct registry *registry)
{
	if (text)
		config_write_file(FIXTURE_FILE, text);
	*loaded = (struct loaded){.errors = conf_errors_new(FIXTURE_FILE)};
	assert_non_null(loaded->errors);
	loaded->result = config_load(FIXTURE_FILE, registry, 3, loaded->errors, &loaded->snapshot);
	assert_int_equal(loaded->result == 0, loaded->snapshot != NULL);
	assert_int_equal(loaded->result == 0, conf_errors_count(loaded->errors) == 0);
	buf_init(&loaded->printed, 1 << 20);
	assert_int_equal(conf_errors_print(loaded->errors, &loaded->printed), 0);
	assert_int_equal(buf_append(&loaded->printed, str_make("", 1)), 0);
	loaded->printed.len--;
}

void loaded_done(struct loaded *loaded)
{
	buf_done(&loaded->printed);
	snapshot_unref(loaded->snapshot);
	conf_errors_free(loaded->errors);
}
