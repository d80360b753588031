#include "kern/steer.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "kern/dataplane_internal.h"
#include "sk_lookup.skel.h"

_Static_assert(STEER_SLOTS == SL_STEER_SLOTS && STEER_WORKERS_MAX == SL_STEER_WORKERS, "limits");

/* Is the link attached to the network namespace of this descriptor? */
static bool link_is_here(int link_fd, int netns_fd)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);
	struct stat status;

	return bpf_obj_get_info_by_fd(link_fd, &info, &len) == 0 &&
	       info.type == BPF_LINK_TYPE_NETNS && fstat(netns_fd, &status) == 0 &&
	       info.netns.netns_ino == status.st_ino;
}

static int adopt_link(struct dataplane *dataplane, int netns_fd, int *ret_link_fd)
{
	_cleanup_close_ int fd = pins_get(dataplane, STEER_LINK_PIN);
	int ret;

	if (fd < 0)
		return fd;
	if (link_is_here(fd, netns_fd)) {
		ret = bpf_link_update(fd, bpf_program__fd(dataplane->sk_lookup->progs.sl_steer),
				      NULL);
		if (ret)
			return ret;
		*ret_link_fd = TAKE_FD(fd);
		return 0;
	}
	/* Another namespace's, or one that is gone. */
	(void)bpf_link_detach(fd);
	ret = pins_remove(dataplane, STEER_LINK_PIN);
	return ret ? ret : -ENOENT;
}

int steer_attach(struct dataplane *dataplane, struct error *err)
{
	_cleanup_close_ int netns_fd = -1, link_fd = -1, lock_fd = -1;
	int ret;

	if (!dataplane->sk_lookup)
		return error_set(err, -EOPNOTSUPP, "this kernel has no sk_lookup");
	ret = pins_lock(dataplane, &lock_fd, err);
	if (ret)
		return ret;
	netns_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (netns_fd < 0)
		return error_set_errno(err, -errno, "cannot open the network namespace");
	ret = adopt_link(dataplane, netns_fd, &link_fd);
	if (ret && ret != -ENOENT)
		return error_set_errno(err, ret, "cannot adopt '%s/" STEER_LINK_PIN "'",
				       dataplane->dir);
	if (ret) {
		link_fd = bpf_link_create(bpf_program__fd(dataplane->sk_lookup->progs.sl_steer),
					  netns_fd, BPF_SK_LOOKUP, NULL);
		if (link_fd < 0)
			return error_set_errno(err, link_fd, "cannot attach sk_lookup");
		ret = pins_put(dataplane, STEER_LINK_PIN, link_fd);
		if (ret)
			return error_set_errno(err, ret, "cannot pin '%s/" STEER_LINK_PIN "'",
					       dataplane->dir);
	}
	close_fdp(&dataplane->steer_link_fd);
	dataplane->steer_link_fd = TAKE_FD(link_fd);
	return 0;
}

bool steer_is_attached(const struct dataplane *dataplane)
{
	struct bpf_link_info info = {0};
	uint32_t len = sizeof(info);

	return dataplane->steer_link_fd >= 0 &&
	       bpf_obj_get_info_by_fd(dataplane->steer_link_fd, &info, &len) == 0 &&
	       info.type == BPF_LINK_TYPE_NETNS && info.netns.netns_ino != 0;
}

/* fd -1 empties the place. */
static int set_sock(const struct dataplane *dataplane, uint32_t key, int fd)
{
	int map_fd = dataplane->maps[DATAPLANE_MAP_STEER_SOCKS], ret;
	uint64_t value = (uint64_t)fd, cookie = 0, standing = 0;
	socklen_t len = sizeof(cookie);

	if (fd < 0) {
		ret = bpf_map_delete_elem(map_fd, &key);
		return ret == -ENOENT || ret == -EINVAL ? 0 : ret; /* a sockmap says -EINVAL */
	}
	/* Not twice into one place: the kernel would forget to empty it when the socket closes. */
	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &len))
		return -errno;
	if (bpf_map_lookup_elem(map_fd, &key, &standing) == 0 && standing == cookie)
		return 0;
	return bpf_map_update_elem(map_fd, &key, &value, BPF_ANY);
}

int steer_set_workers(struct dataplane *dataplane, const int *fds_v4, const int *fds_v6,
		      unsigned int count, struct error *err)
{
	struct sl_steer_state state = {0};
	struct sl_steer_slots slots = {0};
	struct sl_steer_conf conf;
	uint32_t zero = 0;
	int ret;

	if (!dataplane->has_sockmap)
		return error_set(err, -EOPNOTSUPP, "this kernel has no sockmap");
	if (count > STEER_WORKERS_MAX)
		return error_set(err, -E2BIG, "%u workers, at most %d can be steered to", count,
				 STEER_WORKERS_MAX);
	/* Listeners first, then who points to them, then what nobody points to any more. */
	for (uint32_t worker = 0; worker < count; worker++) {
		ret = set_sock(dataplane, SL_STEER_SOCK(worker, 0), fds_v4[worker]);
		if (ret == 0)
			ret = set_sock(dataplane, SL_STEER_SOCK(worker, 1), fds_v6[worker]);
		if (ret)
			return error_set_errno(err, ret, "cannot steer to worker %u", worker);
	}
	for (unsigned int slot = 0; slot < STEER_SLOTS && count; slot++)
		slots.workers[slot] = (uint16_t)(slot % count);
	ret = bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_STEER_CONF], &zero, &conf);
	conf.workers = count;
	if (ret == 0)
		ret = bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_STEER_CONF], &zero, &conf,
					  BPF_ANY);
	if (ret == 0)
		ret = bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_STEER_SLOTS], &zero, &slots,
					  BPF_ANY);
	for (uint32_t worker = count; worker < STEER_WORKERS_MAX && ret == 0; worker++) {
		ret = set_sock(dataplane, SL_STEER_SOCK(worker, 0), -1);
		if (ret == 0)
			ret = set_sock(dataplane, SL_STEER_SOCK(worker, 1), -1);
	}
	if (ret == 0)
		ret = bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_STEER_STATE], &zero, &state,
					  BPF_ANY);
	return ret ? error_set_errno(err, ret, "cannot steer to the workers") : 0;
}
