#include "kern/nat_table.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/cleanup.h"
#include "kern/dataplane_internal.h"

#define TABLE_BYTES (SL_NAT_LINES * sizeof(struct sl_nat_line))

static void pin_name(uint32_t index, char *buf, size_t buf_len)
{
	(void)snprintf(buf, buf_len, "nat_lines_%u", index);
}

/*
 * Nobody looks there meanwhile. At each step a daemon may die: what is in use always has its pin.
 */
int nat_table_make(struct dataplane *dataplane, uint32_t index)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	_cleanup_close_ int fd =
		bpf_map_create(BPF_MAP_TYPE_ARRAY, "sl_nat_lines", sizeof(uint32_t),
			       sizeof(struct sl_nat_line), SL_NAT_LINES, &opts);
	char name[DATAPLANE_PIN_MAX];
	int ret;

	if (fd < 0)
		return fd;
	pin_name(index, name, sizeof(name));
	ret = bpf_map_delete_elem(dataplane->maps[DATAPLANE_MAP_NAT_TABLES], &index);
	if (!ret || ret == -ENOENT)
		ret = pins_remove(dataplane, name);
	if (!ret)
		ret = pins_put(dataplane, name, fd);
	if (ret)
		return ret;
	return bpf_map_update_elem(dataplane->maps[DATAPLANE_MAP_NAT_TABLES], &index, &fd, BPF_ANY);
}

int nat_table_open(const struct dataplane *dataplane, uint32_t index, bool read_only,
		   struct sl_nat_line **ret_lines)
{
	_cleanup_close_ int fd = -1;
	uint32_t id;
	char name[DATAPLANE_PIN_MAX];
	void *lines;
	int ret;

	ret = bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_NAT_TABLES], &index, &id);
	if (ret)
		return ret;
	pin_name(index, name, sizeof(name));
	fd = pins_get(dataplane, name);
	if (fd < 0)
		return fd == -ENOENT ? -ESTALE : fd;
	lines = mmap(NULL, TABLE_BYTES, read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (lines == MAP_FAILED)
		return -errno;
	*ret_lines = lines;
	return 0;
}

void nat_table_close(struct sl_nat_line *lines)
{
	if (lines)
		(void)munmap(lines, TABLE_BYTES);
}
