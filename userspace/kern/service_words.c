#include "kern/service_words.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

#define SLOTS_LEAST 101

struct word {
	const char *text;
	int value;
};

static const struct word protocols[] = {{"tcp", IPPROTO_TCP}, {"udp", IPPROTO_UDP}, {"any", 0}};
static const struct word forwards[] = {{"ipip", SL_FORWARD_IPIP}, {"nat", SL_FORWARD_NAT}};
static const struct word affinities[] = {{"five-tuple", SL_AFFINITY_FIVE_TUPLE},
					 {"source", SL_AFFINITY_SOURCE}};

static const char *word_of(const struct word *words, size_t count, int value)
{
	for (size_t i = 0; i < count; i++)
		if (words[i].value == value)
			return words[i].text;
	return "unknown";
}

const char *service_protocol_name(uint8_t protocol)
{
	return word_of(protocols, ARRAY_SIZE(protocols), protocol);
}

const char *service_forward_name(enum sl_forward forward)
{
	return word_of(forwards, ARRAY_SIZE(forwards), (int)forward);
}

const char *service_affinity_name(enum sl_affinity affinity)
{
	return word_of(affinities, ARRAY_SIZE(affinities), (int)affinity);
}

int service_ports_parse(struct str text, struct service_ports *ret_ports)
{
	ptrdiff_t dash = str_find_byte(text, '-');
	uint64_t first, last;

	if (str_eq_cstr(text, "any")) {
		*ret_ports = (struct service_ports){0, UINT16_MAX};
		return 0;
	}
	if (str_to_u64(dash < 0 ? text : str_sub(text, 0, (size_t)dash), &first))
		return -EINVAL;
	last = first;
	if (dash >= 0 && str_to_u64(str_sub(text, (size_t)dash + 1, text.len), &last))
		return -EINVAL;
	if (first < 1 || last > UINT16_MAX || first > last)
		return -EINVAL;
	*ret_ports = (struct service_ports){(uint16_t)first, (uint16_t)last};
	return 0;
}

const char *service_ports_format(const struct service_ports *ports, char *buf, size_t buf_len)
{
	if (ports->first == ports->last)
		(void)snprintf(buf, buf_len, "%u", ports->first);
	else if (!ports->first && ports->last == UINT16_MAX)
		(void)snprintf(buf, buf_len, "any");
	else
		(void)snprintf(buf, buf_len, "%u-%u", ports->first, ports->last);
	return buf;
}

void service_conf_free(struct service_conf *conf)
{
	if (!conf)
		return;
	free((char *)conf->name.ptr);
	free(conf->addresses);
	free(conf->ports);
	free(conf->backends);
	free(conf);
}

DEFINE_FREEP(struct service_conf, service_conf_free)

static void *copy_array(const void *items, size_t count, size_t item_bytes)
{
	void *copy = calloc(count + 1, item_bytes);

	if (copy && count)
		memcpy(copy, items, count * item_bytes);
	return copy;
}

