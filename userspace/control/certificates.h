/*
 * certificates: notices that files of listeners' `tls` changed, and puts them into force.
 *
 * Every few seconds the files are looked at (inode, size, time). What has changed and then stood
 * still from one look to the next is read again, per listener: certificate and key must fit, or the
 * listener goes on with what it had until the files change once more. Handshakes under way and
 * connections that stand are not touched; nothing else of the configuration is read.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_CERTIFICATES_H
#define SLUICE_CONTROL_CERTIFICATES_H

#include "base/registry.h"
#include "http/snapshot.h"

#define CERTIFICATE_WARN_DAYS 14

struct certificate_watch;

struct certificates {
	struct certificate_watch *watches; /* by the number of the listener */
	unsigned int watch_count;
	uint64_t generation; /* of the snapshot that they are of */
	uint64_t next_look_ms;
	uint64_t warned_day; /* since 1970 */
	uint64_t renewed, refused;
};

void certificates_done(struct certificates *certificates);
/* Every second. */
void certificates_tick(struct certificates *certificates, const struct snapshot *snapshot,
		       struct registry *registry, unsigned int worker_count);
/* One listener's files, now, whether they changed or not. */
int certificates_renew(struct certificates *certificates, const struct snapshot *snapshot,
		       unsigned int listener, struct registry *registry, unsigned int worker_count,
		       struct error *err);

#endif
