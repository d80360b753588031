/*
 * options: the daemon's command line.
 *
 *   sluiced --config FILE | --check FILE | --version | --help      (short: -c, -h, -V)
 *
 * Exactly one of them. Parsing prints nothing and keeps nothing: the strings stay argv's.
 * Thread rule: pure.
 */
#ifndef SLUICE_CONTROL_OPTIONS_H
#define SLUICE_CONTROL_OPTIONS_H

#include "base/error.h"

enum options_action { OPTIONS_RUN, OPTIONS_CHECK, OPTIONS_VERSION, OPTIONS_HELP };

struct options {
	enum options_action action;
	const char *file; /* with RUN and CHECK */
};

extern const char options_usage[];

/* -EINVAL with the sentence to print before a hint at --help. */
int options_parse(int argc, char *const *argv, struct options *ret_options, struct error *err);

#endif
