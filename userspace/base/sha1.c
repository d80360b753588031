#include "base/sha1.h"

#include "base/util.h"

#define BLOCK_BYTES 64

static uint32_t rotate(uint32_t word, unsigned int bits)
{
	return word << bits | word >> (32 - bits);
}

static void add_block(uint32_t state[5], const uint8_t block[BLOCK_BYTES])
{
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
	uint32_t words[80];

	for (unsigned int i = 0; i < 16; i++)
		words[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 |
			   (uint32_t)block[4 * i + 2] << 8 | block[4 * i + 3];
	for (unsigned int i = 16; i < ARRAY_SIZE(words); i++)
		words[i] = rotate(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		uint32_t mixed, constant, next;

		if (i < 20) {
			mixed = (b & c) | (~b & d);
			constant = 0x5a827999;
		} else if (i < 40) {
			mixed = b ^ c ^ d;
			constant = 0x6ed9eba1;
		} else if (i < 60) {
			mixed = (b & c) | (b & d) | (c & d);
			constant = 0x8f1bbcdc;
		} else {
			mixed = b ^ c ^ d;
			constant = 0xca62c1d6;
		}
		next = rotate(a, 5) + mixed + e + constant + words[i];
		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = next;
	}
	state[0] += a;
	state[1] += b;
	state[2] += c;
	state[3] += d;
	state[4] += e;
}

void sha1(struct str bytes, uint8_t ret_digest[SHA1_BYTES])
{
	uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	uint64_t bits = (uint64_t)bytes.len * 8;
	/* What is left of the message, the end mark and the length: one block or two. */
	uint8_t tail[2 * BLOCK_BYTES] = {0};
	size_t whole = bytes.len / BLOCK_BYTES * BLOCK_BYTES, left = bytes.len - whole;
	size_t tail_bytes = left + 9 > BLOCK_BYTES ? 2 * BLOCK_BYTES : BLOCK_BYTES;

	for (size_t at = 0; at < whole; at += BLOCK_BYTES)
		add_block(state, (const uint8_t *)bytes.ptr + at);
	if (left)
		memcpy(tail, bytes.ptr + whole, left);
	tail[left] = 0x80;
	for (unsigned int i = 0; i < 8; i++)
		tail[tail_bytes - 1 - i] = (uint8_t)(bits >> 8 * i);
	for (size_t at = 0; at < tail_bytes; at += BLOCK_BYTES)
		add_block(state, tail + at);
	for (unsigned int i = 0; i < SHA1_BYTES; i++)
		ret_digest[i] = (uint8_t)(state[i / 4] >> (24 - 8 * (i % 4)));
}
