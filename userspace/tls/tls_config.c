#include "tls/tls_config.h"

#include <errno.h>
#include <time.h>

#include <openssl/crypto.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "conf/names.h"
#include "tls/tls_files.h"
#include "tls/tls_ktls.h"
#include "tls/tls_tickets.h"

#define WHAT_MAX	160
#define VALUE_MAX	96
#define LIST_BYTES_MAX	(64u << 20) /* revocations of a large authority */
#define MINUTE_MS	60000
#define WEEK_MS		((uint64_t)7 * 24 * 60 * MINUTE_MS)
#define RENEW_BYTES_MAX ((size_t)64 << 20)

DEFINE_FREEP(struct conf_errors, conf_errors_free)

static const struct field_name version_names[] = {
	{.name = "1.2", .value = TLS1_2_VERSION},
	{.name = "1.3", .value = TLS1_3_VERSION},
};

static const struct field_name ktls_names[] = {
	{.name = "auto", .value = TLS_KTLS_AUTO},
	{.name = "off", .value = TLS_KTLS_OFF},
	{.name = "require", .value = TLS_KTLS_REQUIRE},
};

static const struct field_name client_auth_names[] = {
	{.name = "off", .value = TLS_CLIENT_AUTH_OFF},
	{.name = "optional", .value = TLS_CLIENT_AUTH_OPTIONAL},
	{.name = "require", .value = TLS_CLIENT_AUTH_REQUIRE},
};

static const struct field certificate_fields[] = {
	{.key = "cert",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct tls_certificate_conf, cert),
	 .required = true},
	{.key = "key",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct tls_certificate_conf, key),
	 .required = true},
	{.key = "ocsp",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct tls_certificate_conf, ocsp)},
};

static const struct field client_auth_fields[] = {
	{.key = "mode",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct tls_client_auth_conf, mode),
	 .names = client_auth_names,
	 .name_count = ARRAY_SIZE(client_auth_names),
	 .default_text = "off"},
	{.key = "ca", .kind = FIELD_STRING, .offset = offsetof(struct tls_client_auth_conf, ca)},
	{.key = "crl", .kind = FIELD_STRING, .offset = offsetof(struct tls_client_auth_conf, crl)},
	{.key = "depth",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct tls_client_auth_conf, depth),
	 .min = 1,
	 .max = 16,
	 .default_text = "4"},
};

static const struct field ticket_fields[] = {
	{.key = "enabled",
	 .kind = FIELD_BOOL,
	 .offset = offsetof(struct tls_tickets_conf, enabled),
	 .default_text = "on"},
	{.key = "rotate",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct tls_tickets_conf, rotate_ms),
	 .min = MINUTE_MS,
	 .max = WEEK_MS,
	 .default_text = "12h"},
	{.key = "file", .kind = FIELD_STRING, .offset = offsetof(struct tls_tickets_conf, file)},
};

/* ---- lists ---- */

static int read_certificate(const struct field_context *context, const struct conf_node *node,
			    unsigned int number, struct tls_certificate_conf *certificate)
{
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: certificate %u", context->what, number);
	return field_read(context, certificate_fields, ARRAY_SIZE(certificate_fields), node, what,
			  certificate);
}

