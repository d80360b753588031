"""What a rewrite policy makes of a request on its way to the backend."""
import pytest

from lib.backend import RawBackend, answer_each
from lib.daemon import daemon
from lib.netns import BACKEND, SLUICE
from lib.wire import Wire, response

pytestmark = pytest.mark.one_engine

CONFIG = f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams: [ {{ name: app, endpoints: [ "{BACKEND[0]}:9310" ] }} ]
policies:
  - {{ name: old-paths, rewrite: {{ path: {{ regex: "^/v1/(.*)$", to: "/$1" }} }} }}
  - {{ name: strip, rewrite: {{ path: {{ prefix: /shop, to: / }}, host: "inner.test:8080" }} }}
  - {{ name: under, rewrite: {{ path: {{ prefix: /, to: /app }} }} }}
  - {{ name: find, rewrite: {{ path: {{ regex: "^/find/(.*)$", to: "/find?q=$1" }} }} }}
  - {{ name: joined, rewrite: {{ path: {{ regex: "^/join/(.*)-(.*)$", to: "/$1/.$2" }} }} }}
routes:
  - {{ name: old, match: {{ hosts: [ old.test ] }}, policies: [ old-paths ],
      proxy: {{ upstream: app }} }}
  - {{ name: shop, match: {{ hosts: [ shop.test ] }}, policies: [ strip, under ],
      proxy: {{ upstream: app }} }}
  - {{ name: find, match: {{ hosts: [ find.test ] }}, policies: [ find, joined ],
      proxy: {{ upstream: app }} }}
"""


@pytest.fixture(scope="module")
def rewriting(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(CONFIG)
        yield sluice.start()


@pytest.fixture
def backend(topology, rewriting):
    backend = RawBackend(topology, BACKEND[0], 9310)
    yield backend
    backend.close()
    backend.check()


@pytest.fixture
def wire(topology, rewriting):
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        yield wire


ROWS = [
    # host, target, what the backend is asked, and as whom
    ("old.test", "/v1/a/b?q=1", "/a/b?q=1", "old.test"),
    ("old.test", "/v1/", "/", "old.test"),
    ("old.test", "/v2/a?q", "/v2/a?q", "old.test"),
    ("old.test", "/x/../v1/%61%20b", "/a%20b", "old.test"),  # 22: on the canonical path
    ("shop.test", "/shop/cart?x=/shop", "/app/cart?x=/shop", "inner.test:8080"),
    ("shop.test", "/shop", "/app/", "inner.test:8080"),
    ("shop.test", "/shopping", "/app/shopping", "inner.test:8080"),
    ("find.test", "/find/a&admin=1?x=y", "/find?q=a%26admin%3D1", "find.test"),
]


def test_backend_is_asked_for_the_rewritten_path_and_host(wire, backend):
    for host, target, expected, expected_host in ROWS:
        assert wire.ask(target, host=host).status == 200
        seen = backend.requests[-1]
        assert (seen.target, seen.all("host")) == (expected, [expected_host]), (host, target)
        assert seen.get("x-forwarded-host") == host


def test_body_follows_the_rewritten_head(wire, backend):
    body = bytes(range(256)) * 1000
    assert wire.ask("/v1/in", "POST", body=body, host="old.test").status == 200
    assert (backend.requests[-1].target, backend.requests[-1].body) == ("/in", body)


def test_path_that_would_change_its_meaning_is_refused(wire, backend):
    """22: what was matched must not become another path on the way."""
    answer = wire.ask("/join/a-/secret", host="find.test")
    assert answer.status == 400
    assert wire.ask("/join/a-b", host="find.test").status == 200  # the connection lives on
    assert [seen.target for seen in backend.requests] == ["/a/.b"]


LOCATIONS = [
    # host, target, Location of the backend, Location for the client
    ("shop.test", "/shop/a", "/app/cart?x=1", "/shop/cart?x=1"),
    ("shop.test", "/shop/a", "http://inner.test:8080/app/cart", "http://shop.test/shop/cart"),
    ("shop.test", "/shop/a", "http://elsewhere.test/app/cart", "http://elsewhere.test/app/cart"),
    ("old.test", "/v1/a", "/b", "/b"),  # what a regex made of a path cannot be turned back
]


def test_redirects_of_the_backend_are_told_in_the_clients_paths(wire, backend):
    """36: and the name that only the upstream was asked by stays here."""
    backend.handler = answer_each(*(response(status="302 Found", fields=[f"Location: {given}"])
                                    for _, _, given, _ in LOCATIONS))
    for host, target, given, expected in LOCATIONS:
        answer = wire.ask(target, host=host)
        assert (answer.status, answer.get("location")) == (302, expected), (host, given)


def test_policies_of_a_route_are_shown(rewriting):
    assert rewriting.route("shop")["policies"] == ["strip", "under"]
    shown = rewriting.cli("route", "show", "name", "shop", check=True).stdout
    assert "strip, under" in shown
