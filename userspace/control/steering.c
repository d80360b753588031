#include "control/steering.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "io/stream.h"

/* What somaxconn is by default since Linux 5.4. */
#define LISTEN_BACKLOG 4096

enum { ID_LOOPBACK_V4 = 1, ID_LOOPBACK_V6 = 2, ID_FIRST_BIND = 16 };

static unsigned int family_bits(uint8_t family)
{
	return family == AF_INET ? 32 : 128;
}

const char *steering_format_tuple(const struct steer_tuple *tuple, char *buf, size_t buf_len)
{
	char addr[ADDR_TEXT_MAX], bits[8] = "", last[8] = "";
	bool is_v6 = tuple->prefix.addr.family == AF_INET6;

	(void)ip_addr_format(&tuple->prefix.addr, addr, sizeof(addr));
	if (tuple->prefix.bits != family_bits(tuple->prefix.addr.family))
		(void)snprintf(bits, sizeof(bits), "/%u", tuple->prefix.bits);
	if (tuple->port_last != tuple->port_first)
		(void)snprintf(last, sizeof(last), "-%u", tuple->port_last);
	(void)snprintf(buf, buf_len, "%s%s%s%s:%u%s", is_v6 ? "[" : "", addr, bits,
		       is_v6 ? "]" : "", tuple->port_first, last);
	return buf;
}

int steering_init(struct steering *steering, struct dataplane *dataplane, const char *reason,
		  unsigned int worker_count, struct error *err)
{
	struct error attach = {0};
	int r;

	memset(steering, 0, sizeof(*steering));
	steering->worker_count = worker_count;
	steering->last_id = ID_FIRST_BIND;
	steering->mode = STEERING_BIND;
	if (!dataplane) {
		(void)snprintf(steering->reason, sizeof(steering->reason), "%s", reason);
		return 0;
	}
	r = steer_attach(dataplane, &attach);
	if (r == -EOPNOTSUPP) {
		(void)snprintf(steering->reason, sizeof(steering->reason), "%s", attach.text);
		return 0;
	}
	if (r)
		return error_set(err, r, "%s", attach.text);
	steering->dataplane = dataplane;
	steering->mode = STEERING_SK_LOOKUP;
	return 0;
}

void steering_done(struct steering *steering)
{
	struct error err = {0};

	if (steering->mode == STEERING_SK_LOOKUP && steering->route_count &&
	    steer_sync_local_routes(NULL, 0, &err))
		log_warn("control", "local routes stay behind: %s", err.text);
	free(steering->tuples);
	free(steering->routes);
	free(steering->binds);
	memset(steering, 0, sizeof(*steering));
}

/* ---- plans: what the snapshot asks for ---- */

static unsigned int count_tuples(const struct snapshot *snapshot)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < snapshot->listener_count; i++)
		count += snapshot->listeners[i].tuple_count;
	return count;
}

/* Packets to these addresses would not be for this host without a route. */
static bool needs_route(const struct ip_prefix *prefix)
{
	return prefix->bits != 0 && prefix->bits != family_bits(prefix->addr.family);
}

static void add_route(struct steering_plan *plan, const struct ip_prefix *prefix)
{
	for (unsigned int i = 0; i < plan->route_count; i++)
		if (plan->routes[i].bits == prefix->bits &&
		    !memcmp(&plan->routes[i].addr, &prefix->addr, sizeof(prefix->addr)))
			return;
	plan->routes[plan->route_count++] = *prefix;
}

static int add_bind(struct steering_plan *plan, const struct listener_conf *listener,
		    const struct steer_tuple *tuple, struct error *err)
{
	struct steering_bind *bind = &plan->binds[plan->bind_count];
	const struct steering *steering = plan->steering;
	char text[ADDR_TEXT_MAX];

	(void)steering_format_tuple(tuple, text, sizeof(text));
	if (needs_route(&tuple->prefix) || tuple->port_first != tuple->port_last)
		return error_set(err, -EOPNOTSUPP,
				 "listener '%.*s': address %s: a prefix or port range needs "
				 "sk_lookup, and here addresses are bound one by one: %s",
				 STR_FMT(listener->name), text, steering->reason);
	bind->addr = sock_addr_make(&tuple->prefix.addr, tuple->port_first);
	bind->id = 0;
	for (unsigned int i = 0; i < steering->bind_count; i++)
		if (steering->binds[i].addr.len == bind->addr.len &&
		    !memcmp(&steering->binds[i].addr.any, &bind->addr.any, bind->addr.len))
			bind->id = steering->binds[i].id;
	plan->bind_count++;
	return 0;
}

