/*
 * upstream: a named group of endpoints as the configuration describes it.
 *
 *   snapshot ──► upstream_conf ──► upstream_state                registry, by name
 *                    ├► endpoint_conf[] ──► endpoint             registry, by (upstream, address)
 *                    │                        └► per worker: upstream_pool of idle connections
 *                    └► maglev: the table of its hash            registry, by what is in it
 *
 * The configuration is immutable once its snapshot is published and is read by any thread. What it
 * refers to outlives it: see upstream_state.h.
 */
#ifndef SLUICE_UPSTREAM_UPSTREAM_H
#define SLUICE_UPSTREAM_UPSTREAM_H

#include "base/arena.h"
#include "upstream/upstream_state.h"

struct maglev;
struct tls_client_conf;

enum upstream_protocol { UPSTREAM_HTTP, UPSTREAM_HTTP2 };

enum upstream_balance {
	UPSTREAM_ROUND_ROBIN,
	UPSTREAM_LEAST_REQUESTS,
	UPSTREAM_RANDOM_TWO,
	UPSTREAM_MAGLEV,
};

const char *upstream_balance_name(enum upstream_balance balance);

/* What of a request maglev hashes. */
enum upstream_hash_kind {
	UPSTREAM_HASH_NONE,
	UPSTREAM_HASH_HEADER,
	UPSTREAM_HASH_COOKIE,
	UPSTREAM_HASH_QUERY,
	UPSTREAM_HASH_SOURCE, /* the client's address */
	UPSTREAM_HASH_PATH,
};

struct upstream_hash_on {
	enum upstream_hash_kind kind;
	struct str name; /* of the field, cookie or parameter */
};

/* After which failures a request is sent again. */
enum upstream_retry_on {
	UPSTREAM_RETRY_CONNECT = 1 << 0,
	UPSTREAM_RETRY_RESET = 1 << 1,
	UPSTREAM_RETRY_502 = 1 << 2,
	UPSTREAM_RETRY_503 = 1 << 3,
	UPSTREAM_RETRY_504 = 1 << 4,
	UPSTREAM_RETRY_PER_TRY = 1 << 5, /* whenever there is a per_try */
	UPSTREAM_RETRY_REFUSED = 1 << 6, /* a stream: with CONNECT or RESET */
};

enum upstream_proxy_tlv {
	UPSTREAM_PROXY_AUTHORITY = 1 << 0, /* the name that the client asked for by SNI */
	UPSTREAM_PROXY_ALPN = 1 << 1,	   /* the protocol that was agreed on */
};

/* Configuration, in the snapshot's arena. Written by config/, read by the workers. */
struct endpoint_conf {
	struct sock_addr addr;
	struct str address;	   /* as written */
	uint32_t weight;	   /* 1..65535 */
	struct endpoint *endpoint; /* one reference */
};

struct upstream_conf {
	struct str name;
	uint32_t line, column; /* where it is defined */
	struct endpoint_conf *endpoints;
	unsigned int endpoint_count; /* >= 1 */
	int protocol;		     /* enum upstream_protocol */
	int balance;		     /* enum upstream_balance */
	int proxy_protocol;	     /* its version that connections begin with; 0: none */
	uint32_t proxy_tlvs;	     /* enum upstream_proxy_tlv, of clients that came over TLS */
	struct tls_client_conf *tls; /* NULL: without TLS */
	struct upstream_hash_on hash_on;
	struct {
		uint64_t consecutive_failures; /* 0: never */
		uint64_t base_ms;
		uint64_t max_share; /* of the endpoints, in parts of 10,000 */
	} ejection;
	struct {
		uint64_t connections; /* 0: any number */
		uint64_t pending;
		uint64_t streams; /* of HTTP/2: calls on one connection */
	} limits;
	struct {
		uint32_t on;	     /* enum upstream_retry_on */
		uint64_t attempts;   /* the first one included */
		uint64_t per_try_ms; /* 0: only the other timeouts */
		uint64_t budget;     /* parts of 10,000 of the requests */
	} retry;
	uint64_t connect_timeout_ms;
	uint64_t response_timeout_ms; /* from the request's last byte to the answer's head */
	uint64_t idle_timeout_ms;     /* kept connections; also between two reads of a body */
	uint64_t pending_timeout_ms;  /* in the queue for a connection */
	uint64_t slow_start_ms;	      /* 0: full weight at once */

	struct upstream_state *state; /* one reference */
	struct maglev *maglev;	      /* one reference; NULL unless that is the balance */

	/* Made by balance_build(): the order in which weighted round-robin visits `endpoints`, and
	 * for random choice the sum of the weights up to each (NULL where all are equal). */
	uint16_t *schedule;
	unsigned int schedule_len; /* >= 1 */
	uint32_t *weight_sums;
};

#define UPSTREAM_ENDPOINTS_MAX 4096
#define UPSTREAM_ATTEMPTS_MAX  10

/*
 * Takes the runtime objects of a configuration that was read; what was taken before an error is
 * given back by upstream_release(). Tables of maglev that are not there yet are made at once up to
 * the time `build_until_ms` (monotonic), and after that by the first request that needs one.
 */
int upstream_acquire(struct registry *registry, struct upstream_conf *upstream,
		     unsigned int worker_count, uint64_t build_until_ms);
/*
 * The configuration is in force: its limits hold from now on, for calls that began under an earlier
 * one, too. The control thread.
 */
void upstream_publish(const struct upstream_conf *upstream);
/* Any thread. */
void upstream_release(struct upstream_conf *upstream);

#endif
