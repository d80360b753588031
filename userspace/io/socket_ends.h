/*
 * socket_ends: between which addresses a connection that was accepted goes.
 *
 * A listener that saves the SYN (LISTEN_SAVE_SYN) tells both with one system call, others and
 * connections made by SYN cookies with two.
 */
#ifndef SLUICE_IO_SOCKET_ENDS_H
#define SLUICE_IO_SOCKET_ENDS_H

#include <stddef.h>

#include "base/addr.h"

struct socket_ends {
	struct ip_addr local, peer; /* family 0: not of the Internet */
	uint16_t local_port, peer_port;
};

/* 0, or a negative errno: it is gone already. */
int socket_ends_read(int fd, struct socket_ends *ret_ends);

/* Headers of IP and TCP as TCP_SAVED_SYN gives them. False: no SYN that we read. */
bool socket_ends_of_syn(const uint8_t *headers, size_t len, struct socket_ends *ret_ends);

#endif
