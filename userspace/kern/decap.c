#include "kern/decap.h"

#include <bpf/bpf.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "decap.skel.h"
#include "kern/dataplane_internal.h"
#include "kern/map_walk.h"

#define PIN_LINK "link"

DEFINE_FREEP(struct decap_bpf, decap_bpf__destroy)

static const char *const pin_names[] = {PIN_LINK, "sl_decap_dst", "sl_decap_src", "sl_decap_count"};

static const struct decap_counter rows[] = {
#define VERDICT_TEXT_PASS "pass"
#define VERDICT_TEXT_OPEN "open"
#define VERDICT_TEXT_DROP "drop"
#define COUNTER_ROW(symbol, row_name, row_verdict, row_meaning)                                    \
	[SL_DECAP_##symbol] = {.name = (row_name),                                                 \
			       .verdict = VERDICT_TEXT_##row_verdict,                              \
			       .meaning = (row_meaning)},
	SL_DECAP_TABLE(COUNTER_ROW)
#undef COUNTER_ROW
};

/* Directories of an open decap, `place` below `dir`. */
struct pins {
	int dir_fd; /* locked by who changes something */
	int place_fd;
	char place[IFNAMSIZ * 3];
};

#define PINS_NONE ((struct pins){-1, -1, ""})

static void pins_close(struct pins *pins)
{
	close_fdp(&pins->dir_fd);
	close_fdp(&pins->place_fd);
}

/* Bytes that bpffs refuses (dots) or a reader would stumble over are written %XX. */
static void encode(const char *interface, char *ret_place, size_t place_len)
{
	size_t len = 0;

	ret_place[0] = '\0';
	for (; *interface && len + 4 <= place_len; interface++) {
		unsigned char byte = (unsigned char)*interface;
		bool is_plain = isalnum(byte) || byte == '-' || byte == '_';

		len += (size_t)snprintf(ret_place + len, place_len - len,
					is_plain ? "%c" : "%%%02x", byte);
	}
}

static bool decode(const char *place, char ret_interface[IFNAMSIZ])
{
	size_t len = 0;

	for (; *place; place++) {
		unsigned int byte = (unsigned char)*place;

		if (byte == '%') {
			if (!isxdigit((unsigned char)place[1]) ||
			    !isxdigit((unsigned char)place[2]) ||
			    sscanf(place + 1, "%2x", &byte) != 1)
				return false;
			place += 2;
		}
		if (len + 1 >= IFNAMSIZ)
			return false;
		ret_interface[len++] = (char)byte;
	}
	ret_interface[len] = '\0';
	return len > 0;
}

static struct sl_decap_address map_address(const struct ip_addr *addr)
{
	struct sl_decap_address mapped = {{0}};

	if (addr->family == AF_INET6) {
		memcpy(mapped.addr_be, addr->bytes, 16);
	} else {
		memset(mapped.addr_be + 10, 0xff, 2);
		memcpy(mapped.addr_be + 12, addr->bytes, 4);
	}
	return mapped;
}

static struct ip_addr unmap_address(const uint8_t addr_be[16])
{
	struct ip_addr addr = {.family = AF_INET6};

	memcpy(addr.bytes, addr_be, 16);
	ip_addr_unmap(&addr);
	return addr;
}

static int lock(int dir_fd, const char *dir, struct error *err)
{
	if (flock(dir_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return error_set(err, -EBUSY, "another process is changing '%s'", dir);
	return error_set_errno(err, -errno, "cannot lock '%s'", dir);
}

static int pin_open(const struct pins *pins, const char *name, uint32_t flags)
{
	LIBBPF_OPTS(bpf_obj_get_opts, opts, .file_flags = flags);
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", pins->place_fd, name);
	return bpf_obj_get_opts(path, &opts);
}

static int pin_make(const struct pins *pins, const char *name, int fd)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", pins->place_fd, name);
	return bpf_obj_pin(fd, path);
}

static int open_place(struct pins *pins)
{
	pins->place_fd = openat(pins->dir_fd, pins->place, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return pins->place_fd < 0 ? -errno : 0;
}

/* -ENOENT: there is none. The last directory of all goes, too. */
static int remove_place(struct pins *pins, const char *dir)
{
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pin_names); i++)
		if (unlinkat(pins->place_fd, pin_names[i], 0) && errno != ENOENT && !ret)
			ret = -errno;
	if (unlinkat(pins->dir_fd, pins->place, AT_REMOVEDIR) && !ret)
		ret = -errno;
	(void)rmdir(dir); /* refused while other interfaces are in it */
	return ret;
}

struct standing {
	bool is_there;	  /* a link on some device */
	bool is_attached; /* on the interface of that name in this network namespace */
	bool is_generic;
	uint32_t program_id;
};

