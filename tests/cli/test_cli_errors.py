"""Every error path: under -j exactly one JSON document on standard output and nothing else."""
import os
import random
import socket
import struct

import pytest

import answers
import fake_admin
from conftest import run_sluice
from fake_admin import error, http

LONG = os.environ.get("SLUICE_LONG") == "1"
SEED = int(os.environ.get("SLUICE_SEED") or 20261124)

# Every command that asks the daemon.
COMMANDS = [
    ["status"], ["status", "show"],
    ["deny"], ["deny", "show", "cidr", "203.0.113.9"], ["deny", "counters"],
    ["deny", "add", "203.0.113.0/24"],
    ["deny", "add", "203.0.113.0/24", "reason", "scanner", "ttl", "1h"],
    ["deny", "delete", "203.0.113.0/24"],
    ["deny", "count"], ["deny", "load", "file", "/dev/null"], ["deny", "export"],
    ["allow"], ["allow", "counters"], ["allow", "add", "203.0.113.0/24"],
    ["allow", "delete", "203.0.113.0/24"],
    ["route"], ["route", "show", "name", "cart"], ["route", "explain", "GET", "/"],
    ["upstream"], ["upstream", "show", "name", "cart"],
    ["service"], ["service", "show", "name", "dns"], ["service", "counters"], ["service", "nat"],
    ["service", "add", "web", "address", "192.0.2.80", "ports", "80", "protocol", "tcp",
     "forward", "ipip"], ["service", "delete", "web"],
    ["backend"], ["backend", "drain", "10.0.0.1", "service", "dns"],
    ["stats"], ["stats", "show", "interval", "100ms"], ["stats", "watch", "count", "1"],
    ["event"], ["event", "show", "last", "1", "since", "0"], ["event", "watch", "count", "1"],
    ["cert"], ["cert", "show", "listener", "web"], ["cert", "reload"],
    ["config"], ["config", "reload"], ["config", "check"], ["config", "check", "file", "/dev/null"],
    ["prog"], ["prog", "unload"], ["prog", "reload"], ["version"],
    ["map"], ["map", "show", "name", "sl_meta"], ["map", "dump", "sl_meta"],
    ["map", "lookup", "sl_meta", "key", "0"],
]


