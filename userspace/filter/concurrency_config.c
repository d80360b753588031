#include <errno.h>

#include "filter/concurrency.h"

#define COUNT_MAX 1000000

static const struct field concurrency_fields[] = {
	{.key = "max",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct concurrency, max),
	 .required = true,
	 .min = 1,
	 .max = COUNT_MAX},
	{.key = "queue",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct concurrency, queue),
	 .default_text = "0",
	 .min = 0,
	 .max = COUNT_MAX},
	{.key = "wait",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct concurrency, wait_ms),
	 .default_text = "1s",
	 .min = 10,
	 .max = 10 * 60 * 1000},
};

int concurrency_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, void *conf)
{
	struct concurrency *concurrency = conf;

	if (field_read(context, concurrency_fields, ARRAY_SIZE(concurrency_fields), node, what,
		       concurrency))
		return -EINVAL;
	if (concurrency->queue || !conf_get(node, "wait"))
		return 0;
	conf_error(context->errors, conf_get(node, "wait"),
		   "%s: wait: nobody waits without a 'queue'", what);
	return -EINVAL;
}

void concurrency_write(struct conf_writer *writer, const void *conf)
{
	const struct concurrency *concurrency = conf;

	field_write(writer, concurrency_fields,
		    ARRAY_SIZE(concurrency_fields) - (concurrency->queue ? 0 : 1), conf);
}
