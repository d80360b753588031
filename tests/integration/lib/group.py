"""An upstream of scripted backends with a daemon of its own, for balancing, retries and limits."""
import itertools
import threading

from .backend import RawBackend, answer_each
from .netns import BACKEND, SLUICE
from .wait import wait_until
from .wire import Wire, request, response

FIRST_PORT = 9600
CONFIG = """
listeners: [ {{ name: web, address: "{listen}:80" }} ]
upstreams:
  - name: up
    endpoints: [ {endpoints} ]
{keys}
routes:
  - {{ name: all, proxy: {{ upstream: up }} }}
"""


def named(number):
    """Answers with its number."""
    return answer_each(response(b"%d" % number))


def status(code, body=b"not now"):
    return answer_each(response(body, f"{code} No"))


def reset_before_answer(connection):
    connection.read_request()
    connection.reset()


def close_before_answer(connection):
    connection.read_request()


def never_answer(connection):
    connection.read_request()
    connection.wait_for_end()


def garbage(connection):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx")


class Switch:
    """Answers every request with what `answer` is then, on old connections, too."""

    def __init__(self, answer):
        self.answer = answer

    def __call__(self, connection):
        while True:
            connection.read_request()
            connection.send(self.answer)


class Hold:
    """A handler that keeps each request until it is released."""

    def __init__(self, number=0):
        self.number = number
        self.released = threading.Event()

    def release(self):
        self.released.set()

    def __call__(self, connection):
        while True:
            connection.read_request()
            if not self.released.wait(30):
                raise AssertionError("nobody released the request")
            connection.send(response(b"%d" % self.number))


def sources(topology):
    """So many client addresses that all workers get some of them."""
    more = [f"10.77.1.{number}" for number in range(100, 116)]
    for address in more:
        topology.ip("client", "address", "replace", f"{address}/24", "dev", "eth0")
    return more


class Group:
    """
    handlers: one per endpoint; None: nobody listens there; a text: that address, as it is.
    keys: of the upstream, one per line. weights: of the endpoints. count: how many of them there
    are at first.
    """

    def __init__(self, sluice, topology, handlers, *keys, weights=None, count=None, **node):
        self.sluice, self.topology = sluice, topology
        self.weights = weights or [1] * len(handlers)
        self.addresses, self.backends, self._wires = [], [], []
        for number, handler in enumerate(handlers):
            port = FIRST_PORT + number
            backend = None
            if callable(handler):
                backend = RawBackend(topology, BACKEND[0], port, handler)
            self.backends.append(backend)
            self.addresses.append(handler if isinstance(handler, str) else f"{BACKEND[0]}:{port}")
        self.node = node
        self._sources = itertools.cycle(sources(topology))
        self.configure(*keys, count=count)
        sluice.start()

    def configure(self, *keys, count=None):
        endpoints = ", ".join(
            f'{{ address: "{address}", weight: {weight} }}'
            for address, weight in list(zip(self.addresses, self.weights))[:count])
        self.sluice.configure(CONFIG.format(
            listen=SLUICE, endpoints=endpoints, keys="".join(f"    {key}\n" for key in keys)),
            **self.node)

    def connect(self, source=None, **kwargs):
        """From the next address: that decides which worker gets the connection."""
        source = source or next(self._sources)
        wire = Wire(self.topology.connect("client", SLUICE, 80, source=source, **kwargs))
        self._wires.append(wire)
        return wire

    def ask(self, target="/", method="GET", fields=(), body=None, **kwargs):
        """On a connection of its own."""
        with self.connect(**kwargs) as wire:
            return wire.ask(target, method, fields, body, "up.test")

    def send(self, target="/", method="GET", fields=(), body=None, **kwargs):
        """Without waiting for the answer."""
        wire = self.connect(**kwargs)
        wire.send(request(target, method, fields, body, "up.test"))
        return wire

    def facts(self):
        return next(each for each in self.sluice.admin("/v1/upstreams")["upstreams"]
                    if each["name"] == "up")

    def endpoint(self, number):
        return self.facts()["endpoints"][number]

    def wait_for(self, key, value):
        wait_until(lambda: self.facts()[key] == value, f"the upstream's {key} was {value}")

    def seen(self):
        """Requests that each backend got."""
        return [len(backend.requests) if backend else 0 for backend in self.backends]

    def wait_for_requests(self, count):
        wait_until(lambda: sum(self.seen()) >= count, f"the backends had {count} requests")

    def close(self):
        for wire in self._wires:
            wire.close()
        for backend in self.backends:
            if backend:
                backend.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None:
            for backend in self.backends:
                if backend:
                    backend.check()
