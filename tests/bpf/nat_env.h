/*
 * nat_env: a node with services of mode nat between two wires, for BPF_PROG_TEST_RUN.
 *
 *   clients, anywhere ── 10.2.0.2 ── nat-c │ sl_main │ nat-b ── backends 10.1.0.0/24
 *
 * Packets come in by lo, unless the test says otherwise. Services: see enum nat_env_service.
 */
#ifndef SLUICE_TESTS_BPF_NAT_ENV_H
#define SLUICE_TESTS_BPF_NAT_ENV_H

#include "tests/bpf/bpf_env.h"
#include "tests/bpf/nat_packet.h"

#include "abi/flow.h"
#include "abi/nat.h"
#include "abi/service.h"

#define NAT_ENV_VIP		NAT_IP(192, 0, 2, 80)
#define NAT_ENV_SOURCE		NAT_IP(198, 18, 0, 1)
#define NAT_ENV_CLIENT		NAT_IP(198, 51, 100, 7)
#define NAT_ENV_BACKENDS	8 /* of each service, 10.1.0.1 and on */
#define NAT_ENV_BACKEND(number) (NAT_IP(10, 1, 0, 0) + (number))

/* All have NAT_ENV_VIP. The first two change the port, the third keeps what the client called. */
enum nat_env_service {
	NAT_ENV_TCP,
	NAT_ENV_UDP,
	NAT_ENV_KEEP,
	NAT_ENV_SERVICES,
	NAT_ENV_RANGE = NAT_ENV_SERVICES, /* of nat_env_add_range() */
};

#define NAT_ENV_TCP_PORT  80
#define NAT_ENV_UDP_PORT  53
#define NAT_ENV_KEEP_PORT 8443
#define NAT_ENV_TO_PORT	  8080 /* of the backends of the first two */

#define NAT_ENV_RANGE_FIRST 20000
#define NAT_ENV_RANGE_LAST  20009

/* Like env_setup(), with the wires. */
int nat_env_setup(void **state);
int nat_env_teardown(void **state);
/* Skips without root; then services as above, one source address with these lines, no flows. */
void nat_env_begin(unsigned int line_first, unsigned int line_count);
/* One more service, which has these ports in a range, of both protocols, and keeps them. */
void nat_env_add_range(void);
/* One more source address, NAT_ENV_SOURCE + index; gives all slots to it when it is alone. */
void nat_env_add_source(unsigned int index, unsigned int line_first, unsigned int line_count);
void nat_env_set_slots(bool previous, unsigned int address, unsigned int line_first,
		       unsigned int line_count);
/* In units of time, all states. */
void nat_env_set_limits(bool pressed, uint16_t limit);
void nat_env_set_limit(bool pressed, unsigned int state, bool has_rst, uint16_t limit);
void nat_env_set_backend(enum nat_env_service service, unsigned int number, uint32_t flags);
/* The backend's record knows its next hop: this device, these addresses. */
void nat_env_set_hop(enum nat_env_service service, unsigned int number, const char *device,
		     uint16_t mtu, const uint8_t to[6], const uint8_t from[6]);
/* All slots of the service to this backend; 0: to all in turn. */
void nat_env_set_fresh(enum nat_env_service service, unsigned int number);
/* A device the packets come in by: "lo", "nat-b", "nat-c". */
void nat_env_set_ingress(const char *device);

/* The entry whose place is this source port. */
struct sl_nat_entry nat_env_entry(unsigned int address, uint16_t port);
/* Turns the entry's time back by so many units. */
void nat_env_age(unsigned int address, uint16_t port, unsigned int units);
/* Entries with a state of their own. */
unsigned int nat_env_count(unsigned int address);

/* Runs it; the verdict, what came out, and the name of the reason that moved. */
int nat_env_run(const struct nat_packet *packet, struct nat_packet *ret_out,
		const char **ret_reason);
/* Fails unless it comes out unchanged with this verdict for this reason. */
void nat_env_expect(const struct nat_packet *packet, int verdict, enum sl_reason reason);
/* Fails unless it is sent on for this reason with right checksums and a TTL less one. */
void nat_env_forwards(const struct nat_packet *packet, enum sl_reason reason,
		      struct nat_packet *ret_out);

#endif