def reset(connection, _request):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# Answers that no command may take for good.
BROKEN = {
    "closes-at-once": b"",
    "resets": reset,
    "garbage": b"\x00\xff\x00garbage",
    "garbage-with-head-end": b"SSH-2.0-OpenSSH\r\n\r\n",
    "empty-line-only": b"\r\n\r\n",
    "http-0.9": b'{"version": "1"}',
    "http-2": http({}, head="HTTP/2.0 200 OK"),
    "http-1.7": http({}, head="HTTP/1.7 200 OK"),
    "status-of-two-digits": http({}, head="HTTP/1.1 20 OK"),
    "status-of-four-digits": http({}, head="HTTP/1.1 2000 OK"),
    "status-word": http({}, head="HTTP/1.1 abc OK"),
    "status-099": http({}, head="HTTP/1.1 099 OK"),
    "status-600": http({}, head="HTTP/1.1 600 OK"),
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no-end-of-head": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "head-with-bare-lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\r\n\r\n{}",
    "field-without-colon": http({}, fields=["nonsense"]),
    "field-without-name": http({}, fields=[": nonsense"]),
    "length-word": http({}, length="two"),
    "length-negative": http({}, length=-2),
    "length-plus": http({}, length="+2"),
    "length-empty": http({}, length=""),
    "length-hex": http({}, length="0x2"),
    "length-overflow": http({}, length=1 << 70),
    "length-huge": http({}, length=1 << 50),
    "length-just-over-the-cap": http({}, length=(256 << 20) + 1),
    "length-twice": http({}, fields=["Content-Length: 3"]),
    "length-too-long": http({"version": "1"}, length=1000),
    "length-too-short": http({"version": "1"}, length=3),
    "chunk-cut": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{}\r\n0\r\n\r\n",
    "chunk-without-end": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
    "chunk-too-long": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "chunk-of-no-size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n",
    "chunk-huge": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "chunks-and-more": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\nx",
    "chunks-and-length": http({}, fields=["Transfer-Encoding: chunked"]),
    "gzip": http({}, fields=["Transfer-Encoding: gzip"]),
    "head-too-big": http({}, fields=["X-Filler: " + "x" * 100000]),
    "no-body": http(b""),
    "space-body": http(b"   "),
    "text-body": http(b"all is well"),
    "html-body": http(b"<html><body>nginx</body></html>"),
    "json-array": http([]),
    "json-string": http(b'"x"'),
    "json-number": http(b"7"),
    "json-null": http(b"null"),
    "json-cut": http(b'{"entries": [{"cidr": "203.0.113.0/24"'),
    "json-two": http(b"{}{}"),
    "json-and-garbage": http(b"{} x"),
    "json-single-quotes": http(b"{'a': 1}"),
    "json-comma": http(b'{"a": 1,}'),
    "json-duplicate": http(b'{"a": 1, "a": 2}'),
    "json-nan": http(b'{"a": NaN}'),
    "json-number-too-big": http(b'{"a": 99999999999999999999999999}'),
    "json-real-too-big": http(b'{"a": 1e999}'),
    "json-not-utf8": http(b'{"a": "\xff"}'),
    "json-overlong-utf8": http(b'{"a": "\xc0\xaf"}'),
    "json-lone-surrogate": http(b'{"a": "\\ud800"}'),
    "json-control-in-string": http(b'{"a": "\x01"}'),
    "json-nul": http(b'{"a": 1}\x00'),
    "json-escaped-nul-key": http(b'{"a\\u0000b": 1}'),
    "json-too-deep": http(b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "json-utf16": http('{"a": 1}'.encode("utf-16")),
    "redirect": http({}, status=302),
    "error-400": error(400, "the cidr is wrong"),
    "error-403": error(403, "you are not root"),
    "error-404": error(404, "there is none"),
    "error-409": error(409, "busy"),
    "error-422": error(422, "sluice.yaml:1:1: wrong", errors=["sluice.yaml:1:1: wrong",
                                                              "sluice.yaml:2:3: wrong, too"]),
    "error-500": error(500, "the daemon is unwell"),
    "error-503-draining": error(503, "the daemon is stopping"),
    "error-with-quotes-and-escapes": error(500, 'a "quoted"\n\ttext \x1b[31m \u2028 \U0001f4a9'),
    "error-very-long": error(500, "x" * 100000),
    "error-empty-text": error(500, ""),
    "error-not-text": http({"error": {"code": 5}}, status=500),
    "error-null": http({"error": None}, status=500),
    "error-list-of-numbers": http({"error": "bad", "errors": [1, None, {}, "line"]}, status=422),
    "error-list-is-text": http({"error": "bad", "errors": "no list"}, status=422),
    "error-without-body": http(b"", status=500),
    "error-without-reason": http({}, status=503),
    "error-in-html": http(b"<h1>502 Bad Gateway</h1>", status=502),
    "error-in-array": http([], status=500),
    "error-cut": http(b'{"error": "the', status=500),
    "error-success-text": http(b"OK", status=204),
}


def pairs():
    """Each command with each answer in the long run; else each with enough of the others."""
    some_commands = (["deny"], ["deny", "add", "203.0.113.0/24"], ["route", "show", "name", "cart"],
                     ["config", "reload"], ["prog", "unload"])
    some_answers = ("closes-at-once", "garbage", "length-too-long", "text-body", "json-array",
                    "json-cut", "error-422", "error-not-text", "error-in-html")
    return [pytest.param(command, broken, id=f"{' '.join(command)}-{broken}")
            for command in COMMANDS for broken in BROKEN
            if LONG or command in some_commands or broken in some_answers]


@pytest.mark.parametrize("command, broken", pairs())
def test_a_broken_answer_is_one_json_error(sluice, admin, command, broken):
    admin.always = BROKEN[broken]
    assert sluice("-j", *command).json_error


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_answer_is_one_text_error(sluice, admin, broken):
    admin.always = BROKEN[broken]
    result = sluice("deny")
    assert result.text_error
    assert result.status == 1
    assert "\x1b" not in result.err


# Documents that are JSON but not what was asked for.
MISSHAPEN = {
    ("deny",): [{}, {"entries": None}, {"entries": {}}, {"entries": "x"}, {"entries": [1]},
                {"entries": [[]]}, {"entries": [None]}],
    ("deny", "cidr", "203.0.113.9"): [{}, {"entries": {}}, {"entries": 3}, {"entries": []},
                                      {"entries": [1, "x", None]},
                                      {"entries": [{"cidr": 5}, {"cidr": "nonsense"}]}],
    ("allow",): [{}, {"entries": True}],
    ("deny", "counters"): [{}, {"reasons": {}}, {"reasons": [7]}],
    ("deny", "add", "203.0.113.0/24"): [{}, {"cidr": 7}, {"cidr": None}],
    ("route",): [{}, {"routes": {}}, {"routes": ["cart"]}],
    ("route", "name", "cart"): [{}, {"routes": []}, {"routes": [{}]}, {"routes": [{"name": 1}]},
                                {"routes": [3]}, {"routes": "cart"}],
    ("route", "explain", "GET", "/"): [
        {}, {"request": {}}, {"result": {}}, {"request": [], "result": {}},
        {"request": {}, "result": "cart"}, {"request": {}, "result": {}, "others": {}},
        {"request": {}, "result": {}, "others": [1]}],
    ("upstream",): [{}, {"upstreams": {}}, {"upstreams": [5]}],
    ("upstream", "name", "cart"): [{}, {"upstreams": []}, {"upstreams": [{"name": []}]}],
    ("service",): [{}, {"services": {}}, {"services": [5]}],
    ("service", "name", "dns"): [{}, {"services": []}, {"services": [{"name": []}]}],
    ("service", "counters"): [{}, {"reasons": {}}],
    ("service", "add", "web", "address", "192.0.2.80", "ports", "80", "protocol", "tcp", "forward",
     "ipip"): [{}, {"done": 1}, {"done": "added"}, {"service": "web"}],
    ("service", "delete", "web"): [{}, {"done": None}],
    ("backend",): [{}, {"services": {}}],
    ("backend", "drain", "10.0.0.1", "service", "dns"): [{}, {"done": 1}],
    ("cert",): [{}, {"certificates": {}}, {"certificates": [5]}],
    ("cert", "listener", "web"): [{}, {"certificates": None}],
    ("cert", "reload"): [{}, {"listeners": "2"}],
    ("config",): [{}, {"effective": None}, {"effective": ["version: 1"]}],
    ("config", "reload"): [{}, {"generation": "4"}, {"generation": None}],
    ("event",): [{}, {"events": {}}, {"events": None}, {"events": [1]}],
    ("stats",): [{}, {"workers": []}, {"workers": {}, "counters": {}},
                 {"workers": [], "counters": {}, "routes": {}, "upstreams": []},
                 {"workers": [], "counters": {}, "routes": [], "upstreams": 1}],
    ("stats", "interval", "100ms"): [
        {"workers": [], "counters": {}, "routes": [], "upstreams": []},
        {"workers": [], "counters": {}, "routes": [], "upstreams": [], "reasons": [7]},
        {"workers": [], "counters": {}, "routes": [], "upstreams": [], "reasons": []},
        {"workers": [], "counters": {}, "routes": [], "upstreams": [], "reasons": [],
         "services": {}}],
    ("status",): [{"listeners": {}}, {"workers": [1]}, {"counters": []}, {"dataplane": {
        "interfaces": "eth0"}}],
}


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize("command, doc", [(command, doc) for command, docs in MISSHAPEN.items()
                                          for doc in docs], ids=str)
def test_a_misshapen_answer_is_an_error_in_both_forms(sluice, admin, command, doc, form):
    admin.always = http(doc)
    if form == "json":
        assert sluice("-j", *command).json_error
    else:
        assert sluice(*command).text_error


# Values of unexpected types where a text form has to be found for them.
@pytest.mark.parametrize("value", [None, True, 3.5, -7, "x", "", [], {}, [[1]], [{}], {"a": {}},
                                   1 << 62, "\u0000".join("ab").replace("\u0000", "-")], ids=str)
def test_members_of_any_type_are_shown(sluice, admin, value):
    for (method, path), doc in answers.ANSWERS.items():
        for key, member in doc.items():
            if isinstance(member, list) and member and isinstance(member[0], dict):
                rows = [dict.fromkeys(row, value) for row in member]
                admin.script[(method, path)] = http({**doc, key: rows})
    for command in (["deny"], ["allow"], ["deny", "counters"], ["route"], ["upstream"], ["event"],
                    ["stats"], ["service"], ["backend"], ["cert"]):
        assert sluice(*command).status == 0, command
        assert sluice("-j", *command).json, command


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("behaviour", ["hangs", "hangs-in-head", "hangs-in-body", "drips"])
def test_a_slow_daemon_ends_in_a_timeout_error(sluice, admin, command, behaviour):
    admin.always = {
        "hangs": fake_admin.hang,
        "hangs-in-head": fake_admin.hang_after(b"HTTP/1.1 200 OK\r\nContent-"),
        "hangs-in-body": fake_admin.hang_after(http({"entries": []}, length=10000)),
        "drips": fake_admin.drip,
    }[behaviour]
    assert "did not answer within 100 ms" in sluice("-j", "--timeout", "100ms", *command).json_error


def test_a_daemon_that_does_not_accept_ends_in_a_timeout_error(alone, places):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(places["SLUICE_SOCKET"])
        listener.listen(0)
        first = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in first:
            client.setblocking(False)
            client.connect_ex(places["SLUICE_SOCKET"])
        error_text = alone("-j", "--timeout", "200ms", "status").json_error
        for client in first:
            client.close()
    assert "did not answer within 200 ms" in error_text


@pytest.mark.parametrize("answer", [fake_admin.endless, fake_admin.endless_head],
                         ids=["body", "head"])
def test_an_endless_answer_is_cut_off(sluice, admin, answer):
    admin.always = answer
    assert "too big" in sluice("-j", "--timeout", "2m", "deny").json_error


def test_an_answer_before_the_request_was_read_counts(sluice, admin):
    admin.always = error(413, "no more of that")
    assert sluice("-j", "deny", "add", "203.0.113.0/24").json_error == "no more of that"


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in (["version"],
                                                                      ["prog", "unload"])],
                         ids=" ".join)
