"""
Real clients of TLS: nghttp, h2load, python3-websockets, python3-h2, openssl s_client with sessions,
stapled OCSP responses and certificates of its own; and PROXY headers in front of all of it.
"""
import asyncio
import os
import ssl
import time

import pytest
from lib.certificates import make_certificate, openssl
from lib.daemon import daemon
from lib.http2 import Gone, Http2
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.wire import request
from test_websocket_clients import SERVER_PORT, Server

websockets = pytest.importorskip("websockets")

CONFIG = f"""
  trusted_proxies: [ {CLIENT[2]} ]
listeners:
  - name: web
    address: "{SLUICE}:443"
    tls: {{ certificates: [ {{ cert: site.pem, key: site.key, ocsp: site.ocsp }} ] }}
  - name: proxied
    address: "{SLUICE}:444"
    proxy_protocol: require
    tls: {{ certificates: [ {{ cert: site.pem, key: site.key }} ] }}
  - name: devices
    address: "{SLUICE}:445"
    tls:
      certificates: [ {{ cert: site.pem, key: site.key }} ]
      client_auth: {{ mode: require, ca: ca.pem }}
upstreams: [ {{ name: chat, endpoints: [ "{BACKEND[0]}:{SERVER_PORT}" ] }} ]
routes:
  - {{ name: chat, match: {{ path: {{ exact: /chat }} }}, proxy: {{ upstream: chat, upgrade: websocket }} }}
  - {{ name: all, respond: {{ body: "hello" }} }}
"""


def make_ocsp_response(directory):
    """What the responder of the authority says of site.pem."""
    serial = openssl(directory, "x509", "-noout", "-serial", "-in", "site.pem").strip().split("=")[1]
    until = time.strftime("%y%m%d%H%M%SZ", time.gmtime(time.time() + 86400 * 20))
    (directory / "issued").write_text(f"V\t{until}\t\t{serial}\tunknown\t/CN=site.test\n")
    openssl(directory, "ocsp", "-issuer", "ca.pem", "-cert", "site.pem", "-no_nonce", "-reqout", "ask")
    openssl(directory, "ocsp", "-index", "issued", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey",
            "ca.key", "-reqin", "ask", "-respout", "site.ocsp", "-ndays", "7")
    os.chmod(directory / "site.ocsp", 0o644)


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as node:
        make_certificate(node.directory, "ca", "authority")
        for name in ("site", "device"):
            make_certificate(node.directory, name, f"{name}.test", issuer="ca")
        make_ocsp_response(node.directory)
        with open(node.directory / "site.pem", "a", encoding="ascii") as chain:
            chain.write((node.directory / "ca.pem").read_text())  # curl looks for the issuer there
        node.configure(CONFIG)
        yield node.start()


@pytest.fixture
def server(topology):
    server = Server(topology)
    yield server
    server.close()


def context(node, *alpn):
    made = ssl.create_default_context(cafile=node.directory / "ca.pem")
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


def test_nghttp_is_served(node, topology):
    done = topology.run("client", "nghttp", "-v", "-H:authority: site.test", "--no-dep",
                        f"https://{SLUICE}/one", f"https://{SLUICE}/two")
    assert "The negotiated protocol: h2" in done.stdout, done.stdout
    assert done.stdout.count(":status: 200") == 2 and done.stdout.count("hello") == 2, done.stdout


@pytest.mark.parametrize("protocol, words", [("h2", ["-m10"]), ("http/1.1", ["--h1"])])
def test_h2load_loses_nothing(node, topology, long, protocol, words):
    count = 100000 if long else 3000
    done = topology.run("client", "h2load", f"-n{count}", "-c20", *words, "-H:authority: site.test",
                        f"https://{SLUICE}/")
    assert f"Application protocol: {protocol}" in done.stdout, done.stdout
    assert f"{count} succeeded, 0 failed, 0 errored, 0 timeout" in done.stdout, done.stdout
    assert f"status codes: {count} 2xx" in done.stdout, done.stdout


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_curl_trusts_the_name_and_what_is_stapled(node, topology, version, tls):
    done = topology.run("client", "curl", "-sS", version, f"--tlsv{tls}", "--tls-max", tls,
                        "--cert-status", "--cacert", str(node.directory / "ca.pem"), "--resolve",
                        f"site.test:443:{SLUICE}", "-w", " %{http_version}", "https://site.test/")
    assert done.stdout == "hello " + version.removeprefix("--http")


def test_websockets_over_tls(node, topology, server, rng):
    messages = ["hello", rng.randbytes(100000), "ä" * 50000]

    async def talk():
        sock = topology.connect("client", SLUICE, 443)
        sock.settimeout(None)
        async with websockets.connect("wss://site.test/chat", sock=sock, ssl=context(node),
                                      server_hostname="site.test", max_size=None) as socket:
            await asyncio.gather(*(socket.send(message) for message in messages))
            for message in messages:
                assert await socket.recv() == message
            await socket.send("close")
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4001

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert server.seen[0].request_headers.get("x-forwarded-proto") == "https"


