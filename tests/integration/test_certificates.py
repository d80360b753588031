"""Certificates of listeners: exchanged when their files change, shown, and asked of clients."""
import os
import shutil
import ssl
import subprocess

import pytest

from lib.certificates import make_certificate, make_crl, openssl
from lib.daemon import daemon
from lib.netns import SLUICE
from lib.prometheus import scrape
from lib.wait import wait_until

CONFIG = """
  metrics: "{sluice}:9464"
listeners:
  - name: web
    address: "{sluice}:443"
    tls: {{ certificates: [ {{ cert: web.pem, key: web.key }} ] }}
  - name: devices
    address: "{sluice}:444"
    tls:
      certificates: [ {{ cert: web.pem, key: web.key }} ]
      client_auth: {{ mode: require, ca: ca.pem, crl: ca.crl }}
      tickets: {{ file: tickets.key }}
routes:
  - {{ name: all, respond: {{ status: 200, body: "hello" }} }}
"""


@pytest.fixture
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as node:
        directory = node.directory
        make_certificate(directory, "web", "web.test")
        make_certificate(directory, "ca", "authority")
        for client in ("good", "bad"):
            make_certificate(directory, client, f"{client}.device.test", issuer="ca")
        make_crl(directory, ["bad"])
        (directory / "tickets.key").write_bytes(os.urandom(80))
        node.configure(CONFIG.format(sluice=SLUICE), workers=2)
        yield node.start()


def client_context(directory, cert=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if cert:
        context.load_cert_chain(directory / f"{cert}.pem", directory / f"{cert}.key")
    return context


def connect(topology, port, context, session=None):
    raw = topology.connect("client", SLUICE, port)
    return context.wrap_socket(raw, server_hostname="web.test", session=session)


def answer(stream):
    stream.sendall(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
    got = b""
    while not got.endswith(b"hello"):
        part = stream.recv(4096)
        assert part, got
        got += part
    return got


def shown(topology, port, context):
    with connect(topology, port, context) as stream:
        assert b"200 OK" in answer(stream)
        return stream.getpeercert(binary_form=True)


def pem_der(path):
    return ssl.PEM_cert_to_DER_cert(path.read_text())


def replace(directory, name, new):
    """As certbot and its like do: a new file in the old one's place."""
    for suffix in ("pem", "key"):
        shutil.copy(directory / f"{new}.{suffix}", directory / f"{name}.{suffix}.new")
        os.rename(directory / f"{name}.{suffix}.new", directory / f"{name}.{suffix}")


def test_changed_files_are_in_force_for_new_connections(topology, node):
    context = client_context(node.directory)
    with connect(topology, 443, context) as old:
        answer(old)
        assert shown(topology, 443, context) == pem_der(node.directory / "web.pem")
        make_certificate(node.directory, "next", "web.test")
        replace(node.directory, "web", "next")
        wait_until(lambda: shown(topology, 443, context) == pem_der(node.directory / "next.pem"),
                   "the new certificate is shown")
        answer(old) # not touched
        assert old.getpeercert(binary_form=True) != pem_der(node.directory / "next.pem")
    kinds = [event["kind"] for event in node.cli_json("event")["events"]]
    assert "certificate_changed" in kinds
    assert node.cli_json("status")["config"]["generation"] == 1 # nothing else was read


def test_a_key_that_does_not_fit_is_refused_and_the_old_one_goes_on(topology, node):
    context = client_context(node.directory)
    before = pem_der(node.directory / "web.pem")
    make_certificate(node.directory, "next", "web.test")
    shutil.copy(node.directory / "next.pem", node.directory / "web.pem")

    def refused():
        return [event for event in node.cli_json("event")["events"]
                if event["kind"] == "certificate_refused"]
    wait_until(refused, "the change is refused")
    assert "the key is not that of the certificate" in refused()[0]["text"]
    assert shown(topology, 443, context) == before
    result = node.cli("-j", "cert", "reload")
    assert result.returncode == 1 and "not that of the certificate" in result.stdout
    shutil.copy(node.directory / "next.key", node.directory / "web.key")
    assert node.cli_json("cert", "reload") == {"listeners": 2}
    assert shown(topology, 443, context) == pem_der(node.directory / "next.pem")


def test_metrics_say_when_certificates_end(topology, node):
    text = openssl(node.directory, "x509", "-noout", "-enddate", "-in", "web.pem").strip()
    ends = ssl.cert_time_to_seconds(text.split("=")[1])
    where = {"listener": "web", "subject": "web.test", "file": str(node.directory / "web.pem")}
    assert scrape(topology).get("sluice_certificate_not_after_seconds", **where) == ends


def test_cert_shows_what_is_in_force_and_no_key(topology, node):
    rows = node.cli_json("cert")["certificates"]
    assert [(row["listener"], row["subject"], row["names"]) for row in rows] == [
        ("web", "web.test", ["web.test"]), ("devices", "web.test", ["web.test"])]
    assert rows[0]["key"] == "EC P-256" and rows[0]["days_left"] in (29, 30)
    assert rows[0]["file"] == str(node.directory / "web.pem")
    text = subprocess.run(["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in",
                           node.directory / "web.pem"], check=True, capture_output=True, text=True,
                          timeout=60).stdout
    assert rows[0]["fingerprint"] == text.strip().split("=")[1].replace(":", "").lower()
    key = (node.directory / "web.key").read_text().splitlines()[1]
    assert key not in node.cli("cert").stdout + node.cli("config").stdout


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_hardening_25_a_client_without_a_good_certificate_is_refused(topology, node, version):
    for cert, accepted in (("good", True), ("bad", False), (None, False), ("web", False)):
        context = client_context(node.directory, cert)
        context.minimum_version = context.maximum_version = version
        try:
            with connect(topology, 444, context) as stream:
                assert b"200 OK" in answer(stream)
            passed = True
        except (ssl.SSLError, ConnectionResetError, BrokenPipeError):
            passed = False
        assert passed == accepted, cert


def test_sessions_are_resumed_over_workers_and_reloads(topology, node):
    context = client_context(node.directory)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(topology, 443, context) as stream:
        answer(stream)
        session = stream.session
    node.reload()
    for _ in range(8): # of two workers, whichever gets it
        with connect(topology, 443, context, session) as stream:
            answer(stream)
            assert stream.session_reused


def test_ticket_keys_of_a_file_are_exchanged(topology, node):
    context = client_context(node.directory, "good")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connect(topology, 444, context) as stream:
        answer(stream)
        session = stream.session
    with connect(topology, 444, context, session) as stream:
        answer(stream)
        assert stream.session_reused
    (node.directory / "tickets.key").write_bytes(os.urandom(80))
    node.cli_json("cert", "reload")
    with connect(topology, 444, context, session) as stream:
        answer(stream)
        assert not stream.session_reused
