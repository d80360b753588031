/* Work off the loop: done on its loop, bounded, and abandoned in every state. */
#include "test_support.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "base/cleanup.h"
#include "io/work_pool.h"

struct piece {
	struct work work;
	sem_t *gate; /* NULL: runs at once */
	sem_t *begun;
	pthread_t ran_on;
	unsigned int dones;
	atomic_uint releases;
};

static void run(struct work *work)
{
	struct piece *piece = CONTAINER_OF(work, struct piece, work);

	piece->ran_on = pthread_self();
	if (piece->begun)
		(void)sem_post(piece->begun);
	if (piece->gate)
		(void)sem_wait(piece->gate);
}

static void done(struct work *work)
{
	CONTAINER_OF(work, struct piece, work)->dones++;
}

static void release(struct work *work)
{
	atomic_fetch_add(&CONTAINER_OF(work, struct piece, work)->releases, 1);
}

struct stage {
	struct loop *loop;
	struct work_pool *pool;
	sem_t gate, begun;
};

static void stage_init(struct stage *stage, unsigned int threads, unsigned int queue_max)
{
	const struct loop_config config = {.engine = IO_ENGINE_EPOLL,
					   .recv_buf_bytes = 4096,
					   .recv_bufs_ready = 16,
					   .recv_bufs_max = 64};
	struct error err = {0};

	assert_int_equal(loop_new(&config, &stage->loop, &err), 0);
	assert_int_equal(work_pool_new(threads, queue_max, NULL, &stage->pool, &err), 0);
	(void)sem_init(&stage->gate, 0, 0);
	(void)sem_init(&stage->begun, 0, 0);
}

static void stage_done(struct stage *stage)
{
	work_pool_free(stage->pool);
	loop_free(stage->loop);
	(void)sem_destroy(&stage->gate);
	(void)sem_destroy(&stage->begun);
}

static struct piece piece_make(sem_t *gate, sem_t *begun)
{
	return (struct piece){.work = {.run = run, .done = done, .release = release},
			      .gate = gate,
			      .begun = begun};
}

static void run_until(struct stage *stage, const unsigned int *counter, unsigned int wanted)
{
	while (*counter < wanted)
		assert_int_equal(loop_run_once(stage->loop, 1000), 0);
}

static void test_work_runs_on_a_thread_and_is_done_on_its_loop(void **state)
{
	struct stage stage;
	struct piece piece = piece_make(NULL, NULL);

	stage_init(&stage, 2, 4);
	for (unsigned int i = 1; i <= 3; i++) {
		assert_int_equal(work_pool_submit(stage.pool, stage.loop, &piece.work), 0);
		run_until(&stage, &piece.dones, i);
		assert_false(pthread_equal(piece.ran_on, pthread_self()));
	}
	assert_int_equal(piece.releases, 0);
	stage_done(&stage);
}

static void test_queue_is_bounded_and_queued_work_can_be_abandoned(void **state)
{
	struct stage stage;
	struct piece first = piece_make(&stage.gate, &stage.begun);
	struct piece second = piece_make(NULL, NULL), third = piece_make(NULL, NULL);

	stage_init(&stage, 1, 1);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &first.work), 0);
	(void)sem_wait(&stage.begun);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &second.work), 0);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &third.work), -EBUSY);
	work_abandon(&second.work);
	assert_int_equal(second.releases, 1);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &third.work), 0);
	(void)sem_post(&stage.gate);
	run_until(&stage, &third.dones, 1);
	assert_int_equal(first.dones, 1);
	assert_int_equal(second.dones, 0);
	stage_done(&stage);
}

static void test_work_that_is_abandoned_while_it_runs_is_released_and_not_done(void **state)
{
	struct stage stage;
	struct piece piece = piece_make(&stage.gate, &stage.begun);

	stage_init(&stage, 1, 1);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &piece.work), 0);
	(void)sem_wait(&stage.begun);
	work_abandon(&piece.work);
	assert_int_equal(atomic_load(&piece.releases), 0);
	(void)sem_post(&stage.gate);
	work_pool_free(TAKE_PTR(stage.pool)); /* waits for the thread */
	assert_int_equal(atomic_load(&piece.releases), 1);
	assert_int_equal(piece.dones, 0);
	stage_done(&stage);
}

static void test_work_that_is_abandoned_before_its_loop_hears_of_it_is_released_there(void **state)
{
	struct stage stage;
	struct piece piece = piece_make(NULL, NULL), after = piece_make(NULL, NULL);

	stage_init(&stage, 1, 2);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &piece.work), 0);
	/* One thread, in order: when the second begins the first was posted. */
	after.begun = &stage.begun;
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &after.work), 0);
	(void)sem_wait(&stage.begun);
	work_abandon(&piece.work);
	run_until(&stage, &after.dones, 1);
	assert_int_equal(piece.dones, 0);
	assert_int_equal(atomic_load(&piece.releases), 1);
	stage_done(&stage);
}

static void test_what_is_queued_when_the_pool_ends_is_released(void **state)
{
	struct stage stage;
	struct piece first = piece_make(&stage.gate, &stage.begun), second = piece_make(NULL, NULL);

	stage_init(&stage, 1, 1);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &first.work), 0);
	(void)sem_wait(&stage.begun);
	assert_int_equal(work_pool_submit(stage.pool, stage.loop, &second.work), 0);
	work_abandon(&first.work);
	work_abandon(&second.work);
	(void)sem_post(&stage.gate);
	stage_done(&stage);
	assert_int_equal(atomic_load(&first.releases), 1);
	assert_int_equal(atomic_load(&second.releases), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_work_runs_on_a_thread_and_is_done_on_its_loop),
		cmocka_unit_test(test_queue_is_bounded_and_queued_work_can_be_abandoned),
		cmocka_unit_test(
			test_work_that_is_abandoned_while_it_runs_is_released_and_not_done),
		cmocka_unit_test(
			test_work_that_is_abandoned_before_its_loop_hears_of_it_is_released_there),
		cmocka_unit_test(test_what_is_queued_when_the_pool_ends_is_released),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
