"""HARDENING 14 and 16: what one request may hold, and how many connections one client may have."""
import errno
import socket

import pytest

from lib.backend import RawBackend
from lib.netns import BACKEND, CLIENT, CLIENT6, SLUICE, SLUICE6
from lib.wait import wait_until
from lib.wire import Closed, Truncated, Wire, request

LIMIT = 5
CONFIG = """
listeners:
  - name: few
    address: [ "{v4}:80", "[{v6}]:80" ]
    limits: {{ connections_per_source: {limit} }}
  - name: many
    address: [ "{v4}:81" ]
  - name: fields
    address: [ "{v4}:82" ]
    limits: {{ field_bytes: 1KiB }}
  - name: huge
    address: [ "{v4}:83" ]
    limits: {{ header_bytes: 128KiB, field_bytes: 128KiB, header_count: 1000, uri_bytes: 120KiB }}
upstreams:
  - {{ name: up, endpoints: [ "{backend}:9000" ] }}
routes:
  - {{ name: up, match: {{ path: {{ prefix: /up }} }}, proxy: {{ upstream: up }} }}
  - {{ name: say, respond: {{ status: 200, body: hello }} }}
"""


@pytest.fixture
def node(sluice):
    configure(sluice, LIMIT)
    return sluice.start()


def configure(sluice, limit, trusted="[]"):
    text = sluice.preamble().replace("node:\n", f"node:\n  trusted_proxies: {trusted}\n", 1)
    sluice.write(text + CONFIG.format(v4=SLUICE, v6=SLUICE6, limit=limit, backend=BACKEND[0]))


def counter(sluice, name):
    return sluice.admin("/v1/status")["counters"][name]


def open_connections(sluice):
    return sum(each["connections"] for each in sluice.admin("/v1/status")["workers"])


class Crowd:
    """Connections of one test, each with a request answered to show that it was let in."""

    def __init__(self, topology):
        self.topology = topology
        self.wires = []

    def enter(self, source, address=SLUICE, port=80):
        """None: refused, and then by a reset before any byte."""
        try:
            sock = self.topology.connect("client", address, port, source=source)
            wire = Wire(sock)
            wire.send(request(host="any.test"))
            data = sock.recv(65536)
        except OSError as error:
            assert error.errno in (errno.ECONNRESET, errno.EPIPE), error
            return None
        assert data, "an end where a reset was due"
        assert data.startswith(b"HTTP/1.1 200 "), data
        self.wires.append(wire)
        return wire

    def close(self):
        for wire in self.wires:
            wire.close()


@pytest.fixture
def crowd(topology):
    crowd = Crowd(topology)
    yield crowd
    crowd.close()


def test_hardening_16_source_has_so_many_connections_and_others_are_not_touched(node, crowd):
    mine = [crowd.enter(CLIENT[0]) for _ in range(LIMIT)]
    assert all(mine)
    assert [crowd.enter(CLIENT[0]) for _ in range(20)] == [None] * 20
    assert counter(node, "source_refused") == 20
    assert node.log.wait_for(rf"'few': connections of {CLIENT[0]} beyond .*\({LIMIT}\)")
    assert crowd.enter(CLIENT[1]), "another client pays for the first"
    assert all(crowd.enter(CLIENT[0], port=81) for _ in range(LIMIT)), "another listener counts"
    for wire in mine:  # those that were let in go on
        assert wire.ask(host="any.test").status == 200


def test_hardening_16_place_of_a_closed_connection_is_free_again(node, crowd):
    for turn in range(3):
        inside = [crowd.enter(CLIENT[0]) for _ in range(LIMIT)]
        assert all(inside), f"turn {turn}"
        assert crowd.enter(CLIENT[0]) is None
        for at, wire in enumerate(inside):
            wire.reset() if at % 2 else wire.close()
        wait_until(lambda: open_connections(node) == 0, "they are gone")


def test_hardening_16_ipv6_counts_by_64(node, crowd):
    """A customer has a whole /64 to choose addresses from."""
    inside = [crowd.enter(CLIENT6[at % 4], SLUICE6) for at in range(LIMIT)]
    assert all(inside)
    assert [crowd.enter(source, SLUICE6) for source in CLIENT6] == [None] * 4
    assert crowd.enter(CLIENT[0]), "IPv4 counts apart"


