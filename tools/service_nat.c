/*
 * `sluice service nat`: the flows of forward mode nat, printed as they are found, since there may
 * be millions. Read from the pins, with a daemon and without.
 */
#include <errno.h>

#include "base/clock.h"
#include "kern/nat_view.h"
#include "kern/service_words.h"
#include "tools/client.h"
#include "tools/output.h"
#include "tools/pinned.h"
#include "tools/service.h"

#define FLUSH_BYTES 65536
#define STOP	    1 /* a visitor's answer: enough */

struct listing {
	struct cli *cli;
	const char *service, *state;
	struct ip_prefix client;
	struct ip_addr backend;
	bool has_client, has_backend;
	uint64_t limit, shown, matched;
	int error; /* of the output */
};

static bool is_wanted(const struct listing *listing, const struct nat_flow *flow)
{
	struct ip_addr client = sock_addr_ip(&flow->client), backend = sock_addr_ip(&flow->backend);

	if (listing->service && (!flow->service || strcmp(flow->service, listing->service)))
		return false;
	if (listing->state && strcmp(flow->state, listing->state))
		return false;
	return (!listing->has_client || ip_prefix_contains(&listing->client, &client)) &&
	       (!listing->has_backend || ip_addr_equal(&listing->backend, &backend));
}

static int print_row(struct listing *listing, const struct nat_flow *flow)
{
	char client[ADDR_TEXT_MAX], called[ADDR_TEXT_MAX], source[ADDR_TEXT_MAX];
	char backend[ADDR_TEXT_MAX];
	struct buf *out = &listing->cli->out;

	(void)sock_addr_format(&flow->client, client, sizeof(client));
	(void)sock_addr_format(&flow->called, called, sizeof(called));
	(void)sock_addr_format(&flow->source, source, sizeof(source));
	(void)sock_addr_format(&flow->backend, backend, sizeof(backend));
	/* Names are of [a-z0-9_-]: nothing to escape. */
	if (!listing->cli->json)
		return buf_printf(
			out, "%-15s  %-5s  %-21s  %-21s  %-21s  %-21s  %-12s %6llus %6llus\n",
			flow->service ? flow->service : "-", service_protocol_name(flow->protocol),
			client, called, source, backend, flow->state,
			(unsigned long long)flow->idle_s, (unsigned long long)flow->left_s);
	return buf_printf(
		out,
		"%s\n  {\"service\": %s%s%s, \"protocol\": \"%s\", \"client\": \"%s\", "
		"\"called\": \"%s\", \"source\": \"%s\", \"backend\": \"%s\", \"state\": \"%s\", "
		"\"idle_s\": %llu, \"left_s\": %llu, \"rst_seen\": %s}",
		listing->shown ? "," : "", flow->service ? "\"" : "",
		flow->service ? flow->service : "null", flow->service ? "\"" : "",
		service_protocol_name(flow->protocol), client, called, source, backend, flow->state,
		(unsigned long long)flow->idle_s, (unsigned long long)flow->left_s,
		flow->has_rst ? "true" : "false");
}

static int visit(const struct nat_flow *flow, void *arg)
{
	struct listing *listing = arg;

	if (!is_wanted(listing, flow))
		return 0;
	listing->matched++;
	if (listing->shown == listing->limit)
		return 0;
	listing->error = print_row(listing, flow);
	listing->shown++;
	if (!listing->error && listing->cli->out.len >= FLUSH_BYTES)
		listing->error = cli_flush(listing->cli);
	return listing->error ? STOP : 0;
}

static void print_head(struct cli *cli)
{
	if (cli->json)
		p_text(cli, "{\"flows\": [");
	else
		p_text(cli, "%-15s  %-5s  %-21s  %-21s  %-21s  %-21s  %-12s %7s %7s\n", "SERVICE",
		       "PROTO", "CLIENT", "CALLED", "SOURCE", "BACKEND", "STATE", "IDLE", "LEFT");
}

/* What was printed before an error cannot be taken back: the document ends with it. */
static int print_tail(struct listing *listing, uint64_t expired, int error)
{
	struct cli *cli = listing->cli;
	const char *why = error ? strerrordesc_np(-error) : NULL;

	if (cli->json)
		p_text(cli, "\n], \"not_shown\": %llu, \"expired\": %llu%s%s%s}\n",
		       (unsigned long long)(listing->matched - listing->shown),
		       (unsigned long long)expired,
		       error ? ", \"error\": \"cannot read the tables: " : "", error ? why : "",
		       error ? "\"" : "");
	else if (listing->matched > listing->shown)
		p_text(cli, "%llu more are not shown (limit).\n",
		       (unsigned long long)(listing->matched - listing->shown));
	if (!error)
		return 0;
	cli->failure_is_printed = cli->json;
	return p_err(cli, error, "cannot read the tables of source ports: %s", why);
}

static int list(struct listing *listing)
{
	_cleanup_(pinned_close)
	struct pinned pins = PINNED_NONE;
	_cleanup_json_ json_t *status = NULL;
	struct service_maps maps;
	struct error err = {0};
	uint64_t expired = 0;
	bool lives;
	int error = pinned_find(listing->cli, &status, &lives);

	if (!error)
		error = pinned_open(listing->cli, true, &pins);
	if (error)
		return error;
	error = service_maps_open(pins.dataplane, true, &maps, &err);
	if (error)
		return p_err(listing->cli, error, "%s", err.text);
	print_head(listing->cli);
	error = nat_view_walk(pins.dataplane, &maps, clock_mono_ns(), visit, listing, &expired);
	service_maps_close(&maps);
	if (error == STOP)
		return listing->error;
	return print_tail(listing, expired, error);
}

static int read_filters(struct cli *cli, struct listing *listing, const char *client,
			const char *backend)
{
	struct error err = {0};
	char quoted[80];

	if (listing->state && !nat_state_exists(listing->state))
		return p_usage(cli,
			       "unknown state %s; expected syn, answered, established, closed, "
			       "udp_new or udp",
			       str_quote(str_from_cstr(listing->state), quoted, sizeof(quoted)));
	if (client && ip_prefix_parse(str_from_cstr(client), &listing->client, &err))
		return p_usage(cli, "client: %s", err.text);
	if (backend && ip_addr_parse(str_from_cstr(backend), &listing->backend))
		return p_usage(cli, "backend: %s is not an IP address",
			       str_quote(str_from_cstr(backend), quoted, sizeof(quoted)));
	listing->has_client = client;
	listing->has_backend = backend;
	return 0;
}

int service_nat(struct cli *cli, struct args *args)
{
	struct listing listing = {.cli = cli, .limit = UINT64_MAX};
	const char *client = NULL, *backend = NULL, *limit = NULL;
	const struct arg_key keys[] = {
		{"name", "NAME", &listing.service},
		{"client", "CIDR", &client},
		{"backend", "ADDRESS", &backend},
		{"state", "STATE", &listing.state},
		{"limit", "N", &limit},
		{NULL, NULL, NULL},
	};
	int error = args_read_keys(cli, args, keys);

	if (!error)
		error = args_parse_number(cli, "limit", limit, 1, UINT32_MAX, &listing.limit);
	if (!error)
		error = read_filters(cli, &listing, client, backend);
	return error ? error : list(&listing);
}
