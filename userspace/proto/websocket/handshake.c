#include "proto/websocket/handshake.h"

#include "base/sha1.h"

#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static char *base64(const uint8_t *bytes, size_t len, char *pos)
{
	for (size_t at = 0; at < len; at += 3) {
		size_t left = len - at;
		uint32_t group = (uint32_t)bytes[at] << 16;

		if (left > 1)
			group |= (uint32_t)bytes[at + 1] << 8;
		if (left > 2)
			group |= bytes[at + 2];
		*pos++ = alphabet[group >> 18];
		*pos++ = alphabet[group >> 12 & 63];
		*pos++ = left > 1 ? alphabet[group >> 6 & 63] : '=';
		*pos++ = left > 2 ? alphabet[group & 63] : '=';
	}
	return pos;
}

bool websocket_key_is_valid(struct str key)
{
	const char *last = NULL;

	if (key.len != WEBSOCKET_KEY_LEN || key.ptr[22] != '=' || key.ptr[23] != '=')
		return false;
	for (size_t i = 0; i < 22; i++) {
		last = key.ptr[i] ? strchr(alphabet, key.ptr[i]) : NULL;
		if (!last)
			return false;
	}
	/* The last one holds two bits of the 16 bytes, and four that are zero. */
	return (last - alphabet) % 16 == 0;
}

void websocket_key_make(const uint8_t random[16], char ret_key[WEBSOCKET_KEY_LEN])
{
	(void)base64(random, 16, ret_key);
}

void websocket_accept_make(struct str key, char ret_accept[WEBSOCKET_ACCEPT_LEN])
{
	char text[WEBSOCKET_KEY_LEN + sizeof(GUID) - 1];
	uint8_t digest[SHA1_BYTES];

	memcpy(text, key.ptr, WEBSOCKET_KEY_LEN);
	memcpy(text + WEBSOCKET_KEY_LEN, GUID, sizeof(GUID) - 1);
	sha1(str_make(text, sizeof(text)), digest);
	(void)base64(digest, sizeof(digest), ret_accept);
}
