"""TLS from clients: certificates by name, HTTP inside, and what ends a connection."""
import hashlib
import json
import os
import socket
import ssl
import subprocess

import pytest

from lib.backend import RawBackend, answer_each
from lib.certificates import make_certificate
from lib.daemon import daemon
from lib.http2 import Http2
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.payload import payload
from lib.programs import build_dir
from lib.wait import wait_until
from lib.wire import Wire, chunk, request, response

MIB = 1 << 20
FILE_BYTES = 3 * MIB + 17
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
CONFIG = """
  trusted_proxies: [ {proxy} ]
  access_log: {{ file: {directory}/access.log }}
listeners:
  - name: web
    address: "{sluice}:443"
    limits: {{ body_bytes: 64MiB }}
    tls: {{ certificates: [ {{ cert: one.pem, key: one.key }}, {{ cert: two.pem, key: two.key }} ] }}
  - name: proxied
    address: "{sluice}:444"
    proxy_protocol: accept
    tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }}
  - name: strict
    address: "{sluice}:445"
    timeouts: {{ handshake: 500ms }}
    limits: {{ connections_per_source: 3 }}
    tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ], min_version: 1.3, alpn: [ h2 ] }}
upstreams:
  - {{ name: up, endpoints: [ "{backend}:9000" ] }}
routes:
  - {{ name: files, match: {{ path: {{ prefix: /files }} }}, files: {{ root: {directory}/www }} }}
  - {{ name: away, match: {{ path: {{ prefix: /away }} }}, redirect: {{ path: /there }} }}
  - {{ name: all, proxy: {{ upstream: up, upgrade: [ websocket ] }} }}
"""


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as node:
        make_certificate(node.directory, "one", "one.test", "*.one.test")
        make_certificate(node.directory, "two", "two.test")
        (node.directory / "www" / "files").mkdir(parents=True)
        (node.directory / "www" / "big.bin").write_bytes(payload(5, FILE_BYTES))
        (node.directory / "access.log").touch()
        os.chmod(node.directory / "access.log", 0o666)
        node.configure(CONFIG.format(sluice=SLUICE, backend=BACKEND[0], proxy=CLIENT[2],
                                     directory=node.directory), workers=1)
        yield node.start()


@pytest.fixture
def backend(topology, node):
    backend = RawBackend(topology, BACKEND[0], 9000)
    try:
        yield backend
        backend.check()
    finally:
        backend.close()


