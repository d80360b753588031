#include "kern/access_map.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kern/dataplane_internal.h"

#define SUFFIX_NEW  "_new"
#define PIN_MAX	    16
#define READ_TRIES  8 /* a set can be replaced while its pin is being opened */
#define BUILD_TRIES 8

/* Which of the four, and where what is known of it is kept. */
struct place {
	struct dataplane *dataplane;
	enum access_list_kind kind;
	bool is_v6;
	struct access_mapping *mapping;
};

static struct place place_of(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6)
{
	return (struct place){dataplane, kind, is_v6, &dataplane->access[kind][is_v6]};
}

static uint32_t index_of(const struct place *place)
{
	return SL_ACCESS_SET((uint32_t)place->kind, (uint32_t)place->is_v6);
}

static void pin_name(const struct place *place, const char *suffix, char name[PIN_MAX])
{
	(void)snprintf(name, PIN_MAX, "sl_%s%c%s", place->kind == ACCESS_ALLOW ? "allow" : "deny",
		       place->is_v6 ? '6' : '4', suffix);
}

static uint32_t entries_max(const struct place *place)
{
	return place->kind == ACCESS_ALLOW ? SL_ALLOW_MAX : SL_DENY_MAX;
}

static int count_cpus(uint32_t *ret_count)
{
	int count = libbpf_num_possible_cpus();

	if (count <= 0)
		return count ? count : -EINVAL;
	*ret_count = (uint32_t)count;
	return 0;
}

/* ---- mappings ---- */

static int map_lines(int fd, bool is_v6, bool writable, struct access_set *ret_set)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	int ret = bpf_obj_get_info_by_fd(fd, &info, &len);
	void *lines;

	if (ret)
		return ret;
	if (info.type != BPF_MAP_TYPE_ARRAY || info.key_size != 4 ||
	    info.value_size != sizeof(union sl_access_line) || !(info.map_flags & BPF_F_MMAPABLE))
		return -EPROTO;
	lines = mmap(NULL, (size_t)info.max_entries * info.value_size,
		     writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
	if (lines == MAP_FAILED)
		return -errno;
	*ret_set = (struct access_set){lines, info.max_entries, is_v6};
	return 0;
}

static void unmap_set(struct access_set *set)
{
	if (set->lines)
		(void)munmap(set->lines, (size_t)set->line_count * sizeof(*set->lines));
	*set = (struct access_set){0};
}

static struct sl_access_book *book(const struct access_set *set)
{
	return &set->lines[SL_ACCESS_BOOK_AT].book;
}

static bool is_retired(const struct access_set *set)
{
	return __atomic_load_n(&book(set)->is_retired, __ATOMIC_ACQUIRE);
}

static struct sl_access_conf *conf(struct dataplane *dataplane)
{
	void *mapped;

	if (dataplane->access_conf)
		return dataplane->access_conf;
	mapped = mmap(NULL, sizeof(struct sl_access_conf), PROT_READ | PROT_WRITE, MAP_SHARED,
		      dataplane->maps[DATAPLANE_MAP_ACCESS_CONF], 0);
	if (mapped != MAP_FAILED)
		dataplane->access_conf = mapped;
	return dataplane->access_conf;
}

static const struct sl_access_lengths *lengths_of(const struct access_set *set)
{
	static const struct sl_access_lengths none;

	return set->lines ? &set->lines[SL_ACCESS_LENGTHS_AT].lengths : &none;
}

/* Where packets look: for the lengths that either set has. */
static void write_lengths(const struct place *place, const struct access_set *set,
			  const struct access_set *other)
{
	struct sl_access_conf *all = conf(place->dataplane);
	struct sl_access_lengths *lengths = &all->lengths[index_of(place)];
	uint32_t *word = &all->groups[index_of(place)], groups = 0;

	for (uint32_t group = 0; group < SL_ACCESS_GROUPS_MAX; group++) {
		uint64_t has = lengths_of(set)->groups[group] | lengths_of(other)->groups[group];

		if (has)
			groups |= 1U << group;
		if (lengths->groups[group] != has)
			__atomic_store_n(&lengths->groups[group], has, __ATOMIC_RELEASE);
	}
	if (*word != groups)
		__atomic_store_n(word, groups, __ATOMIC_RELEASE);
}

