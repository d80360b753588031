"""
The errors that every object and command has in common, for all that `sluice help` lists: with -j
exactly one JSON document and nothing else, otherwise one line on standard error that says what to
do next. A new object or command is walked here without being named.
"""
import os
import re
import subprocess

import pytest

from conftest import SLUICE, run_sluice

NOWHERE = {"SLUICE_SOCKET": "/nonexistent/admin.sock", "SLUICE_BPFFS": "/nonexistent/bpffs",
           "SLUICE_STATE_DIR": "/nonexistent/state"}
# What a value name of a grammar may stand for, so that its place is taken.
VALUES = {"CIDR": "203.0.113.0/24", "DURATION": "1s", "N": "1", "SEQ": "1", "URL": "/",
          "METHOD": "GET", "ADDR": "192.0.2.1", "ADDRESS": "192.0.2.1"}
NEXT_STEP = (r"did you mean '|expected |see 'sluice [a-z]+ help'|needs a (name and a )?value: [a-z]+ |is given twice|"
             r"is ambiguous: '|start sluiced|write it as|run as root|'sluice [a-z]+|says which|"
             r"give them with|name it: "
             # What was wrong leaves one thing to do.
             r"|there is no interface|is not an? |No such file|nothing is attached")


def help_of(*words):
    return run_sluice([*words, "help"], env=NOWHERE).out


def objects():
    if not os.access(SLUICE, os.X_OK):
        return []
    listed = re.search(r"OBJECT := \{(.*?)\}", help_of(), re.S)[1]
    return re.findall(r"[a-z]+", listed)


def grammar(name):
    """(command, values before the keys, {key: number of its values}) of each line of the help."""
    for line in help_of(name).split("\n\n")[0].replace("Usage: ", "").split("sluice [OPTIONS] ")[1:]:
        words = re.sub(r"\{[^{}]*\}", "CHOICE", " ".join(line.split()[1:]))
        words = re.findall(r"[A-Za-z0-9-]+", words)
        values, keys, last = [], {}, None
        for word in words[1:]:
            if word.islower():
                last = word
                keys[last] = 0
            elif last:
                keys[last] += 1
            else:
                values.append(word)
        yield words[0], values, keys


OBJECTS = objects()
COMMANDS = [pytest.param(name, *line, id=f"{name} {line[0]}") for name in OBJECTS
            for line in grammar(name) if line[0] != "help"]


def walk(words, status, pattern=NEXT_STEP, **more):
    """Both forms of the error of these words. status None: any but 0."""
    doc = run_sluice(["-j", *words], env=NOWHERE, **more)
    assert doc.json_error and doc.status == status or (status is None and doc.status), doc
    text = run_sluice(words, env=NOWHERE, **more)
    assert text.text_error and text.status == doc.status, text
    assert re.search(pattern, text.err), text
    assert re.search(pattern, doc.json_error), doc


def test_the_help_is_walked():
    assert {"status", "deny", "map", "prog", "batch"} <= set(OBJECTS)
    assert len(COMMANDS) > 2 * len(OBJECTS) - 5


@pytest.mark.parametrize("name", OBJECTS)
def test_unknown_commands(name):
    walk([name, "xyzzy"], 2, "expected '")
    for command, _, _ in grammar(name):
        if len(command) > 3:
            walk([name, command[:-2] + command[-1] + command[-2] + "x"], 2, "did you mean '|expected '")


@pytest.mark.parametrize("name", OBJECTS)
def test_beginnings_of_names(name):
    for length in range(1, len(name) + 1):
        word = name[:length]
        meant = [other for other in [*OBJECTS, "help"] if other.startswith(word)]
        if word in meant or len(meant) == 1:
            assert run_sluice([word, "help"], env=NOWHERE).out == help_of(word if word in meant
                                                                         else name)
        else:
            walk([word], 2, f"object '{word}' is ambiguous: '{meant[0]}'")


