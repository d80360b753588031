/*
 * xdp_dispatcher: attaching by libxdp, whose dispatcher lets several XDP programs share a device.
 *
 * Apart from dataplane_xdp.c because libxdp.h has constants of the same names as dataplane.h.
 * libxdp keeps its own pins in the "xdp" directory of the bpffs at LIBXDP_BPFFS (/sys/fs/bpf) and
 * opens programs by number, which needs CAP_SYS_ADMIN: nothing here works after the daemon has
 * dropped its privileges, while what is attached stays. Thread rule: the control thread.
 */
#ifndef SLUICE_KERN_XDP_DISPATCHER_H
#define SLUICE_KERN_XDP_DISPATCHER_H

#include <bpf/libbpf.h>
#include <stdbool.h>

/*
 * Does replacing a function of an XDP program work here? Tried with bpf/xdp_probe.bpf.c, since
 * libxdp itself falls back to a plain attachment without saying so.
 */
bool xdp_dispatcher_try(void);

/*
 * Loads `program` of an object that is open, not loaded, and attaches it beside what libxdp has on
 * the device. Returns the descriptor of the program or a negative errno; -EOPNOTSUPP also when
 * libxdp would have attached it without a dispatcher.
 */
int xdp_dispatcher_attach(struct bpf_object *object, const char *program, int ifindex,
			  bool is_generic);

/* Is the program behind the descriptor attached to the device? -ENOENT: no. -EPERM: can't tell. */
int xdp_dispatcher_find(int program_fd, int ifindex, bool *ret_is_generic);

/* Takes it off the device; other programs stay. -ENOENT: it was not there. */
int xdp_dispatcher_detach(int program_fd, int ifindex);

#endif
