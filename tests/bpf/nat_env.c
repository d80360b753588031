#include "tests/bpf/nat_env.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <sys/mman.h>
#include <unistd.h>

#include "abi/flow_rules.h"
#include "xdp_main.skel.h"

static struct xdp_main_bpf *skeleton;

static int program_fd, conf_fd, tables_fd, counters_fd;
static struct sl_nat_conf conf;
static struct sl_nat_line *tables[SL_NAT_ADDRESSES_MAX];
static int table_fds[SL_NAT_ADDRESSES_MAX];
static unsigned int ingress;

static const struct {
	uint16_t port;
	uint16_t to_port;
	uint8_t protocol;
} services[NAT_ENV_SERVICES + 1] = {
	[NAT_ENV_TCP] = {NAT_ENV_TCP_PORT, NAT_ENV_TO_PORT, IPPROTO_TCP},
	[NAT_ENV_UDP] = {NAT_ENV_UDP_PORT, NAT_ENV_TO_PORT, IPPROTO_UDP},
	[NAT_ENV_KEEP] = {NAT_ENV_KEEP_PORT, 0, IPPROTO_TCP},
};

static const char *const wires[] = {
	"ip link add nat-b address 02:00:00:00:00:b0 type veth peer name nat-b1",
	"ip link add nat-c address 02:00:00:00:00:c0 type veth peer name nat-c1",
	"ip link set nat-b up",
	"ip link set nat-b1 up",
	"ip link set nat-c up",
	"ip link set nat-c1 up",
	"ip address add 10.1.0.254/24 dev nat-b",
	"ip address add 10.2.0.1/24 dev nat-c",
	"ip route add default via 10.2.0.2 dev nat-c",
	"ip neighbour add 10.2.0.2 lladdr 02:00:00:00:02:02 nud permanent dev nat-c",
	"for i in 1 2 3 4 5 6 7 8; do ip neighbour add 10.1.0.$i lladdr 02:00:00:00:01:0$i "
	"nud permanent dev nat-b || exit 1; done",
	"echo 1 >/proc/sys/net/ipv4/ip_forward",
};

static bool is_wired;

int nat_env_setup(void **state)
{
	if (env_setup(state))
		return -1;
	is_wired = true;
	for (size_t i = 0; i < ARRAY_SIZE(wires); i++)
		if (env_command(wires[i])) {
			print_error("failed: %s\n", wires[i]);
			is_wired = false;
			break;
		}
	return 0;
}

static int map_fd(const char *name)
{
	int fd = bpf_object__find_map_fd_by_name(skeleton->obj, name);

	if (fd < 0)
		print_error("no map %s\n", name);
	assert_true(fd >= 0);
	return fd;
}

static void put(int fd, uint32_t key, const void *value)
{
	assert_return_code(bpf_map_update_elem(fd, &key, value, BPF_ANY), errno);
}

static void write_conf(void)
{
	put(conf_fd, 0, &conf);
}

static uint32_t first_backend(enum nat_env_service service)
{
	return 1 + (uint32_t)service * 16;
}

static struct sl_backend backend_of(enum nat_env_service service, unsigned int number)
{
	return (struct sl_backend){
		.addr_be = {htonl(NAT_ENV_BACKEND(number))},
		.family = SL_FAMILY_V4,
		.port = services[service].to_port,
		.service = service,
		.id = number,
	};
}

void nat_env_set_backend(enum nat_env_service service, unsigned int number, uint32_t flags)
{
	struct sl_backend backend = backend_of(service, number);

	backend.flags = flags;
	put(map_fd("sl_backends"), first_backend(service) + number, &backend);
}

void nat_env_set_hop(enum nat_env_service service, unsigned int number, const char *device,
		     uint16_t mtu, const uint8_t to[6], const uint8_t from[6])
{
	struct sl_backend backend = backend_of(service, number);

	backend.flags = SL_BACKEND_LIVE;
	backend.ifindex = if_nametoindex(device);
	assert_true(backend.ifindex > 0);
	backend.mtu = mtu;
	memcpy(backend.next_hop, to, sizeof(backend.next_hop));
	memcpy(backend.from, from, sizeof(backend.from));
	put(map_fd("sl_backends"), first_backend(service) + number, &backend);
}

void nat_env_set_fresh(enum nat_env_service service, unsigned int number)
{
	for (uint32_t slot = 0; slot < 17; slot++) {
		uint32_t to = number ? number : slot % NAT_ENV_BACKENDS + 1;
		uint32_t at = (uint32_t)service * 17 + slot, line_at = at / SL_SLOT_LINE;
		struct sl_slot_line line;

		assert_int_equal(bpf_map_lookup_elem(map_fd("sl_slots"), &line_at, &line), 0);
		line.slots[at % SL_SLOT_LINE] = SL_SLOT(to, to, 0);
		put(map_fd("sl_slots"), line_at, &line);
	}
}

static void set_key(const struct sl_service_key *key)
{
	uint32_t place =
		service_key_place(key->addr_be, key->port, key->protocol, SL_SERVICE_KEYS_MAX);

	put(map_fd("sl_svc_keys"), place, key);
}

