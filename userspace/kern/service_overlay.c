#include "kern/service_overlay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/buf.h"
#include "base/clock.h"
#include "kern/overlay_file.h"
#include "kern/service_words.h"

#define OVERLAY_VERSION 1
#define FILE_NAME	"services.json"

void service_overlay_done(struct service_overlay *overlay)
{
	for (unsigned int i = 0; i < overlay->made_count; i++)
		service_conf_free(overlay->made[i]);
	free(overlay->made);
	free(overlay->notes);
	*overlay = (struct service_overlay){0};
}

int service_overlay_copy(const struct service_overlay *overlay, struct service_overlay *ret_copy,
			 struct error *err)
{
	struct service_overlay copy = {
		.notes = calloc(overlay->count + 1, sizeof(*copy.notes)),
		.count = overlay->count,
		.made = calloc(overlay->made_count + 1, sizeof(*copy.made)),
	};
	bool failed = !copy.notes || !copy.made;

	if (!failed && overlay->count)
		memcpy(copy.notes, overlay->notes, overlay->count * sizeof(*copy.notes));
	for (; !failed && copy.made_count < overlay->made_count; copy.made_count += !failed) {
		copy.made[copy.made_count] = service_conf_copy(overlay->made[copy.made_count]);
		failed = !copy.made[copy.made_count];
	}
	if (failed) {
		service_overlay_done(&copy);
		return error_set(err, -ENOMEM, "out of memory");
	}
	*ret_copy = copy;
	return 0;
}

/* ---- services ---- */

static unsigned int find_made(const struct service_overlay *overlay, struct str name)
{
	unsigned int i = 0;

	while (i < overlay->made_count && !str_eq(overlay->made[i]->name, name))
		i++;
	return i;
}

bool service_overlay_has_made(const struct service_overlay *overlay, struct str name)
{
	return find_made(overlay, name) < overlay->made_count;
}

static int keep_made(struct service_overlay *overlay, struct service_conf *conf, struct error *err)
{
	struct service_conf **made;

	if (service_overlay_has_made(overlay, conf->name))
		return error_set(err, -EEXIST, "there is a service '%.*s' already",
				 STR_FMT(conf->name));
	made = overlay->made_count < SERVICE_MADE_MAX
		       ? realloc(overlay->made, (overlay->made_count + 1) * sizeof(*made))
		       : NULL;
	if (!made)
		return error_set(err, -ENOMEM, "there is no room for another service");
	overlay->made = made;
	overlay->made[overlay->made_count++] = conf;
	return 0;
}

int service_overlay_make(struct service_overlay *overlay, const struct service_conf *conf,
			 struct error *err)
{
	struct service_conf *copy = service_conf_copy(conf);
	int r = copy ? keep_made(overlay, copy, err) : error_set(err, -ENOMEM, "out of memory");

	if (r)
		service_conf_free(copy);
	return r;
}

int service_overlay_unmake(struct service_overlay *overlay, const char *name, struct error *err)
{
	unsigned int at = find_made(overlay, str_from_cstr(name)), kept = 0;

	if (at == overlay->made_count)
		return error_set(err, -ENOENT, "no service '%s' was added", name);
	service_conf_free(overlay->made[at]);
	overlay->made[at] = overlay->made[--overlay->made_count];
	for (unsigned int i = 0; i < overlay->count; i++)
		if (strcmp(overlay->notes[i].service, name))
			overlay->notes[kept++] = overlay->notes[i];
	overlay->count = kept;
	return 0;
}

int service_overlay_leave(struct service_overlay *overlay, const char *name, uint64_t drain_ms,
			  struct error *err)
{
	unsigned int at = find_made(overlay, str_from_cstr(name));
	struct service_conf *conf;

	if (at == overlay->made_count)
		return error_set(err, -ENOENT, "no service '%s' was added", name);
	conf = overlay->made[at];
	if (conf->leave_wall_ms)
		return error_set(err, -EEXIST,
				 "service '%s' is being deleted already; at once: sluice service "
				 "delete %s",
				 name, name);
	conf->leave_drain_ms = drain_ms;
	conf->leave_wall_ms = clock_wall_ms() + drain_ms;
	return 0;
}

