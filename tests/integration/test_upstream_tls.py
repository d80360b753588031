"""TLS towards upstreams: whom we believe, what we show, and what a broken end of it becomes."""
import json
import os
import ssl
import subprocess

import pytest

from lib.backend import RawBackend
from lib.certificates import make_crl
from lib.daemon import Sluice
from lib.netns import BACKEND, SLUICE
from lib.payload import BLOCK_BYTES, payload
from lib.programs import start_program
from lib.wait import wait_until
from lib.wire import Truncated, Wire, request, response

MIB = 1 << 20
ADDRESS = BACKEND[0]
SERVE, ONLY12, ONLY13, EXPIRED, STRANGE, CLEAR, REVOKED, PROXIED = range(9701, 9709)
STRICT12, STRICT13, RAW, PLAIN = 9711, 9712, 9721, 9722
CA = "ca: pki/ca.pem"
SHOP = f"{CA}, server_name: shop.test"
MINE = "client_cert: { cert: pki/client.pem, key: pki/client.key }"

# name: (port, keys of tls, other keys)
UPSTREAMS = {
    "good": (SERVE, SHOP, ""),
    "by-address": (SERVE, f'{CA}, san: [ "{ADDRESS}" ]', ""),
    "by-one-of": (SERVE, f"{CA}, san: [ other.test, shop.test ], server_name: third.test", ""),
    "only12": (ONLY12, SHOP, ""),
    "only13": (ONLY13, f'{SHOP}, min_version: "1.3"', ""),
    "too-old": (ONLY12, f'{SHOP}, min_version: "1.3"', ""),
    "wrong-name": (SERVE, f"{CA}, server_name: other.test", ""),
    "wrong-address": (SERVE, f'{CA}, server_name: "{BACKEND[1]}"', ""),
    "wrong-ca": (STRANGE, SHOP, ""),
    "expired": (EXPIRED, SHOP, ""),
    "revoked": (REVOKED, f"{SHOP}, crl: pki/ca.crl", ""),
    "unlisted": (REVOKED, SHOP, ""),
    "listed": (SERVE, f"{SHOP}, crl: pki/ca.crl", ""),
    "anybody": (STRANGE, "insecure_skip_verify: true", ""),
    "proxied": (PROXIED, SHOP, "proxy_protocol: v1, "),
    "shown12": (STRICT12, f"{SHOP}, {MINE}", ""),
    "shown13": (STRICT13, f"{SHOP}, {MINE}", ""),
    "unshown12": (STRICT12, SHOP, ""),
    "unshown13": (STRICT13, SHOP, ""),
    "raw": (RAW, SHOP, ""),
    "plain": (PLAIN, SHOP, ""),
    "clear": (CLEAR, SHOP, ""),
    "slow": (PLAIN, SHOP, "timeouts: { connect: 300ms }, "),
}

CONFIG = """
  access_log: {{ file: {directory}/access.log }}
listeners:
  - {{ name: web, address: "{sluice}:80", limits: {{ body_bytes: 64MiB }} }}
upstreams:
{upstreams}
  - name: mixed
    endpoints: [ "{address}:{strange}", "{address}:{serve}" ]
    ejection: {{ consecutive_failures: 3, base: 60s, max: 50% }}
    tls: {{ {shop} }}
routes:
{routes}
"""

NGINX = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
user root;
events {{ worker_connections 512; }}
http {{
	access_log off;
	client_body_temp_path {directory}/body;
	proxy_temp_path {directory}/proxy;
	fastcgi_temp_path {directory}/fastcgi;
	uwsgi_temp_path {directory}/uwsgi;
	scgi_temp_path {directory}/scgi;
	client_max_body_size 0;
	ssl_protocols TLSv1.2 TLSv1.3;
	ssl_session_cache shared:all:1m;
	ssl_certificate {directory}/shop.pem;
	ssl_certificate_key {directory}/shop.key;
{servers}
}}
"""
SERVER = """
	server {{
		listen {listen};
		{keys}
		root {directory}/www;
		location /facts {{
			return 200 "$ssl_protocol $ssl_session_reused [$ssl_server_name] $connection $proxy_protocol_addr";
		}}
		location /once {{
			keepalive_timeout 0;
			return 200 "$ssl_protocol $ssl_session_reused [$ssl_server_name] $connection";
		}}
		location /up {{ dav_methods PUT; }}
	}}