/* Numbers of devices repeat in other namespaces, so the device must show the link's program. */
static void look_at_link(const struct pins *pins, unsigned int ifindex, struct standing *ret_it)
{
	_cleanup_close_ int fd = pin_open(pins, PIN_LINK, 0);
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);

	*ret_it = (struct standing){0};
	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) || info.type != BPF_LINK_TYPE_XDP)
		return;
	ret_it->is_there = info.xdp.ifindex != 0;
	ret_it->program_id = info.prog_id;
	if (!ifindex || info.xdp.ifindex != ifindex || bpf_xdp_query((int)ifindex, 0, &query))
		return;
	ret_it->is_attached = query.prog_id == info.prog_id;
	ret_it->is_generic = query.attach_mode == XDP_ATTACHED_SKB;
}

static int make_place(const char *dir, const char *interface, struct pins *pins, struct error *err)
{
	struct standing standing;
	int ret = pins_open_dir(dir, true, &pins->dir_fd, err);

	if (ret == 0)
		ret = lock(pins->dir_fd, dir, err);
	if (ret)
		return ret;
	encode(interface, pins->place, sizeof(pins->place));
	if (open_place(pins) == 0) {
		look_at_link(pins, if_nametoindex(interface), &standing);
		if (standing.is_attached)
			return error_set(err, -EEXIST,
					 "decap is attached to '%s' already; detach it first",
					 interface);
		if (standing.is_there)
			return error_set(err, -EEXIST,
					 "'%s' has the pins of a '%s' of another network "
					 "namespace; name another directory with --bpffs",
					 dir, interface);
		(void)remove_place(pins, dir); /* of a device that is gone */
		close_fdp(&pins->place_fd);
		close_fdp(&pins->dir_fd);
		pins->dir_fd = pins->place_fd = -1;
		return make_place(dir, interface, pins, err);
	}
	if (mkdirat(pins->dir_fd, pins->place, 0700))
		return error_set_errno(err, -errno, "cannot make '%s/%s'", dir, pins->place);
	ret = open_place(pins);
	return ret ? error_set_errno(err, ret, "cannot open '%s/%s'", dir, pins->place) : 0;
}

static int fill(const struct decap_bpf *object, const struct decap_config *config)
{
	uint32_t one = 1;
	int ret = 0;

	for (unsigned int i = 0; i < config->address_count && ret == 0; i++) {
		struct sl_decap_address key = map_address(&config->addresses[i]);

		ret = bpf_map_update_elem(bpf_map__fd(object->maps.sl_decap_dst), &key, &one,
					  BPF_ANY);
	}
	for (unsigned int i = 0; i < config->source_count && ret == 0; i++) {
		const struct ip_prefix *source = &config->sources[i];
		struct sl_decap_address mapped = map_address(&source->addr);
		struct sl_lpm6_key key = {.prefix_bits = source->bits};

		if (source->addr.family == AF_INET)
			key.prefix_bits += 96;
		memcpy(key.addr_be, mapped.addr_be, sizeof(key.addr_be));
		ret = bpf_map_update_elem(bpf_map__fd(object->maps.sl_decap_src), &key, &one,
					  BPF_ANY);
	}
	return ret;
}

static int pin_maps(const struct pins *pins, const struct decap_bpf *object)
{
	const struct bpf_map *maps[] = {object->maps.sl_decap_dst, object->maps.sl_decap_src,
					object->maps.sl_decap_count};
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(maps) && ret == 0; i++)
		ret = pin_make(pins, bpf_map__name(maps[i]), bpf_map__fd(maps[i]));
	return ret;
}

/* Generic only where the driver cannot do it natively. */
static int link_create(int program_fd, unsigned int ifindex)
{
	int fd = -EINVAL;

	for (int is_generic = 0; is_generic <= 1; is_generic++) {
		LIBBPF_OPTS(bpf_link_create_opts, opts,
			    .flags = is_generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);

		fd = bpf_link_create(program_fd, (int)ifindex, BPF_XDP, &opts);
		if (fd >= 0 || (fd != -EOPNOTSUPP && fd != -ERANGE && fd != -EINVAL))
			break;
	}
	return fd;
}

