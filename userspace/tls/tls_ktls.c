#include "tls/tls_ktls.h"

#include <endian.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"

#ifndef TCP_ULP
#define TCP_ULP 31
#endif
#ifndef SOL_TLS
#define SOL_TLS 282
#endif
#define TRY_TIMEOUT_S 5

static const struct kind {
	uint16_t cipher;
	int nid;
	socklen_t info_bytes;
} kinds[] = {
	{TLS_CIPHER_AES_GCM_128, NID_aes_128_gcm, sizeof(struct tls12_crypto_info_aes_gcm_128)},
	{TLS_CIPHER_AES_GCM_256, NID_aes_256_gcm, sizeof(struct tls12_crypto_info_aes_gcm_256)},
	{TLS_CIPHER_CHACHA20_POLY1305, NID_chacha20_poly1305,
	 sizeof(struct tls12_crypto_info_chacha20_poly1305)},
};
static const uint16_t versions[] = {TLS_1_2_VERSION, TLS_1_3_VERSION};

#define BIT_OF(version_index, kind_index) (1u << ((version_index)*ARRAY_SIZE(kinds) + (kind_index)))
/* Those that every client has. */
#define NEEDED (BIT_OF(0, 0) | BIT_OF(0, 1) | BIT_OF(1, 0) | BIT_OF(1, 1))

static socklen_t info_bytes(const struct tls_crypto_info *info)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].cipher == info->cipher_type)
			return kinds[i].info_bytes;
	return 0;
}

static int start(int fd, int direction, const void *info)
{
	socklen_t bytes = info_bytes(info);

	if (!bytes)
		return -EOPNOTSUPP;
	/* Without a direction it changes nothing. */
	if (setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) && errno != EEXIST)
		return -errno;
	return setsockopt(fd, SOL_TLS, direction, info, bytes) ? -errno : 0;
}

int tls_ktls_start(int fd, const void *info)
{
	return start(fd, TLS_TX, info);
}

bool tls_ktls_keys_copy(union tls_ktls_keys *keys, const void *info)
{
	socklen_t bytes = info_bytes(info);

	memcpy(keys, info, bytes);
	return bytes;
}

static unsigned char *record_number(union tls_ktls_keys *keys)
{
	switch (keys->head.cipher_type) {
	case TLS_CIPHER_AES_GCM_128:
		return keys->aes128.rec_seq;
	case TLS_CIPHER_AES_GCM_256:
		return keys->aes256.rec_seq;
	default:
		return keys->chacha20.rec_seq;
	}
}

int tls_ktls_start_receiving(int fd, union tls_ktls_keys *keys, uint64_t record)
{
	uint64_t record_be = htobe64(record);

	memcpy(record_number(keys), &record_be, sizeof(record_be));
	return start(fd, TLS_RX, keys);
}

ssize_t tls_ktls_record_get(int fd, uint8_t *ret_type, void *room, size_t room_bytes)
{
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint8_t))];
	struct iovec iov = {.iov_base = room, .iov_len = room_bytes};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t len = recvmsg(fd, &msg, MSG_DONTWAIT);
	const struct cmsghdr *head = len < 0 ? NULL : CMSG_FIRSTHDR(&msg);

	if (len < 0)
		return -errno;
	if (!head || head->cmsg_level != SOL_TLS || head->cmsg_type != TLS_GET_RECORD_TYPE)
		return -EBADMSG;
	*ret_type = *CMSG_DATA(head);
	return len;
}

void tls_ktls_record_set(struct tls_ktls_record *record, uint8_t type, void *data, size_t len)
{
	struct cmsghdr *head;

	record->iov = (struct iovec){.iov_base = data, .iov_len = len};
	record->msg = (struct msghdr){
		.msg_iov = &record->iov,
		.msg_iovlen = 1,
		.msg_control = record->control,
		.msg_controllen = sizeof(record->control),
	};
	head = CMSG_FIRSTHDR(&record->msg);
	head->cmsg_level = SOL_TLS;
	head->cmsg_type = TLS_SET_RECORD_TYPE;
	head->cmsg_len = CMSG_LEN(sizeof(type));
	*CMSG_DATA(head) = type;
}