struct service_conf *service_conf_copy(const struct service_conf *conf)
{
	_cleanup_(service_conf_freep)
	struct service_conf *copy = calloc(1, sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *conf;
	copy->name.ptr = strndup(conf->name.ptr, conf->name.len);
	copy->addresses =
		copy_array(conf->addresses, conf->address_count, sizeof(*conf->addresses));
	copy->ports = copy_array(conf->ports, conf->port_count, sizeof(*conf->ports));
	copy->backends = copy_array(conf->backends, conf->backend_count, sizeof(*conf->backends));
	if (!copy->name.ptr || !copy->addresses || !copy->ports || !copy->backends)
		return NULL;
	return TAKE_PTR(copy);
}

/* ---- reading ---- */

static bool is_name(const char *text)
{
	size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-");

	return len && !text[len] && len < SL_SERVICE_NAME_MAX && text[0] != '_' && text[0] != '-';
}

static int refuse(const char *key, struct str value, const char *expected, struct error *err)
{
	char quoted[96];

	return error_set(err, -EINVAL, "%s: expected %s, got %s", key, expected,
			 str_quote(value, quoted, sizeof(quoted)));
}

static int read_word(const char *key, const char *text, const struct word *words, size_t count,
		     const char *expected, int *ret_value, struct error *err)
{
	if (!text)
		return error_set(err, -EINVAL, "%s is missing: %s", key, expected);
	for (size_t i = 0; i < count; i++)
		if (!strcmp(text, words[i].text)) {
			*ret_value = words[i].value;
			return 0;
		}
	return refuse(key, str_from_cstr(text), expected, err);
}

static size_t count_items(const char *text)
{
	size_t count = 1;

	for (; *text; text++)
		count += *text == ',';
	return count;
}

static int read_addresses(const char *text, struct service_conf *conf, struct error *err)
{
	struct str rest = str_from_cstr(text), item;
	char quoted[96];

	if (!text)
		return error_set(err, -EINVAL,
				 "address is missing: an IP address, or several "
				 "joined by commas");
	if (count_items(text) > SERVICE_ADDRESSES_MAX)
		return error_set(err, -EINVAL, "address: more than %d", SERVICE_ADDRESSES_MAX);
	conf->addresses = calloc(count_items(text), sizeof(*conf->addresses));
	if (!conf->addresses)
		return error_set(err, -ENOMEM, "out of memory");
	while (str_next_token(&rest, ',', &item)) {
		struct ip_addr addr;

		if (ip_addr_parse(item, &addr))
			return refuse("address", item, "an IP address", err);
		ip_addr_unmap(&addr);
		for (unsigned int i = 0; i < conf->address_count; i++)
			if (ip_addr_equal(&conf->addresses[i], &addr))
				return error_set(err, -EINVAL, "address: %s is given twice",
						 str_quote(item, quoted, sizeof(quoted)));
		conf->addresses[conf->address_count++] = addr;
	}
	return conf->address_count ? 0 : refuse("address", STR(""), "an IP address", err);
}

static int read_ports(const char *text, struct service_conf *conf, struct error *err)
{
	static const char expected[] = "a port, a range such as 1000-2000, or any";
	struct str rest = str_from_cstr(text), item;
	char quoted[96];

	if (!text)
		return error_set(err, -EINVAL, "ports are missing: %s", expected);
	if (count_items(text) > SERVICE_PORTS_MAX)
		return error_set(err, -EINVAL, "ports: more than %d", SERVICE_PORTS_MAX);
	conf->ports = calloc(count_items(text), sizeof(*conf->ports));
	if (!conf->ports)
		return error_set(err, -ENOMEM, "out of memory");
	while (str_next_token(&rest, ',', &item)) {
		struct service_ports ports;

		if (service_ports_parse(item, &ports))
			return refuse("ports", item, expected, err);
		for (unsigned int i = 0; i < conf->port_count; i++)
			if (ports.first <= conf->ports[i].last &&
			    conf->ports[i].first <= ports.last)
				return error_set(err, -EINVAL, "ports: %s overlaps another one",
						 str_quote(item, quoted, sizeof(quoted)));
		conf->ports[conf->port_count++] = ports;
	}
	return conf->port_count ? 0 : refuse("ports", STR(""), expected, err);
}

static int read_numbers(const struct service_words *words, struct service_conf *conf,
			struct error *err)
{
	uint64_t number;

