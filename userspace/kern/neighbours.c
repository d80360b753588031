#include "kern/neighbours.h"

#include <errno.h>
#include <linux/neighbour.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/util.h"
#include "kern/neighbour_wire.h"

#define HOPS_OF_ROUTE	 32 /* next hops of one route that are kept */
#define RESOLVE_LEAST_MS 1000

/* Any address of the internet: nothing is sent to it, its way is that of most clients. */
static const struct ip_addr far_away = {.family = AF_INET, .bytes = {198, 41, 0, 4}};

#define NUD_KNOWN (NUD_PERMANENT | NUD_NOARP | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE)
#define NUD_FIXED (NUD_PERMANENT | NUD_NOARP)

struct hop {
	struct neighbour_hop key;
	enum neighbour_state state;
	bool is_ours;  /* managed by our word */
	bool is_fixed; /* permanent: somebody else's word */
	bool is_seen;
	uint8_t link_addr[6];
};

struct target {
	struct ip_addr addr;
	enum neighbour_state told;
	uint32_t first, count; /* in `links` */
};

struct neighbours {
	struct neighbour_wire *wire;
	bool manages;
	struct target *targets; /* by address */
	unsigned int target_count;
	bool with_default;
	uint32_t *links;  /* places in `hops` */
	struct hop *hops; /* of backends and the default route, by key */
	unsigned int hop_count;
	struct hop *asked; /* in the order of asking */
	unsigned int asked_count;
	bool has_adopted, ways_changed, some_missing, state_changed;
	uint64_t resolved_ms;
	void (*on_change)(const struct ip_addr *backend, const struct neighbour_view *view,
			  void *arg);
	void *arg;
};

DEFINE_FREEP(struct neighbours, neighbours_close)

int neighbours_open(bool manages, struct neighbours **ret_neighbours, struct error *err)
{
	_cleanup_(neighbours_closep)
	struct neighbours *neighbours = calloc(1, sizeof(*neighbours));
	int r;

	if (neighbours)
		neighbours->asked = calloc(NEIGHBOURS_ASKED_MAX, sizeof(*neighbours->asked));
	if (!neighbours || !neighbours->asked)
		return error_set(err, -ENOMEM, "out of memory");
	neighbours->manages = manages;
	r = neighbour_wire_open(manages, &neighbours->wire, err);
	if (r)
		return r;
	*ret_neighbours = TAKE_PTR(neighbours);
	return 0;
}

void neighbours_close(struct neighbours *neighbours)
{
	if (!neighbours)
		return;
	neighbour_wire_close(neighbours->wire);
	free(neighbours->targets);
	free(neighbours->links);
	free(neighbours->hops);
	free(neighbours->asked);
	free(neighbours);
}

void neighbours_on_change(struct neighbours *neighbours,
			  void (*on_change)(const struct ip_addr *backend,
					    const struct neighbour_view *view, void *arg),
			  void *arg)
{
	neighbours->on_change = on_change;
	neighbours->arg = arg;
}

const char *neighbour_state_name(enum neighbour_state state)
{
	static const char *const names[] = {
		[NEIGHBOUR_RESOLVED] = "resolved",
		[NEIGHBOUR_INCOMPLETE] = "incomplete",
		[NEIGHBOUR_FAILED] = "failed",
		[NEIGHBOUR_NO_ROUTE] = "no route",
	};

	return names[state];
}

/* ---- finding ---- */

static int compare_addrs(const void *left, const void *right)
{
	return memcmp(left, right, sizeof(struct ip_addr));
}

static int compare_keys(const struct neighbour_hop *left, const struct neighbour_hop *right)
{
	if (left->ifindex != right->ifindex)
		return left->ifindex < right->ifindex ? -1 : 1;
	return compare_addrs(&left->addr, &right->addr);
}

static int compare_hops(const void *left, const void *right)
{
	return compare_keys(&((const struct hop *)left)->key, &((const struct hop *)right)->key);
}

