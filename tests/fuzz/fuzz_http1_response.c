/*
 * fuzz_http1_response: any bytes as the answer to GET, HEAD and CONNECT. Views stay inside the
 * input, framing follows the rules, and a head reads the same after it was written again.
 */
#include "fuzz_http1.h"

static void check_rules(const struct http_head *head, enum http_method request_method)
{
	bool is_bodiless = head->status < 200 || head->status == 204 || head->status == 304 ||
			   request_method == HTTP_METHOD_HEAD ||
			   (request_method == HTTP_METHOD_CONNECT && head->status < 300);

	check(head->status >= 100 && head->status <= 599 && head->version_minor <= 1);
	check(!head->host.ptr && !head->method.ptr && !head->target.ptr);
	check((head->framing == HTTP_FRAMING_NONE) == is_bodiless);
	if (head->status < 200 || head->status == 204)
		check(head->content_length == 0 &&
		      !http_head_find(head, HTTP_FIELD_TRANSFER_ENCODING));
	check(head->framing != HTTP_FRAMING_LENGTH || head->has_content_length);
	check(head->has_content_length ==
	      (http_head_find(head, HTTP_FIELD_CONTENT_LENGTH) != NULL));
	check(head->framing != HTTP_FRAMING_UNTIL_CLOSE || !head->keep_alive);
	check(head->version_minor == 1 || !http_head_find(head, HTTP_FIELD_TRANSFER_ENCODING));
}

static void check_written_again(const struct http_head *head, enum http_method request_method)
{
	static char room[128 * 1024];
	char line[16];
	struct http1_writer writer;
	struct arena arena;
	struct http_head again;
	struct str bytes;

	/* The status line that we write has our phrase and version; here the peer's shall stay. */
	http1_write_init(&writer, room, sizeof(room));
	(void)snprintf(line, sizeof(line), "HTTP/1.%u %u ", head->version_minor, head->status);
	http1_write_bytes(&writer, str_from_cstr(line));
	http1_write_bytes(&writer, head->reason);
	http1_write_bytes(&writer, STR("\r\n"));
	bytes = write_fields(&writer, room, head);

	arena_init(&arena, 0, ARENA_CAP_BYTES);
	check(http1_parse_response(bytes, &wide_limits, request_method, &arena, &again) == 0);
	check_same(head, &again);
	arena_done(&arena);
}

static void parse(struct str bytes, bool is_found, enum http_method request_method)
{
	struct arena arena;
	struct http_head head;

	arena_init(&arena, 0, ARENA_CAP_BYTES);
	if (!http1_parse_response(bytes, NULL, request_method, &arena, &head)) {
		check(is_found);
		check_inside(head.reason, bytes);
		check(http_value_is_valid(head.reason));
		check_fields(&head, bytes);
		check_rules(&head, request_method);
		check_written_again(&head, request_method);
	}
	arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum http_method methods[] = {HTTP_METHOD_GET, HTTP_METHOD_HEAD,
						   HTTP_METHOD_CONNECT};
	struct str bytes = str_make((const char *)data, size);
	size_t len = 0;
	int found = find_end(bytes, &len);
	struct str whole = found == 1 ? str_sub(bytes, 0, len) : bytes;
	char *copy = copy_bytes(whole);

	whole.ptr = copy;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		parse(whole, found == 1, methods[i]);
	free(copy);
	return 0;
}
