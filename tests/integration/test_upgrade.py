"""
Upgrades and the tunnels they become: HARDENING 10 and 31.

A route says which protocols may be asked for. Nothing is opaque before the upstream's 101 that fits
what was asked; from then on bytes go both ways unread, each side ends on its own, and a tunnel
outlives the configuration it began with.
"""
import hashlib
import json
import signal
import threading

import pytest
from lib.backend import RawBackend
from lib.daemon import daemon
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.tunnels import accept_of, echo, read_exactly, say_back, switching
from lib.wait import wait_until, wait_until_still
from lib.wire import Wire, request, response

PORT, SLOW_PORT, OWN_PORT = 80, 8106, 8107
BACKEND_PORT, NGINX_PORT = 9911, 9912
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ASK = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
       f"Sec-WebSocket-Key: {KEY}"]

CONFIG = f"""
listeners:
  - {{ name: web, address: "{SLUICE}:{PORT}" }}
  - {{ name: paced, address: "{SLUICE}:{SLOW_PORT}", timeouts: {{ idle: 1500ms }} }}
upstreams:
  - {{ name: up, endpoints: [ "{BACKEND[0]}:{BACKEND_PORT}" ], timeouts: {{ response: 2s, idle: 2s }},
       retry: {{ on: [ connect, reset, 502 ], attempts: 2 }}, ejection: {{ consecutive_failures: 100 }} }}
routes:
  - {{ name: ws, match: {{ hosts: [ ws.test ] }}, proxy: {{ upstream: up, upgrade: [ websocket ] }} }}
  - {{ name: any, match: {{ hosts: [ any.test ] }}, proxy: {{ upstream: up, upgrade: [ Chat, websocket ] }} }}
  - {{ name: none, match: {{ hosts: [ none.test ] }}, proxy: {{ upstream: up }} }}
  - {{ name: idle, match: {{ hosts: [ idle.test ] }},
       proxy: {{ upstream: up, upgrade: [ websocket ], tunnel_idle: 400ms }} }}
  - {{ name: page, match: {{ hosts: [ both.test ] }}, respond: {{ body: page }} }}
  - {{ name: chat, match: {{ hosts: [ both.test ], upgrade: WebSocket }},
       proxy: {{ upstream: up, upgrade: websocket }} }}
"""


# For a daemon beside the one that the tests share: nobody else has these addresses.
OWN_CONFIG = CONFIG.replace(f"{SLUICE}:{PORT}", f"{SLUICE}:{OWN_PORT}").replace(
    f"{SLUICE}:{SLOW_PORT}", f"{SLUICE}:8108")


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(f"  access_log: {{ file: {sluice.directory}/state/access.log }}" + CONFIG)
        yield sluice.start()


@pytest.fixture
def backend(topology):
    with RawBackend(topology, BACKEND[0], BACKEND_PORT, echo) as made:
        yield made


def connect(topology, port=PORT, **kwargs):
    return Wire(topology.connect("client", SLUICE, port, **kwargs))


def counters(node):
    return node.admin("/v1/status")["counters"]


def tunnels(node):
    return sum(worker["tunnels"] for worker in node.admin("/v1/status")["workers"])


def open_tunnel(topology, host="ws.test", fields=ASK, port=PORT, target="/", **kwargs):
    wire = connect(topology, port, **kwargs)
    wire.send(request(target, "GET", fields, None, host))
    answer = wire.read_response_head()
    assert answer.status == 101, answer
    return wire, answer


