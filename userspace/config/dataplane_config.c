#include "config/dataplane_config.h"

#include <errno.h>

#include "conf/names.h"
#include "config/access_config.h"
#include "config/auto_deny_config.h"
#include "config/nat_config.h"

#define WHAT_MAX       160
#define VALUE_MAX      96
#define INTERFACES_MAX 256

struct interface_file {
	struct str name;
	int xdp;
};

static const struct field_name mode_names[] = {
	{.name = "auto", .value = XDP_MODE_AUTO},
	{.name = "native", .value = XDP_MODE_NATIVE},
	{.name = "generic", .value = XDP_MODE_GENERIC},
	{.name = "off", .value = XDP_MODE_OFF},
};

static const struct field interface_fields[] = {
	{.key = "name",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct interface_file, name),
	 .required = true,
	 .min = 1,
	 .max = IFNAMSIZ - 1},
	{.key = "xdp",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct interface_file, xdp),
	 .names = mode_names,
	 .name_count = ARRAY_SIZE(mode_names),
	 .default_text = "auto"},
};

/* What the kernel takes for a name (dev_valid_name in net/core/dev.c). */
static bool is_interface_name(struct str name)
{
	if (str_eq_cstr(name, ".") || str_eq_cstr(name, ".."))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] <= ' ' || name.ptr[i] == '/' || name.ptr[i] == ':' ||
		    name.ptr[i] > '~')
			return false;
	return true;
}

static int interface_read(const struct field_context *context, const struct conf_node *node,
			  const char *what, struct dataplane_conf *conf)
{
	struct dataplane_interface *interface = &conf->interfaces[conf->interface_count];
	struct interface_file file = {.xdp = XDP_MODE_AUTO};
	char value[VALUE_MAX];

	if (field_read(context, interface_fields, ARRAY_SIZE(interface_fields), node, what, &file))
		return -EINVAL;
	(void)str_quote(file.name, value, sizeof(value));
	if (!is_interface_name(file.name)) {
		conf_error(context->errors, conf_get(node, "name"),
			   "%s: %s is not a name of an interface", what, value);
		return -EINVAL;
	}
	for (unsigned int i = 0; i < conf->interface_count; i++) {
		if (!str_eq_cstr(file.name, conf->interfaces[i].name))
			continue;
		conf_error(context->errors, conf_get(node, "name"), "%s: %s is given twice", what,
			   value);
		return -EINVAL;
	}
	(void)str_to_cstr(file.name, interface->name, sizeof(interface->name));
	interface->mode = (enum xdp_mode)file.xdp;
	conf->interface_count++;
	return 0;
}

static int interfaces_read(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	struct dataplane_conf *conf = target;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: interfaces", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	if (node->count > INTERFACES_MAX) {
		conf_error(context->errors, node, "%s: more than %d", what, INTERFACES_MAX);
		return -EINVAL;
	}
	conf->interfaces = arena_new_array(context->arena, struct dataplane_interface, node->count);
	if (!conf->interfaces)
		return field_no_memory(context, node);
	conf_for_each (item, node) {
		if (interface_read(context, item, what, conf))
			result = -EINVAL;
	}
	return result;
}

static void interfaces_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct dataplane_conf *conf = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->interface_count; i++) {
		const struct interface_file file = {
			.name = str_from_cstr(conf->interfaces[i].name),
			.xdp = (int)conf->interfaces[i].mode,
		};

		conf_write_open_item(writer);
		field_write(writer, interface_fields, ARRAY_SIZE(interface_fields), &file);
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

static int allow_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct dataplane_conf *conf = target;

	return access_config_read(context, node, ACCESS_ALLOW, *(const uint64_t *)context->user,
				  &conf->allow_written, &conf->allow, &conf->allow_count);
}

static void allow_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_open_list(writer, key);
	access_config_write(writer, &((const struct dataplane_conf *)target)->allow_written);
	conf_write_close(writer);
}

static int deny_read(const struct field_context *context, const struct conf_node *node,
		     void *target)
{
	struct dataplane_conf *conf = target;

	return access_config_read(context, node, ACCESS_DENY, *(const uint64_t *)context->user,
				  &conf->deny_written, &conf->deny, &conf->deny_count);
}

static void deny_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_open_list(writer, key);
	access_config_write(writer, &((const struct dataplane_conf *)target)->deny_written);
	conf_write_close(writer);
}

static int nat_read(const struct field_context *context, const struct conf_node *node, void *target)
{
	return nat_config_read(context, node, "dataplane.nat",
			       &((struct dataplane_conf *)target)->nat);
}

static void nat_print(struct conf_writer *writer, const char *key, const void *target)
{
	nat_config_write(writer, key, &((const struct dataplane_conf *)target)->nat);
}

static int auto_deny_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	return auto_deny_config_read(context, node, &((struct dataplane_conf *)target)->auto_deny);
}

static void auto_deny_print(struct conf_writer *writer, const char *key, const void *target)
{
	auto_deny_config_write(writer, key, &((const struct dataplane_conf *)target)->auto_deny);
}

static const struct field dataplane_fields[] = {
	{.key = "interfaces",
	 .kind = FIELD_CUSTOM,
	 .read = interfaces_read,
	 .print = interfaces_print},
	{.key = "allow", .kind = FIELD_CUSTOM, .read = allow_read, .print = allow_print},
	{.key = "deny", .kind = FIELD_CUSTOM, .read = deny_read, .print = deny_print},
	{.key = "nat", .kind = FIELD_CUSTOM, .read = nat_read, .print = nat_print},
	{.key = "hash_key", .kind = FIELD_NOT_YET},
	{.key = "source_limits", .kind = FIELD_NOT_YET},
	{.key = "syn_cookies", .kind = FIELD_NOT_YET},
	{.key = "auto_deny",
	 .kind = FIELD_CUSTOM,
	 .read = auto_deny_read,
	 .print = auto_deny_print},
};

int dataplane_config_read(const struct field_context *context, const struct conf_node *node,
			  uint64_t now_wall_ms, struct dataplane_conf *conf)
{
	struct field_context inner = *context;

	if (!node)
		return 0;
	inner.user = &now_wall_ms;
	return field_read(&inner, dataplane_fields, ARRAY_SIZE(dataplane_fields), node, "dataplane",
			  conf);
}

void dataplane_config_write(struct conf_writer *writer, const struct dataplane_conf *conf)
{
	field_write(writer, dataplane_fields, ARRAY_SIZE(dataplane_fields), conf);
}