const char *service_overlay_due(const struct service_overlay *overlay, uint64_t now_wall_ms)
{
	for (unsigned int i = 0; i < overlay->made_count; i++)
		if (overlay->made[i]->leave_wall_ms &&
		    overlay->made[i]->leave_wall_ms <= now_wall_ms)
			return overlay->made[i]->name.ptr;
	return NULL;
}

/* ---- notes of backends ---- */

static struct service_note *find_note(const struct service_overlay *overlay, const char *service,
				      const struct ip_addr *addr, uint16_t port)
{
	for (unsigned int i = 0; i < overlay->count; i++)
		if (overlay->notes[i].port == port && !strcmp(overlay->notes[i].service, service) &&
		    ip_addr_equal(&overlay->notes[i].addr, addr))
			return &overlay->notes[i];
	return NULL;
}

static struct service_note *add_note(struct service_overlay *overlay, const char *service,
				     const struct ip_addr *addr, uint16_t port)
{
	struct service_note *notes, *note;

	if (overlay->count == SERVICE_NOTES_MAX)
		return NULL;
	notes = realloc(overlay->notes, (overlay->count + 1) * sizeof(*notes));
	if (!notes)
		return NULL;
	overlay->notes = notes;
	note = &notes[overlay->count++];
	*note = (struct service_note){.addr = *addr, .port = port};
	(void)snprintf(note->service, sizeof(note->service), "%s", service);
	return note;
}

int service_overlay_note(struct service_overlay *overlay, const struct service_change *change,
			 struct error *err)
{
	struct service_note *note =
		find_note(overlay, change->service, &change->addr, change->port);

