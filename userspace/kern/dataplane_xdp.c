/*
 * The attachments of sl_main. Each has one pin whose name holds the interface's name:
 *
 *   xdp_link_IF   a bpf_link: the attachment is the link, so it dies with the pin
 *   xdp_prog_IF   the program that libxdp put into the device's dispatcher
 *
 * Bytes that bpffs or a reader would stumble over (bpffs refuses dots) are written %XX.
 */
#include <bpf/bpf.h>
#include <ctype.h>
#include <errno.h>
#include <linux/if_link.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "kern/dataplane_internal.h"
#include "kern/xdp_dispatcher.h"
#include "sk_lookup.skel.h"
#include "xdp_main.skel.h"

#define PIN_LINK "xdp_link_"
#define PIN_PROG "xdp_prog_"
#define PIN_HEAD (sizeof(PIN_LINK) - 1)

DEFINE_FREEP(struct xdp_main_bpf, xdp_main_bpf__destroy)

struct standing {
	int fd; /* link or program */
	bool is_link;
	bool is_generic;
	uint32_t program_id;
};

bool xdp_is_pin(const char *name)
{
	return !strncmp(name, PIN_LINK, PIN_HEAD) || !strncmp(name, PIN_PROG, PIN_HEAD);
}

static bool pin_is_link(const char *pin)
{
	return !strncmp(pin, PIN_LINK, PIN_HEAD);
}

static void pin_name(const char *head, const char *interface, char pin[DATAPLANE_PIN_MAX])
{
	size_t len = (size_t)snprintf(pin, DATAPLANE_PIN_MAX, "%s", head);

	for (; *interface && len + 4 < DATAPLANE_PIN_MAX; interface++) {
		unsigned char byte = (unsigned char)*interface;
		bool is_plain = isalnum(byte) || byte == '-' || byte == '_';

		len += (size_t)snprintf(pin + len, DATAPLANE_PIN_MAX - len,
					is_plain ? "%c" : "%%%02x", byte);
	}
}

/* The interface that a pin names; false when no interface can have such a name. */
static bool pin_interface(const char *pin, char interface[IFNAMSIZ])
{
	size_t len = 0;

	for (pin += PIN_HEAD; *pin; pin++) {
		unsigned int byte = (unsigned char)*pin;

		if (byte == '%') {
			if (!isxdigit((unsigned char)pin[1]) || !isxdigit((unsigned char)pin[2]) ||
			    sscanf(pin + 1, "%2x", &byte) != 1)
				return false;
			pin += 2;
		}
		if (len + 1 >= IFNAMSIZ)
			return false;
		interface[len++] = (char)byte;
	}
	interface[len] = '\0';
	return len > 0;
}

static uint32_t program_id_of(int fd)
{
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);

	return bpf_obj_get_info_by_fd(fd, &info, &len) ? 0 : info.id;
}

/*
 * Is the link on this interface of this network namespace? Its number alone does not say: another
 * namespace has an interface of the same number. So the device must show the link's program.
 */
static int check_link(int fd, unsigned int ifindex, struct standing *ret_standing)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);
	int ret = bpf_obj_get_info_by_fd(fd, &info, &len);

	if (ret)
		return ret;
	if (info.type != BPF_LINK_TYPE_XDP || info.xdp.ifindex != ifindex)
		return -ENOENT;
	ret = bpf_xdp_query((int)ifindex, 0, &query);
	if (ret)
		return ret;
	if (query.prog_id != info.prog_id)
		return -ENOENT;
	*ret_standing = (struct standing){
		.fd = fd,
		.is_link = true,
		.is_generic = query.attach_mode == XDP_ATTACHED_SKB,
		.program_id = info.prog_id,
	};
	return 0;
}

