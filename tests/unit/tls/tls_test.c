#include "tls/tls_test.h"

#include <stdlib.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

static X509 *make_certificate(EVP_PKEY *key)
{
	X509 *certificate = X509_new();
	X509_NAME *name;

	assert_non_null(certificate);
	assert_true(X509_set_version(certificate, 2));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1));
	assert_non_null(X509_gmtime_adj(X509_getm_notBefore(certificate), -3600));
	assert_non_null(X509_gmtime_adj(X509_getm_notAfter(certificate), 86400));
	assert_true(X509_set_pubkey(certificate, key));
	name = X509_get_subject_name(certificate);
	assert_true(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
					       (const unsigned char *)"sluice.test", -1, -1, 0));
	assert_true(X509_set_issuer_name(certificate, name));
	assert_true(X509_sign(certificate, key, EVP_sha256()));
	return certificate;
}

SSL_CTX *tls_test_server_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate;

	assert_non_null(context);
	assert_non_null(key);
	certificate = make_certificate(key);
	assert_int_equal(SSL_CTX_use_certificate(context, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, key), 1);
	X509_free(certificate);
	EVP_PKEY_free(key);
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_num_tickets(context, 1);
	return context;
}

SSL_CTX *tls_test_client_context(void)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	assert_non_null(context);
	return context;
}

void tls_client_init(struct tls_client *client, SSL_CTX *context, int fd)
{
	memset(client, 0, sizeof(*client));
	client->fd = fd;
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);
	client->ssl = SSL_new(context);
	client->to_ssl = BIO_new(BIO_s_mem());
	client->from_ssl = BIO_new(BIO_s_mem());
	assert_true(client->ssl && client->to_ssl && client->from_ssl);
	BIO_set_mem_eof_return(client->to_ssl, -1);
	SSL_set_bio(client->ssl, client->to_ssl, client->from_ssl);
	SSL_set_connect_state(client->ssl);
}

void tls_client_done(struct tls_client *client)
{
	SSL_free(client->ssl);
	if (client->fd >= 0)
		(void)close(client->fd);
}

void tls_client_carry(struct tls_client *client)
{
	char *data = NULL;
	size_t len = (size_t)BIO_get_mem_data(client->from_ssl, &data);
	char room[65536];
	ssize_t got;

	len = MIN(len, client->piece_bytes ? client->piece_bytes : sizeof(room));
	if (len) {
		got = send(client->fd, data, len, MSG_NOSIGNAL);
		if (got > 0)
			assert_int_equal(BIO_read(client->from_ssl, room, (int)got), got);
	}
	got = recv(client->fd, room, sizeof(room), 0);
	if (got > 0)
		assert_int_equal(BIO_write(client->to_ssl, room, (int)got), got);
	else if (got == 0)
		client->ended = true;
}

static void on_secured(struct stream *stream, int result)
{
	struct tls_peer *server = CONTAINER_OF(stream, struct tls_peer, peer.stream);

	assert_int_equal(server->peer.closed_calls, 0);
	assert_int_equal(server->secured_calls, 0);
	server->secured_calls++;
	server->secured_result = result;
	if (server->then_secured)
		server->then_secured(server);
}

static const struct stream_ops tls_peer_ops = {
	.on_recv = peer_on_recv,
	.on_sent = peer_on_sent,
	.on_piped = peer_on_piped,
	.on_connected = peer_on_connected,
	.on_closed = peer_on_closed,
	.on_secured = on_secured,
};
const struct stream_ops *const tls_test_peer_ops = &tls_peer_ops;

void tls_peer_adopt(struct loop *loop, struct tls_worker *worker, struct tls_peer *server, int fd,
		    SSL_CTX *context)
{
	SSL *ssl = SSL_new(context);

	assert_non_null(ssl);
	SSL_set_accept_state(ssl);
	memset(server, 0, sizeof(*server));
	stream_init(&server->peer.stream, &tls_peer_ops);
	assert_int_equal(stream_adopt(loop, &server->peer.stream, fd), 0);
	assert_int_equal(tls_stream_start(worker, &server->peer.stream, ssl), 0);
}

void tls_test_handshake(struct loop *loop, struct tls_peer *server, struct tls_client *client)
{
	uint64_t stop_ms = clock_mono_ms() + DEADLINE_MS;
	int ret = 0;

	while (ret != 1 || !server->secured_calls) {
		ret = SSL_do_handshake(client->ssl);
		if (ret != 1)
			assert_int_equal(SSL_get_error(client->ssl, ret), SSL_ERROR_WANT_READ);
		tls_client_carry(client);
		assert_int_equal(loop_run_once(loop, 0), 0);
		assert_true(clock_mono_ms() < stop_ms);
	}
	assert_int_equal(server->secured_result, 0);
}

struct tls_test tls_test;

int tls_test_setup(void **state)
{
	tls_test.server_context = tls_test_server_context();
	/* So that all that holds of TLS is tried with the kernel's, too (tests/vm/inside). */
	if (getenv("SLUICE_TEST_KTLS"))
		SSL_CTX_set_options(tls_test.server_context, SSL_OP_ENABLE_KTLS);
	tls_test.client_context = tls_test_client_context();
	return tls_worker_new(&tls_test.worker);
}

int tls_test_teardown(void **state)
{
	struct tls_worker_stats stats;

	tls_worker_trim(tls_test.worker);
	tls_worker_get_stats(tls_test.worker, &stats);
	assert_int_equal(stats.streams, 0);
	assert_int_equal(stats.memory_bytes, 0);
	tls_worker_free(tls_test.worker);
	SSL_CTX_free(tls_test.server_context);
	SSL_CTX_free(tls_test.client_context);
	return 0;
}

void settle(struct loop *loop, struct tls_client *client)
{
	for (int turn = 0; turn < 5; turn++) {
		tls_client_carry(client);
		assert_int_equal(loop_run_once(loop, 1), 0);
	}
}

void begin(struct loop *loop, struct tls_peer *server, struct tls_client *client, int version)
{
	int fds[2];

	make_pair(PAIR_TCP, fds);
	tls_peer_adopt(loop, tls_test.worker, server, fds[0], tls_test.server_context);
	tls_client_init(client, tls_test.client_context, fds[1]);
	assert_int_equal(SSL_set_min_proto_version(client->ssl, version), 1);
	assert_int_equal(SSL_set_max_proto_version(client->ssl, version), 1);
}

void secure(struct loop *loop, struct tls_peer *server, struct tls_client *client, int version)
{
	begin(loop, server, client, version);
	tls_test_handshake(loop, server, client);
	stream_recv_start(&server->peer.stream, RECV_MANY);
	settle(loop, client); /* with the ticket on its way, a close has no last word */
}

void finish(struct loop *loop, struct tls_peer *server, struct tls_client *client)
{
	peer_finish(loop, &server->peer);
	tls_client_done(client);
}

void client_write(struct tls_client *client, const void *data, size_t len)
{
	size_t written;

	assert_int_equal(SSL_write_ex(client->ssl, data, len, &written), 1);
	assert_int_equal(written, len);
}

void client_read(struct loop *loop, struct tls_client *client, char *room, size_t len)
{
	uint64_t stop_ms = clock_mono_ms() + DEADLINE_MS;
	size_t have = 0;

	while (have < len) {
		size_t got;

		tls_client_carry(client);
		assert_int_equal(loop_run_once(loop, 0), 0);
		while (have < len && SSL_read_ex(client->ssl, room + have, len - have, &got) == 1)
			have += got;
		assert_true(clock_mono_ms() < stop_ms);
	}
}
