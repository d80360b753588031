#include "control/worker_thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/event.h"
#include "base/log.h"
#include "control/privileges.h"
#include "io/stream.h"

#define ACCEPT_ERROR_PAUSE_MS 1000

enum worker_state { WORKER_STARTING, WORKER_SERVING, WORKER_FAILED, WORKER_LEFT };

/* One listening socket of this worker. */
struct place {
	struct acceptor acceptor;
	struct list link;
	struct worker *worker;
	uint32_t id;
	int fd;
};

struct worker {
	struct worker_config config; /* snapshot: only while starting */
	pthread_t thread;

	/* Shared with the control thread: whether loop and http are still there. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum worker_state state;
	struct loop *loop;
	struct http_worker *http;
	struct error error;
	enum io_engine engine;

	/* The worker's own. */
	struct list places;
	bool holding;  /* no connections are taken: memory is short */
	bool draining; /* http_worker_drain() was called */
	bool aborting;
	uint64_t accept_error_ms; /* when the last event of it was published */
	int result;

	/* Each is posted once at most. */
	struct loop_task stop_task, abort_task, exit_task;
	bool stopping; /* stop_task ran */
	uint64_t drain_ms;
};

struct worker_change {
	struct loop_task task;
	struct worker *worker;
	struct snapshot *snapshot;
	struct place **places;
	unsigned int place_count;
	uint32_t *close_ids;
	unsigned int close_count;
};

/* ---- on the worker's thread ---- */

/* A worker without descriptors fails at every try: the event comes once a second. */
static void report_accept_error(struct worker *worker, int error)
{
	uint64_t now_ms = loop_now_ms(worker->loop);

	log_warn("control", "worker %u: accept: %s", worker->config.index, strerror(error));
	if (worker->accept_error_ms && now_ms - worker->accept_error_ms < ACCEPT_ERROR_PAUSE_MS)
		return;
	worker->accept_error_ms = now_ms;
	event_publish(EVENT_LISTENER_ERROR, STR(""), "worker %u: accept: %s", worker->config.index,
		      strerror(error));
}

static void take_connection(struct acceptor *acceptor, int fd)
{
	struct place *place = CONTAINER_OF(acceptor, struct place, acceptor);

	if (fd >= 0)
		http_worker_accept(place->worker->http, fd);
	else
		report_accept_error(place->worker, -fd);
}

static void on_drained(void *arg)
{
	struct worker *worker = arg;

	loop_stop(worker->loop);
}

static void drain_when_closed(struct worker *worker)
{
	if (!worker->stopping || worker->draining || !list_is_empty(&worker->places))
		return;
	worker->draining = true;
	http_worker_drain(worker->http, worker->aborting ? 0 : worker->drain_ms, on_drained,
			  worker);
}

/* Closing a listener resets what waits in its queue: those were promised a connection. */
static void take_waiting(struct place *place)
{
	int fd;

	while ((fd = acceptor_take(place->worker->loop, place->fd)) >= 0)
		http_worker_accept(place->worker->http, fd);
}

static void place_stopped(struct acceptor *acceptor)
{
	struct place *place = CONTAINER_OF(acceptor, struct place, acceptor);
	struct worker *worker = place->worker;

	take_waiting(place);
	(void)close(place->fd);
	list_remove(&place->link);
	free(place);
	drain_when_closed(worker);
}

static void close_place(struct worker *worker, uint32_t id)
{
	list_for_each (entry, &worker->places) {
		struct place *place = list_entry(entry, struct place, link);

		if (place->id == id)
			acceptor_stop(&place->acceptor);
	}
}

static void open_place(struct worker *worker, struct place *place)
{
	int r;

	place->acceptor.on_accept = take_connection;
	place->acceptor.on_stopped = place_stopped;
	r = acceptor_start(worker->loop, &place->acceptor, place->fd);
	if (r) {
		log_error("control", "worker %u: cannot accept on a socket: %s",
			  worker->config.index, strerror(-r));
		(void)close(place->fd);
		free(place);
		return;
	}
	list_push_back(&worker->places, &place->link);
	acceptor_hold(&place->acceptor, worker->holding);
}

static void on_hold(void *arg, bool hold)
{
	struct worker *worker = arg;

	worker->holding = hold;
	list_for_each (entry, &worker->places)
		acceptor_hold(&list_entry(entry, struct place, link)->acceptor, hold);
}

