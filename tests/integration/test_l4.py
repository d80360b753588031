"""L4 services whole: a client, the node, and backends with `sluice decap`; TCP and UDP."""
import contextlib
import errno
import random
import socket
import threading

import pytest

from lib.daemon import Sluice
from lib.dns import address_of, name_server, resolve
from lib.exact import ExactAsker, datagram_socket
from lib.l4 import (CLIENT, DOWN, TCP_PORT, UDP_PORT, VIP, VIP6, L4Topology, Servers, TcpPeer, ask_udp,
                    backend, backend6)
from lib.programs import start_nginx
from lib.wait import Thread, wait_until

BACKENDS = 3

SERVICES = """
dataplane:
  interfaces: [ {{ name: {down}, xdp: native }} ]
  deny: [ {deny} ]
services:
  - {{ name: tcp, address: [ {addresses} ], ports: [ {tcp} ], protocol: tcp, forward: ipip,
       slots: 65537, drain: 1h, backends: [ {backends} ] }}
  - {{ name: udp, address: [ {addresses} ], ports: [ {udp} ], protocol: udp, forward: ipip,
       slots: 65537, drain: 1h, backends: [ {backends} ] }}
listeners: []
routes: []
"""
# name -> the services' addresses, address of a backend, the backend's counter
KINDS = {"4in4": (VIP, backend, "v4_in_v4"), "6in6": (VIP6, backend6, "v6_in_v6"),
         "4in6": (VIP, backend6, "v4_in_v6")}


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
def node(place, workdir):
    """A daemon that L4 tests share no state with; what it is made of does not depend on engines."""
    node = Sluice(place, workdir, "epoll")
    try:
        yield node
        if node.process:
            node.stop()
    finally:
        node.dispose()


def configure(node, kind="4in4", numbers=range(BACKENDS), deny="", weight=100):
    address, of, _ = KINDS[kind]
    node.configure(SERVICES.format(
        down=DOWN, deny=deny, addresses=f'"{address}"', tcp=TCP_PORT, udp=UDP_PORT,
        backends=", ".join(f'{{ address: "{of(each)}", weight: {weight} }}' for each in numbers)))


def service(node, name="tcp"):
    return next(each for each in node.admin("/v1/services")["services"] if each["name"] == name)


def backend_of(node, address, name="tcp"):
    return next(each for each in service(node, name)["backends"] if each["address"] == address)


@contextlib.contextmanager
def peers(place, address, count):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(TcpPeer(place, address)) for _ in range(count)]


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_and_udp_reach_all_backends_and_every_byte_comes_through(place, node, kind):
    configure(node, kind)
    node.start()
    address = KINDS[kind][0]
    data = random.Random(kind).randbytes(200000)
    with peers(place, address, 40) as all_peers:
        seen = [peer.say(data[:1000]) for peer in all_peers]
        assert set(seen) == set(range(BACKENDS))
        for peer, number in list(zip(all_peers, seen))[:6]:
            assert peer.say(data) == number
    assert {ask_udp(place, data[:length], address) for length in range(1, 1401, 35)} == \
        set(range(BACKENDS))
    # Packets of a connection are counted with its service and its backend.
    counted = service(node)
    assert counted["packets"] == sum(each["packets"] for each in counted["backends"]) > 1000


def test_connections_outlive_the_drain_of_their_backend(place, node):
    configure(node)
    node.start()
    with peers(place, VIP, 60) as old:
        before = [peer.say(b"before") for peer in old]
        assert set(before) == set(range(BACKENDS))
        configure(node, numbers=range(1, BACKENDS))
        node.reload()
        assert sum(service(node)["phases"].values()) == 65537
        assert [peer.say(b"after" * 1000) for peer in old] == before
        with peers(place, VIP, 60) as new:
            placed = [peer.say(b"new") for peer in new]
            assert set(placed) == set(range(1, BACKENDS))
            # And back again: nobody moves.
            configure(node)
            node.reload()
            assert [peer.say(b"again") for peer in old] == before
            assert [peer.say(b"again") for peer in new] == placed
        with peers(place, VIP, 60) as newest:
            assert 0 in {peer.say(b"newest") for peer in newest}


