/* GET /v1/certificates, POST /v1/certificates/reload */
#include <time.h>

#include "control/admin_api.h"
#include "control/certificates.h"
#include "tls/tls_config.h"

static void write_names(struct json_writer *json, const struct tls_certificate_facts *facts)
{
	json_open_array(json, "names");
	for (unsigned int i = 0; i < facts->name_count; i++)
		json_cstring(json, NULL, facts->names[i]);
	json_close_array(json);
}

static void write_ocsp(struct json_writer *json, const struct tls_certificate_conf *conf,
		       const struct tls_certificate_facts *facts)
{
	const char *state = "off";

	if (facts->stapled)
		state = facts->ocsp_until < (int64_t)time(NULL) ? "out of date" : "stapled";
	else if (conf->ocsp.ptr)
		state = "refused";
	json_cstring(json, "ocsp", state);
}

static void write_certificate(struct json_writer *json, const struct listener_conf *listener,
			      unsigned int index, const struct tls_certificate_facts *facts)
{
	const struct tls_certificate_conf *conf = &listener->tls->certificates[index];
	int64_t left_s = facts->not_after - (int64_t)time(NULL);

	json_open_object(json, NULL);
	json_str(json, "listener", listener->name);
	json_cstring(json, "subject", facts->subject);
	json_cstring(json, "issuer", facts->issuer);
	write_names(json, facts);
	json_cstring(json, "key", facts->key_kind);
	json_cstring(json, "fingerprint", facts->fingerprint);
	admin_json_time(json, "not_before", (uint64_t)facts->not_before * 1000);
	admin_json_time(json, "not_after", (uint64_t)facts->not_after * 1000);
	json_i64(json, "days_left", left_s < 0 ? -1 : left_s / 86400);
	write_ocsp(json, conf, facts);
	json_str(json, "file", conf->cert);
	json_close_object(json);
}

void admin_get_certificates(struct daemon *daemon, const struct admin_request *request,
			    struct admin_response *response)
{
	const struct snapshot *snapshot = daemon->snapshot;
	struct tls_certificate_facts facts;
	struct json_writer json;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_open_array(&json, "certificates");
	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		const struct listener_conf *listener = &snapshot->listeners[i];

		for (unsigned int j = 0;
		     listener->tls && !tls_server_get_certificate(listener->tls->server, j, &facts);
		     j++)
			write_certificate(&json, listener, j, &facts);
	}
	json_close_array(&json);
	json_close_object(&json);
	admin_finish(response, &json);
}

/* 200, or 422 with the first reason: listeners whose files are good use them all the same. */
void admin_post_certificates_reload(struct daemon *daemon, const struct admin_request *request,
				    struct admin_response *response)
{
	const struct snapshot *snapshot = daemon->snapshot;
	struct error first = {0};
	unsigned int renewed = 0;
	struct json_writer json;

	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		struct error err = {0};

		if (!snapshot->listeners[i].tls)
			continue;
		if (!certificates_renew(&daemon->certificates, snapshot, i, daemon->registry,
					daemon->worker_count, &err))
			renewed++;
		else if (!first.text[0])
			first = err;
	}
	if (first.text[0]) {
		admin_fail(response, 422, "%s", first.text);
		return;
	}
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_u64(&json, "listeners", renewed);
	json_close_object(&json);
	admin_finish(response, &json);
}