def context(node, name="one", alpn=("http/1.1",), version=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(node.directory / f"{name}.pem")
    made.set_alpn_protocols(list(alpn))
    if version:
        made.minimum_version = made.maximum_version = version
    return made


def connect(node, host="one.test", port=443, cert=None, session=None, source=None, made=None,
            **kwargs):
    made = made or context(node, cert or host.split(".")[-2], **kwargs)
    sock = node.topology.connect("client", SLUICE, port, source=source)
    return made.wrap_socket(sock, server_hostname=host, session=session,
                            suppress_ragged_eofs=False)


def counters(node):
    return node.admin("/v1/status")["counters"]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_requests_pass_and_the_upstream_is_told_that_they_came_by_https(node, backend, version):
    with Wire(connect(node, version=version)) as wire:
        for turn in range(20):
            answer = wire.ask(f"/{turn}", host="one.test")
            assert (answer.status, answer.body) == (200, b"ok")
        assert wire.sock.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert backend.requests[0].get("x-forwarded-proto") == "https"
    assert len(backend.connections) == 1


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_http2_is_chosen_by_alpn(node, backend, version):
    sock = connect(node, alpn=("h2", "http/1.1"), version=version)
    assert sock.selected_alpn_protocol() == "h2"
    h2 = Http2(sock)
    answer = h2.ask("/a", host="one.test", pseudo=[
        (":method", "GET"), (":scheme", "https"), (":authority", "one.test"), (":path", "/a")])
    assert (answer.status, answer.body) == (200, b"ok")
    assert backend.requests[0].get("x-forwarded-proto") == "https"
    h2.close()


def test_certificates_are_chosen_by_name_and_other_hosts_are_misdirected(node, backend):
    with Wire(connect(node, "two.test")) as wire:
        assert wire.ask("/", host="two.test").status == 200
        before = counters(node)["tls_misdirected"]
        assert wire.ask("/", host="one.test").status == 421
        assert wire.ask("/", host="two.test").status == 200
        assert counters(node)["tls_misdirected"] == before + 1
    # A name of the same certificate is at home there.
    with Wire(connect(node, "sub.one.test", cert="one")) as wire:
        assert wire.ask("/", host="one.test").status == 200
    assert {each.get("host") for each in backend.requests} == {"one.test", "two.test"}


def test_redirects_stay_with_https(node):
    with Wire(connect(node)) as wire:
        assert wire.ask("https://one.test/away", host="one.test").status == 308
        assert wire.ask("/away", host="one.test").get("location") == "https://one.test/there"


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_files_and_their_ranges_are_whole(node, version):
    whole = payload(5, FILE_BYTES)
    with Wire(connect(node, version=version)) as wire:
        answer = wire.ask("/files/big.bin", host="one.test")
        assert answer.status == 200
        assert hashlib.sha256(answer.body).digest() == hashlib.sha256(whole).digest()
        answer = wire.ask("/files/big.bin", host="one.test", fields=["Range: bytes=16380-1000000"])
        assert (answer.status, answer.body) == (206, whole[16380:1000001])


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_large_bodies_pass_both_ways(node, backend, version):
    body, answered = payload(1, 8 * MIB), payload(2, 8 * MIB)
    backend.handler = answer_each(response(answered))
    with Wire(connect(node, version=version)) as wire:
        for _ in range(2):
            wire.send(request("/up", "POST", host="one.test", body=body))
            answer = wire.read_response()
            assert answer.status == 200 and answer.body == answered
    assert [each.body == body for each in backend.requests] == [True, True]


def test_an_answer_to_the_end_is_ended_by_close_notify_and_a_cut_one_is_not(node, backend):
    def handle(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b"part"))
        if connection.requests[0].target == "/whole":
            connection.send(b"0\r\n\r\n")

    backend.handler = handle
    for target, whole in (("/whole", True), ("/cut", False)):
        sock = connect(node)
        sock.sendall(f"GET {target} HTTP/1.0\r\nHost: one.test\r\n\r\n".encode())
        got, clean = b"", None
        while clean is None:
            try:
                data = sock.recv(65536)
                got += data
                clean = None if data else True
            except (ssl.SSLEOFError, ConnectionResetError):
                clean = False
        sock.close()
        assert clean is whole, target
        assert got.endswith(b"\r\n\r\npart") or not whole


def test_half_a_request_and_an_end_without_notice_is_an_abort(node, backend):
    before = counters(node)["client_aborts"]
    sock = connect(node)
    sock.sendall(b"POST / HTTP/1.1\r\nHost: one.test\r\nContent-Length: 10\r\n\r\nhalf")
    sock.shutdown(socket.SHUT_WR)
    wait_until(lambda: counters(node)["client_aborts"] == before + 1, "the abort was counted")
    sock.close()


def test_http_without_tls_is_told_so(node):
    before = counters(node)["tls_failed_plain_http"]
    with Wire(node.topology.connect("client", SLUICE, 443)) as wire:
        wire.send(request("/", host="one.test"))
        answer = wire.read_response()
        assert answer.status == 400 and b"HTTPS" in answer.body
        assert wire.is_closed()
    assert counters(node)["tls_failed_plain_http"] == before + 1
    assert any(event["kind"] == "tls_failed" for event in node.admin("/v1/events")["events"])


@pytest.mark.parametrize("reason, sent", [
    ("not_tls", b"SSH-2.0-OpenSSH\r\n\r\n\r\n\r\n"),
    ("not_tls", b"\x16\x03\x01\xff\xff" + b"\0" * 64),
    ("closed", b"\x16\x03\x01\x02"),
    ("closed", b""),
])
def test_what_is_no_handshake_is_counted_by_its_reason(node, reason, sent):
    before = counters(node)[f"tls_failed_{reason}"]
    sock = node.topology.connect("client", SLUICE, 443)
    sock.sendall(sent)
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(4096):
        pass
    sock.close()
    wait_until(lambda: counters(node)[f"tls_failed_{reason}"] == before + 1, "it was counted")


