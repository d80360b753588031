"""Who offends too often at layer 7 is dropped by XDP for a while; nobody else is."""
import hashlib

import pytest

from lib.dataplane import assert_dropped
from lib.http2 import Http2
from lib.netns import CLIENT, CLIENT6, DOWN, SLUICE, SLUICE6
from lib.prometheus import PORT, Page
from lib.wait import wait_until
from lib.wire import Wire, request

CONFIG = f"""
  metrics: "{SLUICE}:{PORT}"
  trusted_proxies: [ {CLIENT[2]} ]
dataplane:
  interfaces: [ {{ name: {DOWN}, xdp: auto }} ]
  allow: [ {CLIENT[3]} ]
  auto_deny: [ %s ]
listeners:
  - {{ name: web, address: [ "{SLUICE}:80", "[{SLUICE6}]:80" ] }}
  - {{ name: lb, address: "{SLUICE}:81", proxy_protocol: require }}
policies:
  - {{ name: keys, api_key: {{ header: x-key, keys: {{ file: keys.txt }} }} }}
  - {{ name: few, rate_limit: {{ rate: 1/h, burst: 1, key: [ route ] }} }}
routes:
  - {{ name: keys, match: {{ hosts: [ keys.test ] }}, policies: [ keys ], respond: {{ body: here }} }}
  - {{ name: few, match: {{ hosts: [ few.test ] }}, policies: [ few ], respond: {{ body: here }} }}
  - {{ name: say, respond: {{ body: here }} }}
"""
AUTH, LIMITED, PROTOCOL = (f"{{ event: {event}, over: {over}/h, ttl: {ttl} }}" for event, over, ttl in
                           (("auth_failure", 3, "1h"), ("rate_limited", 3, "1m"),
                            ("protocol_error", 3, "1h")))


@pytest.fixture
def node(sluice, topology):
    (sluice.directory / "keys.txt").write_text(
        f"acme sha256:{hashlib.sha256(b'k').hexdigest()}\n")

    def start(*rules):
        sluice.configure(CONFIG % ", ".join(rules))
        sluice.start()
        return sluice

    return start


def ask(topology, source, fields=(), host="keys.test", address=SLUICE):
    with Wire(topology.connect("client", address, 80, source=source)) as wire:
        return wire.ask("/", fields=fields, host=host).status


def denied(sluice):
    return {each["cidr"]: each for each in sluice.cli_json("deny", "show")["entries"]}


def wait_for_denied(sluice, cidr):
    wait_until(lambda: cidr in denied(sluice), f"{cidr} is denied")
    return denied(sluice)[cidr]


def metric(topology, name, **labels):
    with Wire(topology.connect("client", SLUICE, PORT, source=CLIENT[3])) as wire:
        wire.send(request("/metrics"))
        page = Page(wire.read_response().body.decode())
    return page.samples[(name, tuple(sorted(labels.items())))]


def test_who_guesses_keys_is_dropped_and_others_are_not(node, topology):
    sluice = node(AUTH)
    assert [ask(topology, CLIENT[1], ["x-key: guess"]) for _ in range(3)] == [401] * 3
    assert [ask(topology, CLIENT[0], ["x-key: guess"]) for _ in range(3)] == [401] * 3
    assert [ask(topology, CLIENT[0]) for _ in range(9)] == [401] * 9  # shows nothing: no guess
    assert denied(sluice) == {}
    assert ask(topology, CLIENT[1], ["x-key: guess", f"X-Forwarded-For: {CLIENT[0]}"]) == 401
    entry = wait_for_denied(sluice, f"{CLIENT[1]}/32")
    assert (entry["reason"], entry["origin"]) == ("auto: auth_failure", "cli")
    assert 3500 < entry["ttl_s"] <= 3600
    assert_dropped(sluice, topology, CLIENT[1])
    assert ask(topology, CLIENT[0], ["x-key: k"]) == 200
    assert list(denied(sluice)) == [f"{CLIENT[1]}/32"]
    assert metric(topology, "sluice_auto_denied_total", event="auth_failure") == 1
    wait_until(lambda: [each["object"] for each in sluice.cli_json("event", "show")["events"]
                        if each["kind"] == "auto_denied"] == [f"{CLIENT[1]}/32"], "an event tells")
    # A reload leaves it, a person may take it back.
    sluice.reload()
    assert list(denied(sluice)) == [f"{CLIENT[1]}/32"]
    sluice.cli("deny", "delete", CLIENT[1], check=True)
    assert ask(topology, CLIENT[1], ["x-key: k"]) == 200


