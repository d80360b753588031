#include "upstream/retry.h"

#include "base/util.h"

#define TOKEN	1000 /* one retry */
#define TICK_MS 10   /* between two reckonings */

static uint64_t earned(uint64_t calls, uint64_t budget, uint64_t elapsed_ms)
{
	return calls * budget * TOKEN / 10000 + elapsed_ms * RETRY_FLOOR_PER_S * TOKEN / 1000;
}

void retry_budget_init(struct upstream_state *state, uint64_t now_ms)
{
	atomic_init(&state->budget_tokens, (int64_t)earned(0, 0, RETRY_WINDOW_MS));
	atomic_init(&state->budget_updated_ms, now_ms);
}

static void reckon(struct upstream_state *state, uint64_t budget, uint64_t now_ms)
{
	uint_fast64_t updated_ms =
		atomic_load_explicit(&state->budget_updated_ms, memory_order_acquire);
	uint64_t elapsed_ms = now_ms > updated_ms ? now_ms - updated_ms : 0;
	uint64_t calls, seen, fresh;
	int64_t faded;

	/* Whoever wins the exchange reckons; the others spend what there is. */
	if (elapsed_ms < TICK_MS ||
	    !atomic_compare_exchange_strong_explicit(&state->budget_updated_ms, &updated_ms, now_ms,
						     memory_order_acq_rel, memory_order_relaxed))
		return;
	calls = upstream_counter_sum(state, UPSTREAM_COUNTER_CALLS);
	seen = atomic_load_explicit(&state->budget_seen_calls, memory_order_relaxed);
	atomic_store_explicit(&state->budget_seen_calls, calls, memory_order_relaxed);
	fresh = calls > seen ? calls - seen : 0;
	/* Of a longer time only a window's part counts, and nothing of before. */
	if (elapsed_ms > RETRY_WINDOW_MS) {
		fresh = fresh * RETRY_WINDOW_MS / elapsed_ms;
		elapsed_ms = RETRY_WINDOW_MS;
	}
	faded = atomic_load_explicit(&state->budget_tokens, memory_order_relaxed) *
		(int64_t)elapsed_ms / RETRY_WINDOW_MS;
	atomic_fetch_add_explicit(&state->budget_tokens,
				  (int64_t)earned(fresh, budget, elapsed_ms) - faded,
				  memory_order_relaxed);
}

bool retry_budget_take(struct upstream_state *state, uint64_t budget, uint64_t now_ms)
{
	int_fast64_t tokens;

	reckon(state, budget, now_ms);
	tokens = atomic_load_explicit(&state->budget_tokens, memory_order_relaxed);
	do {
		if (tokens < TOKEN)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&state->budget_tokens, &tokens,
							tokens - TOKEN, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

bool retry_method_is_idempotent(enum http_method method)
{
	switch (method) {
	case HTTP_METHOD_GET:
	case HTTP_METHOD_HEAD:
	case HTTP_METHOD_PUT:
	case HTTP_METHOD_DELETE:
	case HTTP_METHOD_OPTIONS:
	case HTTP_METHOD_TRACE:
		return true;
	default:
		return false;
	}
}

uint32_t retry_cause_of_status(uint16_t status)
{
	switch (status) {
	case 502:
		return UPSTREAM_RETRY_502;
	case 503:
		return UPSTREAM_RETRY_503;
	case 504:
		return UPSTREAM_RETRY_504;
	default:
		return 0;
	}
}
