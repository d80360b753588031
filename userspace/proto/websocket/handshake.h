/*
 * handshake: the two values by which a WebSocket client knows that it talks to a WebSocket server
 * (RFC 6455 4.1, 4.2.2): 16 random bytes as the key, and what only who read it can answer.
 * Thread rule: pure.
 */
#ifndef SLUICE_PROTO_WEBSOCKET_HANDSHAKE_H
#define SLUICE_PROTO_WEBSOCKET_HANDSHAKE_H

#include "base/str.h"

#define WEBSOCKET_KEY_LEN    24
#define WEBSOCKET_ACCEPT_LEN 28

/* Base64 of 16 bytes, in its one correct spelling. */
bool websocket_key_is_valid(struct str key);
void websocket_key_make(const uint8_t random[16], char ret_key[WEBSOCKET_KEY_LEN]);
/* Of a valid key. */
void websocket_accept_make(struct str key, char ret_accept[WEBSOCKET_ACCEPT_LEN]);

#endif
