/*
 * field_edit: fields of a request or an answer, changed by policies.
 *
 * Request: `exchange->request.fields` is what came, less what was removed, and then what we put
 * there ourselves (the last own_field_count of them): that goes upstream whatever the client's
 * Connection field says (HARDENING 21), and is seen by all who look at the request. Names are
 * compared folded, '_' and '.' as '-' (HARDENING 20). Answer: the fields of an exchange_response
 * on its way through response_head().
 *
 * Names and values are views that live as long as the exchange; what would not be valid on the wire
 * is refused when it is written (HARDENING 13). Where the arena is full nothing changes and false
 * is returned. Thread rule: the exchange's worker.
 */
#ifndef SLUICE_HTTP_FIELD_EDIT_H
#define SLUICE_HTTP_FIELD_EDIT_H

#include "http/exchange.h"

/* Without case, and with '_' and '.' as '-'. */
bool field_name_equal_folded(struct str left, struct str right);
/*
 * May a policy set or remove it? Not what frames a message, belongs to one connection, or is
 * written by http/forwarding.h. For the configuration.
 */
bool field_may_be_edited(struct str name);

/* Is it one that only policies of the route may say (policy_type.owned_fields)? */
bool request_field_is_owned(const struct exchange *exchange, struct str name);
/* What came under any of these names. */
void request_fields_strip(struct exchange *exchange, const struct str *names, unsigned int count);
/* Ours, too. */
void request_field_remove(struct exchange *exchange, struct str name);
bool request_field_add(struct exchange *exchange, struct str name, struct str value);
/* In the place of all of that name. */
bool request_field_set(struct exchange *exchange, struct str name, struct str value);

/* The fields become a copy with room, and `added` behind them. */
bool response_fields_own(struct exchange *exchange, struct exchange_response *response,
			 const struct http_field *added, unsigned int added_count);
/* The first, or NULL. */
struct http_field *response_field_find(const struct exchange_response *response, struct str name);
void response_field_remove(struct exchange_response *response, struct str name);
bool response_field_add(struct exchange *exchange, struct exchange_response *response,
			struct str name, struct str value);
bool response_field_set(struct exchange *exchange, struct exchange_response *response,
			struct str name, struct str value);
/* The answer depends on this field of the request (Vary, RFC 9110 12.5.5). */
bool response_vary_on(struct exchange *exchange, struct exchange_response *response,
		      struct str name);
/* The body will have another length, known when it ends. */
void response_length_unknown(struct exchange_response *response);

#endif