"""


def upstream_lines(upstreams):
    return "\n".join(f'  - {{ name: {name}, endpoints: [ "{ADDRESS}:{port}" ], {other}'
                     f"tls: {{ {tls} }} }}" for name, (port, tls, other) in upstreams.items())


def configure(node, **changed):
    upstreams = dict(UPSTREAMS, **changed)
    node.configure(CONFIG.format(
        sluice=SLUICE, directory=node.directory, address=ADDRESS, strange=STRANGE, serve=SERVE,
        shop=SHOP, upstreams=upstream_lines(upstreams),
        routes="\n".join(f"  - {{ name: {name}, match: {{ hosts: [ {name}.test ] }}, "
                         f"proxy: {{ upstream: {name}, upgrade: [ chat ] }} }}"
                         for name in [*upstreams, "mixed"])), workers=1)


class Pki:
    def __init__(self, directory):
        self.directory = directory
        directory.mkdir()
        self.authority("ca")
        self.authority("other")
        self.certificate("shop", "ca", f"DNS:shop.test,IP:{ADDRESS}")
        self.certificate("expired", "ca", "DNS:shop.test", days=-1)
        self.certificate("strange", "other", "DNS:shop.test")
        self.certificate("client", "ca", "DNS:proxy.test")
        self.certificate("revoked", "ca", "DNS:shop.test")
        self.revoke("revoked")

    def revoke(self, *names):
        make_crl(self.directory, names)
        os.chmod(self.directory / "ca.crl", 0o644)

    def run(self, *argv):
        subprocess.run(["openssl", *argv], cwd=self.directory, check=True, capture_output=True,
                       timeout=60)

    def authority(self, name):
        self.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30", "-subj",
                 f"/CN={name}")

    def certificate(self, name, issuer, san, days=30):
        self.run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (self.directory / "ext").write_text(f"subjectAltName={san}\n")
        self.run("x509", "-req", "-in", f"{name}.csr", "-CA", f"{issuer}.pem", "-CAkey",
                 f"{issuer}.key", "-CAcreateserial", "-days", str(days), "-extfile", "ext", "-out",
                 f"{name}.pem")
        os.chmod(self.directory / f"{name}.key", 0o644)


def start_nginx(topology, directory):
    def server(port, keys="", listen="ssl"):
        return SERVER.format(listen=f"{ADDRESS}:{port} {listen}", keys=keys, directory=directory)

    def other(name):
        return f"ssl_certificate {directory}/{name}.pem; ssl_certificate_key {directory}/{name}.key;"

    (directory / "www" / "up").mkdir(parents=True)
    (directory / "www" / "big").write_bytes(payload(7, BLOCK_BYTES) * 4)
    conf = directory / "nginx.conf"
    conf.write_text(NGINX.format(directory=directory, servers="".join([
        server(SERVE), server(ONLY12, "ssl_protocols TLSv1.2;"),
        server(ONLY13, "ssl_protocols TLSv1.3;"), server(EXPIRED, other("expired")),
        server(STRANGE, other("strange")), server(REVOKED, other("revoked")),
        server(CLEAR, listen=""), server(PROXIED, listen="ssl proxy_protocol")])))
    return start_program(topology, "backends", ["/usr/sbin/nginx", "-c", str(conf), "-e",
                                                str(directory / "error.log")],
                         ADDRESS, PROXIED, directory)


def start_s_server(topology, directory, port, version):
    """Refuses the handshake of clients without a certificate."""
    where = directory / str(port)
    where.mkdir()
    return start_program(
        topology, "backends",
        ["openssl", "s_server", "-accept", f"{ADDRESS}:{port}", f"-{version}", "-www", "-cert",
         directory / "shop.pem", "-key", directory / "shop.key", "-CAfile", directory / "ca.pem",
         "-Verify", "1", "-verify_return_error", "-naccept", "100"], ADDRESS, port, where)


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    node = Sluice(topology, workdir, engine)
    programs = []
    try:
        pki = Pki(node.directory / "pki")
        (node.directory / "access.log").touch()
        os.chmod(node.directory / "access.log", 0o666)
        node.pki = pki
        programs.append(start_nginx(topology, pki.directory))
        programs.append(start_s_server(topology, pki.directory, STRICT12, "tls1_2"))
        programs.append(start_s_server(topology, pki.directory, STRICT13, "tls1_3"))
        configure(node)
        node.start()
        yield node
        node.stop()
    finally:
        for program in programs:
            program.close()
        node.dispose()


@pytest.fixture
def backends(topology):
    """Makes raw backends that are closed at the end."""
    made = []

    def make(port, handler):
        made.append(RawBackend(topology, ADDRESS, port, handler))
        return made[-1]

    yield make
    for backend in made:
        backend.close()


def secured(node, handler):
    """The handler behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(node.directory / "pki" / "shop.pem", node.directory / "pki" / "shop.key")
    context.set_alpn_protocols(["http/1.1"])

    def handle(connection):
        connection.sock = context.wrap_socket(connection.sock, server_side=True,
                                              suppress_ragged_eofs=False)
        handler(connection)

    return handle


