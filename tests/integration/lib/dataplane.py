"""A daemon whose XDP and steering are under test, and how a client sees both."""
import errno
import select

from .netns import CLIENT, DOWN, SLUICE, SLUICE6, family_of
from .wait import wait_until
from .wire import Wire

PREFIX, PREFIX6 = "198.51.100.0/24", "2001:db8:77::/64"

CONFIG = f"""
dataplane:
  interfaces: [ {{ name: {DOWN}, xdp: %s }} ]
  allow: [ %s ]
  deny: [ %s ]
listeners:
  - name: web
    address: [ "{SLUICE}:80", "[{SLUICE6}]:80", "{PREFIX}:8000-8010", "[{PREFIX6}]:8000" ]
routes:
  - {{ name: say, respond: {{ status: 200, body: here }} }}
"""


def configure(sluice, xdp="auto", allow="", deny=""):
    sluice.configure(CONFIG % (xdp, allow, deny))


def reach(topology, address=SLUICE, port=80, source=CLIENT[0]):
    with Wire(topology.connect("client", address, port, source=source)) as wire:
        return wire.ask().body == b"here"


def probe(topology, source, address=SLUICE):
    """The socket of a connection that has begun with one SYN."""
    sock = topology.socket("client", family_of(address))
    sock.setblocking(False)
    sock.bind((source, 0))
    assert sock.connect_ex((address, 80)) == errno.EINPROGRESS
    return sock


def assert_dropped(sluice, topology, source, address=SLUICE, reason="deny"):
    """The SYN goes in, the counter moves, and nothing comes back."""
    before = sluice.dropped(reason)
    with probe(topology, source, address) as sock:
        wait_until(lambda: sluice.dropped(reason) > before, f"the counter of {reason} moved")
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        assert poll.poll(200) == [], "an answer to a packet that was dropped"
