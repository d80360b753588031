#include "test_support.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "control/notify.h"

/* A socket that systemd would listen on; the abstract name leaves no file behind. */
static int listen_as_systemd(char *ret_name, size_t name_len)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = 10};
	int len = snprintf(ret_name, name_len, "@sluice-test-notify-%ld", (long)getpid());
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	memcpy(addr.sun_path, ret_name, (size_t)len);
	addr.sun_path[0] = '\0';
	assert_int_equal(bind(fd, (struct sockaddr *)&addr,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)len)),
			 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)), 0);
	return fd;
}

static void test_the_message_arrives_as_one_datagram(void **state)
{
	char name[64], text[256];
	int fd = listen_as_systemd(name, sizeof(name));
	ssize_t len;

	assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
	assert_int_equal(notify_send("READY=1\nSTATUS=generation %d", 7), 0);
	len = recv(fd, text, sizeof(text), 0);
	assert_true(len > 0);
	assert_str(str_make(text, (size_t)len), "READY=1\nSTATUS=generation 7");
	(void)close(fd);
}

static void test_without_the_variable_nothing_is_sent(void **state)
{
	assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
	assert_int_equal(notify_send("READY=1"), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", "", 1), 0);
	assert_int_equal(notify_send("READY=1"), 0);
}

static void test_a_socket_that_is_not_there_is_an_error(void **state)
{
	char path[200];

	assert_int_equal(setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1), 0);
	assert_int_equal(notify_send("READY=1"), -ENOENT);
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(setenv("NOTIFY_SOCKET", path, 1), 0);
	assert_int_equal(notify_send("READY=1"), -ENAMETOOLONG);
}

static void test_a_message_that_does_not_fit_is_refused(void **state)
{
	assert_int_equal(setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1), 0);
	assert_int_equal(notify_send("STATUS=%600d", 1), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_message_arrives_as_one_datagram),
		cmocka_unit_test(test_without_the_variable_nothing_is_sent),
		cmocka_unit_test(test_a_socket_that_is_not_there_is_an_error),
		cmocka_unit_test(test_a_message_that_does_not_fit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
