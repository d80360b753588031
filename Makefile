# Sluice's build. Sources are found by wildcard, so a new file needs no edit here.
#
#   userspace/**/*.c  (but main.c)  ->  $(B)/libsluice.a
#   userspace/main.c  + the library ->  $(B)/sluiced
#   tools/*.c         + the library ->  $(B)/sluice
#   bpf/*.bpf.c                     ->  build/bpf/*.bpf.o and *.skel.h, the same for all variants
#   tests/unit/*/test_*.c, tests/bpf/*.c with a main, tests/bench/bench_*.c
#                                   ->  $(B)/tests/..., one program each
#   tests/fuzz/fuzz_*.c             ->  build/fuzz/..., the library built again for libFuzzer
#
# Variables: V=1 shows the commands. SANITIZER=address|undefined|thread builds in build/SANITIZER.
# ONLY="base conf" builds a library (and its unit tests) of just those folders of userspace/,
# in a directory of its own. KEEP=1 leaves the demo running.
# Every output is written beside its place and then renamed: two makes at a time do no harm.

SHELL := /bin/bash
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SECONDARY:
.DEFAULT_GOAL := all

comma := ,
empty :=
space := $(empty) $(empty)

SANITIZER ?=
ONLY ?=
ifeq ($(filter $(SANITIZER),address undefined thread coverage),$(SANITIZER))
else
$(error SANITIZER is address, undefined, thread or empty)
endif
B := $(subst $(space),,build $(if $(SANITIZER),/$(SANITIZER)) \
	$(if $(ONLY),/only-$(subst $(space),-,$(strip $(ONLY)))))
export SLUICE_BUILD := $(CURDIR)/$(B)
export ONLY TESTS

# Tools and flags.
CC := gcc
CLANG := clang
STRIP_BPF := llvm-strip
BPFTOOL := $(or $(wildcard /usr/sbin/bpftool),bpftool)
PYTHON := /usr/bin/python3
PREFIX ?= /usr/local
DESTDIR ?=

# A release is named by its tag, other states by VERSION and the commit.
VERSION := $(or $(shell git describe --tags --exact-match --match 'v*' 2>/dev/null | sed 's/^v//'),\
	$(shell cat VERSION)$(shell git rev-parse --short HEAD 2>/dev/null | sed 's/^/+/'))

PACKAGES := libbpf libxdp libnl-3.0 libnl-route-3.0 liburing openssl yaml-0.1 jansson \
	libcap-ng libseccomp libxxhash libpcre2-8 libnghttp2 zlib libzstd libbrotlienc libbrotlidec
PACKAGE_CFLAGS := $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
PACKAGE_LIBS := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wno-unused-parameter
INCLUDES := -Iuserspace -Iinclude -Ibuild/bpf -I/usr/share/include/llhttp
HARDEN_CFLAGS := -fstack-protector-strong -fPIE
HARDEN_LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
# These warnings follow values through optimised code; in the other variants they guess.
LESS_FLOW := -Wno-format-truncation -Wno-maybe-uninitialized -Wno-stringop-overflow
ifeq ($(SANITIZER),)
VARIANT_CFLAGS := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else ifeq ($(SANITIZER),coverage)
VARIANT_CFLAGS := -O0 --coverage $(LESS_FLOW)
VARIANT_LDFLAGS := --coverage
else # fortified calls would hide errors from the sanitizers
VARIANT_CFLAGS := -O1 -U_FORTIFY_SOURCE -fno-omit-frame-pointer -fsanitize=$(SANITIZER) $(LESS_FLOW) \
	$(if $(filter undefined,$(SANITIZER)),-fno-sanitize-recover=all)
