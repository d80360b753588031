"""
WebSockets over HTTP/2 (RFC 8441) to upstreams that speak HTTP/1: one stream is the tunnel, the key is
Sluice's own and the accept is checked by it.
"""
import hashlib
import json
import socket
import threading

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from lib.backend import RawBackend
from lib.daemon import daemon
from lib.http2 import Gone, Http2
from lib.netns import BACKEND, SLUICE
from lib.tunnels import accept_of, echo, read_exactly, switching
from lib.wait import wait_until, wait_until_still
from lib.wire import response

PORT, BACKEND_PORT = 8111, 9931
CONFIG = f"""
listeners: [ {{ name: web, address: "{SLUICE}:{PORT}" }} ]
upstreams: [ {{ name: up, endpoints: [ "{BACKEND[0]}:{BACKEND_PORT}" ], retry: {{ on: [] }},
               ejection: {{ consecutive_failures: 0 }} }} ]
routes:
  - {{ name: ws, match: {{ hosts: [ ws.test ] }}, proxy: {{ upstream: up, upgrade: [ websocket, chat ] }} }}
  - {{ name: get, match: {{ hosts: [ get.test ], methods: [ GET ] }}, proxy: {{ upstream: up, upgrade: websocket }} }}
  - {{ name: none, match: {{ hosts: [ none.test ] }}, proxy: {{ upstream: up }} }}
  - {{ name: idle, match: {{ hosts: [ idle.test ] }},
       proxy: {{ upstream: up, upgrade: websocket, tunnel_idle: 300ms }} }}
  - {{ name: fixed, match: {{ hosts: [ fixed.test ] }}, respond: {{ body: "yes" }} }}
  - {{ name: page, match: {{ hosts: [ both.test ] }}, respond: {{ body: page }} }}
  - {{ name: chat, match: {{ hosts: [ both.test ], upgrade: websocket }},
       proxy: {{ upstream: up, upgrade: websocket }} }}
"""
VERSION = ("sec-websocket-version", "13")


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(f"  access_log: {{ file: {sluice.directory}/state/access.log }}" + CONFIG)
        yield sluice.start()


@pytest.fixture
def backend(topology):
    with RawBackend(topology, BACKEND[0], BACKEND_PORT, echo) as made:
        yield made


@pytest.fixture
def h2(node, topology):
    client = Http2(topology.connect("client", SLUICE, PORT, timeout_s=60))
    yield client
    client.close()


def ask(h2, host="ws.test", protocol="websocket", fields=(VERSION,), target="/chat?room=1", end=False,
        method="CONNECT"):
    pseudo = [(":method", method), (":protocol", protocol), (":scheme", "http"),
              (":authority", host), (":path", target)]
    return h2.start(fields=fields, end=end, pseudo=pseudo)


def opened(h2, stream):
    answer = h2.answers[stream]
    while answer.status is None and not answer.over:
        if not h2.pump():
            raise Gone(repr(answer))
    assert answer.status == 200, answer
    return answer


def read(h2, stream, count):
    answer = h2.answers[stream]
    while len(answer.body) < count:
        assert not answer.over, answer
        if not h2.pump():
            raise Gone(repr(answer))
    taken, answer.body = answer.body[:count], answer.body[count:]
    return taken


def tunnels(node):
    return sum(worker["tunnels"] for worker in node.admin("/v1/status")["workers"])