static int load_and_attach(const struct pins *pins, const struct decap_config *config,
			   unsigned int ifindex, struct error *err)
{
	_cleanup_(decap_bpf__destroyp)
	struct decap_bpf *object = decap_bpf__open();
	_cleanup_close_ int fd = -1;
	int ret;

	if (!object)
		return error_set_errno(err, -errno, "cannot open the program");
	object->rodata->check_source = config->source_count > 0;
	ret = decap_bpf__load(object);
	if (ret)
		return error_set_errno(err, ret, "the kernel does not take the program");
	ret = fill(object, config);
	if (ret == 0)
		ret = pin_maps(pins, object);
	if (ret)
		return error_set_errno(err, ret, "cannot make the maps of '%s'", config->interface);
	fd = link_create(bpf_program__fd(object->progs.sl_decap), ifindex);
	if (fd == -EBUSY || fd == -EEXIST)
		return error_set(err, -EBUSY, "another XDP program is attached to '%s'",
				 config->interface);
	if (fd < 0)
		return error_set_errno(err, fd, "cannot attach to '%s'", config->interface);
	ret = pin_make(pins, PIN_LINK, fd);
	return ret ? error_set_errno(err, ret, "cannot pin the attachment of '%s'",
				     config->interface)
		   : 0;
}

int decap_attach(const char *dir, const struct decap_config *config, struct error *err)
{
	unsigned int ifindex = if_nametoindex(config->interface);
	_cleanup_(pins_close)
	struct pins pins = PINS_NONE;
	int ret;

	if (config->address_count == 0 || config->address_count > SL_DECAP_ADDRESSES_MAX)
		return error_set(err, -EINVAL, "between 1 and %d addresses are needed",
				 SL_DECAP_ADDRESSES_MAX);
	if (config->source_count > SL_DECAP_SOURCES_MAX)
		return error_set(err, -E2BIG, "at most %d source prefixes fit",
				 SL_DECAP_SOURCES_MAX);
	if (!ifindex)
		return dataplane_no_interface(config->interface, err);
	dataplane_quiet_libbpf();
	ret = make_place(dir, config->interface, &pins, err);
	if (ret)
		return ret;
	ret = load_and_attach(&pins, config, ifindex, err);
	if (ret)
		(void)remove_place(&pins, dir);
	return ret;
}

int decap_detach(const char *dir, const char *interface, struct error *err)
{
	_cleanup_(pins_close)
	struct pins pins = PINS_NONE;
	_cleanup_close_ int link_fd = -1;
	char quoted[64];
	int ret;

	(void)str_quote(str_from_cstr(interface), quoted, sizeof(quoted));
	dataplane_quiet_libbpf();
	ret = pins_open_dir(dir, false, &pins.dir_fd, NULL);
	if (ret == 0) {
		encode(interface, pins.place, sizeof(pins.place));
		ret = lock(pins.dir_fd, dir, err);
		if (ret)
			return ret;
		ret = open_place(&pins);
	}
	if (ret == -ENOENT)
		return error_set(err, ret, "nothing is attached to %s", quoted);
	if (ret)
		return error_set_errno(err, ret, "cannot open '%s'", dir);
	link_fd = pin_open(&pins, PIN_LINK, 0);
	if (link_fd >= 0) /* also when somebody holds it open; -EINVAL: its device is gone */
		(void)bpf_link_detach(link_fd);
	ret = remove_place(&pins, dir);
	return ret ? error_set_errno(err, ret, "cannot remove '%s/%s'", dir, pins.place) : 0;
}

/* Is it a map of the shape that we make? */
static int open_map(const struct pins *pins, const char *name, uint32_t key_bytes,
		    uint32_t value_bytes, uint32_t max_entries)
{
	_cleanup_close_ int fd = pin_open(pins, name, BPF_F_RDONLY);
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	int ret;

	if (fd < 0)
		return fd;
	ret = bpf_obj_get_info_by_fd(fd, &info, &len);
	if (ret)
		return ret;
	if (info.key_size != key_bytes || info.value_size != value_bytes ||
	    info.max_entries != max_entries)
		return -EPROTO;
	return TAKE_FD(fd);
}

static int read_addresses(const struct pins *pins, struct ip_addr **ret_addresses,
			  size_t *ret_count)
{
	_cleanup_close_ int fd = open_map(pins, "sl_decap_dst", sizeof(struct sl_decap_address), 4,
					  SL_DECAP_ADDRESSES_MAX);
	_cleanup_free_ void *keys = NULL;
	size_t count;
	int ret;

	if (fd < 0)
		return fd;
	ret = map_collect_keys(fd, sizeof(struct sl_decap_address), SL_DECAP_ADDRESSES_MAX, &keys,
			       &count);
	if (ret || count == 0)
		return ret;
	*ret_addresses = calloc(count, sizeof(**ret_addresses));
	if (!*ret_addresses)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		(*ret_addresses)[i] =
			unmap_address(((const struct sl_decap_address *)keys)[i].addr_be);
	*ret_count = count;
	return 0;
}