static int check_program(int fd, unsigned int ifindex, struct standing *ret_standing)
{
	LIBBPF_OPTS(bpf_xdp_query_opts, query);
	bool is_generic = false;
	int ret = xdp_dispatcher_find(fd, (int)ifindex, &is_generic);

	if (ret == -EPERM) { /* after the drop of privileges: what the pin says was so before */
		ret = bpf_xdp_query((int)ifindex, 0, &query);
		if (ret == 0 && query.attach_mode == XDP_ATTACHED_NONE)
			ret = -ENOENT;
		is_generic = query.attach_mode == XDP_ATTACHED_SKB;
	}
	if (ret)
		return ret;
	*ret_standing = (struct standing){
		.fd = fd,
		.is_generic = is_generic,
		.program_id = program_id_of(fd),
	};
	return 0;
}

/* What a pin stands for, on the interface of that name here and now. The caller closes fd. */
static int open_standing(const struct dataplane *dataplane, const char *pin, unsigned int ifindex,
			 struct standing *ret_standing)
{
	_cleanup_close_ int fd = pins_get(dataplane, pin);
	int ret;

	if (fd < 0)
		return fd;
	if (!ifindex)
		return -ENOENT;
	ret = pin_is_link(pin) ? check_link(fd, ifindex, ret_standing)
			       : check_program(fd, ifindex, ret_standing);
	if (ret == 0)
		(void)TAKE_FD(fd);
	return ret;
}

static int find_standing(const struct dataplane *dataplane, const char *interface,
			 unsigned int ifindex, struct standing *ret_standing)
{
	static const char *const heads[] = {PIN_LINK, PIN_PROG};
	char pin[DATAPLANE_PIN_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		int ret;

		pin_name(heads[i], interface, pin);
		ret = open_standing(dataplane, pin, ifindex, ret_standing);
		if (ret != -ENOENT)
			return ret;
	}
	return -ENOENT;
}

int xdp_detach_pin(struct dataplane *dataplane, const char *pin, struct error *err)
{
	_cleanup_close_ int fd = pins_get(dataplane, pin);
	char interface[IFNAMSIZ] = "";
	int ret = 0;

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return error_set_errno(err, fd, "cannot open '%s/%s'", dataplane->dir, pin);
	if (pin_is_link(pin)) {
		/* Also when another process holds the link open. -EINVAL: its device is gone. */
		(void)bpf_link_detach(fd);
	} else if (pin_interface(pin, interface)) {
		unsigned int ifindex = if_nametoindex(interface);

		ret = ifindex ? xdp_dispatcher_detach(fd, (int)ifindex) : 0;
		if (ret == -EPERM)
			return error_set(err, ret,
					 "cannot take the program out of the dispatcher of '%s': "
					 "that needs root, which the daemon has given up",
					 interface);
		if (ret && ret != -ENOENT)
			return error_set_errno(err, ret, "cannot detach from '%s'", interface);
	}
	ret = pins_remove(dataplane, pin);
	if (ret)
		return error_set_errno(err, ret, "cannot remove '%s/%s'", dataplane->dir, pin);
	return 0;
}

static int detach_interface(struct dataplane *dataplane, const char *interface, struct error *err)
{
	char pin[DATAPLANE_PIN_MAX];
	int ret;

	pin_name(PIN_LINK, interface, pin);
	ret = xdp_detach_pin(dataplane, pin, err);
	if (ret)
		return ret;
	pin_name(PIN_PROG, interface, pin);
	return xdp_detach_pin(dataplane, pin, err);
}

static bool was_made_here(const struct dataplane *dataplane, const char *interface)
{
	for (size_t i = 0; i < dataplane->made_count; i++)
		if (!strcmp(dataplane->made[i], interface))
			return true;
	return false;
}

static void note_made(struct dataplane *dataplane, const char *interface)
{
	char(*grown)[IFNAMSIZ];

	if (was_made_here(dataplane, interface))
		return;
	grown = realloc(dataplane->made, (dataplane->made_count + 1) * sizeof(*grown));
	if (!grown)
		return; /* it is shown as adopted */
	dataplane->made = grown;
	(void)snprintf(grown[dataplane->made_count++], IFNAMSIZ, "%s", interface);
}

static bool dispatcher_works(struct dataplane *dataplane)
{
	if (dataplane->dispatcher_works < 0)
		dataplane->dispatcher_works = xdp_dispatcher_try();
	return dataplane->dispatcher_works;
}

