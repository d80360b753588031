/*
 * service_env: a node with one service of mode ipip, for BPF_PROG_TEST_RUN.
 *
 *   SVC_VIP4, SVC_VIP6: SVC_PORT over TCP and UDP, and ten ports of UDP from SVC_RANGE_PORT on
 *        └─► one slot ──► SVC_FIRST or SVC_SECOND, indices in a pool of eight
 *
 * Packets come in by lo, and the flow table is so small and its clock so slow that tests can look
 * at each entry.
 */
#ifndef SLUICE_TESTS_BPF_SERVICE_ENV_H
#define SLUICE_TESTS_BPF_SERVICE_ENV_H

#include "tests/bpf/bpf_env.h"
#include "tests/bpf/frame.h"

#include "abi/flow.h"
#include "abi/service.h"

#define SVC_VIP4	"192.0.2.53"
#define SVC_VIP6	"2001:db8::53"
#define SVC_CLIENT4	"198.51.100.7"
#define SVC_CLIENT6	"2001:db8:1::7"
#define SVC_PORT	53
#define SVC_RANGE_PORT	5000
#define SVC_CLIENT_PORT 40000 /* what frame_tcp() and frame_udp() have */
#define SVC_BASE	10    /* of the pool */
#define SVC_FIRST	1
#define SVC_SECOND	2
#define SVC_LO		1 /* test runs come in here */
#define SVC_LINES	4

struct svc_out {
	uint8_t bytes[FRAME_MAX + 256];
	size_t len;
};

/* Of the last run. */
extern struct svc_out svc_out;

/*
 * Of each test: skips without root; one service, two backends with IPv4 addresses whose next hops
 * are known, one slot with the first, which is not in change; no flows.
 */
int svc_begin(void **state);
/* Of the group. */
int svc_end(void **state);

void svc_put_service(uint8_t affinity);
/* ifindex 0: no next hop is known, so the kernel is asked for one. */
void svc_put_backend(uint32_t index, const char *address, uint32_t ifindex, uint16_t mtu,
		     uint32_t flags);
void svc_put_slot(uint32_t current, uint32_t previous, uint32_t phase);
void svc_clear_flows(void);

int svc_map(const char *name);
void svc_put(const char *map, uint32_t key, const void *value);
/* An element of a map of struct sl_counter, all CPUs. Returns the packets. */
uint64_t svc_count(const char *map, uint32_t key, uint64_t *ret_bytes);

/* 4 or 16 bytes in `at`, which has room for 16; the rest is zero. */
void svc_address(void *at, const char *text);

/* The device that packets come in by, until svc_begin(). */
void svc_set_ingress(const char *device);
/* Runs it; svc_out is what came out. Returns the verdict. */
int svc_run_bytes(const uint8_t *bytes, size_t len);
/* The same, with the name of the reason that moved; see env_moved(). */
int svc_run_reason(const uint8_t *bytes, size_t len, const char **ret_reason);
/* Runs the frame and expects this verdict for this reason. */
void svc_run(const struct frame *frame, int verdict, enum sl_reason reason);
/*
 * Fails unless svc_out is the frame's IP packet, untouched, behind a right outer header to this
 * backend, below the frame's tags and anything for Ethernet addresses.
 */
void svc_expect_outer(const struct frame *frame, const char *backend);

#endif
