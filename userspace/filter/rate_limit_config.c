#include <errno.h>
#include <inttypes.h>

#include "base/util.h"
#include "filter/rate_limit.h"

#define WHAT_MAX  160
#define VALUE_MAX 96
#define NS_PER_MS 1000000u
#define COUNT_MAX 1000000000u
#define BURST_MAX 1000000000u
/* What a key may owe at most: 100 days, far from where sums of nanoseconds end. */
#define OWED_MAX_NS ((uint64_t)100 * 86400 * 1000 * NS_PER_MS)

static const struct {
	uint64_t ms;
	const char *unit;
} periods[] = {{1000, "s"}, {60000, "m"}, {3600000, "h"}, {86400000, "d"}};

static int rate_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct rate_limit *limit = target;
	char value[VALUE_MAX];

	if (node->type == CONF_SCALAR &&
	    !units_parse_rate(node->value, &limit->count, &limit->period_ms) && limit->count &&
	    limit->count <= COUNT_MAX) {
		limit->rate.interval_ns = limit->period_ms * NS_PER_MS / limit->count;
		return 0;
	}
	conf_error(context->errors, node,
		   "%s: rate: expected a rate such as 100/s, 5/m or 1000/h, got %s", context->what,
		   conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

static void rate_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct rate_limit *limit = target;
	char text[32];

	for (size_t i = 0; i < ARRAY_SIZE(periods); i++) {
		if (periods[i].ms != limit->period_ms)
			continue;
		(void)snprintf(text, sizeof(text), "%" PRIu64 "/%s", limit->count, periods[i].unit);
		conf_write_plain(writer, key, text);
	}
}

static int key_read(const struct field_context *context, const struct conf_node *node, void *target)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: key", context->what);
	return limit_key_read(context, node, what, &((struct rate_limit *)target)->key);
}

static void key_print(struct conf_writer *writer, const char *key, const void *target)
{
	limit_key_write(writer, key, &((const struct rate_limit *)target)->key);
}

static const struct field rate_limit_fields[] = {
	{.key = "rate",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = rate_read,
	 .print = rate_print},
	{.key = "burst",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct rate_limit, rate.burst),
	 .min = 1,
	 .max = BURST_MAX},
	{.key = "key", .kind = FIELD_CUSTOM, .read = key_read, .print = key_print},
	{.key = "keys",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct rate_limit, keys),
	 .min = 1024,
	 .max = (uint64_t)16 << 20,
	 .default_text = "65536"},
	{.key = "headers",
	 .kind = FIELD_BOOL,
	 .offset = offsetof(struct rate_limit, headers),
	 .default_text = "true"},
	{.key = "store", .kind = FIELD_NOT_YET},
	{.key = "on_store_failure", .kind = FIELD_NOT_YET},
};

int rate_limit_read(const struct field_context *context, const struct conf_node *node,
		    const char *what, void *conf)
{
	struct rate_limit *limit = conf;
	uint64_t window_ms;

	if (field_read(context, rate_limit_fields, ARRAY_SIZE(rate_limit_fields), node, what, conf))
		return -EINVAL;
	if (!limit->rate.burst) /* what comes in one second, as it is written or at least one */
		limit->rate.burst = MAX(limit->count * 1000 / limit->period_ms, (uint64_t)1);
	if (limit->rate.burst > OWED_MAX_NS / limit->rate.interval_ns) {
		conf_error(context->errors, conf_get(node, "burst"),
			   "%s: burst: it would take more than 100 days until all of it is there",
			   what);
		return -EINVAL;
	}
	if (!limit->key.count && limit_key_default(context->arena, &limit->key))
		return field_no_memory(context, node);
	window_ms = limit->rate.interval_ns * limit->rate.burst / NS_PER_MS;
	limit->window_s = MAX((window_ms + 999) / 1000, (uint64_t)1);
	return 0;
}

void rate_limit_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, rate_limit_fields, ARRAY_SIZE(rate_limit_fields), conf);
}
