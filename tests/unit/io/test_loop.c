#include "io/io_test.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>

/* ---- tasks ---- */

enum { THREADS = 4, TASKS_PER_THREAD = 5000 };

struct numbered_task {
	struct loop_task task;
	int thread;
	int number;
};

static int tasks_run;
static int next_number[THREADS];

static void run_numbered(struct loop_task *task)
{
	struct numbered_task *numbered = CONTAINER_OF(task, struct numbered_task, task);

	assert_int_equal(numbered->number, next_number[numbered->thread]);
	next_number[numbered->thread]++;
	tasks_run++;
}

struct poster {
	struct loop *loop;
	int thread;
	struct numbered_task tasks[TASKS_PER_THREAD];
};

static void *post_all(void *arg)
{
	struct poster *poster = arg;

	for (int i = 0; i < TASKS_PER_THREAD; i++) {
		poster->tasks[i] = (struct numbered_task){
			.task.run = run_numbered, .thread = poster->thread, .number = i};
		loop_post(poster->loop, &poster->tasks[i].task);
	}
	return NULL;
}

static void test_tasks_of_four_threads_run_once_and_in_order(void **state)
{
	static struct poster posters[THREADS];
	struct loop *loop = test_loop(state);
	pthread_t threads[THREADS];

	tasks_run = 0;
	memset(next_number, 0, sizeof(next_number));
	for (int i = 0; i < THREADS; i++) {
		posters[i].loop = loop;
		posters[i].thread = i;
		assert_int_equal(pthread_create(&threads[i], NULL, post_all, &posters[i]), 0);
	}
	/* No time-out: a wake-up that is lost would be a turn that never ends. */
	while (tasks_run < THREADS * TASKS_PER_THREAD)
		assert_int_equal(loop_run_once(loop, -1), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(tasks_run, THREADS * TASKS_PER_THREAD);
}

struct repeated_task {
	struct loop_task task;
	struct loop *loop;
	int runs;
};

static void run_repeated(struct loop_task *task)
{
	struct repeated_task *repeated = CONTAINER_OF(task, struct repeated_task, task);

	if (++repeated->runs < 100)
		loop_post(repeated->loop, task);
	else
		loop_stop(repeated->loop);
}

static void test_a_task_may_post_itself_again(void **state)
{
	struct loop *loop = test_loop(state);
	struct repeated_task repeated = {.task.run = run_repeated, .loop = loop};

	loop_post(loop, &repeated.task);
	assert_int_equal(loop_run(loop), 0);
	assert_int_equal(repeated.runs, 100);
}

/* ---- stopping ---- */

static struct loop *signalled_loop;

static void stop_in_handler(int number)
{
	loop_stop(signalled_loop);
}

static void *signal_main_thread(void *arg)
{
	(void)pthread_kill(*(pthread_t *)arg, SIGUSR1);
	return NULL;
}

static void test_a_signal_handler_may_stop_the_loop(void **state)
{
	struct sigaction action = {.sa_handler = stop_in_handler}, old;
	struct loop *loop = test_loop(state);
	pthread_t self = pthread_self();
	pthread_t thread;

	signalled_loop = loop;
	assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
	for (int round = 0; round < 20; round++) {
		assert_int_equal(pthread_create(&thread, NULL, signal_main_thread, &self), 0);
		assert_int_equal(loop_run(loop), 0);
		assert_int_equal(pthread_join(thread, NULL), 0);
	}
	assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
}

static void test_a_stop_before_the_run_counts(void **state)
{
	struct loop *loop = test_loop(state);

	loop_stop(loop);
	assert_int_equal(loop_run(loop), 0);
}

/* ---- the engine ---- */

static void test_the_engine_is_the_one_asked_for(void **state)
{
	struct fixture *fixture = *state;
	struct loop *loop = test_loop(state);

	assert_int_equal(loop_engine(loop), fixture->engine);
	assert_string_equal(io_engine_name(loop_engine(loop)),
			    fixture->engine == IO_ENGINE_EPOLL ? "epoll" : "io_uring");
	assert_true(loop_now_ms(loop) <= clock_mono_ms());
}

static void test_auto_takes_io_uring_where_it_works(void **state)
{
	struct loop_config config = {.engine = IO_ENGINE_AUTO};
	struct loop *loop = NULL;
	struct error err = {0};

	assert_int_equal(loop_new(&config, &loop, &err), 0);
	assert_int_equal(loop_engine(loop),
			 io_uring_is_usable(NULL) ? IO_ENGINE_IO_URING : IO_ENGINE_EPOLL);
	loop_free(loop);
}

static void test_wrong_sizes_are_refused(void **state)
{
	static const struct loop_config wrong[] = {
		{.recv_bufs_ready = 3},
		{.recv_bufs_ready = 65536},
		{.recv_bufs_max = 65537},
		{.recv_buf_bytes = UINT32_MAX},
	};
	struct fixture *fixture = *state;

	(void)test_loop(state);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		struct loop_config config = wrong[i];
		struct loop *loop = NULL;
		struct error err = {0};

		config.engine = fixture->engine;
		assert_int_equal(loop_new(&config, &loop, &err), -EINVAL);
		assert_null(loop);
		assert_true(error_is_set(&err));
	}
}

