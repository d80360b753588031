/* The sessions of one endpoint: a stack, the newest first. */
#include "tls/tls_sessions.h"

#include <stdlib.h>
#include <time.h>

#include "base/util.h"

#define SECONDS_MAX (7 * 86400) /* RFC 8446 4.6.1 */

struct kept {
	SSL_SESSION *session;
	int64_t from_s, until_s;
};

struct tls_sessions {
	unsigned int refs;
	unsigned int count;
	unsigned char digest[TLS_DIGEST_BYTES]; /* of all that are kept */
	struct kept kept[TLS_SESSIONS_MAX];
};

struct tls_sessions *tls_sessions_new(void)
{
	struct tls_sessions *sessions = calloc(1, sizeof(*sessions));

	if (sessions)
		sessions->refs = 1;
	return sessions;
}

struct tls_sessions *tls_sessions_ref(struct tls_sessions *sessions)
{
	sessions->refs++;
	return sessions;
}

static void clear(struct tls_sessions *sessions)
{
	for (unsigned int i = 0; i < sessions->count; i++)
		SSL_SESSION_free(sessions->kept[i].session);
	sessions->count = 0;
}

void tls_sessions_unref(struct tls_sessions *sessions)
{
	if (!sessions || --sessions->refs)
		return;
	clear(sessions);
	free(sessions);
}

unsigned int tls_sessions_count(const struct tls_sessions *sessions)
{
	return sessions->count;
}

static void drop(struct tls_sessions *sessions, unsigned int index)
{
	SSL_SESSION_free(sessions->kept[index].session);
	sessions->count--;
	memmove(&sessions->kept[index], &sessions->kept[index + 1],
		(sessions->count - index) * sizeof(sessions->kept[0]));
}

/* A session says nothing new of the server: it ends with the certificate that did. */
static int64_t end_of(SSL_SESSION *session, int64_t now_s)
{
	int64_t until_s = now_s + MIN((int64_t)SSL_SESSION_get_timeout(session), SECONDS_MAX);
	X509 *certificate = SSL_SESSION_get0_peer(session);
	struct tm tm;

	if (SSL_SESSION_has_ticket(session)) {
		int64_t hint_s = (int64_t)SSL_SESSION_get_ticket_lifetime_hint(session);

		/* Zero is "not said" under TLS 1.2 (RFC 5077 3.3). */
		if (hint_s)
			until_s = MIN(until_s, now_s + hint_s);
	}
	if (certificate && ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1)
		until_s = MIN(until_s, (int64_t)timegm(&tm));
	return until_s;
}

static bool is_used_once(const SSL_SESSION *session)
{
	return SSL_SESSION_get_protocol_version(session) == TLS1_3_VERSION;
}

/*
 * OpenSSL marks the session of a connection that ends without our close_notify. A clock that was
 * set back tells nothing of what is still good.
 */
static bool is_good(const struct kept *kept, int64_t now_s)
{
	return SSL_SESSION_is_resumable(kept->session) && now_s >= kept->from_s &&
	       now_s < kept->until_s;
}

bool tls_sessions_put(struct tls_sessions *sessions, const unsigned char *digest,
		      SSL_SESSION *session, int64_t now_s)
{
	int64_t until_s = end_of(session, now_s);

	if (!SSL_SESSION_is_resumable(session) || until_s <= now_s)
		return false;
	/* Others may stand under TLS 1.2 as well: the newest does for all. */
	if (memcmp(sessions->digest, digest, TLS_DIGEST_BYTES) != 0 || !is_used_once(session))
		clear(sessions);
	memcpy(sessions->digest, digest, TLS_DIGEST_BYTES);
	if (sessions->count == TLS_SESSIONS_MAX)
		drop(sessions, sessions->count - 1);
	memmove(&sessions->kept[1], &sessions->kept[0],
		sessions->count * sizeof(sessions->kept[0]));
	sessions->kept[0] = (struct kept){session, now_s, until_s};
	sessions->count++;
	return true;
}

SSL_SESSION *tls_sessions_take(struct tls_sessions *sessions, const unsigned char *digest,
			       int64_t now_s)
{
	SSL_SESSION *session;

	if (memcmp(sessions->digest, digest, TLS_DIGEST_BYTES) != 0)
		clear(sessions);
	while (sessions->count && !is_good(&sessions->kept[0], now_s))
		drop(sessions, 0);
	if (!sessions->count)
		return NULL;
	session = sessions->kept[0].session;
	if (SSL_SESSION_up_ref(session) != 1)
		return NULL;
	if (is_used_once(session))
		drop(sessions, 0);
	return session;
}