static int compare_targets(const void *left, const void *right)
{
	return compare_addrs(&((const struct target *)left)->addr,
			     &((const struct target *)right)->addr);
}

static struct hop *find_in(struct hop *hops, unsigned int count, const struct neighbour_hop *key)
{
	const struct hop wanted = {.key = *key};

	return count ? bsearch(&wanted, hops, count, sizeof(*hops), compare_hops) : NULL;
}

static struct hop *find_asked(struct neighbours *neighbours, const struct neighbour_hop *key)
{
	for (unsigned int i = 0; i < neighbours->asked_count; i++)
		if (!compare_keys(&neighbours->asked[i].key, key))
			return &neighbours->asked[i];
	return NULL;
}

static struct hop *find_hop(struct neighbours *neighbours, const struct neighbour_hop *key)
{
	struct hop *hop = find_in(neighbours->hops, neighbours->hop_count, key);

	return hop ? hop : find_asked(neighbours, key);
}

static struct target *find_target(struct target *targets, unsigned int count,
				  const struct ip_addr *addr)
{
	const struct target wanted = {.addr = *addr};

	return count ? bsearch(&wanted, targets, count, sizeof(*targets), compare_targets) : NULL;
}

/* The worst of its next hops. */
static struct neighbour_view view_of(const struct neighbours *neighbours,
				     const struct target *target)
{
	struct neighbour_view view = {.state = NEIGHBOUR_NO_ROUTE, .hop_count = target->count};

	for (uint32_t i = 0; i < target->count; i++) {
		const struct hop *hop = &neighbours->hops[neighbours->links[target->first + i]];

		if (view.next_hop.family && hop->state <= view.state)
			continue;
		view.state = hop->state;
		view.next_hop = hop->key.addr;
		view.ifindex = hop->key.ifindex;
		memcpy(view.link_addr, hop->link_addr, sizeof(view.link_addr));
	}
	return view;
}

bool neighbours_find(const struct neighbours *neighbours, const struct ip_addr *backend,
		     struct neighbour_view *ret_view)
{
	const struct target *target =
		find_target(neighbours->targets, neighbours->target_count, backend);

	if (target)
		*ret_view = view_of(neighbours, target);
	return target != NULL;
}

static void tell_changes(struct neighbours *neighbours)
{
	neighbours->state_changed = false;
	for (unsigned int i = 0; i < neighbours->target_count; i++) {
		struct target *target = &neighbours->targets[i];
		struct neighbour_view view = view_of(neighbours, target);
		enum neighbour_state before = target->told;

		if (view.state == NEIGHBOUR_INCOMPLETE || view.state == before)
			continue;
		target->told = view.state;
		/* That a new one answers is what everybody expects. */
		if (neighbours->on_change &&
		    (view.state != NEIGHBOUR_RESOLVED || before != NEIGHBOUR_INCOMPLETE))
			neighbours->on_change(&target->addr, &view, neighbours->arg);
	}
}

/* ---- one next hop ---- */

static void note(struct neighbours *neighbours, struct hop *hop,
		 const struct neighbour_report *report)
{
	enum neighbour_state before = hop->state;

	hop->is_seen = true;
	hop->is_fixed = !report->is_gone && report->nud & NUD_FIXED;
	hop->is_ours = !report->is_gone && report->is_managed;
	if (!report->is_gone && report->nud & NUD_KNOWN) {
		hop->state = NEIGHBOUR_RESOLVED;
		memcpy(hop->link_addr, report->link_addr, sizeof(hop->link_addr));
	} else if (!report->is_gone && report->nud & NUD_FAILED) {
		hop->state = NEIGHBOUR_FAILED;
	} else if (hop->state == NEIGHBOUR_RESOLVED) {
		hop->state = NEIGHBOUR_INCOMPLETE; /* one that failed is asked again and again */
	}
	neighbours->state_changed |= hop->state != before;
	if (!hop->is_fixed && !hop->is_ours)
		neighbours->some_missing = true;
}

