#include "tools/offline_check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/cli.h"
#include "tools/output.h"

#define ERRORS_MAX (4UL << 20)

extern char **environ;

static bool is_program(const char *path)
{
	return !access(path, X_OK);
}

/* DIR/sluiced for each element of PATH. */
static int find_in_path(char *path, size_t path_len)
{
	struct str rest = str_from_cstr(getenv("PATH")), dir;

	while (str_next_token(&rest, ':', &dir)) {
		int len = snprintf(path, path_len, "%.*s/sluiced", STR_FMT(dir));

		if (dir.len > 0 && len > 0 && (size_t)len < path_len && is_program(path))
			return 0;
	}
	return -ENOENT;
}

/* Where a build tree and where an installation has it, seen from our own directory. */
static int find_near(char *path, size_t path_len)
{
	static const char *const places[] = {"sluiced", "../sbin/sluiced"};
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash = len > 0 ? memrchr(self, '/', (size_t)len) : NULL;

	for (size_t i = 0; i < ARRAY_SIZE(places) && slash; i++) {
		int path_used =
			snprintf(path, path_len, "%.*s/%s", (int)(slash - self), self, places[i]);

		if (path_used > 0 && (size_t)path_used < path_len && is_program(path))
			return 0;
	}
	return -ENOENT;
}

static int find_sluiced(struct cli *cli, char *path, size_t path_len)
{
	if (!find_near(path, path_len) || !find_in_path(path, path_len))
		return 0;
	return p_err(cli, -ENOENT,
		     "%s, and sluiced is neither beside sluice nor in PATH to check the file",
		     cli->absence);
}

/* Standard error of the child into our pipe, its standard output (the effective form) away. */
static int spawn(const char *path, const char *file, int error_fd, pid_t *ret_pid)
{
	char *const argv[] = {(char *)"sluiced", (char *)"--check", (char *)file, NULL};
	posix_spawn_file_actions_t actions;
	int error;

	error = posix_spawn_file_actions_init(&actions);
	if (error)
		return -error;
	error = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	if (!error)
		error = posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
							 O_WRONLY, 0);
	if (!error)
		error = posix_spawn_file_actions_adddup2(&actions, error_fd, STDERR_FILENO);
	if (!error)
		error = posix_spawn(ret_pid, path, &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return -error;
}

/* Until the end; what is beyond the cap is read and dropped, so that the child is not held up. */
static void read_errors(int fd, struct buf *out)
{
	char bytes[4096];

	for (;;) {
		ssize_t got = read(fd, bytes, sizeof(bytes));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return;
		(void)buf_append(out, str_make(bytes, (size_t)got));
	}
}

static int report_invalid(struct cli *cli, struct str text, int status)
{
	struct str line, rest = text;
	bool first = true;

	while (str_next_token(&rest, '\n', &line)) {
		if (str_is_empty(line))
			continue;
		if (first)
			(void)p_err(cli, -EINVAL, "%.*s", STR_FMT(line));
		p_err_line(cli, line);
		first = false;
	}
	if (!first)
		return -EINVAL;
	if (WIFSIGNALED(status))
		return p_err(cli, -EINVAL, "'sluiced --check' was ended by signal %d",
			     WTERMSIG(status));
	return p_err(cli, -EINVAL, "'sluiced --check' failed with status %d and no reason",
		     WEXITSTATUS(status));
}

static int make_notes(struct cli *cli, struct str text, json_t **ret_notes)
{
	_cleanup_json_ json_t *notes = json_array();
	struct str line, rest = text;

	if (!notes)
		return p_out_of_memory(cli);
	while (str_next_token(&rest, '\n', &line)) {
		if (!str_is_empty(line) && json_array_append_new(notes, document_text(line)))
			return p_out_of_memory(cli);
	}
	*ret_notes = TAKE_PTR(notes);
	return 0;
}

int offline_check_run(struct cli *cli, const char *file, json_t **ret_notes)
{
	_cleanup_(buf_done)
	struct buf errors;
	_cleanup_close_ int read_fd = -1;
	char path[PATH_MAX];
	int fds[2], error, status = 0;
	pid_t pid;

	buf_init(&errors, ERRORS_MAX);
	error = find_sluiced(cli, path, sizeof(path));
	if (error)
		return error;
	p_debug(cli, "> %s --check %s", path, file);
	if (pipe2(fds, O_CLOEXEC))
		return p_err(cli, -errno, "cannot make a pipe: %s", strerrordesc_np(errno));
	read_fd = fds[0];
	error = spawn(path, file, fds[1], &pid);
	(void)close(fds[1]);
	if (error)
		return p_err(cli, error, "cannot run %s: %s", path, strerrordesc_np(-error));
	read_errors(read_fd, &errors);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		continue;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return make_notes(cli, buf_str(&errors), ret_notes);
	return report_invalid(cli, buf_str(&errors), status);
}