	conf->drain_ms = SERVICE_DRAIN_DEFAULT_MS;
	if (words->drain_ms) {
		if (str_to_u64(str_from_cstr(words->drain_ms), &number) ||
		    number > SERVICE_DRAIN_MAX_MS)
			return refuse("drain_ms", str_from_cstr(words->drain_ms),
				      "milliseconds of a day at most", err);
		conf->drain_ms = number;
	}
	if (!words->slots || !strcmp(words->slots, "auto"))
		return 0;
	if (str_to_u64(str_from_cstr(words->slots), &number) || number < SLOTS_LEAST ||
	    number > SERVICE_SLOTS_MAX)
		return error_set(err, -EINVAL, "slots: expected auto or %d to %u", SLOTS_LEAST,
				 SERVICE_SLOTS_MAX);
	conf->slot_count = service_slots_prime((uint32_t)number);
	return 0;
}

/* The limits and defaults of the configuration (config/service_config.c). */
static int read_health(const struct service_words *words, struct service_conf *conf,
		       struct error *err)
{
	uint64_t port = 0;
	const struct {
		const char *key, *text;
		uint64_t min, max, or_else, *value;
	} numbers[] = {
		{"port", words->health_port, 1, UINT16_MAX, 0, &port},
		{"interval", words->interval_ms, 100, 3600000, 2000, &conf->health.interval_ms},
		{"timeout", words->timeout_ms, 10, 60000, 1000, &conf->health.timeout_ms},
		{"rise", words->rise, 1, 100, 2, &conf->health.rise},
		{"fall", words->fall, 1, 100, 3, &conf->health.fall},
	};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		*numbers[i].value = words->probe ? numbers[i].or_else : 0;
		if (!numbers[i].text)
			continue;
		if (!words->probe)
			return error_set(err, -EINVAL, "%s goes with 'probe tcp' only",
					 numbers[i].key);
		if (str_to_u64(str_from_cstr(numbers[i].text), numbers[i].value) ||
		    *numbers[i].value < numbers[i].min || *numbers[i].value > numbers[i].max)
			return error_set(err, -EINVAL, "%s: expected %llu to %llu%s",
					 numbers[i].key, (unsigned long long)numbers[i].min,
					 (unsigned long long)numbers[i].max,
					 numbers[i].max > UINT16_MAX ||
							 numbers[i].value ==
								 &conf->health.timeout_ms
						 ? " ms"
						 : "");
	}
	if (!words->probe)
		return 0;
	if (strcmp(words->probe, "tcp"))
		return refuse("probe", str_from_cstr(words->probe), "tcp", err);
	conf->health.enabled = true;
	conf->health.port = (uint16_t)port;
	if (conf->health.timeout_ms > conf->health.interval_ms)
		return error_set(err, -EINVAL, "timeout is longer than interval");
	if (!service_probe_port(conf, 0))
		return error_set(err, -EINVAL,
				 "probe: port is missing: the service has no single port");
	return 0;
}

int service_words_read(const struct service_words *words, struct service_conf **ret_conf,
		       struct error *err)
{
	_cleanup_(service_conf_freep)
	struct service_conf *conf = calloc(1, sizeof(*conf));
	int protocol = 0, forward = 0, affinity = 0, r;

	if (!conf || !(conf->backends = calloc(1, sizeof(*conf->backends))))
		return error_set(err, -ENOMEM, "out of memory");
	if (!words->name)
		return error_set(err, -EINVAL, "name is missing");
	if (!is_name(words->name))
		return refuse("name", str_from_cstr(words->name),
			      "a-z, 0-9, _ and -, beginning with a letter or digit, at most 63",
			      err);
	conf->name = str_from_cstr(strdup(words->name));
	if (!conf->name.ptr)
		return error_set(err, -ENOMEM, "out of memory");
	r = read_addresses(words->address, conf, err);
	if (!r)
		r = read_ports(words->ports, conf, err);
	if (!r)
		r = read_word("protocol", words->protocol, protocols, ARRAY_SIZE(protocols),
			      "tcp, udp or any", &protocol, err);
	if (!r)
		r = read_word("forward", words->forward, forwards, ARRAY_SIZE(forwards),
			      "ipip or nat", &forward, err);
	if (!r)
		r = read_word("affinity", words->affinity ? words->affinity : "five-tuple",
			      affinities, ARRAY_SIZE(affinities), "five-tuple or source", &affinity,
			      err);
	if (!r)
		r = read_numbers(words, conf, err);
	if (!r)
		r = read_health(words, conf, err);
	if (r)
		return r;
	conf->protocol = (uint8_t)protocol;
	conf->forward = (enum sl_forward)forward;
	conf->affinity = (enum sl_affinity)affinity;
	conf->from_cli = true;
	*ret_conf = TAKE_PTR(conf);
	return 0;
}