def test_connections_go_on_while_their_service_is_being_deleted(place, node):
    node.configure(f"dataplane: {{ interfaces: [ {{ name: {DOWN}, xdp: native }} ] }}\nlisteners: []\nroutes: []\n")
    node.start()
    node.cli("service", "add", "made", "address", VIP, "ports", str(TCP_PORT), "protocol", "tcp", "forward", "ipip",
             check=True)
    for each in range(BACKENDS):
        node.cli("backend", "add", backend(each), "service", "made", check=True)
    with peers(place, VIP, 30) as old, contextlib.ExitStack() as stack:
        before = [peer.say(b"before") for peer in old]
        assert set(before) == set(range(BACKENDS))
        node.cli("service", "delete", "made", "drain", "1h", check=True)
        assert 0 < service(node, "made")["deleted_in_s"] <= 3600
        for _ in range(5):
            sock = stack.enter_context(place.client(socket.AF_INET))
            sock.setblocking(False)
            assert sock.connect_ex((VIP, TCP_PORT)) == errno.EINPROGRESS
        wait_until(lambda: node.dropped("service_no_backend") >= 5, "new connections are dropped")
        assert [peer.say(b"while it goes" * 1000) for peer in old] == before
        node.kill9()
        node.start()
        assert [peer.say(b"after a restart" * 1000) for peer in old] == before
        dropped = service(node, "made")["drops"]
        assert set(dropped) == {"service_no_backend"}
        node.cli("service", "delete", "made", check=True)
        assert node.admin("/v1/services")["services"] == []


def test_a_new_backend_and_other_weights_move_no_connection(place, node):
    configure(node, numbers=[0, 1])
    node.start()
    with peers(place, VIP, 60) as old:
        before = [peer.say(b"before") for peer in old]
        configure(node)
        node.reload()
        assert [peer.say(b"after") for peer in old] == before
        with peers(place, VIP, 60) as new:
            assert 2 in {peer.say(b"new") for peer in new}
        assert [peer.say(b"later") for peer in old] == before


def test_kill_9_loses_no_packet_of_forwarded_connections_and_the_restart_adopts(place, node):
    """Datagrams are not sent again: each that is lost is an answer that never comes."""
    configure(node)
    node.start()
    ended = threading.Event()
    asked = [0]

    def ask():
        choose = random.Random(1)
        while not ended.is_set():
            ask_udp(place, choose.randbytes(100), timeout_s=10.0)
            asked[0] += 1

    with peers(place, VIP, 30) as all_peers:
        before = [peer.say(b"x" * 5000) for peer in all_peers]
        askers = [Thread(ask) for _ in range(2)]
        try:
            wait_until(lambda: asked[0] > 50, "datagrams come through")
            numbers = [each["number"] for each in service(node)["backends"]]
            packets = service(node)["packets"]
            node.kill9()
            mark = asked[0]
            assert [peer.say(b"y" * 5000) for peer in all_peers] == before
            with peers(place, VIP, 10) as new:
                placed = [peer.say(b"z") for peer in new]
                wait_until(lambda: asked[0] > mark + 100, "datagrams come through without it")
                node.start()
                assert [peer.say(b"z") for peer in new] == placed
            assert [peer.say(b"y" * 5000) for peer in all_peers] == before
            mark = asked[0]
            wait_until(lambda: asked[0] > mark + 100, "datagrams come through with the next one")
        finally:
            ended.set()
            for each in askers:
                each.finish()
        adopted = service(node)
        assert [each["number"] for each in adopted["backends"]] == numbers
        assert adopted["packets"] > packets
        assert adopted["phases"]["clean"] == 65537
        attachment, = node.admin("/v1/status")["dataplane"]["interfaces"]
        assert attachment["adopted"] is True


def test_every_packet_is_counted_over_a_kill_and_a_restart(place, node):
    """Sent, forwarded and answered are the same number; what stood is what the next one has."""
    configure(node)
    node.start()
    before = service(node, "udp")
    with ExactAsker(lambda: datagram_socket(place), VIP, UDP_PORT, flows=12, at=33,
                    payload=b"x" * 100) as asker:
        for step in (node.kill9, node.start, node.reload):
            mark = asker.answered
            wait_until(lambda: asker.answered > mark + 1000, "datagrams go both ways")
            step()
        mark = asker.answered
        wait_until(lambda: asker.answered > mark + 1000, "datagrams go both ways")
        sent = asker.finish()
    after = service(node, "udp")
    assert sent > 4000
    assert after["packets"] - before["packets"] == sent
    assert after["dropped"] == before["dropped"] == 0
    for each in "number", "slots", "weight", "state", "address":
        assert [row[each] for row in after["backends"]] == [row[each] for row in before["backends"]]
    assert sum(row["packets"] for row in after["backends"]) == after["packets"]
    assert after["phases"] == before["phases"]
    attachment, = node.admin("/v1/status")["dataplane"]["interfaces"]
    assert attachment["adopted"] is True


WEB_AND_NAMES = """
dataplane: {{ interfaces: [ {{ name: {down}, xdp: native }} ] }}
services:
  - {{ name: web, address: {vip}, ports: 80, protocol: tcp, forward: ipip, slots: 1009,
       backends: [ {backends} ], health: {{ probe: tcp, interval: 300ms, timeout: 300ms }} }}
  - {{ name: names, address: {vip}, ports: 53, protocol: udp, forward: ipip, slots: 1009,
       backends: [ {backends} ], health: {{ probe: tcp, port: 80, interval: 300ms, timeout: 300ms }} }}
"""