static int collect(struct steering_plan *plan, const struct snapshot *snapshot, struct error *err)
{
	unsigned int count = count_tuples(snapshot);
	int r;

	plan->tuples = calloc(count + 1, sizeof(*plan->tuples));
	plan->routes = calloc(count + 1, sizeof(*plan->routes));
	plan->binds = calloc(count + 1, sizeof(*plan->binds));
	if (!plan->tuples || !plan->routes || !plan->binds)
		return error_set(err, -ENOMEM, "out of memory for %u addresses", count);
	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		const struct listener_conf *listener = &snapshot->listeners[i];

		for (unsigned int j = 0; j < listener->tuple_count; j++) {
			const struct steer_tuple *tuple = &listener->tuples[j];

			if (plan->steering->mode == STEERING_BIND) {
				r = add_bind(plan, listener, tuple, err);
				if (r)
					return r;
				continue;
			}
			plan->tuples[plan->tuple_count++] = *tuple;
			if (needs_route(&tuple->prefix))
				add_route(plan, &tuple->prefix);
		}
	}
	return 0;
}

/* ---- plans: sockets ---- */

static int make_room(struct steering_plan *plan, unsigned int open_count, struct error *err)
{
	unsigned int total = open_count * plan->steering->worker_count;

	plan->sockets = calloc(total + 1, sizeof(*plan->sockets));
	if (!plan->sockets)
		return error_set(err, -ENOMEM, "out of memory for %u listening sockets", total);
	plan->open_count = open_count;
	for (unsigned int i = 0; i < total; i++)
		plan->sockets[i].fd = -1;
	return 0;
}

static struct worker_socket *socket_at(struct steering_plan *plan, unsigned int worker,
				       unsigned int index)
{
	return &plan->sockets[(size_t)worker * plan->open_count + index];
}

static int open_loopback(struct worker_socket *socket, uint32_t id, const char *address,
			 struct error *err)
{
	struct sock_addr addr;
	int r = sock_addr_parse(str_from_cstr(address), &addr, err);

	if (r)
		return r;
	socket->id = id;
	return listen_socket_open(&addr, LISTEN_SAVE_SYN, LISTEN_BACKLOG, &socket->fd, err);
}

static bool has_v6(const struct steering_plan *plan)
{
	for (unsigned int i = 0; i < plan->tuple_count; i++)
		if (plan->tuples[i].prefix.addr.family == AF_INET6)
			return true;
	return false;
}

static int open_worker_listeners(struct steering_plan *plan, struct error *err)
{
	struct error v6_error = {0};
	int r = make_room(plan, 2, err);

	for (unsigned int i = 0; !r && i < plan->steering->worker_count; i++) {
		r = open_loopback(socket_at(plan, i, 0), ID_LOOPBACK_V4, "127.0.0.1:0", err);
		if (r)
			error_prefix(err, "the workers' own listeners");
		/* Hosts without IPv6 are fine as long as nobody asks for it. */
		if (!r &&
		    open_loopback(socket_at(plan, i, 1), ID_LOOPBACK_V6, "[::1]:0", &v6_error) &&
		    has_v6(plan))
			return error_set(err, v6_error.code, "the workers' own listeners: %s",
					 v6_error.text);
	}
	return r;
}

static int open_new_binds(struct steering_plan *plan, struct error *err)
{
	unsigned int new_count = 0, index = 0;
	int r;

	for (unsigned int i = 0; i < plan->bind_count; i++)
		new_count += plan->binds[i].id == 0;
	r = make_room(plan, new_count, err);
	for (unsigned int i = 0; !r && i < plan->bind_count; i++) {
		struct steering_bind *bind = &plan->binds[i];

		if (bind->id)
			continue;
		bind->id = ++plan->steering->last_id;
		for (unsigned int worker = 0; !r && worker < plan->steering->worker_count;
		     worker++) {
			struct worker_socket *socket = socket_at(plan, worker, index);

			socket->id = bind->id;
			r = listen_socket_open(&bind->addr, LISTEN_REUSEPORT | LISTEN_SAVE_SYN,
					       LISTEN_BACKLOG, &socket->fd, err);
		}
		if (r == -EACCES && plan->steering->in_force)
			error_prefix(err, "privileges were dropped at start, a restart is needed");
		index++;
	}
	return r;
}

