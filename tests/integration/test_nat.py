"""Services of forward mode nat between real TCP and UDP peers."""
import contextlib
import socket
import subprocess
import threading

import pytest

from lib.dns import address_of, name_server, resolve
from lib.exact import ExactAsker, datagram_socket, enlarge
from lib.netns import BACKEND, CLIENT, DOWN, SLUICE, UP
from lib.programs import build_dir, start_nginx
from lib.wait import wait_until

pytestmark = pytest.mark.one_engine

VIP = "203.0.113.80"
GATE = "10.77.2.1"  # our address on the backends' link
SOURCE = "198.18.0.1"  # nobody's: the backends have a route to it
TO_PORT = 8080

CONFIG = f"""
dataplane:
  interfaces: [ {{ name: {DOWN} }}, {{ name: {UP} }} ]
  nat: {{ addresses: [ {SOURCE} ], ports: 40000-40999 }}
services:
  - name: stream
    address: [ {VIP} ]
    ports: [ 80 ]
    protocol: tcp
    forward: nat
    backends:
      - {{ address: {BACKEND[0]}, port: {TO_PORT} }}
      - {{ address: {BACKEND[1]}, port: {TO_PORT} }}
  - name: datagram
    address: [ {VIP} ]
    ports: [ 53 ]
    protocol: udp
    forward: nat
    backends: [ {{ address: {BACKEND[0]}, port: {TO_PORT} }} ]
"""


