"""The access log: what is said of each exchange, where it goes, and whom it never stops."""
import json
import os
import re
import signal
import stat
import threading

import pytest

from lib.backend import RawBackend, answer_each
from lib.daemon import NODE_USER, NotReady
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.wait import wait_until
from lib.wire import Truncated, Wire, request, response

pytestmark = pytest.mark.one_engine

BACKEND_PORT = 9310
COMBINED = re.compile(
    r'(\S+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] '
    r'"((?:[^"\\]|\\x[0-9A-F]{2})*)" (\d{3}) (\d+) "((?:[^"\\]|\\x[0-9A-F]{2})*)" '
    r'"((?:[^"\\]|\\x[0-9A-F]{2})*)"\Z')


class LoggedSluice:
    """The test's daemon with an access log in a directory that the daemon makes."""

    def __init__(self, topology, sluice):
        self.topology = topology
        self.sluice = sluice
        self.path = sluice.directory / "log" / "access.log"

    def configure(self, keys="", file=None, **node):
        self.sluice.configure(f"""  access_log: {{ file: "{file or self.path}" {keys} }}
listeners:
  - {{ name: web, address: "{SLUICE}:80", limits: {{ header_bytes: 2KiB, uri_bytes: 512,
       body_bytes: 64KiB }}, timeouts: {{ header: 1s }} }}
  - {{ name: wide, address: "{SLUICE}:81" }}
upstreams: [ {{ name: up, endpoints: [ "{BACKEND[0]}:{BACKEND_PORT}" ] }} ]
routes:
  - {{ name: say, match: {{ path: {{ prefix: /say }} }}, respond: {{ status: 200, body: hello }} }}
  - {{ name: up, match: {{ path: {{ prefix: /up }} }}, proxy: {{ upstream: up }} }}
""", **node)

    def start(self, keys="", **more):
        self.configure(keys, **more)
        self.sluice.start()
        return self

    def connect(self, port=80):
        return Wire(self.topology.connect("client", SLUICE, port))

    def ask(self, *args, port=80, **kwargs):
        with self.connect(port) as wire:
            return wire.ask(*args, **kwargs)

    def lines(self, count, path=None):
        """That many lines, once they are there; fails for more."""
        path = path or self.path

        def read():
            text = path.read_text() if path.exists() else ""
            return text.splitlines() if text.count("\n") >= count else None

        found = wait_until(read, f"{path} has {count} lines")
        assert len(found) == count, found
        return found

    def entries(self, count, path=None):
        return [json.loads(line) for line in self.lines(count, path)]

    def entry(self):
        return self.entries(1)[0]


@pytest.fixture
def logged(topology, sluice):
    return LoggedSluice(topology, sluice)


def test_a_proxied_exchange_is_told_with_its_upstream_and_times(topology, logged):
    logged.start()
    with RawBackend(topology, BACKEND[0], BACKEND_PORT, answer_each(response(b"x" * 100))):
        with logged.connect() as wire:
            for turn in range(2):
                wire.ask(f"/up/{turn}?q=a%20b&q=2", "POST", ["User-Agent: me/1", "Referer: http://r/"],
                         b"12345", "Shop.test:80")
        first, second = logged.entries(2)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("time"))
    times = {key: first.pop(key) for key in ("duration_ms", "first_byte_ms", "connect_ms",
                                             "upstream_ms")}
    assert first == {
        "client": CLIENT[0], "listener": "web", "route": "up", "method": "POST",
        "host": "Shop.test:80", "target": "/up/0?q=a%20b&q=2", "protocol": "HTTP/1.1",
        "status": 200, "reason": None, "bytes_in": 5, "bytes_out": 100, "upstream": "up",
        "endpoint": f"{BACKEND[0]}:{BACKEND_PORT}", "attempts": 1, "reused": False,
        "user_agent": "me/1", "referer": "http://r/"}
    assert 0 < times["connect_ms"] <= times["upstream_ms"] <= times["first_byte_ms"] + 0.001
    assert times["first_byte_ms"] <= times["duration_ms"] < 20000
    assert second["reused"] is True and second["connect_ms"] is None
    assert second["target"] == "/up/1?q=a%20b&q=2"


