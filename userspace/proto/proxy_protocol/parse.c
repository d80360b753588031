#include "base/crc32c.h"
#include "base/util.h"
#include "proto/proxy_protocol/wire.h"

const char *proxy_error_text(enum proxy_error error)
{
	static const char *const texts[] = {[PROXY_OK] = "well-formed",
#define X(symbol, text) [PROXY_E_##symbol] = text,
					    PROXY_ERRORS(X)
#undef X
	};

	return texts[error];
}

/* ---- version 1 ---- */

/* "0" to "65535", as a number is written. */
static bool read_port(struct str text, uint16_t *ret_port)
{
	uint64_t port;

	if (!text.len || text.len > 5 || (text.len > 1 && text.ptr[0] == '0') ||
	    str_to_u64(text, &port) || port > UINT16_MAX)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

static bool read_ip(struct str text, uint8_t family, struct ip_addr *ret_addr)
{
	return !ip_addr_parse(text, ret_addr) && ret_addr->family == family;
}

/* The next word, up to one space or the end; nothing is trimmed. */
static struct str next_word(struct str *rest)
{
	ptrdiff_t space = str_find_byte(*rest, ' ');
	struct str word = str_sub(*rest, 0, space < 0 ? rest->len : (size_t)space);

	*rest = space < 0 ? STR_NULL : str_sub(*rest, (size_t)space + 1, rest->len);
	return word;
}

/* `line` is without its CRLF. */
static int read_v1_line(struct str line, struct proxy_header *header)
{
	struct proxy_addresses *addresses = &header->addresses;
	struct str rest = str_sub(line, sizeof(PROXY_V1_BEGIN) - 1, line.len);
	struct str protocol = next_word(&rest);
	uint8_t family;

	if (str_eq(protocol, STR("UNKNOWN")))
		return 1; /* what follows is to be ignored */
	if (str_eq(protocol, STR("TCP4")))
		family = AF_INET;
	else if (str_eq(protocol, STR("TCP6")))
		family = AF_INET6;
	else
		return -PROXY_E_V1;
	if (!read_ip(next_word(&rest), family, &addresses->source) ||
	    !read_ip(next_word(&rest), family, &addresses->destination) ||
	    !read_port(next_word(&rest), &addresses->source_port) || !rest.ptr ||
	    !read_port(rest, &addresses->destination_port))
		return -PROXY_E_V1;
	return 1;
}

static int parse_v1(struct str bytes, struct proxy_header *header)
{
	struct str seen = str_sub(bytes, 0, PROXY_V1_MAX);
	ptrdiff_t lf = str_find_byte(seen, '\n');

	header->version = 1;
	if (lf < 0)
		return bytes.len >= PROXY_V1_MAX ? -PROXY_E_TOO_LONG : 0;
	if (lf < (ptrdiff_t)sizeof(PROXY_V1_BEGIN) || seen.ptr[lf - 1] != '\r')
		return -PROXY_E_V1;
	header->len = (size_t)lf + 1;
	seen.len = (size_t)lf - 1;
	/* One that is inside the line would be its end for somebody else. */
	if (str_find_byte(seen, '\r') >= 0 || memchr(seen.ptr, '\0', seen.len))
		return -PROXY_E_V1;
	return read_v1_line(seen, header);
}

/* ---- version 2 ---- */

static uint16_t read_u16(const char *bytes)
{
	return (uint16_t)((uint8_t)bytes[0] << 8 | (uint8_t)bytes[1]);
}

static uint32_t read_u32(const char *bytes)
{
	return (uint32_t)read_u16(bytes) << 16 | read_u16(bytes + 2);
}

/* Cuts one off. 1; 0: there is none left; negative. */
static int next_tlv(struct str *rest, uint8_t *ret_type, struct str *ret_value)
{
	size_t len;

	if (!rest->len)
		return 0;
	if (rest->len < PROXY_TLV_HEAD_BYTES)
		return -PROXY_E_TLV;
	len = read_u16(rest->ptr + 1);
	if (len > rest->len - PROXY_TLV_HEAD_BYTES)
		return -PROXY_E_TLV;
	*ret_type = (uint8_t)rest->ptr[0];
	*ret_value = str_make(rest->ptr + PROXY_TLV_HEAD_BYTES, len);
	*rest = str_make(ret_value->ptr + len, rest->len - PROXY_TLV_HEAD_BYTES - len);
	return 1;
}

static int keep(struct str *place, struct str value, size_t len_max)
{
	if (place->ptr)
		return -PROXY_E_TLV_TWICE;
	if (!value.len || value.len > len_max)
		return -PROXY_E_TLV;
	*place = value;
	return 0;
}

/* The same for text: no byte that could end a line or a string somewhere. */
static int keep_text(struct str *place, struct str value, size_t len_max)
{
	for (size_t i = 0; i < value.len; i++)
		if ((uint8_t)value.ptr[i] < ' ' || value.ptr[i] == 127)
			return -PROXY_E_TLV;
	return keep(place, value, len_max);
}

static int read_ssl(struct str value, struct proxy_header *header)
{
	struct str rest, text;
	uint8_t type;
	int ret;

	if (header->ssl.given)
		return -PROXY_E_TLV_TWICE;
	if (value.len < PROXY_SSL_HEAD_BYTES)
		return -PROXY_E_TLV;
	header->ssl.given = true;
	header->ssl.client = (uint8_t)value.ptr[0];
	header->ssl.verify = read_u32(value.ptr + 1);
	rest = str_sub(value, PROXY_SSL_HEAD_BYTES, value.len);
	while ((ret = next_tlv(&rest, &type, &text)) > 0) {
		switch (type) {
		case PROXY_TLV_SSL_VERSION:
			ret = keep_text(&header->ssl.version, text, PROXY_TEXT_MAX);
			break;
		case PROXY_TLV_SSL_CN:
			ret = keep_text(&header->ssl.common_name, text, PROXY_TEXT_MAX);
			break;
		case PROXY_TLV_SSL_CIPHER:
			ret = keep_text(&header->ssl.cipher, text, PROXY_TEXT_MAX);
			break;
		case PROXY_TLV_SSL_SIGNATURE:
			ret = keep_text(&header->ssl.signature, text, PROXY_TEXT_MAX);
			break;
		case PROXY_TLV_SSL_KEY:
			ret = keep_text(&header->ssl.key, text, PROXY_TEXT_MAX);
			break;
		default:
			break;
		}
		if (ret < 0)
			break;
	}
	return ret;
}

/* Of the whole header, with zeros where the checksum stands. */
static bool checksum_fits(struct str bytes, struct str value)
{
	size_t at = (size_t)(value.ptr - bytes.ptr);
	uint32_t crc = crc32c(0, str_sub(bytes, 0, at));

	crc = crc32c(crc, STR("\0\0\0\0"));
	crc = crc32c(crc, str_sub(bytes, at + value.len, bytes.len));
	return crc == read_u32(value.ptr);
}

static int read_tlv(struct str bytes, uint8_t type, struct str value, struct proxy_header *header)
{
	switch (type) {
	case PROXY_TLV_ALPN:
		return keep(&header->alpn, value, PROXY_TEXT_MAX);
	case PROXY_TLV_AUTHORITY:
		return keep_text(&header->authority, value, PROXY_TEXT_MAX);
	case PROXY_TLV_CRC32C:
		if (header->has_checksum)
			return -PROXY_E_TLV_TWICE;
		if (value.len != 4)
			return -PROXY_E_TLV;
		header->has_checksum = true;
		return checksum_fits(bytes, value) ? 0 : -PROXY_E_CHECKSUM;
	case PROXY_TLV_UNIQUE_ID:
		return keep(&header->unique_id, value, PROXY_UNIQUE_ID_MAX);
	case PROXY_TLV_SSL:
		return read_ssl(value, header);
	case PROXY_TLV_NETNS:
		return keep_text(&header->netns, value, PROXY_TEXT_MAX);
	default:
		return 0;
	}
}

static void read_addresses(const char *block, uint8_t family, struct proxy_addresses *addresses)
{
	size_t len = family == AF_INET ? 4 : 16;

	addresses->source.family = addresses->destination.family = family;
	memcpy(addresses->source.bytes, block, len);
	memcpy(addresses->destination.bytes, block + len, len);
	addresses->source_port = read_u16(block + 2 * len);
	addresses->destination_port = read_u16(block + 2 * len + 2);
}

/* `bytes` is the whole header. */
static int read_v2(struct str bytes, struct proxy_header *header)
{
	uint8_t family = (uint8_t)bytes.ptr[13];
	struct str rest = str_sub(bytes, PROXY_V2_HEAD_BYTES, bytes.len), value;
	size_t address_bytes = 0;
	uint8_t type;
	int ret;

	switch (family) {
	case PROXY_FAMILY_TCP4:
		address_bytes = PROXY_TCP4_BYTES;
		break;
	case PROXY_FAMILY_TCP6:
		address_bytes = PROXY_TCP6_BYTES;
		break;
	case PROXY_FAMILY_UNIX:
		address_bytes = PROXY_UNIX_BYTES;
		break;
	default: /* PROXY_FAMILY_NONE: the length is all that is known of the block */
		return 1;
	}
	if (rest.len < address_bytes)
		return -PROXY_E_ADDRESSES;
	if (family != PROXY_FAMILY_UNIX)
		read_addresses(rest.ptr, family == PROXY_FAMILY_TCP4 ? AF_INET : AF_INET6,
			       &header->addresses);
	rest = str_sub(rest, address_bytes, rest.len);
	while ((ret = next_tlv(&rest, &type, &value)) > 0) {
		ret = read_tlv(bytes, type, value, header);
		if (ret < 0)
			break;
	}
	return ret < 0 ? ret : 1;
}

static int parse_v2(struct str bytes, struct proxy_header *header)
{
	uint8_t version, command, family;

	header->version = 2;
	if (bytes.len < 13)
		return 0;
	version = (uint8_t)bytes.ptr[12] >> 4;
	command = (uint8_t)bytes.ptr[12] & 15;
	if (version != 2)
		return -PROXY_E_VERSION;
	if (command > PROXY_COMMAND_PROXY)
		return -PROXY_E_COMMAND;
	header->local = command == PROXY_COMMAND_LOCAL;
	if (bytes.len < 14)
		return 0;
	family = (uint8_t)bytes.ptr[13];
	/* Datagrams do not come by a connection. */
	if (!header->local && family != PROXY_FAMILY_NONE && family != PROXY_FAMILY_TCP4 &&
	    family != PROXY_FAMILY_TCP6 && family != PROXY_FAMILY_UNIX)
		return -PROXY_E_FAMILY;
	if (bytes.len < PROXY_V2_HEAD_BYTES)
		return 0;
	header->len = PROXY_V2_HEAD_BYTES + (size_t)read_u16(bytes.ptr + 14);
	if (header->len > PROXY_HEADER_MAX)
		return -PROXY_E_TOO_LONG;
	if (bytes.len < header->len)
		return 0;
	return header->local ? 1 : read_v2(str_sub(bytes, 0, header->len), header);
}

/* ---- either ---- */

static bool begins_alike(struct str bytes, struct str begin)
{
	return !memcmp(bytes.ptr, begin.ptr, MIN(bytes.len, begin.len));
}

int proxy_header_parse(struct str bytes, struct proxy_header *ret_header)
{
	const struct str v1 = STR(PROXY_V1_BEGIN), v2 = STR(PROXY_V2_SIGNATURE);
	struct proxy_header header = {0};
	int ret;

	if (!bytes.len)
		return 0;
	if (begins_alike(bytes, v1))
		ret = bytes.len < v1.len ? 0 : parse_v1(bytes, &header);
	else if (begins_alike(bytes, v2))
		ret = bytes.len < v2.len ? 0 : parse_v2(bytes, &header);
	else
		ret = -PROXY_E_ABSENT;
	if (ret == 1)
		*ret_header = header;
	return ret;
}