static int certificates_read(const struct field_context *context, const struct conf_node *node,
			     void *target)
{
	struct tls_server_conf *conf = target;
	char value[VALUE_MAX];
	int result = 0;

	if (node->type != CONF_SEQUENCE || !node->count) {
		conf_error(context->errors, node,
			   "%s: certificates: expected a list of { cert: FILE, key: FILE }, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	conf->certificates =
		arena_new_array(context->arena, struct tls_certificate_conf, node->count);
	if (!conf->certificates)
		return field_no_memory(context, node);
	conf_for_each (item, node) {
		struct tls_certificate_conf *certificate =
			&conf->certificates[conf->certificate_count++];

		if (read_certificate(context, item, conf->certificate_count, certificate))
			result = -EINVAL;
	}
	return result;
}

static void certificates_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct tls_server_conf *conf = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->certificate_count; i++) {
		conf_write_open_item(writer);
		field_write(writer, certificate_fields, ARRAY_SIZE(certificate_fields),
			    &conf->certificates[i]);
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

static int alpn_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct tls_server_conf *conf = target;
	char what[WHAT_MAX], value[VALUE_MAX];
	unsigned int count = 0;
	struct str *texts;
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: alpn", context->what);
	if (texts_read(context, node, what, &texts, &count))
		return -EINVAL;
	conf->http11 = conf->h2 = false;
	for (unsigned int i = 0; i < count; i++) {
		if (str_eq_cstr(texts[i], "http/1.1")) {
			conf->http11 = true;
		} else if (str_eq_cstr(texts[i], "h2")) {
			conf->h2 = true;
		} else {
			conf_error(context->errors, node, "%s: %s: expected h2 or http/1.1", what,
				   str_quote(texts[i], value, sizeof(value)));
			result = -EINVAL;
		}
	}
	if (!count) {
		conf_error(context->errors, node, "%s: needs a protocol", what);
		return -EINVAL;
	}
	return result;
}

static void alpn_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct tls_server_conf *conf = target;

	conf_write_open_list(writer, key);
	if (conf->h2)
		conf_write_plain(writer, NULL, "h2");
	if (conf->http11)
		conf_write_plain(writer, NULL, "http/1.1");
	conf_write_close(writer);
}

static const struct field server_fields[] = {
	{.key = "certificates",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = certificates_read,
	 .print = certificates_print},
	{.key = "min_version",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct tls_server_conf, min_version),
	 .names = version_names,
	 .name_count = ARRAY_SIZE(version_names),
	 .default_text = "1.2"},
	{.key = "alpn", .kind = FIELD_CUSTOM, .read = alpn_read, .print = alpn_print},
	{.key = "ciphers",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct tls_server_conf, ciphers)},
	{.key = "ktls",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct tls_server_conf, ktls),
	 .names = ktls_names,
	 .name_count = ARRAY_SIZE(ktls_names),
	 .default_text = "auto"},
	{.key = "client_auth",
	 .kind = FIELD_SECTION,
	 .offset = offsetof(struct tls_server_conf, client_auth),
	 .fields = client_auth_fields,
	 .field_count = ARRAY_SIZE(client_auth_fields)},
	{.key = "tickets",
	 .kind = FIELD_SECTION,
	 .offset = offsetof(struct tls_server_conf, tickets),
	 .fields = ticket_fields,
	 .field_count = ARRAY_SIZE(ticket_fields)},
};

/* ---- files ---- */

static int staple(const struct field_context *context, const struct conf_node *node,
		  const char *what, struct tls_certificate_conf *certificate,
		  struct tls_server *server)
{
	_cleanup_(value_file_done)
	struct value_file file = {.content = {.data = NULL}};
	struct error err = {0};
	int r = tls_read_file(context, node, "ocsp", what, TLS_FILE_BYTES_MAX, &certificate->ocsp,
			      &file);

	if (r)
		return r;
	/* A response that has run out is no reason to refuse the rest. */
	if (tls_server_add_ocsp(server, buf_str(&file.content), &err)) {
		certificate->ocsp_problem = arena_copy(context->arena, str_from_cstr(err.text)).ptr;
		if (!certificate->ocsp_problem)
			return field_no_memory(context, node);
	}
	return 0;
}

static int load_certificate(const struct field_context *context, const struct conf_node *node,
			    const char *what, struct tls_certificate_conf *certificate,
			    struct tls_server *server)
{
	_cleanup_(value_file_done)
	struct value_file chain = {.content = {.data = NULL}};
	_cleanup_(tls_key_file_done)
	struct value_file key = {.content = {.data = NULL}};
	struct error err = {0};
	int r;

