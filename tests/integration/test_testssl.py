"""
testssl.sh (Debian's) against a listener with every default: nothing above LOW but what comes of a
certificate that was made here. A short run asks for protocols, ciphers, server's choices and fields of
the answer; the long one for all that it knows, its list of vulnerabilities among it.
"""
import json
import shutil
import subprocess

import pytest

from lib.certificates import make_certificate
from lib.netns import SLUICE

TOOL = "testssl"
SHORT = ["-p", "-S", "-P", "-h"]
GRAVE = {"MEDIUM", "HIGH", "CRITICAL"}
# What the certificate is to blame for, and why.
OF_THE_CERTIFICATE = {
    "cert_chain_of_trust": "it is self-signed: no authority that the tool knows stands behind it",
    "cert_revocation": "it names neither a CRL nor an OCSP responder",
}
# The fields are the application's part; with them the tool has nothing to say of the answer.
CONFIG = """
listeners:
  - name: web
    address: "{sluice}:443"
    tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }}
routes:
  - name: all
    respond:
      body: hello
      headers: {{ strict-transport-security: "max-age=31536000", x-content-type-options: nosniff,
                  content-security-policy: "default-src 'self'", x-frame-options: DENY }}
"""


@pytest.fixture
def node(sluice):
    make_certificate(sluice.directory, "one", "one.test", days="365")  # 30 are too few for the tool
    sluice.configure(CONFIG.format(sluice=SLUICE))
    sluice.start()
    return sluice


def examine(node, report, sections, seconds):
    """Name servers are out of reach here: without any, the tool does not wait for them."""
    (report.parent / "none").write_text("")
    done = subprocess.run(
        node.topology.command(
            "client", "unshare", "-m", "sh", "-c",
            f"mount --bind {report.parent}/none /etc/resolv.conf && exec \"$@\"", "sh", TOOL, "--quiet", "--color", "0", "--warnings", "off", "-n", "none", "--ip",
            SLUICE, "--jsonfile", str(report), *sections, "https://one.test:443"),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False)
    assert report.exists(), done.stdout + done.stderr
    return {each["id"]: each for each in json.loads(report.read_text())}


@pytest.mark.skipif(not shutil.which(TOOL), reason=f"{TOOL} is not installed: run scripts/setup")
def test_testssl_finds_nothing_grave_in_the_defaults(node, tmp_path, long):
    found = examine(node, tmp_path / "report.json", [] if long else SHORT, 900 if long else 140)
    # It was there, spoke to us, and finished.
    assert "scanTime" in found and "scanProblem" not in found, found
    for name, text in (("TLS1_2", "offered"), ("TLS1_3", "offered with final"), ("TLS1", "not offered"),
                       ("TLS1_1", "not offered"), ("SSLv3", "not offered"), ("SSLv2", "not offered")):
        assert found[name]["finding"] == text, found[name]
    assert found["ALPN_HTTP2"]["severity"] == "OK"
    if long:
        for name in ("heartbleed", "ROBOT", "CRIME_TLS", "secure_client_renego", "LUCKY13", "ticketbleed"):
            assert found[name]["severity"] in ("OK", "INFO"), found[name]
    grave = {name: each for name, each in found.items() if each["severity"] in GRAVE}
    assert set(grave) == set(OF_THE_CERTIFICATE), grave