VARIANT_LDFLAGS := -fsanitize=$(SANITIZER)
endif
BASE_CFLAGS := -std=gnu11 -g -D_GNU_SOURCE $(WARNINGS) $(INCLUDES) $(PACKAGE_CFLAGS)
ALL_CFLAGS := $(BASE_CFLAGS) $(HARDEN_CFLAGS) $(VARIANT_CFLAGS) $(CFLAGS)
ALL_LDFLAGS := $(HARDEN_LDFLAGS) $(VARIANT_LDFLAGS) $(LDFLAGS)
ALL_LIBS := $(PACKAGE_LIBS) -lcrypt -lpthread -lm
FUZZ_CFLAGS := $(BASE_CFLAGS) -O1 -fno-omit-frame-pointer -DSLUICE_FUZZ=1
# What the programs read of the kernel is its stable interface and packets: nothing needs to be
# relocated, which would read all types of the kernel for each object that is loaded.
# Constants of several words are read as volatile or written out: clang 14 forgets stores that stand
# before a memcpy() from one.
BPF_CFLAGS := -target bpf -std=gnu11 -mcpu=v3 -g -O2 -Wall -Wextra -Werror -Wno-unused-parameter \
	-D__TARGET_ARCH_x86 -DBPF_NO_PRESERVE_ACCESS_INDEX -I. -Iinclude -Ibpf \
	-idirafter /usr/include/$(shell $(CC) -print-multiarch 2>/dev/null)
LLHTTP := api http llhttp
LLHTTP_CFLAGS := -std=gnu11 -g -w -DLLHTTP_STRICT_MODE=1 -I/usr/share/include/llhttp

