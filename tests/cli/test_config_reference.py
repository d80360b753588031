"""docs/reference/configuration.md against the program: its examples load, and it names every key."""
import glob
import os
import re
import shutil
import subprocess
import tempfile

import pytest

from conftest import SLUICED, TOP

REFERENCE = os.path.join(TOP, "docs", "reference", "configuration.md")


def reference():
    with open(REFERENCE, encoding="utf-8") as file:
        return file.read()


@pytest.fixture
def check():
    """Runs `sluiced --check` on a text, in a directory that node.user can read."""
    directory = tempfile.mkdtemp(prefix="sluice-reference-")
    os.chmod(directory, 0o755)
    os.mkdir(os.path.join(directory, "assets"))

    def run(text):
        for name, content in (("sluice.yaml", text), ("deny.txt", "192.0.2.1\n")):
            with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
                file.write(content)
        environment = {key: value for key, value in os.environ.items() if key != "SLUICE_IO"}
        return subprocess.run([SLUICED, "--check", "sluice.yaml"], cwd=directory, text=True,
                              capture_output=True, timeout=120, check=False, env=environment)

    yield run
    shutil.rmtree(directory)


def examples():
    return re.findall(r"^```yaml\n(.*?)^```$", reference(), re.MULTILINE | re.DOTALL)


def test_first_example_is_a_whole_configuration(check):
    done = check(examples()[0])
    assert done.returncode == 0, done.stderr


def sections():
    return [each for each in examples() if not each.startswith("version:")]


def test_each_whole_example_is_accepted(check):
    whole = [each for each in examples() if each.startswith("version:")]
    assert len(whole) == 2
    for each in whole:
        done = check(each)
        assert done.returncode == 0, done.stderr


def test_examples_of_the_sections_make_one_configuration(check):
    assert len(sections()) == 7
    done = check("version: 1\n" + "".join(sections()))
    assert done.returncode == 0, done.stderr


def test_effective_configuration_prints_itself(check):
    first = check("version: 1\n" + "".join(sections()))
    second = check(first.stdout)
    assert second.returncode == 0, second.stderr
    assert second.stdout == first.stdout


def test_all_errors_are_printed_and_the_exit_status_says_so(check):
    done = check("version: 1\nnode: { workers: 0 }\nlisteners: [ { name: A } ]\ncaches: [ 1 ]\n")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "sluice.yaml:2:18: node: workers: must be 1 to 256, got '0'",
        "sluice.yaml:3:14: listener 'A': 'address' is required",
        "sluice.yaml:3:22: listener 'A': a name has 1 to 63 of the letters a-z, digits, '-' and "
        "'_', and begins with a letter or digit",
        "sluice.yaml:4:1: 'caches' is not supported yet",
    ]


def test_every_key_of_the_tables_is_described():
    text = reference()
    keys = set()
    for pattern in ("userspace/config/*.c", "userspace/*/*_config.c"):
        for path in glob.glob(os.path.join(TOP, pattern)):
            with open(path, encoding="utf-8") as file:
                keys.update(re.findall(r'\.key = "([^"]+)"', file.read()))
    assert len(keys) > 80
    words = set(re.findall(r"[a-z0-9_]+", " ".join(re.findall(r"`[^`\n]+`", text))))
    words.update(re.findall(r"^#+ ([a-z]+)$", text, re.MULTILINE))
    assert keys <= words, sorted(keys - words)


def test_keys_described_as_not_supported_are_refused_as_such(check):
    rows = {
        "node": "node: {{ {key}: x }}",
        "dataplane": "dataplane: {{ {key}: x }}",
        "top": "{key}: [ x ]",
    }
    section = reference().split("## Not supported yet")[1]
    tried = 0
    for line in section.splitlines():
        cells = [cell.strip(" `") for cell in line.split("|")]
        if len(cells) < 4 or cells[1] not in rows:
            continue
        for key in re.findall(r"[a-z_]+", cells[2]):
            done = check("version: 1\n" + rows[cells[1]].format(key=key) + "\n")
            assert f"'{key}' is not supported yet" in done.stderr, (key, done.stderr)
            tried += 1
    assert tried >= 7
