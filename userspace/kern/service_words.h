/*
 * service_words: a service in words, as people say it on the command line and as the overlay keeps
 * it. Where several are possible they are joined by commas: "192.0.2.1,2001:db8::1",
 * "53,1000-2000". Thread rule: none.
 */
#ifndef SLUICE_KERN_SERVICE_WORDS_H
#define SLUICE_KERN_SERVICE_WORDS_H

#include "kern/service.h"

#define SERVICE_DRAIN_DEFAULT_MS 30000

struct service_words {
	const char *name;     /* [a-z0-9][a-z0-9_-]* */
	const char *address;  /* IP addresses */
	const char *ports;    /* ports, ranges, or "any" */
	const char *protocol; /* "tcp", "udp", "any" */
	const char *forward;  /* "ipip", "nat" */
	const char *affinity; /* "five-tuple" (or NULL), "source" */
	const char *drain_ms; /* number; NULL: the default */
	const char *slots;    /* number; NULL or "auto": chosen */
	/* Of its health; NULL: as in the configuration. */
	const char *probe; /* "tcp"; NULL: nobody probes, and the others are NULL, too */
	const char *health_port, *interval_ms, *timeout_ms, *rise, *fall; /* numbers */
};

/*
 * A service without backends, from the CLI, to be released by service_conf_free(). -EINVAL with the
 * member that is wrong; whether it goes with others is another question (service_check.h).
 */
int service_words_read(const struct service_words *words, struct service_conf **ret_conf,
		       struct error *err);
struct service_conf *service_conf_copy(const struct service_conf *conf);
void service_conf_free(struct service_conf *conf);

/* "53", "1000-2000" or "any". -EINVAL. */
int service_ports_parse(struct str text, struct service_ports *ret_ports);
const char *service_ports_format(const struct service_ports *ports, char *buf, size_t buf_len);
/* "tcp", "udp", "any" */
const char *service_protocol_name(uint8_t protocol);
const char *service_forward_name(enum sl_forward forward);
const char *service_affinity_name(enum sl_affinity affinity);

#endif
