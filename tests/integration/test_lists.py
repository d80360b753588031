"""Deny and allow lists by file: loads with a daemon and without, what they say, what is kept."""
import json
import random
import socket

import pytest

from lib.netns import SLUICE

pytestmark = pytest.mark.one_engine

CONFIG = f"""
dataplane:
  deny: [ {{ cidr: 203.0.113.0/24, reason: scanner }} ]
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
routes: [ {{ name: hello, respond: {{ body: hello }} }} ]
"""
COUNT = 5000


def some_prefixes(seed):
    """COUNT of both families; none is the one of the configuration."""
    dice = random.Random(seed)
    found = set()
    while len(found) < COUNT:
        number = dice.getrandbits(24)
        found.add(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}/32" if dice.random() < 0.7
                  else f"2001:db8:{number >> 12:x}:{number & 4095:x}::/64")
    return sorted(found)


def counts(sluice, *words):
    doc = sluice.cli_json("deny", "load", *words)
    return [doc[name] for name in ("added", "changed", "removed", "unchanged")]


def cidrs(sluice, *words):
    return sorted(row["cidr"] for row in sluice.cli_json("deny", "show", *words)["entries"])


def test_a_load_says_what_changes_and_outlives_daemons(sluice, tmp_path):
    first = some_prefixes(1)
    path, second = tmp_path / "first.txt", tmp_path / "second.txt"
    path.write_text("# a feed\n" + "".join(f"{cidr} reason feed\n" for cidr in first))
    second.write_text("".join(f"{cidr} reason feed\n" for cidr in first[10:]) + "192.0.2.9 ttl 7d\n")
    sluice.configure(CONFIG)
    sluice.start()
    assert counts(sluice, "file", path, "dry-run") == [COUNT, 0, 0, 0]
    assert cidrs(sluice) == ["203.0.113.0/24"]
    assert counts(sluice, "file", path) == [COUNT, 0, 0, 0]
    assert cidrs(sluice, "from", "cli") == first
    # Without replace what the file lacks stays, with it only the configuration's entry does.
    assert counts(sluice, "file", second) == [1, 0, 0, COUNT - 10]
    # A ttl counts from the load, so that entry is another one now.
    assert counts(sluice, "file", second, "replace") == [0, 1, 10, COUNT - 10]
    standing = sorted(first[10:] + ["192.0.2.9/32"])
    assert cidrs(sluice, "from", "cli") == standing
    assert cidrs(sluice, "from", "config") == ["203.0.113.0/24"]
    sluice.kill9()
    assert cidrs(sluice, "from", "cli") == standing
    assert counts(sluice, "file", path, "replace") == [10, 0, 1, COUNT - 10]
    sluice.start()
    assert cidrs(sluice, "from", "cli") == first
    out = tmp_path / "out.txt"
    sluice.cli("deny", "export", "file", out, "from", "cli", check=True)
    assert counts(sluice, "file", out, "replace") == [0, 0, 0, COUNT]


def test_a_wrong_line_changes_nothing_and_is_named(sluice, tmp_path):
    path = tmp_path / "feed.txt"
    lines = [f"10.0.{number >> 8}.{number & 255}\n" for number in range(3000)]
    lines[1999] = "10.0.0.1/24\n"
    lines[2500] = "10.0.9.9 reazon scanner\n"
    path.write_text("".join(lines))
    sluice.configure(CONFIG)
    sluice.start()
    for _ in ("with a daemon", "without one"):
        result = sluice.cli("deny", "load", "file", path)
        assert result.returncode == 1
        assert f"{path}:2000:" in result.stderr and f"{path}:2501:" in result.stderr
        assert cidrs(sluice) == ["203.0.113.0/24"]
        assert "error" in json.loads(sluice.cli("-j", "deny", "load", "file", path).stdout)
        sluice.kill9()


def ask(sluice, method, target, body=""):
    """(status, JSON) of one request on the admin socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(sluice.socket_path)
        sock.sendall(f"{method} {target} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        answer = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


def test_a_session_refuses_what_is_out_of_turn_and_can_be_given_up(sluice):
    sluice.configure(CONFIG)
    sluice.start()
    status, doc = ask(sluice, "POST", "/v1/deny/load", "{}")
    assert status == 200 and doc["state"] == "open"
    load = doc["load"]
    assert ask(sluice, "POST", "/v1/deny/load", "{}")[0] == 409
    assert ask(sluice, "POST", f"/v1/deny/load/part?load={load}&part=2", "192.0.2.1\n")[0] == 409
    assert ask(sluice, "POST", f"/v1/deny/load/part?load={load}&part=1", "192.0.2.1\n")[0] == 200
    assert ask(sluice, "POST", "/v1/deny/load/part?load=0123&part=2", "192.0.2.2\n")[0] == 404
    # The other list has a session of its own, and single changes go on meanwhile.
    assert ask(sluice, "POST", "/v1/allow/load", "{}")[0] == 200
    sluice.cli("deny", "add", "192.0.2.77", check=True)
    assert ask(sluice, "DELETE", f"/v1/deny/load?load={load}")[0] == 200
    assert ask(sluice, "POST", f"/v1/deny/load/commit?load={load}")[0] == 404
    assert cidrs(sluice) == ["192.0.2.77/32", "203.0.113.0/24"]