def test_hardening_16_limit_follows_a_reload_and_counts_on(node, crowd):
    assert all(crowd.enter(CLIENT[0]) for _ in range(LIMIT))
    configure(node, 2 * LIMIT)
    node.reload()
    assert all(crowd.enter(CLIENT[0]) for _ in range(LIMIT))
    assert crowd.enter(CLIENT[0]) is None
    configure(node, LIMIT)
    node.reload()
    assert crowd.enter(CLIENT[0]) is None
    for wire in crowd.wires:  # those that are in stay
        assert wire.ask(host="any.test").status == 200


def test_hardening_16_trusted_proxies_are_not_counted(sluice, crowd):
    configure(sluice, LIMIT, f"[ {CLIENT[0]} ]")
    sluice.start()
    assert all(crowd.enter(CLIENT[0]) for _ in range(3 * LIMIT))
    assert all(crowd.enter(CLIENT[1]) for _ in range(LIMIT))
    assert crowd.enter(CLIENT[1]) is None


def test_hardening_16_silent_connections_count_until_they_are_timed_out(node, topology, crowd):
    silent = [topology.connect("client", SLUICE, 80, source=CLIENT[0]) for _ in range(LIMIT)]
    wait_until(lambda: open_connections(node) == LIMIT, "they were accepted")
    assert crowd.enter(CLIENT[0]) is None
    for sock in silent:
        sock.close()
    wait_until(lambda: open_connections(node) == 0, "they are gone")
    assert crowd.enter(CLIENT[0])


def ask(topology, port, *args, **kwargs):
    with Wire(topology.connect("client", SLUICE, port)) as wire:
        with wire.sending([request(*args, host="any.test", **kwargs)]):
            try:
                answer = wire.read_response()
            except (Closed, Truncated) as error:
                return f"no answer: {error}"
        if answer.get("connection") == "close":
            wire.is_closed()
        return answer.status


def test_hardening_14_one_field_is_bounded_by_itself(node, topology):
    line = 1024
    rows = [
        ("as long as allowed", "X-Long: ", line, 200),
        ("one byte more", "X-Long: ", line + 1, 431),
        ("a long name", "X" * line + ": ", line + 10, 431),
        ("many times more", "X-Long: ", 20 * line, 431),
    ]
    wrong = []
    for what, start, length, status in rows:
        got = ask(topology, 82, fields=[start + "v" * (length - len(start))])
        if got != status:
            wrong.append(f"{what}: {got} instead of {status}")
    assert not wrong, "\n".join(wrong)


def test_hardening_14_largest_limits_that_can_be_set_can_be_used(node, topology):
    """What the configuration allows an exchange's memory can hold, on the way to a backend too."""
    with RawBackend(topology, BACKEND[0], 9000) as backend:
        target = "/up?" + "q" * (100 * 1024)
        fields = [f"X-{at}: {at}" for at in range(990)]
        assert ask(topology, 83, target, fields=fields) == 200
        assert backend.requests[0].target == target
        assert len([name for name, _ in backend.requests[0].fields if name[:2] == "X-"]) >= 990
        assert ask(topology, 83, "/up", fields=["X-Long: " + "v" * (125 * 1024)]) == 200
        assert ask(topology, 83, "/up", fields=["X-Long: " + "v" * (129 * 1024)]) == 431
        assert ask(topology, 83, "/up", fields=fields + fields) == 431
        assert ask(topology, 83, "/" + "u" * (121 * 1024)) == 414
        assert len(backend.requests) == 2


def test_hardening_16_refusal_is_a_reset_and_not_an_end(node, topology, crowd):
    assert all(crowd.enter(CLIENT[0]) for _ in range(LIMIT))
    sock = topology.socket("client", socket.AF_INET)
    with sock:
        sock.settimeout(20)
        sock.bind((CLIENT[0], 0))
        try:
            sock.connect((SLUICE, 80))
            assert sock.recv(1) == b"never", "an end where a reset was due"
        except ConnectionResetError:
            pass
