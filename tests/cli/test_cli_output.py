"""What the commands ask the daemon and print when all is well."""
import json
import os
import shutil
import subprocess

import pytest

import answers
from conftest import SLUICE, run_sluice
from fake_admin import FakeAdmin, error, http

SHOWS = {
    ("status",): answers.STATUS, ("deny",): answers.DENY, ("allow",): answers.ALLOW,
    ("deny", "counters"): answers.COUNTERS, ("allow", "counters"): answers.COUNTERS,
    ("route",): answers.ROUTES, ("upstream",): answers.UPSTREAMS, ("config",): answers.CONFIG,
    ("event",): answers.EVENTS,
}


@pytest.mark.parametrize("command", SHOWS, ids=" ".join)
def test_json_is_the_document_of_the_daemon(sluice, command):
    result = sluice("-j", *command)
    doc = result.json
    doc.pop("daemon", None)
    assert doc == SHOWS[command]
    assert result.status == 0 and result.out.count("\n") == 1
    pretty = sluice("-p", *command)
    assert json.loads(pretty.out) == result.json
    assert pretty.out.startswith('{\n  "')


def test_members_of_a_newer_daemon_are_in_the_json(sluice, admin):
    admin.script[("GET", "/v1/routes")] = {**answers.ROUTES, "weather": {"sun": 1}}
    assert sluice("-j", "route").json["weather"] == {"sun": 1}
    assert sluice("route").out == run_plain(sluice, admin, "route")


def run_plain(sluice, admin, *command):
    admin.script.clear()
    return sluice(*command).out


@pytest.mark.parametrize("words", [
    ["status"], ["status", "show"], ["status", "list"], ["statu"], ["statu", "s"], ["status", "l"]])
def test_show_is_list_is_the_default_and_prefixes_work(sluice, words):
    assert sluice("-j", *words).json["pid"] == 4242


@pytest.mark.parametrize("words, request_line, body", [
    (["den", "a", "203.0.113.7", "r", "scanner", "t", "1h"], "POST /v1/deny",
     {"cidr": "203.0.113.7/32", "reason": "scanner", "ttl": "1h"}),
    (["deny", "add", "203.0.113.0/24", "ttl", "1h", "reason", "x y"], "POST /v1/deny",
     {"cidr": "203.0.113.0/24", "reason": "x y", "ttl": "1h"}),
    (["deny", "add", "cidr", "2001:DB8::/32"], "POST /v1/deny", {"cidr": "2001:db8::/32"}),
    (["deny", "add", "--", "203.0.113.7", "reason", "-x"], "POST /v1/deny",
     {"cidr": "203.0.113.7/32", "reason": "-x"}),
    (["al", "ad", "0.0.0.0/0"], "POST /v1/allow", {"cidr": "0.0.0.0/0"}),
    (["deny", "delete", "203.0.113.0/24"], "DELETE /v1/deny?cidr=203.0.113.0%2F24", None),
    (["deny", "del", "2001:db8::1"], "DELETE /v1/deny?cidr=2001%3Adb8%3A%3A1%2F128", None),
    (["allow", "d", "cidr", "1.2.3.4"], "DELETE /v1/allow?cidr=1.2.3.4%2F32", None),
    (["deny", "counters"], "GET /v1/counters", None),
    (["deny", "ci", "203.0.113.9"], "GET /v1/deny?format=text&cidr=203.0.113.9%2F32", None),
    (["deny"], "GET /v1/deny?format=text", None),
    (["deny", "within", "203.0.0.0/16", "from", "cl", "reason", "a b"],
     "GET /v1/deny?format=text&within=203.0.0.0%2F16&from=cli&reason=a%20b", None),
    (["allow", "count", "from", "config"], "GET /v1/allow/count?from=config", None),
    (["ro", "na", "cart"], "GET /v1/routes", None),
    (["ro", "ex", "GET", "http://a.example/b?c"], "POST /v1/routes/explain",
     {"method": "GET", "url": "http://a.example/b?c", "headers": []}),
    (["route", "explain", "PUT", "/", "h", "X-A", "b c", "listener", "web", "header", "x-a", ""],
     "POST /v1/routes/explain",
     {"method": "PUT", "url": "/", "listener": "web",
      "headers": [{"name": "X-A", "value": "b c"}, {"name": "x-a", "value": ""}]}),
    (["up"], "GET /v1/upstreams", None),
    (["ev"], "GET /v1/events?since=0&last=1024", None),
    (["e", "s", "l", "3", "s", "14"], "GET /v1/events?since=14&last=3", None),
    (["event", "watch", "last", "2", "count", "2"], "GET /v1/events?since=0&last=2", None),
    (["con", "rel"], "POST /v1/config/reload", None),
    (["conf", "ch"], "POST /v1/config/check", {}),
    (["conf", "ch", "f", "/dev/null"], "POST /v1/config/check", {"file": "/dev/null"}),
    (["v"], "GET /v1/version", None),
])
def test_command_asks_the_daemon(sluice, admin, words, request_line, body):
    result = sluice("-j", *words)
    assert result.status == 0, str(result)
    request, = admin.requests
    assert f"{request.method} {request.target}" == request_line
    assert request.fields["connection"] == "close" and request.fields["host"] == "sluice"
    assert (request.json if request.body else None) == body


