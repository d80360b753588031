/*
 * service_overlay: what people changed of services at run time: services added; backends added,
 * deleted, drained, weighted anew. One note for each backend of a service, laid over what the file
 * says; a note stays until the opposite change, also when the file changes, and goes with a service
 * that was added. Kept in STATE_DIR/services.json, written whole to a temporary file, fsync,
 * rename. Thread rule: one owner.
 */
#ifndef SLUICE_KERN_SERVICE_OVERLAY_H
#define SLUICE_KERN_SERVICE_OVERLAY_H

#include "kern/service.h"

#define SERVICE_NOTES_MAX 65536
#define SERVICE_MADE_MAX  SL_SERVICES_MAX

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
	uint16_t port;
	bool has_port; /* else the only backend of that address is meant */
	uint32_t weight;
};

struct service_note {
	char service[SL_SERVICE_NAME_MAX];
	struct ip_addr addr;
	uint16_t port; /* 0: none */
	bool added, deleted, drained, has_weight;
	uint32_t weight;
};

struct service_overlay {
	struct service_note *notes;
	unsigned int count;
	struct service_conf **made; /* services that people added, without backends */
	unsigned int made_count;
};

/* What is to be: on the heap. Names are others', and so are addresses and ports where told. */
struct service_confs {
	struct service_conf *items;
	unsigned int count;
	bool owns_places; /* addresses and ports are ours */
};

void service_overlay_done(struct service_overlay *overlay);
int service_overlay_copy(const struct service_overlay *overlay, struct service_overlay *ret_copy,
			 struct error *err);
int service_overlay_note(struct service_overlay *overlay, const struct service_change *change,
			 struct error *err);
/* A copy of the service, which has no backends yet. -EEXIST: one of this name was added. */
int service_overlay_make(struct service_overlay *overlay, const struct service_conf *conf,
			 struct error *err);
/* Forgets a service that was added, and all notes of it. -ENOENT. */
int service_overlay_unmake(struct service_overlay *overlay, const char *name, struct error *err);
/* From now on it is drained, and to be forgotten when the time has come. -ENOENT, -EEXIST. */
int service_overlay_leave(struct service_overlay *overlay, const char *name, uint64_t drain_ms,
			  struct error *err);
/* The name of one whose time has come, or NULL. */
const char *service_overlay_due(const struct service_overlay *overlay, uint64_t now_wall_ms);
bool service_overlay_has_made(const struct service_overlay *overlay, struct str name);
/* -EEXIST: a service that was added is in the file, too. */
int service_overlay_lay(const struct service_overlay *overlay, const struct service_conf *confs,
			unsigned int count, struct service_confs *ret_confs, struct error *err);
/* What an element of service_confs holds. */
void service_conf_release(struct service_conf *conf, bool owns_places);
void service_confs_done(struct service_confs *confs);

/* No file is no error. What cannot be believed is one. */
int service_overlay_load(struct service_overlay *overlay, const char *state_dir, struct error *err);
int service_overlay_save(const struct service_overlay *overlay, const char *state_dir,
			 struct error *err);

#endif