@pytest.mark.parametrize("name", OBJECTS)
def test_beginnings_of_commands(name):
    commands = list(dict.fromkeys(command for command, _, _ in grammar(name)))
    if "show" in commands:
        commands.insert(1, "list")
    for command in commands:
        for length in range(1, len(command)):
            word = command[:length]
            meant = [other for other in commands if other.startswith(word)]
            if len(meant) > 1 and word not in meant:
                walk([name, word], 2, f"command '{word}' is ambiguous: '")


def arguments(values):
    return [VALUES.get(value, "x") for value in values]


@pytest.mark.parametrize("name, command, values, keys", COMMANDS)
def test_arguments_too_few_and_too_many(name, command, values, keys):
    for count in range(len(values)):
        walk([name, command, *arguments(values)[:count]], 2)
    if not any(value.endswith("S") or value == "ADDR" for value in values):
        # Some take a value without its key, and refuse that one.
        walk([name, command, *arguments(values), "xyzzy"], None if keys else 2)
    walk([name, command, *arguments(values), "", "", ""], 2)


@pytest.mark.parametrize("name, command, values, keys", COMMANDS)
def test_keys_without_value_and_twice(name, command, values, keys):
    for key, count in keys.items():
        if count:
            walk([name, command, *arguments(values), key], 2)
    for key, count in keys.items():
        given = [key, *["x"] * count]
        walk([name, command, *arguments(values), *given, *given, "xyzzy"], 2)


@pytest.mark.parametrize("name, command, values, keys", COMMANDS)
def test_without_daemon_and_pins(name, command, values, keys):
    words = [name, command, *arguments(values)]
    for key, count in keys.items():
        words += [key, *["1" if key in ("last", "since", "count", "key") else "x"] * count]
    for form in ([], ["-j"]):
        result = run_sluice([*form, *words], env=NOWHERE)
        if result.status == 0: # what needs neither
            assert result.err == "" and "error" not in (result.json if form else {})
        elif form:
            assert result.json_error
        else:
            assert re.search(NEXT_STEP, result.text_error), result


@pytest.mark.parametrize("name", OBJECTS)
def test_closed_standard_output(name):
    """Nothing is written into whatever got its number, and it is an error."""
    shell = ["sh", "-c", 'exec "$@" >&-', "sh"]
    for words in ([name, "help"], ["-j", name, "help"], ["-j", name, "xyzzy"]):
        result = run_sluice(words, env=NOWHERE, prefix=shell, stdout=None)
        assert result.status in (1, 2)
        assert result.err == "Error: cannot write the output: Bad file descriptor\n", result
        with open("/dev/full", "wb") as full:
            result = run_sluice(words, env=NOWHERE, stdout=full)
        assert result.status in (1, 2)
        assert result.err == "Error: cannot write the output: No space left on device\n"


def test_a_closed_standard_output_is_not_written_into_the_lock(tmp_path):
    """The first file that the command opens would get the number of the closed one."""
    state = tmp_path / "state"
    env = {**NOWHERE, "SLUICE_STATE_DIR": str(state), "SLUICE_BPFFS": "/sys/fs"}
    result = run_sluice(["-j", "prog", "unload"], env=env, prefix=["sh", "-c", 'exec "$@" >&- 2>&-', "sh"],
                        stdout=None)
    assert result.status in (1, 2)
    for path in state.glob("*"):
        assert re.fullmatch(r"\d*\n?", path.read_text(encoding="ascii")), path


@pytest.mark.parametrize("name", OBJECTS)
def test_nobody_gets_one_error_too(name):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give it up")
    drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    with open(SLUICE, "rb") as file:
        # Through its descriptor: the build may lie where nobody cannot go.
        binary = f"/proc/self/fd/{file.fileno()}"
        result = subprocess.run([*drop, binary, "-j", name], env={**os.environ, **NOWHERE},
                                capture_output=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
                                pass_fds=[file.fileno()])
    assert result.stderr == b"" and result.stdout.count(b"\n") == 1
    assert (b'{"error":' in result.stdout) == (result.returncode != 0)