def log_of(node, target):
    def found():
        lines = (node.directory / "state" / "access.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["target"] == target]
    return wait_until(found, f"{target} is in the access log")[-1]


def test_a_route_is_for_upgrades_alone(node, backend, h2):
    stream = ask(h2, "both.test")
    opened(h2, stream)
    h2.data(stream, b"hello")
    assert read(h2, stream, 5) == b"hello"
    assert h2.ask(host="both.test").body == b"page"


def test_it_is_announced(node, h2):
    while SettingCodes.ENABLE_CONNECT_PROTOCOL not in h2.settings:
        assert h2.pump()
    assert h2.settings[SettingCodes.ENABLE_CONNECT_PROTOCOL] == 1


@pytest.mark.parametrize("host", ["ws.test", "get.test"])
def test_a_stream_becomes_a_websocket_of_the_upstream(node, backend, h2, host):
    stream = ask(h2, host, fields=[
        VERSION, ("sec-websocket-protocol", "chat"), ("sec-websocket-extensions", "x-y"),
        ("sec-websocket-key", "not-our-business"), ("cookie", "a=b")])
    answer = opened(h2, stream)
    for gone in ("sec-websocket-accept", "upgrade", "connection", "content-length"):
        assert answer.get(gone) is None, gone
    seen, = backend.requests
    assert seen.start == "GET /chat?room=1 HTTP/1.1" and seen.all("host") == [host]
    assert seen.all("connection") == ["Upgrade"] and seen.all("upgrade") == ["websocket"]
    key, = seen.all("sec-websocket-key")
    assert len(key) == 24 and key != "not-our-business" and accept_of(key)
    assert seen.get("sec-websocket-version") == "13" and seen.get("sec-websocket-protocol") == "chat"
    assert seen.get("sec-websocket-extensions") == "x-y" and seen.get("cookie") == "a=b"
    assert seen.get("content-length") is None and seen.get("transfer-encoding") is None
    for data in (b"hello", bytes(range(256)) * 300):
        h2.data(stream, data)
        assert read(h2, stream, len(data)) == data
    # Other streams go on beside it.
    assert h2.ask("/plain", host="none.test").body == b"plain"
    h2.data(stream, b"", end=True)
    assert h2.wait(stream).reset is None


def test_many_on_one_connection(node, backend, h2):
    streams = [ask(h2) for _ in range(30)]
    for stream in streams:
        opened(h2, stream)
    assert tunnels(node) == 30
    assert len({seen.get("sec-websocket-key") for seen in backend.requests}) == 30
    for turn in range(3):
        for stream in streams:
            h2.data(stream, b"%d %d" % (stream, turn))
        for stream in streams:
            text = b"%d %d" % (stream, turn)
            assert read(h2, stream, len(text)) == text
    for stream in streams:
        h2.data(stream, b"", end=True)
    for stream in streams:
        assert h2.wait(stream).ended
    wait_until(lambda: not tunnels(node), "all are over")


@pytest.mark.parametrize("host,protocol,fields,status", [
    ("none.test", "websocket", [VERSION], 501), ("ws.test", "connect-udp", [VERSION], 501),
    ("fixed.test", "websocket", [VERSION], 501), ("ws.test", "websocket", [], 400),
    ("ws.test", "websocket", [("sec-websocket-version", "8")], 400),
    ("nobody.test", "websocket", [VERSION], 404),
], ids=["not-allowed", "other", "no-proxy", "no-version", "old-version", "no-route"])
def test_what_is_not_allowed_is_refused_and_not_ignored(node, backend, h2, host, protocol, fields,
                                                        status):
    """Any 2xx would be a tunnel for the client."""
    answer = h2.wait(ask(h2, host, protocol, fields))
    assert answer.status == status
    assert not backend.requests
    assert h2.ask("/", host="none.test").status == 200


def test_without_a_protocol_connect_stays_closed(node, backend, h2):
    stream = h2.start(pseudo=[(":method", "CONNECT"), (":authority", "ws.test:80")], end=False)
    assert h2.wait(stream).status == 501
    assert not backend.requests


@pytest.mark.parametrize("answer,status", [
    (response(b"welcome"), 502), (response(b"", "204 No", length=False), 502),
    (response(b"no", "403 Forbidden"), 403), (response(b"", "302 Found", ["Location: /x"]), 302),
], ids=["200", "204", "403", "302"])
def test_an_upstream_that_does_not_change_the_protocol(node, backend, h2, answer, status):
    def decline(connection):
        connection.read_request()
        connection.send(answer)
        connection.wait_for_end()

    backend.handler = decline
    stream = ask(h2)
    assert h2.wait(stream).status == status
    assert h2.is_alive()


@pytest.mark.parametrize("spoil", [
    lambda seen: switching(seen, accept=accept_of("AAAAAAAAAAAAAAAAAAAAAA==")),
    lambda seen: switching(seen, accept=False), lambda seen: switching(seen, token="chat"),
], ids=["accept", "no-accept", "token"])
def test_a_101_that_does_not_fit_is_a_502(node, backend, h2, spoil):
    def misbehave(connection):
        connection.send(spoil(connection.read_request()), b"SECRET")
        connection.wait_for_end()

    backend.handler = misbehave
    answer = h2.wait(ask(h2))
    assert answer.status == 502 and b"SECRET" not in answer.body


def test_data_before_the_200_waits_for_the_tunnel(node, backend, h2, rng):
    """HARDENING 10, 31: nothing of it is sent before the upstream has agreed."""
    data, asked, decided = rng.randbytes(150000), threading.Event(), threading.Event()

    def late(connection):
        seen = connection.read_request()
        asked.set()
        assert decided.wait(30)
        assert not connection.buffer
        connection.send(switching(seen))
        got = read_exactly(connection, len(data))
        connection.wait_for_end()
        connection.send(hashlib.sha256(got).digest())

    backend.handler = late
    stream = ask(h2)
    h2.data(stream, data, end=True)  # the windows have room for all of it
    assert asked.wait(20)
    assert h2.is_alive() and h2.answers[stream].status is None
    decided.set()
    answer = h2.wait(stream)
    backend.check()
    assert answer.status == 200 and answer.body == hashlib.sha256(data).digest()


def test_either_side_may_end_first(node, backend, h2):
    def end_first(connection):
        connection.send(switching(connection.read_request()), b"all I have")
        connection.end()
        connection.wait_for_end()
        ended.append(bytes(connection.buffer))

    ended = []
    backend.handler = end_first
    stream = ask(h2, target="/upstream-first")
    answer = h2.wait(stream)
    assert answer.body == b"all I have" and answer.reset is None
    for _ in range(3):
        h2.data(stream, b"and more ")
    h2.data(stream, b"", end=True)
    backend.wait_until_idle()
    assert ended == [b"and more " * 3]
    line = log_of(node, "/upstream-first")
    assert line["status"] == 200 and line["method"] == "CONNECT" and line["protocol"] == "HTTP/2"
    assert line["bytes_in"] == 27 and line["bytes_out"] == 10 and line["reason"] is None


@pytest.mark.parametrize("size", [10, 200000])
def test_the_last_bytes_and_the_end_may_come_at_once(node, backend, h2, rng, size):
    """The stream is over then, and the upstream has not taken them yet."""
    data, got, go = rng.randbytes(size), [], threading.Event()

    def read_late(connection):
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.send(switching(connection.read_request()))
        connection.end()
        assert go.wait(20)
        connection.wait_for_end()
        got.append(bytes(connection.buffer))

    backend.handler = read_late
    for _ in range(5):
        stream = ask(h2)
        assert h2.wait(stream).status == 200
        for at in range(0, size, 16384):
            h2.h2.send_data(stream, data[at:at + 16384], end_stream=at + 16384 >= size)
        h2.flush()
        assert h2.is_alive()
        go.set()
        backend.wait_until_idle()
    assert got == [data] * 5


@pytest.mark.parametrize("who", ["client", "connection", "upstream"])
def test_a_reset_reaches_the_other_side(node, backend, h2, who):
    seen, go = [], threading.Event()

    def serve(connection):
        connection.send(switching(connection.read_request()), b"x")
        if who == "upstream":
            assert go.wait(20)
            connection.reset()
            return
        try:
            seen.append(connection.sock.recv(10))
        except ConnectionResetError:
            seen.append("reset")

    backend.handler = serve
    stream = ask(h2)
    opened(h2, stream)
    assert read(h2, stream, 1) == b"x"
    if who == "upstream":
        go.set()
        answer = h2.wait(stream)
        assert answer.reset == ErrorCodes.INTERNAL_ERROR and not answer.ended
        assert h2.is_alive()
        return
    if who == "client":
        h2.h2.reset_stream(stream, ErrorCodes.CANCEL)
        h2.flush()
    else:
        h2.close()
    backend.wait_until_idle()
    assert seen == ["reset"]
    wait_until(lambda: not tunnels(node), "the tunnel is over")


def test_an_idle_tunnel_is_closed(node, backend, h2):
    stream = ask(h2, "idle.test", target="/idle")
    opened(h2, stream)
    answer = h2.wait(stream)
    assert answer.ended, answer
    backend.wait_until_idle()
    assert log_of(node, "/idle")["reason"] == "tunnel was idle"
    assert h2.is_alive()


def test_windows_hold_back_the_upstream(node, topology, backend):
    """A client that opens no window: what waits here is bounded, and nothing is lost."""
    client = Http2(topology.connect("client", SLUICE, PORT, timeout_s=60), acknowledge=False)
    total, sent = 32 << 20, [0]  # the kernel's buffers may hold ten

    def flood(connection):
        connection.sock.settimeout(60)
        connection.send(switching(connection.read_request()))
        while sent[0] < total:
            connection.send(b"0123456789abcdef" * 4096)
            sent[0] += 65536
        connection.end()
        connection.wait_for_end()

    backend.handler = flood
    stream = ask(client)
    opened(client, stream)
    stalled = wait_until_still(lambda: sent[0], "the sender", samples=10)
    assert stalled < total // 2
    assert node.admin("/v1/status")["memory"]["used_bytes"] < 4 << 20
    answer, count = client.answers[stream], 0
    while len(answer.body) < 65535:
        assert client.pump()
    client.acknowledge = True
    client.h2.acknowledge_received_data(len(answer.body), stream)
    client.flush()
    while not answer.over or answer.body:
        offset = count % 16
        assert answer.body[:64] == (b"0123456789abcdef" * 6)[offset:offset + len(answer.body[:64])]
        count, answer.body = count + len(answer.body), b""
        assert answer.over or client.pump()
    assert count == total
    client.data(stream, b"", end=True)
    backend.wait_until_idle()
    client.close()