static void test_loop_without_descriptors_says_why(void **state)
{
	struct fixture *fixture = *state;
	struct loop_config config = {.engine = fixture->engine};
	struct loop *loop = NULL;
	struct rlimit old, none;
	int highest;

	(void)test_loop(state);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	highest = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(highest >= 0);
	(void)close(highest);
	/* The first, second, ... descriptor is the one that cannot be had. */
	for (int more = 0; more < 12; more++) {
		struct error err = {0};
		int result;

		none = (struct rlimit){.rlim_cur = (rlim_t)(highest + more),
				       .rlim_max = old.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		result = loop_new(&config, &loop, &err);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		if (result == 0) {
			assert_true(more > 0);
			loop_free(loop);
			return;
		}
		assert_int_equal(result, -EMFILE);
		assert_true(error_is_set(&err));
	}
	fail_msg("twelve descriptors are not enough for a loop");
}

/* ---- watches ---- */

struct counted_watch {
	struct watch watch;
	unsigned int ready;
	unsigned int stopped;
	uint32_t events;
	bool drain;
	bool stop;
};

static void on_ready(struct watch *watch, uint32_t poll_events)
{
	struct counted_watch *counted = CONTAINER_OF(watch, struct counted_watch, watch);
	uint64_t value;

	assert_int_equal(counted->stopped, 0);
	counted->ready++;
	counted->events |= poll_events;
	if (counted->drain)
		assert_int_equal(read(watch->fd, &value, sizeof(value)), sizeof(value));
	if (counted->stop)
		watch_stop(watch);
	assert_int_equal(counted->stopped, 0);
}

static void on_watch_stopped(struct watch *watch)
{
	CONTAINER_OF(watch, struct counted_watch, watch)->stopped++;
}

static struct counted_watch make_watch(void)
{
	return (struct counted_watch){
		.watch = {.on_ready = on_ready, .on_stopped = on_watch_stopped}};
}

static void test_a_watch_is_level_triggered(void **state)
{
	struct loop *loop = test_loop(state);
	struct counted_watch counted = make_watch();
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	uint64_t three = 3;

	assert_true(fd >= 0);
	assert_int_equal(watch_start(loop, &counted.watch, fd, POLLIN), 0);
	assert_int_equal(watch_start(loop, &counted.watch, fd, POLLIN), -EBUSY);
	assert_int_equal(loop_run_once(loop, 0), 0);
	assert_int_equal(counted.ready, 0);
	/* Each call takes one of the three. */
	counted.drain = true;
	assert_int_equal(write(fd, &three, sizeof(three)), sizeof(three));
	run_until(loop, counted.ready == 3);
	for (int turn = 0; turn < 5; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	assert_int_equal(counted.ready, 3);
	assert_int_equal(counted.events, POLLIN);
	watch_stop(&counted.watch);
	watch_stop(&counted.watch);
	assert_int_equal(counted.stopped, 0);
	run_until(loop, counted.stopped == 1);
	assert_int_equal(write(fd, &three, sizeof(three)), sizeof(three)); /* open still */
	for (int turn = 0; turn < 5; turn++)
		assert_int_equal(loop_run_once(loop, 1), 0);
	assert_int_equal(counted.ready, 3);
	assert_int_equal(counted.stopped, 1);
	(void)close(fd);
}

static void test_a_watch_may_be_stopped_when_ready_and_started_again(void **state)
{
	struct loop *loop = test_loop(state);
	struct counted_watch counted = make_watch();
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	counted.stop = true;
	for (unsigned int round = 1; round <= 3; round++) {
		assert_int_equal(watch_start(loop, &counted.watch, fd, POLLIN | POLLOUT), 0);
		run_until(loop, counted.stopped == 1);
		assert_int_equal(counted.ready, round);
		assert_int_equal(counted.events, POLLIN | POLLOUT);
		counted.stopped = 0;
	}
	(void)close(fd);
}

static void test_a_hang_up_is_reported_unasked(void **state)
{
	struct loop *loop = test_loop(state);
	struct counted_watch counted = make_watch();
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(watch_start(loop, &counted.watch, fds[0], POLLIN), 0);
	assert_int_equal(loop_run_once(loop, 0), 0);
	counted.stop = true;
	(void)close(fds[1]);
	run_until(loop, counted.stopped == 1);
	assert_int_equal(counted.events & POLLHUP, POLLHUP);
	(void)close(fds[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_ENGINES(test_tasks_of_four_threads_run_once_and_in_order),
		BOTH_ENGINES(test_a_task_may_post_itself_again),
		BOTH_ENGINES(test_a_signal_handler_may_stop_the_loop),
		BOTH_ENGINES(test_a_stop_before_the_run_counts),
		BOTH_ENGINES(test_the_engine_is_the_one_asked_for),
		ENGINE_TEST(test_auto_takes_io_uring_where_it_works, setup, 1, "auto"),
		BOTH_ENGINES(test_wrong_sizes_are_refused),
		BOTH_ENGINES(test_loop_without_descriptors_says_why),
		BOTH_ENGINES(test_a_watch_is_level_triggered),
		BOTH_ENGINES(test_a_watch_may_be_stopped_when_ready_and_started_again),
		BOTH_ENGINES(test_a_hang_up_is_reported_unasked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