def test_websockets_over_http2_over_tls(node, topology, server):
    sock = context(node, "h2").wrap_socket(topology.connect("client", SLUICE, 443),
                                           server_hostname="site.test")
    assert sock.selected_alpn_protocol() == "h2"
    h2 = Http2(sock)
    streams = [h2.start(end=False, fields=[("sec-websocket-version", "13")], pseudo=[
        (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"),
        (":authority", "site.test"), (":path", "/chat")]) for _ in range(5)]
    for number, stream in enumerate(streams):
        text = b"number %d" % number
        h2.data(stream, bytes([0x81, 0x80 | len(text)]) + bytes(4) + text)  # masked with zeros
        answer, expected = h2.answers[stream], bytes([0x81, len(text)]) + text
        while len(answer.body) < len(expected):
            if answer.over or not h2.pump():
                raise Gone(repr(answer))
        assert (answer.status, answer.body) == (200, expected)
    assert h2.ask("/", pseudo=[(":method", "GET"), (":scheme", "https"), (":authority", "site.test"),
                               (":path", "/")]).body == b"hello"
    h2.close()
    assert len(server.seen) == 5


def s_client(node, *words, port=443):
    """Asks for / with HTTP/1.0, so that both sides are at their end afterwards."""
    return node.topology.run(
        "client", "openssl", "s_client", "-connect", f"{SLUICE}:{port}", "-servername", "site.test",
        "-CAfile", str(node.directory / "ca.pem"), "-verify_return_error", "-ign_eof", "-crlf", *words,
        input="GET / HTTP/1.0\nHost: site.test\n\n", check=False)


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_s_client_resumes_its_session(node, tmp_path, version):
    kept = str(tmp_path / "session")
    first = s_client(node, f"-tls{version}", "-sess_out", kept)
    assert "New, TLSv" in first.stdout and "hello" in first.stdout, first.stdout + first.stderr
    again = s_client(node, f"-tls{version}", "-sess_in", kept)
    assert "Reused, TLSv" in again.stdout and "hello" in again.stdout, again.stdout


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_s_client_finds_the_response_stapled(node, version):
    done = s_client(node, f"-tls{version}", "-status")
    assert "OCSP Response Status: successful" in done.stdout, done.stdout
    assert "Cert Status: good" in done.stdout and "Verify return code: 0 (ok)" in done.stdout
    assert "OCSP response: no response sent" in s_client(node, "-status", port=445).stdout


@pytest.mark.parametrize("version", ["1_2", "1_3"])
def test_s_client_shows_a_certificate_or_gets_no_answer(node, version):
    mine = ["-cert", str(node.directory / "device.pem"), "-key", str(node.directory / "device.key")]
    assert "hello" in s_client(node, f"-tls{version}", *mine, port=445).stdout
    refused = s_client(node, f"-tls{version}", port=445)
    assert "hello" not in refused.stdout and "alert" in refused.stderr, refused.stderr


V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 443\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes((192, 0, 2, 7, 192, 0, 2, 1)) + b"\x13\x88\x01\xbb"


@pytest.mark.parametrize("header", [V1, V2], ids=["v1", "v2"])
@pytest.mark.parametrize("cuts", [[], [10], [len(V1)], [len(V2)], [len(V1) + 3], list(range(1, 90))],
                         ids=["whole", "in-header", "v1-end", "v2-end", "in-hello", "bytes"])
def test_a_proxy_header_and_a_hello_in_any_pieces(node, topology, header, cuts):
    sock = topology.connect("client", SLUICE, 444, source=CLIENT[2])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context(node, "http/1.1").wrap_bio(incoming, outgoing, server_hostname="site.test")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sent = header + outgoing.read()
    for begin, end in zip([0, *cuts], [*cuts, len(sent)]):
        sock.sendall(sent[begin:end])  # TCP_NODELAY: a segment each

    def step(work):
        while True:
            try:
                done = work()
                sock.sendall(outgoing.read())
                return done
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                received = sock.recv(65536)
                assert received, "the connection was ended"
                incoming.write(received)

    step(tls.do_handshake)
    tls.write(request("/", host="site.test"))
    assert step(lambda: tls.read(65536)).startswith(b"HTTP/1.1 200")
    sock.close()


def test_a_hello_without_the_header_is_refused(node, topology):
    sock = topology.connect("client", SLUICE, 444, source=CLIENT[2])
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        context(node).wrap_socket(sock, server_hostname="site.test")
    assert node.admin("/v1/status")["counters"]["proxy_refused"] > 0