static int list_closed_binds(struct steering_plan *plan, struct error *err)
{
	const struct steering *steering = plan->steering;

	plan->close_ids = calloc(steering->bind_count + 1, sizeof(*plan->close_ids));
	if (!plan->close_ids)
		return error_set(err, -ENOMEM, "out of memory for the listeners' addresses");
	for (unsigned int i = 0; i < steering->bind_count; i++) {
		bool stays = false;

		for (unsigned int j = 0; j < plan->bind_count; j++)
			stays = stays || plan->binds[j].id == steering->binds[i].id;
		if (!stays)
			plan->close_ids[plan->close_count++] = steering->binds[i].id;
	}
	return 0;
}

int steering_plan_make(struct steering *steering, const struct snapshot *snapshot,
		       struct steering_plan *plan, struct error *err)
{
	int r;

	memset(plan, 0, sizeof(*plan));
	plan->steering = steering;
	r = collect(plan, snapshot, err);
	if (!r && steering->mode == STEERING_BIND) {
		r = open_new_binds(plan, err);
		if (!r)
			r = list_closed_binds(plan, err);
	} else if (!r) {
		plan->first = !steering->in_force;
		if (plan->first)
			r = open_worker_listeners(plan, err);
	}
	if (r)
		steering_plan_done(plan);
	return r;
}

/* ---- plans: the kernel side ---- */

static int set_worker_listeners(struct steering_plan *plan, struct error *err)
{
	unsigned int count = plan->steering->worker_count;
	_cleanup_free_ int *fds = calloc(count, 2 * sizeof(*fds));

	if (!fds)
		return error_set(err, -ENOMEM, "out of memory for %u workers", count);
	for (unsigned int i = 0; i < count; i++) {
		fds[i] = socket_at(plan, i, 0)->fd;
		fds[count + i] = socket_at(plan, i, 1)->fd;
	}
	return steer_set_workers(plan->steering->dataplane, fds, fds + count, count, err);
}

static void take_back(const struct steering *steering)
{
	struct error err = {0};

	if (steer_set_tuples(steering->dataplane, steering->tuples, steering->tuple_count, &err) ||
	    steer_sync_local_routes(steering->routes, steering->route_count, &err))
		log_error("control", "cannot return to the former addresses: %s", err.text);
}

int steering_plan_apply(struct steering_plan *plan, struct error *err)
{
	struct steering *steering = plan->steering;
	int r = 0;

	if (steering->mode == STEERING_BIND)
		return 0;
	if (plan->first)
		r = set_worker_listeners(plan, err);
	/* Routes before tuples for what comes, so that the first packet finds both. */
	if (!r)
		r = steer_sync_local_routes(plan->routes, plan->route_count, err);
	if (!r)
		r = steer_set_tuples(steering->dataplane, plan->tuples, plan->tuple_count, err);
	if (r)
		take_back(steering);
	else
		plan->applied = true;
	return r;
}

void steering_plan_commit(struct steering_plan *plan)
{
	struct steering *steering = plan->steering;

	free(steering->tuples);
	free(steering->routes);
	free(steering->binds);
	steering->tuples = TAKE_PTR(plan->tuples);
	steering->tuple_count = plan->tuple_count;
	steering->routes = TAKE_PTR(plan->routes);
	steering->route_count = plan->route_count;
	steering->binds = TAKE_PTR(plan->binds);
	steering->bind_count = plan->bind_count;
	steering->in_force = true;
	plan->committed = true;
}

void steering_plan_done(struct steering_plan *plan)
{
	if (!plan->committed) {
		unsigned int total =
			plan->sockets ? plan->open_count * plan->steering->worker_count : 0;

		if (plan->applied)
			take_back(plan->steering);
		for (unsigned int i = 0; i < total; i++)
			close_fdp(&plan->sockets[i].fd);
	}
	free(plan->tuples);
	free(plan->routes);
	free(plan->binds);
	free(plan->sockets);
	free(plan->close_ids);
	memset(plan, 0, sizeof(*plan));
}