@pytest.mark.parametrize("reason, kwargs", [
    ("version", {"version": ssl.TLSVersion.TLSv1_2}),
    ("alpn", {"alpn": ("http/1.1",)}),
])
def test_what_has_nothing_in_common_is_counted_by_its_reason(node, reason, kwargs):
    before = counters(node)[f"tls_failed_{reason}"]
    with pytest.raises(ssl.SSLError):
        connect(node, port=445, **kwargs)
    wait_until(lambda: counters(node)[f"tls_failed_{reason}"] == before + 1, "it was counted")


def test_a_client_that_refuses_our_certificate_is_counted(node):
    before = counters(node)["tls_failed_alert"]
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(node, made=context(node, "two", version=ssl.TLSVersion.TLSv1_2))
    wait_until(lambda: counters(node)["tls_failed_alert"] == before + 1, "it was counted")


def test_a_handshake_has_its_time_and_its_share_of_connections(node):
    before = counters(node)
    socks, refused = [], 0
    for _ in range(4):
        try:
            socks.append(node.topology.connect("client", SLUICE, 445, source=CLIENT[1]))
        except ConnectionResetError:
            refused += 1  # already while it set options
    for sock in socks:
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            refused += 1
        sock.close()
    assert refused == 1
    after = counters(node)
    assert after["source_refused"] == before["source_refused"] + 1
    assert after["tls_timeouts"] == before["tls_timeouts"] + 3


def test_sessions_are_resumed(node, backend):
    for version in VERSIONS:
        made, session = context(node, version=version), None
        before = counters(node)["tls_resumed"]
        for turn in range(3):
            with Wire(connect(node, made=made, session=session)) as wire:
                assert wire.ask("/", host="one.test").status == 200
                assert wire.sock.session_reused == (turn > 0), version
                session = wire.sock.session
        assert counters(node)["tls_resumed"] == before + 2


def test_a_proxy_header_comes_before_the_handshake(node, backend):
    header = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n"
    sock = node.topology.connect("client", SLUICE, 444, source=CLIENT[2])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(node).wrap_bio(incoming, outgoing, server_hostname="one.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock.sendall(header + outgoing.read())  # in one piece: the hello is there with the header

    def step(work):
        while True:
            try:
                done = work()
                sock.sendall(outgoing.read())
                return done
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))

    step(tls.do_handshake)
    tls.write(request("/", host="one.test"))
    assert step(lambda: tls.read(65536)).startswith(b"HTTP/1.1 200")
    sock.close()
    assert backend.requests[0].get("x-forwarded-for").startswith("192.0.2.7")


