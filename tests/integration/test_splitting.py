"""Which variant of a split a request goes to, and what keeps a client there."""
import re

import pytest

from lib.backend import RawBackend, answer_each
from lib.daemon import daemon
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.wire import Wire, response

pytestmark = pytest.mark.one_engine

TRUSTED = CLIENT[1]
TRUST = f"  trusted_proxies: [ {TRUSTED} ]\n"
PORTS = {"blue": 9320, "green": 9321, "down": 9322}

HEAD = f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams:
""" + "".join(f'  - {{ name: {name}, endpoints: [ "{BACKEND[0]}:{port}" ] }}\n'
              for name, port in PORTS.items())

ROUTES = """routes:
  - name: canary
    match: {{ hosts: [ canary.test ] }}
    proxy:
      split:
        - {{ upstream: blue, weight: {blue} }}
        - {{ upstream: green, weight: {green},
            when: {{ header: {{ x-canary: "yes" }}, query: {{ v: "2" }} }} }}
  - name: cookie
    match: {{ hosts: [ cookie.test ] }}
    proxy:
      split: [ {{ upstream: blue, weight: {blue} }}, {{ upstream: green, weight: {green} }} ]
      sticky: {{ cookie: variant, ttl: 1h }}
  - name: user
    match: {{ hosts: [ user.test ] }}
    proxy:
      split: [ {{ upstream: blue, weight: {blue} }}, {{ upstream: green, weight: {green} }} ]
      sticky: {{ header: X-User }}
  - name: source
    match: {{ hosts: [ source.test ] }}
    proxy:
      split: [ {{ upstream: blue, weight: {blue} }}, {{ upstream: green, weight: {green} }} ]
      sticky: {{ source: on }}
  - name: broken
    match: {{ hosts: [ broken.test ] }}
    proxy:
      split: [ {{ upstream: blue }}, {{ upstream: down, when: {{ header: {{ try: down }} }} }} ]
