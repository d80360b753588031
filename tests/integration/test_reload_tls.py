"""
WebSockets over TLS, and downloads by HTTP/1 and HTTP/2, live through reloads that edit other routes
and exchange the certificate under which they began.
"""
import hashlib
import os
import shutil
import ssl
import threading

from lib.backend import RawBackend
from lib.certificates import make_certificate
from lib.http2 import Http2
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.payload import BLOCK_BYTES, payload
from lib.programs import build_dir, rss_bytes
from lib.tunnels import read_exactly, say_back, switching
from lib.wire import Wire, request

HOST = "site.test"
STEP = 256 * 1024
CONFIG = f"""
listeners:
  - name: web
    address: "{SLUICE}:443"
    tls: {{ certificates: [ {{ cert: site.pem, key: site.key }} ] }}
upstreams: [ {{ name: up, endpoints: [ "{BACKEND[0]}:9000" ] }} ]
routes:
  - {{ name: site, match: {{ hosts: [ {HOST} ] }}, proxy: {{ upstream: up, upgrade: websocket }} }}
  - {{ name: edited, match: {{ hosts: [ edited.test ] }}, respond: {{ body: "MARK" }} }}
"""
ASK = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]


def context(node, alpn):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("odd", "even"):
        made.load_verify_locations(node.directory / f"{name}.pem")
    made.set_alpn_protocols([alpn])
    return made


def connect(node, made, number=0, **kwargs):
    sock = node.topology.connect("client", SLUICE, 443, source=CLIENT[number % len(CLIENT)],
                                 **kwargs)
    return made.wrap_socket(sock, server_hostname=HOST, suppress_ragged_eofs=False)


def put_certificate(node, name):
    for kind in ("key", "pem"):
        shutil.copy(node.directory / f"{name}.{kind}", node.directory / f"new.{kind}")
        os.chmod(node.directory / f"new.{kind}", 0o644)
        os.replace(node.directory / f"new.{kind}", node.directory / f"site.{kind}")


def reload(node, turn):
    """Another route, another certificate."""
    put_certificate(node, "odd" if turn % 2 else "even")
    node.configure(CONFIG.replace("MARK", str(turn)))
    node.reload()


def is_current(node, made, turn):
    want = ssl.PEM_cert_to_DER_cert(
        (node.directory / ("odd.pem" if turn % 2 else "even.pem")).read_text())
    with Wire(connect(node, made)) as wire:
        return (wire.sock.getpeercert(binary_form=True) == want and
                wire.ask(host=HOST, target="/small").body == b"small")


def hash_of(total):
    known = hashlib.sha256()
    for at in range(0, total, STEP):
        known.update(payload(at % BLOCK_BYTES, STEP))
    return known.hexdigest()


class Http1Download:
    def __init__(self, sock):
        self.wire = Wire(sock)
        self.wire.send(request("/big", "GET", (), None, HOST))
        self.head = self.wire.read_response_head()

    def finish(self):
        seen = hashlib.sha256()
        self.wire.read_response_body(self.head, sink=seen.update)
        self.wire.close()
        return seen.hexdigest()


class Http2Download:
    def __init__(self, sock):
        self.http2 = Http2(sock)
        self.stream = self.http2.start(pseudo=[(":method", "GET"), (":scheme", "https"),
                                               (":authority", HOST), (":path", "/big")])
        self.answer = self.http2.answers[self.stream]
        while not self.answer.body:
            assert self.http2.pump()

    def finish(self):
        seen = hashlib.sha256(self.answer.body)
        self.answer.body = b""
        while not self.answer.over and self.http2.pump():
            seen.update(self.answer.body)
            self.answer.body = b""
        assert self.answer.ended, self.answer
        self.http2.close()
        return seen.hexdigest()


def test_websockets_and_downloads_survive_reloads_with_new_certificates(topology, sluice, long):
    count, reloads, total = (1000, 100, 256 << 20) if long else (40, 10, 16 << 20)
    go_on = threading.Event()

    def serve(connection):
        message = connection.read_request()
        if message.target == "/big":
            connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n".encode())
            for at in range(0, total, STEP):
                connection.send(payload(at % BLOCK_BYTES, STEP))
                if at == total // 2:
                    assert go_on.wait(600)
        elif message.get("upgrade"):
            connection.send(switching(message))
            say_back(connection)
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmall")

    for name in ("odd", "even"):
        make_certificate(sluice.directory, name, HOST)
    put_certificate(sluice, "even")
    sluice.configure(CONFIG)
    sluice.start()
    http1, http2 = context(sluice, "http/1.1"), context(sluice, "h2")
    with RawBackend(topology, BACKEND[0], 9000, serve, timeout_s=600):
        wires = [Wire(connect(sluice, http1, number, timeout_s=120)) for number in range(count)]
        for wire in wires:
            wire.send(request("/chat", "GET", ASK, None, HOST))
            assert wire.read_response_head().status == 101
        downloads = [Http1Download(connect(sluice, http1, timeout_s=120)),
                     Http2Download(connect(sluice, http2, timeout_s=120))]
        for turn in range(1, reloads + 1):
            reload(sluice, turn)
            for wire in wires[turn % 7::7]:
                wire.send(b"%04d" % turn)
            for wire in wires[turn % 7::7]:
                assert read_exactly(wire, 4) == b"%04d" % turn
            assert is_current(sluice, http1, turn)
        go_on.set()
        for download in downloads:
            assert download.finish() == hash_of(total)
        for number, wire in enumerate(wires):
            wire.send(b"%08d" % number)
        for number, wire in enumerate(wires):
            assert read_exactly(wire, 8) == b"%08d" % number
            wire.close()


def test_what_reloads_replace_is_given_back(topology, sluice, long):
    """Although WebSockets live through all of them, which began under the first configuration."""
    routes = "".join(f"  - {{ name: r{number}, match: {{ hosts: [ r{number}.test ] }}, respond: {{ body: "
                     f"\"{'x' * 400}\" }} }}\n" for number in range(3000))

    def serve(connection):
        connection.send(switching(connection.read_request()))
        say_back(connection)

    def reload_times(count):
        for turn in range(count):
            put_certificate(sluice, "odd" if turn % 2 else "even")
            sluice.configure(CONFIG.replace("MARK", str(turn)) + routes)
            sluice.reload()
        return rss_bytes(sluice.pid)

    for name in ("odd", "even"):
        make_certificate(sluice.directory, name, HOST)
    put_certificate(sluice, "even")
    sluice.configure(CONFIG + routes)
    sluice.start()
    made = context(sluice, "http/1.1")
    with RawBackend(topology, BACKEND[0], 9000, serve, timeout_s=600):
        wires = [Wire(connect(sluice, made, number, timeout_s=120)) for number in range(8)]
        for wire in wires:
            wire.send(request("/chat", "GET", ASK, None, HOST))
            assert wire.read_response_head().status == 101
        before = reload_times(6)
        after = reload_times(100 if long else 12)
        print("resident", before, after)
        for wire in wires:
            wire.send(b"here")
            assert read_exactly(wire, 4) == b"here"
            wire.close()
    # Texts alone are more than 1.2 MB for each configuration that would be kept.
    if not build_dir().name in ("address", "undefined", "thread"):
        assert after - before < 5 << 20, (before, after)
