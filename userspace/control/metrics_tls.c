/* /metrics: certificates of listeners. */
#include "control/metrics_page.h"
#include "tls/tls_config.h"

#define NOT_AFTER "sluice_certificate_not_after_seconds"

static void write_certificate(struct metrics_page *page, const struct listener_conf *listener,
			      unsigned int index, const struct tls_certificate_facts *facts)
{
	const struct metrics_label labels[] = {
		{"listener", listener->name},
		{"subject", str_from_cstr(facts->subject)},
		{"file", listener->tls->certificates[index].cert},
	};
	char text[METRICS_LABELS_MAX];

	metrics_u64(page, NOT_AFTER, metrics_labels(labels, ARRAY_SIZE(labels), text, sizeof(text)),
		    (uint64_t)MAX(facts->not_after, 0));
}

/* A listener a piece: one may have thousands of certificates, but then it is alone with them. */
bool metrics_write_certificates(struct metrics_page *page)
{
	const struct snapshot *snapshot = page->snapshot;
	const struct certificates *certificates = &page->daemon->certificates;
	struct tls_certificate_facts facts;

	if (!page->item) {
		metrics_family(page, "sluice_certificate_renewals_total", METRICS_COUNTER,
			       "times that a listener's certificates were exchanged");
		metrics_u64(page, "sluice_certificate_renewals_total", "", certificates->renewed);
		metrics_family(page, "sluice_certificate_refusals_total", METRICS_COUNTER,
			       "times that changed files were of no use");
		metrics_u64(page, "sluice_certificate_refusals_total", "", certificates->refused);
		metrics_family(page, NOT_AFTER, METRICS_GAUGE,
			       "when a listener's certificate ends, in seconds since 1970");
	}
	if (page->item < snapshot->listener_count) {
		const struct listener_conf *listener = &snapshot->listeners[page->item++];

		for (unsigned int i = 0;
		     listener->tls && !tls_server_get_certificate(listener->tls->server, i, &facts);
		     i++)
			write_certificate(page, listener, i, &facts);
	}
	return page->item >= snapshot->listener_count;
}