static void put_service(enum nat_env_service number)
{
	struct sl_service service = {
		.flags = SL_SERVICE_LIVE,
		.forward = SL_FORWARD_NAT,
		.slot_base = (uint32_t)number * 17,
		.slot_count = 17,
		.backend_base = first_backend(number),
		.backend_count = NAT_ENV_BACKENDS + 1,
	};

	for (unsigned int i = 1; i <= NAT_ENV_BACKENDS; i++)
		nat_env_set_backend(number, i, SL_BACKEND_LIVE);
	nat_env_set_fresh(number, 0);
	put(map_fd("sl_services"), number, &service);
}

static void put_state(uint32_t range_count)
{
	put(map_fd("sl_svc_state"), 0,
	    &(struct sl_service_state){.range_count = range_count,
				       .key_count = NAT_ENV_SERVICES + 1});
}

static void set_service(enum nat_env_service number)
{
	struct sl_service_key key = {
		.addr_be = {htonl(NAT_ENV_VIP)},
		.port = services[number].port,
		.protocol = services[number].protocol,
		.family = SL_FAMILY_V4,
		.value = number + 1,
	};

	put_service(number);
	set_key(&key);
	key.port = key.protocol = 0;
	key.value = SL_SERVICE_KEY_ADDRESS;
	set_key(&key);
	put_state(0);
}

void nat_env_add_range(void)
{
	struct sl_service_ranges ranges = {
		.count = 1,
		.ranges = {{.first = NAT_ENV_RANGE_FIRST,
			    .last = NAT_ENV_RANGE_LAST,
			    .service = NAT_ENV_RANGE}},
	};
	struct sl_service_key key = {
		.addr_be = {htonl(NAT_ENV_VIP)},
		.family = SL_FAMILY_V4,
		.value = SL_SERVICE_KEY_ADDRESS,
		.ranges = 1,
	};

	put_service(NAT_ENV_RANGE);
	put(map_fd("sl_svc_ranges"), 0, &ranges);
	set_key(&key);
	put_state(1);
}

static void open_object(void)
{
	skeleton = xdp_main_bpf__open();
	assert_non_null(skeleton);
	skeleton->rodata->flow_conf.line_count = SL_FLOW_LINES_MAX;
	skeleton->rodata->flow_conf.key_count = SL_SERVICE_KEYS_MAX;
	for (unsigned int i = 0; i < SL_HASH_KEYS; i++)
		skeleton->rodata->flow_conf.hash_keys[i] = 0x9e3779b97f4a7c15ULL * (i + 1);
	assert_int_equal(xdp_main_bpf__load(skeleton), 0);
	program_fd = bpf_program__fd(skeleton->progs.sl_main);
	conf_fd = map_fd("sl_nat_conf");
	tables_fd = map_fd("sl_nat_tables");
	counters_fd = map_fd("sl_counters");
}

static void drop_tables(void)
{
	for (uint32_t i = 0; i < SL_NAT_ADDRESSES_MAX; i++) {
		if (!tables[i])
			continue;
		(void)munmap(tables[i], sizeof(struct sl_nat_line) * SL_NAT_LINES);
		(void)close(table_fds[i]);
		(void)bpf_map_delete_elem(tables_fd, &i);
		tables[i] = NULL;
	}
}

int nat_env_teardown(void **state)
{
	drop_tables();
	xdp_main_bpf__destroy(skeleton);
	skeleton = NULL;
	return 0;
}

void nat_env_set_slots(bool previous, unsigned int address, unsigned int line_first,
		       unsigned int line_count)
{
	for (unsigned int i = 0; i < SL_NAT_SLOTS; i++) {
		struct sl_nat_slot *slot = previous ? &conf.previous[i] : &conf.current[i];

		*slot = (struct sl_nat_slot){
			.address = (uint16_t)address,
			.line_first = (uint16_t)line_first,
			.line_count = (uint16_t)line_count,
		};
	}
	write_conf();
}

void nat_env_add_source(unsigned int index, unsigned int line_first, unsigned int line_count)
{
	LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_MMAPABLE);
	uint32_t addr_be = htonl(NAT_ENV_SOURCE + index);
	unsigned int probe = 0;

	table_fds[index] = bpf_map_create(BPF_MAP_TYPE_ARRAY, "nat_test", sizeof(uint32_t),
					  sizeof(struct sl_nat_line), SL_NAT_LINES, &opts);
	assert_return_code(table_fds[index], errno);
	tables[index] = mmap(NULL, sizeof(struct sl_nat_line) * SL_NAT_LINES,
			     PROT_READ | PROT_WRITE, MAP_SHARED, table_fds[index], 0);
	assert_ptr_not_equal(tables[index], MAP_FAILED);
	put(tables_fd, index, &table_fds[index]);
	conf.addresses[index] = (struct sl_nat_address){
		.addr_be = addr_be,
		.line_first = (uint16_t)line_first,
		.line_count = (uint16_t)line_count,
	};
	while (conf.places[SL_NAT_PLACE(addr_be, probe)])
		probe++;
	assert_true(probe < SL_NAT_PROBES);
	conf.places[SL_NAT_PLACE(addr_be, probe)] = (uint8_t)(index + 1);
	conf.is_on = 1;
	write_conf();
}

