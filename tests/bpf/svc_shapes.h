/*
 * svc_shapes: a packet of each kind that the service stage treats in a way of its own, with right
 * checksums and anything for its client, ports and payload.
 */
#ifndef SLUICE_TESTS_BPF_SVC_SHAPES_H
#define SLUICE_TESTS_BPF_SVC_SHAPES_H

#include "tests/bpf/service_env.h"

enum svc_part { SVC_WHOLE, SVC_FIRST_FRAGMENT, SVC_LATER_FRAGMENT, SVC_ATOMIC_FRAGMENT };

struct svc_shape {
	const char *name;
	const char *backend; /* its address: the family of the outer header */
	bool is_v6;
	unsigned int tags;
	size_t options_bytes; /* of IPv4; of IPv6: of destination options, behind two others */
	uint8_t protocol;     /* of ICMP: a ping, or an error */
	enum svc_part part;
	bool is_error;
	bool is_big; /* too big for the way to its backend, whose MTU is 1,500 bytes */
	enum sl_reason reason;
};

extern const struct svc_shape svc_shapes[];
extern const size_t svc_shape_count;

/* Is it answered here, and not sent on? */
bool svc_shape_is_answered(const struct svc_shape *shape);

/*
 * Puts the shape's backend in place. A later fragment's first one is sent, so that it has where to
 * follow.
 */
void svc_shape_build(const struct svc_shape *shape, uint64_t *random, struct frame *ret_frame);

#endif
