/*
 * service_overlay: what people changed of services at run time: backends added, deleted, drained,
 * weighted anew. One note for each backend of a service, laid over what the file says; a note stays
 * until the opposite change, also when the file changes. Kept in STATE_DIR/services.json, written
 * whole to a temporary file, fsync, rename. Thread rule: one owner.
 */
#ifndef SLUICE_KERN_SERVICE_OVERLAY_H
#define SLUICE_KERN_SERVICE_OVERLAY_H

#include "kern/service.h"

#define SERVICE_NOTES_MAX 65536

enum service_change_kind {
	SERVICE_CHANGE_ADD, /* with a weight */
	SERVICE_CHANGE_DELETE,
	SERVICE_CHANGE_DRAIN,
	SERVICE_CHANGE_UNDRAIN,
	SERVICE_CHANGE_WEIGHT,
};

struct service_change {
	enum service_change_kind kind;
	char service[SL_SERVICE_NAME_MAX];
	struct ip_addr addr;
	uint32_t weight;
};

struct service_note {
	char service[SL_SERVICE_NAME_MAX];
	struct ip_addr addr;
	bool added, deleted, drained, has_weight;
	uint32_t weight;
};

struct service_overlay {
	struct service_note *notes;
	unsigned int count;
};

/* What is to be: on the heap. Addresses and ports are those of the file. */
struct service_confs {
	struct service_conf *items;
	unsigned int count;
};

void service_overlay_done(struct service_overlay *overlay);
int service_overlay_copy(const struct service_overlay *overlay, struct service_overlay *ret_copy,
			 struct error *err);
int service_overlay_note(struct service_overlay *overlay, const struct service_change *change,
			 struct error *err);
int service_overlay_lay(const struct service_overlay *overlay, const struct service_conf *confs,
			unsigned int count, struct service_confs *ret_confs, struct error *err);
void service_confs_done(struct service_confs *confs);

/* No file is no error. What cannot be believed is one. */
int service_overlay_load(struct service_overlay *overlay, const char *state_dir, struct error *err);
int service_overlay_save(const struct service_overlay *overlay, const char *state_dir,
			 struct error *err);

#endif
