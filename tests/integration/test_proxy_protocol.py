"""
The PROXY protocol: in from load balancers that do not speak HTTP, and out to endpoints.

Only peers in node.trusted_proxies are believed; what they name becomes the client, the TCP peer stays
the peer (HARDENING 35). Real senders and receivers are nginx and haproxy.
"""
import contextlib
import json
import socket
import ssl
import struct

import pytest
from lib.backend import RawBackend
from lib.certificates import make_certificate
from lib.daemon import daemon
from lib.http2 import Http2
from lib.netns import BACKEND, CLIENT, CLIENT6, SLUICE, SLUICE6
from lib.programs import start_program
from lib.wait import wait_until
from lib.wire import Wire, request, response

TRUSTED, STRANGER = CLIENT[0], CLIENT[1]
ACCEPT, REQUIRE, PLAIN, SHORT, FEW, SECURE = 8101, 8102, 8103, 8104, 8105, 8106
PORTS = {"plain": 9901, "v1": 9902, "v2": 9903, "one": 9904, "tlvs": 9905}
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"

CONFIG = f"""
listeners:
  - {{ name: accept, address: [ "{SLUICE}:{ACCEPT}", "[{SLUICE6}]:{ACCEPT}" ], proxy_protocol: accept }}
  - {{ name: require, address: "{SLUICE}:{REQUIRE}", proxy_protocol: require }}
  - {{ name: plain, address: [ "{SLUICE}:{PLAIN}", "[{SLUICE6}]:{PLAIN}" ] }}
  - {{ name: short, address: "{SLUICE}:{SHORT}", proxy_protocol: require, timeouts: {{ header: 300ms }} }}
  - {{ name: few, address: "{SLUICE}:{FEW}", proxy_protocol: require, limits: {{ connections_per_source: 2 }} }}
  - {{ name: secure, address: "{SLUICE}:{SECURE}", tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }} }}
upstreams:
  - {{ name: plain, endpoints: [ "{BACKEND[0]}:{PORTS['plain']}" ] }}
  - {{ name: v1, endpoints: [ "{BACKEND[0]}:{PORTS['v1']}" ], proxy_protocol: v1 }}
  - {{ name: v2, endpoints: [ "{BACKEND[0]}:{PORTS['v2']}" ], proxy_protocol: v2 }}
  - name: tlvs
    endpoints: [ "{BACKEND[0]}:{PORTS['tlvs']}" ]
    proxy_protocol: v2
    proxy_protocol_tlvs: [ alpn, authority ]
  - name: one
    endpoints: [ "{BACKEND[0]}:{PORTS['one']}" ]
    proxy_protocol: v1
    limits: {{ connections: 1, pending: 8 }}
    timeouts: {{ pending: 10s }}
routes:
""" + "".join(f"  - {{ name: {name}, match: {{ hosts: [ {name}.test ] }}, proxy: {{ upstream: {name} }} }}\n"
              for name in PORTS)


def v2(source, destination, ports, command=0x21, tlvs=b""):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    body = (socket.inet_pton(family, source) + socket.inet_pton(family, destination) +
            struct.pack(">HH", *ports) + tlvs)
    return SIGNATURE + bytes([command, 0x21 if family == socket.AF_INET6 else 0x11]) + \
        struct.pack(">H", len(body)) + body


def tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


V1 = b"PROXY TCP4 203.0.113.9 198.51.100.1 40000 443\r\n"
V2 = v2("203.0.113.9", "198.51.100.1", (40000, 443))


def handle(connection):
    """Reads the PROXY header where the port is one of those, and then answers each request."""
    if connection.sock.getsockname()[1] in (PORTS["v1"], PORTS["one"]):
        connection.proxy = connection.read_line()
    elif connection.sock.getsockname()[1] in (PORTS["v2"], PORTS["tlvs"]):
        head = read_exactly(connection, 16)
        connection.proxy = head + read_exactly(connection, struct.unpack(">H", head[14:])[0])
    while True:
        connection.read_request()
        connection.send(response(b"ok"))


def read_exactly(connection, count):
    while len(connection.buffer) < count:
        assert connection.fill(), f"end after {bytes(connection.buffer)!r}"
    return connection._take(count)


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        make_certificate(sluice.directory, "one", "tlvs.test")
        sluice.configure(f"  access_log: {{ file: {sluice.directory}/state/access.log }}\n"
                         f"  trusted_proxies: [ {TRUSTED}, \"{CLIENT6[0]}\", 198.18.0.0/15 ]\n"
                         + CONFIG)
        yield sluice.start()


