#include "control/daemon.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "control/access_loads.h"
#include "control/admin.h"
#include "control/metrics_server.h"
#include "control/notify.h"
#include "control/reload.h"
#include "control/start.h"
#include "kern/access_list.h"

#define SECOND_MS	       1000
#define CONFIG_ERROR_BYTES_MAX (1u << 20)

const char *const daemon_version = SLUICE_VERSION;

DEFINE_FREEP(struct conf_errors, conf_errors_free)

/* ---- the end ---- */

void daemon_stop(struct daemon *daemon, int result)
{
	uint64_t drain_ms = daemon->snapshot->node.drain_ms;

	if (result && !daemon->result)
		daemon->result = result;
	if (daemon->state == DAEMON_DRAINING)
		return;
	daemon->state = DAEMON_DRAINING;
	(void)notify_send("STOPPING=1\nSTATUS=draining");
	event_publish(EVENT_STOPPING, STR(""), "draining: connections have %llu ms to end",
		      (unsigned long long)(result ? 0 : drain_ms));
	for (unsigned int i = 0; i < daemon->worker_count; i++)
		if (daemon->workers && daemon->workers[i])
			worker_stop(daemon->workers[i], result ? 0 : drain_ms);
	if (!daemon->workers_running)
		loop_stop(daemon->loop);
}

static void stop_at_once(struct daemon *daemon)
{
	for (unsigned int i = 0; i < daemon->worker_count; i++)
		if (daemon->workers[i])
			worker_abort(daemon->workers[i]);
}

static void on_worker_exit(struct worker *worker, void *arg)
{
	struct daemon *daemon = arg;
	unsigned int index = worker_index(worker);
	int r = worker_join(worker);

	daemon->workers[index] = NULL;
	daemon->workers_running--;
	if (r) {
		log_error("control", "worker %u: its event loop broke: %s", index, strerror(-r));
		event_publish(EVENT_WORKER_LOST, STR(""), "worker %u: its event loop broke: %s",
			      index, strerror(-r));
		daemon_stop(daemon, r);
	}
	if (!daemon->workers_running)
		loop_stop(daemon->loop);
}

/* ---- signals and the clock ---- */

static void reload_by_signal(struct daemon *daemon)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new(daemon->config_file);

	if (errors)
		(void)reload_run(daemon, errors);
	else
		log_error("control", "reload: out of memory");
}

static void stop_by_signal(struct daemon *daemon)
{
	if (daemon->stop_signals++) {
		log_info("control", "stopping at once");
		if (daemon->stop_signals == 2)
			stop_at_once(daemon);
		return;
	}
	log_info("control", "stopping: connections have %llu ms to end, a second signal ends them",
		 (unsigned long long)daemon->snapshot->node.drain_ms);
	daemon_stop(daemon, 0);
}