void access_maps_close(struct dataplane *dataplane)
{
	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY; kind++)
		for (int is_v6 = 0; is_v6 <= 1; is_v6++)
			unmap_set(&dataplane->access[kind][is_v6].set);
	if (dataplane->access_conf)
		(void)munmap(dataplane->access_conf, sizeof(*dataplane->access_conf));
	dataplane->access_conf = NULL;
}

/* ---- finding a set ---- */

/* Which map sl_access_sets has there. -ENOENT: none. */
static int read_id(const struct place *place, uint32_t *ret_id)
{
	uint32_t index = index_of(place);

	return bpf_map_lookup_elem(place->dataplane->maps[DATAPLANE_MAP_ACCESS_SETS], &index,
				   ret_id);
}

/*
 * The pinned map, if it is the one of this id. -ENOENT. To be written also where it is only read:
 * the kernel gives no shared mapping of a map that was opened to be read.
 */
static int open_pin(const struct place *place, const char *suffix, uint32_t id, int *ret_fd)
{
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	char name[PIN_MAX];
	_cleanup_close_ int fd = -1;
	int ret;

	pin_name(place, suffix, name);
	fd = pins_get(place->dataplane, name);
	if (fd < 0)
		return fd;
	ret = bpf_obj_get_info_by_fd(fd, &info, &len);
	if (ret)
		return ret;
	if (info.id != id)
		return -ENOENT;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* Makes the mapping that of the set in force. */
static int open_set(const struct place *place)
{
	struct access_set *set = &place->mapping->set;
	int ret = -ENOENT;

	if (set->lines && !is_retired(set))
		return 0;
	unmap_set(set);
	place->mapping->is_trusted = false;
	for (int tries = 0; tries < READ_TRIES; tries++) {
		_cleanup_close_ int fd = -1;
		uint32_t id;

		ret = read_id(place, &id);
		if (ret)
			return ret;
		ret = open_pin(place, "", id, &fd);
		if (ret == -ENOENT)
			ret = open_pin(place, SUFFIX_NEW, id, &fd);
		if (ret == -ENOENT) {
			ret = -ESTALE; /* there is one, but no pin: see access_maps_adopt() */
			continue;
		}
		if (ret == 0)
			ret = map_lines(fd, place->is_v6, !place->dataplane->read_only, set);
		if (ret)
			return ret;
		ret = access_set_check(set);
		if (ret)
			unmap_set(set);
		return ret;
	}
	return ret;
}

/* ---- making a set and putting it into force ---- */

static int make_set(const struct place *place, const struct access_shape *shape, int *ret_fd,
		    struct access_set *ret_set)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	char name[PIN_MAX];
	_cleanup_close_ int fd = -1;
	int ret;

	pin_name(place, "", name);
	fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, name, sizeof(uint32_t),
			    sizeof(union sl_access_line), access_shape_lines(shape), &opts);
	if (fd < 0)
		return fd;
	ret = map_lines(fd, place->is_v6, true, ret_set);
	if (ret)
		return ret;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int rename_pin(const struct place *place, int fd)
{
	char name[PIN_MAX], name_new[PIN_MAX];
	int dir_fd = place->dataplane->dir_fd;

	pin_name(place, "", name);
	pin_name(place, SUFFIX_NEW, name_new);
	if (!renameat(dir_fd, name_new, dir_fd, name))
		return 0;
	/* Somebody tidied it away. */
	(void)pins_remove(place->dataplane, name);
	return pins_put(place->dataplane, name, fd);
}

static int remove_pin(const struct place *place, const char *suffix)
{
	char name[PIN_MAX];

	pin_name(place, suffix, name);
	return pins_remove(place->dataplane, name);
}

/* Takes the set and the place of the one that is mapped. */
static int put_in_force(const struct place *place, int fd, struct access_set *set)
{
	struct access_set *old = &place->mapping->set;
	uint32_t index = index_of(place);
	char name[PIN_MAX];
	int ret = remove_pin(place, SUFFIX_NEW);

	pin_name(place, SUFFIX_NEW, name);
	if (ret == 0)
		ret = pins_put(place->dataplane, name, fd);
	if (ret)
		return ret;
	/* Whatever a packet sees of the two, it looks where the set that it sees has entries. */
	write_lengths(place, set, old);
	ret = bpf_map_update_elem(place->dataplane->maps[DATAPLANE_MAP_ACCESS_SETS], &index, &fd,
				  BPF_ANY);
	if (ret) {
		(void)remove_pin(place, SUFFIX_NEW);
		write_lengths(place, old, old);
		return ret;
	}
	/* The kernel has waited until no program looks at the old one. */
	write_lengths(place, set, set);
	if (old->lines) {
		__atomic_store_n(&book(old)->is_retired, 1, __ATOMIC_RELEASE);
		access_set_carry_hits(old, set);
		unmap_set(old);
	}
	*old = *set;
	*set = (struct access_set){0};
	place->mapping->is_trusted = true;
	return rename_pin(place, fd);
}