@pytest.mark.parametrize("kind", ["absent", "refuses", "not-a-socket", "in-no-directory"])
def test_without_daemon_and_pins_each_command_says_what_to_do(alone, places, command, kind):
    path = places["SLUICE_SOCKET"]
    if kind == "refuses":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
    elif kind == "not-a-socket":
        with open(path, "w", encoding="ascii") as file:
            file.write("x")
    elif kind == "in-no-directory":
        path = path + "/deeper/admin.sock"
    text = alone("-j", "--socket", path, *command).json_error
    if kind == "not-a-socket":
        assert "is not a socket" in text
    elif command == ["config", "check", "file", "/dev/null"]:
        # Checked by sluiced itself, where that is: an empty file is no configuration.
        assert "/dev/null" in text or "sluiced is neither beside sluice nor in PATH" in text
    elif command == ["config", "check"]:
        assert path in text and "sluice config check file FILE" in text
    else:
        assert path in text and "--socket" in text and "start sluiced" in text


def test_a_socket_without_permission_says_run_as_root(places, tmp_path, sluice_binary):
    if os.geteuid() != 0:
        pytest.skip("needs root, to give it up")
    closed = tmp_path / "closed"
    closed.mkdir()
    with fake_admin.FakeAdmin(str(closed / "admin.sock")):
        closed.chmod(0o700)
        # The binary may lie where nobody cannot go: the command is given its descriptor.
        text = run_as_nobody(places, ["-j", "--socket", str(closed / "admin.sock"), "status"])
    assert "no permission to use" in text and "root" in text


