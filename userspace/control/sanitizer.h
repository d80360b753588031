/*
 * sanitizer: is this a build whose runtime makes threads, traces itself and maps as it likes?
 * The address and thread sanitizers do; the undefined-behaviour one does not. Code that takes
 * rights away from the process asks here first.
 */
#ifndef SLUICE_CONTROL_SANITIZER_H
#define SLUICE_CONTROL_SANITIZER_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SLUICE_SANITIZER_RUNTIME 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLUICE_SANITIZER_RUNTIME 1
#endif
#endif
#ifndef SLUICE_SANITIZER_RUNTIME
#define SLUICE_SANITIZER_RUNTIME 0
#endif

#endif
