/* The maps of services as memory of ours. */
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "kern/dataplane_internal.h"
#include "kern/nat_table.h"
#include "kern/service_internal.h"

struct piece {
	enum dataplane_map map;
	uint32_t element_bytes; /* of ours: an element of the map is one or more of them */
	void **memory;
	uint32_t *count;
};

#define PIECES_MAX 11

static unsigned int list_pieces(struct service_maps *maps, struct piece *pieces)
{
	static uint32_t ignored;
	const struct piece all[] = {
		{DATAPLANE_MAP_SVC_KEYS, sizeof(*maps->keys), (void **)&maps->keys,
		 &maps->key_count},
		{DATAPLANE_MAP_SVC_RANGES, sizeof(*maps->ranges), (void **)&maps->ranges,
		 &maps->range_count},
		{DATAPLANE_MAP_SVC_STATE, sizeof(*maps->state), (void **)&maps->state, &ignored},
		{DATAPLANE_MAP_SERVICES, sizeof(*maps->services), (void **)&maps->services,
		 &maps->service_count},
		{DATAPLANE_MAP_BACKENDS, sizeof(*maps->backends), (void **)&maps->backends,
		 &maps->backend_count},
		{DATAPLANE_MAP_SLOTS, sizeof(*maps->slots), (void **)&maps->slots,
		 &maps->slot_count},
		{DATAPLANE_MAP_FLOWS, sizeof(*maps->flows), (void **)&maps->flows,
		 &maps->line_count},
		{DATAPLANE_MAP_FLOW_CONF, sizeof(*maps->flow_conf), (void **)&maps->flow_conf,
		 &ignored},
		{DATAPLANE_MAP_PHASES, sizeof(*maps->phases), (void **)&maps->phases, &ignored},
		{DATAPLANE_MAP_SVC_INFO, sizeof(*maps->service_info), (void **)&maps->service_info,
		 &ignored},
		{DATAPLANE_MAP_BE_INFO, sizeof(*maps->backend_info), (void **)&maps->backend_info,
		 &ignored},
	};

	_Static_assert(ARRAY_SIZE(all) == PIECES_MAX, "PIECES_MAX");
	memcpy(pieces, all, sizeof(all));
	return ARRAY_SIZE(all);
}

/* All elements of these maps are of a multiple of eight bytes, so that the kernel puts nothing
 * between them. */
static size_t piece_bytes(const struct piece *piece, uint32_t count)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return ((size_t)piece->element_bytes * count + page - 1) & ~(page - 1);
}

/*
 * The kernel takes a shared mapping of a descriptor without the right to write for a private one,
 * which maps do not have: to be read, too, a map must be opened for both.
 */
static int map_piece(const struct dataplane *dataplane, const struct piece *piece, bool read_only)
{
	int fd = dataplane->maps[piece->map];
	_cleanup_close_ int own_fd = -1;
	struct bpf_map_info info = {0};
	uint32_t len = sizeof(info);
	int r = bpf_obj_get_info_by_fd(fd, &info, &len);
	uint32_t count;
	void *memory;

	if (!r && read_only)
		fd = r = own_fd = pins_get(dataplane, info.name);
	if (r < 0)
		return r;
	count = info.max_entries * (info.value_size / piece->element_bytes);
	memory = mmap(NULL, piece_bytes(piece, count),
		      read_only ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return -errno;
	*piece->count = count;
	*piece->memory = memory;
	return 0;
}

static int nat_open(void *arg, uint32_t index, struct sl_nat_line **ret_lines)
{
	const struct dataplane *dataplane = arg;

	return nat_table_open(dataplane, index, dataplane->read_only, ret_lines);
}

int service_maps_open(struct dataplane *dataplane, bool read_only, struct service_maps *ret_maps,
		      struct error *err)
{
	struct service_maps maps = {0};
	struct piece pieces[PIECES_MAX];
	unsigned int count = list_pieces(&maps, pieces);

	for (unsigned int i = 0; i < count; i++) {
		int r = map_piece(dataplane, &pieces[i], read_only);

		if (r) {
			service_maps_close(&maps);
			return error_set_errno(err, r, "cannot map what services are kept in");
		}
	}
	maps.service_counts_fd = dataplane->maps[DATAPLANE_MAP_SVC_COUNTS];
	maps.service_drops_fd = dataplane->maps[DATAPLANE_MAP_SVC_DROPS];
	maps.backend_counts_fd = dataplane->maps[DATAPLANE_MAP_BE_COUNTS];
	maps.flow_counts_fd = dataplane->maps[DATAPLANE_MAP_FLOW_COUNTS];
	maps.nat_open = nat_open;
	maps.nat_close = nat_table_close;
	maps.nat_arg = dataplane;
	*ret_maps = maps;
	return 0;
}

void service_maps_close(struct service_maps *maps)
{
	struct piece pieces[PIECES_MAX];
	unsigned int count = list_pieces(maps, pieces);

	for (unsigned int i = 0; i < count; i++) {
		uint32_t elements = *pieces[i].count;

		if (!*pieces[i].memory)
			continue;
		switch (pieces[i].map) {
		case DATAPLANE_MAP_SVC_STATE:
		case DATAPLANE_MAP_FLOW_CONF:
			elements = 1;
			break;
		case DATAPLANE_MAP_PHASES:
		case DATAPLANE_MAP_SVC_INFO:
			elements = maps->service_count;
			break;
		case DATAPLANE_MAP_BE_INFO:
			elements = maps->backend_count;
			break;
		default:
			break;
		}
		(void)munmap(*pieces[i].memory, piece_bytes(&pieces[i], elements));
		*pieces[i].memory = NULL;
	}
}
