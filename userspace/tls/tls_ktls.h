/*
 * tls_ktls: TLS in the kernel (kTLS): what the kernel of this machine can, found out by trying, and
 * the calls that hand a socket over to it.
 *
 * The kernel encrypts what is sent and, with TLS 1.2, can decrypt what is received (OpenSSL 3.0
 * gives no keys of TLS 1.3 for that).
 */
#ifndef SLUICE_TLS_TLS_KTLS_H
#define SLUICE_TLS_TLS_KTLS_H

#include <linux/tls.h>
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

/* What there is to count of a connection later on. */
enum tls_ktls_event {
	TLS_KTLS_RECEIVES, /* the kernel decrypts from now on */
	TLS_KTLS_REKEY,	   /* it ends: the peer wants new keys, which the kernel does not take */
};

union tls_ktls_keys {
	struct tls_crypto_info head;
	struct tls12_crypto_info_aes_gcm_128 aes128;
	struct tls12_crypto_info_aes_gcm_256 aes256;
	struct tls12_crypto_info_chacha20_poly1305 chacha20;
};

struct tls_ktls_support {
	bool sends;	  /* AES-GCM of both versions; only then it is used */
	bool receives;	  /* of TLS 1.2, the same */
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

/* Copies what OpenSSL has of keys; false: not a cipher that is known here. */
bool tls_ktls_keys_copy(union tls_ktls_keys *keys, const void *info);
/*
 * The kernel decrypts what is received from here on, where a record begins: the one of that number.
 * What else the socket has is not looked at. 0 or a negative errno; the socket is as before then.
 */
int tls_ktls_start_receiving(int fd, union tls_ktls_keys *keys, uint64_t record);

/* One record that is not application data, as it is sent then. */
struct tls_ktls_record {
	struct msghdr msg;
	struct iovec iov;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint8_t))];
};
void tls_ktls_record_set(struct tls_ktls_record *record, uint8_t type, void *data, size_t len);
/*
 * Takes a record that is not application data off a socket that decrypts, on which receiving failed
 * with -EIO. Its length, or a negative errno.
 */
ssize_t tls_ktls_record_get(int fd, uint8_t *ret_type, void *room, size_t room_bytes);

#endif