/* Looks first: a permanent entry would become ours. */
static void begin(struct neighbours *neighbours, struct hop *hop)
{
	struct neighbour_report report = {.hop = hop->key, .is_gone = true};

	if (neighbour_wire_find(neighbours->wire, &hop->key, &report))
		report.is_gone = true;
	note(neighbours, hop, &report);
	if (!neighbours->manages || hop->is_fixed || hop->is_ours)
		return;
	/* No such device any more, or a full table: the tick tries again. */
	hop->is_ours = !neighbour_wire_keep(neighbours->wire, &hop->key);
	if (!hop->is_ours)
		hop->state = NEIGHBOUR_FAILED;
}

static void end(struct neighbours *neighbours, const struct hop *hop)
{
	if (neighbours->manages && hop->is_ours)
		(void)neighbour_wire_let_go(neighbours->wire, &hop->key);
}

static void drop_asked(struct neighbours *neighbours, unsigned int index)
{
	struct hop gone = neighbours->asked[index];

	neighbours->asked_count--;
	memmove(&neighbours->asked[index], &neighbours->asked[index + 1],
		(neighbours->asked_count - index) * sizeof(gone));
	end(neighbours, &gone);
}

/* What the kernel has thrown away is made again; who asked for in vain goes. */
static void begin_missing(struct neighbours *neighbours)
{
	neighbours->some_missing = false;
	for (unsigned int i = 0; i < neighbours->hop_count; i++)
		if (!neighbours->hops[i].is_ours && !neighbours->hops[i].is_fixed)
			begin(neighbours, &neighbours->hops[i]);
	for (unsigned int i = neighbours->asked_count; i-- > 0;) {
		struct hop *hop = &neighbours->asked[i];

		if (!hop->is_ours && !hop->is_fixed)
			begin(neighbours, hop);
		if (hop->state == NEIGHBOUR_FAILED)
			drop_asked(neighbours, i);
	}
}

/* ---- backends to next hops ---- */

struct found {
	struct hop *hops;
	uint32_t *links; /* beside hops: whose they are */
	unsigned int count, room;
};

static void found_done(struct found *found)
{
	free(found->hops);
	free(found->links);
}

static int add_found(struct found *found, const struct neighbour_hop *key)
{
	if (found->count == found->room) {
		unsigned int room = found->room ? found->room * 2 : 64;
		struct hop *hops = realloc(found->hops, room * sizeof(*hops));

		if (!hops)
			return -ENOMEM;
		found->hops = hops;
		found->room = room;
	}
	found->hops[found->count++] = (struct hop){.key = *key, .state = NEIGHBOUR_INCOMPLETE};
	return 0;
}

static int find_way(struct neighbours *neighbours, const struct ip_addr *addr, bool far,
		    struct found *found, uint32_t *ret_count)
{
	struct neighbour_hop hops[HOPS_OF_ROUTE];
	unsigned int count = 0;
	int r = neighbour_wire_route(neighbours->wire, addr, hops, ARRAY_SIZE(hops), &count);

	*ret_count = 0;
	if (r == -ENETUNREACH)
		return 0;
	for (unsigned int i = 0; i < count && !r; i++) {
		/* Not a gateway: the whole internet is on that link, and no neighbour is known. */
		if (far && !compare_addrs(&hops[i].addr, addr))
			continue;
		r = add_found(found, &hops[i]);
		*ret_count += !r;
	}
	return r;
}

/* Sorts the hops, each once, with `links` beside them that say where each of before is now. */
static int sort_found(struct found *found)
{
	_cleanup_free_ struct hop *before = NULL;
	unsigned int count = 0;

	if (!found->count)
		return 0;
	before = calloc(found->count, sizeof(*before));
	found->links = calloc(found->count, sizeof(*found->links));
	if (!before || !found->links)
		return -ENOMEM;
	memcpy(before, found->hops, found->count * sizeof(*before));
	qsort(found->hops, found->count, sizeof(*found->hops), compare_hops);
	for (unsigned int i = 0; i < found->count; i++)
		if (!i || compare_hops(&found->hops[i], &found->hops[count - 1]))
			found->hops[count++] = found->hops[i];
	for (unsigned int i = 0; i < found->count; i++)
		found->links[i] =
			(uint32_t)(find_in(found->hops, count, &before[i].key) - found->hops);
	found->count = count;
	return 0;
}

