/*
 * load_all: loads every program of the BPF objects in argv, one line each with the number of
 * instructions the verifier walked. For the machine that proves another kernel takes them.
 *
 * An object whose rodata has switches (`const volatile bool feature_x`) is loaded with all of them
 * on, with all off, and with each one alone (but for the switch it is a part of). The maps of the
 * first load serve the others, too: they are large. With --all-on as first argument only the first
 * of these is done, since emulation makes each take seconds. Exits with 1 when a program is
 * refused, after the verifier's words, or when the verifier walked more than VERIFIED_MAX
 * instructions of one.
 */
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERIFIED_MAX  200000
#define SWITCHES_MAX  32
#define SWITCH_PREFIX "feature_"
#define ALL_ON	      (-1)
#define ALL_OFF	      (-2)

struct switches {
	unsigned int count;
	unsigned int offsets[SWITCHES_MAX]; /* in .rodata */
	char names[SWITCHES_MAX][64];
};

static int print_warnings(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

static struct bpf_map *find_rodata(const struct bpf_object *object)
{
	static const char section[] = ".rodata";
	struct bpf_map *map;

	bpf_object__for_each_map(map, object)
	{
		const char *name = bpf_map__name(map);
		size_t len = strlen(name);

		if (bpf_map__is_internal(map) && len >= sizeof(section) - 1 &&
		    !strcmp(name + len - (sizeof(section) - 1), section))
			return map;
	}
	return NULL;
}

/* The switches of an object by name; one that is no single byte is an error. */
static int find_switches(const struct bpf_object *object, struct switches *ret_switches)
{
	const struct btf *btf = bpf_object__btf(object);
	int section = btf ? btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC) : -ENOENT;
	const struct btf_type *type;
	const struct btf_var_secinfo *variable;

	*ret_switches = (struct switches){0};
	if (section < 0)
		return 0;
	type = btf__type_by_id(btf, (__u32)section);
	variable = btf_var_secinfos(type);
	for (unsigned int i = 0; i < btf_vlen(type); i++, variable++) {
		const struct btf_type *its = btf__type_by_id(btf, variable->type);
		const char *name = btf__name_by_offset(btf, its->name_off);
		unsigned int nth = ret_switches->count;

		if (strncmp(name, SWITCH_PREFIX, sizeof(SWITCH_PREFIX) - 1))
			continue;
		if (variable->size != 1 || nth == SWITCHES_MAX)
			return -E2BIG;
		ret_switches->offsets[nth] = variable->offset;
		(void)snprintf(ret_switches->names[nth], sizeof(ret_switches->names[nth]), "%s",
			       name);
		ret_switches->count++;
	}
	return 0;
}

/*
 * feature_a_b is a part of feature_a, where that is a switch: without it the part is dead code, and
 * to load it alone would prove nothing.
 */
static bool is_part_of(const char *name, const char *whole)
{
	size_t len = strlen(whole);

	return !strncmp(name, whole, len) && (name[len] == '_' || name[len] == '\0');
}

static int set_switches(struct bpf_object *object, const struct switches *switches, int which)
{
	struct bpf_map *rodata = find_rodata(object);
	size_t len = 0;
	const void *initial = rodata ? bpf_map__initial_value(rodata, &len) : NULL;
	__u8 *bytes;
	int ret;

	if (!switches->count)
		return 0;
	bytes = initial ? malloc(len) : NULL;
	if (!bytes)
		return initial ? -ENOMEM : -ENOENT;
	memcpy(bytes, initial, len);
	for (unsigned int i = 0; i < switches->count; i++)
		bytes[switches->offsets[i]] =
			which == ALL_ON ||
			(which >= 0 && is_part_of(switches->names[which], switches->names[i]));
	ret = bpf_map__set_initial_value(rodata, bytes, len);
	free(bytes);
	return ret;
}

static int share_maps(struct bpf_object *object, const struct bpf_object *first)
{
	struct bpf_map *map;

	if (!first)
		return 0;
	bpf_object__for_each_map(map, object)
	{
		const struct bpf_map *made =
			bpf_object__find_map_by_name(first, bpf_map__name(map));
		int ret = 0;

		if (!bpf_map__is_internal(map) && made && bpf_map__fd(made) >= 0)
			ret = bpf_map__reuse_fd(map, bpf_map__fd(made));
		if (ret)
			return ret;
	}
	return 0;
}

static int report(const char *path, const char *how, const struct bpf_object *object)
{
	struct bpf_program *program;
	int worst = 0;

	bpf_object__for_each_program(program, object)
	{
		struct bpf_prog_info info = {0};
		__u32 len = sizeof(info);
		int ret = bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &len);

		if (ret) {
			printf("%s: %s: no information: %s\n", path, bpf_program__name(program),
			       strerror(-ret));
			return ret;
		}
		printf("%s: %s%s: %u instructions, %u verified\n", path, bpf_program__name(program),
		       how, info.xlated_prog_len / 8, info.verified_insns);
		if (info.verified_insns > VERIFIED_MAX) {
			printf("%s: %s: more than %d verified\n", path, bpf_program__name(program),
			       VERIFIED_MAX);
			worst = -E2BIG;
		}
	}
	return worst;
}

static int load_one(const char *path, const struct switches *switches, int which,
		    const struct bpf_object *first, struct bpf_object **ret_object)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	int ret = object ? 0 : -errno;
	char how[80] = "";

	if (which >= 0)
		(void)snprintf(how, sizeof(how), " with %s alone", switches->names[which]);
	else if (switches->count)
		(void)snprintf(how, sizeof(how), " with all features %s",
			       which == ALL_ON ? "on" : "off");
	if (!ret)
		ret = set_switches(object, switches, which);
	if (!ret)
		ret = share_maps(object, first);
	if (!ret)
		ret = bpf_object__load(object);
	if (ret) {
		printf("%s: not loaded%s: %s\n", path, how, strerror(-ret));
		bpf_object__close(object);
		return ret;
	}
	ret = report(path, how, object);
	if (ret_object)
		*ret_object = object;
	else
		bpf_object__close(object);
	return ret;
}

static int load(const char *path, bool all_on)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL), *first = NULL;
	struct switches switches;
	int ret = object ? find_switches(object, &switches) : -errno;

	bpf_object__close(object);
	if (ret) {
		printf("%s: not read: %s\n", path, strerror(-ret));
		return ret;
	}
	ret = load_one(path, &switches, ALL_ON, NULL, &first);
	if (switches.count && first && !all_on) {
		int more = load_one(path, &switches, ALL_OFF, first, NULL);

		ret = ret ? ret : more;
		for (unsigned int i = 0; i < switches.count && switches.count > 1; i++) {
			more = load_one(path, &switches, (int)i, first, NULL);
			ret = ret ? ret : more;
		}
	}
	bpf_object__close(first);
	return ret;
}

int main(int argc, char **argv)
{
	bool all_on = argc > 1 && !strcmp(argv[1], "--all-on");
	int failed = 0;

	if (argc < 2 + all_on) {
		fprintf(stderr, "usage: load_all [--all-on] OBJECT...\n");
		return 2;
	}
	libbpf_set_print(print_warnings);
	for (int i = 1 + all_on; i < argc; i++)
		failed |= load(argv[i], all_on) != 0;
	return failed;
}