@pytest.fixture
def backends(topology):
    made = {name: RawBackend(topology, BACKEND[0], port, handle) for name, port in PORTS.items()}
    yield made
    for backend in made.values():
        backend.close()
    for backend in made.values():
        backend.check()


def connect(topology, port, source=TRUSTED, address=SLUICE):
    return Wire(topology.connect("client", address, port, source=source))


def counter(node, name):
    return node.admin("/v1/status")["counters"][name]


def ask(wire, *pieces, host="plain.test", fields=(), target="/"):
    for piece in pieces:
        wire.send(piece)
    wire.send(request(target, "GET", fields, None, host))
    return wire.read_response()


def last_log(node, target):
    def found():
        lines = (node.directory / "state" / "access.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["target"] == target]
    return wait_until(found, f"{target} is in the access log")[-1]


# ---- in

@pytest.mark.parametrize("header,client", [
    (V1, "203.0.113.9"), (V2, "203.0.113.9"),
    (v2("2001:db8::9", "2001:db8::1", (40000, 443)), "2001:db8::9"),
    (b"PROXY TCP6 2001:db8::9 2001:db8::1 1 2\r\n", "2001:db8::9"),
    (b"PROXY TCP6 ::ffff:203.0.113.9 ::ffff:198.51.100.1 1 2\r\n", "203.0.113.9"),
    (v2("203.0.113.9", "198.51.100.1", (1, 2), tlvs=tlv(1, b"h2") + tlv(2, b"a.test") +
        tlv(0x20, b"\0\0\0\0\1") + tlv(0xE5, b"x" * 700)), "203.0.113.9"),
    (b"PROXY UNKNOWN\r\n", TRUSTED), (SIGNATURE + b"\x20\0\0\0", TRUSTED),
    (SIGNATURE + b"\x21\0\0\0", TRUSTED),
], ids=["v1", "v2", "v2-tcp6", "v1-tcp6", "v1-mapped", "v2-tlvs", "v1-unknown", "v2-local",
        "v2-unspec"])
@pytest.mark.parametrize("port", [ACCEPT, REQUIRE], ids=["accept", "require"])
def test_the_client_is_whom_the_header_names(node, topology, backends, header, client, port):
    target = f"/{port}/{client}"
    with connect(topology, port) as wire:
        # Header and request in one segment, and then one more on the same connection.
        assert ask(wire, header, target=target).body == b"ok"
        assert ask(wire, target=target).body == b"ok"
    for seen in backends["plain"].requests:
        assert seen.get("x-forwarded-for") == client and seen.get("x-real-ip") == client
    line = last_log(node, target)
    assert line["client"] == client
    assert line.get("peer", TRUSTED) == TRUSTED


@pytest.mark.parametrize("header", [V1, v2("203.0.113.9", "198.51.100.1", (1, 2),
                                           tlvs=tlv(0xE5, b"y" * 40))], ids=["v1", "v2"])
def test_a_header_may_come_byte_by_byte(node, topology, backends, header):
    with connect(topology, REQUIRE) as wire:
        for at in range(len(header)):
            wire.send(header[at:at + 1])
        assert ask(wire).body == b"ok"
    assert backends["plain"].requests[0].get("x-real-ip") == "203.0.113.9"


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("together", [True, False], ids=["together", "apart"])
def test_http2_may_follow(node, topology, backends, header, together):
    wire = connect(topology, REQUIRE)
    if together:
        wire.sock.send(header, socket.MSG_MORE)
    else:
        for at in range(len(header)):
            wire.send(header[at:at + 1])
    client = Http2(wire.sock)
    assert client.ask("/", host="plain.test").body == b"ok"
    assert client.ask("/", host="plain.test").body == b"ok"
    assert {seen.get("x-forwarded-for") for seen in backends["plain"].requests} == {"203.0.113.9"}
    client.close()


def test_the_named_client_is_trusted_no_more_than_any_other(node, topology, backends):
    forged = ["X-Forwarded-For: 192.0.2.200", "X-Real-IP: 192.0.2.200", "Forwarded: for=192.0.2.200"]
    with connect(topology, REQUIRE) as wire:
        ask(wire, V1, fields=forged)
    with connect(topology, REQUIRE) as wire:
        # One that is trusted, itself behind the load balancer.
        ask(wire, b"PROXY TCP4 198.18.0.1 198.51.100.1 1 2\r\n", fields=forged)
    first, second = backends["plain"].requests
    assert first.get("x-forwarded-for") == "203.0.113.9" and first.get("x-real-ip") == "203.0.113.9"
    assert second.get("x-forwarded-for") == "192.0.2.200, 198.18.0.1"
    assert second.get("x-real-ip") == "192.0.2.200"


def test_a_client_that_came_over_tls_is_told_as_such(node, topology, backends):
    for client, scheme in ((b"\1", "https"), (b"\0", "http")):
        with connect(topology, REQUIRE) as wire:
            ask(wire, v2("203.0.113.9", "198.51.100.1", (1, 2), tlvs=tlv(0x20, client + b"\0\0\0\0")))
        assert backends["plain"].requests[-1].get("x-forwarded-proto") == scheme


def test_nobody_else_is_believed(node, topology, backends):
    """HARDENING 19, 35: an untrusted peer never sets an address, whatever it sends."""
    for header in (V1, V2):
        with connect(topology, ACCEPT, STRANGER) as wire:
            wire.send(header, request("/", "GET", (), None, "plain.test"))
            assert wire.read_response().status == 400
        before = counter(node, "proxy_refused")
        with contextlib.suppress(ConnectionResetError), connect(topology, REQUIRE, STRANGER) as wire:
            assert not wire.fill(), "not turned away"
        assert counter(node, "proxy_refused") == before + 1
        with connect(topology, PLAIN) as wire:
            wire.send(header, request("/", "GET", (), None, "plain.test"))
            assert wire.read_response().status == 400
    with connect(topology, ACCEPT, STRANGER) as wire:
        assert ask(wire).body == b"ok"
    assert [seen.get("x-forwarded-for") for seen in backends["plain"].requests] == [STRANGER]


def test_without_a_header_accept_goes_on_and_require_closes(node, topology, backends):
    for source, address in ((TRUSTED, SLUICE), (CLIENT6[0], SLUICE6)):
        with connect(topology, ACCEPT, source, address) as wire:
            assert ask(wire).body == b"ok"
    with connect(topology, ACCEPT) as wire:  # empty lines that begin like a signature
        for piece in (b"\r", b"\n\r\n", b"GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n"):
            wire.send(piece)
        assert wire.read_response().body == b"ok"
    with connect(topology, ACCEPT) as wire:
        for piece in (b"P", b"R", b"OPFIND / HTTP/1.1\r\nHost: plain.test\r\n\r\n"):
            wire.send(piece)
        assert wire.read_response().body == b"ok"
    before = counter(node, "proxy_refused")
    with connect(topology, REQUIRE) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n")
        assert not wire.fill(), "answered"
    assert counter(node, "proxy_refused") == before + 1


@pytest.mark.parametrize("header", [
    b"PROXY TCP4 203.0.113.9 198.51.100.1 40000\r\n", b"PROXY TCP4 " + b"x" * 200,
    b"PROXY UNKNOWN\n", SIGNATURE + b"\x31\x11\0\x0c" + b"\0" * 12,
    SIGNATURE + b"\x21\x11\0\x04" + b"\0" * 4, SIGNATURE + b"\x21\x11\xff\xff",
    v2("203.0.113.9", "198.51.100.1", (1, 2), tlvs=tlv(3, b"\0\0\0\0")),
], ids=["short", "long", "bare-lf", "version", "addresses", "length", "checksum"])
@pytest.mark.parametrize("port", [ACCEPT, REQUIRE], ids=["accept", "require"])
def test_a_malformed_header_ends_the_connection(node, topology, backends, header, port):
    before = counter(node, "proxy_refused")
    with connect(topology, port) as wire:
        wire.send(header)
        assert not wire.fill(), "answered"
    assert counter(node, "proxy_refused") == before + 1
    assert not backends["plain"].requests


def test_a_header_has_a_deadline(node, topology):
    before = counter(node, "header_timeouts")
    for begin in (b"", V1[:20], V2[:20]):
        with connect(topology, SHORT) as wire:
            wire.send(begin)
            assert not wire.fill(), "answered"
    assert counter(node, "header_timeouts") == before + 3


def test_connections_count_for_the_client_that_is_named(node, topology, backends):
    before = counter(node, "source_refused")
    wires = [connect(topology, FEW) for _ in range(4)]
    for wire in wires[:2]:
        assert ask(wire, V1).body == b"ok"
    wires[2].send(V1)
    assert not wires[2].fill(), "the third of one client"
    assert ask(wires[3], b"PROXY TCP4 203.0.113.10 198.51.100.1 1 2\r\n").body == b"ok"
    assert counter(node, "source_refused") == before + 1
    for wire in wires:
        wire.close()


def test_who_looks_whether_we_listen_is_no_error(node, topology):
    before = counter(node, "proxy_refused"), counter(node, "accepted")
    connect(topology, REQUIRE).close()
    wait_until(lambda: counter(node, "accepted") == before[1] + 1, "it was accepted")
    assert counter(node, "proxy_refused") == before[0]


# ---- out

def test_connections_begin_with_a_header(node, topology, backends):
    for _ in range(2):
        with connect(topology, PLAIN, STRANGER) as wire:
            port = wire.sock.getsockname()[1]
            ask(wire, host="v1.test")
            ask(wire, host="v2.test")
    first, = backends["v1"].connections
    second, = backends["v2"].connections
    # Both requests came by the connection that was opened for the first.
    assert len(first.requests) == len(second.requests) == 2
    assert first.proxy.split()[:4] == [b"PROXY", b"TCP4", STRANGER.encode(), SLUICE.encode()]
    assert first.proxy.split()[5] == str(PLAIN).encode() and first.proxy.split()[4] != str(port).encode()
    assert second.proxy.startswith(SIGNATURE + b"\x21\x11\0\x0c" + socket.inet_aton(STRANGER) +
                                   socket.inet_aton(SLUICE))
    assert second.proxy[-2:] == struct.pack(">H", PLAIN)


def test_ipv6_and_named_clients_are_passed_on(node, topology, backends):
    with connect(topology, PLAIN, CLIENT6[1], SLUICE6) as wire:
        ask(wire, host="v1.test")
    with connect(topology, REQUIRE) as wire:
        ask(wire, V2, host="v1.test")
    with connect(topology, REQUIRE) as wire:  # whom a trusted proxy names in a field has no port
        ask(wire, b"PROXY TCP4 198.18.0.1 198.51.100.1 1 2\r\n", host="v1.test",
            fields=["X-Forwarded-For: 192.0.2.200"])
    lines = [connection.proxy for connection in backends["v1"].connections]
    assert lines[0].startswith(f"PROXY TCP6 {CLIENT6[1]} {SLUICE6} ".encode())
    assert lines[1] == V1.rstrip()
    assert lines[2] == b"PROXY TCP4 192.0.2.200 198.51.100.1 0 2"


def test_a_kept_connection_serves_its_own_client_only(node, topology, backends):
    """The same worker serves all of these: it is chosen by the peer's address."""
    clients = [f"203.0.113.{number}" for number in (20, 21, 20, 21, 22, 20)]
    for client in clients:
        with connect(topology, REQUIRE) as wire:
            ask(wire, f"PROXY TCP4 {client} 198.51.100.1 1 2\r\n".encode(), host="v1.test")
    told = {}
    for connection in backends["v1"].connections:
        client = connection.proxy.split()[2].decode()
        assert client not in told, "one would have been enough"
        told[client] = len(connection.requests)
        assert {seen.get("x-real-ip") for seen in connection.requests} == {client}
    assert told == {"203.0.113.20": 3, "203.0.113.21": 2, "203.0.113.22": 1}


def test_another_clients_idle_connection_gives_up_its_place(node, topology, backends):
    """limits.connections is 1: what is idle is of no use to the next client, but its place is."""
    for client in ("203.0.113.30", "203.0.113.31", "203.0.113.30"):
        with connect(topology, REQUIRE) as wire:
            assert ask(wire, f"PROXY TCP4 {client} 198.51.100.1 1 2\r\n".encode(),
                       host="one.test").body == b"ok"
    assert len(backends["one"].connections) == 3


def ask_over_tls(node, alpn, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(node.directory / "one.pem")
    if alpn:
        context.set_alpn_protocols([alpn])
    sock = context.wrap_socket(node.topology.connect("client", SLUICE, SECURE, source=STRANGER),
                               server_hostname=name)
    if alpn == "h2":
        client = Http2(sock)
        for _ in range(2):
            assert client.ask(pseudo=[(":method", "GET"), (":scheme", "https"),
                                      (":authority", "tlvs.test"), (":path", "/")]).body == b"ok"
        client.close()
    else:
        with Wire(sock) as wire:
            assert ask(wire, host="tlvs.test").body == ask(wire, host="tlvs.test").body == b"ok"


def test_endpoints_are_told_what_the_handshake_said(node, topology, backends):
    asked = [("h2", "tlvs.test"), ("http/1.1", "tlvs.test"), ("http/1.1", None), (None, None)]
    for alpn, name in asked * 2:
        ask_over_tls(node, alpn, name)
    with connect(topology, PLAIN, STRANGER) as wire:
        ask(wire, host="tlvs.test")
    told = {connection.proxy: len(connection.requests) for connection in backends["tlvs"].connections}
    heads = []
    for proxy in told:
        assert proxy[16:24] == socket.inet_aton(STRANGER) + socket.inet_aton(SLUICE)
        heads.append((proxy[26:28], proxy[28:]))
    secure, plain = struct.pack(">H", SECURE), struct.pack(">H", PLAIN)
    # One each: what one client's handshake said is not told of another's connection.
    assert sorted(heads) == sorted([
        (secure, tlv(1, b"h2") + tlv(2, b"tlvs.test")),
        (secure, tlv(1, b"http/1.1") + tlv(2, b"tlvs.test")),
        (secure, tlv(1, b"http/1.1")), (secure, b""), (plain, b"")])
    assert sorted(told.values()) == [1, 4, 4, 4, 4]


# ---- real programs

HAPROXY = """
global
  stats socket {directory}/haproxy.sock
defaults
  mode {mode}
  timeout connect 5s
  timeout client 30s
  timeout server 30s
frontend in
  bind {bind}
  {rules}
  default_backend out
backend out
  server one {server}
"""

NGINX = """
{first}
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
user root;
events {{ worker_connections 256; }}
{body}
"""


def start_haproxy(topology, role, directory, bind, server, mode="tcp", rules=""):
    directory.mkdir(exist_ok=True)
    config = directory / "haproxy.cfg"
    config.write_text(HAPROXY.format(directory=directory, bind=bind, server=server, mode=mode,
                                     rules=rules))
    port = int(bind.split()[0].rpartition(":")[2])
    return start_program(topology, role, ["/usr/sbin/haproxy", "-db", "-f", str(config)],
                         bind.split()[0].rpartition(":")[0], port, directory)


def start_nginx(topology, role, directory, body, address, port, first=""):
    directory.mkdir(exist_ok=True)
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, body=body, first=first))
    return start_program(topology, role, ["/usr/sbin/nginx", "-c", str(config), "-e",
                                          str(directory / "error.log")], address, port, directory)


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options "
                                  "crc32c,unique-id,authority"], ids=["v1", "v2", "v2-options"])
