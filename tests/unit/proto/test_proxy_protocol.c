#include <stdlib.h>

#include "proto/proxy_protocol/proxy_protocol.h"
#include "test_support.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define BYTES(literal)                                                                             \
	{                                                                                          \
		"" literal, sizeof(literal) - 1                                                    \
	}
/* Version and command, family, length of up to 255, and the addresses 192.0.2.1:4660 and
 * 198.51.100.7:443. */
#define V2(command, family, length) SIGNATURE command family "\0" length
#define ADDR4			    "\xc0\0\x02\x01\xc6\x33\x64\x07\x12\x34\x01\xbb"

static const char *describe(const struct proxy_header *header, char *text, size_t size)
{
	char source[ADDR_TEXT_MAX] = "-", destination[ADDR_TEXT_MAX] = "-";

	if (header->addresses.source.family)
		(void)ip_addr_format(&header->addresses.source, source, sizeof(source));
	if (header->addresses.destination.family)
		(void)ip_addr_format(&header->addresses.destination, destination,
				     sizeof(destination));
	(void)snprintf(text, size, "%s %u %s %u", source, header->addresses.source_port,
		       destination, header->addresses.destination_port);
	return text;
}

/* ---- what is read ---- */

static const struct {
	const char *name;
	struct str bytes;
	const char *expected;
} good[] = {
	{"v1 tcp4", BYTES("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"),
	 "192.0.2.1 56324 198.51.100.1 443"},
	{"v1 ports at their ends", BYTES("PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n"),
	 "0.0.0.0 0 255.255.255.255 65535"},
	{"v1 tcp6", BYTES("PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"),
	 "2001:db8::1 1 2001:db8::2 2"},
	{"v1 the longest tcp6",
	 BYTES("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	 "65535"},
	{"v1 unknown", BYTES("PROXY UNKNOWN\r\n"), "- 0 - 0"},
	{"v1 unknown, the longest line of all",
	 BYTES("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 "- 0 - 0"},
	{"v2 local", BYTES(V2("\x20", "\0", "\0")), "- 0 - 0"},
	{"v2 local, of a family that nobody knows", BYTES(V2("\x20", "\xff", "\x02") "ab"),
	 "- 0 - 0"},
	{"v2 unspec", BYTES(V2("\x21", "\0", "\0")), "- 0 - 0"},
	{"v2 unspec with a block", BYTES(V2("\x21", "\0", "\x03") "abc"), "- 0 - 0"},
	{"v2 tcp4", BYTES(V2("\x21", "\x11", "\x0c") ADDR4), "192.0.2.1 4660 198.51.100.7 443"},
	{"v2 tcp6",
	 BYTES(V2("\x21", "\x21", "\x24") "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01"
					  "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02"
					  "\0\x01\0\x02"),
	 "2001:db8::1 1 2001:db8::2 2"},
	{"v2 with an unknown tlv",
	 BYTES(V2("\x21", "\x11", "\x12") ADDR4 "\xe0\0\x03"
						"abc"),
	 "192.0.2.1 4660 198.51.100.7 443"},
	{"v2 with padding", BYTES(V2("\x21", "\x11", "\x12") ADDR4 "\x04\0\0\x04\0\0"),
	 "192.0.2.1 4660 198.51.100.7 443"},
	{"v2 with an empty unknown tlv", BYTES(V2("\x21", "\x11", "\x0f") ADDR4 "\xe0\0\0"),
	 "192.0.2.1 4660 198.51.100.7 443"},
};

static void test_headers_are_read_and_nothing_behind_them(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct proxy_header header;
		char room[512], text[300];

		memcpy(room, good[i].bytes.ptr, good[i].bytes.len);
		memcpy(room + good[i].bytes.len, "GET / HTTP/1.1\r\n", 16);
		assert_row(good[i].name, proxy_header_parse(str_make(room, good[i].bytes.len + 16),
							    &header) == 1);
		assert_row(good[i].name, header.len == good[i].bytes.len);
		assert_row(good[i].name,
			   !strcmp(describe(&header, text, sizeof(text)), good[i].expected));
	}
}

static void test_every_shorter_one_asks_for_more(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		for (size_t len = 0; len < good[i].bytes.len; len++) {
			struct proxy_header header;
			/* Of its own, so that the sanitizer sees a byte too many. */
			char *copy = malloc(len + !len);

			assert_non_null(copy);
			memcpy(copy, good[i].bytes.ptr, len);
			if (proxy_header_parse(str_make(copy, len), &header) != 0)
				print_error("row '%s' at %zu bytes\n", good[i].name, len);
			assert_int_equal(proxy_header_parse(str_make(copy, len), &header), 0);
			free(copy);
		}
	}
}

/* ---- what is refused ---- */

static const struct {
	const char *name;
	struct str bytes;
	enum proxy_error error;
} bad[] = {
	{"a request", BYTES("GET / HTTP/1.1\r\n\r\n"), PROXY_E_ABSENT},
	{"a request that begins alike", BYTES("PROPFIND / HTTP/1.1\r\n"), PROXY_E_ABSENT},
	{"empty lines before a request", BYTES("\r\n\r\nGET / HTTP/1.1\r\n"), PROXY_E_ABSENT},
	{"lower case", BYTES("proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_E_ABSENT},
	{"TLS", BYTES("\x16\x03\x01\x02\0\x01"), PROXY_E_ABSENT},

	{"v1 protocol", BYTES("PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_E_V1},
	{"v1 no protocol", BYTES("PROXY \r\n"), PROXY_E_V1},
	{"v1 unknown with more letters", BYTES("PROXY UNKNOWNX\r\n"), PROXY_E_V1},
	{"v1 protocol only", BYTES("PROXY TCP4\r\n"), PROXY_E_V1},
	{"v1 two spaces", BYTES("PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_E_V1},
	{"v1 two spaces later", BYTES("PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n"), PROXY_E_V1},
	{"v1 space at the end", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n"), PROXY_E_V1},
	{"v1 tab", BYTES("PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_E_V1},
	{"v1 bare lf", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n"), PROXY_E_V1},
	{"v1 bare cr", BYTES("PROXY UNKNOWN \r x\r\n"), PROXY_E_V1},
	{"v1 nul", BYTES("PROXY UNKNOWN \0\r\n"), PROXY_E_V1},
	{"v1 families differ", BYTES("PROXY TCP4 192.0.2.1 2001:db8::1 1 2\r\n"), PROXY_E_V1},
	{"v1 tcp4 with ipv6", BYTES("PROXY TCP4 2001:db8::2 2001:db8::1 1 2\r\n"), PROXY_E_V1},
	{"v1 tcp6 with ipv4", BYTES("PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n"), PROXY_E_V1},
	{"v1 short address", BYTES("PROXY TCP4 192.0.2 192.0.2.2 1 2\r\n"), PROXY_E_V1},
	{"v1 leading zero", BYTES("PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n"), PROXY_E_V1},
	{"v1 port too large", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n"), PROXY_E_V1},
	{"v1 port of six digits", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 000443\r\n"), PROXY_E_V1},
	{"v1 port with a zero", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n"), PROXY_E_V1},
	{"v1 signed port", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n"), PROXY_E_V1},
	{"v1 no port", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n"), PROXY_E_V1},
	{"v1 empty port", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n"), PROXY_E_V1},
	{"v1 a word more", BYTES("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n"), PROXY_E_V1},
	{"v1 108 bytes",
	 BYTES("PROXY UNKNOWN fffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	       "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
	 PROXY_E_TOO_LONG},

	{"v2 version 1", BYTES(V2("\x11", "\x11", "\x0c") ADDR4), PROXY_E_VERSION},
	{"v2 version 3", BYTES(V2("\x31", "\x11", "\x0c") ADDR4), PROXY_E_VERSION},
	{"v2 command", BYTES(V2("\x22", "\x11", "\x0c") ADDR4), PROXY_E_COMMAND},
	{"v2 datagram", BYTES(V2("\x21", "\x12", "\x0c") ADDR4), PROXY_E_FAMILY},
	{"v2 family without transport", BYTES(V2("\x21", "\x10", "\x0c") ADDR4), PROXY_E_FAMILY},
	{"v2 transport without family", BYTES(V2("\x21", "\x01", "\0")), PROXY_E_FAMILY},
	{"v2 family 4", BYTES(V2("\x21", "\x41", "\0")), PROXY_E_FAMILY},
	{"v2 too long for us", BYTES(SIGNATURE "\x21\x11\x0f\xf1"), PROXY_E_TOO_LONG},
	{"v2 addresses cut",
	 BYTES(V2("\x21", "\x11", "\x0b") "\xc0\0\x02\x01\xc6\x33\x64\x07\x12"
					  "\x34\x01"),
	 PROXY_E_ADDRESSES},
	{"v2 tcp6 with room for tcp4", BYTES(V2("\x21", "\x21", "\x0c") ADDR4), PROXY_E_ADDRESSES},
	{"v2 unix without room", BYTES(V2("\x21", "\x31", "\x0c") ADDR4), PROXY_E_ADDRESSES},
	{"v2 tlv head cut", BYTES(V2("\x21", "\x11", "\x0e") ADDR4 "\xe0\0"), PROXY_E_TLV},
	{"v2 tlv beyond the end",
	 BYTES(V2("\x21", "\x11", "\x10") ADDR4 "\xe0\0\x02"
						"a"),
	 PROXY_E_TLV},
	{"v2 empty alpn", BYTES(V2("\x21", "\x11", "\x0f") ADDR4 "\x01\0\0"), PROXY_E_TLV},
	{"v2 alpn twice",
	 BYTES(V2("\x21", "\x11", "\x16") ADDR4 "\x01\0\x02h2"
						"\x01\0\x02h2"),
	 PROXY_E_TLV_TWICE},
	{"v2 authority with a line end",
	 BYTES(V2("\x21", "\x11", "\x11") ADDR4 "\x02\0\x02"
						"a\n"),
	 PROXY_E_TLV},
	{"v2 checksum of 3 bytes",
	 BYTES(V2("\x21", "\x11", "\x12") ADDR4 "\x03\0\x03"
						"abc"),
	 PROXY_E_TLV},
	{"v2 checksum", BYTES(V2("\x21", "\x11", "\x13") ADDR4 "\x03\0\x04\0\0\0\0"),
	 PROXY_E_CHECKSUM},
	{"v2 ssl cut", BYTES(V2("\x21", "\x11", "\x13") ADDR4 "\x20\0\x04\x01\0\0\0"), PROXY_E_TLV},
	{"v2 ssl with a tlv beyond its end",
	 BYTES(V2("\x21", "\x11", "\x18") ADDR4 "\x20\0\x09\x01\0\0\0\0\x21\0\x02"
						"T"),
	 PROXY_E_TLV},
	{"v2 ssl with a version twice",
	 BYTES(V2("\x21", "\x11", "\x1c") ADDR4 "\x20\0\x0d\x01\0\0\0\0\x21\0\x01T\x21\0\x01T"),
	 PROXY_E_TLV_TWICE},
	{"v2 ssl twice",
	 BYTES(V2("\x21", "\x11", "\x1c") ADDR4 "\x20\0\x05\x01\0\0\0\0"
						"\x20\0\x05\x01\0\0\0\0"),
	 PROXY_E_TLV_TWICE},
};

static void test_what_is_malformed_is_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct proxy_header header;
		int ret = proxy_header_parse(bad[i].bytes, &header);

		if (ret != -(int)bad[i].error)
			print_error("row '%s': %d, %s\n", bad[i].name, ret,
				    ret < 0 ? proxy_error_text((enum proxy_error) - ret) : "");
		assert_int_equal(ret, -(int)bad[i].error);
		assert_true(strlen(proxy_error_text(bad[i].error)) > 0);
	}
}

static void test_nothing_is_refused_before_it_is_certain(void **state)
{
	struct proxy_header header;
	char line[PROXY_V1_MAX];

	/* A line that could still end. */
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY ", 6);
	assert_int_equal(proxy_header_parse(str_make(line, PROXY_V1_MAX - 1), &header), 0);
	assert_int_equal(proxy_header_parse(str_make(line, PROXY_V1_MAX), &header),
			 -PROXY_E_TOO_LONG);
	/* The first bytes of a signature, and then not. */
	assert_int_equal(proxy_header_parse(STR("\r\n\r\n"), &header), 0);
	assert_int_equal(proxy_header_parse(STR("\r\n\r\n\r"), &header), -PROXY_E_ABSENT);
}

/* ---- TLVs ---- */

static void test_tlvs_are_read(void **state)
{
	static const char bytes[] = SIGNATURE "\x21\x11\0\x51" ADDR4 "\x01\0\x02h2"
					      "\x02\0\x07"
					      "a.local"
					      "\x05\0\x03"
					      "\0\x01\x02"
					      "\x20\0\x25\x05\0\0\0\x01"
					      "\x21\0\x07TLSv1.3"
					      "\x22\0\x02"
					      "me"
					      "\x23\0\x01"
					      "c"
					      "\x24\0\x01s\x25\0\x01k\x26\0\x02zz"
					      "\x30\0\x05inner";
	struct str whole = str_make(bytes, sizeof(bytes) - 1);
	struct proxy_header header;

	assert_int_equal(proxy_header_parse(whole, &header), 1);
	assert_int_equal(header.len, whole.len);
	assert_int_equal(header.version, 2);
	assert_str(header.alpn, "h2");
	assert_str(header.authority, "a.local");
	assert_true(str_eq(header.unique_id, STR("\0\x01\x02")));
	assert_str(header.netns, "inner");
	assert_true(header.ssl.given);
	assert_int_equal(header.ssl.client, PROXY_SSL_CLIENT | PROXY_SSL_CERT_SESSION);
	assert_int_equal(header.ssl.verify, 1);
	assert_str(header.ssl.version, "TLSv1.3");
	assert_str(header.ssl.common_name, "me");
	assert_str(header.ssl.cipher, "c");
	assert_str(header.ssl.signature, "s");
	assert_str(header.ssl.key, "k");
	assert_false(header.has_checksum);
}

static void test_a_unique_id_has_a_bound(void **state)
{
	char bytes[16 + 12 + 3 + 129] = SIGNATURE "\x21\x11";
	struct proxy_header header;

	memcpy(bytes + 16, ADDR4, 12);
	for (unsigned int len = 128; len <= 129; len++) {
		bytes[15] = (char)(12 + 3 + len);
		bytes[28] = 5;
		bytes[30] = (char)len;
		assert_int_equal(proxy_header_parse(str_make(bytes, 31 + len), &header),
				 len == 128 ? 1 : -PROXY_E_TLV);
	}
}

static void test_a_flipped_bit_breaks_the_checksum(void **state)
{
	struct proxy_facts facts = {.authority = STR("a.local"), .checksum = true};
	struct proxy_header header;
	char room[PROXY_WRITE_MAX];
	size_t len;

	assert_int_equal(ip_addr_parse(STR("192.0.2.1"), &facts.addresses.source), 0);
	assert_int_equal(ip_addr_parse(STR("192.0.2.2"), &facts.addresses.destination), 0);
	len = proxy_header_write(2, &facts, room);
	assert_int_equal(proxy_header_parse(str_make(room, len), &header), 1);
	assert_true(header.has_checksum);
	/* All bits of addresses and ports, of the authority and of the sum itself. */
	for (size_t at = 16; at < len; at++) {
		bool is_tlv_head = (at >= 28 && at < 31) || (at >= 38 && at < 41);

		for (unsigned int bit = 0; bit < 8 && !is_tlv_head; bit++) {
			room[at] = (char)(room[at] ^ (1 << bit));
			assert_true(proxy_header_parse(str_make(room, len), &header) < 0);
			room[at] = (char)(room[at] ^ (1 << bit));
		}
	}
}

/* ---- writing ---- */

static const struct {
	const char *source, *destination, *v1, *read_back;
} written[] = {
	{"192.0.2.1", "198.51.100.1", "PROXY TCP4 192.0.2.1 198.51.100.1 1 65535\r\n",
	 "192.0.2.1 1 198.51.100.1 65535"},
	{"2001:db8::1", "2001:db8::2", "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
	 "2001:db8::1 1 2001:db8::2 65535"},
	{"192.0.2.1", "2001:db8::2", "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 1 65535\r\n",
	 "::ffff:192.0.2.1 1 2001:db8::2 65535"},
	{"2001:db8::1", "192.0.2.2", "PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 1 65535\r\n",
	 "2001:db8::1 1 ::ffff:192.0.2.2 65535"},
	{NULL, "192.0.2.2", "PROXY UNKNOWN\r\n", "- 0 - 0"},
	{"192.0.2.1", NULL, "PROXY UNKNOWN\r\n", "- 0 - 0"},
};

static void test_what_is_written_is_read_back(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(written); i++) {
		struct proxy_facts facts = {.alpn = STR("h2"), .authority = STR("a.local")};
		struct proxy_header header;
		char room[PROXY_WRITE_MAX], text[300];
		size_t len;

		facts.addresses.source_port = 1;
		facts.addresses.destination_port = 65535;
		if (written[i].source)
			(void)ip_addr_parse(str_from_cstr(written[i].source),
					    &facts.addresses.source);
		if (written[i].destination)
			(void)ip_addr_parse(str_from_cstr(written[i].destination),
					    &facts.addresses.destination);
		len = proxy_header_write(1, &facts, room);
		assert_str(str_make(room, len), written[i].v1);
		assert_int_equal(proxy_header_parse(str_make(room, len), &header), 1);
		assert_string_equal(describe(&header, text, sizeof(text)), written[i].read_back);

		facts.checksum = i % 2;
		len = proxy_header_write(2, &facts, room);
		assert_int_equal(proxy_header_parse(str_make(room, len), &header), 1);
		assert_int_equal(header.len, len);
		assert_string_equal(describe(&header, text, sizeof(text)), written[i].read_back);
		if (header.addresses.source.family) {
			assert_str(header.alpn, "h2");
			assert_str(header.authority, "a.local");
			assert_int_equal(header.has_checksum, i % 2);
		}
	}
}

static void test_the_longest_fits_its_room_and_longer_texts_are_left_out(void **state)
{
	struct proxy_facts facts = {.checksum = true};
	char name[256], room[PROXY_WRITE_MAX];
	struct proxy_header header;

	memset(name, 'n', sizeof(name));
	assert_int_equal(ip_addr_parse(STR("2001:db8::1"), &facts.addresses.source), 0);
	facts.addresses.destination = facts.addresses.source;
	facts.alpn = facts.authority = str_make(name, 255);
	assert_int_equal(proxy_header_write(2, &facts, room), PROXY_WRITE_MAX);
	assert_int_equal(proxy_header_parse(str_make(room, sizeof(room)), &header), 1);
	facts.alpn.len = facts.authority.len = 256;
	assert_int_equal(proxy_header_write(2, &facts, room), PROXY_WRITE_MAX - 2 * (3 + 255));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_headers_are_read_and_nothing_behind_them),
		cmocka_unit_test(test_every_shorter_one_asks_for_more),
		cmocka_unit_test(test_what_is_malformed_is_refused),
		cmocka_unit_test(test_nothing_is_refused_before_it_is_certain),
		cmocka_unit_test(test_tlvs_are_read),
		cmocka_unit_test(test_a_unique_id_has_a_bound),
		cmocka_unit_test(test_a_flipped_bit_breaks_the_checksum),
		cmocka_unit_test(test_what_is_written_is_read_back),
		cmocka_unit_test(test_the_longest_fits_its_room_and_longer_texts_are_left_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
