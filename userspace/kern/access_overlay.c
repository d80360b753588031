#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "kern/access_list.h"
#include "kern/overlay_file.h"

#define OVERLAY_VERSION 1
#define FILE_NAME	"overlay.json"

static const char *const list_keys[] = {[ACCESS_ALLOW] = "allow", [ACCESS_DENY] = "deny"};

static int add_entry(const struct access_entry *entry, void *arg)
{
	_cleanup_(json_decrefpp)
	json_t *object = NULL;
	char prefix[ADDR_TEXT_MAX];

	if (entry->origin != ACCESS_FROM_CLI)
		return 0;
	(void)ip_prefix_format(&entry->prefix, prefix, sizeof(prefix));
	object = json_pack("{s:s, s:s, s:I}", "prefix", prefix, "reason", entry->reason, "expires",
			   (json_int_t)entry->expires_wall_ms);
	/* A reason that is not UTF-8 is refused; the entry matters more than its words. */
	if (!object)
		object = json_pack("{s:s, s:s, s:I}", "prefix", prefix, "reason", "", "expires",
				   (json_int_t)entry->expires_wall_ms);
	if (!object)
		return -ENOMEM;
	return json_array_append(arg, object) ? -ENOMEM : 0;
}

int access_overlay_save(struct dataplane *dataplane, const char *state_dir, struct error *err)
{
	_cleanup_(json_decrefpp)
	json_t *root = json_pack("{s:i}", "version", OVERLAY_VERSION);
	int ret = root ? 0 : -ENOMEM;

	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY && ret == 0; kind++) {
		json_t *list = json_array();

		if (json_object_set_new(root, list_keys[kind], list))
			ret = -ENOMEM;
		else
			ret = access_list_walk(dataplane, kind, add_entry, list);
	}
	if (ret)
		return error_set_errno(err, ret, "cannot write '%s/" FILE_NAME "'", state_dir);
	return overlay_file_write(state_dir, FILE_NAME, root, err);
}

/* The file is input: each value is looked at before it is believed. */
static int parse_entry(json_t *object, struct access_entry *ret_entry, struct error *err)
{
	struct access_entry entry = {.origin = ACCESS_FROM_CLI};
	const char *prefix, *reason = "";
	json_int_t expires = 0;
	json_error_t why;
	int ret;

	if (json_unpack_ex(object, &why, JSON_STRICT, "{s:s, s?s, s?I}", "prefix", &prefix,
			   "reason", &reason, "expires", &expires))
		return error_set(err, -EINVAL, "%s", why.text);
	if (expires < 0)
		return error_set(err, -EINVAL, "'expires' is negative");
	ret = ip_prefix_parse(str_from_cstr(prefix), &entry.prefix, err);
	if (ret)
		return ret;
	(void)snprintf(entry.reason, sizeof(entry.reason), "%s", reason);
	entry.expires_wall_ms = (uint64_t)expires;
	*ret_entry = entry;
	return 0;
}

static int replay_list(struct dataplane *dataplane, enum access_list_kind kind, json_t *list,
		       struct error *err)
{
	size_t index;
	json_t *object;

	if (!list)
		return 0;
	if (!json_is_array(list))
		return error_set(err, -EINVAL, "'%s' is no array", list_keys[kind]);
	json_array_foreach(list, index, object)
	{
		struct access_entry entry;
		int ret = parse_entry(object, &entry, err);

		if (ret == 0 && entry.expires_wall_ms && entry.expires_wall_ms <= clock_wall_ms())
			continue;
		if (ret == 0)
			ret = access_list_add(dataplane, kind, &entry, err);
		if (ret) {
			error_prefix(err, "%s[%zu]", list_keys[kind], index);
			return ret;
		}
	}
	return 0;
}

static int replay(struct dataplane *dataplane, json_t *root, struct error *err)
{
	json_int_t version = json_integer_value(json_object_get(root, "version"));
	int ret = 0;

	if (version != OVERLAY_VERSION)
		return error_set(err, -EPROTO, "version %lld, this is %d", (long long)version,
				 OVERLAY_VERSION);
	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY && ret == 0; kind++)
		ret = replay_list(dataplane, kind, json_object_get(root, list_keys[kind]), err);
	return ret;
}

int access_overlay_load(struct dataplane *dataplane, const char *state_dir, struct error *err)
{
	_cleanup_(json_decrefpp)
	json_t *root = NULL;
	int ret = overlay_file_read(state_dir, FILE_NAME, &root, err);

	if (ret || !root)
		return ret;
	ret = replay(dataplane, root, err);
	if (ret)
		error_prefix(err, "%s/" FILE_NAME, state_dir);
	return ret;
}
