/*
 * load_all: loads every program of the BPF objects in argv, one line each with the number of
 * instructions the verifier walked. For the machine that proves another kernel takes them.
 * Exits with 1 when one is refused, after the verifier's words.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int print_warnings(enum libbpf_print_level level, const char *fmt, va_list args)
{
	return level == LIBBPF_WARN ? vfprintf(stderr, fmt, args) : 0;
}

static int load(const char *path)
{
	struct bpf_object *object = bpf_object__open_file(path, NULL);
	struct bpf_program *program;
	int ret = object ? bpf_object__load(object) : -errno;

	if (ret) {
		printf("%s: not loaded: %s\n", path, strerror(-ret));
		bpf_object__close(object);
		return ret;
	}
	bpf_object__for_each_program(program, object)
	{
		struct bpf_prog_info info = {0};
		__u32 len = sizeof(info);

		ret = bpf_obj_get_info_by_fd(bpf_program__fd(program), &info, &len);
		if (ret) {
			printf("%s: %s: no information: %s\n", path, bpf_program__name(program),
			       strerror(-ret));
			break;
		}
		printf("%s: %s: %u instructions, %u verified\n", path, bpf_program__name(program),
		       info.xlated_prog_len / 8, info.verified_insns);
	}
	bpf_object__close(object);
	return ret;
}

int main(int argc, char **argv)
{
	int failed = 0;

	if (argc < 2) {
		fprintf(stderr, "usage: load_all OBJECT...\n");
		return 2;
	}
	libbpf_set_print(print_warnings);
	for (int i = 1; i < argc; i++)
		failed |= load(argv[i]) != 0;
	return failed;
}