def log_of(node, target):
    def found():
        lines = (node.directory / "state" / "access.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["target"] == target]
    return wait_until(found, f"{target} is in the access log")[-1]


# ---- what is asked, and what is answered

def test_a_websocket_is_asked_for_in_our_words_and_opened(node, topology, backend):
    fields = ["Connection: keep-alive, Upgrade, x-mine", "X-Mine: 1", "Upgrade: websocket",
              "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}",
              "Sec-WebSocket-Protocol: chat, superchat", "Keep-Alive: 3", "TE: trailers",
              "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"]
    wire, answer = open_tunnel(topology, fields=fields)
    seen, = backend.requests
    assert seen.all("connection") == ["Upgrade"] and seen.all("upgrade") == ["websocket"]
    assert seen.get("sec-websocket-key") == KEY and seen.get("sec-websocket-version") == "13"
    assert seen.get("sec-websocket-protocol") == "chat, superchat"
    assert seen.get("sec-websocket-extensions").startswith("permessage-deflate")
    assert seen.get("x-mine") is None and seen.get("te") is None and seen.get("keep-alive") is None
    assert answer.all("connection") == ["Upgrade"] and answer.all("upgrade") == ["websocket"]
    assert answer.get("sec-websocket-accept") == accept_of(KEY)
    assert answer.get("content-length") is None and answer.get("transfer-encoding") is None
    for data in (b"hello", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 100):
        wire.send(data)
        assert read_exactly(wire, len(data)) == data
    wire.close()


def test_other_protocols_where_the_route_names_them(node, topology, backend):
    for asked, chosen in (("chat", "chat"), ("CHAT", "chat"), ("foo, chat, websocket", "chat"),
                          ("h2c, websocket", "websocket")):
        fields = ["Connection: upgrade", f"Upgrade: {asked}"]
        if chosen == "websocket":
            fields += ASK[2:]
        wire, answer = open_tunnel(topology, "any.test", fields)
        assert answer.get("upgrade") == chosen and backend.requests[-1].get("upgrade") == chosen
        wire.send(b"x")
        assert read_exactly(wire, 1) == b"x"
        wire.close()


@pytest.mark.parametrize("host,fields", [
    ("none.test", ASK), ("ws.test", ["Connection: Upgrade", "Upgrade: chat"]),
    ("any.test", ["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"]),
    ("ws.test", ["Upgrade: websocket", *ASK[2:]]), ("ws.test", ["Connection: Upgrade", *ASK[2:]]),
    ("any.test", ["Connection: Upgrade", "Upgrade: chat/2"]),
], ids=["no-key", "other", "h2c", "no-option", "no-field", "version"])
def test_what_is_not_allowed_is_an_ordinary_request(node, topology, backend, host, fields):
    with connect(topology) as wire:
        for _ in range(2):
            answer = wire.ask(fields=fields, host=host)
            assert answer.status == 200 and answer.body == b"plain"
    for seen in backend.requests:
        assert seen.get("upgrade") is None and seen.get("http2-settings") is None
        assert "upgrade" not in (seen.get("connection") or "").lower()


@pytest.mark.parametrize("method,fields,body", [
    ("POST", ASK, None), ("GET", ASK, b"body"), ("GET", ASK[:3], None),
    ("GET", [*ASK[:3], "Sec-WebSocket-Key: short"], None),
    ("GET", [*ASK, ASK[3]], None), ("GET", [*ASK[:2], ASK[3]], None),
    ("GET", [*ASK[:2], "Sec-WebSocket-Version: 8", ASK[3]], None),
    ("GET", [*ASK[:2], "Sec-WebSocket-Version: 13, 8", ASK[3]], None),
    ("GET", [*ASK[:3], "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAB=="], None),
], ids=["post", "body", "no-key", "short-key", "two-keys", "no-version", "old", "versions", "bits"])
def test_a_malformed_handshake_is_refused_here(node, topology, backend, method, fields, body):
    with connect(topology) as wire:
        answer = wire.ask("/", method, fields, body, "ws.test")
        assert answer.status == 400 and wire.is_closed()
        if "version" in answer.body.decode():
            assert answer.get("sec-websocket-version") == "13"
    assert not backend.requests


def test_http10_cannot_ask(node, topology, backend):
    with connect(topology) as wire:
        wire.send(request("/", "GET", ASK, None, "ws.test", "HTTP/1.0"))
        assert wire.read_response().body == b"plain"


REFUSALS = {
    "no-upgrade": lambda seen: (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                                b"Sec-WebSocket-Accept: " + accept_of(KEY).encode() + b"\r\n\r\n"),
    "no-option": lambda seen: (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                               b"Sec-WebSocket-Accept: " + accept_of(KEY).encode() + b"\r\n\r\n"),
    "other-token": lambda seen: switching(seen, token="chat"),
    "two-tokens": lambda seen: switching(seen, token="websocket, chat"),
    "two-fields": lambda seen: switching(seen, "Upgrade: chat"),
    "no-accept": lambda seen: switching(seen, accept=False),
    "wrong-accept": lambda seen: switching(seen, accept=accept_of("AAAAAAAAAAAAAAAAAAAAAA==")),
    "two-accepts": lambda seen: switching(seen, f"Sec-WebSocket-Accept: {accept_of(KEY)}"),
    "accept-in-lower-case": lambda seen: switching(seen, accept=accept_of(KEY).lower()),
    "with-length": lambda seen: switching(seen, "Content-Length: 5"),
    "http10": lambda seen: switching(seen).replace(b"HTTP/1.1", b"HTTP/1.0"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_101_that_does_not_fit_is_a_502(node, topology, backend, name):
    """HARDENING 10: and nothing behind it reaches the client."""

    def misbehave(connection):
        connection.send(REFUSALS[name](connection.read_request()), b"SECRET")
        connection.wait_for_end()

    backend.handler = misbehave
    before = tunnels(node)
    with connect(topology) as wire:
        wire.send(request("/", "GET", ASK, None, "ws.test"))
        answer = wire.read_response()
        assert answer.status == 502 and b"SECRET" not in answer.body
    assert tunnels(node) == before
    backend.wait_until_idle()


@pytest.mark.parametrize("fields", [[], ASK[:2]], ids=["not-asked", "not-allowed"])
def test_a_101_that_nobody_asked_for_is_a_502(node, topology, backend, fields):
    def misbehave(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
                        b"Upgrade: websocket\r\n\r\nSECRET")
        connection.wait_for_end()

    backend.handler = misbehave
    with connect(topology) as wire:
        assert wire.ask(fields=fields, host="none.test").status == 502


@pytest.mark.parametrize("status", ["200 OK", "403 No", "426 Upgrade Required", "503 No"])
def test_any_other_answer_is_an_ordinary_one(node, topology, backend, status):
    """The connection goes on, and what was sent too early is the next request, of our client."""

    def decline(connection):
        while True:
            connection.read_request()
            connection.send(response(b"no", status))

    backend.handler = decline
    with connect(topology) as wire:
        wire.send(request("/1", "GET", ASK, None, "ws.test"), request("/2", "GET", (), None, "ws.test"))
        for _ in range(2):
            answer = wire.read_response()
            assert answer.status == int(status[:3]) and answer.body == b"no"
    assert [seen.target for seen in backend.requests] == ["/1", "/2"]


def test_interim_answers_come_before_the_101(node, topology, backend):
    def hint(connection):
        seen = connection.read_request()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", switching(seen), b"data")
        connection.wait_for_end()

    backend.handler = hint
    wire, answer = open_tunnel(topology)
    assert [each.status for each in answer.informational] == [103]
    assert read_exactly(wire, 4) == b"data"
    wire.close()


# ---- bytes

def test_early_bytes_of_both_sides_arrive_in_order(node, topology, backend):
    """HARDENING 31: none of them is read as HTTP, none is lost."""
    got = {}

    def greedy(connection):
        seen = connection.read_request()
        connection.send(switching(seen) + b"first from upstream, ", b"then more")
        got["data"] = read_exactly(connection, 39)
        connection.send(b"!")

    backend.handler = greedy
    with connect(topology) as wire:
        early = b"GET /smuggled HTTP/1.1\r\nHost: ws.test\r\n"
        assert len(early) == 39
        wire.send(request("/", "GET", ASK, None, "ws.test") + early)
        assert wire.read_response_head().status == 101
        assert read_exactly(wire, 31) == b"first from upstream, then more!"
    assert got["data"] == early and [seen.target for seen in backend.requests] == ["/"]


def test_a_flood_before_the_101_waits_and_arrives(node, topology, backend, rng):
    """More than is received of pipelined requests: then the client is held back until it is decided."""
    data, asked, decided = rng.randbytes(3 << 20), threading.Event(), threading.Event()
    got = []

    def late(connection):
        seen = connection.read_request()
        asked.set()
        assert decided.wait(30)
        assert not connection.buffer, "bytes of the tunnel before it was one"
        connection.send(switching(seen))
        got.append(read_exactly(connection, len(data)))

    backend.handler = late
    with connect(topology) as wire:
        wire.send(request("/", "GET", ASK, None, "ws.test"))
        with wire.sending([data]):
            assert asked.wait(20)
            decided.set()
            assert wire.read_response_head().status == 101
        backend.wait_until_idle()
    assert got == [data]


def test_a_head_in_pieces_and_the_tunnel_behind_it(node, topology, backend):
    def slow(connection):
        head = switching(connection.read_request()) + b"data"
        for at in range(0, len(head), 7):
            connection.send(head[at:at + 7])
        read_exactly(connection, 4)
        connection.send(b"done")

    backend.handler = slow
    with connect(topology) as wire:
        ask = request("/", "GET", ASK, None, "ws.test") + b"more"
        for at in range(0, len(ask), 5):
            wire.send(ask[at:at + 5])
        assert wire.read_response_head().status == 101
        assert read_exactly(wire, 8) == b"datadone"


def test_megabytes_both_ways_at_once(node, topology, backend, rng):
    data = rng.randbytes(1 << 20) * 24
    wire, _ = open_tunnel(topology)
    with wire.sending([data[at:at + 100000] for at in range(0, len(data), 100000)]):
        digest = hashlib.sha256()
        left = len(data)
        while left:
            assert wire.fill(), f"{left} bytes are missing"
            left -= len(wire.buffer)
            digest.update(wire._take(len(wire.buffer)))
    assert digest.digest() == hashlib.sha256(data).digest()
    wire.close()


@pytest.mark.parametrize("reader", ["client", "upstream"])
def test_who_does_not_read_stops_the_other_side(node, topology, backend, reader):
    """What waits here is bounded, and nothing is lost once it is read."""
    piece, total = b"0123456789abcdef" * 4096, 64 << 20
    go, sent = threading.Event(), [0]

    def flood(wire):
        while sent[0] < total:
            wire.send(piece)
            sent[0] += len(piece)
        wire.end()

    def drain(wire):
        count = 0
        while wire.fill():
            taken = wire._take(len(wire.buffer))
            offset = count % 16
            assert taken[:64] == (piece * 2)[offset:offset + len(taken[:64])]
            count += len(taken)
        return count

    counts = []

    def serve(connection):
        connection.sock.settimeout(60)
        connection.send(switching(connection.read_request()))
        if reader == "client":
            flood(connection)
            drain(connection)
        else:
            assert go.wait(60)
            counts.append(drain(connection))

    backend.handler = serve
    wire, _ = open_tunnel(topology, timeout_s=60)
    if reader == "upstream":
        thread = threading.Thread(target=flood, args=(wire,), daemon=True)
        thread.start()
    stalled = wait_until_still(lambda: sent[0], "the sender", samples=10)
    assert 0 < stalled < total // 2, stalled
    assert node.admin("/v1/status")["memory"]["used_bytes"] < 4 << 20
    if reader == "client":
        counts.append(drain(wire))
        wire.end()
    else:
        go.set()
        thread.join(60)
        assert not wire.fill()
    backend.wait_until_idle()
    assert counts == [total]
    wire.close()


# ---- ends

def test_the_client_ends_its_side_first(node, topology, backend):
    def answer_after_the_end(connection):
        connection.send(switching(connection.read_request()))
        connection.wait_for_end()
        connection.send(b"got " + connection._take(len(connection.buffer)))

    backend.handler = answer_after_the_end
    wire, _ = open_tunnel(topology, target="/client-first")
    wire.send(b"question")
    wire.end()
    assert wire.read_until_close() == b"got question"
    line = log_of(node, "/client-first")
    assert line["status"] == 101 and line["reason"] is None
    assert line["bytes_in"] == 8 and line["bytes_out"] == 12
    assert line["route"] == "ws" and line["listener"] == "web" and line["upstream"] == "up"
    assert line["endpoint"] == f"{BACKEND[0]}:{BACKEND_PORT}"


def test_the_upstream_ends_its_side_first(node, topology, backend):
    got = []

    def end_first(connection):
        connection.send(switching(connection.read_request()), b"that is all")
        connection.end()
        connection.wait_for_end()
        got.append(bytes(connection.buffer))

    backend.handler = end_first
    wire, _ = open_tunnel(topology)
    assert wire.read_until_close() == b"that is all"
    for _ in range(3):
        wire.send(b"and more ")
    wire.end()
    backend.wait_until_idle()
    assert got == [b"and more " * 3]
    wait_until(lambda: not tunnels(node), "the tunnel is over")


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_a_reset_of_one_side_reaches_the_other(node, topology, backend, who):
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
    wire, _ = open_tunnel(topology, target=f"/reset-{who}")
    assert read_exactly(wire, 1) == b"x"
    if who == "client":
        wire.reset()
        backend.wait_until_idle()
        assert seen == ["reset"]
    else:
        go.set()
        with pytest.raises(ConnectionResetError):
            wire.sock.recv(10)
    assert log_of(node, f"/reset-{who}")["reason"]
    wait_until(lambda: not tunnels(node), "the tunnel is over")


def test_an_idle_tunnel_is_closed_and_a_busy_one_is_not(node, topology, backend):
    before = counters(node)["tunnels_idle"]
    idle, _ = open_tunnel(topology, "idle.test", target="/idle")
    busy, _ = open_tunnel(topology, "idle.test")
    idle.sock.settimeout(0.1)
    ended = False
    for _ in range(200):
        busy.send(b"x")
        assert read_exactly(busy, 1) == b"x"
        try:
            ended = idle.sock.recv(1) == b""
        except TimeoutError:
            continue
        break
    assert ended
    busy.send(b"y")
    assert read_exactly(busy, 1) == b"y"
    assert counters(node)["tunnels_idle"] == before + 1
    assert log_of(node, "/idle")["reason"] == "tunnel was idle"
    busy.close()


def test_a_reader_that_takes_nothing_is_reset(node, topology, backend):
    """timeouts.idle of its listener is 1.5 s: a tunnel does not hold memory for nobody."""

    def flood(connection):
        connection.send(switching(connection.read_request()))
        while True:
            connection.send(b"x" * 65536)

    backend.handler = flood
    before = counters(node)["slow_readers"]
    wire, _ = open_tunnel(topology, port=SLOW_PORT, receive_bytes=4096)
    wait_until(lambda: counters(node)["slow_readers"] == before + 1, "the reader was given up")
    backend.wait_until_idle()
    wire.close()


def test_retries_and_failures_are_those_of_a_request(node, topology, backend):
    """Before the 101 an attempt may be repeated; what it makes of the endpoint is known after."""
    def reset_once(connection):
        connection.read_request()
        if connection.number == 0:
            connection.reset()
            return
        connection.send(switching(connection.requests[0]), b"ok")
        connection.wait_for_end()

    backend.handler = reset_once
    wire, _ = open_tunnel(topology)
    assert read_exactly(wire, 2) == b"ok"
    assert len(backend.connections) == 2
    wire.close()


def test_a_tunnels_duration_is_not_that_of_its_answer(node, topology, backend):
    wire, _ = open_tunnel(topology, target="/long")
    for _ in range(5):
        wire.send(b"x")
        assert read_exactly(wire, 1) == b"x"
    wire.end()
    assert wire.read_until_close() == b""
    line = log_of(node, "/long")
    assert line["duration_ms"] >= line["first_byte_ms"]
    metrics = node.admin("/v1/routes")["routes"]
    assert next(route for route in metrics if route["name"] == "ws")["responses"]["1xx"] > 0


def test_a_route_is_for_upgrades_alone(node, topology, backend):
    wire, _ = open_tunnel(topology, host="both.test")
    wire.send(b"hello")
    assert read_exactly(wire, 5) == b"hello"
    wire.close()
    for fields in ([], ["Upgrade: websocket"], ["Connection: upgrade", "Upgrade: chat"]):
        assert connect(topology).ask(host="both.test", fields=fields).body == b"page"
    found = json.loads(node.cli("-j", "route", "explain", "GET", "http://both.test/").stdout)
    assert found["result"]["name"] == "page"
    other = next(other for other in found["others"] if other["name"] == "chat")
    assert (other["lost_by"], other["reason"]) == (
        "upgrade", "does not ask to upgrade to websocket")
    found = json.loads(node.cli("-j", "route", "explain", "GET", "http://both.test/", "header",
                                "Connection", "upgrade", "header", "Upgrade", "websocket").stdout)
    assert found["result"]["name"] == "chat"


# ---- the daemon's own life

def reconfigure(node, marker):
    text = node.config_path.read_text()
    base = text.split("  - { name: edited")[0]
    node.write(base + f"  - {{ name: edited{marker}, match: {{ hosts: [ edited{marker}.test ] }}, "
               f"respond: {{ body: \"{marker}\" }} }}\n")
    node.reload()


def test_tunnels_and_a_download_survive_reloads(node, topology, long):
    """Also of their own route and upstream: they keep what they began with, and let the rest go."""
    count, reloads = (1000, 100) if long else (60, 20)
    total, go = 256 << 20 if long else 32 << 20, threading.Event()

    def serve(connection):
        message = connection.read_request()
        if message.get("upgrade"):
            connection.send(switching(message))
            say_back(connection)
            return
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n".encode())
        for at in range(0, total, 1 << 20):
            connection.send(b"%08d" % (at >> 20) * (1 << 17))
            if at == total // 2:
                assert go.wait(120)

    with RawBackend(topology, BACKEND[0], BACKEND_PORT, serve, timeout_s=120) as backend:
        wires = [open_tunnel(topology, source=CLIENT[number % len(CLIENT)])[0]
                 for number in range(count)]
        assert tunnels(node) == count
        download = connect(topology, timeout_s=120)
        download.send(request("/big", "GET", (), None, "ws.test"))
        head = download.read_response_head()
        for number in range(reloads):
            reconfigure(node, number)
            for wire in wires[number % 7::7]:
                wire.send(b"%04d" % number)
            for wire in wires[number % 7::7]:
                assert read_exactly(wire, 4) == b"%04d" % number
        assert connect(topology).ask(host=f"edited{reloads - 1}.test").body == str(reloads - 1).encode()
        # Those of the old snapshots are gone: nothing but the download keeps the first one.
        go.set()
        size = [0]

        def sink(data):
            size[0] += len(data)

        download.read_response_body(head, sink=sink)
        assert size == [total]
        assert tunnels(node) == count
        for number, wire in enumerate(wires):
            wire.send(b"%08d" % number)
        for number, wire in enumerate(wires):
            assert read_exactly(wire, 8) == b"%08d" % number
            wire.close()
        backend.wait_until_idle()
        download.close()
    wait_until(lambda: tunnels(node) == 0, "all tunnels are over")


def test_a_tunnel_outlives_its_route_and_upstream(topology, sluice, backend):
    sluice.configure(OWN_CONFIG)
    sluice.start()
    wire, _ = open_tunnel(topology, port=OWN_PORT)
    sluice.configure("""
listeners: [ { name: other, address: "10.77.1.1:8199" } ]
routes: [ { name: other, respond: { body: "x" } } ]
""")
    sluice.reload()
    for _ in range(3):
        wire.send(b"still here")
        assert read_exactly(wire, 10) == b"still here"
    wire.end()
    assert wire.read_until_close() == b""


def test_drain_gives_tunnels_their_time_and_then_closes_them(topology, sluice, backend):
    sluice.configure(OWN_CONFIG, drain="1s")
    sluice.start()
    finished, _ = open_tunnel(topology, port=OWN_PORT)
    kept, _ = open_tunnel(topology, port=OWN_PORT)
    sluice.process.send_signal(signal.SIGTERM)
    sluice.log.wait_for("drain|stopping|SIGTERM")
    finished.send(b"more")
    assert read_exactly(finished, 4) == b"more"
    finished.end()
    assert finished.read_until_close() == b""
    # A close, not a reset.
    assert kept.sock.recv(10) == b""
    assert sluice.wait_for_exit() == 0
