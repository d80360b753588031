"""Configuration files: what is refused and how it is said, and reloads that nobody notices."""
import re
import subprocess
import threading

import pytest

from lib.backend import RawBackend
from lib.daemon import NotReady, UnixConnection
from lib.netns import BACKEND, SLUICE
from lib.programs import build_dir
from lib.wait import Thread, wait_until
from lib.wire import Wire, request

pytestmark = pytest.mark.one_engine


def saying(word, port=80, more=""):
    return f"""
listeners: [ {{ name: web, address: "{SLUICE}:{port}" }} ]
routes:
  - {{ name: say, respond: {{ status: 200, body: {word} }} }}
{more}"""


def check(path):
    """sluiced --check FILE"""
    return subprocess.run([str(build_dir() / "sluiced"), "--check", str(path)], text=True,
                          capture_output=True, timeout=60, check=False)


def ask(topology, target="/", port=80, host="any.test"):
    with Wire(topology.connect("client", SLUICE, port)) as wire:
        return wire.ask(target, host=host)


def test_listener_address_that_is_not_the_hosts_is_named(sluice, topology):
    absent = "10.77.1.77"
    sluice.configure(saying("one"))
    sluice.start()
    assert sluice.admin("/v1/status")["listeners"][0]["absent"] == []
    assert "is no address of this host" not in sluice.log.text()
    sluice.configure(f"""
listeners:
  - name: web
    address: [ "{SLUICE}:80", "{absent}:80", "10.99.0.0/24:80", "[fd77:1::77]:81" ]
routes:
  - {{ name: say, respond: {{ status: 200, body: two }} }}
""")
    seen = len(sluice.log.lines)
    sluice.reload()
    for address in (f"{absent}:80", r"\[fd77:1::77\]:81"):
        assert sluice.log.wait_for(f"'web': {address} is no address of this host", start=seen)
    assert sluice.admin("/v1/status")["listeners"][0]["absent"] == [f"{absent}:80",
                                                                    "[fd77:1::77]:81"]
    assert f"{absent}:80, [fd77:1::77]:81" in sluice.cli("status", check=True).stdout
    assert ask(topology).body == b"two"
    topology.ip("sluice", "address", "add", f"{absent}/32", "dev", "lo")
    try:
        assert sluice.admin("/v1/status")["listeners"][0]["absent"] == ["[fd77:1::77]:81"]
    finally:
        topology.ip("sluice", "address", "delete", f"{absent}/32", "dev", "lo")


BAD = [
    # lines after the preamble, what is said
    ("listenrs: []", r":\d+:1: .*'listenrs'.*listeners"),
    ("caches:\n  - { name: pages, memory: 1MiB }", r":\d+:\d+: .*not supported yet"),
    ("routes:\n  - name: api\n    proxy: { upstream: pay }\nupstreams:\n"
     "  - { name: payments, endpoints: [ '10.0.0.1:80' ] }\n"
     "listeners:\n  - { name: w, address: '127.0.0.1:80' }",
     r":\d+:\d+: route 'api': upstream 'pay' is not defined; did you mean 'payments'\?"),
    ("routes:\n  - name: r\n    respond: { status: 200, headers: { x-a: \"b\\r\\nEvil: 1\" } }\n"
     "listeners:\n  - { name: w, address: '127.0.0.1:80' }", r":\d+:\d+: .*"),
    ("routes:\n  - name: r\n    redirect: { host: \"a\\r\\nEvil: 1\" }\n"
     "listeners:\n  - { name: w, address: '127.0.0.1:80' }", r":\d+:\d+: .*"),
    ("routes: [", r":\d+:\d+: .*"),
]


def test_bad_files_are_refused_with_line_and_column(sluice):
    wrong = []
    for text, said in BAD:
        sluice.configure("\n" + text + "\n")
        done = check(sluice.config_path)
        lines = (done.stderr + done.stdout).splitlines()
        if done.returncode == 0 or not any(re.search(r"sluice\.yaml" + said, line)
                                           for line in lines):
            wrong.append(f"{text!r}: exit {done.returncode}: {lines}")
    assert not wrong, "\n".join(wrong)


def test_hardening_13_line_break_in_a_configured_field_is_refused(sluice):
    for text in (BAD[3][0], BAD[4][0]):
        sluice.configure("\n" + text + "\n")
        assert check(sluice.config_path).returncode != 0, text