static int find_ways(struct neighbours *neighbours, struct target *targets, unsigned int count,
		     struct found *found)
{
	uint32_t ignored;
	int r = 0;

	for (unsigned int i = 0; i < count && !r; i++) {
		targets[i].first = found->count;
		r = find_way(neighbours, &targets[i].addr, false, found, &targets[i].count);
	}
	if (!r && neighbours->with_default)
		r = find_way(neighbours, &far_away, true, found, &ignored);
	return r ? r : sort_found(found);
}

/* Takes over what is known of those that stay, begins with those that come, ends the others. */
static void move_hops(struct neighbours *neighbours, struct found *found)
{
	for (unsigned int i = 0; i < found->count; i++) {
		struct hop *hop = &found->hops[i];
		struct hop *before = find_hop(neighbours, &hop->key);

		if (before)
			*hop = *before;
		if (!before || (!hop->is_ours && !hop->is_fixed))
			begin(neighbours, hop);
		else if (hop->state != NEIGHBOUR_RESOLVED && neighbours->manages)
			(void)neighbour_wire_keep(neighbours->wire, &hop->key); /* asks at once */
	}
	for (unsigned int i = 0; i < neighbours->hop_count; i++)
		if (!find_in(found->hops, found->count, &neighbours->hops[i].key))
			end(neighbours, &neighbours->hops[i]);
	for (unsigned int i = neighbours->asked_count; i-- > 0;)
		if (find_in(found->hops, found->count, &neighbours->asked[i].key)) {
			neighbours->asked[i].is_ours = false;
			drop_asked(neighbours, i);
		}
	free(neighbours->hops);
	free(neighbours->links);
	neighbours->hops = TAKE_PTR(found->hops);
	neighbours->links = TAKE_PTR(found->links);
	neighbours->hop_count = found->count;
	neighbours->state_changed = true;
}

static int resolve(struct neighbours *neighbours, struct error *err)
{
	_cleanup_(found_done)
	struct found found = {0};
	_cleanup_free_ struct target *targets =
		calloc(neighbours->target_count + 1, sizeof(*targets));
	int r;

	if (!targets)
		return error_set(err, -ENOMEM, "out of memory");
	if (neighbours->target_count)
		memcpy(targets, neighbours->targets, neighbours->target_count * sizeof(*targets));
	r = find_ways(neighbours, targets, neighbours->target_count, &found);
	if (r)
		return error_set_errno(err, r, "cannot read the routes to backends");
	neighbours->ways_changed = false;
	neighbours->resolved_ms = clock_mono_ms();
	move_hops(neighbours, &found);
	if (neighbours->target_count)
		memcpy(neighbours->targets, targets, neighbours->target_count * sizeof(*targets));
	return 0;
}

/* ---- what an earlier daemon left ---- */

struct leftovers {
	struct neighbours *neighbours; /* NULL: all that is ours */
	struct neighbour_report *items;
	unsigned int count, room;
	bool is_short;
};

static void collect_leftover(const struct neighbour_report *report, void *arg)
{
	struct leftovers *leftovers = arg;

	if (!report->is_managed ||
	    (leftovers->neighbours && find_hop(leftovers->neighbours, &report->hop)))
		return;
	if (leftovers->count == leftovers->room) {
		unsigned int room = leftovers->room ? leftovers->room * 2 : 64;
		struct neighbour_report *items = realloc(leftovers->items, room * sizeof(*items));

		if (!items) {
			leftovers->is_short = true;
			return;
		}
		leftovers->items = items;
		leftovers->room = room;
	}
	leftovers->items[leftovers->count++] = *report;
}