/* Each dispatcher gets a program of its own, with our maps: it is loaded for that dispatcher. */
static int attach_dispatcher(struct dataplane *dataplane, const char *interface,
			     unsigned int ifindex, bool is_generic)
{
	_cleanup_(xdp_main_bpf__destroyp)
	struct xdp_main_bpf *object = xdp_main_bpf__open();
	_cleanup_close_ int fd = -1;
	char pin[DATAPLANE_PIN_MAX];
	int ret;

	if (!object)
		return -errno;
	object->rodata->feature_steer = dataplane->has_sockmap;
	ret = pins_give_maps(dataplane, object->obj, NULL);
	if (ret)
		return ret;
	fd = xdp_dispatcher_attach(object->obj, "sl_main", (int)ifindex, is_generic);
	if (fd < 0)
		return fd;
	pin_name(PIN_PROG, interface, pin);
	ret = pins_remove(dataplane, pin);
	if (ret == 0)
		ret = pins_put(dataplane, pin, fd);
	if (ret)
		(void)xdp_dispatcher_detach(fd, (int)ifindex);
	return ret;
}

static int attach_link(struct dataplane *dataplane, const char *interface, unsigned int ifindex,
		       bool is_generic)
{
	LIBBPF_OPTS(bpf_link_create_opts, opts,
		    .flags = is_generic ? XDP_FLAGS_SKB_MODE : XDP_FLAGS_DRV_MODE);
	_cleanup_close_ int fd = bpf_link_create(bpf_program__fd(dataplane->xdp->progs.sl_main),
						 (int)ifindex, BPF_XDP, &opts);
	char pin[DATAPLANE_PIN_MAX];

	if (fd < 0)
		return fd;
	pin_name(PIN_LINK, interface, pin);
	return pins_put(dataplane, pin, fd); /* unpinned, it goes with the descriptor */
}

static int attach_error(struct error *err, int code, const char *interface)
{
	switch (code) {
	case -EBUSY:
	case -EEXIST:
		return error_set(err, -EBUSY, "another XDP program is attached to '%s'", interface);
	case -EOPNOTSUPP:
		return error_set(err, code,
				 "the driver of '%s' has no native XDP; 'xdp: auto' or 'xdp: "
				 "generic' works",
				 interface);
	case -ERANGE:
	case -EINVAL:
		return error_set_errno(
			err, code, "cannot attach to '%s': MTU too big for native XDP?", interface);
	default:
		return error_set_errno(err, code, "cannot attach to '%s'", interface);
	}
}

static int attach(struct dataplane *dataplane, const struct dataplane_interface *wanted,
		  unsigned int ifindex, struct error *err)
{
	int ret = -EINVAL;

	for (int is_generic = 0; is_generic <= 1; is_generic++) {
		if (wanted->mode == (is_generic ? XDP_MODE_NATIVE : XDP_MODE_GENERIC))
			continue;
		if (dispatcher_works(dataplane)) {
			ret = attach_dispatcher(dataplane, wanted->name, ifindex, is_generic);
			log_debug("kern", "dispatcher on %s: %d", wanted->name, ret);
			if (ret == 0)
				break;
		}
		ret = attach_link(dataplane, wanted->name, ifindex, is_generic);
		/* Only what the driver cannot do gets better in the other mode. */
		if (ret == 0 || (ret != -EOPNOTSUPP && ret != -ERANGE && ret != -EINVAL))
			break;
	}
	if (ret)
		return attach_error(err, ret, wanted->name);
	note_made(dataplane, wanted->name);
	return 0;
}

/* The new program takes over; not a packet passes by unseen. */
static int swap_program(struct dataplane *dataplane, const struct dataplane_interface *wanted,
			unsigned int ifindex, const struct standing *standing)
{
	int fd = bpf_program__fd(dataplane->xdp->progs.sl_main), ret;

	if (standing->is_link)
		return standing->program_id == program_id_of(fd)
			       ? 0
			       : bpf_link_update(standing->fd, fd, NULL);
	if (was_made_here(dataplane, wanted->name))
		return 0; /* it is this build's already */
	/* For a moment both run, then the old one is taken out: a few packets count twice. */
	ret = attach_dispatcher(dataplane, wanted->name, ifindex, standing->is_generic);
	return ret ? ret : xdp_dispatcher_detach(standing->fd, (int)ifindex);
}

