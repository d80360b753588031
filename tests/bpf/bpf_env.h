/*
 * bpf_env: a place of its own for each BPF test program, gone without a trace when it ends.
 *
 * A private mount namespace with a fresh bpffs on /sys/fs/bpf and a private network namespace with
 * lo up: pins, links and devices die with the process. Skips with a reason what the machine lacks.
 */
#ifndef SLUICE_TESTS_BPF_BPF_ENV_H
#define SLUICE_TESTS_BPF_BPF_ENV_H

#include "tests/unit/test_support.h"

#include "abi/drop_reasons.h"
#include "kern/dataplane.h"

#define ENV_DIR	     "/sys/fs/bpf/sluice-test"
#define ENV_PATIENCE 10000 /* ms that an event may take before a test gives up on it */

/* A cmocka group set-up. Without root it does nothing and env_require() skips each test. */
int env_setup(void **state);
void env_require(void);

/* Fails with the error's text. */
#define env_assert_ok(call, err) env_assert_ok_at((call), (err), #call, __FILE__, __LINE__)
void env_assert_ok_at(int ret, const struct error *err, const char *call, const char *file,
		      int line);

struct env_counters {
	uint64_t packets[SL_REASON_COUNT];
	uint64_t bytes[SL_REASON_COUNT];
};

void env_read_counters(struct dataplane *dataplane, struct env_counters *ret_counters);
/* The packets alone, from the descriptor of sl_counters, in one call. */
void env_read_packets(int counters_fd, struct env_counters *ret_counters);
/* Name of the one reason that moved, "" when none did, "several" when more than one. */
const char *env_moved(const struct env_counters *before, const struct env_counters *after);
const char *env_reason_name(enum sl_reason reason);

/* Runs the program over one frame. Returns the verdict; the frame must come out as it went in. */
int env_run_xdp(int program_fd, const uint8_t *bytes, size_t len);

/* Runs one command, "ip link add ...". Returns its exit status. */
int env_command(const char *command);

/* Calls is_done(arg) until it is true or ENV_PATIENCE is over. */
bool env_wait(bool (*is_done)(void *arg), void *arg);

/*
 * Runs body(arg) in a child that then stays until it is killed with SIGKILL by env_kill(). Returns
 * when the body has returned 0; its failure fails the test.
 */
pid_t env_child(int (*body)(void *arg), void *arg);
void env_kill(pid_t child);

/* uid nobody with CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_NET_RAW: the daemon after its drop. */
int env_drop_privileges(void);

#endif