/* Those that answer and are no backend's were asked for by XDP. */
static int adopt(struct neighbours *neighbours)
{
	struct leftovers leftovers = {.neighbours = neighbours};
	int r = neighbour_wire_walk(neighbours->wire, collect_leftover, &leftovers);

	for (unsigned int i = 0; i < leftovers.count; i++) {
		const struct neighbour_report *report = &leftovers.items[i];
		struct hop hop = {.key = report->hop};

		note(neighbours, &hop, report);
		if (neighbours->target_count && hop.state == NEIGHBOUR_RESOLVED &&
		    report->nud & NUD_KNOWN && neighbours->asked_count < NEIGHBOURS_ASKED_MAX)
			neighbours->asked[neighbours->asked_count++] = hop;
		else
			end(neighbours, &hop);
	}
	free(leftovers.items);
	neighbours->has_adopted = !r && !leftovers.is_short;
	return r;
}

int neighbours_release(struct error *err)
{
	struct leftovers leftovers = {0};
	struct neighbour_wire *wire;
	int r = neighbour_wire_open(false, &wire, err);

	if (r)
		return r;
	r = neighbour_wire_walk(wire, collect_leftover, &leftovers);
	for (unsigned int i = 0; i < leftovers.count; i++) {
		int done = neighbour_wire_let_go(wire, &leftovers.items[i].hop);

		r = r ? r : done;
	}
	free(leftovers.items);
	neighbour_wire_close(wire);
	return r ? error_set_errno(err, r, "cannot let go of neighbours") : 0;
}

/* ---- from outside ---- */

static unsigned int unique_targets(struct target *targets, unsigned int count)
{
	unsigned int kept = 0;

	if (count)
		qsort(targets, count, sizeof(*targets), compare_targets);
	for (unsigned int i = 0; i < count; i++)
		if (!i || compare_targets(&targets[i], &targets[kept - 1]))
			targets[kept++] = targets[i];
	return kept;
}

static bool same_targets(const struct neighbours *neighbours, const struct target *targets,
			 unsigned int count, bool with_default)
{
	bool same = neighbours->has_adopted && neighbours->target_count == count &&
		    neighbours->with_default == with_default;

	for (unsigned int i = 0; i < count && same; i++)
		same = !compare_targets(&neighbours->targets[i], &targets[i]);
	return same;
}

int neighbours_set(struct neighbours *neighbours, const struct ip_addr *backends,
		   unsigned int count, bool with_default, struct error *err)
{
	_cleanup_free_ struct target *targets = calloc(count + 1, sizeof(*targets));
	int r;

	if (!targets)
		return error_set(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < count; i++)
		targets[i] = (struct target){.addr = backends[i], .told = NEIGHBOUR_INCOMPLETE};
	count = unique_targets(targets, count);
	if (same_targets(neighbours, targets, count, with_default))
		return 0;
	for (unsigned int i = 0; i < count; i++) {
		const struct target *before = find_target(
			neighbours->targets, neighbours->target_count, &targets[i].addr);

		if (before)
			targets[i].told = before->told;
	}
	free(neighbours->targets);
	neighbours->targets = TAKE_PTR(targets);
	neighbours->target_count = count;
	neighbours->with_default = with_default;
	while (!count && neighbours->asked_count)
		drop_asked(neighbours, neighbours->asked_count - 1);
	r = resolve(neighbours, err);
	if (r) {
		neighbours->ways_changed = true; /* the tick tries again */
		return r;
	}
	if (!neighbours->has_adopted && neighbours->manages) {
		r = adopt(neighbours);
		if (r)
			return error_set_errno(err, r, "cannot read the neighbours");
	}
	return 0;
}

/* The oldest that has not answered, else the oldest. */
static void make_room(struct neighbours *neighbours)
{
	unsigned int index = 0;

	for (unsigned int i = neighbours->asked_count; i-- > 0;)
		if (neighbours->asked[i].state != NEIGHBOUR_RESOLVED)
			index = i;
	drop_asked(neighbours, index);
}