static int read_sources(const struct pins *pins, struct ip_prefix **ret_sources, size_t *ret_count)
{
	_cleanup_close_ int fd =
		open_map(pins, "sl_decap_src", sizeof(struct sl_lpm6_key), 4, SL_DECAP_SOURCES_MAX);
	_cleanup_free_ void *keys = NULL;
	size_t count;
	int ret;

	if (fd < 0)
		return fd;
	ret = map_collect_keys(fd, sizeof(struct sl_lpm6_key), SL_DECAP_SOURCES_MAX, &keys, &count);
	if (ret || count == 0)
		return ret;
	*ret_sources = calloc(count, sizeof(**ret_sources));
	if (!*ret_sources)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++) {
		const struct sl_lpm6_key *key = &((const struct sl_lpm6_key *)keys)[i];
		struct ip_addr addr = unmap_address(key->addr_be);
		bool is_v4 = addr.family == AF_INET && key->prefix_bits >= 96;

		if (!is_v4 && addr.family == AF_INET) { /* below ::ffff:0:0/96 is no IPv4 */
			addr.family = AF_INET6;
			memcpy(addr.bytes, key->addr_be, 16);
		}
		(*ret_sources)[i] = (struct ip_prefix){
			addr, (uint8_t)(is_v4 ? key->prefix_bits - 96 : key->prefix_bits)};
	}
	*ret_count = count;
	return 0;
}

static int read_counters(const struct pins *pins, struct decap_counter *counters)
{
	_cleanup_close_ int fd =
		open_map(pins, "sl_decap_count", 4, sizeof(struct sl_counter), SL_DECAP_COUNT_MAX);
	_cleanup_free_ struct sl_counter *cpus = NULL;
	int cpu_count = libbpf_num_possible_cpus();

	if (fd < 0)
		return fd;
	if (cpu_count < 0)
		return cpu_count;
	cpus = calloc((size_t)cpu_count, sizeof(*cpus));
	if (!cpus)
		return -ENOMEM;
	for (uint32_t row = 0; row < SL_DECAP_REASONS; row++) {
		int ret = bpf_map_lookup_elem(fd, &row, cpus);

		if (ret)
			return ret;
		counters[row] = rows[row];
		for (int cpu = 0; cpu < cpu_count; cpu++) {
			counters[row].packets += cpus[cpu].packets;
			counters[row].bytes += cpus[cpu].bytes;
		}
	}
	return 0;
}

static int compare_addresses(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_addr));
}

static int compare_sources(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct ip_prefix));
}

static int visit_place(struct pins *pins, const char *place,
		       int (*visit)(const struct decap_state *state, void *arg), void *arg)
{
	_cleanup_free_ struct ip_addr *addresses = NULL;
	_cleanup_free_ struct ip_prefix *sources = NULL;
	struct decap_state state = {0};
	struct standing standing;
	int ret;

	if (!decode(place, state.interface))
		return 0;
	(void)snprintf(pins->place, sizeof(pins->place), "%s", place);
	ret = open_place(pins);
	if (ret == 0)
		ret = read_addresses(pins, &addresses, &state.address_count);
	if (ret == 0)
		ret = read_sources(pins, &sources, &state.source_count);
	if (ret == 0)
		ret = read_counters(pins, state.counters);
	if (ret == 0) {
		look_at_link(pins, if_nametoindex(state.interface), &standing);
		state.is_attached = standing.is_attached;
		state.is_generic = standing.is_generic;
		state.program_id = standing.program_id;
		if (addresses)
			qsort(addresses, state.address_count, sizeof(*addresses),
			      compare_addresses);
		if (sources)
			qsort(sources, state.source_count, sizeof(*sources), compare_sources);
		state.addresses = addresses;
		state.sources = sources;
		ret = visit(&state, arg);
	}
	close_fdp(&pins->place_fd);
	pins->place_fd = -1;
	return ret == -ENOENT ? 0 : ret; /* taken away just now, or half made */
}

int decap_walk(const char *dir, int (*visit)(const struct decap_state *state, void *arg), void *arg,
	       struct error *err)
{
	_cleanup_(pins_close)
	struct pins pins = PINS_NONE;
	struct dirent **entries = NULL;
	int count, ret;

	dataplane_quiet_libbpf();
	ret = pins_open_dir(dir, false, &pins.dir_fd, err);
	if (ret == -ENOENT) {
		error_reset(err);
		return 0;
	}
	if (ret)
		return ret;
	count = scandir(dir, &entries, NULL, alphasort);
	if (count < 0)
		return error_set_errno(err, -errno, "cannot read '%s'", dir);
	for (int i = 0; i < count; i++) {
		if (ret == 0 && entries[i]->d_name[0] != '.')
			ret = visit_place(&pins, entries[i]->d_name, visit, arg);
		free(entries[i]);
	}
	free(entries);
	if (ret == -EPROTO)
		return error_set(err, ret, "the pins in '%s' were made by another version", dir);
	return ret ? error_set_errno(err, ret, "cannot read the pins in '%s'", dir) : 0;
}
