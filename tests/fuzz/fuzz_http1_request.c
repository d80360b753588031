/*
 * fuzz_http1_request: any bytes as a request. The head's end does not depend on how the bytes come
 * in; a head that is accepted has its views inside the input, keeps the framing rules, and reads
 * the same after it was written again.
 */
#include "fuzz_http1.h"

static void check_rules(const struct http_head *head)
{
	check(head->method.len > 0 && head->method.len <= 32 && head->target.len > 0);
	check(head->status == 0 && head->version_minor <= 1);
	check(head->framing != HTTP_FRAMING_UNTIL_CLOSE);
	check(head->host.len > 0 || (!head->host.ptr && head->version_minor == 0));
	check(head->has_content_length == (head->framing == HTTP_FRAMING_LENGTH));
	check(head->has_content_length ==
	      (http_head_find(head, HTTP_FIELD_CONTENT_LENGTH) != NULL));
	check((head->framing == HTTP_FRAMING_CHUNKED) ==
	      (http_head_find(head, HTTP_FIELD_TRANSFER_ENCODING) != NULL));
	check(head->framing != HTTP_FRAMING_CHUNKED || head->version_minor == 1);
	check(!head->has_upgrade || http_head_connection_lists(head, STR("upgrade")));
}

static void check_written_again(const struct http_head *head)
{
	static char room[128 * 1024];
	struct http1_writer writer;
	struct arena arena;
	struct http_head again;
	struct str bytes;
	size_t scan = 0, len = 0;

	http1_write_init(&writer, room, sizeof(room));
	/* Ours is always HTTP/1.1; the reading of an HTTP/1.0 head shall not change here. */
	if (head->version_minor) {
		http1_write_request_line(&writer, head->method, head->target);
	} else {
		http1_write_bytes(&writer, head->method);
		http1_write_bytes(&writer, STR(" "));
		http1_write_bytes(&writer, head->target);
		http1_write_bytes(&writer, STR(" HTTP/1.0\r\n"));
	}
	bytes = write_fields(&writer, room, head);

	arena_init(&arena, 0, ARENA_CAP_BYTES);
	check(http1_find_head_end(bytes, &wide_limits, &scan, &len) == 1 && len == bytes.len);
	check(http1_parse_request(bytes, &wide_limits, &arena, &again) == 0);
	check_same(head, &again);
	arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct str bytes = str_make((const char *)data, size);
	struct arena arena;
	struct http_head head;
	size_t len = 0;
	int found = find_end(bytes, &len);
	/* Bytes of which nobody looked for the end are no risk either. */
	struct str whole = found == 1 ? str_sub(bytes, 0, len) : bytes;
	char *copy = copy_bytes(whole);

	whole.ptr = copy;
	arena_init(&arena, 0, ARENA_CAP_BYTES);
	if (!http1_parse_request(whole, NULL, &arena, &head)) {
		check(found == 1);
		check_inside(head.method, whole);
		check_inside(head.target, whole);
		if (head.host.ptr)
			check_inside(head.host, whole);
		check_fields(&head, whole);
		check_rules(&head);
		check_written_again(&head);
	}
	arena_done(&arena);
	free(copy);
	return 0;
}