def test_check_sends_the_whole_path(sluice, admin, tmp_path):
    (tmp_path / "my.yaml").write_text("version: 1\n")
    result = sluice("-j", "config", "check", "file", "my.yaml", cwd=tmp_path)
    assert result.json == {"valid": True, "file": str(tmp_path / "my.yaml"), "daemon": True}
    assert admin.requests[0].json == {"file": str(tmp_path / "my.yaml")}


def test_refused_configuration_lists_every_error_once(sluice, admin):
    lines = ["sluice.yaml:1:1: wrong", "sluice.yaml:2:3: wrong, too"]
    admin.script[("POST", "/v1/config/reload")] = error(422, lines[0], errors=lines)
    assert sluice("-j", "config", "reload").json == {"error": lines[0], "errors": lines}
    assert sluice("config", "reload").err == (
        f"Error: {lines[0]}\n  {lines[1]}\nThe configuration that was in force stays in force.\n")


def test_cidr_keeps_the_entries_that_hold_for_it(sluice, admin):
    admin.script[("GET", "/v1/deny")] = {"entries": [
        {"cidr": cidr} for cidr in ("10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "0.0.0.0/0",
                                    "10.2.0.0/16", "::/0", "a00::/8")]}
    entries = sluice("-j", "deny", "cidr", "10.1.0.0/16").json["entries"]
    assert [entry["cidr"] for entry in entries] == ["10.0.0.0/8", "10.1.0.0/16", "0.0.0.0/0"]


def test_text_of_a_document_cannot_move_the_cursor(sluice, admin):
    bad = "a\x1b[2Jb\r\n\x7f\u009bc\u00e9"
    admin.script[("GET", "/v1/routes")] = http(json.dumps(
        {"routes": [{"name": bad, "hosts": [bad]}]}).encode())
    out = sluice("route").out
    assert r"a\x1b[2Jb\x0d\x0a\x7f\xc2\x9bc" + "\u00e9" in out
    assert out.count("\n") == 2
    assert not set(out) & set("\x1b\r\x7f\u009b")


def test_columns_are_aligned_with_characters_not_bytes(sluice, admin):
    admin.script[("GET", "/v1/upstreams")] = {"upstreams": [
        {"name": name, "balance": "b", "endpoints": [{"address": "x"}]}
        for name in ("\u00e9\u00e9\u00e9", "aaa")]}
    lines = sluice("upstream").out.splitlines()
    assert [line.index(" b ") for line in lines[1:]] == [9, 9]


@pytest.mark.parametrize("value, text", [
    (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1048523, "1023.9 KiB"),
    (1048575, "1.0 MiB"), (1 << 30, "1.0 GiB"), ((1 << 63) - 1, "8.0 EiB")])