def test_nginx_and_name_servers_stand_behind_services(place, node, tmp_path):
    page = random.Random(1).randbytes(700001)
    node.configure(WEB_AND_NAMES.format(down=DOWN, vip=VIP,
                                        backends=", ".join(backend(each) for each in (0, 1))))
    with contextlib.ExitStack() as stack:
        asked = []
        for each in (0, 1):
            stack.enter_context(start_nginx(place, tmp_path / str(each), "0.0.0.0", 80,
                                            {"page": page, "who": b"%d" % each}, f"backend{each}"))
            names = place.socket(f"backend{each}", socket.AF_INET, socket.SOCK_DGRAM)
            names.bind((VIP, 53))
            asked.append(stack.enter_context(name_server(names)))
        node.start()
        got = [place.run("client", "curl", "-sS", "--max-time", "20", f"http://{VIP}/who").stdout
               for _ in range(20)]
        assert set(got) == {"0", "1"}
        out = tmp_path / "got"
        place.run("client", "curl", "-sS", "--max-time", "20", "-o", str(out), f"http://{VIP}/page")
        assert out.read_bytes() == page
        for number in range(40):
            with place.client(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.connect((VIP, 53))
                name = f"host{number}.example.com"
                assert resolve(sock, name, number) == address_of(name)
        assert len(asked[0]) + len(asked[1]) == 40 and asked[0] and asked[1]
        assert {address for address, _ in asked[0] + asked[1]} == {CLIENT}
        wait_until(lambda: all(each["health"]["succeeded"] and each["health"]["state"] == "up"
                               for each in service(node, "web")["backends"]), "all are probed")
        assert service(node, "web")["dropped"] == service(node, "names")["dropped"] == 0


def test_drain_goes_on_over_a_kill_and_a_restart(place, node):
    configure(node)
    node.start()
    with peers(place, VIP, 60) as old:
        before = [peer.say(b"before") for peer in old]
        configure(node, numbers=[1, 2])
        node.reload()
        node.kill9()
        assert [peer.say(b"dead") for peer in old] == before
        node.start()
        assert [peer.say(b"after") for peer in old] == before
        with peers(place, VIP, 40) as new:
            assert {peer.say(b"new") for peer in new} == {1, 2}


def test_traffic_goes_on_when_a_backend_comes_back_with_another_link_address(place, node):
    configure(node, numbers=[0])
    node.start()

    def hop():
        return backend_of(node, backend(0))

    assert hop()["next_hop_state"] == "resolved" and hop()["next_hop"] == backend(0)
    assert hop()["device"] == "to0" and hop()["link_address"] == place.link_address("backend0")
    with peers(place, VIP, 5) as all_peers:
        for peer in all_peers:
            peer.say(b"before")
        place.swap_link_address(0, "02:00:00:00:78:99")
        wait_until(lambda: hop()["link_address"] == "02:00:00:00:78:99", "the neighbour is known")
        assert [peer.say(b"after" * 1000) for peer in all_peers] == [0] * 5
        assert ask_udp(place, b"after") == 0
    shown = node.cli("backend", check=True).stdout
    assert f"to0 {backend(0)} resolved" in shown


def test_backend_without_a_way_is_an_event_and_comes_back_with_its_route(place, node):
    place.ip("sluice", "route", "add", "unreachable", "10.99.0.0/24")
    try:
        configure(node, numbers=[0])
        node.start()
        node.cli("backend", "add", "10.99.0.9", "service", "tcp", check=True)
        events = wait_until(lambda: [each for each in node.admin("/v1/events")["events"]
                                     if each["kind"] == "backend_unreachable"], "an event")
        assert events[0]["object"] == "tcp 10.99.0.9"
        assert backend_of(node, "10.99.0.9")["next_hop_state"] == "no route"
        place.ip("sluice", "route", "replace", "10.99.0.0/24", "via", backend(0))
        wait_until(lambda: backend_of(node, "10.99.0.9")["next_hop_state"] == "resolved",
                   "the gateway is resolved")
        assert "10.99.0.9" not in place.ip("sluice", "neigh", "show", "dev", "to0").stdout
    finally:
        place.ip("sluice", "route", "delete", "10.99.0.0/24")


def test_denied_clients_do_not_reach_the_service(place, node):
    configure(node, deny="10.78.1.0/24")
    node.start()
    before = node.dropped("deny")
    with pytest.raises(TimeoutError):
        ask_udp(place, b"x", timeout_s=0.5)
    assert node.dropped("deny") > before
    node.cli("allow", "add", "10.78.1.2", check=True)
    assert ask_udp(place, b"x") in range(BACKENDS)
