"""The pages, the man pages and the completion say what the command does."""
import os
import re
import shutil
import subprocess

import pytest

from conftest import BUILD, TOP

OBJECTS = ["status", "service", "backend", "deny", "allow", "route", "upstream", "stats", "event", "config", "cert", "prog",
           "decap", "map", "batch", "version"]
PAGES = sorted(os.listdir(os.path.join(TOP, "docs/cli")))
MAN_PAGES = sorted(os.listdir(os.path.join(TOP, "docs/man")))


def read(*parts):
    with open(os.path.join(TOP, *parts), encoding="utf-8") as file:
        return file.read()


def examples(page):
    """(command words, expected output) of each `$ sluice` line in the console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", read("docs/cli", page), re.S):
        for part in re.split(r"^\$ sluice ", block, flags=re.M)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_the_page_print_what_it_says(sluice, page):
    version = sluice("-jV").json["version"]
    for command, expected in examples(page):
        result = sluice(*command.split())
        assert (result.out + result.err).replace(version, "VERSION") == expected, command


def grammar(sluice, name):
    """The lines of `sluice NAME help` that begin with the command."""
    lines = sluice(name, "help").out.splitlines()
    return [line.replace("Usage: ", "").strip() for line in lines if "sluice [OPTIONS]" in line]


@pytest.mark.parametrize("name", OBJECTS)
def test_page_and_manual_have_the_grammar(sluice, name):
    manual = render(f"sluice-{name}.8")
    page = read("docs/cli", f"{name}.md")
    lines = grammar(sluice, name)
    assert len(lines) >= 2
    for line in lines:
        assert line + "\n" in page
        assert line in manual


def test_every_option_is_documented(sluice):
    manual, readme = render("sluice.8"), read("docs/cli/README.md")
    options = set(re.findall(r"--[a-z-]+", sluice("help").out))
    assert len(options) == 10
    for option in options:
        assert option in manual and option in readme, option


def render(name):
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    env = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "100", "MAN_KEEP_FORMATTING": ""}
    result = subprocess.run(["man", "--warnings", "-l", os.path.join(TOP, "docs/man", name)],
                            env=env, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return re.sub(r".\x08", "", result.stdout).replace("\u2010", "-")


def test_there_is_a_manual_for_each_object():
    assert set(MAN_PAGES) == {"sluice.8", "sluiced.8"} | {f"sluice-{name}.8" for name in OBJECTS}


@pytest.mark.parametrize("page", MAN_PAGES)
def test_manual_has_no_warnings(page):
    assert "NAME\n" in render(page)


def test_every_kind_of_event_is_described_as_it_is():
    kinds = re.findall(r'X\([A-Z_]+, "([a-z_]+)", ([A-Z]+), "(.*?)"\)',
                       read("userspace/base/event.h"))
    levels = {"ERROR": "error", "WARN": "warning", "INFO": "info"}
    assert len(kinds) >= 12
    rows = set(re.findall(r"^\| `([a-z_]+)` \| ([a-z]+) \|", read("docs/cli/event.md"), re.M))
    assert rows == {(name, levels[level]) for name, level, _ in kinds}


COMPLETION = os.path.join(TOP, "tools/completion/sluice.bash")


def complete(words, env=None):
    script = ('. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sluice; '
              '((${#COMPREPLY[@]} == 0)) || printf "%s\\n" "${COMPREPLY[@]}"')
    full_env = {**os.environ, "PATH": BUILD + ":" + os.environ["PATH"], **(env or {})}
    result = subprocess.run(["bash", "-u", "-c", script, "bash", COMPLETION, "sluice", *words],
                            env=full_env, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0 and result.stderr == "", result.stderr
    return result.stdout.split()


@pytest.mark.parametrize("words, expected", [
    ([""], OBJECTS + ["help"]), (["d"], ["deny", "decap"]), (["-j", "st"], ["status", "stats"]),
    (["--socket", "/x", "up"], ["upstream"]),
    (["deny", ""], ["show", "list", "add", "delete", "load", "export", "count", "counters", "help",
                    "cidr", "prefix", "within", "from", "reason"]),
    (["deny", "load", ""], ["file", "replace", "dry-run", "reason", "ttl"]),
    (["deny", "load", "file", "x", "replace", "d"], ["dry-run"]),
    (["deny", "from", ""], ["config", "cli"]), (["allow", "export", ""], ["file", "from"]),
    (["allow", "a"], ["add"]), (["config", ""], ["show", "list", "reload", "check", "help"]),
    (["prog", "u"], ["unload"]),
    (["decap", ""], ["show", "list", "attach", "detach", "help"]),
    (["decap", "attach", ""], ["dev", "address", "source"]), (["decap", "detach", ""], ["dev"]),
    (["decap", "attach", "dev", "l"], ["lo"]), (["decap", "attach", "address", ""], []),
    (["decap", "attach", "address", "192.0.2.1", "a"], ["address"]),
    (["deny", "add", ""], []), (["b"], ["backend", "batch"]),
    (["service", ""], ["show", "list", "add", "delete", "nat", "counters", "help", "name"]),
    (["service", "add", ""], []), (["service", "add", "web", "p"], ["ports", "protocol", "probe", "port"]),
    (["service", "add", "web", "protocol", ""], ["tcp", "udp", "any"]),
    (["service", "add", "web", "forward", ""], ["ipip", "nat"]),
    (["service", "nat", "state", "e"], ["established"]),
    (["backend", "drain", "10.0.0.1", ""], ["service", "port"]),
    (["backend", "weight", "10.0.0.1", ""], ["service", "port", "weight"]),
    (["deny", "add", "203.0.113.7", ""], ["reason", "ttl"]),
    (["deny", "add", "203.0.113.7", "ttl", "1"], ["100ms", "1s", "10s", "1m", "10m", "1h"]),
    (["config", "check", ""], ["file"]), (["route", "show", ""], ["name"]),
    (["stats", ""], ["show", "list", "watch", "help", "interval"]),
    (["stats", "watch", ""], ["interval", "count"]), (["event", "w"], ["watch"]),
    (["event", "show", ""], ["last", "since"]), (["event", "show", "last", ""], []),
    (["route", "e"], ["explain"]), (["route", "explain", "P"], ["POST", "PUT", "PATCH"]),
    (["route", "explain", "GET", ""], []),
    (["route", "explain", "GET", "/", ""], ["header", "listener"]),
    (["route", "explain", "GET", "/", "header", ""], []),
    (["route", "explain", "GET", "/", "header", "x-a", ""], []),
    (["route", "explain", "GET", "/", "header", "x-a", "b", ""], ["header", "listener"]),
    (["--so"], ["--socket"]), (["status", "--p"], ["--pretty"]), (["help", "ro"], ["route"]),
])
def test_completion(words, expected):
    assert sorted(complete(words)) == sorted(expected)


def test_completion_of_names_asks_the_daemon(sluice, places):
    assert complete(["route", "name", ""], places) == ["cart", "health", "to-https"]
    assert complete(["--socket", places["SLUICE_SOCKET"], "upstream", "name", "s"]) == ["search"]


def test_completion_knows_every_option(sluice):
    known = complete(["-"])
    for option in re.findall(r"(?<![\w-])--?[a-zA-Z][a-z-]*", sluice("help").out.split(":=")[-1]):
        assert option in known, option


def test_every_object_of_the_help_is_documented_and_completed(sluice):
    listed = re.search(r"OBJECT := \{(.*?)\}", sluice("help").out, re.S)[1]
    assert sorted(re.findall(r"[a-z]+", listed)) == sorted(OBJECTS)
    assert sorted(complete([""])) == sorted(OBJECTS + ["help"])


def commands_of(sluice, name):
    """(command, number of arguments before the keys, keys) of each line of the grammar."""
    for line in grammar(sluice, name):
        words = re.sub(r"\{[^}A-Z]*\}", "X", line.split(f"sluice [OPTIONS] {name} ")[1])
        words = re.findall(r"[A-Za-z0-9-]+", words)
        keys = [word for word in words[1:] if word.islower()]
        before = words[1:words.index(keys[0])] if keys else words[1:]
        yield words[0], len(before), keys


@pytest.mark.parametrize("name", OBJECTS)
def test_completion_knows_every_command_and_key(sluice, name):
    commands = list(commands_of(sluice, name))
    assert len(commands) > 1
    for command, before, keys in commands:
        assert command in complete([name, ""]), command
        assert command in complete([name, command[:2]])
        for key in keys:
            assert key in complete([name, command, *["x"] * before, ""]), (command, key)
            assert key in complete([name, command, *["x"] * before, key[:1]]), (command, key)