def test_a_tunnel_runs_through_tls(node, backend):
    def handle(connection):
        connection.read_request()
        key = connection.requests[0].get("sec-websocket-key") + (
            "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        accept = subprocess.run(
            ["openssl", "base64"], input=hashlib.sha1(key.encode()).digest(), check=True,
            capture_output=True, timeout=60).stdout.decode().strip()
        connection.send(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                        f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
        while data := connection.sock.recv(65536):
            connection.send(data)

    backend.handler = handle
    with Wire(connect(node)) as wire:
        wire.send(b"GET /ws HTTP/1.1\r\nHost: one.test\r\nUpgrade: websocket\r\n"
                  b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                  b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        assert wire.read_response_head().status == 101
        for size in (1, 100, 16384, 300000):
            sent = payload(size, size)
            wire.send(sent)  # Python's TLS sockets are not for two threads
            while len(wire.buffer) < size:
                assert wire.fill()
            assert bytes(wire.buffer) == sent
            wire.buffer.clear()
        node.reload()
        wire.send(b"still here")
        while len(wire.buffer) < 10:
            assert wire.fill()


def test_connections_outlive_a_reload_and_a_new_certificate_is_for_new_ones(node, backend):
    before = (node.directory / "two.pem").read_text()
    with Wire(connect(node, "two.test")) as wire:
        assert wire.ask("/", host="two.test").status == 200
        make_certificate(node.directory, "two", "two.test")
        assert (node.directory / "two.pem").read_text() != before
        node.reload()
        assert wire.ask("/", host="two.test").status == 200
    with Wire(connect(node, "two.test")) as wire:
        assert wire.ask("/", host="two.test").status == 200


def test_the_access_log_has_the_facts(node, backend):
    with Wire(connect(node, version=ssl.TLSVersion.TLSv1_3)) as wire:
        assert wire.ask("/logged", host="one.test").status == 200
    log = node.directory / "access.log"

    def line():
        lines = [json.loads(each) for each in log.read_text().splitlines()]
        return next((each for each in lines if each["target"] == "/logged"), None)

    wait_until(line, "the line was written")
    assert line()["tls"] == {"version": "TLSv1.3", "cipher": line()["tls"]["cipher"],
                             "resumed": False, "sni": "one.test", "alpn": "http/1.1"}
    assert line()["tls"]["cipher"].startswith("TLS_")


def s_client(node, *args, text="", port=443):
    return node.topology.run(
        "client", "openssl", "s_client", "-connect", f"{SLUICE}:{port}", "-servername", "one.test",
        *args, input=text, check=False)


def test_openssl_finds_no_renegotiation_no_compression_no_early_data(node, backend):
    done = s_client(node, "-tls1_2", text="R\n")
    assert "Secure Renegotiation IS supported" in done.stdout
    assert "no renegotiation" in done.stderr, done.stderr
    assert "Compression: NONE" in done.stdout
    done = s_client(node, "-tls1_3", "-ign_eof", "-crlf", text="GET / HTTP/1.0\nHost: one.test\n\n")
    assert "Max Early Data: 0" in done.stdout
    assert "HTTP/1.1 200 OK" in done.stdout
    for cipher in ("AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256"):
        assert s_client(node, "-tls1_2", "-cipher", cipher).returncode, cipher
    assert s_client(node, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0").returncode


def test_curl_and_wrk_are_served(node, backend):
    common = ["--cacert", str(node.directory / "one.pem"), "--resolve", f"one.test:443:{SLUICE}"]
    for version in ("--http1.1", "--http2"):
        done = node.topology.run("client", "curl", "-sS", version, *common, "-w",
                                 " %{http_code} %{http_version}", "https://one.test/")
        assert done.stdout == ("ok 200 2" if version == "--http2" else "ok 200 1.1")
    done = node.topology.run("client", "wrk", "-t1", "-c10", "-d1", "-H", "Host: one.test",
                             f"https://{SLUICE}/")
    assert "Non-2xx" not in done.stdout and "Socket errors" not in done.stdout, done.stdout


def test_the_kernel_encrypts_where_it_can_and_is_required_only_there(node, backend):
    ktls = node.admin("/v1/status")["ktls"]
    name = "ktls_sends" if ktls["sends"] else "ktls_no_kernel"
    before = counters(node)
    with Wire(connect(node)) as wire:
        assert wire.ask("/", host="one.test").status == 200
    after = counters(node)
    assert {key: after[key] - before[key] for key in after if key.startswith("ktls_")} == {
        key: int(key == name) for key in after if key.startswith("ktls_")}
    assert ktls["sends"] == (ktls["reason"] is None)
    line = next(line for line in node.cli("status", check=True).stdout.splitlines()
                if line.startswith("ktls "))
    assert line.split(maxsplit=1)[1] == (
        f"off ({ktls['reason']})" if not ktls["sends"] else
        "the kernel encrypts" + ", and decrypts TLS 1.2" * ktls["receives"])

    text = node.config_path.read_text()
    try:
        node.write(text.replace("key: two.key } ] }", "key: two.key } ], ktls: require }"))
        checked = subprocess.run(
            node.topology.command("sluice", build_dir() / "sluiced", "--check", node.config_path),
            capture_output=True, text=True, timeout=60, check=False)
        reloaded = node.cli("config", "reload")
        assert (checked.returncode == 0) == (reloaded.returncode == 0) == ktls["sends"]
        if not ktls["sends"]:
            refusal = f"listener 'web': tls: ktls: required, but {ktls['reason']}"
            assert refusal in checked.stderr and refusal in reloaded.stderr
    finally:
        node.write(text)
        node.reload()
    with Wire(connect(node)) as wire:
        assert wire.ask("/", host="one.test").status == 200
