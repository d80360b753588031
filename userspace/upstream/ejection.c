#include "upstream/ejection.h"

#include "base/event.h"

#define RAMP_LEAST 26u /* of 256 */

static uint64_t load(const atomic_uint_fast64_t *cell)
{
	return atomic_load_explicit(cell, memory_order_relaxed);
}

static void store(atomic_uint_fast64_t *cell, uint64_t value)
{
	atomic_store_explicit(cell, value, memory_order_relaxed);
}

static void publish(enum event_kind kind, const struct endpoint *endpoint, uint64_t time_ms)
{
	char object[EVENT_OBJECT_MAX];
	int len = snprintf(object, sizeof(object), "%s %s", endpoint->entry.name,
			   endpoint->entry.address);
	struct str text = str_make(object, MIN((size_t)MAX(len, 0), sizeof(object) - 1));

	if (kind == EVENT_ENDPOINT_EJECTED)
		event_publish(kind, text, "failed %u times in a row: no requests for %llu ms",
			      atomic_load_explicit(&endpoint->failures, memory_order_relaxed),
			      (unsigned long long)time_ms);
	else
		event_publish(kind, text, "gets requests again");
}

void ejection_return(struct endpoint *endpoint, uint64_t until_ms)
{
	uint_fast64_t expected = until_ms;

	/* First, so that whoever sees it back sees its ramp, too. */
	store(&endpoint->returned_ms, until_ms);
	store(&endpoint->ramp_from_ms, until_ms);
	if (atomic_compare_exchange_strong_explicit(&endpoint->ejected_until_ms, &expected, 0,
						    memory_order_release, memory_order_relaxed))
		publish(EVENT_ENDPOINT_RETURNED, endpoint, 0);
}

static bool may_eject_one_more(const struct upstream_conf *upstream, uint64_t now_ms)
{
	unsigned int count = upstream->endpoint_count, out = 0;
	uint64_t most = count * upstream->ejection.max_share / 10000;

	if (count > 1)
		most = MAX(most, 1);
	for (unsigned int i = 0; i < count; i++)
		if (endpoint_is_ejected(upstream->endpoints[i].endpoint, now_ms))
			out++;
	return out < most;
}

static uint64_t ejection_time(const struct upstream_conf *upstream, struct endpoint *endpoint,
			      uint64_t now_ms)
{
	uint64_t base_ms = upstream->ejection.base_ms;
	uint64_t returned_ms = load(&endpoint->returned_ms);
	uint64_t before = atomic_load_explicit(&endpoint->ejections_in_row, memory_order_relaxed);
	uint64_t good = returned_ms && now_ms > returned_ms ? (now_ms - returned_ms) / base_ms : 0;
	uint64_t times = MIN(before - MIN(before, good) + 1, EJECTION_TIMES_MAX);

	atomic_store_explicit(&endpoint->ejections_in_row, (unsigned int)times,
			      memory_order_relaxed);
	return times * base_ms;
}

bool ejection_failure(const struct upstream_conf *upstream, const struct endpoint_conf *conf,
		      uint64_t now_ms)
{
	struct endpoint *endpoint = conf->endpoint;
	struct upstream_state *state = upstream->state;
	unsigned int failures =
		atomic_fetch_add_explicit(&endpoint->failures, 1, memory_order_relaxed) + 1;
	bool ejected = false;

	if (!upstream->ejection.consecutive_failures ||
	    failures < upstream->ejection.consecutive_failures)
		return false;
	/* One at a time, or two workers could eject one too many. Whoever comes second leaves it:
	 * the next failure asks again. */
	if (atomic_exchange_explicit(&state->ejecting, true, memory_order_acquire))
		return false;
	if (!endpoint_is_ejected(endpoint, now_ms) && may_eject_one_more(upstream, now_ms)) {
		uint64_t time_ms = ejection_time(upstream, endpoint, now_ms);

		store(&endpoint->ejected_until_ms, now_ms + time_ms);
		publish(EVENT_ENDPOINT_EJECTED, endpoint, time_ms);
		ejected = true;
	}
	atomic_store_explicit(&state->ejecting, false, memory_order_release);
	return ejected;
}

uint64_t endpoint_ejected_ms(const struct endpoint *endpoint, uint64_t now_ms)
{
	uint64_t until_ms = load(&endpoint->ejected_until_ms);

	return until_ms > now_ms ? until_ms - now_ms : 0;
}

unsigned int endpoint_ramp(const struct upstream_conf *upstream, const struct endpoint *endpoint,
			   uint64_t now_ms)
{
	uint64_t from_ms = load(&endpoint->ramp_from_ms), elapsed_ms;

	if (!upstream->slow_start_ms || !from_ms)
		return 256;
	elapsed_ms = now_ms > from_ms ? now_ms - from_ms : 0;
	if (elapsed_ms >= upstream->slow_start_ms)
		return 256;
	return MAX((unsigned int)(elapsed_ms * 256 / upstream->slow_start_ms), RAMP_LEAST);
}
