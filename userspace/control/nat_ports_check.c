#include "control/nat_ports_check.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/addr.h"
#include "base/cleanup.h"
#include "base/log.h"

#define RANGE_FILE    "/proc/sys/net/ipv4/ip_local_port_range"
#define RESERVED_FILE "/proc/sys/net/ipv4/ip_local_reserved_ports"

DEFINE_FREEP(FILE, fclose)

static bool parse_port(struct str text, uint32_t *ret_port)
{
	uint64_t port;

	if (str_to_u64(text, &port) || port > UINT16_MAX)
		return false;
	*ret_port = (uint32_t)port;
	return true;
}

/* "A", or "A", the separator and "B". */
static bool parse_range(struct str text, char separator, uint32_t *ret_first, uint32_t *ret_last)
{
	ptrdiff_t at = str_find_byte(text, separator);

	if (!parse_port(at < 0 ? text : str_sub(text, 0, (size_t)at), ret_first))
		return false;
	*ret_last = *ret_first;
	return at < 0 || parse_port(str_sub(text, (size_t)at + 1, text.len), ret_last);
}

/* The last port of the list's range that holds this one; 0: none does. */
static uint32_t find_reserved(struct str list, uint32_t port)
{
	struct str item;

	while (str_next_token(&list, ',', &item)) {
		uint32_t first, last;

		if (parse_range(item, '-', &first, &last) && port >= first && port <= last)
			return last;
	}
	return 0;
}

uint16_t nat_ports_find_taken(const struct nat_source *source, struct str range,
			      struct str reserved)
{
	uint32_t first, last, port = source->port_first;

	if (!parse_range(range, '\t', &first, &last))
		return 0;
	if (port < first)
		port = first;
	while (port <= source->port_last && port <= last) {
		uint32_t end = find_reserved(reserved, port);

		if (!end)
			return (uint16_t)port;
		port = end + 1;
	}
	return 0;
}

/* The file's only line; "" where it has none. free() it. */
static char *read_line(const char *path)
{
	_cleanup_(fclosep)
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t room = 0;

	if (!file || getline(&line, &room, file) < 0) {
		free(line);
		return strdup("");
	}
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* What is sent to an address of one's own is sent from it. */
static bool is_own(uint32_t addr_be)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET, .sin_port = htons(9), .sin_addr.s_addr = addr_be};
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in from = {0};
	socklen_t from_len = sizeof(from);

	return fd >= 0 && !connect(fd, (const struct sockaddr *)&to, sizeof(to)) &&
	       !getsockname(fd, (struct sockaddr *)&from, &from_len) &&
	       from.sin_addr.s_addr == addr_be;
}

static void check_source(const struct nat_source *source, struct str range, struct str reserved)
{
	uint16_t taken = nat_ports_find_taken(source, range, reserved);
	struct ip_addr addr = {.family = AF_INET};
	char text[ADDR_TEXT_MAX];

	if (!taken || !is_own(source->addr_be))
		return;
	memcpy(addr.bytes, &source->addr_be, sizeof(source->addr_be));
	log_warn("control",
		 "dataplane.nat: %s is an address of this host, whose own connections may get the "
		 "same source ports, such as %u, and then no answer; reserve them: "
		 "sysctl net.ipv4.ip_local_reserved_ports=%u-%u",
		 ip_addr_format(&addr, text, sizeof(text)), taken, source->port_first,
		 source->port_last);
}

void nat_ports_check_log(const struct nat_pool_conf *nat)
{
	_cleanup_free_ char *range = nat->source_count ? read_line(RANGE_FILE) : NULL;
	_cleanup_free_ char *reserved = nat->source_count ? read_line(RESERVED_FILE) : NULL;

	if (!range || !reserved)
		return;
	for (unsigned int i = 0; i < nat->source_count; i++)
		check_source(&nat->sources[i], str_from_cstr(range), str_from_cstr(reserved));
}
