"""
HARDENING 16: node.memory_limit at its smallest. Peers that hold as much as they can: first nobody
new is let in, then the idle go, then requests are refused; whoever behaves is served all the while,
and afterwards everything is as before.
"""
import contextlib
import resource
import threading

import pytest

from lib.backend import RawBackend
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.programs import build_dir, rss_bytes
from lib.wait import Thread, wait_until
from lib.wire import Closed, Truncated, Wire, request, response

MIB = 1 << 20
LIMIT_BYTES = 16 * MIB
CONFIG = f"""
listeners:
  - name: web
    address: [ "{SLUICE}:80" ]
    limits: {{ header_bytes: 64KiB, field_bytes: 60KiB }}
    timeouts: {{ header: 60s, idle: 120s }}
upstreams:
  - {{ name: up, endpoints: [ "{BACKEND[0]}:9000" ], limits: {{ connections: 4096 }},
       timeouts: {{ response: 120s }} }}
  - {{ name: good, endpoints: [ "{BACKEND[1]}:9000" ] }}
routes:
  - {{ name: good, match: {{ hosts: [ good.test ] }}, proxy: {{ upstream: good }} }}
  - {{ name: up, proxy: {{ upstream: up }} }}
"""
IS_SANITIZED = build_dir().name != "build"


@pytest.fixture
def node(sluice):
    sluice.write(sluice.preamble().replace("node:\n", "node:\n  memory_limit: 16MiB\n", 1) + CONFIG)
    return sluice.start()


@pytest.fixture(autouse=True)
def descriptors():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def counter(sluice, name):
    return sluice.admin("/v1/status")["counters"][name]


def memory(sluice):
    return sluice.admin("/v1/status")["memory"]


def levels(sluice):
    return {each["memory_level"] for each in sluice.admin("/v1/status")["workers"]}


def connections(sluice):
    return sum(each["connections"] for each in sluice.admin("/v1/status")["workers"])


class Wires(list):
    def __init__(self, topology):
        super().__init__()
        self.topology = topology

    def connect(self, **kwargs):
        wire = Wire(self.topology.connect("client", SLUICE, 80, **kwargs))
        self.append(wire)
        return wire

    def close(self):
        for wire in self:
            wire.close()
        self.clear()


@pytest.fixture
def wires(topology):
    wires = Wires(topology)
    yield wires
    wires.close()


class WellBehaved:
    """A client that goes on asking, on kept and new connections in turn, until it is told to end."""

    def __init__(self, topology):
        self.topology = topology
        self.answers = 0
        self.stop = threading.Event()
        self.thread = Thread(self._run)

    def _run(self):
        while not self.stop.is_set():
            with Wire(self.topology.connect("client", SLUICE, 80, source=CLIENT[1],
                                            timeout_s=60)) as wire:
                for _ in range(3):
                    try:
                        answer = wire.ask(host="good.test")
                    except Closed:
                        break  # an idle connection is closed before others are harmed
                    assert answer.status == 200, answer
                    self.answers += 1

    def finish(self):
        self.stop.set()
        self.thread.finish()
        return self.answers


def back_to_normal(sluice, topology):
    wait_until(lambda: levels(sluice) == {"easy"} and memory(sluice)["level"] == "easy",
               "memory is no longer short", deadline_s=60)
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        assert wire.ask(host="good.test").status == 200
    wait_until(lambda: connections(sluice) == 0, "nothing is left open", deadline_s=60)
    used = memory(sluice)["used_bytes"]
    assert used < LIMIT_BYTES / 2, f"{used} bytes are still in use"


def endless(connection):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.send(b"e" * 65536)


@pytest.mark.parametrize("pieces", ["large", "small"])
def test_hardening_16_readers_that_stop_do_not_take_all_memory(node, topology, wires, pieces):
    """Each holds what back-pressure lets it hold; together far more than there is."""

    def dribble(connection):
        """Chunks of a few bytes: each arrives in a receive buffer of its own, or nearly."""
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.send(b"8\r\nabcdefgh\r\n")

    before = rss_bytes(node.pid)
    with RawBackend(topology, BACKEND[0], 9000, endless if pieces == "large" else dribble), \
            RawBackend(topology, BACKEND[1], 9000):
        good = WellBehaved(topology)
        for _ in range(150 if pieces == "large" else 40):
            wires.connect(receive_bytes=4096).send(request(host="up.test"))
        if pieces == "large":
            wait_until(lambda: counter(node, "memory_holds"), "memory was short")
            wait_until(lambda: counter(node, "memory_reset") + counter(node, "slow_readers"),
                       "slow readers were reset", deadline_s=60)
        answers = good.answers
        wait_until(lambda: good.answers > answers + 20, "the good client is served", 60)
        assert memory(node)["used_bytes"] <= LIMIT_BYTES * 1.05
        if not IS_SANITIZED:
            growth = rss_bytes(node.pid) - before
            assert growth < LIMIT_BYTES + 4 * MIB, f"{growth / MIB:.1f} MiB more"
        wires.close()
        assert good.finish() > 20
        back_to_normal(node, topology)