def test_bytes_are_in_a_human_unit(sluice, admin, value, text):
    admin.script[("GET", "/v1/routes")] = {"routes": [{"name": "x", "bytes_in": value}]}
    assert f"request bodies   {text}\n" in sluice("route", "name", "x").out


@pytest.mark.parametrize("seconds, text", [
    (0, "now"), (1, "in 1s"), (59, "in 59s"), (60, "in 1m"), (61, "in 1m 1s"), (3600, "in 1h"),
    (3661, "in 1h 1m"), (86399, "in 23h 59m"), (86400, "in 1d"), (90000, "in 1d 1h")])
def test_the_end_of_an_entry_is_in_human_units(sluice, admin, seconds, text):
    admin.script[("GET", "/v1/deny")] = {"entries": [{"cidr": "10.0.0.0/8", "ttl_s": seconds}]}
    assert sluice("deny").out.splitlines()[1] == (
        f"10.0.0.0/8  -       {text:<7}  -           -      -")


@pytest.mark.parametrize("command, key, line", [
    (["deny"], "entries", "The deny list is empty.\n"),
    (["allow"], "entries", "The allow list is empty.\n"),
    (["route"], "routes", "No routes are configured.\n"),
    (["upstream"], "upstreams", "No upstreams are configured.\n"),
    (["event"], "events", "There were no such events.\n")])
def test_empty_lists_say_so(sluice, admin, command, key, line):
    admin.always = {key: []}
    assert sluice(*command).out == line
    assert sluice("-j", *command).json[key] == []


def test_a_body_without_length_is_read_to_its_end(sluice, admin):
    admin.always = b"HTTP/1.0 200 OK\r\n\r\n" + json.dumps(answers.DENY).encode()
    assert sluice("-j", "deny").json["entries"] == answers.DENY["entries"]


def test_a_long_list_comes_whole(sluice, admin):
    entries = [{"cidr": f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}/32", "reason": "r" * 31,
                "origin": "cli"} for i in range(50000)]
    admin.always = {"entries": entries}
    assert sluice("-j", "deny").json["entries"] == entries
    assert sluice("deny").out.count("\n") == 50001


def test_socket_is_option_then_environment(places, tmp_path, sluice_binary):
    names = {}
    with FakeAdmin(str(tmp_path / "a")) as first, FakeAdmin(str(tmp_path / "b")) as second:
        for name, server in (("a", first), ("b", second)):
            server.always = {"version": name}
        for words, env in ((["--socket", first.path], second.path), ([], second.path),
                           ([f"--socket={first.path}"], second.path)):
            result = run_sluice(["-j", *words, "version"], env={**places, "SLUICE_SOCKET": env})
            names[tuple(words)] = result.json["version"]
    assert list(names.values()) == ["a", "b", "a"]


@pytest.mark.parametrize("env", [{}, {"SLUICE_SOCKET": ""}], ids=["unset", "empty"])
def test_socket_is_the_default_path_otherwise(tmp_path, env, sluice_binary):
    if os.geteuid() != 0:
        pytest.skip("needs root, for a /run of its own")
    with FakeAdmin(str(tmp_path / "a")) as server:
        server.always = {"version": "by default path"}
        script = ("mount --make-rprivate / && mount -t tmpfs none /run && mkdir /run/sluice && "
                  f"ln -s {server.path} /run/sluice/admin.sock && exec \"$@\"")
        result = run_sluice(["-j", "version"], env=env,
                            prefix=("unshare", "-m", "sh", "-c", script, "sh"))
    assert result.json["version"] == "by default path"


def test_debug_shows_the_requests_on_standard_error(sluice):
    result = sluice("-dj", "deny", "add", "203.0.113.7")
    assert json.loads(result.out)["cidr"] == "203.0.113.0/24"
    assert '> POST /v1/deny at ' in result.err and '{"cidr":"203.0.113.7/32"}' in result.err
    assert "< 200, " in result.err


