/* sluiced: the daemon's command line. Everything else is in control/. */
#include <stdio.h>

#include "control/check.h"
#include "control/daemon.h"
#include "control/options.h"

#define EXIT_USAGE 2

int main(int argc, char **argv)
{
	struct options options;
	struct error err = {0};

	if (options_parse(argc, argv, &options, &err)) {
		(void)fprintf(stderr, "sluiced: %s\nTry 'sluiced --help'.\n", err.text);
		return EXIT_USAGE;
	}
	switch (options.action) {
	case OPTIONS_HELP:
		return fputs(options_usage, stdout) < 0;
	case OPTIONS_VERSION:
		return printf("sluiced %s\n", daemon_version) < 0;
	case OPTIONS_CHECK:
		return check_run(options.file, stdout, stderr);
	case OPTIONS_RUN:
		break;
	}
	return daemon_run(options.file) ? 1 : 0;
}
