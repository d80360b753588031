"""One way to ask by either protocol, for tests that have the same to say of both."""
import contextlib

from .http2 import Http2
from .netns import SLUICE
from .wire import Wire


@contextlib.contextmanager
def client_of(topology, protocol):
    """ask(target, method, host, fields, body), fields in pairs; get() of its answers knows no case."""
    sock = topology.connect("client", SLUICE, 80)
    if protocol == "http2":
        yield Http2(sock)
        sock.close()
        return
    with Wire(sock) as wire:
        ask = wire.ask
        wire.ask = lambda *args, fields=(), **more: ask(
            *args, fields=[f"{name}: {value}" for name, value in fields], **more)
        yield wire
