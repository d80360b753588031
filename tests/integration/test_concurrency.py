"""The policy concurrency: who gets through, who waits, and what happens to slots of who leaves."""
import pytest

from lib.daemon import daemon
from lib.gate import BACKEND_PORT, Gate, all_of
from lib.group import Hold, sources
from lib.backend import RawBackend
from lib.http2 import Http2
from lib.netns import BACKEND, SLUICE
from lib.wait import wait_until
from lib.wire import Wire, request

CONFIG = """
policies:
  - {{ name: few, concurrency: {{ max: {max}, queue: 2, wait: 1m }} }}
  - {{ name: none-waits, concurrency: {{ max: {max} }} }}
  - {{ name: hasty, concurrency: {{ max: {max}, queue: 1, wait: 50ms }} }}
routes:
  - {{ name: few, match: {{ hosts: [ few.test ] }}, policies: [ few ], proxy: {{ upstream: app }} }}
  - {{ name: none, match: {{ hosts: [ none.test ] }}, policies: [ none-waits ],
      proxy: {{ upstream: app }} }}
  - {{ name: hasty, match: {{ hosts: [ hasty.test ] }}, policies: [ hasty ],
      proxy: {{ upstream: app }} }}
"""


class OverHttp1:
    def __init__(self, gate, host, source):
        self.wire = Wire(gate.topology.connect("client", SLUICE, 80, source))
        self.wire.send(request("/", host=host))

    def answer(self):
        answer = self.wire.read_response()
        return answer.status, [(name.lower(), value) for name, value in answer.fields]

    def leave(self):
        self.wire.reset()  # who only closes may still be waiting for the answer


class OverHttp2:
    def __init__(self, gate, host, source):
        self.client = Http2(gate.topology.connect("client", SLUICE, 80, source))
        self.stream = self.client.start("/", host=host)
        self.client.flush()

    def answer(self):
        answer = self.client.wait(self.stream)
        return answer.status, answer.fields

    def leave(self):
        self.client.close()


class House(Gate):
    """Requests from many addresses, so that they come to both workers."""

    def __init__(self, topology, sluice):
        super().__init__(topology, sluice)
        self.sources = sources(topology)
        self.started = 0
        self.held = None

    def begin(self, host):
        kind = OverHttp2 if self.protocol == "http2" else OverHttp1
        self.started += 1
        return kind(self, host, self.sources[self.started % len(self.sources)])

    def usage(self, policy):
        return (self.metric("sluice_concurrency_requests", policy=policy),
                self.metric("sluice_concurrency_waiting_requests", policy=policy))

    def wait_for(self, policy, under_way, waiting):
        wait_until(lambda: self.usage(policy) == (under_way, waiting),
                   f"{under_way} are under way and {waiting} wait")


@pytest.fixture(scope="module")
def daemon_house(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        house = House(topology, sluice)
        house.configure(CONFIG.format(max=2))
        sluice.start()
        yield house


@pytest.fixture(params=["http1", "http2"])
def house(daemon_house, request):
    daemon_house.protocol = request.param
    daemon_house.held = Hold()
    with RawBackend(daemon_house.topology, BACKEND[0], BACKEND_PORT, daemon_house.held) as backend:
        daemon_house.backend = backend
        yield daemon_house
        daemon_house.held.release()
    backend.check()


def test_one_more_waits_and_one_too_many_is_refused(house):
    asked = []
    for number in range(4):
        asked.append(house.begin("few.test"))
        house.wait_for("few", min(number + 1, 2), max(number - 1, 0))
    before = house.refusals("few", "limited")
    status, fields = house.begin("few.test").answer()
    assert (status, all_of(fields, "retry-after")) == (503, ["60"])
    assert house.refusals("few", "limited") == before + 1
    house.last_line(route="few", status=503, reason="too many requests at once: policy 'few': "
                                                    "2 are under way, 2 wait")
    assert len(house.backend.requests) == 2
    house.held.release()
    assert [each.answer()[0] for each in asked] == [200] * 4
    house.wait_for("few", 0, 0)
    for each in asked:
        each.leave()


def test_who_leaves_makes_room_for_the_next(house):
    first = house.begin("few.test")
    house.wait_for("few", 1, 0)
    second = house.begin("few.test")
    house.wait_for("few", 2, 0)
    third = house.begin("few.test")
    house.wait_for("few", 2, 1)
    fourth = house.begin("few.test")
    house.wait_for("few", 2, 2)
    third.leave()
    house.wait_for("few", 2, 1)
    first.leave()
    house.wait_for("few", 2, 0)
    house.held.release()
    assert [each.answer()[0] for each in (second, fourth)] == [200, 200]
    house.wait_for("few", 0, 0)
    second.leave()
    fourth.leave()


def test_who_has_waited_too_long_is_refused(house):
    asked = [house.begin("hasty.test") for _ in range(2)]
    house.wait_for("hasty", 2, 0)
    status, fields = house.begin("hasty.test").answer()
    assert (status, all_of(fields, "retry-after")) == (503, ["1"])
    house.wait_for("hasty", 2, 0)
    house.held.release()
    assert [each.answer()[0] for each in asked] == [200, 200]
    for each in asked:
        each.leave()


def test_reload_keeps_slots_and_lets_more_in(house):
    asked = []
    for number in range(4):
        asked.append(house.begin("few.test"))
        house.wait_for("few", min(number + 1, 2), max(number - 1, 0))
    try:
        house.configure(CONFIG.format(max=3))
        house.sluice.reload()
        house.wait_for("few", 3, 1)
        house.backend.wait_for_requests(3)
    finally:
        house.configure(CONFIG.format(max=2))
        house.sluice.reload()
    house.held.release()
    assert [each.answer()[0] for each in asked] == [200] * 4
    house.wait_for("few", 0, 0)
    for each in asked:
        each.leave()


def test_backend_that_breaks_gives_the_slot_back(house):
    asked = [house.begin("none.test") for _ in range(2)]
    house.wait_for("none-waits", 2, 0)
    assert house.begin("none.test").answer()[0] == 503
    for connection in house.backend.connections:
        connection.reset()
    assert [each.answer()[0] for each in asked] == [502, 502]
    house.wait_for("none-waits", 0, 0)
    for each in asked:
        each.leave()
