#include "control/certificates.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include <xxhash.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "tls/tls_config.h"

#define LOOK_MS 3000
#define DAY_S	86400

/* What the files of one listener are like: a hash of places, sizes and times. */
struct certificate_watch {
	uint64_t in_force; /* 0: not known, to be read again when they stand still */
	uint64_t seen;	   /* at the last look */
};

struct look {
	uint64_t hash;
	int64_t newest_ms;
};

static int look_at_file(struct str path, void *arg)
{
	struct look *look = arg;
	char name[PATH_MAX];
	struct stat info = {0};
	struct {
		uint64_t before, device, inode, size;
		int64_t seconds, nanoseconds;
	} facts = {.before = look->hash};

	/* A file that is gone for the moment is one that changed. */
	if (!str_to_cstr(path, name, sizeof(name)) && !stat(name, &info)) {
		facts.device = info.st_dev;
		facts.inode = info.st_ino;
		facts.size = (uint64_t)info.st_size;
		facts.seconds = info.st_mtim.tv_sec;
		facts.nanoseconds = info.st_mtim.tv_nsec;
		look->newest_ms = MAX(look->newest_ms, (int64_t)info.st_mtim.tv_sec * 1000 +
							       info.st_mtim.tv_nsec / 1000000);
	}
	look->hash = XXH64(&facts, sizeof(facts), 0);
	return 0;
}

void certificates_done(struct certificates *certificates)
{
	free(certificates->watches);
	certificates->watches = NULL;
	certificates->watch_count = 0;
}

/* A new snapshot was read from the files as they were, unless they changed meanwhile. */
static void begin(struct certificates *certificates, const struct snapshot *snapshot)
{
	struct certificate_watch *watches =
		calloc(snapshot->listener_count + 1, sizeof(*certificates->watches));

	if (!watches)
		return; /* the next look tries again */
	certificates_done(certificates);
	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		struct look look = {.hash = 1};

		if (!snapshot->listeners[i].tls)
			continue;
		(void)tls_server_config_walk_files(snapshot->listeners[i].tls, look_at_file, &look);
		watches[i].seen = look.hash;
		if (look.newest_ms < (int64_t)snapshot->loaded_wall_ms - LOOK_MS)
			watches[i].in_force = look.hash;
	}
	certificates->watches = watches;
	certificates->watch_count = snapshot->listener_count;
	certificates->generation = snapshot->generation;
}

int certificates_renew(struct certificates *certificates, const struct snapshot *snapshot,
		       unsigned int listener, struct registry *registry, unsigned int worker_count,
		       struct error *err)
{
	const struct listener_conf *conf = &snapshot->listeners[listener];
	int r = tls_server_renew(registry, conf->tls, worker_count, err);

	if (r) {
		certificates->refused++;
		log_error("control", "listener '%.*s' goes on with the certificates it had: %s",
			  STR_FMT(conf->name), err->text);
		event_publish(EVENT_CERTIFICATE_REFUSED, conf->name, "%s", err->text);
		return r;
	}
	certificates->renewed++;
	log_info("control", "listener '%.*s' uses the certificates as they are now",
		 STR_FMT(conf->name));
	event_publish(EVENT_CERTIFICATE_CHANGED, conf->name,
		      "its certificates were read again and are in force");
	return 0;
}

static void look_at_listener(struct certificates *certificates, const struct snapshot *snapshot,
			     unsigned int listener, struct registry *registry,
			     unsigned int worker_count)
{
	struct certificate_watch *watch = &certificates->watches[listener];
	struct look look = {.hash = 1};
	struct error err = {0};
	bool stood_still;

	(void)tls_server_config_walk_files(snapshot->listeners[listener].tls, look_at_file, &look);
	stood_still = look.hash == watch->seen;
	watch->seen = look.hash;
	if (look.hash == watch->in_force || !stood_still)
		return;
	/* Refused or not: the same files are not tried again. */
	watch->in_force = look.hash;
	(void)certificates_renew(certificates, snapshot, listener, registry, worker_count, &err);
}

static void warn_of_ends(const struct listener_conf *listener, int64_t now_s)
{
	struct tls_certificate_facts facts;

	for (unsigned int i = 0; !tls_server_get_certificate(listener->tls->server, i, &facts);
	     i++) {
		int64_t days = (facts.not_after - now_s) / DAY_S;

		if (facts.not_after < now_s)
			event_publish(EVENT_CERTIFICATE_EXPIRES, listener->name,
				      "the certificate of '%s' has expired", facts.subject);
		else if (days < CERTIFICATE_WARN_DAYS)
			event_publish(EVENT_CERTIFICATE_EXPIRES, listener->name,
				      "the certificate of '%s' expires in %lld days", facts.subject,
				      (long long)days);
	}
}

void certificates_tick(struct certificates *certificates, const struct snapshot *snapshot,
		       struct registry *registry, unsigned int worker_count)
{
	uint64_t now_ms = clock_mono_ms();
	int64_t now_s = (int64_t)time(NULL);
	bool new_day = (uint64_t)now_s / DAY_S != certificates->warned_day;

	if (now_ms < certificates->next_look_ms)
		return;
	certificates->next_look_ms = now_ms + LOOK_MS;
	if (!certificates->watches || certificates->generation != snapshot->generation) {
		begin(certificates, snapshot);
		return;
	}
	for (unsigned int i = 0; i < certificates->watch_count; i++) {
		if (!snapshot->listeners[i].tls)
			continue;
		look_at_listener(certificates, snapshot, i, registry, worker_count);
		if (new_day)
			warn_of_ends(&snapshot->listeners[i], now_s);
	}
	certificates->warned_day = (uint64_t)now_s / DAY_S;
}