def test_all_errors_of_a_file_are_reported(sluice):
    sluice.configure("\nlistenrs: []\nrouts: []\nupstreams:\n  - { name: u, endpoints: [] }\n")
    done = check(sluice.config_path)
    said = done.stderr + done.stdout
    assert done.returncode != 0
    assert all(word in said for word in ("listenrs", "routs", "endpoints")), said


def test_check_prints_a_configuration_that_says_the_same(sluice):
    sluice.configure(saying("hello"))
    first = check(sluice.config_path)
    assert first.returncode == 0, first.stderr
    again = sluice.directory / "again.yaml"
    again.write_text(first.stdout)
    second = check(again)
    assert (second.returncode, second.stdout) == (0, first.stdout), second.stderr
    assert "idle" in first.stdout  # defaults are filled in


NOT_READY = [
    ("a file that is not there", None),
    ("a bad file", "\nlistenrs: []\n"),
    ("an interface that is not there",
     "\ndataplane: { interfaces: [ { name: nope0, xdp: auto } ] }\n" + saying("x")),
]


@pytest.mark.parametrize("what,text", NOT_READY, ids=[row[0] for row in NOT_READY])
def test_daemon_that_cannot_serve_exits_with_the_reason(sluice, what, text):
    if text is not None:
        sluice.configure(text)
    sluice.launch()
    code = sluice.process.wait(30)
    assert code != 0
    assert sluice.log.wait_for(r"\bready\b") is None  # up to its end
    assert re.search(r"sluice\.yaml|nope0", sluice.log.text()), sluice.log.text()
    sluice.process = None


def test_second_daemon_on_the_same_state_is_refused(sluice, topology, workdir, engine):
    sluice.configure(saying("first"))
    sluice.start()
    second = type(sluice)(topology, workdir, engine)
    try:
        second.write(sluice.config_path.read_text())
        with pytest.raises(NotReady) as refused:
            second.start()
        assert str(sluice.pid) in str(refused.value)
    finally:
        second.dispose()
    assert ask(topology).body == b"first"


def test_bad_file_leaves_the_old_configuration_running(sluice, topology):
    sluice.configure(saying("old"))
    sluice.start()
    generation = sluice.admin("/v1/status")["config"]["generation"]
    sluice.configure(saying("new") + "nonsense: 1\n")

    sluice.sighup()
    wait_until(lambda: sluice.admin("/v1/status")["config"]["last_error"],
               "the failed reload shows in the status")
    assert "nonsense" in sluice.admin("/v1/status")["config"]["last_error"]
    assert ask(topology).body == b"old"

    done = sluice.cli("config", "reload")
    assert done.returncode != 0
    assert re.search(r"sluice\.yaml:\d+:1: .*nonsense", done.stderr), done.stderr
    assert ask(topology).body == b"old"

    answer = sluice.admin("/v1/config/reload", "POST", status=422)
    assert any("nonsense" in line for line in answer["errors"])
    assert sluice.admin("/v1/status")["config"]["generation"] == generation
    assert 'body: old' in sluice.admin("/v1/config")["effective"].replace('"', "")

    sluice.configure(saying("new"))
    sluice.reload()
    assert ask(topology).body == b"new"
    status = sluice.admin("/v1/status")["config"]
    assert status["last_error"] is None and status["generation"] == generation + 1


def test_sighup_swaps_the_configuration(sluice, topology):
    sluice.configure(saying("old"))
    sluice.start()
    sluice.configure(saying("new"))
    sluice.sighup()
    wait_until(lambda: ask(topology).body == b"new", "the new configuration answers")


@pytest.mark.one_engine(False)
def test_listeners_come_and_go_with_a_reload(sluice, topology):
    sluice.configure(saying("one", 80))
    sluice.start()
    sluice.configure(saying("two", 81))
    sluice.reload()
    wait_until(lambda: ask(topology, port=81).body == b"two", "the new listener serves")
    with pytest.raises(OSError):
        ask(topology, port=80)


def test_change_that_needs_a_restart_is_refused(sluice, topology):
    sluice.configure(saying("old"))
    sluice.start()
    sluice.configure(saying("new"), workers=1)
    done = sluice.cli("config", "reload")
    assert done.returncode != 0 and "restart" in done.stderr, done.stderr
    assert ask(topology).body == b"old"


