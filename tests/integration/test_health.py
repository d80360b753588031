"""Probes of L4 backends, with real programs that end and come back; forward mode ipip."""
import contextlib

import pytest

from lib.daemon import Sluice
from lib.l4 import (DOWN, TCP_PORT, UDP_PORT, VIP, L4Topology, Servers, TcpPeer, ask_udp, backend)
from lib.wait import wait_until

BACKENDS = 3
PROBE_PORT = 7100
CONFIG = """
dataplane:
  interfaces: [ {{ name: {down}, xdp: native }} ]
services:
  - {{ name: tcp, address: [ {vip} ], ports: [ {tcp} ], protocol: tcp, forward: ipip, slots: 4001,
       drain: 1h, backends: [ {backends} ],
       health: {{ probe: tcp{port}, interval: 300ms, timeout: 300ms, rise: {rise}, fall: 3 }} }}
  - {{ name: udp, address: [ {vip} ], ports: [ {udp} ], protocol: udp, forward: ipip, slots: 4001,
       drain: 1h, backends: [ {backends} ],
       health: {{ probe: tcp, port: {tcp}, interval: 300ms, timeout: 300ms }} }}
"""


@pytest.fixture(scope="module")
def place(machine, workdir):
    topology = L4Topology(BACKENDS)
    try:
        topology.create()
        topology.servers = [Servers(topology, each) for each in range(BACKENDS)]
        for each in range(BACKENDS):
            topology.attach_decap(each)
        yield topology
        for each in range(BACKENDS):
            topology.detach_decap(each)
            topology.servers[each].close()
    finally:
        topology.destroy()


@pytest.fixture
def node(place, workdir, engine):
    node = Sluice(place, workdir, engine)
    try:
        yield node
        if node.process:
            node.stop()
    finally:
        node.dispose()


def configure(node, numbers=range(BACKENDS), weight=100, port=None, rise=2):
    node.configure(CONFIG.format(
        down=DOWN, vip=VIP, tcp=TCP_PORT, udp=UDP_PORT, port=f", port: {port}" if port else "",
        rise=rise, backends=", ".join(f"{{ address: {backend(each)}, weight: {weight} }}"
                                      for each in numbers)))


def row(node, number, service="tcp"):
    rows = node.cli_json("backend", "show", "service", service)["backends"]
    return next(each for each in rows if each["address"] == backend(number))


def service(node, name="tcp"):
    return node.cli_json("service", "show", "name", name)["services"][0]


def is_down(node, number, name="tcp"):
    health = row(node, number, name)["health"]
    return health["state"] == "down" and not health["in_use"]


def is_up(node, number, name="tcp"):
    health = row(node, number, name)["health"]
    return health["state"] == "up" and health["in_use"]


def events(node, kind):
    return [each for each in node.admin("/v1/events")["events"] if each["kind"] == kind]


@contextlib.contextmanager
def peers(place, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(TcpPeer(place, VIP)) for _ in range(count)]


def called(place, count=30):
    """The backends that new connections reach."""
    with peers(place, count) as new:
        return {peer.say(b"new") for peer in new}


@contextlib.contextmanager
def ended(place, number):
    """The programs on this backend end, and begin again at the end."""
    place.servers[number].close()
    try:
        yield
    finally:
        place.servers[number] = Servers(place, number)


def test_connections_of_others_go_on_while_a_backend_is_down_and_when_it_comes_back(place, node):
    configure(node)
    node.start()
    wait_until(lambda: all(row(node, each)["health"]["succeeded"] for each in range(BACKENDS)),
               "all are probed")
    with peers(place, 40) as old:
        before = [peer.say(b"before") for peer in old]
        assert set(before) == set(range(BACKENDS))
        others = [(peer, number) for peer, number in zip(old, before) if number != 0]
        with ended(place, 0):
            wait_until(lambda: is_down(node, 0) and is_down(node, 0, "udp"), "it is down")
            assert row(node, 0)["state"] == "down" and row(node, 0)["slots"] == 0
            assert row(node, 0)["health"]["last_error"] == "Connection refused"
            assert called(place) == {1, 2}
            assert {ask_udp(place, b"x" * length) for length in range(1, 60)} == {1, 2}
            assert [peer.say(b"meanwhile" * 500) for peer, _ in others] == \
                [number for _, number in others]
            event = events(node, "backend_down")[0]
            assert event["object"] in (f"tcp {backend(0)}", f"udp {backend(0)}")
            assert "3 probes in a row failed: Connection refused" in event["text"]
        wait_until(lambda: is_up(node, 0) and is_up(node, 0, "udp"), "it is up again")
        assert called(place, 60) == {0, 1, 2}
        assert [peer.say(b"after") for peer, _ in others] == [number for _, number in others]
        assert events(node, "backend_up") and not events(node, "service_fail_open")


