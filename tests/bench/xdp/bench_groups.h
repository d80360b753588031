/*
 * bench_groups: what is measured, by subject. Each function adds its cases to the bench.
 */
#ifndef SLUICE_BENCH_XDP_GROUPS_H
#define SLUICE_BENCH_XDP_GROUPS_H

#include "abi/service.h"
#include "kern/dataplane.h"
#include "tests/bench/xdp/bench_case.h"
#include "tests/bench/xdp/bench_lists.h"

#define BENCH_OURS "sluice"

struct bench {
	struct bench_case **cases;
	size_t case_count;
	uint32_t entries_max; /* of lists; smaller with --quick */
	uint32_t flows_max;
	struct json_writer *facts; /* an open object for what is measured once */
	unsigned int dataplanes;
};

/* A bpffs of its own: pins go with the process. */
void bench_place_make(void);

struct bench_case *bench_add(struct bench *bench, const char *name, const char *who, int program_fd,
			     const struct bench_frame *frame, struct bench_flows flows,
			     uint32_t verdict);

/* Our program by the project's own loader, with all features on, and maps of its own. */
struct dataplane *bench_dataplane_new(struct bench *bench);
int bench_dataplane_program(struct dataplane *dataplane);

/* The deny list exactly this one, as the daemon does with that of its configuration. */
void bench_deny(struct dataplane *dataplane, const struct bench_list *list);

void bench_group_floor(struct bench *bench);
void bench_group_pass(struct bench *bench);
void bench_group_deny4(struct bench *bench);
void bench_group_deny6(struct bench *bench);
void bench_group_service(struct bench *bench);
void bench_group_nat(struct bench *bench);

/*
 * One service with 100 backends behind the interface; `changing` of 65,536 slots are in change.
 */
struct dataplane *bench_service_new(struct bench *bench, enum sl_forward forward, uint32_t changing,
				    uint32_t ifindex);

#endif