def run_as_nobody(places, args):
    drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
            "--inh-caps=-all")
    result = run_sluice(args, env=places, prefix=drop)
    return result.json_error


# What the grammar refuses: exit status 2 and one document, nothing is asked of the daemon.
USAGE = """
|
|--
|--help=1
|--json=1
|--jsn
|--x
|---
|--=
|--=x
|-x
|-jx
|-jpq
|-j-p
|--socket
|--socket=
|--bpffs
|--state-dir
|--timeout
|--timeout=
|--timeout|x|status
|--timeout|0s|status
|--timeout|10|status
|--timeout|-1s|status
|--timeout|48h|status
|--timeout|99999999999999999999s|status
|ruote
|staus
|x
|sta tus
|STATUS
|servicer
|backend|drain|10.1.0.11
|backend|drain|10.1.0|service|dns
|backend|drain|10.1.0.11:80|service|dns
|backend|drain|10.1.0.11|service|dns|weight|1
|backend|drain|10.1.0.11|service|dns|port
|backend|drain|10.1.0.11|service|dns|port|65536
|backend|add|10.1.0.11|service|dns|weight|65536
|backend|weight|10.1.0.11|service|dns|port|80
|service|add
|service|add|web
|service|add|Web|address|192.0.2.1|ports|80|protocol|tcp|forward|ipip
|service|add|web|address|192.0.2|ports|80|protocol|tcp|forward|ipip
|service|add|web|address|192.0.2.1,|ports|80|protocol|tcp|forward|ipip
|service|add|web|address|192.0.2.1|ports|80-70|protocol|tcp|forward|ipip
|service|add|web|address|192.0.2.1|ports|80,80|protocol|tcp|forward|ipip
|service|add|web|address|192.0.2.1|ports|80|protocol|sctp|forward|ipip
|service|add|web|address|192.0.2.1|ports|80|protocol|tcp|forward|gue
|service|add|web|address|192.0.2.1|ports|80|protocol|tcp
|service|add|web|address|192.0.2.1|ports|80|protocol|tcp|forward|ipip|affinity|x
|service|add|web|address|192.0.2.1|ports|80|protocol|tcp|forward|ipip|drain|25h
|service|add|web|address|192.0.2.1|ports|80|protocol|tcp|forward|ipip|slots|100
|service|delete
|service|delete|web|x
|service|counters|x
|service|nat|x
|service|nat|state|free
|service|nat|client|192.0.2.1/24
|service|nat|backend|x
|service|nat|limit|0
|listener
|conn
|cert|x
|cert|listener
|cert|show|lsitener|x
|cert|reload|web
|cache|purge
|conn|show
|limit
|policy
|map|x
|map|dump
|map|dump|sl_meta|x
|map|dump|sl_meta|limit
|map|dump|sl_meta|limit|0
|map|show|x
|map|name
|map|lookup
|map|lookup|sl_meta
|map|lookup|sl_meta|key
|map|lookup|sl_meta|key|0|hex|00000000
|map|lookup|sl_meta|0
|batch
|batch|x
|batch|file
|batch|file|/dev/null|x
|batch|file|/dev/null|continue|x
|batch|file|/dev/null|continue|continue
|top
|status|x
|status|shw
|status|show|x
|status|list|name
|deny|x
|deny|ad|203.0.113.0/24|x
|deny|show|x
|deny|show|cidr
|deny|show|cidr|
|deny|show|cidr|x
|deny|show|cidr|203.0.113.0/33
|deny|show|cidr|203.0.113.1/24
|deny|show|cidr|203.0.113.1|x
|deny|show|cidr|203.0.113.1|cidr|203.0.113.2
|deny|cidr
|deny|cidr|300.1.1.1
|deny|add
|deny|add|
|deny|add|x
|deny|add|cidr
|deny|add|203.0.113.0/24/24
|deny|add|203.0.113.0/-1
|deny|add|203.0.113.0/
|deny|add|203.0.113.0/99999999999999999999
|deny|add|203.0.113
|deny|add|203.0.113.0.1
|deny|add|0x7f.1
|deny|add| 203.0.113.1
|deny|add|203.0.113.1 
|deny|add|2001:db8::1::1
|deny|add|2001:db8::1/129
|deny|add|2001:db8::1/64
|deny|add|fe80::1%eth0
|deny|add|::ffff:1.2.3.4.5
|deny|add|203.0.113.1|x
|deny|add|203.0.113.1|reason
|deny|add|203.0.113.1|reason|a|reason|b
|deny|add|203.0.113.1|raeson|a
|deny|add|203.0.113.1|reason|0123456789012345678901234567890123456789
|deny|add|203.0.113.1|reason|tab\there
|deny|add|203.0.113.1|reason|\u00e9
|deny|add|203.0.113.1|ttl
|deny|add|203.0.113.1|ttl|
|deny|add|203.0.113.1|ttl|x
|deny|add|203.0.113.1|ttl|5
|deny|add|203.0.113.1|ttl|0s
|deny|add|203.0.113.1|ttl|0ms
|deny|add|203.0.113.1|ttl|-5s
|deny|add|203.0.113.1|ttl|5 s
|deny|add|203.0.113.1|ttl|5S
|deny|add|203.0.113.1|ttl|5w
|deny|add|203.0.113.1|ttl|5.5h
|deny|add|203.0.113.1|ttl|1h30m
|deny|add|203.0.113.1|ttl|18446744073709551615s
|deny|add|203.0.113.1|ttl|18446744073709551616ms
|deny|add|203.0.113.1|ttl|18446744073709551615ms
|deny|add|203.0.113.1|ttl|99999999d
|deny|add|203.0.113.1|ttl|1h|ttl|2h
|deny|delete
|deny|delete|
|deny|delete|x
|deny|delete|203.0.113.1|x
|deny|delete|203.0.113.1/8
|deny|counters|x
|deny|counters|cidr|203.0.113.1
|allow|x
|allow|add
|allow|add|x
|allow|delete
|allow|show|cidr
|route|x
|route|show|x
|route|name
|route|show|name
|route|show|name|a|name|b
|route|show|name|a|b
|route|add
|route|explain
|route|explain|GET
|route|explain|GET|/|x
|route|explain|GET|/|header
|route|explain|GET|/|header|a
|route|explain|GET|/|header|a|b|header
|route|explain|GET|/|listener
|route|explain|GET|/|listener|a|listener|b
|route|explain|GET|/\\xff
|route|explain|GET|/|header|a|\\xff
|upstream|x
|upstream|name
|upstream|show|nmae|x
|stats|x
|stats|show|x
|stats|interval
|stats|show|interval|
|stats|show|interval|1
|stats|show|interval|99ms
|stats|show|interval|2h
|stats|show|interval|1s|interval|1s
|stats|watch|count
|stats|watch|count|0
|stats|watch|count|-1
|stats|watch|count|1.5
|stats|watch|count|99999999999999999999
|event|x
|event|last
|event|show|last|
|event|show|last|x
|event|show|last|1025
|event|show|since|-1
|event|show|count|1
|event|show|last|1|last|2
|event|watch|count|0
|event|watch|since|99999999999999999999
|config|x
|config|show|x
|config|reload|x
|config|relaod|x
|config|check|x
|config|check|file
|config|check|file|a|file|b
|prog|x
|prog|show|x
|prog|unload|x
|prog|reload|x
|prog|unlaod
|decap|x
|decap|show|x
|decap|attach
|decap|attach|dev
|decap|attach|dev|lo
|decap|attach|address|192.0.2.1
|decap|attach|dev|lo|dev|lo|address|192.0.2.1
|decap|attach|dev|lo|address|192.0.2.1/32
|decap|attach|dev|lo|address|192.0.2
|decap|attach|dev|lo|address|192.0.2.1|source|10.0.0.1/8
|decap|attach|dev|lo|address|192.0.2.1|sauce|10.0.0.0/8
|decap|attach|dev|a/b|address|192.0.2.1
|decap|attach|dev|sixteen-letters-|address|192.0.2.1
|decap|attach|dev||address|192.0.2.1
|decap|detach
|decap|detach|dev
|decap|detach|dev|lo|x
|version|x
|version|show|x
|help|x
|help|listener
|a\\xffb
|deny|add|\\xff
|deny|add|203.0.113.1|reason|\\xff\\xfe
|deny|\\xff
|\\x1b[31m
|deny|add|\\x1b[31m
|route|name|x|\\xff
""".strip("\n").split("\n")


