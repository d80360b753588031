/*
 * local_answer: answers made here: errors, redirects, fixed answers. The functions that any action
 * may need (exchange_respond(), exchange_fail(), ...) are in http/exchange.h and defined in the
 * same file. Thread rule: the worker's thread.
 */
#ifndef SLUICE_HTTP_LOCAL_ANSWER_H
#define SLUICE_HTTP_LOCAL_ANSWER_H

#include "http/exchange.h"

/* Answers as exchange->local says, now or when a small request body was read away. */
void local_answer_start(struct exchange *exchange, enum exchange_local_kind kind);
void local_answer_start_error(struct exchange *exchange, uint16_t status, const char *reason);

#endif