def half_a_head(size=40 * 1024):
    return b"GET / HTTP/1.1\r\nHost: up.test\r\nX-Half: " + b"h" * size


def test_hardening_16_unfinished_heads_first_close_the_door_then_the_idle(node, topology, wires):
    """What they hold cannot be taken from them before their time, but others can be spared."""
    with RawBackend(topology, BACKEND[1], 9000):
        idle = [wires.connect() for _ in range(10)]
        for wire in idle:
            assert wire.ask(host="good.test").status == 200
        heads = [wires.connect() for _ in range(400)]
        for wire in heads:
            wire.send(half_a_head(6 * 1024))
        wait_until(lambda: memory(node)["used_bytes"] > LIMIT_BYTES / 8, "they arrived")
        assert levels(node) == {"easy"}
        for wire in idle:
            assert wire.ask(host="good.test").status == 200
        # Those that were let in grow: the idle have to go.
        for wire in heads:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                wire.send(b"h" * 34000)
        wait_until(lambda: counter(node, "memory_closed"), "idle connections were closed")
        assert counter(node, "memory_holds") >= 1
        assert counter(node, "memory_shed") == 0
        assert idle[0].is_closed(), "the longest idle goes first"
        wires.close()
        back_to_normal(node, topology)


def test_hardening_16_requests_are_shed_when_nothing_else_helps(node, topology, wires):
    """Requests with large heads wait for a backend: nothing of that can be let go."""
    may_answer = threading.Event()

    def slow(connection):
        connection.read_request()
        assert may_answer.wait(120)
        connection.send(response(b"after all"))
        connection.wait_for_end()

    with RawBackend(topology, BACKEND[0], 9000, slow), RawBackend(topology, BACKEND[1], 9000):
        inside = [wires.connect() for _ in range(300)]
        for wire in inside:
            wire.send(half_a_head(1000))
        wait_until(lambda: connections(node) == len(inside), "all are let in")
        assert levels(node) == {"easy"}
        for wire in inside:
            with contextlib.suppress(ConnectionResetError, BrokenPipeError):
                wire.send(b"h" * 50000 + b"\r\n\r\n")
        try:
            wait_until(lambda: counter(node, "memory_shed") + counter(node, "memory_reset"),
                       "there was too much")
            assert memory(node)["used_bytes"] <= LIMIT_BYTES * 1.05
        finally:
            may_answer.set()
        statuses = []
        for wire in inside:
            with contextlib.suppress(Closed, Truncated, OSError):
                wire.end()
                answer = wire.read_response()
                statuses.append(answer.status)
                if answer.status == 503:
                    assert answer.get("connection") == "close"
                    assert b"memory is short" in answer.body
        assert set(statuses) <= {200, 503}
        assert statuses.count(200) > 20, "those that came before are answered"
        assert statuses.count(503) <= counter(node, "memory_shed")
        wires.close()
        back_to_normal(node, topology)


IDLE_COUNT = 2000
IDLE_BYTES = 6 * 1024


def rollup_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"no Rss for {pid}")


@pytest.mark.skipif(IS_SANITIZED, reason="sanitizers keep memory of their own")
def test_idle_connection_takes_little_memory(sluice, topology, wires, long):
    """Everything of a request is given back when its connection becomes idle."""
    count = 9000 if long else IDLE_COUNT
    sluice.configure(CONFIG.replace("limits: {", "limits: { connections_per_source: 10000,", 1))
    sluice.start()
    with RawBackend(topology, BACKEND[1], 9000):
        warm = [wires.connect(source=CLIENT[at % 4]) for at in range(50)]
        for wire in warm:
            assert wire.ask(host="good.test").status == 200
        before = rollup_bytes(sluice.pid)
        for at in range(count):
            assert wires.connect(source=CLIENT[at % 4]).ask(host="good.test").status == 200
        each = (rollup_bytes(sluice.pid) - before) / count
        assert connections(sluice) == count + len(warm)
        assert each <= IDLE_BYTES, f"{each:.0f} bytes each"
        for wire in wires[::100]:
            assert wire.ask(host="good.test").status == 200
        wires.close()
        wait_until(lambda: connections(sluice) == 0, "they are gone", deadline_s=60)