int dataplane_no_interface(const char *name, struct error *err)
{
	struct if_nameindex *all = if_nameindex();
	char nearest[IFNAMSIZ] = "", quoted[64];
	unsigned int best = 4;

	for (struct if_nameindex *it = all; it && it->if_index; it++) {
		unsigned int distance =
			str_distance(str_from_cstr(name), str_from_cstr(it->if_name), best);

		if (distance < best) {
			best = distance;
			(void)snprintf(nearest, sizeof(nearest), "%s", it->if_name);
		}
	}
	if (all)
		if_freenameindex(all);
	(void)str_quote(str_from_cstr(name), quoted, sizeof(quoted));
	if (nearest[0])
		return error_set(err, -ENODEV, "there is no interface %s; did you mean '%s'?",
				 quoted, nearest);
	return error_set(err, -ENODEV, "there is no interface %s", quoted);
}

static int apply_interface(struct dataplane *dataplane, const struct dataplane_interface *wanted,
			   struct error *err)
{
	unsigned int ifindex = if_nametoindex(wanted->name);
	struct standing standing = {.fd = -1};
	int ret;

	if (!ifindex)
		return dataplane_no_interface(wanted->name, err);
	ret = find_standing(dataplane, wanted->name, ifindex, &standing);
	if (ret && ret != -ENOENT)
		return error_set_errno(err, ret, "cannot adopt the attachment of '%s'",
				       wanted->name);
	if (ret == 0) {
		_cleanup_close_ int fd = standing.fd;

		(void)fd; /* only to be closed; clang takes that for unused */
		if (wanted->mode == XDP_MODE_AUTO ||
		    standing.is_generic == (wanted->mode == XDP_MODE_GENERIC)) {
			ret = swap_program(dataplane, wanted, ifindex, &standing);
			if (ret)
				return error_set_errno(err, ret, "cannot swap the program of '%s'",
						       wanted->name);
			return 0;
		}
	}
	/* A pin that stands for another device, or another mode: the kernel allows one at a time.
	 */
	ret = detach_interface(dataplane, wanted->name, err);
	return ret ? ret : attach(dataplane, wanted, ifindex, err);
}

struct detach_others {
	struct dataplane *dataplane;
	const struct dataplane_interface *interfaces;
	unsigned int count;
	struct error *err;
	int ret;
};

static int detach_unwanted(const char *pin, void *arg)
{
	struct detach_others *others = arg;
	char interface[IFNAMSIZ];
	int ret;

	if (!xdp_is_pin(pin))
		return 0;
	if (pin_interface(pin, interface))
		for (unsigned int i = 0; i < others->count; i++)
			if (others->interfaces[i].mode != XDP_MODE_OFF &&
			    !strcmp(others->interfaces[i].name, interface))
				return 0;
	ret = xdp_detach_pin(others->dataplane, pin, others->err);
	if (ret && !others->ret)
		others->ret = ret;
	return 0;
}

int dataplane_set_interfaces(struct dataplane *dataplane,
			     const struct dataplane_interface *interfaces, unsigned int count,
			     struct error *err)
{
	struct detach_others others = {dataplane, interfaces, count, err, 0};
	_cleanup_close_ int lock_fd = -1;
	int first = 0, ret;

	if (!dataplane->xdp)
		return error_set(err, -EPERM, "only the daemon attaches programs");
	ret = pins_lock(dataplane, &lock_fd, err);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < count; i++) {
		if (interfaces[i].mode == XDP_MODE_OFF)
			continue;
		ret = apply_interface(dataplane, &interfaces[i], err);
		if (ret && !first)
			first = ret;
	}
	ret = pins_walk(dataplane, detach_unwanted, &others);
	if (ret && !first)
		first = error_set_errno(err, ret, "cannot read '%s'", dataplane->dir);
	return first ? first : others.ret;
}

