"""scripts/lint finds each kind of breach, with its place, and lets clean trees pass."""
import os
import subprocess

import pytest

LINT = os.path.join(os.path.dirname(__file__), "../../scripts/lint")
FORMAT = os.path.join(os.path.dirname(__file__), "../../.clang-format")

CLEAN = {
    "userspace/base/str.h": "int str_len(const char *text);\n",
    "userspace/http/route.c": '#include "base/str.h"\n#include "upstream/pool.h"\n',
    "userspace/upstream/pool.h": '#include "base/str.h"\n',
    "userspace/kern/load.c": '#include "abi/limits.h"\n#include "xdp_main.skel.h"\n',
    "userspace/main.c": '#include "control/admin.h"\n#include "http/route.h"\n',
    "include/abi/limits.h": "#include <linux/types.h>\n",
    "tools/deny.c": '#include "cli.h"\n#include "kern/load.h"\n',
    "bpf/xdp_main.bpf.c": '#include "vmlinux.h"\n#include "lib/parse.h"\n#include "abi/limits.h"\n',
    "bpf/lib/parse.h": "struct cursor;\n",
    "scripts/go": '#!/bin/bash\necho "$1"\n',
    "tests/test_it.py": "assert True\n",
}


def lint(root, files):
    with open(FORMAT, encoding="utf-8") as file:
        files = dict(files, **{".clang-format": file.read()})
    for path, text in files.items():
        full = root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
    result = subprocess.run([LINT, "--root", str(root)], capture_output=True, text=True,
                            check=False)
    return result.returncode, result.stdout


def test_a_clean_tree_passes(tmp_path):
    status, output = lint(tmp_path, CLEAN)
    assert status == 0, output
    assert "not ok" not in output


# rule, file, text, what the message must hold
BREACHES = [
    ("layers", "userspace/base/log.c", '\n#include "http/route.h"\n',
     "userspace/base/log.c:2: base/ may include base/; not 'http/route.h'"),
    ("layers", "userspace/io/loop.c", '#include "kern/load.h"\n',
     "userspace/io/loop.c:1: io/ may include io/, base/; not 'kern/load.h'"),
    ("layers", "userspace/upstream/pool.c", '#include "cache/store.h"\n', "'cache/store.h'"),
    ("layers", "userspace/config/load.c", '#include "control/admin.h"\n', "'control/admin.h'"),
    ("layers", "userspace/base/abi.c", '#include "abi/limits.h"\n', "'abi/limits.h'"),
    ("layers", "userspace/http/exchange.c", '#include "xdp_main.skel.h"\n', "kern/ only"),
    ("layers", "userspace/io/near.c", '#include "loop.h"\n', "'loop.h'"),
    ("layers", "include/abi/maps.h", '#include "base/str.h"\n', "'base/str.h'"),
    ("layers", "bpf/sk_lookup.bpf.c", '#include "base/str.h"\n', "'base/str.h'"),
    ("layers", "tools/conn.c", '#include "http/route.h"\n', "'http/route.h'"),
    ("layers", "userspace/misc/thing.c", "int thing;\n", "userspace/misc/ is not in"),
    ("length", "userspace/base/long.c", "int row;\n" * 801,
     "userspace/base/long.c:801: 801 lines, the limit is 800"),
    ("format", "userspace/base/ugly.c", "int  ugly( void );\n", "userspace/base/ugly.c:1:"),
    ("words", "userspace/base/later.c", "/* TO" "DO: all of it */\n",
     "userspace/base/later.c:1: 'TO" "DO' marks"),
    ("words", "Makefile", "# FIX" "ME\n", "Makefile:1:"),
    ("shell", "scripts/broken.sh", "#!/bin/bash\nif true; then\n", "scripts/broken.sh"),
    ("python", "tests/broken.py", "def broken(:\n", "tests/broken.py:1:"),
    ("python", "tests/unused.py", "import os\n", "'os' imported but unused"),
]


@pytest.mark.parametrize("rule,path,text,message", BREACHES,
                         ids=["%s-%s" % (row[0], os.path.basename(row[1])) for row in BREACHES])
def test_a_breach_is_found(tmp_path, rule, path, text, message):
    status, output = lint(tmp_path, dict(CLEAN, **{path: text}))
    assert status == 1
    assert message in output
    assert [line for line in output.splitlines() if line.startswith("not ok")] == ["not ok " + rule]


def test_the_limit_itself_is_allowed(tmp_path):
    status, output = lint(tmp_path, dict(CLEAN, **{"userspace/base/long.c": "int row;\n" * 800}))
    assert status == 0, output
