#include "filter/concurrency.h"

#include "http/exchange.h"
#include "http/refusal.h"
#include "http/worker_internal.h"

struct concurrency_state {
	struct exchange *exchange;
	struct slots *slots; /* a reference, from when it holds or waits */
	struct slots_waiter *waiter;
	struct timer patience;
	bool holds, too_late;
};

static void refuse(struct exchange *exchange, const struct concurrency *concurrency,
		   const char *rule)
{
	const struct policy *policy = exchange->route->policies[exchange->policy_at];
	struct str seconds = arena_printf(
		&exchange->arena, "%llu",
		(unsigned long long)MAX((concurrency->wait_ms + 999) / 1000, (uint64_t)1));

	if (seconds.ptr && exchange->added_count < EXCHANGE_ADDED_MAX)
		exchange->added[exchange->added_count++] =
			(struct http_field){STR("retry-after"), seconds, HTTP_FIELD_OTHER};
	policy_refuse(exchange, policy, REFUSAL_LIMITED, 503, "too many requests at once", rule,
		      (unsigned long long)concurrency->max, (unsigned long long)concurrency->queue);
}

static void on_granted(void *arg)
{
	struct concurrency_state *own = arg;

	own->waiter = NULL;
	own->holds = true;
	timer_stop(&own->patience);
	exchange_policy_resume(own->exchange, own);
}

static void on_impatience(struct timer *timer)
{
	struct concurrency_state *own = CONTAINER_OF(timer, struct concurrency_state, patience);

	/* Its turn has come at the same moment: the loop is about to tell. */
	if (!slots_withdraw(own->slots, own->waiter))
		return;
	own->waiter = NULL;
	own->too_late = true;
	exchange_policy_resume(own->exchange, own);
}

static enum policy_verdict take(struct exchange *exchange, const struct concurrency *concurrency,
				struct concurrency_state *own)
{
	const struct slots_owner owner = {exchange->worker->loop, on_granted, own};

	switch (slots_take(concurrency->slots, (unsigned int)concurrency->queue, &owner,
			   &own->waiter)) {
	case SLOTS_TAKEN:
		own->holds = true;
		break;
	case SLOTS_WAITS:
		own->exchange = exchange;
		timer_init(&own->patience, on_impatience);
		timer_start(owner.loop, &own->patience, concurrency->wait_ms);
		break;
	case SLOTS_FULL:
		refuse(exchange, concurrency, "%llu are under way, %llu wait");
		return POLICY_ANSWERED;
	case SLOTS_NO_MEMORY:
		refuse(exchange, concurrency,
		       "%llu are under way, no memory to wait; %llu may wait");
		return POLICY_ANSWERED;
	}
	own->slots = concurrency->slots;
	slots_ref(own->slots);
	return own->holds ? POLICY_NEXT : POLICY_WAITS;
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	struct concurrency_state *own = state;

	if (own->holds)
		return POLICY_NEXT;
	if (own->waiter)
		return POLICY_WAITS;
	if (!own->too_late)
		return take(exchange, conf, own);
	refuse(exchange, conf, "%llu are under way, and none ended in time; %llu may wait");
	return POLICY_ANSWERED;
}

static void stop_waiting(struct concurrency_state *own)
{
	if (!own->waiter)
		return;
	timer_stop(&own->patience);
	if (!slots_withdraw(own->slots, own->waiter))
		slots_disown(own->waiter);
	own->waiter = NULL;
}

static void abandon(struct exchange *exchange, const void *conf, void *state)
{
	stop_waiting(state);
}

static void done(struct exchange *exchange, void *state)
{
	struct concurrency_state *own = state;

	stop_waiting(own);
	if (own->holds)
		slots_give_back(own->slots);
	slots_unref(own->slots);
}

/* ---- life ---- */

static int acquire(struct registry *registry, struct str name, unsigned int worker_count,
		   void *conf)
{
	struct concurrency *concurrency = conf;

	return slots_acquire(registry, name, (unsigned int)concurrency->max, &concurrency->slots);
}

static void release(void *conf)
{
	slots_unref(((struct concurrency *)conf)->slots);
}

const struct policy_type concurrency_policy = {
	.key = "concurrency",
	.conf_bytes = sizeof(struct concurrency),
	.state_bytes = sizeof(struct concurrency_state),
	.read = concurrency_read,
	.write = concurrency_write,
	.acquire = acquire,
	.release = release,
	.request_head = request_head,
	.abandon = abandon,
	.done = done,
};