struct swap {
	struct dataplane *dataplane;
	unsigned int count;
	struct error *err;
	int ret;
};

static int swap_link(const struct dataplane *dataplane, const char *pin, int program_fd)
{
	_cleanup_close_ int fd = pins_get(dataplane, pin);

	return fd < 0 ? fd : bpf_link_update(fd, program_fd, NULL);
}

static int swap_dispatched(struct dataplane *dataplane, const char *pin)
{
	struct dataplane_interface interface = {.mode = XDP_MODE_AUTO};
	struct standing standing = {.fd = -1};
	unsigned int ifindex;
	int ret;

	if (!pin_interface(pin, interface.name))
		return -ENOENT;
	ifindex = if_nametoindex(interface.name);
	ret = open_standing(dataplane, pin, ifindex, &standing);
	if (ret)
		return ret;
	ret = swap_program(dataplane, &interface, ifindex, &standing);
	(void)close(standing.fd);
	return ret;
}

static int swap_pin(const char *pin, void *arg)
{
	struct swap *swap = arg;
	struct dataplane *dataplane = swap->dataplane;
	int ret;

	if (!strcmp(pin, STEER_LINK_PIN))
		ret = dataplane->sk_lookup
			      ? swap_link(dataplane, pin,
					  bpf_program__fd(dataplane->sk_lookup->progs.sl_steer))
			      : -ENOENT;
	else if (!xdp_is_pin(pin))
		return 0;
	else if (pin_is_link(pin))
		ret = swap_link(dataplane, pin, bpf_program__fd(dataplane->xdp->progs.sl_main));
	else
		ret = swap_dispatched(dataplane, pin);
	if (ret == 0)
		swap->count++;
	else if (ret != -ENOENT && ret != -ENOLINK && !swap->ret) /* the first error is told */
		swap->ret = error_set_errno(swap->err, ret, "cannot swap the program of '%s/%s'",
					    dataplane->dir, pin);
	return 0;
}

int dataplane_swap_programs(struct dataplane *dataplane, unsigned int *ret_count, struct error *err)
{
	struct swap swap = {.dataplane = dataplane, .err = err};
	_cleanup_close_ int lock_fd = -1;
	int ret;

	if (!dataplane->xdp)
		return error_set(err, -EPERM, "no programs are loaded");
	ret = pins_lock(dataplane, &lock_fd, err);
	if (ret)
		return ret;
	ret = pins_walk(dataplane, swap_pin, &swap);
	if (ret)
		return error_set_errno(err, ret, "cannot read '%s'", dataplane->dir);
	*ret_count = swap.count;
	return swap.ret;
}

struct attachment_walk {
	struct dataplane *dataplane;
	int (*visit)(const struct dataplane_attachment *attachment, void *arg);
	void *arg;
};

static int visit_pin(const char *pin, void *arg)
{
	struct attachment_walk *walk = arg;
	struct dataplane_attachment attachment = {0};
	struct standing standing;
	int ret;

	if (!xdp_is_pin(pin) || !pin_interface(pin, attachment.interface))
		return 0;
	attachment.ifindex = if_nametoindex(attachment.interface);
	ret = open_standing(walk->dataplane, pin, attachment.ifindex, &standing);
	if (ret)
		return ret == -ENOENT ? 0 : ret;
	(void)close(standing.fd);
	attachment.mode = standing.is_generic ? XDP_MODE_GENERIC : XDP_MODE_NATIVE;
	attachment.program_id = standing.program_id;
	attachment.adopted = !was_made_here(walk->dataplane, attachment.interface);
	(void)snprintf(attachment.how, sizeof(attachment.how), "%s",
		       standing.is_link ? "bpf_link" : "libxdp dispatcher");
	return walk->visit(&attachment, walk->arg);
}

int dataplane_walk_attachments(struct dataplane *dataplane,
			       int (*visit)(const struct dataplane_attachment *attachment,
					    void *arg),
			       void *arg)
{
	struct attachment_walk walk = {dataplane, visit, arg};

	return pins_walk(dataplane, visit_pin, &walk);
}