"""


def config(blue=50, green=50):
    return HEAD + ROUTES.format(blue=blue, green=green)


@pytest.fixture(scope="module")
def splitting(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(TRUST + config())
        yield sluice.start()


@pytest.fixture
def weights(splitting):
    """Changes the weights by a reload; they are even again afterwards."""

    def change(blue, green):
        splitting.configure(TRUST + config(blue, green))
        splitting.reload()

    yield change
    change(50, 50)


@pytest.fixture(autouse=True)
def backends(topology, splitting):
    backends = [RawBackend(topology, BACKEND[0], PORTS[name],
                           answer_each(response(name.encode()))) for name in ("blue", "green")]
    yield backends
    for backend in backends:
        backend.close()
        backend.check()


@pytest.fixture
def wire(topology, splitting):
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        yield wire


def variants(sluice, route):
    return {each["upstream"]: each["requests"] for each in sluice.route(route)["split"]}


def test_requests_are_shared_by_weight_and_counted(splitting, wire):
    before = variants(splitting, "canary")
    seen = [wire.ask(f"/{turn}", host="canary.test").body for turn in range(400)]
    # Of 400 fair coins 100 or fewer on one side come once in 10^23 runs.
    assert 100 < seen.count(b"blue") < 300
    after = variants(splitting, "canary")
    for name in ("blue", "green"):
        assert after[name] - before[name] == seen.count(name.encode())


def test_variant_without_weight_gets_only_what_fulfils_its_condition(wire, weights):
    weights(1, 0)
    for target, fields, expected in (
            ("/", [], b"blue"),
            ("/?v=2", ["X-Canary: yes"], b"green"),
            ("/?v=2", ["x-canary: no"], b"blue"),
            ("/?v=2", [], b"blue"),
            ("/", ["X-Canary: yes"], b"blue"),
    ):
        for _ in range(10):
            answer = wire.ask(target, fields=fields, host="canary.test")
            assert answer.body == expected, (target, fields)
            assert answer.all("set-cookie") == []


def test_cookie_holds_a_client_over_reload_and_change_of_weights(wire, weights):
    held = {}
    while len(held) < 2:  # a client of each variant
        answer = wire.ask(host="cookie.test")
        cookies = answer.all("set-cookie")
        assert len(cookies) == 1
        held[answer.body] = cookies[0]
    assert held[b"blue"] != held[b"green"]
    for change in ((50, 50), (1, 99), (99, 1)):
        weights(*change)
        for body, cookie in held.items():
            for _ in range(10):
                answer = wire.ask(fields=["Cookie: a=b; " + cookie.split(";")[0]],
                                  host="cookie.test")
                assert (answer.body, answer.all("set-cookie")) == (body, [])


def test_client_of_a_variant_that_got_no_weight_moves_with_a_new_cookie(wire, weights):
    answer = wire.ask(host="cookie.test")
    while answer.body != b"green":
        answer = wire.ask(host="cookie.test")
    old = answer.get("set-cookie").split(";")[0]
    weights(1, 0)
    answer = wire.ask(fields=["Cookie: " + old], host="cookie.test")
    assert answer.body == b"blue"
    assert answer.get("set-cookie").split(";")[0] != old


def test_cookie_has_its_attributes_and_does_not_name_the_upstream(wire):
    """36: names of upstreams never reach a client."""
    cookie = wire.ask(host="cookie.test").get("set-cookie")
    assert re.fullmatch(r"variant=[0-9a-f]{8}; Path=/; HttpOnly; SameSite=Lax; Max-Age=3600",
                        cookie)


@pytest.mark.parametrize("cookie", [
    "variant", "variant=", "variant=blue", "variant=00000000", "variant=\"x\"", ";;;=;variant",
    "variant=" + "a" * 4000, "VARIANT=12345678", "variant=\xff\xfe",
])
def test_cookie_that_means_nothing_is_answered_with_a_good_one(wire, cookie):
    answer = wire.ask(fields=["Cookie: " + cookie], host="cookie.test")
    assert answer.status == 200
    assert len(answer.all("set-cookie")) == 1


def test_users_stay_by_their_header_and_few_move_when_weights_change(wire, weights):
    def where():
        return {user: wire.ask(fields=[f"X-User: {user}"], host="user.test").body
                for user in range(200)}

    before = where()
    assert where() == before
    assert 50 < list(before.values()).count(b"blue") < 150
    weights(80, 20)
    after = where()
    moved = {user for user in before if before[user] != after[user]}
    assert all(after[user] == b"blue" for user in moved)
    assert 0 < len(moved) < 110


@pytest.fixture
def trusted(topology, splitting):
    with Wire(topology.connect("client", SLUICE, 80, source=TRUSTED)) as wire:
        yield wire


def test_cookie_is_secure_where_the_client_came_by_https(wire, trusted):
    https = ["X-Forwarded-Proto: https"]
    assert trusted.ask(fields=https, host="cookie.test").get("set-cookie").endswith("; Secure")
    assert "Secure" not in trusted.ask(host="cookie.test").get("set-cookie")
    # 19: of a stranger nothing is believed
    assert "Secure" not in wire.ask(fields=https, host="cookie.test").get("set-cookie")


def test_source_is_the_client_that_a_trusted_proxy_names(wire, trusted):
    def ask(wire, address):
        return wire.ask(fields=[f"X-Forwarded-For: {address}"], host="source.test").body

    seen = {address: ask(trusted, address) for address in
            (f"198.51.100.{last}" for last in range(1, 60))}
    assert set(seen.values()) == {b"blue", b"green"}
    assert all(ask(trusted, address) == body for address, body in seen.items())
    assert len({ask(wire, address) for address in seen}) == 1


def test_request_of_a_failing_variant_is_not_given_to_another(wire):
    assert wire.ask(host="broken.test").body == b"blue"
    answer = wire.ask(fields=["Try: down"], host="broken.test")
    assert answer.status in (502, 503)
    assert b"down" not in answer.body


def test_split_is_shown_by_the_command(splitting):
    text = splitting.cli("route", "show", "name", "cookie", check=True).stdout
    assert "proxy to blue 50, green 50" in text
    assert re.search(r"variants +blue \d+; green \d+", text)
    assert re.search(r"sticky by +cookie", text)
