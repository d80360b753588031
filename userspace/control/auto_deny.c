#include "control/auto_deny.h"

#include <errno.h>
#include <xxhash.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "control/access_loads.h"
#include "control/daemon.h"

#define SOURCES_MAX	16384
#define OFFENCES_A_TICK 8192 /* others are on this thread, too */
#define NS_PER_MS	1000000u

struct ip_prefix auto_deny_prefix(const struct ip_addr *peer)
{
	struct ip_prefix prefix = {.addr = *peer, .bits = 32};

	if (peer->family == AF_INET6) {
		memset(prefix.addr.bytes + 8, 0, 8);
		prefix.bits = 64;
	}
	return prefix;
}

static bool overlap(const struct ip_prefix *left, const struct ip_prefix *right)
{
	return left->bits <= right->bits ? ip_prefix_contains(left, &right->addr)
					 : ip_prefix_contains(right, &left->addr);
}

bool auto_deny_may(const struct snapshot *snapshot, const struct ip_prefix *prefix)
{
	const struct trusted_proxies *trusted = &snapshot->node.trusted_proxies;

	for (unsigned int i = 0; i < trusted->count; i++)
		if (overlap(&trusted->prefixes[i], prefix))
			return false;
	for (size_t i = 0; i < snapshot->dataplane.allow_count; i++)
		if (overlap(&snapshot->dataplane.allow[i].prefix, prefix))
			return false;
	return true;
}

/* ---- one offence ---- */

/* True: it is one too many. */
static bool count(struct auto_deny *auto_deny, const struct auto_deny_rule *rule,
		  const struct ip_prefix *prefix)
{
	const struct rate rate = {
		.interval_ns = MAX(rule->period_ms * NS_PER_MS / rule->count, (uint64_t)1),
		.burst = rule->count,
	};
	struct {
		uint64_t event, count, period_ms;
		uint8_t family, bytes[16], pad[7];
	} key = {(uint64_t)rule->event, rule->count, rule->period_ms,
		 prefix->addr.family,	{0},	     {0}};
	struct rate_verdict verdict;
	XXH128_hash_t hash;

	memcpy(key.bytes, prefix->addr.bytes, sizeof(key.bytes));
	hash = XXH3_128bits_withSecret(&key, sizeof(key), rate_table_secret(auto_deny->counts),
				       LIMIT_SECRET_BYTES);
	rate_table_take(auto_deny->counts, (struct limit_hash){hash.low64, hash.high64}, &rate,
			clock_mono_ns(), &verdict);
	return verdict.retry_ns != 0;
}

static void deny(struct auto_deny *auto_deny, const struct auto_deny_rule *rule,
		 const struct ip_prefix *prefix)
{
	struct dataplane *dataplane = auto_deny->daemon->dataplane;
	const char *event = offence_name((enum offence_kind)rule->event);
	struct access_entry entry = {.prefix = *prefix, .origin = ACCESS_FROM_CLI}, standing;
	char cidr[ADDR_TEXT_MAX];
	struct error err = {0};

	if (!access_list_find(dataplane, ACCESS_DENY, prefix, &standing) &&
	    (!standing.expires_wall_ms || standing.expires_wall_ms > clock_wall_ms()))
		return;
	(void)snprintf(entry.reason, sizeof(entry.reason), "auto: %s", event);
	entry.expires_wall_ms = clock_wall_ms() + rule->ttl_ms;
	(void)ip_prefix_format(prefix, cidr, sizeof(cidr));
	if (access_list_add(dataplane, ACCESS_DENY, &entry, &err)) {
		log_warn("control", "auto_deny: %s cannot be denied: %s", cidr, err.text);
		return;
	}
	auto_deny->denied[rule->event]++;
	log_info("control", "auto_deny: %s is denied for %llu s: %s", cidr,
		 (unsigned long long)rule->ttl_ms / 1000, event);
	event_publish(EVENT_AUTO_DENIED, str_from_cstr(cidr), "%s, for %llu s", event,
		      (unsigned long long)rule->ttl_ms / 1000);
}

static void judge(struct auto_deny *auto_deny, const struct offence *offence)
{
	const struct snapshot *snapshot = auto_deny->daemon->snapshot;
	const struct auto_deny_conf *conf = &snapshot->dataplane.auto_deny;
	struct ip_prefix prefix = auto_deny_prefix(&offence->peer);

	for (unsigned int i = 0; i < conf->rule_count; i++) {
		const struct auto_deny_rule *rule = &conf->rules[i];

		if (rule->event == (int)offence->kind && count(auto_deny, rule, &prefix) &&
		    auto_deny_may(snapshot, &prefix))
			deny(auto_deny, rule, &prefix);
	}
}

static void on_tick(struct timer *timer)
{
	struct auto_deny *auto_deny = CONTAINER_OF(timer, struct auto_deny, tick);
	struct offence offence;

	for (unsigned int i = 0; i < OFFENCES_A_TICK && offence_take(&offence); i++)
		if (auto_deny->daemon->dataplane)
			judge(auto_deny, &offence);
	timer_start(auto_deny->daemon->loop, timer, AUTO_DENY_TICK_MS);
}

/* ---- life ---- */

void auto_deny_init(struct auto_deny *auto_deny, struct daemon *daemon)
{
	auto_deny->daemon = daemon;
	timer_init(&auto_deny->tick, on_tick);
}

int auto_deny_prepare(struct auto_deny *auto_deny, const struct auto_deny_conf *conf)
{
	if (!conf->rule_count || auto_deny->counts)
		return 0;
	auto_deny->counts = rate_table_new(SOURCES_MAX);
	if (!auto_deny->counts)
		return -ENOMEM;
	timer_start(auto_deny->daemon->loop, &auto_deny->tick, AUTO_DENY_TICK_MS);
	return 0;
}

void auto_deny_apply(struct auto_deny *auto_deny, const struct auto_deny_conf *conf)
{
	unsigned int kinds = 0;

	for (unsigned int i = 0; i < conf->rule_count; i++)
		kinds |= 1u << conf->rules[i].event;
	offence_watch(kinds);
}

void auto_deny_stop(struct auto_deny *auto_deny)
{
	offence_watch(0);
	timer_stop(&auto_deny->tick);
}

void auto_deny_done(struct auto_deny *auto_deny)
{
	rate_table_free(auto_deny->counts);
	auto_deny->counts = NULL;
}