static void run_change(struct loop_task *task)
{
	struct worker_change *change = CONTAINER_OF(task, struct worker_change, task);
	struct worker *worker = change->worker;

	/* The snapshot first: it must know the addresses that connections arrive at. */
	if (change->snapshot)
		http_worker_set_snapshot(worker->http, change->snapshot);
	for (unsigned int i = 0; i < change->place_count; i++)
		open_place(worker, TAKE_PTR(change->places[i]));
	for (unsigned int i = 0; i < change->close_count; i++)
		close_place(worker, change->close_ids[i]);
	worker_change_free(change);
}

static void run_stop(struct loop_task *task)
{
	struct worker *worker = CONTAINER_OF(task, struct worker, stop_task);

	worker->stopping = true;
	list_for_each (entry, &worker->places)
		acceptor_stop(&list_entry(entry, struct place, link)->acceptor);
	drain_when_closed(worker);
}

static void run_abort(struct loop_task *task)
{
	struct worker *worker = CONTAINER_OF(task, struct worker, abort_task);

	worker->aborting = true;
	if (worker->draining)
		http_worker_drain(worker->http, 0, on_drained, worker);
}

static void pin_and_name(const struct worker_config *config)
{
	cpu_set_t cpus;
	char name[16];

	(void)snprintf(name, sizeof(name), "sluice-w%u", config->index);
	(void)pthread_setname_np(pthread_self(), name);
	if (config->cpu < 0)
		return;
	CPU_ZERO(&cpus);
	CPU_SET((size_t)config->cpu, &cpus);
	/* A CPU that went away meanwhile: the thread runs where it may. */
	(void)sched_setaffinity(0, sizeof(cpus), &cpus);
}

static int set_up(struct worker *worker, struct error *err)
{
	struct loop *loop = NULL;
	int r;

	pin_and_name(&worker->config);
	if (worker->config.drop_capabilities)
		privileges_drop_worker();
	r = loop_new(&worker->config.loop, &loop, err);
	if (r)
		return r;
	r = http_worker_new(loop, worker->config.index, worker->config.snapshot,
			    worker->config.node, &worker->http, err);
	if (r) {
		loop_free(loop);
		return r;
	}
	http_worker_set_on_hold(worker->http, on_hold, worker);
	worker->engine = loop_engine(loop);
	worker->loop = loop;
	return 0;
}

static void tear_down(struct worker *worker)
{
	struct http_worker *http;
	struct loop *loop;

	(void)pthread_mutex_lock(&worker->lock);
	worker->state = WORKER_LEFT;
	http = TAKE_PTR(worker->http);
	loop = TAKE_PTR(worker->loop);
	(void)pthread_mutex_unlock(&worker->lock);
	http_worker_free(http);
	loop_free(loop);
}

static void run_exit(struct loop_task *task)
{
	struct worker *worker = CONTAINER_OF(task, struct worker, exit_task);

	worker->config.on_exit(worker, worker->config.arg);
}

static void *run_thread(void *arg)
{
	struct worker *worker = arg;
	struct error error = {0};
	int r = set_up(worker, &error);

	(void)pthread_mutex_lock(&worker->lock);
	worker->state = r ? WORKER_FAILED : WORKER_SERVING;
	worker->error = error;
	(void)pthread_cond_signal(&worker->changed);
	(void)pthread_mutex_unlock(&worker->lock);
	if (r)
		return NULL;

	worker->result = loop_run(worker->loop);
	if (worker->result < 0) {
		/*
		 * The engine itself broke: nothing can be closed by it any more. The daemon ends
		 * with this worker, and the kernel closes what it had.
		 */
		(void)pthread_mutex_lock(&worker->lock);
		worker->state = WORKER_LEFT;
		(void)pthread_mutex_unlock(&worker->lock);
	} else {
		tear_down(worker);
	}
	worker->exit_task.run = run_exit;
	loop_post(worker->config.control, &worker->exit_task);
	return NULL;
}

/* ---- on the control thread ---- */

/* Signals are the control thread's; faults stay with the thread that made them. */
static void mask_signals(sigset_t *ret_before)
{
	static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
	sigset_t blocked;

	(void)sigfillset(&blocked);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		(void)sigdelset(&blocked, faults[i]);
	(void)pthread_sigmask(SIG_SETMASK, &blocked, ret_before);
}

static void worker_free(struct worker *worker)
{
	(void)pthread_cond_destroy(&worker->changed);
	(void)pthread_mutex_destroy(&worker->lock);
	free(worker);
}

