#include "tls/tls_internal.h"

#include <openssl/err.h>

/* Alerts of the peer have the reason 1000 + their number. */
#define ALERT_FIRST 1000
#define ALERT_LAST  1255

const char *tls_failure_name(enum tls_failure failure)
{
	static const char *const names[TLS_FAILURE_COUNT] = {
		[TLS_FAILURE_NONE] = "none",	    [TLS_FAILURE_CLOSED] = "closed",
		[TLS_FAILURE_PLAIN] = "plain_http", [TLS_FAILURE_GARBAGE] = "not_tls",
		[TLS_FAILURE_VERSION] = "version",  [TLS_FAILURE_CIPHER] = "cipher",
		[TLS_FAILURE_ALPN] = "alpn",	    [TLS_FAILURE_CERTIFICATE] = "certificate",
		[TLS_FAILURE_ALERT] = "alert",	    [TLS_FAILURE_OTHER] = "other",
	};

	return names[failure];
}

static enum tls_failure failure_of(int reason)
{
	if (reason >= ALERT_FIRST && reason <= ALERT_LAST)
		return TLS_FAILURE_ALERT;
	switch (reason) {
	case SSL_R_HTTP_REQUEST:
	case SSL_R_HTTPS_PROXY_REQUEST:
		return TLS_FAILURE_PLAIN;
	case SSL_R_WRONG_VERSION_NUMBER:
	case SSL_R_UNKNOWN_PROTOCOL:
	case SSL_R_PACKET_LENGTH_TOO_LONG:
	case SSL_R_BAD_PACKET_LENGTH:
	case SSL_R_LENGTH_MISMATCH:
	case SSL_R_UNEXPECTED_MESSAGE:
		return TLS_FAILURE_GARBAGE;
	case SSL_R_UNSUPPORTED_PROTOCOL:
	case SSL_R_VERSION_TOO_LOW:
	case SSL_R_VERSION_TOO_HIGH:
	case SSL_R_INAPPROPRIATE_FALLBACK:
	case SSL_R_NO_PROTOCOLS_AVAILABLE:
		return TLS_FAILURE_VERSION;
	case SSL_R_NO_SHARED_CIPHER:
	case SSL_R_NO_SHARED_GROUPS:
	case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
	case SSL_R_NO_SUITABLE_GROUPS:
	case SSL_R_NO_SUITABLE_KEY_SHARE:
	case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
		return TLS_FAILURE_CIPHER;
	case SSL_R_NO_APPLICATION_PROTOCOL:
		return TLS_FAILURE_ALPN;
	case SSL_R_CERTIFICATE_VERIFY_FAILED:
	case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
		return TLS_FAILURE_CERTIFICATE;
	default:
		return TLS_FAILURE_OTHER;
	}
}

void tls_note_error(struct tls_stream *tls)
{
	unsigned long chosen = 0, error;

	/* What TLS says of it is nearer to the peer than what the cipher says. */
	while ((error = ERR_get_error()))
		if (!chosen || ERR_GET_LIB(error) == ERR_LIB_SSL)
			chosen = error;
	tls->failed = true;
	tls->failure = TLS_FAILURE_OTHER;
	if (tls->bio_error == -ENOMEM) {
		tls->error_text = "out of memory";
		return;
	}
	if (ERR_GET_LIB(chosen) == ERR_LIB_SSL)
		tls->failure = failure_of(ERR_GET_REASON(chosen));
	tls->error_text = chosen ? ERR_reason_error_string(chosen) : NULL;
	if (!tls->error_text)
		tls->error_text = "TLS failed";
}
