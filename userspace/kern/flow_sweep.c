#include "kern/flow_sweep.h"

#include <bpf/bpf.h>
#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "flow_sweep.skel.h"
#include "kern/dataplane_internal.h"

DEFINE_FREEP(struct flow_sweep_bpf, flow_sweep_bpf__destroy)

int flow_sweep_start(struct dataplane *dataplane, struct error *err)
{
	_cleanup_(flow_sweep_bpf__destroyp)
	struct flow_sweep_bpf *object = flow_sweep_bpf__open();
	char frame[64] = {0};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame, .data_size_in = sizeof(frame));
	int ret;

	if (!object)
		return error_set_errno(err, -errno, "cannot read the program that sweeps flows");
	ret = pins_give_maps(dataplane, object->obj, err);
	if (ret)
		return ret;
	ret = flow_sweep_bpf__load(object);
	if (ret)
		return error_set_errno(err, ret, "cannot load the program that sweeps flows");
	ret = bpf_prog_test_run_opts(bpf_program__fd(object->progs.sl_sweep_start), &opts);
	if (ret == 0)
		ret = -(int)opts.retval;
	return ret ? error_set_errno(err, ret, "cannot start the sweep of the flow table") : 0;
}

int flow_sweep_read(struct dataplane *dataplane, struct flow_table_state *ret_state,
		    struct error *err)
{
	struct bpf_map_info info = {0};
	struct sl_flow_sweep sweep;
	uint32_t len = sizeof(info), zero = 0;
	int ret = bpf_obj_get_info_by_fd(dataplane->maps[DATAPLANE_MAP_FLOWS], &info, &len);

	if (ret == 0)
		ret = bpf_map_lookup_elem(dataplane->maps[DATAPLANE_MAP_FLOW_SWEEP], &zero, &sweep);
	if (ret)
		return error_set_errno(err, ret, "cannot read what the sweep of flows found");
	*ret_state = (struct flow_table_state){
		.entries = sweep.entries,
		.capacity = (uint64_t)info.max_entries * SL_FLOW_WAYS,
		.sweeps = sweep.sweeps,
		.skipped = sweep.skipped,
		.expired = sweep.expired,
		.looked_boot_ns = sweep.looked_boot_ns,
	};
	return 0;
}

void flow_sweep_write_json(struct dataplane *dataplane, struct json_writer *json)
{
	struct flow_table_state state;
	uint64_t now_ns = clock_boot_ns();

	if (flow_sweep_read(dataplane, &state, NULL)) {
		json_nil(json, "flow_table");
		return;
	}
	json_open_object(json, "flow_table");
	json_u64(json, "entries", state.entries);
	json_u64(json, "capacity", state.capacity);
	json_u64(json, "sweeps", state.sweeps);
	json_u64(json, "skipped", state.skipped);
	json_u64(json, "expired", state.expired);
	if (state.looked_boot_ns)
		json_double(json, "looked_s_ago",
			    (double)(now_ns - MIN(now_ns, state.looked_boot_ns)) / 1e9);
	else
		json_nil(json, "looked_s_ago");
	json_close_object(json);
}
