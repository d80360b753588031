#include "kern/xdp_dispatcher.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <xdp/libxdp.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "xdp_probe.skel.h"

/* Before other programs on the device, at libxdp's default of 50: they never see what is denied. */
#define RUN_PRIORITY 10

DEFINE_FREEP(struct xdp_program, xdp_program__close)
DEFINE_FREEP(struct xdp_multiprog, xdp_multiprog__close)
DEFINE_FREEP(struct xdp_probe_bpf, xdp_probe_bpf__destroy)

static int print_libxdp(enum libxdp_print_level level, const char *fmt, va_list args)
{
	char line[512];
	int len;

	if (level == LIBXDP_DEBUG || !log_enabled(LOG_LEVEL_DEBUG))
		return 0;
	len = vsnprintf(line, sizeof(line), fmt, args);
	line[strcspn(line, "\n")] = '\0';
	log_debug("kern", "%s", line);
	return len;
}

bool xdp_dispatcher_try(void)
{
	_cleanup_(xdp_probe_bpf__destroyp)
	struct xdp_probe_bpf *target = xdp_probe_bpf__open();
	_cleanup_(xdp_probe_bpf__destroyp)
	struct xdp_probe_bpf *replacement = xdp_probe_bpf__open();
	_cleanup_close_ int link_fd = -1;
	int ret;

	if (!target || !replacement)
		return false;
	(void)bpf_program__set_autoload(target->progs.sl_probe_pass, false);
	(void)bpf_program__set_autoload(replacement->progs.sl_probe, false);
	ret = xdp_probe_bpf__load(target);
	if (ret == 0)
		ret = bpf_program__set_type(replacement->progs.sl_probe_pass, BPF_PROG_TYPE_EXT);
	if (ret == 0) /* libbpf took it from the section's name; a replacement has none */
		ret = bpf_program__set_expected_attach_type(replacement->progs.sl_probe_pass, 0);
	if (ret == 0)
		ret = bpf_program__set_attach_target(replacement->progs.sl_probe_pass,
						     bpf_program__fd(target->progs.sl_probe),
						     "sl_probe_slot");
	if (ret == 0)
		ret = xdp_probe_bpf__load(replacement);
	if (ret == 0) {
		link_fd = bpf_link_create(bpf_program__fd(replacement->progs.sl_probe_pass), 0, 0,
					  NULL);
		ret = link_fd < 0 ? link_fd : 0;
	}
	log_debug("kern", "libxdp's dispatcher %s here (%d)", ret ? "does not work" : "works", ret);
	return ret == 0;
}

/* Without CAP_SYS_ADMIN libxdp cannot look at a device and would say that nothing is there. */
static int check_privilege(int program_fd)
{
	_cleanup_close_ int fd = -1;
	struct bpf_prog_info info = {0};
	uint32_t len = sizeof(info);
	int ret = bpf_obj_get_info_by_fd(program_fd, &info, &len);

	if (ret)
		return ret;
	fd = bpf_prog_get_fd_by_id(info.id);
	return fd < 0 ? fd : 0;
}

/* The device's dispatcher. -ENOENT without one, also when a single program is attached plainly. */
static int open_multiprog(int ifindex, struct xdp_multiprog **ret_multiprog)
{
	struct xdp_multiprog *multiprog = xdp_multiprog__get_from_ifindex(ifindex);
	int ret = (int)libxdp_get_error(multiprog);

	if (ret)
		return ret;
	if (!multiprog)
		return -ENOENT;
	if (xdp_multiprog__is_legacy(multiprog)) {
		xdp_multiprog__close(multiprog);
		return -ENOENT;
	}
	*ret_multiprog = multiprog;
	return 0;
}

int xdp_dispatcher_attach(struct bpf_object *object, const char *program, int ifindex,
			  bool is_generic)
{
	enum xdp_attach_mode mode = is_generic ? XDP_MODE_SKB : XDP_MODE_NATIVE;
	DECLARE_LIBXDP_OPTS(xdp_program_opts, opts, .obj = object, .prog_name = program);
	_cleanup_(xdp_multiprog__closep)
	struct xdp_multiprog *multiprog = NULL;
	_cleanup_(xdp_program__closep)
	struct xdp_program *xdp = NULL;
	struct xdp_program *created;
	int ret, fd;

	(void)libxdp_set_print(print_libxdp);
	created = xdp_program__create(&opts);
	ret = (int)libxdp_get_error(created);
	if (ret)
		return ret;
	xdp = created;
	ret = xdp_program__set_run_prio(xdp, RUN_PRIORITY);
	if (ret == 0)
		ret = xdp_program__attach(xdp, ifindex, mode, 0);
	if (ret)
		return ret;
	/* Without a dispatcher libxdp attaches plainly and for good: nothing a pin could keep. */
	ret = open_multiprog(ifindex, &multiprog);
	if (ret) {
		(void)xdp_program__detach(xdp, ifindex, mode, 0);
		return ret == -ENOENT ? -EOPNOTSUPP : ret;
	}
	fd = fcntl(xdp_program__fd(xdp), F_DUPFD_CLOEXEC, 3);
	return fd < 0 ? -errno : fd;
}

/* A handle of our own: closing it closes its descriptor. */
static int open_program(int program_fd, struct xdp_program **ret_program)
{
	_cleanup_close_ int fd = fcntl(program_fd, F_DUPFD_CLOEXEC, 3);
	struct xdp_program *program;
	int ret;

	if (fd < 0)
		return -errno;
	ret = check_privilege(fd);
	if (ret)
		return ret;
	(void)libxdp_set_print(print_libxdp);
	program = xdp_program__from_fd(fd);
	ret = (int)libxdp_get_error(program);
	if (ret)
		return ret;
	(void)TAKE_FD(fd);
	*ret_program = program;
	return 0;
}

int xdp_dispatcher_find(int program_fd, int ifindex, bool *ret_is_generic)
{
	_cleanup_(xdp_program__closep)
	struct xdp_program *xdp = NULL;
	int ret = open_program(program_fd, &xdp);
	enum xdp_attach_mode mode;

	if (ret)
		return ret;
	mode = xdp_program__is_attached(xdp, ifindex);
	if (mode == XDP_MODE_UNSPEC)
		return -ENOENT;
	*ret_is_generic = mode == XDP_MODE_SKB;
	return 0;
}

int xdp_dispatcher_detach(int program_fd, int ifindex)
{
	_cleanup_(xdp_program__closep)
	struct xdp_program *xdp = NULL;
	int ret = open_program(program_fd, &xdp);
	enum xdp_attach_mode mode;

	if (ret)
		return ret;
	mode = xdp_program__is_attached(xdp, ifindex);
	if (mode == XDP_MODE_UNSPEC)
		return -ENOENT;
	return xdp_program__detach(xdp, ifindex, mode, 0);
}
