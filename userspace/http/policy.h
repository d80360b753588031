/*
 * policy: named steps around an action, in the order in which a route lists them.
 *
 *               request_head, request_body, end                   each may pass, change, hold, wait
 *   client ──►  policy 1 ──► policy 2 ──► ... ──► policy n ──►    action: proxy, files, respond ...
 *          ◄──  policy 1 ◄── policy 2 ◄── ... ◄── policy n ◄──
 *               response_head, response_body, end                 done() when the exchange is over
 *
 * A kind of policy is a `struct policy_type`: how its configuration is read and written, and what
 * it does at each step. It lives in filter/ (jwt.c does it, jwt_config.c reads it); the table of
 * all kinds is handed to policies_read() by config/, so that http/ knows none of them. Steps that a
 * type leaves NULL, or that steps() says this configuration has no use for, cost nothing: a route
 * knows which steps its policies have (route->policy_steps). One whose policies look at heads of
 * requests alone keeps bodies and answers as they are, files and pipes included.
 *
 * Request. When the route is found, each request_head() is asked in turn; it may change what the
 * action will ask (upstream_path, fields by http/field_edit.h, ...). Behind the last one the action
 * begins. Response. The answer, whoever makes it (upstream, files, redirect, an error page for what
 * an earlier policy refused), goes through response_head() of all policies, the last one first. So
 * a policy may see an answer to a request that it was never asked about: its state is zeroed then.
 * Interim answers (1xx) and the 101 of a tunnel pass by; errors before a route is found, too.
 *
 * Verdicts:
 *   NEXT      goes on. Of a head step: its body step does not see this body.
 *   STREAMS   head steps: goes on, and the body comes to the body step.
 *   HOLDS     head steps: the body comes to the body step, and the head waits behind it, still to
 *             be changed, until that step emits its first byte or has let the end go on. Whoever
 *             has to know a body before the upstream is asked, or before the status is sent.
 *   WAITS     asked again, with the same, after exchange_policy_resume(); until then nothing comes,
 *             and whoever sends is stopped. Spurious resumes are harmless: it may wait again.
 *   AGAIN     body steps: not finished with this piece; asked again with the same one when what was
 *             emitted has room. Emit at most POLICY_EMIT_BYTES or so for each call.
 *   ANSWERED  the exchange has its answer, by exchange_respond(), local_answer_start_error() or
 *             exchange_fail(). From a request step: it goes through all response steps. From a
 *             response step: it takes the place of the answer that came, through the steps between
 *             this policy and the client; only while the head has not gone out (HOLDS), else
 *             exchange_fail() cuts the answer off.
 * A step that answers returns ANSWERED at once and touches nothing of the exchange in between.
 *
 * Bodies. A body step gets pieces in order and emits what goes on by policy_emit(), from inside its
 * call alone; the last piece is empty and has `end`; the end goes on when it says NEXT to that.
 * What it does not emit is gone. One that changes lengths has to say so in the head: response:
 * response_length_unknown(); request: exchange->request.framing. A request without a body has an
 * end all the same, and nothing that is emitted for it goes anywhere; an answer without a body
 * (HEAD, 304) likewise. Trailers go around the steps.
 *
 * Back-pressure: no body step is called while the receiver behind it has no room, and while a piece
 * waits in front of a step its sender is stopped.
 *
 * An answer that was given up before its head went out (the upstream broke while a step held it) is
 * replaced: response_head() is called once more, and what it keeps of the first is to begin anew.
 *
 * State: state_bytes of zeroed memory for each exchange and policy, in the exchange's arena, the
 * same for all steps. A type that waits has some: exchange_policy_resume() names the policy by it,
 * and may not be called from within a step. When the client leaves, the exchange grows too old, or
 * somebody else answers, abandon() is called for a step that waits and must see to it that nothing
 * resumes any more. done() is called once for each exchange of the route whose states could be
 * made, however it ended, after everything else and also when no step was asked; the configuration
 * may be gone by then (tunnels outlive it), so the state refers to what it needs.
 *
 * Fields that a policy's request steps may set for the upstream (owned_fields()) are taken out of
 * every request of its routes beforehand, by folded name, whether it sets them or not: what an
 * upstream is told by us nobody else can say (HARDENING 19, 20).
 *
 * Thread rule: confs are immutable and shared, steps run on the exchange's worker.
 */
#ifndef SLUICE_HTTP_POLICY_H
#define SLUICE_HTTP_POLICY_H

#include "conf/field.h"

struct auth_kind;
struct exchange;
struct exchange_response;
struct policy_stats;
struct recv_buf;
struct registry;