static void on_signal(struct watch *watch, uint32_t poll_events)
{
	struct daemon *daemon = CONTAINER_OF(watch, struct daemon, signal_watch);
	struct signalfd_siginfo info;

	while (read(daemon->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			reload_by_signal(daemon);
		else
			stop_by_signal(daemon);
	}
}

static void on_signals_stopped(struct watch *watch)
{
	CONTAINER_OF(watch, struct daemon, signal_watch)->watching_signals = false;
}

static void on_second(struct timer *timer)
{
	struct daemon *daemon = CONTAINER_OF(timer, struct daemon, second);
	struct error err = {0};

	if (daemon->dataplane) {
		int r = access_list_sweep(daemon->dataplane);

		if (r < 0)
			log_warn("control", "cannot remove expired list entries: %s", strerror(-r));
		r = nat_pool_settle(daemon->dataplane, &err);
		if (r)
			log_warn("control", "dataplane.nat: %s", err.text);
	}
	services_tick(&daemon->services, daemon->snapshot);
	certificates_tick(&daemon->certificates, daemon->snapshot, daemon->registry,
			  daemon->worker_count);
	(void)registry_sweep(daemon->registry);
	event_ring_collect(&daemon->events);
	timer_start(daemon->loop, timer, SECOND_MS);
}

static int open_loop(struct daemon *daemon, struct error *err)
{
	/* Little happens here, and epoll is what every kernel and sandbox has. */
	const struct loop_config config = {
		.engine = IO_ENGINE_EPOLL,
		.recv_buf_bytes = 4096,
		.recv_bufs_ready = 16,
		.recv_bufs_max = 1024,
	};
	sigset_t signals;
	int r;

	timer_init(&daemon->second, on_second);
	auto_deny_init(&daemon->auto_deny, daemon);
	r = loop_new(&config, &daemon->loop, err);
	if (r)
		return r;
	(void)sigemptyset(&signals);
	(void)sigaddset(&signals, SIGTERM);
	(void)sigaddset(&signals, SIGINT);
	(void)sigaddset(&signals, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &signals, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	daemon->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (daemon->signal_fd < 0)
		return error_set_errno(err, -errno, "cannot wait for signals");
	daemon->signal_watch.on_ready = on_signal;
	daemon->signal_watch.on_stopped = on_signals_stopped;
	r = watch_start(daemon->loop, &daemon->signal_watch, daemon->signal_fd, POLLIN);
	if (r)
		return error_set_errno(err, r, "cannot wait for signals");
	daemon->watching_signals = true;
	return 0;
}

/* ---- the start ---- */

/* Errors of the file go to standard error as they are: the log's format is not known yet. */
static int load_first(struct daemon *daemon)
{
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new(daemon->config_file);
	_cleanup_(buf_done)
	struct buf lines = {0};
	int r;

	if (!errors)
		return -ENOMEM;
	r = config_load(daemon->config_file, daemon->registry, 0, errors, &daemon->snapshot);
	if (!r)
		return 0;
	buf_init(&lines, CONFIG_ERROR_BYTES_MAX);
	if (!conf_errors_print(errors, &lines) && lines.len)
		(void)fprintf(stderr, "%.*s", STR_FMT(buf_str(&lines)));
	else
		log_error("control", "cannot load %s: %s", daemon->config_file, strerror(-r));
	return r;
}

static int set_up(struct daemon *daemon, struct error *err)
{
	const struct node_conf *node = &daemon->snapshot->node;
	_cleanup_(steering_plan_done)
	struct steering_plan plan = {0};
	int r;

	start_raise_limits();
	r = start_claim(daemon, err);
	if (!r)
		r = open_loop(daemon, err);
	if (!r)
		r = start_dataplane(daemon, err);
	if (!r && daemon->dataplane && access_loads_new(daemon, &daemon->access_loads))
		r = error_set(err, -ENOMEM, "out of memory");
	if (!r)
		r = steering_init(&daemon->steering, daemon->dataplane, daemon->dataplane_reason,
				  daemon->worker_count, err);
	if (!r)
		r = admin_new(daemon, node->admin_socket, daemon->has_user ? &daemon->user : NULL,
			      &daemon->admin, err);
	if (!r && node->metrics.ptr)
		r = metrics_server_new(daemon, node, &daemon->metrics, err);
	if (!r)
		r = steering_plan_make(&daemon->steering, daemon->snapshot, &plan, err);
	if (!r)
		r = start_drop_privileges(daemon, err);
	if (!r)
		r = start_access_log(daemon, err);
	if (!r)
		r = start_workers(daemon, on_worker_exit, err);
	if (!r)
		r = reload_publish(daemon, daemon->snapshot, &plan, err);
	if (!r)
		r = seccomp_seal(&daemon->privileges, err);
	return r;
}

static void announce_ready(struct daemon *daemon)
{
	const char *engine = io_engine_name(worker_engine(daemon->workers[0]));
	bool bound = daemon->steering.mode == STEERING_BIND;

	if (!daemon->privileges.seccomp)
		log_warn("control", "no seccomp filter: %s", daemon->privileges.seccomp_reason);
	if (daemon->engine_reason[0] && daemon->snapshot->node.io == IO_ENGINE_AUTO)
		log_warn("control", "epoll instead of io_uring: %s", daemon->engine_reason);
	if (bound && daemon->dataplane)
		log_warn("control", "addresses are bound one by one: %s", daemon->steering.reason);
	daemon->state = DAEMON_READY;
	event_publish(EVENT_READY, STR(""), "sluiced %s, generation %llu, %u worker%s, %s",
		      daemon_version, (unsigned long long)daemon->generation, daemon->worker_count,
		      daemon->worker_count == 1 ? "" : "s", engine);
	timer_start(daemon->loop, &daemon->second, SECOND_MS);
	log_info("control", "ready: sluiced %s, generation %llu, %u worker%s, %s, %s",
		 daemon_version, (unsigned long long)daemon->generation, daemon->worker_count,
		 daemon->worker_count == 1 ? "" : "s", engine, bound ? "bind" : "sk_lookup");
	(void)notify_send("READY=1\nSTATUS=generation %llu",
			  (unsigned long long)daemon->generation);
}

/* Lets what is still open on the control loop end, then frees everything. */
static void clean_up(struct daemon *daemon)
{
	if (daemon->loop) {
		timer_stop(&daemon->second);
		auto_deny_stop(&daemon->auto_deny);
		admin_stop(daemon->admin);
		access_loads_stop(daemon->access_loads);
		metrics_server_stop(daemon->metrics);
		services_stop(&daemon->services);
		if (daemon->watching_signals)
			watch_stop(&daemon->signal_watch);
		while (daemon->watching_signals || !admin_is_stopped(daemon->admin) ||
		       !access_loads_is_stopped(daemon->access_loads) ||
		       !metrics_server_is_stopped(daemon->metrics) ||
		       !services_are_stopped(&daemon->services))
			if (loop_run_once(daemon->loop, -1) < 0)
				break;
	}
	admin_free(daemon->admin);
	access_loads_free(daemon->access_loads);
	auto_deny_done(&daemon->auto_deny);
	metrics_server_free(daemon->metrics);
	steering_done(&daemon->steering);
	services_close(&daemon->services);
	certificates_done(&daemon->certificates);
	dataplane_free(daemon->dataplane);
	if (daemon->snapshot)
		snapshot_unref(daemon->snapshot);
	if (daemon->registry) {
		(void)registry_sweep(daemon->registry);
		registry_free(daemon->registry);
	}
	(void)access_log_writer_stop(&daemon->access_log);
	free(daemon->workers);
	http_node_free(daemon->http_node);
	event_ring_done(&daemon->events);
	loop_free(daemon->loop);
	close_fdp(&daemon->signal_fd);
	close_fdp(&daemon->lock_fd); /* last: until here all of it was ours */
}

int daemon_run(const char *config_file)
{
	struct daemon daemon = {.config_file = config_file, .lock_fd = -1, .signal_fd = -1};
	struct error err = {0};
	int r;

	daemon.started_mono_ms = clock_mono_ms();
	daemon.started_wall_ms = clock_wall_ms();
	daemon.registry = registry_new();
	if (!daemon.registry)
		return -ENOMEM;
	r = load_first(&daemon);
	if (r) {
		registry_free(daemon.registry);
		return r;
	}
	log_configure((enum log_level)daemon.snapshot->node.log_level,
		      (enum log_format)daemon.snapshot->node.log_format);
	daemon.worker_count = config_worker_count(daemon.snapshot);

	r = set_up(&daemon, &err);
	if (r) {
		log_error("control", "cannot start: %s", err.text);
		daemon.result = r;
		if (daemon.workers_running)
			daemon_stop(&daemon, r);
	} else {
		announce_ready(&daemon);
	}
	if (!r || daemon.workers_running) {
		r = loop_run(daemon.loop);
		if (r < 0) {
			log_error("control", "the control thread's event loop broke: %s",
				  strerror(-r));
			/* The workers cannot be told any more; the kernel closes what they have. */
			_exit(1);
		}
	}
	clean_up(&daemon);
	if (!daemon.result)
		log_info("control", "stopped");
	return daemon.result;
}
