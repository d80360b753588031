/*
 * admin_api: requests and answers of the admin API, apart from sockets.
 *
 * A handler gets a whole request and fills the response: one JSON document. Handlers are in
 * admin_status.c, admin_access.c, admin_access_show.c, access_loads.c, admin_http.c,
 * admin_explain.c, admin_service.c, admin_events.c and admin_config.c; the table is in admin_api.c.
 * Thread rule: the control thread.
 */
#ifndef SLUICE_CONTROL_ADMIN_API_H
#define SLUICE_CONTROL_ADMIN_API_H

#include <jansson.h>

#include "base/json.h"
#include "control/admin_server.h"
#include "control/daemon.h"
#include "kern/access_list.h"

/* Finds and runs the handler: always leaves a status and a document. */
void admin_dispatch(struct daemon *daemon, const struct admin_request *request,
		    struct admin_response *response);

/* Ends the document and sets 200; 500 when it could not be written. */
void admin_finish(struct admin_response *response, struct json_writer *json);
/* The percent-decoded value of a query parameter: 0, -ENOENT or -EINVAL. */
int admin_query_get(struct str query, const char *name, char *buf, size_t buf_len);
/*
 * The body as a JSON object whose members are strings with names from the list: 0 with values in
 * the same order (NULL where absent; they live as long as *ret_object, which the caller
 * json_decref()s), or -EINVAL with the 400 already written.
 */
int admin_read_strings(const struct admin_request *request, struct admin_response *response,
		       const char *const *names, unsigned int count, const char **ret_values,
		       json_t **ret_object);
/* Parts of a route, into an open object. */
void admin_json_methods(struct json_writer *json, const char *key, uint32_t methods,
			const struct str *others, unsigned int other_count);
void admin_json_path(struct json_writer *json, const struct route *route);
void admin_json_action(struct json_writer *json, const struct route *route);
/* "2026-01-31T12:00:00Z", UTC, or null for 0. */
void admin_json_time(struct json_writer *json, const char *key, uint64_t wall_ms);

/* Which of the two lists the path is of. */
enum access_list_kind admin_access_kind(const struct admin_request *request);
/* An entry of a list, as an element of an array or as the document. */
void admin_json_entry(struct json_writer *json, const struct access_entry *entry);

typedef void admin_handler(struct daemon *daemon, const struct admin_request *request,
			   struct admin_response *response);
admin_handler admin_get_version, admin_get_status, admin_get_counters;
admin_handler admin_post_deny, admin_delete_deny, admin_post_allow, admin_delete_allow;
/* Of both lists: which one, the path says. */
admin_handler admin_get_access, admin_get_access_count;
admin_handler admin_post_load, admin_post_load_part, admin_post_load_commit;
admin_handler admin_get_load, admin_delete_load;
admin_handler admin_get_certificates, admin_post_certificates_reload;
admin_handler admin_get_routes, admin_post_explain, admin_get_upstreams;
admin_handler admin_get_services, admin_post_services, admin_delete_services;
admin_handler admin_post_backends;
admin_handler admin_get_events;
admin_handler admin_get_config, admin_post_reload, admin_post_check;

#endif
