/*
 * tls_ktls: TLS in the kernel (kTLS): what the kernel of this machine can, found out by trying, and
 * the calls that hand a socket over to it.
 *
 * The kernel encrypts what is sent. What is received stays in this process: OpenSSL has the kernel
 * decrypt TLS 1.2 only, and bytes that a receive took already cannot be given to it.
 */
#ifndef SLUICE_TLS_TLS_KTLS_H
#define SLUICE_TLS_TLS_KTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <openssl/ssl.h>

/* Who encrypts what a connection sends; where the kernel could not be had, why. */
enum tls_ktls_use {
	TLS_KTLS_UNUSED, /* nobody wanted it */
	TLS_KTLS_SENDS,
	TLS_KTLS_NO_KERNEL, /* this kernel has none */
	TLS_KTLS_NO_CIPHER, /* it, or OpenSSL with it, does not know the cipher */
	TLS_KTLS_BUSY,	    /* bytes of the handshake were still to be sent */
	TLS_KTLS_REFUSED,   /* it did not take this socket */
};

struct tls_ktls_support {
	bool sends;	  /* AES-GCM of both versions; only then it is used */
	unsigned int has; /* a bit for each version and cipher, see tls_ktls_has() */
	char reason[160]; /* why it does not */
};

/*
 * Tried once per process, with a connection over loopback that carries a record; while the process
 * is privileged, for then the kernel loads its module. Any thread.
 */
const struct tls_ktls_support *tls_ktls_support(void);
/* Can what this cipher encrypts be left to the kernel? */
bool tls_ktls_has(const struct tls_ktls_support *support, const SSL_CIPHER *cipher);

/*
 * The kernel encrypts what the connected socket sends from now on. `info` is a struct
 * tls12_crypto_info_*. 0 or a negative errno; the socket is as before then.
 */
int tls_ktls_start(int fd, const void *info);

/* One record that is not application data, as it is sent then. */
struct tls_ktls_record {
	struct msghdr msg;
	struct iovec iov;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint8_t))];
};
void tls_ktls_record_set(struct tls_ktls_record *record, uint8_t type, void *data, size_t len);

#endif