def words_of(line):
    """'|deny|add' -> [b'deny', b'add']; \\xNN stands for a byte."""
    raw = line.encode("utf-8").decode("unicode_escape").encode("latin-1") \
        if "\\x" in line or "\\t" in line or "\\u" in line else line.encode()
    if "\\u" in line:
        raw = line.replace("\\u00e9", "\u00e9").encode()
    return raw.split(b"|")[1:] if raw != b"|" else []


@pytest.mark.parametrize("line", USAGE)
def test_usage_error_is_one_json_document(sluice, admin, line):
    words = words_of(line)
    result = sluice("-j", *words)
    assert result.json_error
    assert result.status == 2
    # The option may also stand at the end, unless the error is a missing value there.
    if words and words[-1] not in (b"--socket", b"--bpffs", b"--state-dir", b"--timeout", b"--"):
        last = sluice(*words, "--json")
        assert last.json_error and last.status == 2
    assert admin.requests == []


@pytest.mark.parametrize("line", [line for line in USAGE if not line.startswith("|-j")])
def test_usage_error_is_text_on_standard_error_alone(sluice, admin, line):
    result = sluice(*words_of(line))
    assert result.text_error
    assert result.status == 2
    assert "\x1b" not in result.err
    assert admin.requests == []


def test_pretty_error_is_one_document_too(sluice):
    result = sluice("-p", "nonsense")
    assert result.json_error
    assert result.out.startswith("{\n  \"error\"")