/* ---- trying ---- */

static int make_pair(int fds[2])
{
	const struct timeval timeout = {.tv_sec = TRY_TIMEOUT_S};
	struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(addr);
	_cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int left = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	_cleanup_close_ int right = -1;

	if (listener < 0 || left < 0 || bind(listener, (struct sockaddr *)&addr, len) ||
	    listen(listener, 1) || getsockname(listener, (struct sockaddr *)&addr, &len) ||
	    setsockopt(listener, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) ||
	    setsockopt(left, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout)) ||
	    connect(left, (struct sockaddr *)&addr, len))
		return -errno;
	right = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (right < 0 || setsockopt(right, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)))
		return -errno;
	fds[0] = TAKE_FD(left);
	fds[1] = TAKE_FD(right);
	return 0;
}

/* One end encrypts, the other shows that it did. */
static int try_kind(uint16_t version, const struct kind *kind, const char **ret_step,
		    bool *ret_receives)
{
	static const char word[] = "a record";
	union tls_ktls_keys info = {.head = {.version = version, .cipher_type = kind->cipher}};
	_cleanup_close_ int sender = -1;
	_cleanup_close_ int receiver = -1;
	unsigned char got[64];
	ssize_t len;
	int fds[2] = {-1, -1}, r;

	*ret_step = "no connection over loopback to try it with";
	r = make_pair(fds);
	if (r)
		return r;
	sender = fds[0];
	receiver = fds[1];
	*ret_step = "it cannot be turned on";
	r = tls_ktls_start(sender, &info);
	if (r)
		return r;
	*ret_step = "what it sends is no TLS";
	if (send(sender, word, sizeof(word), MSG_NOSIGNAL) != sizeof(word))
		return -errno;
	/* Content type 23, and more than the word: it was encrypted. */
	len = recv(receiver, got, sizeof(got), 0);
	if (len < 0)
		return -errno;
	if (len <= (ssize_t)sizeof(word) || got[0] != 23)
		return -EBADMSG;
	*ret_receives = !tls_ktls_start_receiving(receiver, &info, 1) &&
			send(sender, word, sizeof(word), MSG_NOSIGNAL) == sizeof(word) &&
			recv(receiver, got, sizeof(got), 0) == sizeof(word) &&
			!memcmp(got, word, sizeof(word));
	return 0;
}

static struct tls_ktls_support found;

static void note_reason(int error, const char *step)
{
	if (error == -ENOENT)
		(void)snprintf(found.reason, sizeof(found.reason),
			       "the kernel has no TLS (CONFIG_TLS, module 'tls')");
	else
		(void)snprintf(found.reason, sizeof(found.reason), "%s: %s", step,
			       strerror(-error));
}

static void try_all(void)
{
	bool receives = true;
	const char *step;

	for (unsigned int i = 0; i < ARRAY_SIZE(versions); i++) {
		for (unsigned int j = 0; j < ARRAY_SIZE(kinds); j++) {
			bool this_receives = false;
			int r = try_kind(versions[i], &kinds[j], &step, &this_receives);

			if (!r) {
				found.has |= BIT_OF(i, j);
				if (i == 0)
					receives = receives && this_receives;
				continue;
			}
			if (BIT_OF(i, j) & NEEDED) {
				note_reason(r, step);
				return;
			}
		}
	}
	found.sends = true;
	found.receives = receives;
}

const struct tls_ktls_support *tls_ktls_support(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)pthread_once(&once, try_all);
	return &found;
}

bool tls_ktls_has(const struct tls_ktls_support *support, const SSL_CIPHER *cipher)
{
	unsigned int version = !strcmp(SSL_CIPHER_get_version(cipher), "TLSv1.3");

	for (unsigned int i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i].nid == SSL_CIPHER_get_cipher_nid(cipher))
			return support->sends && support->has & BIT_OF(version, i);
	return false;
}
