#include "control/health.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "base/util.h"

#define SETTLE_MS     20
#define SETTLE_PAUSES 4 /* so many times as long as the last settling took nothing is settled */
#define PORT_LEAST    1024
#define PORT_TRIES    8
#define NS_PER_MS     1000000u

enum health_due { SETTLED, DUE, DUE_AGAIN };

enum target_state {
	TARGET_RESTS,	 /* until its timer */
	TARGET_WAITS,	 /* in health->waiting */
	TARGET_CONNECTS, /* until its watch or its timer */
	TARGET_CLOSES,	 /* until its watch has stopped */
};

struct target {
	struct service_probe probe;
	struct health *health;
	struct list link;
	struct timer timer;
	struct watch watch;
	struct ip_addr addr;
	uint16_t own_port; /* of the backend, as a part of its name */
	uint32_t place, service, id, mark;
	enum target_state state;
	bool is_gone; /* freed when its watch has stopped */
	/* Its source address belongs to forward mode nat as well: ports are chosen here. */
	const struct nat_source *source;
	int fd;
	uint64_t begun_ms;
};

static struct target *target_of(struct service_probe *probe)
{
	return CONTAINER_OF(probe, struct target, probe);
}

/* ---- what came of it ---- */

static bool may_tell(struct health *health)
{
	if (!health->tell_left) {
		health->untold++;
		return false;
	}
	health->tell_left--;
	return true;
}

static void tell(struct target *target)
{
	const struct service_probe *probe = &target->probe;
	char backend[ADDR_TEXT_MAX], object[EVENT_OBJECT_MAX], text[EVENT_TEXT_MAX];

	if (!may_tell(target->health))
		return;
	(void)snprintf(
		object, sizeof(object), "%s %s",
		target->health->set->maps.service_info[target->service].name,
		service_backend_format(&target->addr, target->own_port, backend, sizeof(backend)));
	if (probe->up)
		(void)snprintf(text, sizeof(text), "port %u answers: %llu of %llu probes in a row",
			       probe->port, (unsigned long long)probe->conf.rise,
			       (unsigned long long)probe->conf.rise);
	else
		(void)snprintf(text, sizeof(text), "port %u: %llu probes in a row failed: %s",
			       probe->port, (unsigned long long)probe->conf.fall,
			       strerror(probe->last_error));
	if (probe->up)
		log_info("control", "backend %s: up: %s", object, text);
	else
		log_warn("control", "backend %s: down: %s", object, text);
	event_publish(probe->up ? EVENT_BACKEND_UP : EVENT_BACKEND_DOWN, str_from_cstr(object),
		      "%s", text);
}

static void note(struct target *target, int error)
{
	struct health *health = target->health;
	uint64_t now_ns = clock_boot_ns();

	if (!service_probe_note(&target->probe, error, now_ns))
		return;
	service_set_note_health(health->set, target->place, target->probe.up, now_ns);
	health->due[target->service] = MAX(health->due[target->service], (uint8_t)DUE);
	if (!timer_is_running(&health->settle))
		timer_start(health->loop, &health->settle, SETTLE_MS);
	tell(target);
}

/* All that changed meanwhile: making a table takes as long for one backend as for a thousand. */
static void on_settle(struct timer *timer)
{
	struct health *health = CONTAINER_OF(timer, struct health, settle);
	uint64_t begun_ns = clock_mono_ns(), took_ms;
	bool again = false;

	for (uint32_t i = 0; i < health->set->maps.service_count; i++) {
		int r;

		if (health->due[i] == SETTLED)
			continue;
		r = service_set_settle(health->set, i, health->due[i] == DUE_AGAIN,
				       clock_boot_ns());
		health->due[i] = r ? DUE_AGAIN : SETTLED;
		again |= r != 0;
	}
	took_ms = (clock_mono_ns() - begun_ns) / NS_PER_MS;
	/* Runs on as a pause: who changes meanwhile finds it running. */
	if (again || took_ms * SETTLE_PAUSES > SETTLE_MS)
		timer_start(health->loop, timer, MAX((uint64_t)SETTLE_MS, took_ms * SETTLE_PAUSES));
}

/* ---- one probe ---- */

