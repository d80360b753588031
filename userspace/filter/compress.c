#include "filter/compress.h"

#include "http/field_edit.h"
#include <errno.h>

#include "http/worker_internal.h"

/* A buffer counts as one of the usual size, however full. */
#define BUFFER_BYTES (16u * 1024)

struct compress_state {
	struct coder *coder;
	size_t taken; /* of the piece at work */
	bool flushes; /* after each piece */
	bool flushing;
};

static void done(struct exchange *exchange, void *state)
{
	struct compress_state *own = state;

	coder_put(&exchange->worker->coders, own->coder);
	own->coder = NULL;
}

/* ---- shall it be? ---- */

bool compress_takes_type(const struct compress *compress, struct str content_type)
{
	struct str type;

	if (!str_next_token(&content_type, ';', &type))
		return false;
	for (unsigned int i = 0; i < compress->type_count; i++) {
		struct str known = compress->types[i];

		if (str_ends_with(known, STR("/*"))) {
			known.len--;
			if (str_eq_nocase(str_sub(type, 0, known.len), known))
				return true;
		} else if (str_eq_nocase(type, known)) {
			return true;
		}
	}
	return false;
}

static bool lists(const struct http_field *fields, unsigned int count, enum http_field_id id,
		  struct str wanted)
{
	for (unsigned int i = 0; i < count; i++) {
		struct str rest = fields[i].value, token;

		if (fields[i].id != id)
			continue;
		while (str_next_token(&rest, ',', &token))
			if (str_eq_nocase(token, wanted))
				return true;
	}
	return false;
}

static bool may_change(const struct exchange *exchange, const struct compress *compress,
		       const struct exchange_response *response)
{
	const struct http_field *type = response_field_find(response, STR("content-type"));

	return response->framing != HTTP_FRAMING_NONE && response->status >= 200 &&
	       response->status != 206 && !response->upgrade.ptr &&
	       !response_field_find(response, STR("content-encoding")) &&
	       !response_field_find(response, STR("content-range")) && type &&
	       compress_takes_type(compress, type->value) &&
	       !(response->framing == HTTP_FRAMING_LENGTH &&
		 response->content_length < compress->min_bytes) &&
	       !lists(response->fields, response->field_count, HTTP_FIELD_CACHE_CONTROL,
		      STR("no-transform")) &&
	       !lists(exchange->request.fields, exchange->request.field_count,
		      HTTP_FIELD_CACHE_CONTROL, STR("no-transform"));
}

static enum coding choose(const struct exchange *exchange, const struct compress *compress)
{
	struct coding_accept accept;

	coding_accept_init(&accept);
	for (unsigned int i = 0; i < exchange->request.field_count; i++)
		if (str_eq_nocase(exchange->request.fields[i].name, STR("accept-encoding")))
			coding_accept_add(&accept, exchange->request.fields[i].value);
	return coding_accept_choose(&accept, compress->codings, compress->coding_count);
}

/* ---- the head ---- */

static bool weaken_etag(struct exchange *exchange, const struct exchange_response *response)
{
	struct http_field *etag = response_field_find(response, STR("etag"));

	if (!etag || str_starts_with(etag->value, STR("W/")))
		return true;
	etag->value = arena_printf(&exchange->arena, "W/%.*s", STR_FMT(etag->value));
	return etag->value.ptr != NULL;
}

static bool change_head(struct exchange *exchange, struct exchange_response *response,
			enum coding coding)
{
	static const struct str about_bytes[] = {
		{"accept-ranges", 13}, {"content-md5", 11}, {"digest", 6}, {"content-digest", 14}};

	for (unsigned int i = 0; i < ARRAY_SIZE(about_bytes); i++)
		response_field_remove(response, about_bytes[i]);
	response_length_unknown(response);
	return weaken_etag(exchange, response) &&
	       response_field_add(exchange, response, STR("content-encoding"),
				  str_from_cstr(coding_name(coding)));
}

static enum policy_verdict fail(struct exchange *exchange)
{
	exchange_fail(exchange, 503, "out of memory for the answer");
	return POLICY_ANSWERED;
}

static enum policy_verdict response_head(struct exchange *exchange, const void *conf, void *state,
					 struct exchange_response *response)
{
	const struct compress *compress = conf;
	struct compress_state *own = state;
	struct http_worker *worker = exchange->worker;
	enum coding coding;

	coder_put(&worker->coders, own->coder); /* of an answer that this one replaces */
	*own = (struct compress_state){.coder = NULL};
	if (!may_change(exchange, compress, response))
		return POLICY_NEXT;
	if (!response_vary_on(exchange, response, STR("accept-encoding")))
		return fail(exchange);
	coding = choose(exchange, compress);
	if (coding == CODING_IDENTITY || worker->memory.level >= MEMORY_SHRINK)
		return POLICY_NEXT;
	own->flushes = response->framing != HTTP_FRAMING_LENGTH;
	own->coder = coder_get(&worker->coders, coding, false);
	if (!own->coder)
		return POLICY_NEXT; /* as it is, then */
	if (!change_head(exchange, response, coding))
		return fail(exchange);
	return POLICY_STREAMS;
}

/* ---- the body ---- */

/* One buffer more. 1: there is more of this step; 0: through; negative: failed. */
static int encode(struct exchange *exchange, struct compress_state *own, enum coder_step step,
		  struct str *in)
{
	struct recv_buf *buf = policy_buffer(exchange);
	size_t len;
	int r;

	if (!buf)
		return -ENOMEM;
	r = coder_run(own->coder, step, in, buf->data, buf->size_bytes, &len);
	if (r >= 0)
		policy_emit(exchange, str_make(buf->data, len), buf);
	recv_buf_unref(buf);
	return r;
}

static enum policy_verdict response_body(struct exchange *exchange, const void *conf, void *state,
					 const struct policy_piece *piece)
{
	struct compress_state *own = state;
	struct str in = str_sub(piece->data, own->taken, piece->data.len);
	size_t emitted = 0;
	int r = 1;

	(void)conf;
	while (r > 0 && emitted < POLICY_EMIT_BYTES) {
		enum coder_step step = piece->end      ? CODER_FINISH
				       : own->flushing ? CODER_FLUSH
						       : CODER_FEED;

		r = encode(exchange, own, step, &in);
		emitted += BUFFER_BYTES;
		if (r == 0 && step == CODER_FEED && own->flushes) {
			own->flushing = true;
			r = 1;
		}
	}
	if (r < 0)
		return fail(exchange);
	own->taken = piece->data.len - in.len;
	if (r > 0)
		return POLICY_AGAIN;
	own->taken = 0;
	own->flushing = false;
	if (piece->end)
		done(exchange, state);
	worker_memory_look(exchange->worker);
	return POLICY_NEXT;
}

const struct policy_type compress_policy = {
	.key = "compress",
	.conf_bytes = sizeof(struct compress),
	.state_bytes = sizeof(struct compress_state),
	.read = compress_read,
	.write = compress_write,
	.response_head = response_head,
	.response_body = response_body,
	.done = done,
};
