"""`sluice decap` with real TCP and UDP peers: a program of the test's own encapsulates."""
import json
import random
import socket

import pytest

from lib.l4 import (VIP, VIP6, Encapsulator, L4Topology, Servers, TcpPeer, ask_udp, backend,
                    backend6)
from lib.wait import wait_until

KINDS = {"4in4": (4, 4, "v4_in_v4"), "6in6": (6, 6, "v6_in_v6"), "4in6": (4, 6, "v4_in_v6")}


@pytest.fixture(scope="module")
def place(machine):
    topology = L4Topology(1)
    try:
        topology.create()
        # What the encapsulator takes must not be answered by the node, too.
        topology.ip("sluice", "route", "add", "blackhole", f"{VIP}/32")
        topology.ip("sluice", "-6", "route", "add", "blackhole", f"{VIP6}/128")
        topology.servers = Servers(topology, 0)
        yield topology
        topology.servers.close()
    finally:
        topology.destroy()


@pytest.fixture
def attached(place, workdir):
    """With `sluice decap` on the backend: counters by reason."""
    def attach(*sources):
        place.attach_decap(0, *sources)
        return lambda name: next(row["packets"] for row in counters(place) if row["name"] == name)
    yield attach
    place.detach_decap(0)


def counters(place):
    return json.loads(place.decap(0).stdout)["counters"]


@pytest.mark.parametrize("kind", KINDS)
def test_tcp_and_udp_come_through_and_every_byte_of_them(place, attached, kind):
    inner, outer, row = KINDS[kind]
    count = attached()
    vip = VIP if inner == 4 else VIP6
    data = random.Random(kind).randbytes(300000)
    with Encapsulator(place, inner, outer, backend(0) if outer == 4 else backend6(0)):
        with TcpPeer(place, vip) as peer:
            for length in (0, 1, 1000, 300000):
                assert peer.say(data[:length]) == 0
        for length in (1, 1000, 1400):
            assert ask_udp(place, data[:length], vip) == 0
    # 300,000 bytes are over 200 packets of at most 1500.
    assert count(row) > 200
    assert sum(each["packets"] for each in counters(place) if each["verdict"] == "drop") == 0


def test_without_decap_nothing_comes_through(place):
    with Encapsulator(place, 4, 4, backend(0)):
        with pytest.raises((TimeoutError, ConnectionRefusedError, OSError)):
            ask_udp(place, b"x", timeout_s=1.0)


def test_an_address_that_was_not_given_is_left_to_the_stack(place, attached):
    place.ip("backend0", "address", "add", "10.78.10.9/24", "dev", "eth0")
    try:
        count = attached()
        with Encapsulator(place, 4, 4, "10.78.10.9"), \
                place.client(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"x", (VIP, 7001))
            wait_until(lambda: count("pass_address") > 0, "the packet was left to the stack")
        assert count("v4_in_v4") == 0
    finally:
        place.ip("backend0", "address", "delete", "10.78.10.9/24", "dev", "eth0")


def test_only_given_sources_are_opened(place, attached):
    count = attached("source", "10.99.0.0/16")
    with Encapsulator(place, 4, 4, backend(0)), \
            place.client(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (VIP, 7001))
        wait_until(lambda: count("source") > 0, "the packet was dropped")
    assert count("v4_in_v4") == 0
    place.detach_decap(0)
    count = attached("source", "10.78.10.1/32")
    with Encapsulator(place, 4, 4, backend(0)):
        assert ask_udp(place, b"x") == 0
    assert count("v4_in_v4") == 1