@pytest.mark.parametrize("words, hint", [
    (["ruote"], "unknown object 'ruote'; did you mean 'route'?"),
    (["rote", "show"], "unknown object 'rote'; did you mean 'route'?"),
    (["cache"], "object 'cache' is not supported yet"),
    (["stat"], "object 'stat' is ambiguous: 'status' or 'stats'"),
    (["stats", "interval", "1"], "expected a duration of 100ms to 3600s, such as 500ms or 2s"),
    (["event", "last", "x"], "last 'x': expected a whole number of 0 to 1024"),
    (["xylophone"], "unknown object 'xylophone'; expected 'status', 'service', 'backend', 'deny', "),
    (["deny", "delte", "1.2.3.4"], "unknown command 'delte'; did you mean 'delete'?"),
    (["config", "relaod"], "unknown command 'relaod'; did you mean 'reload'?"),
    (["config", "xyz"], "expected 'show', 'list', 'reload', 'check' or 'help'"),
    (["deny", "add", "1.2.3.4", "reson", "x"], "unknown key 'reson'; did you mean 'reason'?"),
    (["route", "show", "nmae", "x"], "unknown key 'nmae'; did you mean 'name'?"),
    (["--sokcet", "x"], "unknown option '--sokcet'; did you mean '--socket'?"),
    (["deny", "add", "1.2.3.4/8"], "did you mean '1.0.0.0/8'?"),
    (["deny", "add"], "see 'sluice deny help'"),
    (["allow", "delete", "1.2.3.4", "now"], "see 'sluice allow help'"),
    (["route", "show", "name", "crat"], "route 'crat' is not configured; did you mean 'cart'?"),
    (["route", "show", "name", "xyzzy"], "'sluice route' lists what is"),
    (["upstream", "name", "serach"], "upstream 'serach' is not configured; did you mean 'search'?"),
    (["deny", "add", "1.2.3.4", "ttl", "5"], "write it as 90s, 10m, 24h or 7d"),
    (["deny", "cidr", "192.0.2.1"], "no entry of the deny list holds for 192.0.2.1/32"),
])
def test_an_error_says_what_to_do_next(sluice, words, hint):
    assert hint in sluice("-j", *words).json_error
    assert hint in sluice(*words).text_error