/* A new set with all that the old one has, if there is one. */
static int build_set(const struct place *place, struct access_shape shape)
{
	const struct access_set *old = &place->mapping->set;
	_cleanup_(unmap_set)
	struct access_set set = {0};
	uint64_t keys[SL_ACCESS_KEYS];
	uint32_t cpus;
	int ret = count_cpus(&cpus);

	if (ret)
		return ret;
	if (!conf(place->dataplane))
		return -errno;
	if (getrandom(keys, sizeof(keys), 0) != sizeof(keys))
		return -EIO;
	if (old->lines)
		memcpy(keys, old->lines[SL_ACCESS_HEAD_AT].head.keys, sizeof(keys));
	for (int tries = 0; tries < BUILD_TRIES; tries++) {
		_cleanup_close_ int fd = -1;

		unmap_set(&set);
		ret = make_set(place, &shape, &fd, &set);
		if (ret)
			return ret;
		access_set_format(&set, &shape, keys);
		ret = old->lines ? access_set_copy(old, &set) : 0;
		if (ret == 0)
			return put_in_force(place, fd, &set);
		if (ret != -ENOSPC)
			return ret;
		shape = access_set_grown_shape(&set, cpus);
	}
	return ret;
}

/* For a change. -ENOENT: there is none yet. */
static int open_for_change(const struct place *place)
{
	int ret;

	if (place->dataplane->read_only)
		return -EPERM;
	if (!conf(place->dataplane))
		return -errno;
	ret = open_set(place);
	if (ret || place->mapping->is_trusted)
		return ret;
	/* Who changed it last died at that. */
	if (book(&place->mapping->set)->is_dirty)
		ret = build_set(place, access_set_shape(&place->mapping->set));
	if (ret == 0)
		place->mapping->is_trusted = true;
	return ret;
}

int access_map_open(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6,
		    bool for_change, struct access_set *ret_set)
{
	struct place place = place_of(dataplane, kind, is_v6);
	int ret = for_change ? open_for_change(&place) : open_set(&place);

	if (ret == 0)
		*ret_set = place.mapping->set;
	return ret;
}

/* ---- changes ---- */

/* One more would be too many. */
static bool is_full(const struct place *place, const struct ip_prefix *prefix)
{
	const struct access_set *set = &place->mapping->set;
	uint32_t found;

	return access_set_count(set) >= entries_max(place) && access_set_find(set, prefix, &found);
}

int access_map_put(struct dataplane *dataplane, enum access_list_kind kind,
		   const struct ip_prefix *prefix, int part, const struct access_part *value,
		   uint32_t *ret_place)
{
	struct place place = place_of(dataplane, kind, prefix->addr.family == AF_INET6);
	struct access_set *set = &place.mapping->set;
	uint32_t cpus;
	int ret = open_for_change(&place);

	if (ret == -ENOENT)
		ret = access_map_reserve(dataplane, kind, place.is_v6, 1);
	if (ret)
		return ret;
	if (is_full(&place, prefix))
		return -ENOSPC;
	ret = access_set_put(set, prefix, part, value, ret_place);
	for (int tries = 0; ret == -ENOSPC && tries < BUILD_TRIES; tries++) {
		ret = count_cpus(&cpus);
		if (ret == 0)
			ret = build_set(&place, access_set_grown_shape(set, cpus));
		if (ret)
			return ret;
		ret = access_set_put(set, prefix, part, value, ret_place);
	}
	if (ret == 0)
		write_lengths(&place, set, set);
	return ret;
}

int access_map_drop(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6,
		    uint32_t place_index, unsigned int parts)
{
	struct place place = place_of(dataplane, kind, is_v6);
	int ret = open_for_change(&place);

	if (ret)
		return ret;
	access_set_drop(&place.mapping->set, place_index, parts);
	write_lengths(&place, &place.mapping->set, &place.mapping->set);
	return 0;
}