@pytest.fixture
def wires(topology):
    """Forwarding, a way back to the source address, and ends that take redirected frames."""
    topology.run("sluice", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    topology.ip("backends", "route", "add", f"{SOURCE}/32", "via", "10.77.2.1")
    for role in ("client", "backends"):
        topology.run(role, "ethtool", "-K", "eth0", "gro", "on")
    topology.ip("sluice", "neighbour", "flush", "all")
    try:
        yield
    finally:
        for role in ("client", "backends"):
            topology.run(role, "ethtool", "-K", "eth0", "gro", "off")
        topology.ip("backends", "route", "delete", f"{SOURCE}/32")
        topology.run("sluice", "sysctl", "-qw", "net.ipv4.ip_forward=0")


def _serve(listener, peers):
    with contextlib.suppress(OSError):
        while True:
            sock, peer = listener.accept()
            peers.append(peer)
            with sock:
                while data := sock.recv(65536):
                    sock.sendall(data)


def test_tcp_and_udp_flow_through_nat_both_ways(sluice, topology, wires):
    sluice.configure(CONFIG)
    sluice.start()
    peers = []
    with contextlib.ExitStack() as stack:
        for address in BACKEND[:2]:
            listener = stack.enter_context(topology.listen("backends", address, TO_PORT))
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            threading.Thread(target=_serve, args=(listener, peers), daemon=True).start()
        payload = bytes(range(256)) * 1024
        for _ in range(20):
            with topology.connect("client", VIP, 80, source=CLIENT[0]) as sock:
                sock.sendall(payload)
                sock.shutdown(socket.SHUT_WR)
                got = b"".join(iter(lambda: sock.recv(65536), b""))
            assert got == payload
        assert len(peers) == 20
        assert {address for address, _ in peers} == {SOURCE}
        assert all(40000 <= port <= 40999 for _, port in peers)
        backend = stack.enter_context(topology.socket("backends", socket.AF_INET,
                                                      socket.SOCK_DGRAM))
        backend.bind((BACKEND[0], TO_PORT))
        backend.settimeout(10)
        client = stack.enter_context(topology.socket("client", socket.AF_INET, socket.SOCK_DGRAM))
        client.settimeout(10)
        client.connect((VIP, 53))
        for number in range(20):
            client.send(b"question %d" % number)
            data, peer = backend.recvfrom(2048)
            assert data == b"question %d" % number and peer[0] == SOURCE
            backend.sendto(b"answer %d" % number, peer)
            assert client.recv(2048) == b"answer %d" % number
        flow, = sluice.cli_json("service", "nat", "name", "datagram", "client", CLIENT[0])["flows"]
        assert flow["source"] == "%s:%u" % peer and flow["state"] == "udp"
        assert flow["called"] == f"{VIP}:53" and flow["backend"] == f"{BACKEND[0]}:{TO_PORT}"
        assert flow["client"] == "%s:%u" % client.getsockname() and flow["idle_s"] < flow["left_s"]
        closed = sluice.cli_json("service", "nat", "state", "closed", "limit", "7")
        assert len(closed["flows"]) == 7 and closed["not_shown"] == 13
        assert {each["service"] for each in closed["flows"]} == {"stream"}
        # The client knows us; the kernel has forgotten it, and XDP cannot ask for it.
        link_address = topology.ip("sluice", "-br", "link", "show", DOWN).stdout.split()[2]
        topology.ip("client", "neighbour", "replace", SLUICE, "lladdr", link_address, "dev", "eth0",
                    "nud", "permanent")
        topology.ip("sluice", "neighbour", "delete", CLIENT[0], "dev", DOWN)
        client.settimeout(0.1)

        def is_answered():
            client.send(b"who am I?")
            backend.sendto(*backend.recvfrom(2048))
            with contextlib.suppress(TimeoutError):
                return client.recv(2048) == b"who am I?"

        wait_until(is_answered, "the client is found again")
        topology.ip("client", "neighbour", "delete", SLUICE, "dev", "eth0")
        assert sluice.dropped("nat_no_neigh") >= 1
        client.settimeout(10)
        # Nobody listens there now: the backend's ICMP error becomes one of the service.
        backend.close()
        with pytest.raises(ConnectionRefusedError):
            for _ in range(2):
                client.send(b"anybody?")
                client.recv(2048)
    assert sluice.dropped("nat_icmp") >= 1
    assert sluice.dropped("nat_refused") == 0


def _called(topology):
    """The backend that a new connection reaches."""
    with topology.connect("client", VIP, 80, source=CLIENT[0]) as sock:
        sock.settimeout(10)
        sock.sendall(b"who?")
        return sock.recv(100).decode()


def _tell_name(listener, name):
    with contextlib.suppress(OSError):
        while True:
            sock, _ = listener.accept()
            with sock, contextlib.suppress(OSError):
                while sock.recv(100):
                    sock.sendall(name.encode())


@contextlib.contextmanager
def _named(topology, address):
    with topology.listen("backends", address, TO_PORT) as listener:
        threading.Thread(target=_tell_name, args=(listener, address), daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.one_engine(False)
@pytest.mark.parametrize("source, ports", [(SOURCE, "40000-40999"), (GATE, "32768-60999")],
                         ids=["its own", "ours"])
def test_nat_leaves_out_a_backend_that_is_down_until_it_is_up(sluice, topology, wires, source,
                                                              ports):
    """`ours`: probes leave by the address whose ports of connections are those of nat."""
    sluice.configure(f"""
dataplane:
  interfaces: [ {{ name: {DOWN} }}, {{ name: {UP} }} ]
  nat: {{ addresses: [ {source} ], ports: {ports} }}
services:
  - name: stream
    address: [ {VIP} ]
    ports: [ 80 ]
    protocol: tcp
    forward: nat
    backends:
      - {{ address: {BACKEND[0]}, port: {TO_PORT} }}
      - {{ address: {BACKEND[1]}, port: {TO_PORT} }}
    health: {{ probe: tcp, interval: 300ms, timeout: 300ms }}
""")

    def health(number):
        rows = sluice.cli_json("backend")["backends"]
        return next(row["health"] for row in rows
                    if row["address"] == f"{BACKEND[number]}:{TO_PORT}")

    with _named(topology, BACKEND[0]):
        with _named(topology, BACKEND[1]):
            sluice.start()
            wait_until(lambda: min(health(0)["succeeded"], health(1)["succeeded"]) >= 4,
                       "both backends answer their probes")
            assert health(0)["failed"] == health(1)["failed"] == health(0)["not_made"] == 0
            assert health(0)["port"] == TO_PORT
            assert {_called(topology) for _ in range(30)} == set(BACKEND[:2])
        wait_until(lambda: health(1)["state"] == "down" and not health(1)["in_use"], "it is down")
        assert health(1)["last_error"] == "Connection refused"
        assert {_called(topology) for _ in range(20)} == {BACKEND[0]}
        sluice.kill9()
        assert health(1)["state"] == "down" and not health(1)["probed"]
        assert {_called(topology) for _ in range(5)} == {BACKEND[0]}
        sluice.start()
        assert {_called(topology) for _ in range(20)} == {BACKEND[0]}
        with _named(topology, BACKEND[1]):
            wait_until(lambda: health(1)["state"] == "up" and health(1)["in_use"], "it is up again")
            wait_until(lambda: _called(topology) == BACKEND[1], "it gets connections again")


def test_nginx_and_a_name_server_stand_behind_nat(sluice, topology, wires, tmp_path):
    page = bytes(range(251)) * 3001
    sluice.configure(CONFIG)
    names = topology.socket("backends", socket.AF_INET, socket.SOCK_DGRAM)
    names.bind((BACKEND[0], TO_PORT))
    with contextlib.ExitStack() as stack:
        for each in (0, 1):
            stack.enter_context(start_nginx(topology, tmp_path / str(each), BACKEND[each], TO_PORT,
                                            {"page": page, "who": b"%d" % each}))
        asked = stack.enter_context(name_server(names))
        sluice.start()
        curl = ("curl", "-sS", "--max-time", "20", "--interface", CLIENT[0])
        got = [topology.run("client", *curl, f"http://{VIP}/who").stdout for _ in range(20)]
        assert set(got) == {"0", "1"}
        out = tmp_path / "got"
        topology.run("client", *curl, "-o", str(out), f"http://{VIP}/page")
        assert out.read_bytes() == page
        for number in range(40):
            with datagram_socket(topology, CLIENT[0]) as sock:
                sock.settimeout(10)
                sock.connect((VIP, 53))
                name = f"host{number}.example.com"
                assert resolve(sock, name, number) == address_of(name)
        assert len(asked) == 40 and {address for address, _ in asked} == {SOURCE}


def _echo(sock):
    with contextlib.suppress(OSError):
        while True:
            data, peer = sock.recvfrom(2048)
            sock.sendto(data, peer)


def test_every_packet_is_counted_over_a_kill_and_a_restart(sluice, topology, wires):
    """Sent, forwarded and answered are the same number; flows keep their source ports."""
    sluice.configure(CONFIG)
    sluice.start()

    def service():
        return sluice.cli_json("service", "show", "name", "datagram")["services"][0]

    def flows():
        return {each["client"]: each["source"]
                for each in sluice.cli_json("service", "nat", "name", "datagram")["flows"]}

    with topology.socket("backends", socket.AF_INET, socket.SOCK_DGRAM) as echo:
        enlarge(echo).bind((BACKEND[0], TO_PORT))
        threading.Thread(target=_echo, args=(echo,), daemon=True).start()
        # Whoever is not known yet is asked for, and the packet that shows it is lost.
        with datagram_socket(topology, CLIENT[0]) as first:
            first.settimeout(0.1)
            first.connect((VIP, 53))

            def is_answered():
                first.send(b"first")
                with contextlib.suppress(TimeoutError):
                    return first.recv(100)

            wait_until(is_answered, "neighbours are known")
        before = service()
        with ExactAsker(lambda: datagram_socket(topology, CLIENT[0]), VIP, 53, flows=12,
                        payload=b"x" * 100) as asker:
            wait_until(lambda: asker.answered > 1000, "datagrams go both ways")
            known = flows()
            assert asker.names <= set(known)
            for step in (sluice.kill9, sluice.start, sluice.reload):
                step()
                assert {name: flows()[name] for name in asker.names} == \
                    {name: known[name] for name in asker.names}
                mark = asker.answered
                wait_until(lambda: asker.answered > mark + 1000, "datagrams go both ways")
            sent = asker.finish()
        after = service()
    assert sent > 4000
    assert after["packets"] - before["packets"] == sent
    assert after["dropped"] == before["dropped"]
    assert [row["number"] for row in after["backends"]] == \
        [row["number"] for row in before["backends"]]
    assert all(each["adopted"] for each in sluice.admin("/v1/status")["dataplane"]["interfaces"])


def test_ports_that_our_own_connections_get_are_warned_of(sluice, topology):
    """Only of an address of this host, and only as long as the ports are not reserved."""
    config = f"dataplane: {{ nat: {{ addresses: [ {SOURCE}, {GATE} ], ports: 40000-40999 }} }}\n"
    words = f"{GATE} is an address of this host.* such as 40000.*reserved_ports=40000-40999"
    sluice.configure(config)
    sluice.start()
    assert sluice.log.wait_for(words)
    assert f"{SOURCE} is an address" not in sluice.log.text()
    topology.run("sluice", "sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=40000-40999")
    try:
        seen = len(sluice.log.lines)
        sluice.reload()
        assert sluice.log.wait_for("generation 2", start=seen)
        assert "own connections" not in "\n".join(sluice.log.lines[seen:])
        sluice.configure(config.replace("40000", "39000"))
        sluice.reload()
        assert sluice.log.wait_for(f"{GATE} is an address of this host.* such as 39000", start=seen)
    finally:
        topology.run("sluice", "sysctl", "-qw", "net.ipv4.ip_local_reserved_ports=")


@pytest.mark.parametrize("nat, service, words", [
    ("", "forward: nat, backends: [ 10.0.0.1 ]", "needs 'dataplane.nat.addresses'"),
    ("addresses: [ 198.18.0.1 ]", "forward: ipip, backends: [ { address: 10.0.0.1, port: 81 } ]",
     "a backend's port is for forward: nat"),
    ("addresses: [ 198.18.0.1 ]", "forward: nat, backends: [ 'fd00::1' ]", "nat is for IPv4"),
    ("addresses: [ 'fd00::1' ]", None, "nat is for IPv4"),
    ("addresses: [ 198.18.0.1, 198.18.0.1 ]", None, "given twice"),
    ("addresses: [ 224.0.0.1 ]", None, "cannot be the source"),
    ("addresses: [ 198.18.0.1 ], ports: 5-6", None, "does not hold four ports"),
    ("addresses: [ 198.18.0.1 ], ports: 60000", None, "not a range of ports"),
    ("addresses: [ 198.18.0.1 ], idle: { tcp: 13h }", None, "tcp"),
    ("addresses: [ 203.0.113.80 ], ports: 4-1023", "forward: nat, backends: [ 10.0.0.1 ]",
     "narrow 'dataplane.nat.ports'"),
])
def test_impossible_combinations_are_refused_with_a_reason(sluice, nat, service, words):
    text = f"dataplane: {{ nat: {{ {nat} }} }}\n" if nat else ""
    if service:
        text += (f"services: [ {{ name: web, address: [ {VIP} ], ports: [ 80 ], protocol: tcp, "
                 f"{service} }} ]\n")
    sluice.configure(text)
    done = subprocess.run([str(build_dir() / "sluiced"), "--check", str(sluice.config_path)],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and words in done.stderr, done.stderr
