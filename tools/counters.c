#include "tools/counters.h"

#include <errno.h>

#include "tools/client.h"
#include "tools/pinned.h"

static const struct output_column columns[] = {
	{"REASON", "name", OUTPUT_TEXT, NULL},
	{"PACKETS", "packets", OUTPUT_COUNT, NULL},
	{"BYTES", "bytes", OUTPUT_BYTES, NULL},
	{"MEANING", "meaning", OUTPUT_TEXT, NULL},
	{NULL, NULL, 0, NULL},
};

static const struct output_section section = {
	.kind = OUTPUT_TABLE,
	.path = "reasons",
	.required = true,
	.columns = columns,
	.empty = "There are no counters.",
};
const struct output_view counters_view = {&section, 1};

int counters_load(struct cli *cli, bool *ret_daemon, json_t **ret_doc)
{
	int error = client_try(cli, "GET", "/v1/counters", NULL, ret_doc);

	*ret_daemon = !error;
	if (error != -ENOTCONN)
		return error;
	error = pinned_counters(cli, ret_doc);
	if (!error)
		pinned_print_note(cli);
	return error;
}