def wire(node):
    return Wire(node.topology.connect("client", SLUICE, 80))


def ask(node, name, target="/facts", method="GET", body=None):
    with wire(node) as connection:
        return connection.ask(target, method, host=f"{name}.test", body=body)


def reason(node, target):
    def found():
        lines = (node.directory / "access.log").read_text().splitlines()
        return [line for line in map(json.loads, lines) if line["target"] == target]
    return wait_until(found, f"{target} is in the access log")[-1]["reason"]


# ---- verified

@pytest.mark.parametrize("name,version,sni", [
    ("good", "TLSv1.3", "shop.test"), ("by-address", "TLSv1.3", ""),
    ("by-one-of", "TLSv1.3", "third.test"), ("only12", "TLSv1.2", "shop.test"),
    ("only13", "TLSv1.3", "shop.test"), ("anybody", "TLSv1.3", "")])
def test_requests_pass_and_connections_are_kept(node, name, version, sni):
    with wire(node) as connection:
        answers = [connection.ask("/facts", host=f"{name}.test") for _ in range(10)]
    facts = [answer.body.decode().split() for answer in answers]
    assert all(answer.status == 200 for answer in answers)
    assert {(each[0], each[2]) for each in facts} == {(version, f"[{sni}]")}
    assert len({each[3] for each in facts}) == 1


def test_what_an_authority_revoked_is_not_believed(node):
    assert ask(node, "listed").status == ask(node, "unlisted").status == 200
    assert ask(node, "revoked", "/revoked").status == 502
    assert "revoked" in reason(node, "/revoked")
    # A list that changed is in force after a reload, for kept connections and sessions, too.
    node.pki.revoke("revoked", "shop")
    try:
        node.reload()
        assert ask(node, "listed").status == 502 and ask(node, "good").status == 200
    finally:
        node.pki.revoke("revoked")
        node.reload()
    assert ask(node, "listed").status == 200


@pytest.mark.parametrize("name", ["only12", "only13"])
def test_sessions_are_resumed(node, name):
    answers = [ask(node, name, "/once").body.decode().split() for _ in range(6)]
    assert len({each[3] for each in answers}) == 6
    assert [each[1] for each in answers[1:]] == ["r"] * 5


@pytest.mark.parametrize("name", ["only12", "only13"])
def test_large_bodies_pass_both_ways(node, name):
    whole = payload(7, BLOCK_BYTES) * 4
    answer = ask(node, name, "/big")
    assert answer.status == 200 and answer.body == whole
    for turn in range(2):
        sent = payload(turn * 1000 + 3, 3 * MIB + turn)
        assert ask(node, name, f"/up/{name}{turn}", "PUT", sent).status in (201, 204)
        assert (node.directory / "pki" / "www" / "up" / f"{name}{turn}").read_bytes() == sent


def test_the_proxy_header_stands_before_the_handshake(node):
    before = node.endpoint("proxied")["connects"]
    answers = [ask(node, "proxied").body.decode().split() for _ in range(3)]
    with wire(node) as connection:
        client = connection.sock.getsockname()[0]
    assert {(each[0], each[4]) for each in answers} == {("TLSv1.3", client)}
    assert node.endpoint("proxied")["connects"] == before + 1


@pytest.mark.parametrize("version", ["12", "13"])
def test_our_certificate_is_shown_where_it_is_asked_for(node, version):
    answer = ask(node, f"shown{version}", "/")
    assert answer.status == 200 and b"Verify return code: 0 (ok)" in answer.body
    assert b"proxy.test" in answer.body or b"CN = client" in answer.body


def test_upgraded_connections_go_through_tls(node, backends):
    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                        b"Upgrade: chat\r\n\r\n")
        connection.send(connection.read_line() + b"\r\n")
        connection.wait_for_end()  # without close_notify our end would be a cut

    backends(RAW, secured(node, handler))
    with wire(node) as connection:
        connection.send(request("/socket", fields=["Connection: upgrade", "Upgrade: chat"],
                                host="raw.test"))
        assert connection.read_response_head().status == 101
        connection.send(b"there and back\r\n")
        assert connection.read_line() == b"there and back"


