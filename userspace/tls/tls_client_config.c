#include "tls/tls_client_config.h"

#include <errno.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "conf/names.h"
#include "tls/tls_files.h"

#define WHAT_MAX  160
#define VALUE_MAX 96

#define LIST_BYTES_MAX (64u << 20) /* revocations of a large authority */

static const struct field_name version_names[] = {
	{.name = "1.2", .value = TLS1_2_VERSION},
	{.name = "1.3", .value = TLS1_3_VERSION},
};

static const struct field client_cert_fields[] = {
	{.key = "cert",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct tls_client_conf, client_cert.cert),
	 .required = true},
	{.key = "key",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct tls_client_conf, client_cert.key),
	 .required = true},
};

static int client_cert_read(const struct field_context *context, const struct conf_node *node,
			    void *target)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: client_cert", context->what);
	return field_read(context, client_cert_fields, ARRAY_SIZE(client_cert_fields), node, what,
			  target);
}

static void client_cert_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct tls_client_conf *conf = target;

	if (!conf->client_cert.cert.ptr)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, client_cert_fields, ARRAY_SIZE(client_cert_fields), conf);
	conf_write_close(writer);
}

/* ---- lists ---- */

/* No two of them can be taken for each other: neither addresses nor names have a scheme. */
static enum tls_san_type san_type(struct str text)
{
	struct ip_addr addr;

	if (!ip_addr_parse(text, &addr))
		return TLS_SAN_IP;
	return str_find_byte(text, ':') < 0 ? TLS_SAN_DNS : TLS_SAN_URI;
}

static int san_read(const struct field_context *context, const struct conf_node *node, void *target)
{
	struct tls_client_conf *conf = target;
	unsigned int count = 0;
	char what[WHAT_MAX];
	struct str *texts;

	(void)snprintf(what, sizeof(what), "%s: san", context->what);
	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	if (!count || count > TLS_SANS_MAX) {
		conf_error(context->errors, node, "%s: needs 1 to %d names, has %u", what,
			   TLS_SANS_MAX, count);
		return -EINVAL;
	}
	conf->sans = arena_new_array(context->arena, struct tls_san, count);
	if (!conf->sans)
		return field_no_memory(context, node);
	for (unsigned int i = 0; i < count; i++)
		conf->sans[i] = (struct tls_san){san_type(texts[i]), texts[i]};
	conf->san_count = count;
	return 0;
}

static void san_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct tls_client_conf *conf = target;

	if (!conf->san_count)
		return;
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->san_count; i++)
		conf_write_str(writer, NULL, conf->sans[i].value);
	conf_write_close(writer);
}

static int alpn_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct tls_client_conf *conf = target;
	const char *spoken = conf->http2 ? "h2" : "http/1.1";
	char what[WHAT_MAX], value[VALUE_MAX];
	unsigned int count = 0;
	struct str *texts;
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: alpn", context->what);
	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	conf->http11 = false; /* an empty list: no ALPN */
	if (conf->http2 && !count) {
		conf_error(context->errors, node, "%s: HTTP/2 over TLS needs h2", what);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < count; i++) {
		if (str_eq_cstr(texts[i], spoken)) {
			conf->http11 = !conf->http2;
			continue;
		}
		conf_error(context->errors, node,
			   "%s: %s: expected %s, which is what 'protocol' says", what,
			   str_quote(texts[i], value, sizeof(value)), spoken);
		result = -EINVAL;
	}
	return result;
}

static void alpn_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct tls_client_conf *conf = target;

	conf_write_open_list(writer, key);
	if (conf->http2)
		conf_write_plain(writer, NULL, "h2");
	if (conf->http11)
		conf_write_plain(writer, NULL, "http/1.1");
	conf_write_close(writer);
}

static const struct field client_fields[] = {
	{.key = "ca", .kind = FIELD_STRING, .offset = offsetof(struct tls_client_conf, ca)},
	{.key = "crl", .kind = FIELD_STRING, .offset = offsetof(struct tls_client_conf, crl)},
	{.key = "server_name",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct tls_client_conf, server_name)},
	{.key = "san", .kind = FIELD_CUSTOM, .read = san_read, .print = san_print},
	{.key = "client_cert",
	 .kind = FIELD_CUSTOM,
	 .read = client_cert_read,
	 .print = client_cert_print},
	{.key = "min_version",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct tls_client_conf, min_version),
	 .names = version_names,
	 .name_count = ARRAY_SIZE(version_names),
	 .default_text = "1.2"},
	{.key = "alpn", .kind = FIELD_CUSTOM, .read = alpn_read, .print = alpn_print},
	{.key = "insecure_skip_verify",
	 .kind = FIELD_BOOL,
	 .offset = offsetof(struct tls_client_conf, insecure),
	 .default_text = "off"},
};

/* ---- the whole ---- */

