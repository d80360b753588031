#include "upstream/upstream.h"

#include "base/clock.h"
#include "upstream/maglev.h"

const char *upstream_balance_name(enum upstream_balance balance)
{
	switch (balance) {
	case UPSTREAM_ROUND_ROBIN:
		break;
	case UPSTREAM_LEAST_REQUESTS:
		return "least-requests";
	case UPSTREAM_RANDOM_TWO:
		return "random-two";
	case UPSTREAM_MAGLEV:
		return "maglev";
	}
	return "round-robin";
}

int upstream_acquire(struct registry *registry, struct upstream_conf *upstream,
		     unsigned int worker_count, uint64_t build_until_ms)
{
	uint64_t now_ms = clock_mono_ms();
	int ret = upstream_state_acquire(registry, upstream->name, worker_count, now_ms,
					 &upstream->state);

	for (unsigned int i = 0; i < upstream->endpoint_count && !ret; i++)
		ret = endpoint_acquire(registry, upstream->state, &upstream->endpoints[i].addr,
				       now_ms, &upstream->endpoints[i].endpoint);
	if (ret < 0)
		return ret;
	upstream->state->established = true;
	if (upstream->balance != UPSTREAM_MAGLEV)
		return 0;
	ret = maglev_acquire(registry, upstream, &upstream->maglev);
	/* Without memory now: the first request that needs it tries again. */
	if (!ret && now_ms < build_until_ms)
		(void)maglev_build(upstream->maglev, upstream);
	return ret;
}

void upstream_publish(const struct upstream_conf *upstream)
{
	atomic_store_explicit(&upstream->state->connections_max,
			      (unsigned int)upstream->limits.connections, memory_order_relaxed);
}

void upstream_release(struct upstream_conf *upstream)
{
	for (unsigned int i = 0; i < upstream->endpoint_count; i++)
		endpoint_unref(upstream->endpoints[i].endpoint);
	upstream_state_unref(upstream->state);
	maglev_unref(upstream->maglev);
}
