#include "filter/decompress.h"

#include <errno.h>

#include "http/field_edit.h"
#include "http/local_answer.h"
#include "http/worker_internal.h"

struct decompress_state {
	struct coder *coder;
	size_t taken; /* of the piece at work */
	uint64_t in_bytes, out_bytes;
};

static void done(struct exchange *exchange, void *state)
{
	struct decompress_state *own = state;

	coder_put(&exchange->worker->coders, own->coder);
	own->coder = NULL;
}

/* ---- the head ---- */

/* IDENTITY: nothing to decode; COUNT: what we cannot. */
static enum coding find_coding(const struct exchange *exchange)
{
	enum coding coding = CODING_IDENTITY;

	for (unsigned int i = 0; i < exchange->request.field_count; i++) {
		struct str rest = exchange->request.fields[i].value, token;

		if (exchange->request.fields[i].id != HTTP_FIELD_CONTENT_ENCODING)
			continue;
		while (str_next_token(&rest, ',', &token)) {
			enum coding found = coding_lookup(token);

			if (found == CODING_IDENTITY)
				continue;
			if (coding != CODING_IDENTITY)
				return CODING_COUNT;
			coding = found;
		}
	}
	return coding;
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	struct decompress_state *own = state;
	enum coding coding = find_coding(exchange);

	(void)conf;
	if (coding == CODING_IDENTITY || exchange->request.framing == HTTP_FRAMING_NONE)
		return POLICY_NEXT;
	if (coding == CODING_COUNT) {
		local_answer_start_error(exchange, 415, "content coding that is not decoded here");
		return POLICY_ANSWERED;
	}
	own->coder = coder_get(&exchange->worker->coders, coding, true);
	if (!own->coder) {
		local_answer_start_error(exchange, 503, "out of memory for the request");
		return POLICY_ANSWERED;
	}
	request_field_remove(exchange, STR("content-encoding"));
	exchange->request.framing = HTTP_FRAMING_CHUNKED;
	exchange->request.has_content_length = false;
	return POLICY_STREAMS;
}

/* ---- the body ---- */

static enum policy_verdict refuse(struct exchange *exchange, uint16_t status, const char *reason)
{
	/* What the upstream has of it must not look whole to it. */
	exchange_fail_close(exchange, status, reason);
	return POLICY_ANSWERED;
}

static bool is_too_much(const struct decompress *decompress, const struct decompress_state *own)
{
	return own->out_bytes > decompress->max_bytes ||
	       (own->out_bytes > DECOMPRESS_FREE_BYTES &&
		own->out_bytes > own->in_bytes * decompress->max_ratio);
}

static enum policy_verdict request_body(struct exchange *exchange, const void *conf, void *state,
					const struct policy_piece *piece)
{
	struct decompress_state *own = state;
	struct str in = str_sub(piece->data, own->taken, piece->data.len);
	size_t emitted = 0, before, len;
	int r = 1;

	while (r > 0 && emitted < POLICY_EMIT_BYTES) {
		struct recv_buf *buf = policy_buffer(exchange);

		if (!buf)
			return refuse(exchange, 503, "out of memory for the request");
		before = in.len;
		r = coder_run(own->coder, piece->end ? CODER_FINISH : CODER_FEED, &in, buf->data,
			      buf->size_bytes, &len);
		own->in_bytes += before - in.len;
		own->out_bytes += len;
		emitted += buf->size_bytes;
		if (r >= 0 && !is_too_much(conf, own))
			policy_emit(exchange, str_make(buf->data, len), buf);
		recv_buf_unref(buf);
		if (r == -ENOMEM)
			return refuse(exchange, 503, "out of memory for the request");
		if (r < 0)
			return refuse(exchange, 400, "the body is not what its coding says");
		if (is_too_much(conf, own))
			return refuse(exchange, 413, "request body too large when decoded");
	}
	own->taken = piece->data.len - in.len;
	if (r > 0)
		return POLICY_AGAIN;
	own->taken = 0;
	if (piece->end)
		done(exchange, state);
	worker_memory_look(exchange->worker);
	return POLICY_NEXT;
}

/* ---- configuration ---- */

static const struct field fields[] = {
	{.key = "max_size",
	 .kind = FIELD_SIZE_BYTES,
	 .offset = offsetof(struct decompress, max_bytes),
	 .min = 1,
	 .max = (uint64_t)1 << 40,
	 .default_text = "16MiB"},
	{.key = "max_ratio",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct decompress, max_ratio),
	 .min = 1,
	 .max = 10000,
	 .default_text = "100"},
};

static int conf_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, void *conf)
{
	return field_read(context, fields, ARRAY_SIZE(fields), node, what, conf);
}

static void conf_write(struct conf_writer *writer, const void *conf)
{
	field_write(writer, fields, ARRAY_SIZE(fields), conf);
}

const struct policy_type decompress_policy = {
	.key = "decompress",
	.conf_bytes = sizeof(struct decompress),
	.state_bytes = sizeof(struct decompress_state),
	.read = conf_read,
	.write = conf_write,
	.request_head = request_head,
	.request_body = request_body,
	.done = done,
};