/* Whom to believe is said in full, or it is said that nobody asks. */
static int check_trust(const struct field_context *context, const struct conf_node *node,
		       const char *what, const struct tls_client_conf *conf)
{
	const struct conf_node *ca = conf_get(node, "ca"), *san = conf_get(node, "san");
	int result = 0;

	if (conf->insecure && conf_get(node, "crl")) {
		conf_error_key(context->errors, conf_get(node, "crl"),
			       "%s: 'crl' is of no use with 'insecure_skip_verify'", what);
		return -EINVAL;
	}
	if (conf->insecure && (ca || san)) {
		conf_error_key(context->errors, ca ? ca : san,
			       "%s: 'ca' and 'san' are of no use with 'insecure_skip_verify'",
			       what);
		return -EINVAL;
	}
	if (conf->insecure)
		return 0;
	if (!ca) {
		conf_error(context->errors, node,
			   "%s: needs 'ca', the authorities that may sign the server's certificate",
			   what);
		result = -EINVAL;
	}
	if (!san && !conf_get(node, "server_name")) {
		conf_error(context->errors, node,
			   "%s: needs 'server_name' or 'san': the names that the server's "
			   "certificate may have",
			   what);
		result = -EINVAL;
	}
	return result;
}

static void release_client(void *client)
{
	tls_client_unref(client);
}

/* `result` so far: with errors the files are read all the same, but no client is made. */
static int make_client(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct tls_client_conf *conf, int result)
{
	_cleanup_(value_file_done)
	struct value_file ca = {.content = {.data = NULL}};
	_cleanup_(value_file_done)
	struct value_file crl = {.content = {.data = NULL}};
	_cleanup_(value_file_done)
	struct value_file chain = {.content = {.data = NULL}};
	_cleanup_(tls_key_file_done)
	struct value_file key = {.content = {.data = NULL}};
	const struct conf_node *section = conf_get(node, "client_cert");
	char section_what[WHAT_MAX];
	struct tls_client_settings settings = {
		.server_name = conf->server_name,
		.sans = conf->sans,
		.san_count = conf->san_count,
		.insecure = conf->insecure,
		.min_version = conf->min_version,
		.http11 = conf->http11,
		.h2 = conf->http2,
	};
	struct error err = {0};
	int r;

	(void)snprintf(section_what, sizeof(section_what), "%s: client_cert", what);
	if (conf->ca.ptr &&
	    tls_read_file(context, node, "ca", what, TLS_FILE_BYTES_MAX, &conf->ca, &ca))
		result = -EINVAL;
	if (conf->crl.ptr &&
	    tls_read_file(context, node, "crl", what, LIST_BYTES_MAX, &conf->crl, &crl))
		result = -EINVAL;
	if (conf->client_cert.cert.ptr &&
	    tls_read_file(context, section, "cert", section_what, TLS_FILE_BYTES_MAX,
			  &conf->client_cert.cert, &chain))
		result = -EINVAL;
	if (conf->client_cert.key.ptr &&
	    tls_read_file(context, section, "key", section_what, TLS_FILE_BYTES_MAX,
			  &conf->client_cert.key, &key))
		result = -EINVAL;
	if (result)
		return result;
	if (conf->ca.ptr)
		settings.ca_pem = buf_str(&ca.content);
	if (conf->crl.ptr)
		settings.crl_pem = buf_str(&crl.content);
	if (conf->client_cert.cert.ptr) {
		settings.chain_pem = buf_str(&chain.content);
		settings.key_pem = buf_str(&key.content);
	}
	r = tls_client_new(&settings, &conf->client, &err);
	if (r == -ENOMEM)
		return field_no_memory(context, node);
	if (r) {
		conf_error(context->errors, node, "%s: %s", what, err.text);
		return -EINVAL;
	}
	if (!arena_at_end(context->arena, release_client, conf->client)) {
		tls_client_unref(TAKE_PTR(conf->client));
		return field_no_memory(context, node);
	}
	return 0;
}

int tls_client_config_read(const struct field_context *context, const struct conf_node *node,
			   const char *what, bool http2, struct tls_client_conf **ret_conf)
{
	struct tls_client_conf *conf = arena_new(context->arena, struct tls_client_conf);
	int r;

	if (!conf)
		return field_no_memory(context, node);
	conf->http2 = http2;
	conf->http11 = !http2;
	r = field_read(context, client_fields, ARRAY_SIZE(client_fields), node, what, conf);
	if (r && node->type != CONF_MAPPING)
		return r;
	/* Whatever became of the others: all errors are told at once. */
	if (check_trust(context, node, what, conf))
		r = -EINVAL;
	r = make_client(context, node, what, conf, r);
	if (!r)
		*ret_conf = conf;
	return r;
}

void tls_client_config_write(struct conf_writer *writer, const char *key,
			     const struct tls_client_conf *conf)
{
	if (!conf)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, client_fields, ARRAY_SIZE(client_fields), conf);
	conf_write_close(writer);
}

int tls_client_acquire(const struct tls_client_conf *conf, unsigned int worker_count)
{
	struct error err = {0};
	int r = tls_client_prepare(conf->client, worker_count, &err);

	if (r)
		log_error("tls", "%s", err.text);
	return r;
}
