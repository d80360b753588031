"""`sluice batch`: lines, words, results, and where it stops."""
import json
import os

import pytest

from fake_admin import error

ADD = "deny add 203.0.113.0/24 reason 'port scanner' ttl 1h   # why it is there\n"


def write(tmp_path, text):
    path = tmp_path / "commands"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def asked(admin):
    return [(request.method, request.target) for request in admin.requests]


def test_each_line_is_a_command(sluice, admin, tmp_path):
    path = write(tmp_path, "# first\n" + ADD + "\n \t\n\tdeny delete 203.0.113.0/24\r\nversion")
    results = sluice("-j", "batch", "file", path).json
    assert [set(result) for result in results] == [
        {"cidr", "reason", "expires_at", "ttl_s", "origin", "daemon"}, {"removed", "daemon"},
        {"cli", "daemon", "version", "abi_version", "kernel"}]
    assert asked(admin) == [("POST", "/v1/deny"), ("DELETE", "/v1/deny?cidr=203.0.113.0%2F24"),
                            ("GET", "/v1/version")]
    assert admin.requests[0].json == {"cidr": "203.0.113.0/24", "reason": "port scanner",
                                      "ttl": "1h"}
    text = sluice("batch", "file", path)
    assert text.status == 0 and text.err == ""
    assert text.out.startswith("203.0.113.0/24 is denied for 1h, reason: scanner.\n203.0.113.0/24 is no")


@pytest.mark.parametrize("line, words", [
    ("reason ''", ""), ("reason 'a b'", "a b"), ('reason "a b"', "a b"), (r"reason a\ b", "a b"),
    ("reason a'b'\"c\"", "abc"), ("reason '#'", "#"), ("reason a#b", "a#b"), (r"reason \#", "#"),
    (r'reason "a\"b"', 'a"b'), (r"reason 'a\b'", r"a\b"), (r"reason a\\b", r"a\b"),
    ("reason a\\", "a\\"), ("reason  \t a  # b 'c", "a"),
])
def test_words_are_quoted_as_in_a_shell(sluice, admin, line, words):
    result = sluice("-j", "batch", "file", "-", stdin=f"deny add 192.0.2.1 {line}\n".encode())
    assert result.status == 0, result
    assert admin.requests[0].json["reason"] == words


def test_standard_input_and_pretty(sluice):
    result = sluice("-p", "batch", "file", "-", stdin=b"version\nversion\n")
    assert len(result.json) == 2 and result.out.startswith("[\n  {\n")
    assert sluice("-j", "batch", "file", "-").json == []
    assert sluice("batch", "file", "-").out == ""


@pytest.mark.parametrize("line, reason, status", [
    ("ruote", "unknown object 'ruote'; did you mean 'route'?", 2),
    ("deny add", "CIDR is missing; see 'sluice deny help'", 2),
    ("deny add 1.2.3.4/8", "did you mean '1.0.0.0/8'?", 2),
    ("route name xyzzy", "route 'xyzzy' is not configured; 'sluice route' lists what is", 1),
    ("deny add 1.2.3.4 reason 'x", "a quote is not closed on its line", 2),
    ('deny add 1.2.3.4 reason "x', "a quote is not closed on its line", 2),
    ("stats watch", "'stats watch' goes on printing, which no line of a batch may", 2),
    ("ev w count 1", "'event watch' goes on printing, which no line of a batch may", 2),
    ("batch file -", "a batch cannot have another one in it", 2),
    ("-j version", "options stand in front of 'batch', not in its lines", 2),
    ("version\0x", "the line has a zero byte; is that a text file?", 2),
    pytest.param("s" * 70000, "unknown object 'sss", 2, id="long"),
    ("\x1b[31m", "unknown object '\\x1b[31m'", 2),
    ("''", "unknown object ''", 2),
])
def test_the_first_error_stops_it_and_names_the_line(sluice, admin, tmp_path, line, reason, status):
    path = write(tmp_path, f"version\n\n{line}\nconfig reload\n")
    result = sluice("-j", "batch", "file", path)
    assert result.json_error.startswith(f"{path}:3: ") and reason in result.json_error
    assert result.status == status
    assert [done["daemon"] for done in result.json["results"]] == [True]
    text = sluice("batch", "file", path)
    assert text.status == status
    assert text.out.startswith("sluice   ") and text.out.count("\n") == 2
    assert text.err.startswith(f"Error: {path}:3: ") and reason in text.err
    assert "\x1b" not in text.err and text.err.count("\n") == 1
    assert ("POST", "/v1/config/reload") not in asked(admin)