enum policy_verdict {
	POLICY_NEXT,
	POLICY_ANSWERED,
	POLICY_WAITS,
	POLICY_STREAMS,
	POLICY_HOLDS,
	POLICY_AGAIN,
};

#define POLICY_EMIT_BYTES (64u * 1024)

/* A piece of a body: it lies in `buf`, or (NULL) lives as long as the exchange. */
struct policy_piece {
	struct str data;
	struct recv_buf *buf;
	bool end;
};

enum {
	POLICY_STEP_REQUEST_HEAD = 1,
	POLICY_STEP_REQUEST_BODY = 2,
	POLICY_STEP_RESPONSE_HEAD = 4,
	POLICY_STEP_RESPONSE_BODY = 8,
	POLICY_STEP_DONE = 16,
	POLICY_STEP_STATE = 32, /* it has states */
};
/* Steps that bodies and answers have to pass. */
#define POLICY_STEPS_OF_CHAIN                                                                      \
	(POLICY_STEP_REQUEST_BODY | POLICY_STEP_RESPONSE_HEAD | POLICY_STEP_RESPONSE_BODY)

struct policy_type {
	const char *key;   /* in the configuration: { name: x, KEY: { ... } } */
	size_t conf_bytes; /* of what read() fills, zeroed before */
	size_t state_bytes;
	/* It finds out who the caller is (filter/auth.h). NULL: it does something else. */
	const struct auth_kind *auth;

	/* 0 or -EINVAL with errors reported. `what`: "policy 'x': KEY". */
	int (*read)(const struct field_context *context, const struct conf_node *node,
		    const char *what, void *conf);
	/* The members of an open mapping. */
	void (*write)(struct conf_writer *writer, const void *conf);
	/*
	 * Runtime objects that the conf refers to: taken when the file has no errors, before the
	 * snapshot is published. release() comes with the end of the snapshot, also where acquire()
	 * failed or never came. NULL: none.
	 */
	int (*acquire)(struct registry *registry, struct str name, unsigned int worker_count,
		       void *conf);
	void (*release)(void *conf);
	/* It changes what an upstream is asked: of no use with other actions. NULL: it does not. */
	bool (*proxy_only)(const void *conf);
	/* Of the steps below, those that this configuration needs, as POLICY_STEP_*. NULL: all. */
	unsigned int (*steps)(const void *conf);
	/* Names in lower case. NULL: none. */
	const struct str *(*owned_fields)(const void *conf, unsigned int *ret_count);

	enum policy_verdict (*request_head)(struct exchange *exchange, const void *conf,
					    void *state);
	enum policy_verdict (*request_body)(struct exchange *exchange, const void *conf,
					    void *state, const struct policy_piece *piece);
	enum policy_verdict (*response_head)(struct exchange *exchange, const void *conf,
					     void *state, struct exchange_response *response);
	enum policy_verdict (*response_body)(struct exchange *exchange, const void *conf,
					     void *state, const struct policy_piece *piece);
	/* Of a type that waits. Once for each step of it that waits. */
	void (*abandon)(struct exchange *exchange, const void *conf, void *state);
	void (*done)(struct exchange *exchange, void *state);
};

/* In the snapshot. */
struct policy {
	struct str name;
	const struct policy_type *type;
	const void *conf;
	unsigned int steps;	    /* POLICY_STEP_* */
	struct policy_stats *stats; /* what it refused (http/refusal.h); one reference */
};

/* Of a policy whose type and conf are set. */
unsigned int policy_find_steps(const struct policy *policy);

/* The first error; the others stay as they are. */
int policies_acquire(struct policy *policies, unsigned int count, struct registry *registry,
		     unsigned int worker_count);
void policies_release(struct policy *policies, unsigned int count);

/* ---- for steps ---- */

/* From inside a body step: goes on to the next. The bytes are as those of a policy_piece. */
void policy_emit(struct exchange *exchange, struct str data, struct recv_buf *buf);
/*
 * A buffer to fill and emit; data, size_bytes and one reference are the caller's. NULL: memory is
 * short.
 */
struct recv_buf *policy_buffer(struct exchange *exchange);
/* What the policy with this state waited for has come: it is asked again, then those behind it. */
void exchange_policy_resume(struct exchange *exchange, void *state);

/* ---- for exchange.c ---- */

/* Asks the policies of exchange->route, and starts the action behind them. */
void policy_chain_begin(struct exchange *exchange);
/* With the exchange. */
void policy_chain_done(struct exchange *exchange);

#endif