def test_reload_drain_and_restart_forget_nothing_of_health(place, node):
    configure(node)
    node.start()
    with ended(place, 2):
        wait_until(lambda: is_down(node, 2), "it is down")
        configure(node, weight=50)
        node.reload()
        assert is_down(node, 2) and row(node, 2)["weight"] == 50 and row(node, 2)["slots"] == 0
        node.cli("backend", "weight", backend(2), "service", "tcp", "weight", "200", check=True)
        assert is_down(node, 2) and row(node, 2)["slots"] == 0
        assert called(place) == {0, 1}
        failed = row(node, 2)["health"]["failed"]
        node.kill9()
        assert called(place) == {0, 1}
        shown = row(node, 2)
        assert shown["state"] == "down" and shown["health"]["probed"] is False
        assert "Nobody probes backends without it" in node.cli("backend", check=True).stdout
        counted = {each["name"]: each for each in node.cli_json("stats")["services"]}
        assert counted["tcp"]["backends_up"] == 2 and counted["tcp"]["packets"] > 0
        assert "nobody probes" in node.cli("service", "show", "name", "tcp", check=True).stdout
        node.start()
        assert is_down(node, 2) and row(node, 2)["slots"] == 0 and failed
        assert called(place) == {0, 1}
        wait_until(lambda: row(node, 2)["health"]["failed"], "probes go on")
        node.cli("backend", "drain", backend(2), "service", "tcp", check=True)
        assert row(node, 2)["state"] == "draining"
    wait_until(lambda: is_up(node, 2), "it is up")
    assert row(node, 2)["state"] == "draining" and row(node, 2)["slots"] == 0
    assert called(place) == {0, 1}
    node.cli("backend", "undrain", backend(2), "service", "tcp", check=True)
    assert called(place, 60) == {0, 1, 2}


def test_when_all_are_down_the_last_table_stays(place, node):
    configure(node, port=PROBE_PORT)
    with contextlib.ExitStack() as stack:
        probed = [stack.enter_context(place.listen(f"backend{each}", backend(each), PROBE_PORT))
                  for each in range(BACKENDS)]
        node.start()
        wait_until(lambda: all(row(node, each)["health"]["succeeded"] for each in range(BACKENDS)),
                   "all are probed")
        probed[0].close()
        wait_until(lambda: is_down(node, 0), "one is down")
        probed[1].close()
        wait_until(lambda: is_down(node, 1), "two are down")
        with peers(place, 10) as old:
            assert {peer.say(b"old") for peer in old} == {2}
            probed[2].close()
            wait_until(lambda: service(node)["health"]["fail_open"], "it fails open")
            assert row(node, 2)["state"] == "down" and row(node, 2)["health"]["in_use"]
            assert called(place) == {2}
            assert {peer.say(b"old") for peer in old} == {2}
            node.reload()
            assert service(node)["health"]["fail_open"] and called(place) == {2}
            node.kill9()
            node.start()
            assert called(place) == {2}
            assert service(node)["health"]["fail_opens"] == 1
            assert "fail open" in node.cli("service", check=True).stdout
            stack.enter_context(place.listen("backend1", backend(1), PROBE_PORT))
            wait_until(lambda: is_up(node, 1) and not service(node)["health"]["fail_open"],
                       "one is up again")
            assert called(place) == {1}
            assert events(node, "service_recovered")[0]["object"] == "tcp"


def test_thousands_of_backends_are_probed_with_few_descriptors(place, node):
    """All are addresses of this node's loopback, where one program answers for them."""
    many = 4000
    node.configure(f"""
dataplane: {{ interfaces: [ {{ name: {DOWN}, xdp: native }} ] }}
services:
  - {{ name: many, address: {VIP}, ports: {TCP_PORT}, protocol: tcp, forward: ipip,
       health: {{ probe: tcp, interval: 2s, timeout: 2s, rise: 1, fall: 2 }},
       backends: [ {", ".join(f"127.9.{each // 250}.{each % 250 + 1}" for each in range(many))} ] }}
""")
    node.descriptors = 256

    def health():
        return node.admin("/v1/services")["services"][0]["health"]

    def backends():
        return node.admin("/v1/services")["services"][0]["backends"]

    with place.listen("sluice", "0.0.0.0", TCP_PORT):
        node.start()
        wait_until(lambda: all(each["health"]["succeeded"] >= 2 for each in backends()),
                   "each was probed twice", deadline_s=60, pause_s=0.5)
        assert health() == {"probed": True, "up": many, "down": 0, "fail_open": False,
                            "fail_opens": 0}
        assert sum(each["health"]["not_made"] for each in backends()) == 0
    wait_until(lambda: health()["down"] == many, "all are down", deadline_s=60, pause_s=0.5)
    wait_until(lambda: health()["fail_open"], "it fails open")
    last = events(node, "backend_changed")[-1]
    assert "more backends went down or came up" in last["text"]
    with place.listen("sluice", "0.0.0.0", TCP_PORT):
        wait_until(lambda: health()["up"] == many and not health()["fail_open"], "all are up",
                   deadline_s=60, pause_s=0.5)
        wait_until(lambda: all(each["slots"] and each["health"]["in_use"] for each in backends()),
                   "all get connections again", deadline_s=60, pause_s=0.5)