@pytest.mark.one_engine(False)
def test_reloads_under_load_lose_no_request(sluice, topology, long):
    """Two users on kept and on fresh connections, while the configuration changes all the time."""
    sluice.configure(saying("a"))
    sluice.start()
    stop = threading.Event()

    def kept():
        count = 0
        with Wire(topology.connect("client", SLUICE, 80)) as wire:
            while not stop.is_set():
                answer = wire.ask()
                assert answer.status == 200 and answer.body in (b"a", b"b"), answer
                count += 1
        return count

    def fresh():
        count = 0
        while not stop.is_set():
            answer = ask(topology)
            assert answer.status == 200 and answer.body in (b"a", b"b"), answer
            count += 1
        return count

    threads = [Thread(kept), Thread(kept), Thread(fresh), Thread(fresh)]
    try:
        for turn in range(200 if long else 20):
            sluice.configure(saying("ba"[turn % 2]))
            sluice.reload() if turn % 4 else sluice.sighup()
    finally:
        stop.set()
    assert all(thread.finish() > 0 for thread in threads)


@pytest.mark.one_engine(False)
def test_reload_does_not_touch_a_running_answer(sluice, topology):
    """Not even when route, upstream and listener are gone from the new configuration."""
    go_on = threading.Event()

    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"a" * 100_000)
        go_on.wait(30)
        connection.send(b"b" * 100_000)
        connection.read_request()

    with RawBackend(topology, BACKEND[0], 9400, handler) as backend:
        sluice.configure(f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams: [ {{ name: up, endpoints: [ "{BACKEND[0]}:9400" ] }} ]
routes: [ {{ name: all, proxy: {{ upstream: up }} }} ]
""")
        sluice.start()
        with Wire(topology.connect("client", SLUICE, 80)) as wire:
            wire.send(request())
            head = wire.read_response_head()
            wire.fill()
            sluice.configure(saying("other", 81))
            sluice.reload()
            wait_until(lambda: ask(topology, port=81).body == b"other", "the reload is through")
            go_on.set()
            assert wire.read_response_body(head).body == b"a" * 100_000 + b"b" * 100_000
        # What the old generation alone had is let go of.
        wait_until(lambda: sluice.admin("/v1/upstreams")["upstreams"] == [], "the upstream is gone")
        backend.wait_until_idle()


def test_hardening_32_admin_socket_is_for_root_and_the_daemon_alone(sluice):
    sluice.configure(saying("x"))
    sluice.start()
    code = (f"import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect({sluice.socket_path!r})\n"
            "s.sendall(b'GET /v1/status HTTP/1.1\\r\\nHost: sluice\\r\\n\\r\\n')\n"
            "sys.exit(0 if b' 403 ' in s.recv(4096).split(b'\\r\\n')[0] else 7)")
    done = subprocess.run(["/usr/bin/python3", "-c", code], user=65533, group=65533, extra_groups=[],
                          capture_output=True, text=True, timeout=60, check=False)
    refused = done.returncode == 0 or "PermissionError" in done.stderr
    assert refused, f"exit {done.returncode} {done.stderr}"
    assert sluice.admin("/v1/version")["abi_version"] == 7


def test_admin_requests_that_make_no_sense_get_an_error_in_json(sluice):
    sluice.configure(saying("x"))
    sluice.start()
    for path, method, status in (("/v1/nothing", "GET", 404), ("/v1/status", "DELETE", 405),
                                 ("/v1/deny?cidr=nonsense", "DELETE", 400)):
        assert sluice.admin(path, method, status=status)["error"]
    assert sluice.admin("/v1/deny", "POST", {"cidr": "300.1.2.3"}, status=400)["error"]
    assert sluice.admin("/v1/deny", "POST", {"cidr": "10.0.0.0/8", "ttl": "soon"},
                        status=400)["error"]
    connection = UnixConnection(sluice.socket_path)
    connection.connect()
    connection.sock.sendall(b"nonsense\r\n\r\n")
    assert b"400" in connection.sock.recv(4096)
    connection.close()
    assert sluice.admin("/v1/status")["state"] == "ready"


