/*
 * tls_client_config: `tls` of an upstream, as it is written, and the client made of it.
 *
 * As with listeners (tls_config.h) the files are read here and what is in them is tried. Thread
 * rule: reading by the control thread or --check; what was read is immutable.
 */
#ifndef SLUICE_TLS_TLS_CLIENT_CONFIG_H
#define SLUICE_TLS_TLS_CLIENT_CONFIG_H

#include "conf/field.h"
#include "tls/tls_client.h"

struct tls_client_conf {
	struct str ca;	/* absolute name; ptr NULL: none, insecure is set */
	struct str crl; /* absolute name; ptr NULL: none */
	struct str server_name;
	struct tls_san *sans;
	unsigned int san_count;
	struct {
		struct str cert, key; /* absolute names; ptr NULL: nothing is shown */
	} client_cert;
	int min_version; /* TLS1_2_VERSION or TLS1_3_VERSION */
	bool http2;	 /* h2 is spoken, and offered by ALPN */
	bool http11;	 /* offered by ALPN */
	bool insecure;	 /* any certificate will do */

	struct tls_client *client; /* one reference, given back with the arena */
};

/*
 * Fills a new struct in context->arena. `what`: "upstream 'shop': tls". `http2`: h2 is what
 * will be spoken. -EINVAL with errors reported.
 */
int tls_client_config_read(const struct field_context *context, const struct conf_node *node,
			   const char *what, bool http2, struct tls_client_conf **ret_conf);
/* As a member of an open mapping; nothing for NULL. */
void tls_client_config_write(struct conf_writer *writer, const char *key,
			     const struct tls_client_conf *conf);

/* Makes what the workers need. 0 or a negative errno. */
int tls_client_acquire(const struct tls_client_conf *conf, unsigned int worker_count);

#endif