@pytest.mark.parametrize("words", [
    ["help"], ["-h"], ["--help"], ["status", "help"], ["deny", "help"], ["help", "deny"],
    ["deny", "-h"], ["-h", "deny", "add"], ["allow", "help"], ["route", "help"],
    ["upstream", "h"], ["stats", "help"], ["event", "h"], ["config", "help"], ["prog", "help"], ["decap", "help"], ["version", "help"]], ids=" ".join)
def test_help_prints_the_grammar(sluice, admin, words):
    text = sluice(*words)
    assert text.status == 0 and text.err == ""
    assert text.out.startswith("Usage: sluice [OPTIONS] ") and "--socket PATH" in text.out
    assert sluice("-j", *words).json == {"help": text.out}
    assert admin.requests == []


def test_version_of_the_command_alone(sluice):
    text = sluice("-V")
    assert text.out == f"sluice {sluice('-jV').json['version']}\n" and text.status == 0


def test_version_without_a_daemon(alone):
    assert alone("-j", "version").json["daemon"] is False
    assert alone("version").out.endswith("sluiced  not running\n")


# config check without a daemon: `sluiced` beside the binary is a script here.
@pytest.fixture
def with_sluiced(tmp_path, places, sluice_binary):
    def run(script, *args):
        shutil.copy(SLUICE, tmp_path / "sluice")
        (tmp_path / "sluiced").write_text("#!/bin/sh\n" + script)
        (tmp_path / "sluiced").chmod(0o755)
        (tmp_path / "c.yaml").write_text("version: 1\n")
        env = {**os.environ, **places}
        return subprocess.run([tmp_path / "sluice", *args, "config", "check", "file", "c.yaml"],
                              cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
                              check=False)
    return run


def test_offline_check_runs_sluiced(with_sluiced, tmp_path):
    result = with_sluiced('[ "$*" = "--check c.yaml" ] || exit 9\necho effective', "-j")
    assert json.loads(result.stdout) == {"valid": True, "file": str(tmp_path / "c.yaml"),
                                         "daemon": False, "notes": []}
    assert result.returncode == 0 and result.stderr == ""


def test_offline_check_prints_remarks(with_sluiced):
    result = with_sluiced("echo 'c.yaml: a remark' >&2")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-1] == "c.yaml: a remark"


@pytest.mark.parametrize("script, lines", [
    ("printf 'c.yaml:1:1: bad\\nc.yaml:2:2: worse\\n' >&2; exit 1",
     ["c.yaml:1:1: bad", "c.yaml:2:2: worse"]),
    ("printf '\\377\\033[2J' >&2; exit 1", ["\ufffd\x1b[2J"]),
    ("exit 3", ["'sluiced --check' failed with status 3 and no reason"]),
    ("kill -9 $$", ["'sluiced --check' was ended by signal 9"]),
    ("head -c 20000000 /dev/zero | tr '\\0' x >&2; exit 1", None),
])
def test_offline_check_reports_errors(with_sluiced, script, lines):
    result = with_sluiced(script, "-j")
    doc = json.loads(result.stdout)
    assert result.returncode == 1 and result.stderr == ""
    if lines:
        assert doc["error"] == lines[0]
        assert doc.get("errors", lines) == lines
    else:
        assert doc["error"]


@pytest.mark.parametrize("result, line", [
    ({"kind": "route", "name": "cart"}, "goes to     route 'cart'\nby host     any\nby method   any\n"),
    ({"kind": "no_route", "status": 404}, "goes to     no route: answered with 404\n"),
    ({"kind": "no_method", "status": 405, "allow": ["GET", "PUT"]},
     "goes to     no route: answered with 405, allowed: GET, PUT\n"),
    ({"kind": "refused", "status": 400, "reason": "malformed Host"},
     "goes to     no route: answered with 400, malformed Host\n"),
])
def test_explanation_of_each_result(sluice, admin, result, line):
    admin.script[("POST", "/v1/routes/explain")] = {"request": {"listener": "web"},
                                                    "result": result}
    assert sluice("route", "explain", "GET", "/").out == "listener  web\n\n" + line
