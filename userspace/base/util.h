/*
 * util: macros that every module uses, and the list of functions nobody may use.
 * Copying into fixed buffers goes through str.h or snprintf, so the unbounded ones are poisoned.
 */
#ifndef SLUICE_BASE_UTIL_H
#define SLUICE_BASE_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ARRAY_SIZE(array)		    (sizeof(array) / sizeof((array)[0]))
#define MIN(left, right)		    ((left) < (right) ? (left) : (right))
#define MAX(left, right)		    ((left) > (right) ? (left) : (right))
#define LIKELY(condition)		    __builtin_expect(!!(condition), 1)
#define UNLIKELY(condition)		    __builtin_expect(!!(condition), 0)
#define PRINTF_LIKE(fmt, arg)		    __attribute__((format(printf, fmt, arg)))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* Of the same type. */
#define SWAP(left, right)                                                                          \
	do {                                                                                       \
		__typeof__(left) _swapped = (left);                                                \
		(left) = (right);                                                                  \
		(right) = _swapped;                                                                \
	} while (0)

#pragma GCC poison strcpy strcat sprintf vsprintf

#endif
