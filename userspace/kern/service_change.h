/*
 * service_change: whether people may change services as they want to, and what that comes to when
 * no daemon lives.
 *
 * Without a daemon nobody moves slots through their phases. So a change is tried on a copy of the
 * maps first, and made only if no slot would have to begin a phase, go on in one, or lose flows.
 * Thread rule: one thread, the owner of the lock.
 */
#ifndef SLUICE_KERN_SERVICE_CHANGE_H
#define SLUICE_KERN_SERVICE_CHANGE_H

#include "kern/service_check.h"
#include "kern/service_overlay.h"

/*
 * May this backend change be made? `confs`: the services that stand. Fills in change->port where
 * the address alone says which backend is meant. -ENOENT: no such service or backend; -EEXIST;
 * -ENOTUNIQ: several backends have that address; -EINVAL: the service cannot have it.
 */
int service_change_check(const struct service_confs *confs, struct service_change *change,
			 const struct nat_source *sources, unsigned int source_count,
			 struct error *err);
/* May this service stand beside the others? -EEXIST: its name, or a place of its. -EINVAL. */
int service_change_check_new(const struct service_confs *confs, const struct service_conf *conf,
			     const struct nat_source *sources, unsigned int source_count,
			     struct error *err);
/* What a person calls the backend: "10.0.0.1:80". */
const char *service_change_format(const struct service_change *change, char *buf, size_t buf_len);

/* The services that the maps hold, as they would have been asked for. */
int service_set_confs(const struct service_set *set, struct service_confs *ret_confs,
		      struct error *err);
/* The change on these; what service_overlay_note() and the next daemon come to. */
int service_confs_change(struct service_confs *confs, const struct service_change *change,
			 struct error *err);
int service_confs_add(struct service_confs *confs, const struct service_conf *conf,
		      struct error *err);
int service_confs_delete(struct service_confs *confs, struct str name, struct error *err);
/* service_set_apply() where no phase is needed for that, else -EBUSY and nothing is written. */
int service_set_apply_unattended(struct service_set *set, const struct service_confs *confs,
				 uint64_t now_ns, struct error *err);

#endif