	if (!note)
		note = add_note(overlay, change->service, &change->addr, change->port);
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

void service_conf_release(struct service_conf *conf, bool owns_places)
{
	free(conf->backends);
	if (!owns_places)
		return;
	free(conf->addresses);
	free(conf->ports);
}

void service_confs_done(struct service_confs *confs)
{
	for (unsigned int i = 0; i < confs->count; i++)
		service_conf_release(&confs->items[i], confs->owns_places);
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

static void lay_backend(const struct service_overlay *overlay, const char *name,
			const struct service_backend *backend, struct service_conf *out)
{
	const struct service_note *note = find_note(overlay, name, &backend->addr, backend->port);
	struct service_backend laid = *backend;

	if (note && note->deleted)
		return;
	if (note && note->has_weight)
		laid.weight = note->weight;
	laid.drained = (note && note->drained) || out->leave_wall_ms;
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
	if (conf->leave_wall_ms) {
		uint64_t now_ms = clock_wall_ms(), until_ms = MAX(conf->leave_wall_ms, now_ms);

		out->drain_ms = conf->leave_drain_ms;
		out->leave_boot_ns = clock_boot_ns() + (until_ms - now_ms) * 1000000;
	}
	for (unsigned int i = 0; i < conf->backend_count; i++)
		lay_backend(overlay, name, &conf->backends[i], out);
	for (unsigned int i = 0; i < overlay->count; i++) {
		const struct service_note *note = &overlay->notes[i];
		const struct service_backend added = {
			.addr = note->addr, .port = note->port, .from_cli = true};

		/* The file may have it by now. */
		if (note->added && !strcmp(note->service, name) &&
		    !service_conf_backend(out, &note->addr, note->port))
			lay_backend(overlay, name, &added, out);
	}
	return 0;
}

int service_overlay_lay(const struct service_overlay *overlay, const struct service_conf *confs,
			unsigned int count, struct service_confs *ret_confs, struct error *err)
{
	struct service_confs laid = {
		.items = calloc(count + overlay->made_count + 1, sizeof(*laid.items))};

	if (!laid.items)
		return error_set(err, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < count + overlay->made_count; i++) {
		const struct service_conf *conf = i < count ? &confs[i] : overlay->made[i - count];

		if (i < count && service_overlay_has_made(overlay, conf->name)) {
			service_confs_done(&laid);
			return error_set(err, -EEXIST,
					 "service '%.*s' is in the configuration and was added by "
					 "'sluice service add', too; take it out of the "
					 "configuration, or: sluice service delete %.*s",
					 STR_FMT(conf->name), STR_FMT(conf->name));
		}
		if (lay_service(overlay, conf, &laid.items[i])) {
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

	if (object &&
	    ((note->has_weight &&
	      json_object_set_new(object, "weight", json_integer(note->weight))) ||
	     (note->port && json_object_set_new(object, "port", json_integer(note->port))))) {
		json_decref(object);
		return NULL;
	}
	return object;
}

/* A member of texts joined by commas, by one that appends the text of each. */
static int write_list(json_t *object, const char *key, const struct service_conf *conf,
		      unsigned int count,
		      const char *(*format)(const struct service_conf *conf, unsigned int index,
					    char *buf, size_t buf_len))
{
	_cleanup_(buf_done)
	struct buf text;
	int r = 0;

	buf_init(&text, 65536);
	for (unsigned int i = 0; i < count && !r; i++) {
		char item[ADDR_TEXT_MAX];

		r = buf_printf(&text, "%s%s", i ? "," : "", format(conf, i, item, sizeof(item)));
	}
	return r ? r : json_object_set_new(object, key, json_stringn(text.data, text.len));
}

static const char *format_address(const struct service_conf *conf, unsigned int index, char *buf,
				  size_t buf_len)
{
	return ip_addr_format(&conf->addresses[index], buf, buf_len);
}

static const char *format_ports(const struct service_conf *conf, unsigned int index, char *buf,
				size_t buf_len)
{
	return service_ports_format(&conf->ports[index], buf, buf_len);
}

static int write_number(json_t *object, const char *key, uint64_t number)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return json_object_set_new(object, key, json_string(text));
}

static int write_health(json_t *object, const struct service_health *health)
{
	if (!health->enabled)
		return 0;
	return json_object_set_new(object, "probe", json_string("tcp")) ||
	       (health->port && write_number(object, "health_port", health->port)) ||
	       write_number(object, "interval_ms", health->interval_ms) ||
	       write_number(object, "timeout_ms", health->timeout_ms) ||
	       write_number(object, "rise", health->rise) ||
	       write_number(object, "fall", health->fall);
}

static int write_leaving(json_t *object, const struct service_conf *conf)
{
	if (!conf->leave_wall_ms)
		return 0;
	return json_object_set_new(object, "leave_drain_ms",
				   json_integer((json_int_t)conf->leave_drain_ms)) ||
	       json_object_set_new(object, "leave_wall_ms",
				   json_integer((json_int_t)conf->leave_wall_ms));
}

/* In the words of kern/service_words.h. */
static json_t *write_made(const struct service_conf *conf)
{
	char drain[24], slots[16] = "auto";
	json_t *object;

	(void)snprintf(drain, sizeof(drain), "%llu", (unsigned long long)conf->drain_ms);
	if (conf->slot_count)
		(void)snprintf(slots, sizeof(slots), "%u", conf->slot_count);
	object =
		json_pack("{s:s%, s:s, s:s, s:s, s:s, s:s}", "name", conf->name.ptr, conf->name.len,
			  "protocol", service_protocol_name(conf->protocol), "forward",
			  service_forward_name(conf->forward), "affinity",
			  service_affinity_name(conf->affinity), "drain_ms", drain, "slots", slots);
	if (object && (write_list(object, "address", conf, conf->address_count, format_address) ||
		       write_list(object, "ports", conf, conf->port_count, format_ports) ||
		       write_health(object, &conf->health) || write_leaving(object, conf))) {
		json_decref(object);
		return NULL;
	}
	return object;
}

int service_overlay_save(const struct service_overlay *overlay, const char *state_dir,
			 struct error *err)
{
	_cleanup_(json_decrefpp)
	json_t *root =
		json_pack("{s:i, s:[], s:[]}", "version", OVERLAY_VERSION, "services", "backends");
	json_t *backends = json_object_get(root, "backends");
	json_t *services = json_object_get(root, "services");
	int r = root ? 0 : -ENOMEM;

	for (unsigned int i = 0; i < overlay->made_count && !r; i++)
		r = json_array_append_new(services, write_made(overlay->made[i])) ? -ENOMEM : 0;
	for (unsigned int i = 0; i < overlay->count && !r; i++)
		r = json_array_append_new(backends, write_note(&overlay->notes[i])) ? -ENOMEM : 0;
	if (r)
		return error_set_errno(err, r, "cannot write '%s/" FILE_NAME "'", state_dir);
	return overlay_file_write(state_dir, FILE_NAME, root, err);
}

static int read_note(struct service_overlay *overlay, json_t *object, struct error *err)
{
	const char *service, *address;
	int added = 0, deleted = 0, drained = 0;
	json_int_t weight = -1, port = 0;
	struct service_note *note;
	struct ip_addr addr;
	json_error_t why;

	if (json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s:s, s?b, s?b, s?b, s?I, s?I}",
			   "service", &service, "address", &address, "added", &added, "deleted",
			   &deleted, "drained", &drained, "weight", &weight, "port", &port))
		return error_set(err, -EINVAL, "%s", why.text);
	if (strlen(service) >= SL_SERVICE_NAME_MAX || weight < -1 || weight > SERVICE_WEIGHT_MAX ||
	    port < 0 || port > UINT16_MAX || ip_addr_parse(str_from_cstr(address), &addr) ||
	    (added && weight < 0))
		return error_set(err, -EINVAL, "a value that cannot be");
	if (find_note(overlay, service, &addr, (uint16_t)port))
		return error_set(err, -EINVAL, "the same backend twice");
	note = add_note(overlay, service, &addr, (uint16_t)port);
	if (!note)
		return error_set(err, -ENOMEM, "out of memory");
	note->added = added;
	note->deleted = deleted;
	note->drained = drained;
	note->has_weight = weight >= 0;
	note->weight = weight >= 0 ? (uint32_t)weight : 0;
	return 0;
}

static int read_made(struct service_overlay *overlay, json_t *object, struct error *err)
{
	struct service_words words = {0};
	json_int_t leave_drain_ms = 0, leave_wall_ms = 0;
	struct service_conf *conf;
	json_error_t why;
	int r;

	if (json_unpack_ex(object, &why, JSON_STRICT,
			   "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s?s, s?s, s?s, s?s, s?s, s?s, "
			   "s?I, s?I}",
			   "name", &words.name, "address", &words.address, "ports", &words.ports,
			   "protocol", &words.protocol, "forward", &words.forward, "affinity",
			   &words.affinity, "drain_ms", &words.drain_ms, "slots", &words.slots,
			   "probe", &words.probe, "health_port", &words.health_port, "interval_ms",
			   &words.interval_ms, "timeout_ms", &words.timeout_ms, "rise", &words.rise,
			   "fall", &words.fall, "leave_drain_ms", &leave_drain_ms, "leave_wall_ms",
			   &leave_wall_ms))
		return error_set(err, -EINVAL, "%s", why.text);
	if (leave_drain_ms < 0 || leave_drain_ms > SERVICE_DRAIN_MAX_MS || leave_wall_ms < 0)
		return error_set(err, -EINVAL, "a value that cannot be");
	r = service_words_read(&words, &conf, err);
	if (r)
		return r;
	conf->leave_drain_ms = (uint64_t)leave_drain_ms;
	conf->leave_wall_ms = (uint64_t)leave_wall_ms;
	r = keep_made(overlay, conf, err);
	if (r)
		service_conf_free(conf);
	return r;
}

static int read_list(struct service_overlay *overlay, json_t *list, const char *key,
		     int (*read)(struct service_overlay *overlay, json_t *object,
				 struct error *err),
		     struct error *err)
{
	json_t *object;
	size_t index;

	json_array_foreach(list, index, object)
	{
		int r = read(overlay, object, err);

		if (r) {
			error_prefix(err, "%s[%zu]", key, index);
			return r;
		}
	}
	return 0;
}

static int read_notes(struct service_overlay *overlay, json_t *root, struct error *err)
{
	json_t *backends = json_object_get(root, "backends");
	json_t *services = json_object_get(root, "services");
	int r;

	if (json_integer_value(json_object_get(root, "version")) != OVERLAY_VERSION ||
	    !json_is_array(backends) || (services && !json_is_array(services)))
		return error_set(err, -EPROTO, "not of version %d", OVERLAY_VERSION);
	r = read_list(overlay, services, "services", read_made, err);
	return r ? r : read_list(overlay, backends, "backends", read_note, err);
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
