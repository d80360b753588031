#include "kern/service_overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "kern/overlay_file.h"

#define OVERLAY_VERSION 1
#define FILE_NAME	"services.json"

void service_overlay_done(struct service_overlay *overlay)
{
	free(overlay->notes);
	*overlay = (struct service_overlay){0};
}

int service_overlay_copy(const struct service_overlay *overlay, struct service_overlay *ret_copy,
			 struct error *err)
{
	struct service_note *notes = calloc(overlay->count + 1, sizeof(*notes));

	if (!notes)
		return error_set(err, -ENOMEM, "out of memory");
	if (overlay->count)
		memcpy(notes, overlay->notes, overlay->count * sizeof(*notes));
	*ret_copy = (struct service_overlay){notes, overlay->count};
	return 0;
}

static bool same_addr(const struct ip_addr *left, const struct ip_addr *right)
{
	return left->family == right->family &&
	       !memcmp(left->bytes, right->bytes, sizeof(left->bytes));
}

static struct service_note *find_note(const struct service_overlay *overlay, const char *service,
				      const struct ip_addr *addr)
{
	for (unsigned int i = 0; i < overlay->count; i++)
		if (!strcmp(overlay->notes[i].service, service) &&
		    same_addr(&overlay->notes[i].addr, addr))
			return &overlay->notes[i];
	return NULL;
}

static struct service_note *add_note(struct service_overlay *overlay, const char *service,
				     const struct ip_addr *addr)
{
	struct service_note *notes, *note;

	if (overlay->count == SERVICE_NOTES_MAX)
		return NULL;
	notes = realloc(overlay->notes, (overlay->count + 1) * sizeof(*notes));
	if (!notes)
		return NULL;
	overlay->notes = notes;
	note = &notes[overlay->count++];
	*note = (struct service_note){.addr = *addr};
	(void)snprintf(note->service, sizeof(note->service), "%s", service);
	return note;
}

int service_overlay_note(struct service_overlay *overlay, const struct service_change *change,
			 struct error *err)
{
	struct service_note *note = find_note(overlay, change->service, &change->addr);

	if (!note)
		note = add_note(overlay, change->service, &change->addr);
	if (!note)
		return error_set(err, -ENOMEM, "there is no room for another change");
	switch (change->kind) {
	case SERVICE_CHANGE_ADD:
		note->added = true;
		note->deleted = note->drained = false;
		note->has_weight = true;
		note->weight = change->weight;
		break;
	case SERVICE_CHANGE_DELETE:
		note->deleted = true;
		note->added = note->drained = note->has_weight = false;
		break;
	case SERVICE_CHANGE_DRAIN:
		note->drained = true;
		break;
	case SERVICE_CHANGE_UNDRAIN:
		note->drained = false;
		break;
	case SERVICE_CHANGE_WEIGHT:
		note->has_weight = true;
		note->weight = change->weight;
		break;
	}
	/* One that says nothing any more. */
	if (!note->added && !note->deleted && !note->drained && !note->has_weight)
		*note = overlay->notes[--overlay->count];
	return 0;
}

/* ---- laying it over the file ---- */

void service_confs_done(struct service_confs *confs)
{
	for (unsigned int i = 0; i < confs->count; i++)
		free(confs->items[i].backends);
	free(confs->items);
	*confs = (struct service_confs){0};
}

static unsigned int count_added(const struct service_overlay *overlay, struct str service)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < overlay->count; i++)
		count += overlay->notes[i].added && str_eq_cstr(service, overlay->notes[i].service);
	return count;
}

static bool has_backend(const struct service_conf *conf, const struct ip_addr *addr)
{
	for (unsigned int i = 0; i < conf->backend_count; i++)
		if (same_addr(&conf->backends[i].addr, addr))
			return true;
	return false;
}

static void lay_backend(const struct service_overlay *overlay, const char *name,
			const struct service_backend *backend, struct service_conf *out)
{
	const struct service_note *note = find_note(overlay, name, &backend->addr);
	struct service_backend laid = *backend;

	if (note && note->deleted)
		return;
	if (note && note->has_weight)
		laid.weight = note->weight;
	laid.drained = note && note->drained;
	out->backends[out->backend_count++] = laid;
}

static int lay_service(const struct service_overlay *overlay, const struct service_conf *conf,
		       struct service_conf *out)
{
	char name[SL_SERVICE_NAME_MAX];