def test_with_continue_all_lines_run_and_each_has_its_place(sluice, admin, tmp_path):
    path = write(tmp_path, f"version\nruote\n# nothing\n{ADD}deny add x\nconfig reload\n")
    result = sluice("-j", "batch", "file", path, "continue")
    assert result.status == 1
    version, unknown, added, bad, reloaded = result.json
    assert version["daemon"] and added["cidr"] == "203.0.113.0/24" and reloaded["generation"] == 4
    assert unknown == {"error": f"{path}:2: unknown object 'ruote'; did you mean 'route'?"}
    assert bad["error"].startswith(f"{path}:5: ")
    text = sluice("batch", "file", path, "cont")
    assert text.status == 1
    lines = text.err.splitlines()
    assert [line.split(" ")[1] for line in lines[:2]] == [f"{path}:2:", f"{path}:5:"]
    assert lines[2:] == ["Error: 2 of 5 lines failed"]
    assert "The new configuration is in force" in text.out
    everything_right = sluice("-j", "batch", "file", "-", "continue", stdin=b"version\n")
    assert everything_right.status == 0 and len(everything_right.json) == 1


def test_lines_of_a_refused_configuration_are_kept(sluice, admin, tmp_path):
    lines = ["sluice.yaml:1:1: wrong", "sluice.yaml:2:3: wrong, too"]
    admin.script[("POST", "/v1/config/reload")] = error(422, lines[0], errors=lines)
    path = write(tmp_path, "config reload\n")
    doc = sluice("-j", "batch", "file", path).json
    assert doc == {"error": f"{path}:1: {lines[0]}", "errors": lines, "results": []}
    assert sluice("-j", "batch", "file", path, "continue").json == [
        {"error": f"{path}:1: {lines[0]}", "errors": lines}]
    text = sluice("batch", "file", path).text_error
    assert lines[1] in text and "The configuration that was in force stays in force." in text


@pytest.mark.parametrize("path, reason", [
    ("/nonexistent/commands", "cannot open '/nonexistent/commands': No such file or directory"),
    ("/", "cannot read /: Is a directory"), ("", "cannot open ''"),
])
def test_a_file_that_cannot_be_read_is_an_error(sluice, path, reason):
    assert reason in sluice("-j", "batch", "file", path).json_error
    assert reason in sluice("batch", "file", path).text_error


def test_options_hold_for_every_line(alone, places, tmp_path):
    result = alone("-j", "--socket", "/nonexistent/s", "batch", "file", "-", "continue",
                   stdin=b"status\nroute\n")
    assert len(result.json) == 2
    assert all("/nonexistent/s" in each["error"] for each in result.json)


def test_a_reader_that_goes_away_stops_it(sluice, admin, tmp_path):
    path = write(tmp_path, "version\n" * 3)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        result = sluice("batch", "file", path, stdout=pipe)
    assert result.status == 1 and result.err == ""
    assert len(admin.requests) == 1


def test_a_thousand_lines(sluice, admin):
    text = b"".join(b"deny add 10.0.%d.%d\n" % (i // 256, i % 256) for i in range(1000))
    result = sluice("-j", "batch", "file", "-", stdin=text)
    assert len(result.json) == 1000 and len(admin.requests) == 1000
    assert json.loads(admin.requests[-1].body) == {"cidr": "10.0.3.231/32"}
