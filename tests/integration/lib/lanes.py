"""
The configuration that most tests share: one daemon per module, and for each test a lane of its own.

Lane N is the host laneN.test, an upstream of one endpoint, and a port of the scripted backend: what
one test does to connections does not reach another. Hosts trailN.test lead to the same with
trailers forwarded, and hastyN.test to one with short timeouts. hashing.test and nginx.test lead to
the programs of lib/programs.py, where a test starts them.
"""
from .backend import RawBackend
from .netns import BACKEND, SLUICE, SLUICE6
from .wire import Wire

COUNT = 64
FIRST_PORT = 9000
PORT = 80  # as in production
SHORT_PORT = 8081  # timeouts that a test can wait for
SMALL_PORT = 8082  # limits that a test can reach
SMALL_BODY = 64 * 1024
PACED_PORT = 8083  # a body rate that a test can miss
PACED_IDLE_S = 1.5  # the credit that a client begins with there, and its most
PACED_RATE = 10 * 1024
HASHING = [(BACKEND[1], 9200), (BACKEND[1], 9201)]
NGINX = (BACKEND[2], 8080)

LISTENERS = f"""
listeners:
  - name: web
    address: [ "{SLUICE}:{PORT}", "[{SLUICE6}]:{PORT}" ]
    protocol: http
    limits: {{ body_bytes: 512MiB }}
  - name: short
    address: [ "{SLUICE}:{SHORT_PORT}" ]
    protocol: http
    timeouts: {{ header: 1s, idle: 1s, request: 3s }}
  - name: small
    address: [ "{SLUICE}:{SMALL_PORT}" ]
    protocol: http
    limits: {{ header_bytes: 2KiB, header_count: 10, uri_bytes: 256, body_bytes: 64KiB }}
  - name: paced
    address: [ "{SLUICE}:{PACED_PORT}" ]
    protocol: http
    limits: {{ body_bytes: 512MiB }}
    timeouts: {{ idle: 1500ms, min_body_rate: 10KiB/s }}
"""


def config(count=COUNT):
    upstreams, routes = ["upstreams:"], ["routes:"]
    for name, addresses in (("hashing", HASHING), ("nginx", [NGINX])):
        endpoints = ", ".join(f'"{address}:{port}"' for address, port in addresses)
        upstreams.append(f"  - {{ name: {name}, endpoints: [ {endpoints} ] }}")
        routes.append(f"  - {{ name: {name}, match: {{ hosts: [ {name}.test ] }}, "
                      f"proxy: {{ upstream: {name} }} }}")
    for lane in range(count):
        address = f"{BACKEND[0]}:{FIRST_PORT + lane}"
        upstreams.append(f"  - {{ name: lane{lane}, endpoints: [ \"{address}\" ] }}")
        upstreams.append(f"  - {{ name: hasty{lane}, endpoints: [ \"{address}\" ], "
                         "timeouts: { connect: 1s, response: 1s, idle: 1s } }")
        for name, upstream, more in ((f"lane{lane}", f"lane{lane}", ""),
                                     (f"trail{lane}", f"lane{lane}", ", trailers: on"),
                                     (f"hasty{lane}", f"hasty{lane}", "")):
            routes.append(f"  - {{ name: {name}, match: {{ hosts: [ {name}.test ] }}, "
                          f"proxy: {{ upstream: {upstream}{more} }} }}")
    return LISTENERS + "\n".join(upstreams + routes) + "\n"


class Lane:
    """One test's way through the shared daemon."""

    def __init__(self, topology, sluice, number):
        self.topology = topology
        self.sluice = sluice
        self.number = number
        self.name = f"lane{number}"
        self.host = f"lane{number}.test"
        self.trail_host = f"trail{number}.test"
        self.hasty_host = f"hasty{number}.test"
        self.port = FIRST_PORT + number
        self.backend = RawBackend(topology, BACKEND[0], self.port)
        self._wires = []

    def connect(self, address=SLUICE, port=PORT, **kwargs):
        wire = Wire(self.topology.connect("client", address, port, **kwargs))
        self._wires.append(wire)
        return wire

    def ask(self, target="/", method="GET", fields=(), body=None, host=None):
        """On a connection of its own."""
        return self.connect().ask(target, method, fields, body, host or self.host)

    def close(self):
        for wire in self._wires:
            wire.close()
        self.backend.close()
