"""What backends are told about the client: HARDENING 19, 20 and 21."""
import pytest

from lib.backend import RawBackend
from lib.daemon import daemon
from lib.netns import BACKEND, CLIENT, CLIENT6, SLUICE, SLUICE6
from lib.wire import Wire, request

pytestmark = pytest.mark.one_engine

BACK = (BACKEND[0], 9330)
CONFIG = f"""
listeners:
  - {{ name: web, address: [ "{SLUICE}:80", "[{SLUICE6}]:80" ] }}
upstreams:
  - {{ name: back, endpoints: [ "{BACK[0]}:{BACK[1]}" ] }}
routes:
  - {{ name: all, proxy: {{ upstream: back }} }}
"""
PROXY, PROXY6, STRANGER = CLIENT[0], CLIENT6[0], CLIENT[1]
TRUST = f"  trusted_proxies: [ {PROXY}, {PROXY6}, 198.51.100.0/24 ]\n"

FOLDED = ["X_Forwarded_For: 1.2.3.4", "x.forwarded.for: 1.2.3.4", "X-Forwarded_For: 1.2.3.4",
          "X_FORWARDED_HOST: evil.test", "x.real.ip: 1.2.3.4", "X_Real-IP: 1.2.3.4",
          "True_Client_IP: 1.2.3.4", "X_Original_URL: /evil", "Transfer_Encoding: evil",
          "Content.Length: 0", "X_Forwarded_New: evil"]
SPOOFED = ["X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 1.2.3.4, 198.51.100.1",
           "Forwarded: for=1.2.3.4;host=evil.test", "X-Real-IP: 1.2.3.4",
           "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test", "X-Forwarded-Port: 443",
           "X-Forwarded-Server: evil", "X-Forwarded-New: evil", "X-Forwarded: evil",
           "X-Client-IP: 1.2.3.4", "True-Client-IP: 1.2.3.4", "CF-Connecting-IP: 1.2.3.4",
           "X-Original-URL: /evil", "X-Rewrite-URL: /evil", "Via: 1.1 evil", "Proxy: evil"]


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(TRUST + CONFIG)
        yield sluice.start()


@pytest.fixture
def backend(topology, node):
    with RawBackend(topology, *BACK) as backend:
        yield backend


@pytest.fixture
def seen(topology, backend):
    """Sends a request from an address and returns what the backend got."""
    def send(source, fields, host="www.test", version="HTTP/1.1"):
        to = SLUICE6 if ":" in source else SLUICE
        with Wire(topology.connect("client", to, 80, source=source)) as wire:
            wire.send(request(fields=fields, host=host, version=version))
            assert wire.read_response().status == 200
        return backend.requests[-1]

    return send


def ours(message):
    return [message.all(name) for name in ("x-forwarded-for", "x-real-ip", "x-forwarded-proto",
                                           "x-forwarded-host", "via")]


def test_hardening_19_nothing_that_a_stranger_says_about_himself_arrives(seen):
    got = seen(STRANGER, SPOOFED + ["X-Stays: 1"])
    assert ours(got) == [[STRANGER], [STRANGER], ["http"], ["www.test"], ["1.1 sluice"]]
    assert got.get("x-stays") == "1"
    text = str(got.fields)
    assert "1.2.3.4" not in text and "evil" not in text and "443" not in text
    assert sorted(name.lower() for name, _ in got.fields) == [
        "host", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
        "x-stays"]


def test_hardening_19_a_trusted_proxy_is_believed_from_the_right(seen):
    rows = {
        # X-Forwarded-For: the client
        "203.0.113.7": "203.0.113.7",
        "6.6.6.6, 203.0.113.7": "203.0.113.7",
        "6.6.6.6, 203.0.113.7, 198.51.100.9": "203.0.113.7",
        "203.0.113.7:4711, 198.51.100.9:80": "203.0.113.7",
        "[2001:db8::7]:80": "2001:db8::7",
        "2001:db8::7": "2001:db8::7",
        "198.51.100.8, 198.51.100.9": "198.51.100.8",
        "203.0.113.7, unknown": PROXY,
        "203.0.113.7, , 198.51.100.9,": "203.0.113.7",
        "203.0.113.7, evil, 198.51.100.9": "198.51.100.9",
    }
    got = {}
    for chain in rows:
        message = seen(PROXY, [f"X-Forwarded-For: {chain}"])
        got[chain] = message.get("x-real-ip")
        assert message.all("x-forwarded-for") == [f"{chain}, {PROXY}"]
    assert got == rows