void neighbours_ask(struct neighbours *neighbours, uint32_t ifindex, const struct ip_addr *addr)
{
	struct hop hop = {.key = {.addr = *addr, .ifindex = ifindex},
			  .state = NEIGHBOUR_INCOMPLETE};

	if (!neighbours->target_count || find_hop(neighbours, &hop.key))
		return;
	if (neighbours->asked_count == NEIGHBOURS_ASKED_MAX)
		make_room(neighbours);
	begin(neighbours, &hop);
	if (hop.is_ours || hop.is_fixed)
		neighbours->asked[neighbours->asked_count++] = hop;
}

int neighbours_fd(const struct neighbours *neighbours)
{
	return neighbour_wire_fd(neighbours->wire);
}

static void on_report(const struct neighbour_report *report, void *arg)
{
	struct neighbours *neighbours = arg;
	struct hop *hop = find_hop(neighbours, &report->hop);

	if (!hop)
		return;
	note(neighbours, hop, report);
	if (hop->state == NEIGHBOUR_FAILED && find_asked(neighbours, &report->hop))
		neighbours->some_missing = true; /* it goes */
}

static void on_ways(void *arg)
{
	((struct neighbours *)arg)->ways_changed = true;
}

/* Notifications were lost: asks for all that they could have said. */
static void read_again(struct neighbours *neighbours)
{
	const struct neighbour_report gone = {.is_gone = true};
	struct hop *lists[] = {neighbours->hops, neighbours->asked};
	const unsigned int counts[] = {neighbours->hop_count, neighbours->asked_count};

	for (size_t list = 0; list < ARRAY_SIZE(lists); list++)
		for (unsigned int i = 0; i < counts[list]; i++)
			lists[list][i].is_seen = false;
	neighbours->ways_changed = true;
	if (neighbour_wire_walk(neighbours->wire, on_report, neighbours))
		return;
	for (size_t list = 0; list < ARRAY_SIZE(lists); list++)
		for (unsigned int i = 0; i < counts[list]; i++)
			if (!lists[list][i].is_seen)
				note(neighbours, &lists[list][i], &gone);
}

static void hear(struct neighbours *neighbours)
{
	struct error ignored = {0};

	if (neighbour_wire_hear(neighbours->wire, on_report, on_ways, neighbours))
		read_again(neighbours);
	/* A router may hear of thousands of routes a second. */
	if (neighbours->ways_changed &&
	    clock_mono_ms() - neighbours->resolved_ms >= RESOLVE_LEAST_MS &&
	    resolve(neighbours, &ignored))
		neighbours->ways_changed = true;
	if (neighbours->some_missing)
		begin_missing(neighbours);
}

void neighbours_hear(struct neighbours *neighbours)
{
	hear(neighbours);
	if (neighbours->state_changed)
		tell_changes(neighbours);
}

void neighbours_tick(struct neighbours *neighbours)
{
	/* A device that was gone, or a full table: tried again once a second. */
	for (unsigned int i = 0; i < neighbours->hop_count; i++)
		if (!neighbours->hops[i].is_ours && !neighbours->hops[i].is_fixed)
			neighbours->some_missing = true;
	if (neighbours->ways_changed || neighbours->some_missing)
		hear(neighbours);
	if (neighbours->state_changed)
		tell_changes(neighbours);
}

static bool all_have_answered(const struct neighbours *neighbours)
{
	for (unsigned int i = 0; i < neighbours->hop_count; i++)
		if (neighbours->hops[i].state == NEIGHBOUR_INCOMPLETE)
			return false;
	return true;
}

void neighbours_wait(struct neighbours *neighbours, int timeout_ms)
{
	uint64_t end_ms = clock_mono_ms() + (uint64_t)timeout_ms, now_ms;

	while (!all_have_answered(neighbours) && (now_ms = clock_mono_ms()) < end_ms) {
		struct pollfd fd = {.fd = neighbours_fd(neighbours), .events = POLLIN};

		if (poll(&fd, 1, (int)(end_ms - now_ms)) < 0 && errno != EINTR)
			return;
		hear(neighbours);
	}
}