/* Nothing that the backend did: no descriptors, no memory, no ports, a rule of this host. */
static bool is_ours(int error)
{
	switch (error) {
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
	case EADDRNOTAVAIL:
	case EADDRINUSE:
	case EAGAIN:
	case EPERM:
	case EACCES:
		return true;
	default:
		return false;
	}
}

static void rest(struct target *target)
{
	uint64_t now_ms = loop_now_ms(target->health->loop);
	uint64_t due_ms =
		target->begun_ms +
		service_probe_next_ms(&target->probe.conf, random_next(&target->health->random));

	target->state = TARGET_RESTS;
	timer_start(target->health->loop, &target->timer, due_ms > now_ms ? due_ms - now_ms : 0);
}

static void close_socket(struct target *target)
{
	if (target->fd >= 0)
		(void)close(target->fd);
	target->fd = -1;
}

static void finish(struct target *target, int error)
{
	if (is_ours(error))
		target->probe.not_made++;
	else
		note(target, error);
	timer_stop(&target->timer);
	if (target->state == TARGET_CONNECTS) {
		target->state = TARGET_CLOSES;
		watch_stop(&target->watch);
		return;
	}
	close_socket(target);
	rest(target);
}

static int open_socket(struct target *target)
{
	const struct linger reset = {.l_onoff = 1};
	const int off = 0;

	target->fd = socket(target->addr.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (target->fd < 0)
		return -errno;
	/* The SYN-ACK is answered by RST, not by an ACK first: nobody has to accept a connection.
	 */
	(void)setsockopt(target->fd, IPPROTO_TCP, TCP_QUICKACK, &off, sizeof(off));
	(void)setsockopt(target->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	return 0;
}

/* A port that the answers to flows of nat do not come to. */
static int bind_beside_nat(struct target *target)
{
	const struct nat_source *source = target->source;
	uint32_t below = source->port_first > PORT_LEAST ? source->port_first - PORT_LEAST : 0;
	uint32_t above = UINT16_MAX - source->port_last;
	struct ip_addr addr = {.family = AF_INET};
	int r = -EADDRNOTAVAIL;

	memcpy(addr.bytes, &source->addr_be, sizeof(source->addr_be));
	for (unsigned int i = 0; i < PORT_TRIES && below + above; i++) {
		uint32_t pick = (uint32_t)random_below(&target->health->random, below + above);
		struct sock_addr place = sock_addr_make(
			&addr, (uint16_t)(pick < below ? PORT_LEAST + pick
						       : source->port_last + 1u + pick - below));

		r = bind(target->fd, &place.any, place.len) ? -errno : 0;
		if (r != -EADDRINUSE)
			break;
	}
	return r;
}

static const struct nat_source *find_source(const struct target *target)
{
	const struct health *health = target->health;
	struct sockaddr_in own;
	socklen_t own_len = sizeof(own);

	if (target->addr.family != AF_INET || !health->source_count ||
	    getsockname(target->fd, (struct sockaddr *)&own, &own_len))
		return NULL;
	for (unsigned int i = 0; i < health->source_count; i++)
		if (health->sources[i].addr_be == own.sin_addr.s_addr)
			return &health->sources[i];
	return NULL;
}

/* 0: it stands; -EINPROGRESS, or what is wrong. */
static int call(struct target *target)
{
	struct sock_addr place = sock_addr_make(&target->addr, target->probe.port);
	int r = open_socket(target);

	if (!r && target->source)
		r = bind_beside_nat(target);
	if (r)
		return r;
	r = connect(target->fd, &place.any, place.len) ? -errno : 0;
	if ((r && r != -EINPROGRESS) || target->source)
		return r;
	target->source = find_source(target);
	if (!target->source)
		return r;
	close_socket(target);
	return call(target);
}

static void connect_now(struct target *target)
{
	struct health *health = target->health;
	int r;

	target->begun_ms = loop_now_ms(health->loop);
	r = call(target);
	if (r == -EINPROGRESS)
		r = watch_start(health->loop, &target->watch, target->fd, POLLOUT);
	else {
		finish(target, -r);
		return;
	}
	if (r) {
		finish(target, ENOMEM);
		return;
	}
	target->state = TARGET_CONNECTS;
	health->under_way++;
	timer_start(health->loop, &target->timer, target->probe.conf.timeout_ms);
}

static void let_others_in(struct health *health)
{
	while (health->under_way < health->limit && !list_is_empty(&health->waiting)) {
		struct target *target = CONTAINER_OF(health->waiting.next, struct target, link);

		list_remove(&target->link);
		target->state = TARGET_RESTS;
		connect_now(target);
	}
}

static void on_timer(struct timer *timer)
{
	struct target *target = CONTAINER_OF(timer, struct target, timer);
	struct health *health = target->health;

	if (target->state == TARGET_CONNECTS) {
		finish(target, ETIMEDOUT);
	} else if (health->under_way < health->limit) {
		connect_now(target);
	} else {
		target->state = TARGET_WAITS;
		list_push_back(&health->waiting, &target->link);
		health->delayed++;
	}
}

static void on_ready(struct watch *watch, uint32_t poll_events)
{
	struct target *target = CONTAINER_OF(watch, struct target, watch);
	int error = 0;
	socklen_t error_len = sizeof(error);

	if (target->state != TARGET_CONNECTS)
		return;
	if (getsockopt(target->fd, SOL_SOCKET, SO_ERROR, &error, &error_len))
		error = errno;
	finish(target, error);
}

static void on_stopped(struct watch *watch)
{
	struct target *target = CONTAINER_OF(watch, struct target, watch);
	struct health *health = target->health;

	close_socket(target);
	health->under_way--;
	if (target->is_gone)
		free(target);
	else
		rest(target);
	let_others_in(health);
}

/* ---- who is probed ---- */

static struct target *target_new(struct health *health, const struct service_conf *conf,
				 uint32_t place)
{
	const struct sl_backend *backend = &health->set->maps.backends[place];
	struct target *target = calloc(1, sizeof(*target));

	if (!target)
		return NULL;
	target->health = health;
	target->place = place;
	target->service = backend->service;
	target->id = backend->id;
	target->own_port = backend->port;
	target->addr = service_ip(backend->addr_be, backend->family);
	target->fd = -1;
	target->watch.on_ready = on_ready;
	target->watch.on_stopped = on_stopped;
	timer_init(&target->timer, on_timer);
	target->probe.conf = conf->health;
	target->probe.port = service_probe_port(conf, backend->port);
	target->probe.up = !(health->set->maps.backend_info[place].state & SL_BACKEND_FAILING);
	timer_start(health->loop, &target->timer,
		    service_probe_first_ms(&target->probe.conf, random_next(&health->random)));
	health->target_count++;
	return target;
}

static void drop(struct health *health, uint32_t place)
{
	struct target *target;

	if (!health->probes[place])
		return;
	target = target_of(health->probes[place]);
	health->probes[place] = NULL;
	health->target_count--;
	timer_stop(&target->timer);
	if (target->state == TARGET_WAITS)
		list_remove(&target->link);
	if (target->state == TARGET_RESTS || target->state == TARGET_WAITS) {
		free(target);
		return;
	}
	target->is_gone = true;
	target->state = TARGET_CLOSES;
	watch_stop(&target->watch);
}

static bool is_same(const struct service_health *left, const struct service_health *right)
{
	return left->interval_ms == right->interval_ms && left->timeout_ms == right->timeout_ms &&
	       left->rise == right->rise && left->fall == right->fall;
}

/* What was counted and decided stays; the numbers hold from now on. */
static void adjust(struct target *target, const struct service_conf *conf)
{
	uint64_t interval_ms = target->probe.conf.interval_ms;
	struct health *health = target->health;

	target->probe.port = service_probe_port(conf, target->own_port);
	if (is_same(&target->probe.conf, &conf->health))
		return;
	target->probe.conf = conf->health;
	if (target->state == TARGET_RESTS && interval_ms != conf->health.interval_ms)
		timer_start(health->loop, &target->timer,
			    service_probe_first_ms(&conf->health, random_next(&health->random)));
}

static bool is_it(const struct target *target, const struct sl_backend *backend)
{
	struct ip_addr addr = service_ip(backend->addr_be, backend->family);

	return target->service == backend->service && target->id == backend->id &&
	       target->own_port == backend->port && ip_addr_equal(&target->addr, &addr);
}

static int sync_service(struct health *health, const struct service_conf *conf)
{
	const struct service_maps *maps = &health->set->maps;
	uint32_t number = service_set_find(health->set, conf->name);
	const struct sl_service *service;

	if (number == UINT32_MAX)
		return 0;
	service = &maps->services[number];
	for (uint32_t i = 1; i < service->backend_count; i++) {
		uint32_t place = service->backend_base + i, state = maps->backend_info[place].state;
		struct target *target;

		if (!(state & SL_BACKEND_USED) || (state & SL_BACKEND_REMOVED))
			continue;
		if (health->probes[place] &&
		    !is_it(target_of(health->probes[place]), &maps->backends[place]))
			drop(health, place);
		if (health->probes[place]) {
			target = target_of(health->probes[place]);
			adjust(target, conf);
		} else {
			target = target_new(health, conf, place);
			if (!target)
				return -ENOMEM;
			health->probes[place] = &target->probe;
		}
		target->mark = health->mark;
	}
	return 0;
}

static int open_probes(struct health *health)
{
	const struct service_maps *maps = &health->set->maps;

	if (!health->probes)
		health->probes = calloc(maps->backend_count, sizeof(*health->probes));
	if (!health->due)
		health->due = calloc(maps->service_count, sizeof(*health->due));
	if (!health->probes || !health->due)
		return -ENOMEM;
	health->set->probes = health->probes;
	return 0;
}

static void use_sources(struct health *health, const struct nat_pool_conf *nat)
{
	unsigned int count = MIN(nat->source_count, (unsigned int)SL_NAT_ADDRESSES_MAX);

	if (count == health->source_count &&
	    (!count || !memcmp(health->sources, nat->sources, count * sizeof(*nat->sources))))
		return;
	if (count)
		memcpy(health->sources, nat->sources, count * sizeof(*nat->sources));
	health->source_count = count;
	for (uint32_t i = 0; health->probes && i < health->set->maps.backend_count; i++)
		if (health->probes[i])
			target_of(health->probes[i])->source = NULL;
}

int health_sync(struct health *health, const struct service_conf *confs, unsigned int count,
		const struct nat_pool_conf *nat, struct error *err)
{
	bool any = false;
	int r = 0;

	for (unsigned int i = 0; i < count; i++)
		any |= confs[i].health.enabled;
	if (!any && !health->probes)
		return 0;
	r = open_probes(health);
	use_sources(health, nat);
	health->mark++;
	for (unsigned int i = 0; i < count && !r; i++)
		if (confs[i].health.enabled)
			r = sync_service(health, &confs[i]);
	if (r)
		return error_set(err, r, "out of memory for probes of backends");
	for (uint32_t i = 0; i < health->set->maps.backend_count; i++)
		if (health->probes[i] && target_of(health->probes[i])->mark != health->mark)
			drop(health, i);
	return 0;
}

/* ---- beginning and end ---- */

void health_init(struct health *health, struct service_set *set, struct loop *loop)
{
	struct rlimit limit;

	*health = (struct health){.set = set,
				  .loop = loop,
				  .limit = HEALTH_PROBES_MAX,
				  .tell_left = HEALTH_EVENTS_SECOND};
	list_init(&health->waiting);
	timer_init(&health->settle, on_settle);
	random_init(&health->random);
	if (!getrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur / HEALTH_FDS_PART < health->limit)
		health->limit = MAX((unsigned int)(limit.rlim_cur / HEALTH_FDS_PART), 1u);
}

void health_tick(struct health *health)
{
	health->tell_left = HEALTH_EVENTS_SECOND;
	if (!health->untold)
		return;
	log_warn("control", "health of %u more backends changed in a second", health->untold);
	event_publish(EVENT_BACKEND_CHANGED, STR(""),
		      "%u more backends went down or came up within a second", health->untold);
	health->untold = 0;
}

void health_stop(struct health *health)
{
	timer_stop(&health->settle);
	for (uint32_t i = 0; health->probes && i < health->set->maps.backend_count; i++)
		drop(health, i);
}

bool health_is_stopped(const struct health *health)
{
	return !health->under_way;
}

void health_done(struct health *health)
{
	if (health->set)
		health->set->probes = NULL;
	free(health->probes);
	free(health->due);
	*health = (struct health){.limit = 0};
}