def test_haproxy_sends_to_us(node, topology, backends, tmp_path, send):
    rules = "unique-id-format %{+X}o%ci" if "unique-id" in send else ""
    with start_haproxy(topology, "client", tmp_path / "haproxy", f"{TRUSTED}:7001",
                       f"{SLUICE}:{REQUIRE} source {TRUSTED} {send}", rules=rules):
        wire = Wire(topology.connect("client", TRUSTED, 7001, source=CLIENT[2]))
        with wire:
            assert ask(wire).body == b"ok"
    assert backends["plain"].requests[-1].get("x-forwarded-for") == CLIENT[2]


def test_nginx_sends_to_us(node, topology, backends, tmp_path):
    body = (f"stream {{ server {{ listen {TRUSTED}:7002; proxy_pass {SLUICE}:{REQUIRE}; "
            f"proxy_bind {TRUSTED}; proxy_protocol on; }} }}")
    module = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;"
    with start_nginx(topology, "client", tmp_path / "nginx", body, TRUSTED, 7002, module):
        with Wire(topology.connect("client", TRUSTED, 7002, source=CLIENT[2])) as wire:
            assert ask(wire).body == b"ok"
    assert backends["plain"].requests[-1].get("x-forwarded-for") == CLIENT[2]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_haproxy_receives_from_us(node, topology, tmp_path, version):
    rules = "http-request return status 200 content-type text/plain lf-string \"%[src] %[dst] %[dst_port]\""
    with start_haproxy(topology, "backends", tmp_path / "haproxy",
                       f"{BACKEND[0]}:{PORTS[version]} accept-proxy", "127.0.0.1:1", "http", rules):
        with connect(topology, PLAIN, STRANGER) as wire:
            for _ in range(2):
                answer = ask(wire, host=f"{version}.test")
                assert answer.body.decode().split() == [STRANGER, SLUICE, str(PLAIN)]


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_receives_from_us(node, topology, tmp_path, version):
    body = (f"http {{ access_log off; server {{ listen {BACKEND[0]}:{PORTS[version]} proxy_protocol; "
            "location / { return 200 \"$proxy_protocol_addr $proxy_protocol_server_addr "
            "$proxy_protocol_server_port\"; } } }")
    with start_nginx(topology, "backends", tmp_path / "nginx", body, BACKEND[0], PORTS[version]):
        with connect(topology, PLAIN, STRANGER) as wire:
            for _ in range(2):
                answer = ask(wire, host=f"{version}.test")
                assert answer.body.decode().split() == [STRANGER, SLUICE, str(PLAIN)]
