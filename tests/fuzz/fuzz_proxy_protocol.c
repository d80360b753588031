/*
 * fuzz_proxy_protocol: any bytes before a connection. What is read lies within the header, a header
 * that is whole is never whole before its last byte, bytes behind it change nothing, what was
 * refused is refused with more bytes, too, and the addresses survive being written and read again.
 */
#include <stdlib.h>

#include "proto/proxy_protocol/proxy_protocol.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void check_inside(struct str whole, struct str view)
{
	check(!view.ptr ||
	      (view.len && view.ptr >= whole.ptr && view.ptr + view.len <= whole.ptr + whole.len));
}

static void check_again(const struct proxy_header *header, unsigned int version, bool checksum)
{
	const struct proxy_facts facts = {
		.addresses = header->addresses,
		.alpn = header->alpn,
		.authority = header->authority,
		.checksum = checksum,
	};
	struct proxy_header again;
	char room[PROXY_WRITE_MAX];
	size_t len = proxy_header_write(version, &facts, room);

	check(len <= sizeof(room) && (version == 2 || len <= PROXY_V1_MAX));
	check(proxy_header_parse(str_make(room, len), &again) == 1);
	check(again.len == len && again.version == version);
	check(!memcmp(&again.addresses, &header->addresses, sizeof(again.addresses)));
	if (version == 2 && header->addresses.source.family)
		check(str_eq(again.alpn, header->alpn) &&
		      str_eq(again.authority, header->authority) && again.has_checksum == checksum);
}

/* The first byte says where the bytes are cut. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header header, shorter;
	struct str bytes;
	size_t cut;
	int ret, before;

	if (size < 1)
		return 0;
	bytes = str_make((const char *)data + 1, size - 1);
	ret = proxy_header_parse(bytes, &header);
	cut = bytes.len ? data[0] * bytes.len / 256 : 0;
	before = proxy_header_parse(str_sub(bytes, 0, cut), &shorter);
	if (before < 0)
		check(ret == before);
	if (before == 1)
		check(ret == 1 && header.len == shorter.len && header.len <= cut);
	if (ret != 1) {
		check(ret <= 0 && ret > -PROXY_ERROR_COUNT);
		check(ret < 0 || bytes.len < PROXY_HEADER_MAX);
		return 0;
	}
	check(header.len && header.len <= bytes.len && header.len <= PROXY_HEADER_MAX);
	check(before == (cut >= header.len));
	bytes.len = header.len;
	check_inside(bytes, header.alpn);
	check_inside(bytes, header.authority);
	check_inside(bytes, header.unique_id);
	check_inside(bytes, header.netns);
	check_inside(bytes, header.ssl.version);
	check_inside(bytes, header.ssl.common_name);
	check_inside(bytes, header.ssl.cipher);
	check_inside(bytes, header.ssl.signature);
	check_inside(bytes, header.ssl.key);
	check(header.addresses.source.family == header.addresses.destination.family);
	check_again(&header, 1, false);
	check_again(&header, 2, false);
	check_again(&header, 2, true);
	return 0;
}
