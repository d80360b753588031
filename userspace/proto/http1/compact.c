#include "proto/http1/compact.h"

int http1_body_compact(struct http1_body *body, char *bytes, size_t len, size_t *ret_consumed,
		       struct str *ret_data)
{
	char *first = NULL;
	size_t data_len = 0, pos = 0;
	int event;

	do {
		struct str data = STR_NULL;
		size_t consumed = 0;

		event = http1_body_feed(body, str_make(bytes + pos, len - pos), &consumed, &data);
		if (event < 0)
			return event;
		pos += consumed;
		if (event != HTTP1_BODY_DATA)
			break;
		if (!first)
			first = (char *)data.ptr;
		else if (first + data_len != data.ptr)
			memmove(first + data_len, data.ptr, data.len);
		data_len += data.len;
	} while (true);

	*ret_consumed = pos;
	*ret_data = str_make(first ? first : bytes, data_len);
	return event;
}