VOCABULARY = [
    "status", "deny", "allow", "route", "upstream", "stats", "event", "config", "prog", "version", "help", "show", "decap",
    "attach", "detach",
    "list", "add", "delete", "counters", "reload", "check", "unload", "cidr", "reason", "ttl",
    "name", "file", "203.0.113.0/24", "2001:db8::/32", "203.0.113.9", "0.0.0.0/0", "1h", "cart",
    "search", "", "x", "-", "--", "-p", "-f", "-j", "-jp", "-h", "--json", "--pretty", "--nonsense",
    "-z", "--timeout", "--timeout=50ms", "500ms", "s", "d", "a", "r", "u", "c", "p", "v", "sh", "li",
    "cache", "service", "é", b"\xff", b"\xf0\x9f\x92\xa9", "\x1b[2J", "a" * 5000, "%s%n", "'", '"',
    "\\", "\n", "/dev/null", "--socket=/nonexistent/socket", "--state-dir=/nonexistent/state",
]


def test_random_arguments_always_give_one_json_document(sluice, admin, tmp_path):
    choose = random.Random(SEED)
    statuses = set()
    for _ in range(1500 if LONG else 500):
        words = [choose.choice(VOCABULARY) for _ in range(choose.randint(0, 7))]
        if choose.random() < 0.7:
            words.insert(0, choose.choice(VOCABULARY[:9]))
        result = sluice("-j", *words)
        assert isinstance(result.json, dict), str(result)
        assert result.status in (0, 1, 2), str(result)
        assert (result.status != 0) == ("error" in result.json), str(result)
        statuses.add(result.status)
    assert statuses == {0, 1, 2}