void access_map_prefetch(const struct dataplane *dataplane, enum access_list_kind kind,
			 const struct ip_prefix *prefix)
{
	const struct access_set *set =
		&dataplane->access[kind][prefix->addr.family == AF_INET6].set;

	if (set->lines)
		access_set_prefetch(set, prefix);
}

static int forget_set(const struct place *place)
{
	struct access_set *set = &place->mapping->set, none = {0};
	uint32_t index = index_of(place);
	int ret;

	write_lengths(place, &none, &none);
	ret = bpf_map_delete_elem(place->dataplane->maps[DATAPLANE_MAP_ACCESS_SETS], &index);
	if (ret)
		return ret;
	__atomic_store_n(&book(set)->is_retired, 1, __ATOMIC_RELEASE);
	unmap_set(set);
	return remove_pin(place, "");
}

void access_map_settle(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6)
{
	struct place place = place_of(dataplane, kind, is_v6);
	const struct access_set *set = &place.mapping->set;
	uint32_t cpus;
	int ret;

	if (open_for_change(&place) || (access_set_count(set) && !access_set_is_stale(set)))
		return;
	ret = count_cpus(&cpus);
	if (ret == 0 && !access_set_count(set))
		ret = forget_set(&place);
	else if (ret == 0)
		ret = build_set(&place, access_set_fresh_shape(set, cpus));
	/* What was asked for is done; the next change tries again. */
	if (ret)
		log_debug("kern", "cannot make a list smaller: %s", strerror(-ret));
}

int access_map_reserve(struct dataplane *dataplane, enum access_list_kind kind, bool is_v6,
		       size_t count)
{
	struct place place = place_of(dataplane, kind, is_v6);
	struct access_shape shape;
	uint32_t cpus;
	int ret = open_for_change(&place);

	if (ret && ret != -ENOENT)
		return ret;
	if (count > entries_max(&place))
		count = entries_max(&place);
	if (!count || (ret == 0 && access_set_shape(&place.mapping->set).capacity >= count))
		return 0;
	ret = count_cpus(&cpus);
	if (ret)
		return ret;
	shape = access_shape_for(place.is_v6, (uint32_t)count, cpus);
	return build_set(&place, shape);
}

/* ---- after another process ---- */

static int adopt(const struct place *place)
{
	const struct access_set none = {0};
	_cleanup_close_ int fd = -1;
	uint32_t id;
	int ret = read_id(place, &id);

	if (ret == -ENOENT) {
		write_lengths(place, &none, &none);
		ret = remove_pin(place, "");
		return ret ? ret : remove_pin(place, SUFFIX_NEW);
	}
	if (ret)
		return ret;
	ret = open_pin(place, "", id, &fd);
	if (ret == -ENOENT) {
		ret = open_pin(place, SUFFIX_NEW, id, &fd);
		if (ret == -ENOENT) {
			ret = remove_pin(place, SUFFIX_NEW);
			if (ret)
				return ret;
			fd = bpf_map_get_fd_by_id(id);
			ret = fd < 0 ? fd : 0;
		}
		if (ret == 0)
			ret = rename_pin(place, fd);
	}
	if (ret == 0)
		ret = remove_pin(place, SUFFIX_NEW);
	if (ret == 0)
		ret = open_set(place);
	if (ret == 0)
		write_lengths(place, &place->mapping->set, &place->mapping->set);
	return ret;
}

int access_maps_adopt(struct dataplane *dataplane, struct error *err)
{
	if (!conf(dataplane))
		return error_set_errno(err, -errno, "cannot map 'sl_access_conf'");
	for (enum access_list_kind kind = ACCESS_ALLOW; kind <= ACCESS_DENY; kind++) {
		for (int is_v6 = 0; is_v6 <= 1; is_v6++) {
			struct place place = place_of(dataplane, kind, is_v6);
			char name[PIN_MAX];
			int ret = adopt(&place);

			pin_name(&place, "", name);
			if (ret == -EPROTO)
				return error_set(err, ret,
						 "map '%s/%s' has the shape of another version; "
						 "detach and remove everything there with: sluice "
						 "--bpffs '%s' prog unload",
						 dataplane->dir, name, dataplane->dir);
			if (ret)
				return error_set_errno(err, ret, "cannot adopt '%s/%s'",
						       dataplane->dir, name);
		}
	}
	return 0;
}
