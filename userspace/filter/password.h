/*
 * password: one password against one hash of an htpasswd file. Slow by design: not for an event
 * loop. bcrypt, yescrypt and SHA-crypt are libcrypt's; apr1 (1,000 rounds of MD5) is ours, since
 * only httpd's library has it. Thread rule: any thread.
 */
#ifndef SLUICE_FILTER_PASSWORD_H
#define SLUICE_FILTER_PASSWORD_H

#include <stdbool.h>

#define PASSWORD_BYTES_MAX	256
#define PASSWORD_HASH_BYTES_MAX 384

/* A hash that we take: salted, slow, and whole. */
bool password_hash_is_valid(const char *hash);
bool password_matches(const char *hash, const char *password);

#endif