# What there is.
FOLDERS := $(if $(ONLY),$(ONLY),$(patsubst userspace/%/,%,$(wildcard userspace/*/)))
LIB_SOURCES := $(sort $(foreach folder,$(FOLDERS),$(shell find userspace/$(folder) -name '*.c')))
TOOL_SOURCES := $(wildcard tools/*.c)
BPF_SOURCES := $(wildcard bpf/*.bpf.c)
UNIT_SOURCES := $(sort $(foreach folder,$(if $(ONLY),$(ONLY),*),\
	$(wildcard tests/unit/$(folder)/test_*.c)))
# Tests, and helper programs such as load_all.
BPF_TEST_SOURCES := $(if $(wildcard tests/bpf/*.c),$(shell grep -l '^int main' tests/bpf/*.c))
BENCH_SOURCES := $(wildcard tests/bench/bench_*.c)
FUZZ_SOURCES := $(wildcard tests/fuzz/fuzz_*.c)
# Other files in the test folders are help for the tests: linked to each of them.
SUPPORT_SOURCES := $(sort $(filter-out $(UNIT_SOURCES) $(BPF_TEST_SOURCES), \
	$(foreach folder,$(if $(ONLY),$(ONLY),*),$(wildcard tests/unit/$(folder)/*.c)) \
	$(wildcard tests/unit/*.c tests/support/*.c) $(if $(ONLY),,$(wildcard tests/bpf/*.c))))

objects = $(patsubst %.c,$(B)/obj/%.o,$(1))
LIB := $(B)/libsluice.a
LIB_OBJECTS := $(call objects,$(LIB_SOURCES)) $(LLHTTP:%=$(B)/obj/llhttp/%.o)
PROGRAMS := $(if $(ONLY),,$(if $(wildcard userspace/main.c),$(B)/sluiced) \
	$(if $(TOOL_SOURCES),$(B)/sluice))
BPF_OBJECTS := $(BPF_SOURCES:bpf/%.bpf.c=build/bpf/%.bpf.o)
SKELETONS := $(BPF_SOURCES:bpf/%.bpf.c=build/bpf/%.skel.h)
UNIT_TESTS := $(UNIT_SOURCES:%.c=$(B)/%)
BPF_TESTS := $(BPF_TEST_SOURCES:%.c=$(B)/%)
BENCHES := $(BENCH_SOURCES:%.c=$(B)/%)
# Other programs of tests/bench: backends and load generators.
BENCH_TOOL_SOURCES := $(filter-out $(BENCH_SOURCES),$(wildcard tests/bench/*.c))
BENCH_TOOLS := $(BENCH_TOOL_SOURCES:%.c=$(B)/%)
# The programs that the kernel part is measured beside.
BENCH_BPF_SOURCES := $(wildcard tests/bench/bpf/*.bpf.c)
BENCH_XDP_SOURCES := $(wildcard tests/bench/xdp/*.c)
BENCH_SKELETONS := $(BENCH_BPF_SOURCES:tests/bench/bpf/%.bpf.c=build/bpf/bench/%.skel.h)
SUPPORT := $(if $(SUPPORT_SOURCES),$(B)/tests/libsupport.a)
FUZZERS := $(FUZZ_SOURCES:tests/fuzz/%.c=build/fuzz/%)
FUZZ_LIB := build/fuzz/libsluice.a
FUZZ_OBJECTS := $(LIB_OBJECTS:$(B)/%=build/fuzz/%)

ifeq ($(V),1)
Q :=
say = @:
else
Q := @
say = @printf '  %-8s%s\n' '$(1)' '$(2)'
MAKEFLAGS += --no-print-directory
endif

.PHONY: all
all: ## Build sluiced, sluice and the BPF programs (the default)
all: $(LIB) $(PROGRAMS) $(BPF_OBJECTS) $(SKELETONS)

.PHONY: help
help: ## Show this list
	@sed -nE 's/^([a-z-]+): ## (.*)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS=$$'\t' read -r target text; do printf '  %-12s %s\n' "$$target" "$$text"; done
	@echo 'Variables: V=1, SANITIZER=address|undefined|thread, ONLY="base conf", KEEP=1 (demo),'
	@echo '  PREFIX and DESTDIR (install), TESTS="a b" (names, for test-*),'
	@echo '  BENCH_OPTIONS="--quick --cases small" (for bench-http and bench-xdp)'

.PHONY: demo
demo: ## Install what is needed, build, and show Sluice at work in network namespaces
	@scripts/setup
	@$(MAKE) all
	@KEEP=$(KEEP) scripts/demo

.PHONY: check
check: ## Install what is needed, build, and run every test (some minutes)
	@scripts/setup
	@tests/run check

.PHONY: check-long
check-long: ## All of check, under the sanitizers and both engines, with full counts
	@scripts/setup
	@tests/run check-long

.PHONY: test-unit
test-unit: ## Unit tests of userspace/
test-unit: $(UNIT_TESTS)
	@tests/run unit

.PHONY: test-bpf
test-bpf: ## BPF programs on made packets (root)
test-bpf: $(BPF_TESTS) $(BPF_OBJECTS)
	@tests/run bpf

.PHONY: test-int
test-int: ## Whole daemon in network namespaces (root)
test-int: all bench-tools
	@tests/run int

.PHONY: test-cli
test-cli: ## The sluice command (root)
test-cli: all
	@tests/run cli

.PHONY: test-vm
test-vm: ## BPF programs, a first request and kTLS on Debian's 6.1 and 6.12 kernels, emulated
test-vm: all $(BPF_TESTS) $(filter $(B)/tests/unit/tls/%,$(UNIT_TESTS))
	@tests/run vm

.PHONY: fuzz-smoke
fuzz-smoke: ## Each fuzz target for a short time
fuzz-smoke: fuzzers
	@tests/run fuzz

.PHONY: lint
lint: ## Layer law, file lengths, formatting, scripts
	@tests/run lint

.PHONY: bench
bench: ## Run the benchmarks of tests/bench
bench: all $(BENCHES) $(BENCH_TOOLS)
	@scripts/bench $(BENCHES)

.PHONY: bench-http
bench-http: ## Sluice, nginx and haproxy beside each other over HTTP/1 (root)
bench-http: all $(BENCH_TOOLS)
	@tests/bench/bench_http.py $(BENCH_OPTIONS)

.PHONY: bench-gateway
bench-gateway: ## What each policy adds to a request (root)
bench-gateway: all $(BENCH_TOOLS)
	@tests/bench/bench_gateway.py $(BENCH_OPTIONS)

.PHONY: bench-xdp
bench-xdp: ## The kernel part beside reference programs and nftables (root)
bench-xdp: all $(BENCH_TOOLS)
	@tests/bench/bench_xdp.py $(BENCH_OPTIONS)

.PHONY: coverage
coverage: ## Lines of userspace/ that the unit tests reach
	@$(MAKE) SANITIZER=coverage unit-tests
	@scripts/coverage build/coverage

.PHONY: unit-tests bpf-tests bench-tools fuzzers tests
unit-tests: $(UNIT_TESTS)
bpf-tests: $(BPF_TESTS)
bench-tools: $(BENCH_TOOLS)
fuzzers: $(FUZZERS)
tests: unit-tests bpf-tests bench-tools

.PHONY: install
install: ## Install to DESTDIR and PREFIX
install: all
	@scripts/install '$(SLUICE_BUILD)' '$(DESTDIR)' '$(PREFIX)'

.PHONY: clean
clean: ## Remove what was built (but not the kernels for test-vm: rm -r build)
	@rm -f vmlinux.h
	@[[ ! -d build ]] || find build -mindepth 1 -maxdepth 1 ! -name kernels -exec rm -rf {} +

# Flags: what was built with others is built again.
$(B)/flags: always
	@mkdir -p $(@D)
	@pkg-config --print-errors --exists $(PACKAGES) || { \
		echo 'libraries are missing: run scripts/setup' >&2; exit 1; }
	$(call stamp,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))

build/bpf/flags: always
	@mkdir -p $(@D)
	$(call stamp,$(CLANG) $(BPF_CFLAGS))

build/fuzz/flags: always
	@mkdir -p $(@D)
	$(call stamp,$(CLANG) $(FUZZ_CFLAGS))

$(B)/version: always
	@mkdir -p $(@D)
	$(call stamp,$(VERSION))

.PHONY: always
stamp = @[[ -f $@ && "$$(< $@)" == '$(1)' ]] || echo '$(1)' > $@

# $(call into,COMMAND): COMMAND writes $$out, which becomes the target when all is well.
into = $(Q)mkdir -p $(@D) && out=$@.$$$$ && { { $(1); } && mv -f $$out $@ || \
	{ rm -f $$out $$out.d; false; }; }
compile = $(call into,$(1) -MMD -MP -MF $$out.d -MT $@ -c $< -o $$out && mv -f $$out.d $(@:.o=.d))

# BPF.
vmlinux.h: | build/bpf/flags
	$(call say,BTF,$@)
	@[[ -r /sys/kernel/btf/vmlinux ]] || { \
		echo 'this kernel has no BTF (/sys/kernel/btf/vmlinux): vmlinux.h cannot be made' >&2; exit 1; }
	$(call into,$(BPFTOOL) btf dump file /sys/kernel/btf/vmlinux format c > $$out)

build/bpf/%.bpf.o: bpf/%.bpf.c vmlinux.h build/bpf/flags
	$(call say,BPF,$@)
	$(call compile,$(CLANG) $(BPF_CFLAGS))
	@$(STRIP_BPF) -g $@

build/bpf/bench/%.bpf.o: tests/bench/bpf/%.bpf.c vmlinux.h build/bpf/flags
	$(call say,BPF,$@)
	$(call compile,$(CLANG) $(BPF_CFLAGS))
	@$(STRIP_BPF) -g $@

# struct NAME_bpf, NAME_bpf__open(), ...
build/bpf/%.skel.h: build/bpf/%.bpf.o
	$(call say,SKEL,$@)
	$(call into,$(BPFTOOL) gen skeleton $< name $(notdir $*)_bpf > $$out)

# Userspace. The first compilation needs the skeletons; afterwards the .d files know who uses them.
$(B)/obj/llhttp/%.o: /usr/share/llhttp/%.c $(B)/flags
	$(call say,CC,$@)
	$(call compile,$(CC) $(LLHTTP_CFLAGS) $(HARDEN_CFLAGS) $(VARIANT_CFLAGS))

$(call objects,$(BENCH_XDP_SOURCES) $(filter tests/bench/xdp_%,$(BENCH_TOOL_SOURCES))): | \
	$(BENCH_SKELETONS)
$(B)/tests/bench/xdp_time $(B)/tests/bench/xdp_live: $(call objects,$(BENCH_XDP_SOURCES))

$(B)/obj/tests/%.o: tests/%.c $(B)/flags | $(SKELETONS)
	$(call say,CC,$@)
	$(call compile,$(CC) $(ALL_CFLAGS) -I. -Itests/unit)

$(B)/obj/tools/%.o: tools/%.c $(B)/flags | $(SKELETONS)
	$(call say,CC,$@)
	$(call compile,$(CC) $(ALL_CFLAGS) -I. -DSLUICE_VERSION='"$(VERSION)"')

$(B)/obj/%.o: %.c $(B)/flags | $(SKELETONS)
	$(call say,CC,$@)
	$(call compile,$(CC) $(ALL_CFLAGS) -DSLUICE_VERSION='"$(VERSION)"')

VERSIONED := $(shell grep -ls SLUICE_VERSION userspace/main.c $(LIB_SOURCES) $(TOOL_SOURCES))
$(call objects,$(VERSIONED)): $(B)/version

archive = $(call into,ar rcs $$out $(filter %.o,$^))
# LINK_LIBS come last; the tests add cmocka.
link = $(call into,$(1) -o $$out $(filter %.o,$^) $(filter %.a,$^) $(LINK_LIBS) $(ALL_LIBS))

$(LIB): $(LIB_OBJECTS)
	$(call say,AR,$@)
	$(archive)

$(B)/tests/libsupport.a: $(call objects,$(SUPPORT_SOURCES))
	$(call say,AR,$@)
	$(archive)

$(B)/sluiced: $(B)/obj/userspace/main.o $(LIB)
	$(call say,LINK,$@)
	$(call link,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))

$(B)/sluice: $(call objects,$(TOOL_SOURCES)) $(LIB)
	$(call say,LINK,$@)
	$(call link,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))

# Without the tests' own malloc, which can be told to fail.
$(B)/tests/bench/%: $(B)/obj/tests/bench/%.o $(LIB)
	$(call say,LINK,$@)
	$(call link,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))

$(B)/tests/%: LINK_LIBS := -lcmocka
$(B)/tests/%: $(B)/obj/tests/%.o $(SUPPORT) $(LIB)
	$(call say,LINK,$@)
	$(call link,$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS))

# Fuzzing: clang, coverage feedback and the address sanitizer in the library too.
build/fuzz/obj/llhttp/%.o: /usr/share/llhttp/%.c build/fuzz/flags
	$(call say,FUZZCC,$@)
	$(call compile,$(CLANG) $(LLHTTP_CFLAGS) -O1 -fsanitize=fuzzer-no-link$(comma)address)

build/fuzz/obj/%.o: %.c build/fuzz/flags | $(SKELETONS)
	$(call say,FUZZCC,$@)
	$(call compile,$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link$(comma)address \
		-DSLUICE_VERSION='"fuzz"')

$(FUZZ_LIB): $(FUZZ_OBJECTS)
	$(call say,AR,$@)
	$(archive)

build/fuzz/fuzz_%: build/fuzz/obj/tests/fuzz/fuzz_%.o $(FUZZ_LIB)
	$(call say,LINK,$@)
	$(call link,$(CLANG) $(FUZZ_CFLAGS) -fsanitize=fuzzer$(comma)address)

-include $(shell find $(B)/obj build/fuzz/obj build/bpf -name '*.d' 2>/dev/null)