def test_hardening_19_a_trusted_chain_in_several_fields_is_one_chain(seen):
    got = seen(PROXY, ["X-Forwarded-For: 6.6.6.6, 203.0.113.7", "X-Other: 1",
                       "x-forwarded-for: 198.51.100.9"])
    assert got.all("x-forwarded-for") == [f"6.6.6.6, 203.0.113.7, 198.51.100.9, {PROXY}"]
    assert got.all("x-real-ip") == ["203.0.113.7"]


def test_hardening_19_a_trusted_proxy_of_ipv6_is_believed(seen):
    got = seen(PROXY6, ["X-Forwarded-For: 2001:db8::7"])
    assert ours(got)[:2] == [[f"2001:db8::7, {PROXY6}"], ["2001:db8::7"]]
    assert ours(seen(CLIENT6[1], ["X-Forwarded-For: 2001:db8::7"]))[:2] == [[CLIENT6[1]]] * 2


def test_hardening_19_scheme_and_host_of_a_trusted_proxy_are_kept(seen):
    got = seen(PROXY, ["X-Forwarded-For: 203.0.113.7", "X-Forwarded-Proto: https",
                       "X-Forwarded-Host: shop.test:8443", "X-Forwarded-Port: 8443",
                       "Via: 2 cdn", "Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6"])
    assert ours(got) == [[f"203.0.113.7, {PROXY}"], ["203.0.113.7"], ["https"],
                         ["shop.test:8443"], ["2 cdn, 1.1 sluice"]]
    assert got.all("x-forwarded-port") == ["8443"]
    assert (got.all("forwarded"), got.all("host")) == ([], ["www.test"])


def test_hardening_19_doubtful_words_of_a_trusted_proxy_are_replaced(seen):
    for fields in (["X-Forwarded-Proto: ftp", "X-Forwarded-Host: a, b"],
                   ["X-Forwarded-Proto: https", "X-Forwarded-Proto: https",
                    "X-Forwarded-Host: a.test", "X-Forwarded-Host: b.test"],
                   ["X-Forwarded-Proto: https,http", "X-Forwarded-Host: user@a.test"]):
        assert ours(seen(PROXY, fields))[2:4] == [["http"], ["www.test"]], fields


def test_hardening_20_names_are_compared_folded(seen):
    for source in (STRANGER, PROXY):
        got = seen(source, FOLDED + ["X_Stays: 1", "x.stays: 2"])
        names = [name for name, _ in got.fields]
        assert "X_Stays" in names and "x.stays" in names
        folded = [name.lower().replace("_", "-").replace(".", "-") for name in names]
        # Each of ours once, and nothing that folds to one of them or to a framing field.
        assert sorted(folded) == ["host", "via", "x-forwarded-for", "x-forwarded-host",
                                  "x-forwarded-proto", "x-real-ip", "x-stays", "x-stays"]


def test_hardening_21_connection_cannot_name_our_fields_away(seen):
    for source, chain in ((STRANGER, STRANGER), (PROXY, f"203.0.113.7, {PROXY}")):
        got = seen(source, ["Connection: close, x-forwarded-for, X-Real-IP, Via, host",
                            "Connection: x-forwarded-proto, x-forwarded-host, content-length",
                            "X-Forwarded-For: 203.0.113.7"])
        assert ours(got) == [[chain], [chain.split(",")[0]], ["http"], ["www.test"],
                             ["1.1 sluice"]]
        assert got.all("host") == ["www.test"]


def test_request_without_a_host_is_forwarded_without_one(topology, backend):
    with Wire(topology.connect("client", SLUICE, 80, source=STRANGER)) as wire:
        wire.send(b"GET / HTTP/1.0\r\n\r\n")
        assert wire.read_response().status == 200
    got = backend.requests[-1]
    assert (got.all("x-forwarded-host"), got.all("via")) == ([], ["1.0 sluice"])


def test_trusted_proxies_may_change_by_reload(node, seen):
    fields = ["X-Forwarded-For: 203.0.113.7"]
    assert seen(PROXY, fields).get("x-real-ip") == "203.0.113.7"
    node.configure(f"  trusted_proxies: [ {STRANGER} ]\n" + CONFIG)
    node.reload()
    try:
        assert seen(PROXY, fields).get("x-real-ip") == PROXY
        assert seen(STRANGER, fields).get("x-real-ip") == "203.0.113.7"
    finally:
        node.configure(TRUST + CONFIG)
        node.reload()