int worker_start(const struct worker_config *config, struct worker **ret_worker, struct error *err)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	enum worker_state state;
	sigset_t before;
	int r;

	if (!worker)
		return error_set(err, -ENOMEM, "out of memory for worker %u", config->index);
	worker->config = *config;
	list_init(&worker->places);
	(void)pthread_mutex_init(&worker->lock, NULL);
	(void)pthread_cond_init(&worker->changed, NULL);

	mask_signals(&before);
	r = -pthread_create(&worker->thread, NULL, run_thread, worker);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r) {
		worker_free(worker);
		return error_set_errno(err, r, "cannot start the thread of worker %u",
				       config->index);
	}

	(void)pthread_mutex_lock(&worker->lock);
	while (worker->state == WORKER_STARTING)
		(void)pthread_cond_wait(&worker->changed, &worker->lock);
	state = worker->state;
	(void)pthread_mutex_unlock(&worker->lock);
	worker->config.snapshot = NULL;
	if (state == WORKER_FAILED) {
		(void)pthread_join(worker->thread, NULL);
		r = error_set(err, worker->error.code ? worker->error.code : -EIO, "worker %u: %s",
			      config->index, worker->error.text);
		worker_free(worker);
		return r;
	}
	*ret_worker = worker;
	return 0;
}

int worker_change_new(struct worker *worker, struct snapshot *snapshot,
		      const struct worker_socket *open, unsigned int open_count,
		      const uint32_t *close_ids, unsigned int close_count,
		      struct worker_change **ret_change)
{
	struct worker_change *change = calloc(1, sizeof(*change));

	if (!change)
		return -ENOMEM;
	change->worker = worker;
	change->task.run = run_change;
	if (snapshot)
		change->snapshot = snapshot_ref(snapshot);
	change->places = calloc(open_count + 1, sizeof(*change->places));
	change->close_ids = calloc(close_count + 1, sizeof(*change->close_ids));
	if (!change->places || !change->close_ids)
		goto no_memory;
	for (unsigned int i = 0; i < open_count; i++) {
		struct place *place;

		if (open[i].fd < 0) /* a family that this host does not have */
			continue;
		place = calloc(1, sizeof(*place));
		if (!place)
			goto no_memory;
		list_init(&place->link);
		place->worker = worker;
		place->id = open[i].id;
		place->fd = open[i].fd;
		change->places[change->place_count++] = place;
	}
	for (unsigned int i = 0; i < close_count; i++)
		change->close_ids[change->close_count++] = close_ids[i];
	*ret_change = change;
	return 0;

no_memory:
	worker_change_free(change);
	return -ENOMEM;
}

void worker_change_free(struct worker_change *change)
{
	if (!change)
		return;
	if (change->snapshot)
		snapshot_unref(change->snapshot);
	for (unsigned int i = 0; change->places && i < change->place_count; i++)
		free(change->places[i]);
	free(change->places);
	free(change->close_ids);
	free(change);
}

/* False when the thread has left its loop: nothing may be posted any more. */
static bool post(struct worker *worker, struct loop_task *task)
{
	bool serving;

	(void)pthread_mutex_lock(&worker->lock);
	serving = worker->state == WORKER_SERVING;
	if (serving)
		loop_post(worker->loop, task);
	(void)pthread_mutex_unlock(&worker->lock);
	return serving;
}

void worker_change_post(struct worker_change *change)
{
	if (post(change->worker, &change->task))
		return;
	for (unsigned int i = 0; i < change->place_count; i++)
		(void)close(change->places[i]->fd);
	worker_change_free(change);
}

void worker_stop(struct worker *worker, uint64_t drain_ms)
{
	worker->drain_ms = drain_ms;
	worker->stop_task.run = run_stop;
	(void)post(worker, &worker->stop_task);
}

void worker_abort(struct worker *worker)
{
	worker->abort_task.run = run_abort;
	(void)post(worker, &worker->abort_task);
}

int worker_join(struct worker *worker)
{
	int result;

	(void)pthread_join(worker->thread, NULL);
	result = worker->result;
	worker_free(worker);
	return result;
}

unsigned int worker_index(const struct worker *worker)
{
	return worker->config.index;
}

int worker_cpu(const struct worker *worker)
{
	return worker->config.cpu;
}

enum io_engine worker_engine(const struct worker *worker)
{
	return worker->engine;
}

void worker_get_stats(struct worker *worker, struct http_worker_stats *ret_stats)
{
	memset(ret_stats, 0, sizeof(*ret_stats));
	(void)pthread_mutex_lock(&worker->lock);
	if (worker->http)
		http_worker_get_stats(worker->http, ret_stats);
	(void)pthread_mutex_unlock(&worker->lock);
}
