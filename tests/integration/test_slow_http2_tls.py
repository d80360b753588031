"""
HARDENING 15: peers of HTTP/2 over TLS that take their time. Each is ended by the timer that the
reference names, and another connection is served meanwhile.
"""
import ssl
import threading

import pytest
from h2.errors import ErrorCodes

from lib.backend import RawBackend, answer_each
from lib.certificates import make_certificate
from lib.daemon import daemon
from lib.http2 import GOAWAY, PREFACE, SETTINGS, Http2, frame, read_frames
from lib.netns import BACKEND, SLUICE
from lib.wait import Thread
from lib.wire import response

CONFIG = f"""
listeners:
  - name: web
    address: "{SLUICE}:443"
    timeouts: {{ header: 1s, idle: 1s }}
    tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }}
upstreams: [ {{ name: up, endpoints: [ "{BACKEND[0]}:9000" ] }} ]
routes: [ {{ name: all, proxy: {{ upstream: up }} }} ]
"""


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as node:
        make_certificate(node.directory, "one", "one.test")
        node.configure(CONFIG)
        yield node.start()


@pytest.fixture
def backend(topology):
    with RawBackend(topology, BACKEND[0], 9000, answer_each(response(b"L" * (1 << 20)))) as made:
        yield made


def connect(node):
    context = ssl.create_default_context(cafile=node.directory / "one.pem")
    context.set_alpn_protocols(["h2"])
    sock = context.wrap_socket(node.topology.connect("client", SLUICE, 443, timeout_s=60),
                               server_hostname="one.test")
    assert sock.selected_alpn_protocol() == "h2"
    return sock


def pseudo(method="GET"):
    return [(":method", method), (":scheme", "https"), (":authority", "one.test"), (":path", "/")]


def counters(node):
    return node.admin("/v1/status")["counters"]


class Other:
    """A client that behaves: asks all the time on one connection."""

    def __init__(self, node):
        self.node, self.answers, self.stop = node, 0, threading.Event()
        self.thread = Thread(self._run)

    def _run(self):
        h2 = Http2(connect(self.node))
        while not self.stop.is_set():
            answer = h2.ask(pseudo=pseudo())
            assert (answer.status, len(answer.body)) == (200, 1 << 20)
            self.answers += 1
        h2.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.finish()
        assert self.answers > 2


def test_a_header_that_never_ends(node, backend):
    before = counters(node)["header_timeouts"]
    with Other(node):
        h2 = Http2(connect(node))
        assert h2.is_alive()  # our ACK of its SETTINGS is out: nothing may come between the pieces
        h2.raw(h2.raw_head(1, pseudo(), flags=0))
        h2.wait_for_end()
        h2.close()
    assert counters(node)["header_timeouts"] == before + 1


def test_settings_that_are_never_acknowledged(node, backend):
    before = counters(node)["header_timeouts"]
    with Other(node):
        sock = connect(node)
        sock.sendall(PREFACE + frame(SETTINGS))
        frames = read_frames(sock)
        sock.close()
    said = [payload for kind, _, _, payload in frames if kind == GOAWAY]
    assert said and int.from_bytes(said[-1][4:8], "big") == ErrorCodes.SETTINGS_TIMEOUT, frames
    assert counters(node)["header_timeouts"] == before + 1


def test_a_body_at_a_trickle(node, backend):
    before = counters(node)["slow_bodies"]
    with Other(node):
        h2 = Http2(connect(node))
        stream = h2.start(end=False, pseudo=pseudo("POST"))
        h2.sock.settimeout(0.2)
        while not h2.answers[stream].over:
            h2.h2.send_data(stream, b"x")
            h2.flush()
            try:
                assert h2.pump(), h2.answers
            except TimeoutError:
                pass
        h2.close()
    assert h2.answers[stream].status == 408 or h2.answers[stream].reset is not None
    assert counters(node)["slow_bodies"] == before + 1


def test_a_window_that_never_opens(node, backend):
    before = counters(node)["slow_readers"]
    with Other(node):
        h2 = Http2(connect(node), acknowledge=False)
        stream = h2.start(pseudo=pseudo())
        answer = h2.wait(stream)
        h2.close()
    assert answer.status == 200 and answer.reset is not None and len(answer.body) == 65535, answer
    assert counters(node)["slow_readers"] == before + 1
