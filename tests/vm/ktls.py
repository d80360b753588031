#!/usr/bin/python3
"""TLS whose records the kernel makes, through a real sluiced, on a kernel that has it.

usage: tests/vm/ktls.py ENGINE        io_uring or epoll

Bytes are compared by hash both ways, with TLS 1.2 and 1.3, from files (sendfile), from a backend and
to it; /proc/net/tls_stat must say that the kernel did it. Prints what is wrong and exits with 1.
"""
import hashlib
import http.server
import json
import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("SLUICE_BUILD", os.path.join(TOP, "build"))
LIMIT_S = 120 # emulation is slow; nothing here waits longer than it must
SIZES = {"small": 100, "record": 16384, "large": 10 << 20}
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
PORT = 8443

CONFIG = """
version: 1
node:
  workers: 1
  user: nobody
  drain: 60s
  io: {engine}
  state_dir: {scratch}/state
  bpffs: /sys/fs/bpf/{name}
  admin: {{ socket: {scratch}/admin.sock }}
listeners:
  - name: web
    address: "127.0.0.1:{port}"
    tls:
      certificates: [ {{ cert: {scratch}/cert.pem, key: {scratch}/key.pem }} ]
      ktls: require
upstreams: [ {{ name: site, endpoints: [ "127.0.0.1:{backend}" ] }} ]
routes:
  - {{ name: files, match: {{ path: {{ prefix: /files }} }}, files: {{ root: {scratch}/www }} }}
  - {{ name: site, match: {{ path: {{ prefix: / }} }}, proxy: {{ upstream: site }} }}
"""


def digest(data):
    return hashlib.sha256(data).hexdigest()


def stat():
    with open("/proc/net/tls_stat") as lines:
        return {name: int(value) for name, value in (line.split() for line in lines)}


