/*
 * fuzz_socket_ends: any bytes as the headers of a SYN. What is read has addresses of the family
 * that the first byte says; no byte behind the end is looked at.
 */
#include <netinet/in.h>
#include <stdlib.h>

#include "io/socket_ends.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct socket_ends ends;
	uint8_t family;

	if (!socket_ends_of_syn(data, size, &ends))
		return 0;
	family = data[0] >> 4 == 4 ? AF_INET : AF_INET6;
	if (ends.local.family != family || ends.peer.family != family)
		abort();
	return 0;
}