def test_local_answers_and_missing_routes_are_told(logged):
    logged.start()
    logged.ask("/say/x")
    assert logged.ask("/nowhere").status == 404
    with logged.connect() as wire:
        wire.send(b"GET /say HTTP/1.0\r\n\r\n")
        wire.read_response()
    said, missing, old = logged.entries(3)
    assert (said["route"], said["status"], said["bytes_out"], said["reason"]) == (
        "say", 200, 5, None)
    assert "upstream" not in said and "peer" not in said and said["user_agent"] is None
    assert (missing["route"], missing["status"]) == (None, 404)
    assert missing["reason"] == "no route for this host and path"
    assert (old["protocol"], old["host"]) == ("HTTP/1.0", None)


def test_behind_a_trusted_proxy_client_and_peer_are_told_apart(logged):
    logged.configure()
    text = logged.sluice.config_path.read_text()
    logged.sluice.write(text.replace("  access_log:", f"  trusted_proxies: [ {CLIENT[0]} ]\n"
                                     "  access_log:"))
    logged.sluice.start()
    logged.ask("/say", fields=["X-Forwarded-For: 198.51.100.7"])
    logged.ask("/say", fields=["X-Forwarded-For: 2001:db8::7"])
    told = [(entry["client"], entry["peer"]) for entry in logged.entries(2)]
    assert told == [("198.51.100.7", CLIENT[0]), ("2001:db8::7", CLIENT[0])]