	if (!certificate->cert.ptr || !certificate->key.ptr)
		return -EINVAL; /* reported */
	r = tls_read_file(context, node, "cert", what, TLS_FILE_BYTES_MAX, &certificate->cert,
			  &chain);

	/* Both, so that both errors are told. */
	if (tls_read_file(context, node, "key", what, TLS_FILE_BYTES_MAX, &certificate->key, &key))
		r = -EINVAL;
	if (r)
		return r;
	r = tls_server_add_certificate(server, buf_str(&chain.content), buf_str(&key.content),
				       &err);
	if (r) {
		conf_error(context->errors, node, "%s: %s", what, err.text);
		return -EINVAL;
	}
	return certificate->ocsp.ptr ? staple(context, node, what, certificate, server) : 0;
}

static int load_certificates(const struct field_context *context, const struct conf_node *node,
			     const char *server_what, struct tls_server_conf *conf)
{
	const struct conf_node *list = node ? conf_get(node, "certificates") : NULL;
	const struct conf_node *item = list ? list->children : NULL;
	char what[WHAT_MAX];
	int result = 0;

	for (unsigned int i = 0; i < conf->certificate_count; i++) {
		(void)snprintf(what, sizeof(what), "%s: certificate %u", server_what, i + 1);
		if (load_certificate(context, item, what, &conf->certificates[i], conf->server))
			result = -EINVAL;
		item = item ? item->next : NULL;
	}
	return result;
}

/* ---- the whole ---- */

static int check_client_auth(const struct field_context *context, const struct conf_node *node,
			     const char *what, const struct tls_client_auth_conf *conf)
{
	if (conf->mode != TLS_CLIENT_AUTH_OFF && !conf->ca.ptr)
		conf_error(context->errors, node,
			   "%s: client_auth: needs 'ca', the authorities whose certificates count",
			   what);
	else if (conf->mode == TLS_CLIENT_AUTH_OFF && (conf->ca.ptr || conf->crl.ptr))
		conf_error(context->errors, node,
			   "%s: client_auth: 'ca' and 'crl' are of no use with mode off", what);
	else
		return 0;
	return -EINVAL;
}

static int check_ktls(const struct field_context *context, const struct conf_node *node,
		      const char *what, const struct tls_server_conf *conf)
{
	const struct conf_node *ktls = node ? conf_get(node, "ktls") : NULL;
	const struct tls_ktls_support *support;

	if (conf->ktls != TLS_KTLS_REQUIRE)
		return 0;
	support = tls_ktls_support();
	if (support->sends)
		return 0;
	conf_error(context->errors, ktls ? ktls : node, "%s: ktls: required, but %s", what,
		   support->reason);
	return -EINVAL;
}

static void release_server(void *server)
{
	tls_server_unref(server);
}

/* `result` so far: with errors the files are read all the same, but no contexts are made. */
static int make_server(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct str listener, struct tls_server_conf *conf,
		       int result)
{
	_cleanup_(value_file_done)
	struct value_file ca = {.content = {.data = NULL}};
	_cleanup_(value_file_done)
	struct value_file crl = {.content = {.data = NULL}};
	const struct conf_node *auth = node ? conf_get(node, "client_auth") : NULL;
	struct tls_server_settings settings = {
		.listener = listener,
		.min_version = conf->min_version,
		.http11 = conf->http11,
		.h2 = conf->h2,
		.ciphers = conf->ciphers,
		.client_auth = (enum tls_client_auth)conf->client_auth.mode,
		.depth = (unsigned int)conf->client_auth.depth,
		.tickets = conf->tickets.enabled,
		.session_seconds = (unsigned int)(conf->tickets.rotate_ms / 1000),
		.ktls = conf->ktls != TLS_KTLS_OFF && tls_ktls_support()->sends,
		.ktls_required = conf->ktls == TLS_KTLS_REQUIRE && tls_ktls_support()->sends,
	};
	struct error err = {0};
	char auth_what[WHAT_MAX];

	(void)snprintf(auth_what, sizeof(auth_what), "%s: client_auth", what);
	if (conf->client_auth.ca.ptr &&
	    tls_read_file(context, auth, "ca", auth_what, TLS_FILE_BYTES_MAX, &conf->client_auth.ca,
			  &ca))
		result = -EINVAL;
	if (conf->client_auth.crl.ptr &&
	    tls_read_file(context, auth, "crl", auth_what, LIST_BYTES_MAX, &conf->client_auth.crl,
			  &crl))
		result = -EINVAL;
	if (conf->client_auth.ca.ptr)
		settings.ca_pem = buf_str(&ca.content);
	if (conf->client_auth.crl.ptr)
		settings.crl_pem = buf_str(&crl.content);
	if (tls_server_new(&settings, &conf->server, &err) ||
	    !arena_at_end(context->arena, release_server, conf->server)) {
		tls_server_unref(TAKE_PTR(conf->server));
		return field_no_memory(context, node);
	}
	if (load_certificates(context, node, what, conf))
		result = -EINVAL;
	if (!result && tls_server_check(conf->server, &err)) {
		conf_error(context->errors, node, "%s: %s", what, err.text);
		result = -EINVAL;
	}
	return result;
}