	*out = *conf;
	out->backend_count = 0;
	(void)str_to_cstr(conf->name, name, sizeof(name));
	out->backends = calloc(conf->backend_count + count_added(overlay, conf->name) + 1,
			       sizeof(*out->backends));
	if (!out->backends)
		return -ENOMEM;
	for (unsigned int i = 0; i < conf->backend_count; i++)
		lay_backend(overlay, name, &conf->backends[i], out);
	for (unsigned int i = 0; i < overlay->count; i++) {
		const struct service_note *note = &overlay->notes[i];
		const struct service_backend added = {.addr = note->addr, .from_cli = true};

		/* The file may have it by now. */
		if (note->added && !strcmp(note->service, name) && !has_backend(out, &note->addr))
			lay_backend(overlay, name, &added, out);
	}
	return 0;
}

int service_overlay_lay(const struct service_overlay *overlay, const struct service_conf *confs,
			unsigned int count, struct service_confs *ret_confs, struct error *err)
{
	struct service_confs laid = {.items = calloc(count + 1, sizeof(*laid.items))};

	if (!laid.items)
		return error_set(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < count; i++) {
		if (lay_service(overlay, &confs[i], &laid.items[i])) {
			service_confs_done(&laid);
			return error_set(err, -ENOMEM, "out of memory");
		}
		laid.count++;
	}
	*ret_confs = laid;
	return 0;
}

/* ---- the file ---- */

static json_t *write_note(const struct service_note *note)
{
	char addr[ADDR_TEXT_MAX];
	json_t *object = json_pack("{s:s, s:s, s:b, s:b, s:b}", "service", note->service, "address",
				   ip_addr_format(&note->addr, addr, sizeof(addr)), "added",
				   (int)note->added, "deleted", (int)note->deleted, "drained",
				   (int)note->drained);

	if (object && note->has_weight &&
	    json_object_set_new(object, "weight", json_integer(note->weight))) {
		json_decref(object);
		return NULL;
	}
	return object;
}

int service_overlay_save(const struct service_overlay *overlay, const char *state_dir,
			 struct error *err)
{
	_cleanup_(json_decrefpp)
	json_t *root = json_pack("{s:i, s:[]}", "version", OVERLAY_VERSION, "backends");
	json_t *list = json_object_get(root, "backends");
	int r = root ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < overlay->count && !r; i++)
		r = json_array_append_new(list, write_note(&overlay->notes[i])) ? -ENOMEM : 0;
	if (r)
		return error_set_errno(err, r, "cannot write '%s/" FILE_NAME "'", state_dir);
	return overlay_file_write(state_dir, FILE_NAME, root, err);
}

static int read_note(struct service_overlay *overlay, json_t *object, struct error *err)
{
	const char *service, *address;
	int added = 0, deleted = 0, drained = 0;
	json_int_t weight = -1;
	struct service_note *note;
	struct ip_addr addr;
	json_error_t why;

	if (json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s:s, s?b, s?b, s?b, s?I}", "service",
			   &service, "address", &address, "added", &added, "deleted", &deleted,
			   "drained", &drained, "weight", &weight))
		return error_set(err, -EINVAL, "%s", why.text);
	if (strlen(service) >= SL_SERVICE_NAME_MAX || weight < -1 || weight > SERVICE_WEIGHT_MAX ||
	    ip_addr_parse(str_from_cstr(address), &addr) || (added && weight < 0))
		return error_set(err, -EINVAL, "a value that cannot be");
	if (find_note(overlay, service, &addr))
		return error_set(err, -EINVAL, "the same backend twice");
	note = add_note(overlay, service, &addr);
	if (!note)
		return error_set(err, -ENOMEM, "out of memory");
	note->added = added;
	note->deleted = deleted;
	note->drained = drained;
	note->has_weight = weight >= 0;
	note->weight = weight >= 0 ? (uint32_t)weight : 0;
	return 0;
}

static int read_notes(struct service_overlay *overlay, json_t *root, struct error *err)
{
	json_t *list = json_object_get(root, "backends"), *object;
	size_t index;

	if (json_integer_value(json_object_get(root, "version")) != OVERLAY_VERSION ||
	    !json_is_array(list))
		return error_set(err, -EPROTO, "not of version %d", OVERLAY_VERSION);
	json_array_foreach(list, index, object)
	{
		int r = read_note(overlay, object, err);

		if (r) {
			error_prefix(err, "backends[%zu]", index);
			return r;
		}
	}
	return 0;
}

int service_overlay_load(struct service_overlay *overlay, const char *state_dir, struct error *err)
{
	_cleanup_(json_decrefpp)
	json_t *root = NULL;
	int r = overlay_file_read(state_dir, FILE_NAME, &root, err);

	if (r || !root)
		return r;
	r = read_notes(overlay, root, err);
	if (r) {
		error_prefix(err, "%s/" FILE_NAME, state_dir);
		service_overlay_done(overlay);
	}
	return r;
}
