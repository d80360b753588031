#include "tools/pin_rows.h"

#include <errno.h>
#include <time.h>

#include "tools/cli.h"
#include "tools/output.h"

json_t *pin_row_time(uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm parts;
	char text[40];

	if (!wall_ms || !gmtime_r(&seconds, &parts) ||
	    !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts))
		return document_null();
	return json_string(text);
}

int pin_row_add_path(const struct cli *cli, json_t *row, const struct pin *pin)
{
	_cleanup_(buf_done)
	struct buf path;

	buf_init(&path, 8192);
	if (!cli->show_paths)
		return 0;
	if (!pin->name[0])
		return json_object_set_new(row, "path", document_null()) ? -ENOMEM : 0;
	if (buf_printf(&path, "%s/%s", cli->bpffs_dir, pin->name) ||
	    json_object_set_new(row, "path", document_text(buf_str(&path))))
		return -ENOMEM;
	return 0;
}

json_t *pin_row_of_map(const struct pin *pin)
{
	const struct pin_map *map = &pin->map;

	return json_pack("{s:o, s:I, s:s, s:I, s:I, s:I, s:I, s:I}", "name",
			 document_text(str_from_cstr(pin->name)), "id", (json_int_t)map->id, "type",
			 pin_map_type_name(map->type), "key_bytes", (json_int_t)map->key_bytes,
			 "value_bytes", (json_int_t)map->value_bytes, "max_entries",
			 (json_int_t)map->max_entries, "flags", (json_int_t)map->flags,
			 "memory_bytes", (json_int_t)map->memory_bytes);
}

static json_t *number_or_null(uint64_t number)
{
	return number ? json_integer((json_int_t)number) : document_null();
}

json_t *pin_row_of_program(const struct pin *pin)
{
	const struct pin_program *program = &pin->program;
	json_t *row, *ids = json_array();

	for (uint32_t i = 0; ids && i < program->map_count; i++) {
		if (json_array_append_new(ids, json_integer(program->map_ids[i]))) {
			json_decref(ids);
			return NULL;
		}
	}
	row = json_pack("{s:o, s:I, s:s, s:s, s:I, s:o, s:I, s:I, s:o, s:o}", "name",
			document_text(str_from_cstr(program->name)), "id", (json_int_t)program->id,
			"type", program->type, "tag", program->tag, "instructions",
			(json_int_t)program->instructions, "verified_instructions",
			number_or_null(program->verified_insns), "jited_bytes",
			(json_int_t)program->jited_bytes, "memory_bytes",
			(json_int_t)program->memory_bytes, "loaded_at",
			pin_row_time(program->loaded_wall_ms), "map_ids", ids);
	/* Without kernel.bpf_stats_enabled nothing is counted: that is not "0 runs". */
	if (row &&
	    (json_object_set_new(row, "run_count", number_or_null(program->run_count)) ||
	     json_object_set_new(row, "run_time_ns",
				 program->run_count ? json_integer((json_int_t)program->run_time_ns)
						    : document_null()) ||
	     json_object_set_new(row, "ns_per_run",
				 program->run_count ? json_real((double)program->run_time_ns /
								(double)program->run_count)
						    : document_null()))) {
		json_decref(row);
		return NULL;
	}
	return row;
}

json_t *pin_row_of_link(const struct pin *pin)
{
	const struct pin_link *link = &pin->link;

	return json_pack("{s:o, s:I, s:s, s:I, s:o, s:b}", "name",
			 document_text(str_from_cstr(pin->name)), "id", (json_int_t)link->id,
			 "type", link->type, "program_id", (json_int_t)link->program_id,
			 "interface",
			 link->interface[0] ? document_text(str_from_cstr(link->interface))
					    : document_null(),
			 "attached", (int)link->is_attached);
}