def test_who_does_not_stop_at_a_limit_is_dropped(node, topology):
    sluice = node(LIMITED)
    assert [ask(topology, CLIENT[1], host="few.test") for _ in range(5)] == [200] + [429] * 4
    assert wait_for_denied(sluice, f"{CLIENT[1]}/32")["reason"] == "auto: rate_limited"
    assert_dropped(sluice, topology, CLIENT[1])
    assert ask(topology, CLIENT[0], host="few.test") == 429


def bad_request(topology, source, address=SLUICE):
    with Wire(topology.connect("client", address, 80, source=source)) as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        return wire.read_response().status


def bad_http2_request(topology, source):
    client = Http2(topology.connect("client", SLUICE, 80, source=source))
    status = client.ask("/", fields=[("host", "other.test")]).status
    client.close()
    return status


def test_who_breaks_the_protocol_is_dropped_by_network_in_ipv6(node, topology):
    sluice = node(PROTOCOL)
    for _ in range(2):
        assert bad_request(topology, CLIENT[1]) == 400
        assert bad_http2_request(topology, CLIENT[1]) == 400
    assert wait_for_denied(sluice, f"{CLIENT[1]}/32")["reason"] == "auto: protocol_error"
    assert [bad_request(topology, CLIENT6[0], SLUICE6) for _ in range(2)] == [400] * 2
    assert [bad_request(topology, CLIENT6[1], SLUICE6) for _ in range(2)] == [400] * 2
    wait_until(lambda: len(denied(sluice)) == 2, "an IPv6 network is denied")
    cidr, = [each for each in denied(sluice) if ":" in each]
    assert cidr.endswith("::/64")
    assert_dropped(sluice, topology, CLIENT6[0], SLUICE6)


def test_trusted_proxies_allowed_sources_and_load_balancers_are_never_denied(node, topology):
    """35"""
    sluice = node(AUTH)
    for source in (CLIENT[2], CLIENT[3]):
        assert [ask(topology, source, ["x-key: guess", f"X-Forwarded-For: {CLIENT[0]}"])
                for _ in range(6)] == [401] * 6
    for _ in range(6):
        with Wire(topology.connect("client", SLUICE, 81, source=CLIENT[2])) as wire:
            wire.send(f"PROXY TCP4 {CLIENT[0]} {SLUICE} 4000 81\r\n".encode()
                      + request("/", fields=["x-key: guess"], host="keys.test"))
            assert wire.read_response().status == 401
    # One who is not spared shows that all before him were looked at.
    assert [ask(topology, CLIENT[1], ["x-key: guess"]) for _ in range(4)] == [401] * 4
    wait_for_denied(sluice, f"{CLIENT[1]}/32")
    assert list(denied(sluice)) == [f"{CLIENT[1]}/32"]


def test_reload_brings_rules_and_takes_them_away(node, topology):
    sluice = node()
    assert [ask(topology, CLIENT[1], ["x-key: guess"]) for _ in range(6)] == [401] * 6
    sluice.configure(CONFIG % AUTH)
    sluice.reload()
    assert denied(sluice) == {}
    assert [ask(topology, CLIENT[1], ["x-key: guess"]) for _ in range(4)] == [401] * 4
    wait_for_denied(sluice, f"{CLIENT[1]}/32")
    sluice.configure(CONFIG % "")
    sluice.reload()
    assert [ask(topology, CLIENT[0], ["x-key: guess"]) for _ in range(6)] == [401] * 6
    assert list(denied(sluice)) == [f"{CLIENT[1]}/32"]
