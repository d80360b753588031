/*
 * tls_config: `tls` of a listener, as it is written, and the server made of it.
 *
 * The files are read here and what is in them is tried: a key that does not fit its certificate is
 * an error of the configuration, not of the first handshake. Thread rule: reading by the control
 * thread or --check; what was read is immutable.
 */
#ifndef SLUICE_TLS_TLS_CONFIG_H
#define SLUICE_TLS_TLS_CONFIG_H

#include "base/registry.h"
#include "conf/field.h"
#include "tls/tls_context.h"

struct tls_certificate_conf {
	struct str cert, key;	  /* absolute names of files */
	struct str ocsp;	  /* ptr NULL: nothing is stapled */
	const char *ocsp_problem; /* why it is not stapled, as it was read first; NULL: it is */
};

enum tls_ktls { TLS_KTLS_AUTO, TLS_KTLS_OFF, TLS_KTLS_REQUIRE };

struct tls_client_auth_conf {
	int mode;      /* enum tls_client_auth */
	struct str ca; /* absolute; ptr NULL: none, mode is off */
	struct str crl;
	uint64_t depth;
};

struct tls_tickets_conf {
	bool enabled;
	uint64_t rotate_ms;
	struct str file; /* ptr NULL: keys of this daemon alone */
	struct str keys; /* what stands in it; wiped with the arena */
};

struct tls_server_conf {
	struct tls_certificate_conf *certificates;
	unsigned int certificate_count; /* >= 1 */
	int min_version;		/* TLS1_2_VERSION or TLS1_3_VERSION */
	bool http11, h2;		/* offered by ALPN */
	struct str ciphers;		/* of TLS 1.2, in OpenSSL's words; ptr NULL: ours */
	int ktls;			/* enum tls_ktls */
	struct tls_client_auth_conf client_auth;
	struct tls_tickets_conf tickets;

	struct str listener;
	struct tls_server *server; /* one reference, given back with the arena */
};

/*
 * Fills a new struct in context->arena. `what`: "listener 'web': tls"; `listener`: its name.
 * -EINVAL with errors reported.
 */
int tls_server_config_read(const struct field_context *context, const struct conf_node *node,
			   const char *what, struct str listener,
			   struct tls_server_conf **ret_conf);
/* As a member of an open mapping; nothing for NULL. */
void tls_server_config_write(struct conf_writer *writer, const char *key,
			     const struct tls_server_conf *conf);

/* Every file it names, absolute. Stops at the first non-zero of visit and returns it. */
int tls_server_config_walk_files(const struct tls_server_conf *conf,
				 int (*visit)(struct str path, void *arg), void *arg);
/*
 * Reads the files again and makes the server use what is in them now, from the next handshake on.
 * On failure, with the reason, it goes on with what it had. The control thread.
 */
int tls_server_renew(struct registry *registry, const struct tls_server_conf *conf,
		     unsigned int worker_count, struct error *err);

/* Makes what the workers need, ticket keys of the registry included. 0 or a negative errno. */
int tls_server_acquire(struct registry *registry, const struct tls_server_conf *conf,
		       unsigned int worker_count);

#endif