# ---- not believed

@pytest.mark.parametrize("name,why", [
    ("wrong-name", "hostname mismatch"), ("wrong-address", "hostname mismatch"),
    ("wrong-ca", "unable to get local issuer certificate"),
    ("expired", "certificate has expired")])
def test_a_certificate_that_is_not_accepted_is_a_502_with_its_reason_in_the_log(node, name, why):
    before = node.endpoint(name)["connect_failures"]
    answer = ask(node, name, f"/not-{name}")
    assert answer.status == 502 and why.encode() not in answer.body
    assert reason(node, f"/not-{name}") == f"upstream's certificate is not accepted: {why}"
    assert node.endpoint(name)["connect_failures"] == before + 1
    assert node.endpoint(name)["requests"] == before + 1
    assert any(event["kind"] == "upstream_tls_failed"
               for event in node.cli_json("event")["events"])


def test_a_server_below_the_least_version_is_a_502(node):
    assert ask(node, "too-old", "/too-old").status == 502
    assert reason(node, "/too-old").startswith("TLS with the upstream failed: ")


@pytest.mark.parametrize("version", ["12", "13"])
def test_a_server_that_misses_our_certificate_is_a_502(node, version):
    assert ask(node, f"unshown{version}", f"/unshown{version}").status == 502
    assert reason(node, f"/unshown{version}").startswith("TLS with the upstream failed: ")


def test_an_endpoint_with_another_certificate_is_left_out_and_ejected(node):
    for turn in range(12):
        answer = ask(node, "mixed", "/facts", "GET")
        assert answer.status == 200, turn
    bad = node.endpoint("mixed", f"{ADDRESS}:{STRANGE}")
    assert (bad["connect_failures"], bad["ejections"], bad["responses_2xx"]) == (3, 1, 0)


# ---- broken

def test_an_upstream_that_speaks_no_tls_is_a_502(node):
    assert ask(node, "clear", "/clear").status == 502
    assert reason(node, "/clear").startswith("TLS with the upstream failed: ")


def test_an_upstream_that_dies_in_the_handshake_is_a_502(node, backends):
    def die(connection):
        assert connection.fill()

    backend = backends(PLAIN, die)
    assert ask(node, "plain", "/dies").status == 502
    assert reason(node, "/dies") == "TLS with the upstream failed: closed in the handshake"
    assert backend.connections[0].record[:1] == b"\x16"  # a handshake record


def test_a_handshake_without_an_end_is_a_504(node, backends):
    backends(PLAIN, lambda connection: connection.wait_for_end())
    assert ask(node, "slow", "/slow").status == 504
    assert reason(node, "/slow") == "upstream did not accept in time"


def until_close(connection, clean):
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + payload(1, 300000))
    if clean:
        connection.sock = connection.sock.unwrap()
    connection.sock.close()


def test_an_answer_until_close_is_complete_with_close_notify(node, backends):
    backends(RAW, secured(node, lambda connection: until_close(connection, True)))
    answer = ask(node, "raw", "/whole")
    assert answer.body == payload(1, 300000) and reason(node, "/whole") is None


def test_an_answer_until_close_that_is_cut_is_no_complete_answer(node, backends):
    backends(RAW, secured(node, lambda connection: until_close(connection, False)))
    with wire(node) as connection:
        connection.send(request("/cut", host="raw.test"))
        with pytest.raises((Truncated, ConnectionResetError)):
            connection.read_response()
    assert reason(node, "/cut") == "upstream closed the connection"


def test_a_kept_connection_that_was_closed_is_not_used(node, backends):
    def once(connection):
        connection.read_request()
        connection.send(response(b"one"))

    backend = backends(RAW, secured(node, once))
    for _ in range(4):
        assert ask(node, "raw").body == b"one"
    assert len(backend.connections) == 4


# ---- reload

def test_connections_are_kept_over_a_reload_only_under_the_same_settings(node):
    def connection():
        answer = ask(node, "good")
        return answer.status, answer.body.decode().split()[3] if answer.status == 200 else None

    first = connection()
    node.reload()
    assert connection() == first == connection()
    try:
        configure(node, good=(SERVE, f"{CA}, server_name: other.test", ""))
        node.reload()
        assert connection() == (502, None)
        configure(node, good=(SERVE, f"{SHOP}, san: [ shop.test, more.test ]", ""))
        node.reload()
        other = connection()
        assert other[0] == 200 and other != first
    finally:
        configure(node)
        node.reload()