void nat_env_set_limits(bool pressed, uint16_t limit)
{
	for (unsigned int i = 1; i < SL_NAT_LIMITS; i++)
		(pressed ? conf.limits_pressed : conf.limits)[i] = limit;
	write_conf();
}

void nat_env_set_limit(bool pressed, unsigned int state, bool has_rst, uint16_t limit)
{
	(pressed ? conf.limits_pressed : conf.limits)[SL_NAT_LIMIT(state, has_rst)] = limit;
	write_conf();
}

void nat_env_set_ingress(const char *device)
{
	ingress = if_nametoindex(device);
	assert_true(ingress > 0);
}

void nat_env_begin(unsigned int line_first, unsigned int line_count)
{
	env_require();
	assert_true(is_wired);
	if (!skeleton)
		open_object();
	drop_tables();
	memset(&conf, 0, sizeof(conf));
	nat_env_set_limits(false, SL_NAT_LIMIT_OF(60));
	nat_env_set_limits(true, SL_NAT_LIMIT_OF(60));
	nat_env_add_source(0, line_first, line_count);
	nat_env_set_slots(false, 0, line_first, line_count);
	for (int i = 0; i < NAT_ENV_SERVICES; i++)
		set_service((enum nat_env_service)i);
	nat_env_set_ingress("lo");
}

struct sl_nat_entry nat_env_entry(unsigned int address, uint16_t port)
{
	return tables[address][port / SL_NAT_WAYS].entries[port % SL_NAT_WAYS];
}

void nat_env_age(unsigned int address, uint16_t port, unsigned int units)
{
	struct sl_nat_entry *entry =
		&tables[address][port / SL_NAT_WAYS].entries[port % SL_NAT_WAYS];
	uint64_t value = entry->value;

	assert_true(SL_NAT_VALUE_STATE(value) > SL_NAT_BUSY);
	entry->value = SL_NAT_VALUE(SL_NAT_VALUE_BACKEND(value), SL_NAT_VALUE_PORT(value),
				    (uint16_t)(SL_NAT_VALUE_TIME(value) - units),
				    SL_NAT_VALUE_STATE(value), SL_NAT_VALUE_FLAGS(value));
}

unsigned int nat_env_count(unsigned int address)
{
	unsigned int count = 0;

	for (unsigned int line = 0; line < SL_NAT_LINES; line++)
		for (unsigned int way = 0; way < SL_NAT_WAYS; way++)
			count += SL_NAT_VALUE_STATE(tables[address][line].entries[way].value) !=
				 SL_NAT_FREE;
	return count;
}

int nat_env_run(const struct nat_packet *packet, struct nat_packet *ret_out,
		const char **ret_reason)
{
	struct xdp_md md = {.data_end = (uint32_t)packet->len, .ingress_ifindex = ingress};
	LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = packet->bytes,
		    .data_size_in = (uint32_t)packet->len, .data_out = ret_out->bytes,
		    .data_size_out = sizeof(ret_out->bytes), .ctx_in = &md,
		    .ctx_size_in = sizeof(md), .repeat = 1);
	struct env_counters before, after;
	int ret;

	env_read_packets(counters_fd, &before);
	ret = bpf_prog_test_run_opts(program_fd, &opts);
	if (ret)
		print_error("test run of %zu bytes: %d\n", packet->len, ret);
	assert_int_equal(ret, 0);
	env_read_packets(counters_fd, &after);
	ret_out->len = opts.data_size_out;
	*ret_reason = env_moved(&before, &after);
	return (int)opts.retval;
}

void nat_env_expect(const struct nat_packet *packet, int verdict, enum sl_reason reason)
{
	struct nat_packet out = {0};
	const char *moved;
	int got = nat_env_run(packet, &out, &moved);

	if (got != verdict || strcmp(moved, env_reason_name(reason))) {
		print_error("%zu bytes: verdict %d for '%s', expected %d for '%s'\n", packet->len,
			    got, moved, verdict, env_reason_name(reason));
		fail();
	}
	assert_int_equal(out.len, packet->len);
	assert_memory_equal(out.bytes, packet->bytes, packet->len);
}

void nat_env_forwards(const struct nat_packet *packet, enum sl_reason reason,
		      struct nat_packet *ret_out)
{
	const char *moved, *wrong;
	int got;

	memset(ret_out, 0, sizeof(*ret_out));
	got = nat_env_run(packet, ret_out, &moved);
	if (got != XDP_REDIRECT || strcmp(moved, env_reason_name(reason))) {
		print_error("verdict %d for '%s', expected %d for '%s'\n", got, moved, XDP_REDIRECT,
			    env_reason_name(reason));
		fail();
	}
	assert_int_equal(ret_out->len, packet->len);
	assert_int_equal(nat_packet_ttl(ret_out), nat_packet_ttl(packet) - 1);
	wrong = nat_packet_wrong(ret_out);
	if (wrong)
		print_error("wrong: %s\n", wrong);
	assert_null(wrong);
}
