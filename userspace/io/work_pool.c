#include "io/work_pool.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/util.h"

/* Passwords that are guessed must not take the CPU from requests. */
#define NICE 10

enum { WORK_QUEUED, WORK_RUNNING, WORK_POSTED };

struct work_pool {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct list queue;
	unsigned int queued, queue_max;
	bool stopping;
	void (*prepare)(void);
	pthread_t threads[WORK_POOL_THREADS_MAX];
	unsigned int thread_count;
};

/* On the loop. */
static void on_task(struct loop_task *task)
{
	struct work *work = CONTAINER_OF(task, struct work, task);

	if (work->abandoned)
		work->release(work);
	else
		work->done(work);
}

/* NULL: the pool ends. With the lock held. */
static struct work *take(struct work_pool *pool)
{
	struct work *work;

	while (list_is_empty(&pool->queue) && !pool->stopping)
		(void)pthread_cond_wait(&pool->changed, &pool->lock);
	if (pool->stopping)
		return NULL;
	work = list_entry(pool->queue.next, struct work, link);
	list_remove(&work->link);
	pool->queued--;
	work->state = WORK_RUNNING;
	return work;
}

static void *run_thread(void *arg)
{
	struct work_pool *pool = arg;
	struct work *work;

	(void)pthread_setname_np(pthread_self(), "sluice-work");
	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
	if (pool->prepare)
		pool->prepare();
	(void)pthread_mutex_lock(&pool->lock);
	while ((work = take(pool)) != NULL) {
		bool abandoned;

		(void)pthread_mutex_unlock(&pool->lock);
		work->run(work);
		(void)pthread_mutex_lock(&pool->lock);
		abandoned = work->abandoned;
		/* While it is not abandoned its loop is there. */
		if (!abandoned) {
			work->state = WORK_POSTED;
			loop_post(work->loop, &work->task);
			continue;
		}
		(void)pthread_mutex_unlock(&pool->lock);
		work->release(work);
		(void)pthread_mutex_lock(&pool->lock);
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return NULL;
}

int work_pool_new(unsigned int threads, unsigned int queue_max, void (*prepare)(void),
		  struct work_pool **ret_pool, struct error *err)
{
	struct work_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return error_set(err, -ENOMEM, "out of memory for threads");
	(void)pthread_mutex_init(&pool->lock, NULL);
	(void)pthread_cond_init(&pool->changed, NULL);
	list_init(&pool->queue);
	pool->queue_max = queue_max;
	pool->prepare = prepare;
	for (; pool->thread_count < MIN(threads, WORK_POOL_THREADS_MAX); pool->thread_count++) {
		int r = -pthread_create(&pool->threads[pool->thread_count], NULL, run_thread, pool);

		if (!r)
			continue;
		work_pool_free(pool);
		return error_set_errno(err, r, "cannot start a thread for passwords");
	}
	*ret_pool = pool;
	return 0;
}

void work_pool_free(struct work_pool *pool)
{
	if (!pool)
		return;
	(void)pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	(void)pthread_cond_broadcast(&pool->changed);
	(void)pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 0; i < pool->thread_count; i++)
		(void)pthread_join(pool->threads[i], NULL);
	while (!list_is_empty(&pool->queue)) {
		struct work *work = list_entry(pool->queue.next, struct work, link);

		list_remove(&work->link);
		work->release(work);
	}
	(void)pthread_cond_destroy(&pool->changed);
	(void)pthread_mutex_destroy(&pool->lock);
	free(pool);
}

int work_pool_submit(struct work_pool *pool, struct loop *loop, struct work *work)
{
	int r = 0;

	work->pool = pool;
	work->loop = loop;
	work->task.run = on_task;
	work->state = WORK_QUEUED;
	work->abandoned = false;
	(void)pthread_mutex_lock(&pool->lock);
	if (pool->queued >= pool->queue_max) {
		r = -EBUSY;
	} else {
		list_push_back(&pool->queue, &work->link);
		pool->queued++;
		(void)pthread_cond_signal(&pool->changed);
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return r;
}

void work_abandon(struct work *work)
{
	struct work_pool *pool = work->pool;
	bool was_queued;

	(void)pthread_mutex_lock(&pool->lock);
	was_queued = work->state == WORK_QUEUED;
	work->abandoned = true;
	if (was_queued) {
		list_remove(&work->link);
		pool->queued--;
	}
	(void)pthread_mutex_unlock(&pool->lock);
	if (was_queued)
		work->release(work);
}
