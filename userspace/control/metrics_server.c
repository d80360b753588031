#include "control/metrics_server.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "control/admin_server.h"
#include "control/metrics_page.h"
#include "io/stream.h"

#define CONNECTIONS_MAX 16
#define LISTEN_BACKLOG	16

struct metrics_server {
	struct daemon *daemon;
	struct admin_server *server;
};

static int page_more(void *source, struct buf *body)
{
	return metrics_page_more(source, body);
}

static void page_done(void *source)
{
	metrics_page_free(source);
}

static void dispatch(void *arg, const struct admin_request *request,
		     struct admin_response *response)
{
	struct metrics_server *metrics = arg;

	if (!str_eq(request->path, STR("/metrics"))) {
		admin_fail(response, 404, "there is only /metrics");
		return;
	}
	if (!str_eq(request->method, STR("GET")) && !str_eq(request->method, STR("HEAD"))) {
		admin_fail(response, 405, "/metrics: only GET and HEAD");
		response->allow = "GET, HEAD";
		return;
	}
	response->source = metrics_page_new(metrics->daemon);
	if (!response->source) {
		admin_fail(response, 503, "out of memory");
		return;
	}
	response->status = 200;
	response->content_type = METRICS_CONTENT_TYPE;
	response->more = page_more;
	response->more_done = page_done;
}

int metrics_server_new(struct daemon *daemon, const struct node_conf *node,
		       struct metrics_server **ret_metrics, struct error *err)
{
	struct metrics_server *metrics = calloc(1, sizeof(*metrics));
	const struct admin_server_config config = {
		.what = "node.metrics",
		.connections_max = CONNECTIONS_MAX,
		.dispatch = dispatch,
		.arg = metrics,
	};
	int fd, r;

	if (!metrics)
		return error_set(err, -ENOMEM, "out of memory for node.metrics");
	metrics->daemon = daemon;
	r = listen_socket_open(&node->metrics_addr, 0, LISTEN_BACKLOG, &fd, err);
	if (r)
		error_prefix(err, "node.metrics");
	else
		r = admin_server_new(daemon->loop, fd, &config, &metrics->server, err);
	if (r) {
		free(metrics);
		return r;
	}
	*ret_metrics = metrics;
	return 0;
}

void metrics_server_stop(struct metrics_server *metrics)
{
	if (metrics)
		admin_server_stop(metrics->server);
}

bool metrics_server_is_stopped(const struct metrics_server *metrics)
{
	return !metrics || admin_server_is_stopped(metrics->server);
}

void metrics_server_free(struct metrics_server *metrics)
{
	if (!metrics)
		return;
	admin_server_free(metrics->server);
	free(metrics);
}