static void wipe(void *keys_ptr)
{
	const struct str *keys = keys_ptr;

	OPENSSL_cleanse((char *)keys->ptr, keys->len);
}

static int read_ticket_keys(const struct field_context *context, const struct conf_node *node,
			    const char *what, struct tls_tickets_conf *tickets)
{
	_cleanup_(tls_key_file_done)
	struct value_file file = {.content = {.data = NULL}};
	const struct conf_node *section = node ? conf_get(node, "tickets") : NULL;
	char tickets_what[WHAT_MAX];
	struct error err = {0};

	(void)snprintf(tickets_what, sizeof(tickets_what), "%s: tickets", what);
	if (tls_read_file(context, section, "file", tickets_what, 4096, &tickets->file, &file))
		return -EINVAL;
	if (tls_tickets_check(buf_str(&file.content), &err)) {
		conf_error(context->errors, section ? conf_get(section, "file") : NULL,
			   "%s: file: %s", tickets_what, err.text);
		return -EINVAL;
	}
	tickets->keys = arena_copy(context->arena, buf_str(&file.content));
	if (!tickets->keys.ptr || !arena_at_end(context->arena, wipe, &tickets->keys))
		return field_no_memory(context, node);
	return 0;
}

int tls_server_config_read(const struct field_context *context, const struct conf_node *node,
			   const char *what, struct str listener, struct tls_server_conf **ret_conf)
{
	struct tls_server_conf *conf = arena_new(context->arena, struct tls_server_conf);
	int r;

	if (!conf)
		return field_no_memory(context, node);
	conf->http11 = conf->h2 = true;
	conf->listener = listener;
	r = field_read(context, server_fields, ARRAY_SIZE(server_fields), node, what, conf);
	/* Whatever became of the others: all errors are told at once. */
	if (check_client_auth(context, node, what, &conf->client_auth))
		r = -EINVAL;
	if (check_ktls(context, node, what, conf))
		r = -EINVAL;
	if (conf->tickets.file.ptr && read_ticket_keys(context, node, what, &conf->tickets))
		r = -EINVAL;
	if (make_server(context, node, what, listener, conf, r))
		r = -EINVAL;
	if (!r)
		*ret_conf = conf;
	return r;
}

void tls_server_config_write(struct conf_writer *writer, const char *key,
			     const struct tls_server_conf *conf)
{
	if (!conf)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, server_fields, ARRAY_SIZE(server_fields), conf);
	conf_write_close(writer);
}