REFUSED = [
    # bytes, status, first line as it is kept, a word of the reason
    (b"GET /say HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, "GET /say HTTP/1.1", "fold"),
    (b"GET  /say HTTP/1.1\r\nHost: a\r\n\r\n", 400, "GET  /say HTTP/1.1", ""),
    (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400, "\x16\x03\x01\x02\x00\x01", ""),
    (b"GET /" + b"u" * 600 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "GET /" + "u" * 507, ""),
    (b"GET /say HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 3000 + b"\r\n\r\n", 431, "GET /say HTTP/1.1",
     ""),
    (b"GET /say HTTP/1.1\r\nHost: a\r\n", 408, "GET /say HTTP/1.1", "time"),
]


def test_refused_heads_are_told_with_the_reason_and_their_first_line(logged):
    logged.start()
    for count, (sent, status, line, word) in enumerate(REFUSED, 1):
        with logged.connect() as wire:
            wire.send(sent)
            assert wire.read_response().status == status, sent
        entry = logged.entries(count)[-1]
        assert entry["status"] == status
        assert entry["refused_line"] == line
        assert entry["reason"] and word in entry["reason"], entry
        assert [entry[key] for key in ("method", "target", "host", "route")] == [None] * 4


def test_a_body_that_is_too_large_is_told(logged):
    logged.start()
    with logged.connect() as wire:
        wire.send(b"POST /say HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n")
        assert wire.read_response().status == 413
    entry = logged.entry()
    assert (entry["status"], entry["reason"], entry["method"]) == (
        413, "request body too large", "POST")


def test_an_upstream_that_refuses_is_told_without_an_answer_of_it(logged):
    logged.start()
    assert logged.ask("/up").status == 502
    entry = logged.entry()
    assert (entry["status"], entry["reason"]) == (502, "upstream refused the connection")
    assert entry["upstream"] == "up" and entry["attempts"] >= 1
    assert entry["upstream_ms"] is None and entry["connect_ms"] is None


@pytest.mark.one_engine(False)
def test_an_upstream_that_dies_in_the_body_leaves_status_and_reason(topology, logged):
    def die(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")

    logged.start()
    with RawBackend(topology, BACKEND[0], BACKEND_PORT, die), logged.connect() as wire:
        wire.send(request("/up"))
        with pytest.raises(Truncated):
            wire.read_response()
        entry = logged.entry()
    assert (entry["status"], entry["bytes_out"]) == (200, 4)
    assert entry["reason"] == "upstream closed the connection"


@pytest.mark.one_engine(False)
def test_clients_that_leave_are_told_with_what_they_got(topology, logged):
    gone = threading.Event()

    def wait_then_answer(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        gone.wait(20)
        connection.wait_for_end()

    logged.start()
    backend = RawBackend(topology, BACKEND[0], BACKEND_PORT, wait_then_answer)
    with backend:
        with logged.connect() as wire:
            wire.send(request("/up/half"))
            wire.read_response_head()
            wire.reset()
        half = logged.entries(1)[0]
        gone.set()
        backend.handler = lambda connection: connection.wait_for_end()
        with logged.connect() as wire:
            wire.send(request("/up/none"))
            backend.wait_for_connections(2)
            wire.reset()
        none = logged.entries(2)[1]
    assert (half["status"], half["reason"]) == (200, "client closed the connection")
    assert (none["status"], none["reason"]) == (None, "client closed the connection")
    assert none["first_byte_ms"] is None


def test_a_request_whose_body_stays_away_is_told(logged):
    logged.start()
    with logged.connect() as wire:
        wire.send(b"POST /say HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        wire.end()
        wire.read_until_close()
    entry = logged.entry()
    assert (entry["reason"], entry["bytes_in"]) == ("client closed the connection", 4)


def test_no_request_can_forge_a_line_or_a_field(logged):
    hostile = [b'x" 200 1 "-" "-', b"a\\", b"\xff\xc3\x28\xed\xa0\x80", "grüße".encode(), b"a\tb"]
    paths = {"json": logged.path, "combined": logged.path.with_name("combined.log")}
    for name, path in paths.items():
        if name == "json":
            logged.start()
        else:
            logged.configure(", format: combined", file=path)
            logged.sluice.reload()
        for value in hostile:
            with logged.connect() as wire:
                wire.send(b"GET /say HTTP/1.1\r\nHost: a\r\nUser-Agent: " + value +
                          b"\r\nReferer: " + value + b"\r\n\r\n")
                wire.read_response()
    for value, line in zip(hostile, logged.lines(len(hostile))):
        assert json.loads(line)["user_agent"] == json.loads(line)["referer"]
        assert json.loads(line)["user_agent"] == value.decode("utf-8", "replace")
    for value, line in zip(hostile, logged.lines(len(hostile), paths["combined"])):
        match = COMBINED.fullmatch(line)
        assert match, line
        assert match[6] == match[5]
        assert re.sub(rb"\\x(..)", lambda code: bytes([int(code[1], 16)]),
                      match[6].encode()) == value


def test_combined_lines_are_those_of_every_log_analyser(topology, logged):
    logged.start(", format: combined")
    logged.ask("/say?a=b", fields=["User-Agent: curl/8", "Referer: http://r/"])
    with logged.connect() as wire:
        wire.send(REFUSED[1][0])
        wire.read_response()
    with RawBackend(topology, BACKEND[0], BACKEND_PORT, lambda each: each.wait_for_end()) as backend:
        with logged.connect() as wire:
            wire.send(request("/up"))
            backend.wait_for_connections(1)
            wire.reset()
        lines = logged.lines(3)
    assert [COMBINED.fullmatch(line).groups() for line in lines] == [
        (CLIENT[0], "GET /say?a=b HTTP/1.1", "200", "5", "http://r/", "curl/8"),
        (CLIENT[0], "GET  /say HTTP/1.1", "400", COMBINED.fullmatch(lines[1])[4], "-", "-"),
        (CLIENT[0], "GET /up HTTP/1.1", "499", "0", "-", "-")]


def test_secrets_of_a_request_are_not_written(logged):
    logged.start()
    logged.ask("/say", fields=["Authorization: Bearer opensesame", "Cookie: id=opensesame",
                               "Proxy-Authorization: Basic opensesame", "X-Api-Key: opensesame"])
    assert "opensesame" not in logged.lines(1)[0]


def test_the_file_belongs_to_the_user_and_others_cannot_read_it(logged):
    logged.start()
    for path, mode in ((logged.path.parent, 0o750), (logged.path, 0o640)):
        assert path.owner() == NODE_USER
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_file_that_the_user_may_not_write_ends_the_start(logged):
    logged.path.parent.mkdir(mode=0o755)
    logged.path.write_text("")
    logged.configure()
    with pytest.raises(NotReady, match=r"node\.access_log\.file: cannot open .*Permission denied"):
        logged.sluice.start()


@pytest.mark.parametrize("how", ["reload", "refused reload"])
def test_after_a_rotation_the_new_file_gets_the_lines_and_none_is_lost(logged, how):
    logged.start()
    moved, stop, asked = logged.path.with_name("access.log.1"), threading.Event(), []

    def load():
        with logged.connect() as wire:
            while not stop.is_set():
                wire.ask(f"/say/{len(asked)}")
                asked.append(len(asked))

    thread = threading.Thread(target=load)
    thread.start()
    try:
        wait_until(lambda: len(asked) > 50, "there is load")
        os.rename(logged.path, moved)
        if how == "reload":
            logged.sluice.reload()
        else:
            logged.sluice.config_path.write_text("nonsense")
            assert logged.sluice.cli("config", "reload").returncode != 0
        reloaded = len(asked)
        wait_until(lambda: len(asked) > reloaded + 50, "the load goes on")
    finally:
        stop.set()
        thread.join()
    total = len(asked)
    wait_until(lambda: (moved.read_text() + logged.path.read_text()).count("\n") == total,
               "all lines were written")
    old, new = ([json.loads(line)["target"] for line in path.read_text().splitlines()]
                for path in (moved, logged.path))
    assert old + new == [f"/say/{number}" for number in range(total)]
    assert f"/say/{reloaded + 1}" in new
    assert logged.path.owner() == NODE_USER


def test_a_reload_that_cannot_open_the_file_is_refused_and_the_log_goes_on(logged):
    logged.start()
    logged.ask("/say/1")
    moved = logged.path.with_name("moved")
    logged.lines(1)
    os.rename(logged.path, moved)
    logged.path.mkdir()
    done = logged.sluice.cli("config", "reload")
    assert done.returncode != 0
    assert f"node.access_log.file: cannot open {logged.path}: Is a directory" in done.stderr
    assert logged.sluice.log.wait_for("the access log goes on in the file it had")
    logged.ask("/say/2")
    assert [entry["target"] for entry in logged.entries(2, moved)] == ["/say/1", "/say/2"]
    # Outside of what the user and Landlock allow it is the same; the old name is free again.
    logged.path.rmdir()
    logged.configure(file="/etc/sluice-test-access.log")
    assert "Permission denied" in logged.sluice.cli("config", "reload").stderr
    logged.ask("/say/3")
    assert logged.entry()["target"] == "/say/3"


def test_file_and_format_change_by_reload_and_the_log_ends_with_its_key(logged):
    other = logged.path.with_name("other.log")
    logged.start()
    logged.ask("/say/1")
    logged.configure(", format: combined", file=other)
    logged.sluice.reload()
    wait_until(lambda: logged.ask("/say/2") and other.exists() and other.read_text(),
               "the other file has lines")
    assert json.loads(logged.path.read_text().splitlines()[0])["target"] == "/say/1"
    assert all(COMBINED.fullmatch(line) for line in other.read_text().splitlines())
    text = logged.sluice.config_path.read_text()
    logged.sluice.write(re.sub(r"  access_log: .*\n", "", text))
    logged.sluice.reload()
    assert logged.sluice.admin("/v1/status")["access_log"] is None


def test_a_log_that_nobody_takes_costs_lines_but_no_request(logged):
    pipe = logged.sluice.directory / "pipe"
    os.mkfifo(pipe, 0o666)
    os.chmod(pipe, 0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        logged.start(file=pipe)
        fields = [f"{name}: " + "\\" * 1000 for name in ("User-Agent", "Referer")]
        asked, status = 0, {"counters": {"access_log_dropped": 0}}
        while not status["counters"]["access_log_dropped"] and asked < 20000:
            for _ in range(20): # connections, so that every worker gets some
                with logged.connect(81) as wire:
                    wire.send(request("/say/" + "x" * 4000, fields=fields) * 20)
                    for _ in range(20):
                        assert wire.read_response().status == 200
            asked += 400
            status = logged.sluice.admin("/v1/status")
        dropped = status["counters"]["access_log_dropped"]
        assert 0 < dropped < asked
        # Now somebody reads: what was kept arrives whole, and the log goes on.
        got, end = bytearray(), {"asked": asked}

        def drain():
            try:
                got.extend(os.read(reader, 1 << 20))
            except BlockingIOError:
                pass
            last = logged.sluice.admin("/v1/status")
            return last["access_log"]["lines"] + last["counters"][
                "access_log_dropped"] == end["asked"] and got.count(b"\n") == last[
                    "access_log"]["lines"]

        wait_until(drain, "every line was written or counted as dropped", 60)
        assert all(json.loads(line)["status"] == 200 for line in got.splitlines())
        assert logged.ask("/say/again").status == 200
        end["asked"] += 1
        wait_until(drain, "the log went on")
    finally:
        os.close(reader)


def test_a_reader_that_is_gone_is_logged_and_hurts_nobody(logged):
    pipe = logged.sluice.directory / "pipe"
    os.mkfifo(pipe, 0o666)
    os.chmod(pipe, 0o666)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    logged.start(file=pipe)
    os.close(reader)
    logged.ask("/say")
    assert logged.sluice.log.wait_for("cannot write to .*pipe, 1 lines are lost: Broken pipe")
    assert logged.sluice.admin("/v1/status")["access_log"]["lines_lost"] == 1
    assert logged.ask("/say").status == 200


def test_a_full_disk_is_logged_once_and_its_lines_are_counted(logged):
    logged.start(file="/dev/full")
    for count in range(1, 4):
        logged.ask("/say")
        wait_until(lambda c=count: logged.sluice.admin("/v1/status")["access_log"][
            "lines_lost"] == c, "the line was lost")
    assert len(re.findall("cannot write to /dev/full", logged.sluice.log.text())) == 1


def test_a_sample_is_about_its_share_and_counters_count_all(logged):
    logged.start(", sample: 25%")
    with logged.connect() as wire:
        for _ in range(20):
            wire.send(request("/say") * 50)
            for _ in range(50):
                wire.read_response()
    assert logged.sluice.admin("/v1/status")["counters"]["requests"] == 1000
    logged.sluice.stop()
    count = logged.path.read_text().count("\n")
    assert 150 < count < 350, count  # seven times the standard deviation


def test_what_was_answered_before_a_stop_is_in_the_file(logged):
    logged.start()
    with logged.connect() as wire:
        wire.send(request("/say") * 300)
        for _ in range(300):
            wire.read_response()
        logged.sluice.stop()
    assert len(logged.path.read_text().splitlines()) == 300


@pytest.mark.one_engine(False)
def test_an_exchange_that_the_stop_cuts_is_told(topology, logged):
    logged.start(drain="0s")
    backend = RawBackend(topology, BACKEND[0], BACKEND_PORT, lambda each: each.wait_for_end())
    with backend, logged.connect() as wire:
        wire.send(request("/up"))
        backend.wait_for_connections(1)
        logged.sluice.stop()
    assert logged.entry()["reason"] == "this server stopped"


def test_the_log_may_go_to_standard_output(logged):
    logged.start(file="stdout")
    logged.ask("/say/stdout")
    line = logged.sluice.log.wait_for(r'"target":"/say/stdout"')
    assert json.loads(line)["status"] == 200
    logged.sluice.process.send_signal(signal.SIGHUP)
    assert logged.sluice.log.wait_for("reloaded")
    logged.ask("/say/again")
    assert logged.sluice.log.wait_for(r'"target":"/say/again"')
