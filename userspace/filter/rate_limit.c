#include "filter/rate_limit.h"

#include "http/exchange.h"
#include "http/refusal.h"
#include "http/worker_internal.h"

#define NS_PER_S   1000000000u
#define NUMBER_MAX 20 /* digits */

static uint64_t seconds_up(uint64_t ns)
{
	return (ns + NS_PER_S - 1) / NS_PER_S;
}

static char *put_text(char *at, struct str text)
{
	memcpy(at, text.ptr, text.len);
	return at + text.len;
}

static char *put_number(char *at, uint64_t number)
{
	char digits[NUMBER_MAX];
	unsigned int count = 0;

	do
		digits[NUMBER_MAX - ++count] = (char)('0' + number % 10);
	while (number /= 10);
	return put_text(at, str_make(digits + NUMBER_MAX - count, count));
}

/* ---- what the client is told ---- */

/* A list of several policies is one field. Where there is no room it is not told. */
static void add_field(struct exchange *exchange, struct str name, struct str value)
{
	for (unsigned int i = 0; i < exchange->added_count; i++) {
		struct http_field *field = &exchange->added[i];
		char *joined;

		if (!str_eq(field->name, name))
			continue;
		joined = arena_alloc_bytes(&exchange->arena, field->value.len + 2 + value.len);
		if (!joined)
			return;
		(void)put_text(put_text(put_text(joined, field->value), STR(", ")), value);
		field->value = str_make(joined, field->value.len + 2 + value.len);
		return;
	}
	if (exchange->added_count < EXCHANGE_ADDED_MAX)
		exchange->added[exchange->added_count++] =
			(struct http_field){name, value, HTTP_FIELD_OTHER};
}

/* "NAME";KEY=NUMBER;KEY=NUMBER */
static struct str item(struct arena *arena, struct str name, struct str first_key, uint64_t first,
		       struct str second_key, uint64_t second)
{
	char *room = arena_alloc_bytes(arena, name.len + 2 + 2 * ((size_t)NUMBER_MAX + 3));
	char *at = room;

	if (!room)
		return STR_NULL;
	at = put_text(put_text(put_text(at, STR("\"")), name), STR("\""));
	at = put_number(put_text(at, first_key), first);
	at = put_number(put_text(at, second_key), second);
	return str_make(room, (size_t)(at - room));
}

/* q: how many at once; w: seconds in which that comes again; r: how many still; t: until all are.
 */
static void tell(struct exchange *exchange, const struct policy *policy,
		 const struct rate_verdict *verdict)
{
	const struct rate_limit *limit = policy->conf;
	struct str promised = item(&exchange->arena, policy->name, STR(";q="), limit->rate.burst,
				   STR(";w="), limit->window_s);
	struct str left = item(&exchange->arena, policy->name, STR(";r="), verdict->remaining,
			       STR(";t="), seconds_up(verdict->reset_ns));

	if (!promised.ptr || !left.ptr)
		return;
	add_field(exchange, STR("ratelimit-policy"), promised);
	add_field(exchange, STR("ratelimit"), left);
}

static void tell_when(struct exchange *exchange, uint64_t retry_ns)
{
	char *room = arena_alloc_bytes(&exchange->arena, NUMBER_MAX);

	if (room && exchange->added_count < EXCHANGE_ADDED_MAX)
		exchange->added[exchange->added_count++] = (struct http_field){
			STR("retry-after"),
			str_make(room, (size_t)(put_number(room, seconds_up(retry_ns)) - room)),
			HTTP_FIELD_OTHER};
}

/* ---- the step ---- */

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	const struct policy *policy = exchange->route->policies[exchange->policy_at];
	const struct rate_limit *limit = conf;
	struct rate_table *table = limit->counts->table;
	struct rate_verdict verdict;
	struct limit_hash key = limit_key_hash(&limit->key, exchange, rate_table_secret(table));

	rate_table_take(table, key, &limit->rate, loop_now_ns(exchange->worker->loop), &verdict);
	if (limit->headers)
		tell(exchange, policy, &verdict);
	if (!verdict.retry_ns)
		return POLICY_NEXT;
	tell_when(exchange, verdict.retry_ns);
	policy_refuse(exchange, policy, REFUSAL_LIMITED, 429, "too many requests",
		      "more than %llu at once and %llu in %llu s",
		      (unsigned long long)limit->rate.burst, (unsigned long long)limit->count,
		      (unsigned long long)limit->period_ms / 1000);
	return POLICY_ANSWERED;
}

/* ---- runtime ---- */

static int counts_init(struct registry_entry *entry, void *arg)
{
	struct rate_counts *counts = CONTAINER_OF(entry, struct rate_counts, entry);

	counts->table = rate_table_new(*(const uint64_t *)arg);
	return counts->table ? 0 : -ENOMEM;
}

static void counts_release(struct registry_entry *entry)
{
	rate_table_free(CONTAINER_OF(entry, struct rate_counts, entry)->table);
}

/* Another number of keys is another table, and begins anew. */
static int acquire(struct registry *registry, struct str name, unsigned int worker_count,
		   void *conf)
{
	struct rate_limit *limit = conf;
	struct registry_entry *entry;
	char keys[NUMBER_MAX];

	entry = registry_acquire(registry, "rate_limit", name,
				 str_make(keys, (size_t)(put_number(keys, limit->keys) - keys)),
				 sizeof(struct rate_counts), counts_init, &limit->keys,
				 counts_release);
	if (!entry)
		return -ENOMEM;
	limit->counts = CONTAINER_OF(entry, struct rate_counts, entry);
	return 0;
}

static void release(void *conf)
{
	struct rate_limit *limit = conf;

	if (limit->counts)
		registry_unref(&limit->counts->entry);
}

const struct policy_type rate_limit_policy = {
	.key = "rate_limit",
	.conf_bytes = sizeof(struct rate_limit),
	.read = rate_limit_read,
	.write = rate_limit_write,
	.acquire = acquire,
	.release = release,
	.request_head = request_head,
};