/* What is no error, but should be known. */
static void warn(const struct tls_server_conf *conf, unsigned int index)
{
	const struct tls_certificate_conf *certificate = &conf->certificates[index];
	struct tls_certificate_facts facts;

	if (!tls_server_get_certificate(conf->server, index, &facts) &&
	    facts.not_after < (int64_t)time(NULL))
		log_warn("tls", "certificate %.*s has expired", STR_FMT(certificate->cert));
	if (certificate->ocsp_problem)
		log_warn("tls", "%.*s is not stapled: %s", STR_FMT(certificate->ocsp),
			 certificate->ocsp_problem);
}

static int prepare(struct registry *registry, const struct tls_server_conf *conf,
		   unsigned int worker_count, struct error *err)
{
	struct tls_tickets *tickets = NULL;

	if (conf->tickets.enabled) {
		tickets =
			tls_tickets_acquire(registry, conf->tickets.file, conf->tickets.rotate_ms);
		if (!tickets)
			return error_set(err, -ENOMEM, "no memory or no randomness for tickets");
		if (conf->tickets.keys.ptr)
			tls_tickets_set(tickets, conf->tickets.keys);
	}
	return tls_server_prepare(conf->server, worker_count, tickets, err);
}

int tls_server_acquire(struct registry *registry, const struct tls_server_conf *conf,
		       unsigned int worker_count)
{
	struct error err = {0};
	int r;

	for (unsigned int i = 0; i < conf->certificate_count; i++)
		warn(conf, i);
	r = prepare(registry, conf, worker_count, &err);
	if (r)
		log_error("tls", "%s", err.text);
	return r;
}

/* ---- renewal ---- */

int tls_server_config_walk_files(const struct tls_server_conf *conf,
				 int (*visit)(struct str path, void *arg), void *arg)
{
	const struct str others[] = {conf->client_auth.ca, conf->client_auth.crl,
				     conf->tickets.file};
	int r = 0;

	for (unsigned int i = 0; i < conf->certificate_count && !r; i++) {
		const struct tls_certificate_conf *certificate = &conf->certificates[i];

		r = visit(certificate->cert, arg);
		if (!r)
			r = visit(certificate->key, arg);
		if (!r && certificate->ocsp.ptr)
			r = visit(certificate->ocsp, arg);
	}
	for (size_t i = 0; i < ARRAY_SIZE(others) && !r; i++)
		if (others[i].ptr)
			r = visit(others[i], arg);
	return r;
}

static int read_again(const struct field_context *context, const struct tls_server_conf *conf,
		      struct tls_server_conf *copy)
{
	size_t bytes = conf->certificate_count * sizeof(*conf->certificates);
	char what[WHAT_MAX];

	*copy = *conf;
	copy->server = NULL;
	copy->tickets.keys = STR_NULL;
	copy->certificates = arena_new_array(context->arena, struct tls_certificate_conf,
					     conf->certificate_count);
	if (!copy->certificates)
		return field_no_memory(context, NULL);
	memcpy(copy->certificates, conf->certificates, bytes);
	(void)snprintf(what, sizeof(what), "listener '%.*s': tls", STR_FMT(conf->listener));
	if (copy->tickets.file.ptr && read_ticket_keys(context, NULL, what, &copy->tickets))
		return -EINVAL;
	return make_server(context, NULL, what, conf->listener, copy, 0);
}

int tls_server_renew(struct registry *registry, const struct tls_server_conf *conf,
		     unsigned int worker_count, struct error *err)
{
	_cleanup_(arena_done)
	struct arena arena;
	_cleanup_(conf_errors_freep)
	struct conf_errors *errors = conf_errors_new("");
	const struct field_context context = {.errors = errors, .arena = &arena, .base_dir = ""};
	struct tls_server_conf copy;
	int r;

	arena_init(&arena, 0, RENEW_BYTES_MAX);
	if (!errors)
		return error_set(err, -ENOMEM, "out of memory");
	r = read_again(&context, conf, &copy);
	if (r)
		return error_set(err, r, "%s", conf_errors_get(errors, 0));
	r = prepare(registry, &copy, worker_count, err);
	if (!r)
		tls_server_exchange(conf->server, copy.server);
	return r;
}
