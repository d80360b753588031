#include "http/refusal.h"

#include <errno.h>
#include <stdlib.h>

#include "http/local_answer.h"
#include "http/offence.h"
#include "http/worker_internal.h"

#define RULE_MAX 160

const char *refusal_name(enum refusal kind)
{
	static const char *const names[] = {
#define X(symbol, name, meaning) [REFUSAL_##symbol] = name,
		REFUSALS(X)
#undef X
	};

	return names[kind];
}

static int stats_init(struct registry_entry *entry, void *arg)
{
	struct policy_stats *stats = CONTAINER_OF(entry, struct policy_stats, entry);
	unsigned int worker_count = *(const unsigned int *)arg;
	size_t bytes = sizeof(*stats->rows) * worker_count;

	stats->rows = aligned_alloc(_Alignof(struct policy_row), bytes);
	if (!stats->rows)
		return -ENOMEM;
	memset(stats->rows, 0, bytes);
	stats->row_count = worker_count;
	return 0;
}

static void stats_release(struct registry_entry *entry)
{
	free(CONTAINER_OF(entry, struct policy_stats, entry)->rows);
}

int policy_stats_acquire(struct registry *registry, struct str name, unsigned int worker_count,
			 struct policy_stats **ret_stats)
{
	struct registry_entry *entry;

	entry = registry_acquire(registry, "policy", name, STR(""), sizeof(struct policy_stats),
				 stats_init, &worker_count, stats_release);
	if (!entry)
		return -ENOMEM;
	*ret_stats = CONTAINER_OF(entry, struct policy_stats, entry);
	return 0;
}

void policy_stats_unref(struct policy_stats *stats)
{
	if (stats)
		registry_unref(&stats->entry);
}

uint64_t policy_stats_sum(const struct policy_stats *stats, enum refusal kind)
{
	uint64_t sum = 0;

	for (unsigned int i = 0; i < stats->row_count; i++)
		sum += atomic_load_explicit(&stats->rows[i].refusals[kind], memory_order_relaxed);
	return sum;
}

void policy_refuse(struct exchange *exchange, const struct policy *policy, enum refusal kind,
		   uint16_t status, const char *said, const char *rule_fmt, ...)
{
	struct policy_stats *stats = policy->stats;
	char rule[RULE_MAX];
	va_list args;

	va_start(args, rule_fmt);
	(void)vsnprintf(rule, sizeof(rule), rule_fmt, args);
	va_end(args);
	/* Without memory for it the log has the words alone. */
	exchange->failure_detail =
		arena_printf(&exchange->arena, "policy '%.*s': %s", STR_FMT(policy->name), rule)
			.ptr;
	if (stats)
		worker_add(&stats->rows[exchange->worker->index].refusals[kind], 1);
	/* Who shows nothing has not failed yet, and that the node is busy is nobody's offence. */
	if (kind == REFUSAL_BAD_CREDENTIALS)
		offence_report(OFFENCE_AUTH_FAILURE, &exchange->peer, &exchange->sender);
	else if (kind == REFUSAL_LIMITED && status == 429)
		offence_report(OFFENCE_RATE_LIMITED, &exchange->peer, &exchange->sender);
	local_answer_start_error(exchange, status, said);
}