def test_random_answers_always_give_one_json_document(sluice, admin):
    """Answers with bytes changed, cut out and doubled."""
    choose = random.Random(SEED)
    originals = [(["deny"], answers.DENY), (["route"], answers.ROUTES),
                 (["upstream"], answers.UPSTREAMS), (["status"], answers.STATUS),
                 (["event"], answers.EVENTS),
                 (["config"], answers.CONFIG), (["version"], answers.VERSION)]
    for _ in range(750 if LONG else 250):
        command, doc = choose.choice(originals)
        data = bytearray(http(doc))
        for _ in range(choose.randint(1, 4)):
            at = choose.randrange(len(data))
            kind = choose.randrange(3)
            if kind == 0:
                data[at] = choose.randrange(256)
            elif kind == 1:
                del data[at:at + choose.randint(1, 40)]
            else:
                data[at:at] = data[at:at + choose.randint(1, 40)]
            if not data:
                data = bytearray(b"x")
        admin.always = bytes(data)
        result = sluice("-j", "--timeout", "20s", *command)
        assert isinstance(result.json, dict), str(result)
        assert (result.status != 0) == ("error" in result.json), str(result)
        text = sluice("--timeout", "20s", *command)
        assert (text.status != 0) == (result.status != 0), f"{result}\n{text}"


def test_output_that_cannot_be_written_is_an_error(sluice):
    with open("/dev/full", "wb") as full:
        result = sluice("help", stdout=full)
    assert result.status == 1
    assert "cannot write the output: No space left on device" in result.err


def test_a_reader_that_goes_away_is_no_message(sluice, admin):
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as pipe:
        result = sluice("deny", stdout=pipe)
    assert result.status == 1
    assert result.err == ""