class Backend(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    contents = {}

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(self.contents[self.path.strip("/")])

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(digest(body).encode())

    def log_message(self, *_):
        pass


class Client:
    """HTTP/1.1 over TLS of one version; an end without close_notify is an error."""

    def __init__(self, version, alpn="http/1.1", room=None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = VERSIONS[version]
        context.set_alpn_protocols([alpn])
        plain = socket.socket()
        if room:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        plain.settimeout(LIMIT_S)
        plain.connect(("127.0.0.1", PORT))
        self.sock = context.wrap_socket(plain, suppress_ragged_eofs=False)
        self.rest = b""

    def ask(self, method, path, body=b"", more=""):
        head = "%s %s HTTP/1.1\r\nHost: ktls.test\r\nContent-Length: %d\r\n%s\r\n" % (
            method, path, len(body), more)
        self.sock.sendall(head.encode() + body)

    def body(self):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        fields = head.decode().lower().split("\r\n")
        assert fields[0].startswith("http/1.1 200"), fields[0]
        length = next(int(field.split(":")[1]) for field in fields
                      if field.startswith("content-length:"))
        parts, have = [self.rest], len(self.rest)
        while have < length:
            parts.append(self.receive())
            have += len(parts[-1])
        whole = b"".join(parts)
        self.rest = whole[length:]
        return whole[:length]

    def receive(self):
        got = self.sock.recv(65536)
        assert got, "the end came too early"
        return got

    def more(self):
        self.rest += self.receive()

    def expect_end(self):
        assert not self.rest and self.sock.recv(1) == b"", "no close_notify"
        self.sock.close()


class Daemon:
    def __init__(self, engine, scratch, backend_port):
        name = os.path.basename(scratch)
        self.socket = scratch + "/admin.sock"
        with open(scratch + "/sluice.yaml", "w") as out:
            out.write(CONFIG.format(engine=engine, scratch=scratch, name=name, port=PORT,
                                    backend=backend_port))
        self.log = open(scratch + "/sluiced.log", "w+")
        self.process = subprocess.Popen([BUILD + "/sluiced", "--config", scratch + "/sluice.yaml"],
                                        stdout=self.log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + LIMIT_S
        while "ready" not in self.text():
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, "sluiced is not ready"
            time.sleep(0.05)

    def text(self):
        with open(self.log.name) as lines:
            return lines.read()

    def sluice(self, *words):
        return subprocess.run([BUILD + "/sluice", "--socket", self.socket, *words], check=True,
                              stdout=subprocess.PIPE, text=True).stdout

    def counters(self):
        return json.loads(self.sluice("-j", "status"))["counters"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(LIMIT_S) == 0, "sluiced ended with an error"


def check_bytes(version, contents):
    """Both ways, on one connection."""
    before = stat()
    client = Client(version)
    assert stat()["TlsTxSw"] == before["TlsTxSw"] + 1, "the kernel does not encrypt"
    for name, content in contents.items():
        for path in ("/files/" + name, "/" + name):
            client.ask("GET", path)
            assert digest(client.body()) == digest(content), path
        client.ask("POST", "/", content)
        assert client.body().decode() == digest(content), "upload of " + name
    client.ask("GET", "/files/small", more="Connection: close\r\n")
    assert client.body() == contents["small"]
    client.expect_end()
    # TLS 1.2 and much that is received: decrypted there, too.
    assert stat()["TlsRxSw"] == before["TlsRxSw"] + (version == "1.2")


def check_slow_reader(version, contents):
    """The last bytes and close_notify are there though the socket was full at the end."""
    client = Client(version, room=4096)
    client.ask("GET", "/files/large", more="Connection: close\r\nRange: bytes=0-2999999\r\n")
    time.sleep(0.5)
    whole = client.receive()
    while len(whole) < 3000000:
        whole += client.receive()
    head, start = whole.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 206"), head
    while len(start) < 3000000:
        start += client.receive()
    assert digest(start) == digest(contents["large"][:3000000]), "slow reader"
    client.expect_end()


def check_stop(version, contents, daemon):
    """An answer that is under way when the daemon is told to stop is whole, too."""
    client = Client(version, room=4096)
    client.ask("GET", "/files/large")
    head = client.receive() # so that it has begun; the rest does not fit into the socket
    daemon.process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + LIMIT_S
    while '"draining"' not in daemon.sluice("-j", "status"):
        assert time.monotonic() < deadline, "no draining"
    client.rest = head
    assert digest(client.body()) == digest(contents["large"]), "at the end"
    client.expect_end()


def check_http2(scratch, contents):
    for version in VERSIONS:
        got = subprocess.run(["curl", "-sSk", "--http2", "--tls-max", version, "--noproxy", "*",
                              "https://127.0.0.1:%d/files/large" % PORT], check=True,
                             stdout=subprocess.PIPE).stdout
        assert digest(got) == digest(contents["large"]), "HTTP/2, TLS " + version


class Interactive:
    """openssl s_client, which can send a KeyUpdate: K asks for an answer, k does not."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["openssl", "s_client", "-connect", "127.0.0.1:%d" % PORT, "-tls1_3"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.seen = b""

    def say(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def wait_for(self, text):
        while text.encode() not in self.seen:
            got = os.read(self.process.stdout.fileno(), 65536)
            assert got, "s_client ended without %r: %s" % (text, self.seen.decode())
            self.seen += got
        self.seen = self.seen.split(text.encode(), 1)[1]

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


REQUEST = "GET /files/small HTTP/1.1\r\nHost: ktls.test\r\n\r\n"


def check_key_updates(daemon):
    client = Interactive()
    client.wait_for("Verify return code")
    client.say("k\n")
    client.wait_for("KEYUPDATE")
    client.say(REQUEST)
    client.wait_for("HTTP/1.1 200")
    assert daemon.counters()["ktls_rekeys"] == 0
    client.say("K\n")
    client.wait_for("KEYUPDATE")
    client.wait_for("closed") # what it says of a close_notify
    client.stop()
    assert daemon.counters()["ktls_rekeys"] == 1


def run(engine, scratch):
    maker = random.Random(1)
    contents = {name: maker.randbytes(size) for name, size in SIZES.items()}
    os.makedirs(scratch + "/www")
    os.makedirs(scratch + "/state")
    os.chmod(scratch, 0o755)
    for name, content in contents.items():
        with open(scratch + "/www/" + name, "wb") as out:
            out.write(content)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=ktls.test",
                    "-keyout", scratch + "/key.pem", "-out", scratch + "/cert.pem"],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(scratch + "/key.pem", 0o644)
    Backend.contents = contents
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    daemon = Daemon(engine, scratch, server.server_address[1])
    try:
        before = stat()
        for version in VERSIONS:
            check_bytes(version, contents)
            check_slow_reader(version, contents)
        check_http2(scratch, contents)
        check_key_updates(daemon)
        counters = daemon.counters()
        sent = stat()["TlsTxSw"] - before["TlsTxSw"]
        assert counters["ktls_receives"] == stat()["TlsRxSw"] - before["TlsRxSw"] == 1, counters
        assert counters["ktls_sends"] == counters["tls_handshakes"] == sent, (counters, sent)
        status = daemon.sluice("status")
        assert "the kernel encrypts, and decrypts TLS 1.2" in status and "seccomp on" in status, status
        check_stop("1.3", contents, daemon)
        daemon.stop()
        assert stat()["TlsCurrTxSw"] == before["TlsCurrTxSw"], "connections are left"
    except Exception:
        print("--- sluiced:\n" + daemon.text())
        raise
    finally:
        daemon.process.kill()
        daemon.process.wait()
        daemon.log.close()
        server.shutdown()


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ("io_uring", "epoll"):
        sys.exit(__doc__.split("\n\n")[1])
    with tempfile.TemporaryDirectory(prefix="sluice-ktls-") as scratch:
        run(sys.argv[1], scratch)


main()
