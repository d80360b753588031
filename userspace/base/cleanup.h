/*
 * cleanup: scope-bound release, the default in userspace (systemd and Linux' cleanup.h are the
 * models). `_cleanup_(x_freep) struct x *it = NULL;` frees on every way out; `TAKE_PTR(it)` gives
 * ownership away. DEFINE_FREEP(x, x_free) makes the pointer-to-pointer form.
 */
#ifndef SLUICE_BASE_CLEANUP_H
#define SLUICE_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(function) __attribute__((cleanup(function)))

#define DEFINE_FREEP(type, function)                                                               \
	static inline void function##p(type **pointer)                                             \
	{                                                                                          \
		if (*pointer)                                                                      \
			function(*pointer);                                                        \
	}

#define TAKE_PTR(pointer)                                                                          \
	({                                                                                         \
		__typeof__(pointer) _taken = (pointer);                                            \
		(pointer) = NULL;                                                                  \
		_taken;                                                                            \
	})

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int _taken = (fd);                                                                 \
		(fd) = -1;                                                                         \
		_taken;                                                                            \
	})

static inline void free_cleanupp(void *pointer)
{
	free(*(void **)pointer);
}

static inline void close_fdp(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
}

#define _cleanup_free_	_cleanup_(free_cleanupp)
#define _cleanup_close_ _cleanup_(close_fdp)

#endif
