#include "control/address_check.h"

#include <errno.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control/steering.h"

#define WARNINGS_MAX 16

bool address_is_here(const struct steer_tuple *tuple)
{
	const struct ip_addr *ip = &tuple->prefix.addr;
	struct sock_addr addr = sock_addr_make(ip, 0);
	_cleanup_close_ int fd = -1;

	if (tuple->prefix.bits != (ip->family == AF_INET ? 32 : 128))
		return true;
	if (ip->family == AF_INET6 && ip->bytes[0] == 0xfe && (ip->bytes[1] & 0xc0) == 0x80)
		return true;
	/* Which addresses are local the routing table says, and bind(2) asks it. */
	fd = socket(ip->family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return fd < 0 || !bind(fd, &addr.any, addr.len) || errno != EADDRNOTAVAIL;
}

void address_check_log(const struct snapshot *snapshot)
{
	unsigned int missing = 0;
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		const struct listener_conf *listener = &snapshot->listeners[i];

		for (unsigned int j = 0; j < listener->tuple_count; j++) {
			if (address_is_here(&listener->tuples[j]))
				continue;
			if (missing++ < WARNINGS_MAX)
				log_warn("control",
					 "listener '%.*s': %s is no address of this host: it gets "
					 "no connections",
					 STR_FMT(listener->name),
					 steering_format_tuple(&listener->tuples[j], text,
							       sizeof(text)));
		}
	}
	if (missing > WARNINGS_MAX)
		log_warn("control", "%u more addresses of listeners are not of this host",
			 missing - WARNINGS_MAX);
}
