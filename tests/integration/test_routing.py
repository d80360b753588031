"""Which route a request takes, what redirect and respond answer, how endpoints share the load."""
import collections

import pytest

from lib.backend import RawBackend, answer_each
from lib.daemon import daemon
from lib.netns import BACKEND, SLUICE
from lib.wire import Wire, request, response

pytestmark = pytest.mark.one_engine

ROUTES = [
    # name, match
    ("any-prefix", "path: { prefix: / }"),
    ("any-cart", "path: { prefix: /cart }"),
    ("any-cart-deep", "path: { prefix: /cart/items }"),
    ("any-cart-exact", "path: { exact: /cart/items }"),
    ("any-cart-post", "path: { prefix: /cart }, methods: [ POST ]"),
    ("wild-prefix", 'hosts: [ "*.shop.test" ]'),
    ("wild-deeper", 'hosts: [ "*.eu.shop.test" ]'),
    ("host-prefix", "hosts: [ api.shop.test, Other.Test ]"),
    ("host-exact", "hosts: [ api.shop.test ], path: { exact: /exact }"),
    ("host-get", "hosts: [ only.test ], path: { prefix: /get }, methods: [ GET ]"),
    ("host-put", "hosts: [ only.test ], path: { prefix: /get }, methods: [ PUT, DELETE ]"),
]

CONFIG = f"""
listeners:
  - {{ name: web, address: "{SLUICE}:80" }}
  - {{ name: side, address: "{SLUICE}:81" }}
  - {{ name: bare, address: "{SLUICE}:82" }}
upstreams:
  - name: even
    endpoints: [ "{BACKEND[0]}:9300", "{BACKEND[0]}:9301", "{BACKEND[1]}:9300" ]
  - name: weighted
    endpoints:
      - {{ address: "{BACKEND[0]}:9300", weight: 3 }}
      - {{ address: "{BACKEND[0]}:9301", weight: 1 }}
      - "{BACKEND[1]}:9300"
routes:
  - {{ name: even, match: {{ hosts: [ even.test ] }}, listeners: [ web ],
      proxy: {{ upstream: even }} }}
  - {{ name: weighted, match: {{ hosts: [ weighted.test ] }}, listeners: [ web ],
      proxy: {{ upstream: weighted }} }}
  - {{ name: to-https, match: {{ hosts: [ move.test ] }}, listeners: [ web ],
      redirect: {{ scheme: https }} }}
  - {{ name: to-other, match: {{ hosts: [ move.test ], path: {{ prefix: /other }} }},
      listeners: [ web ],
      redirect: {{ scheme: https, host: new.test, port: 8443, path: /fixed, status: 302 }} }}
  - {{ name: teapot, match: {{ hosts: [ tea.test ] }}, listeners: [ web ],
      respond: {{ status: 418, body: "short and stout\\n",
                 headers: {{ content-type: text/plain, x-kind: pot }} }} }}
  - {{ name: empty, match: {{ hosts: [ tea.test ], path: {{ exact: /none }} }}, listeners: [ web ],
      respond: {{ status: 204 }} }}
  - {{ name: bare-get, match: {{ path: {{ prefix: /get }}, methods: [ GET ] }},
      listeners: [ bare ], respond: {{ status: 200, body: bare-get }} }}
  - {{ name: bare-put, match: {{ path: {{ prefix: /get }}, methods: [ PUT, DELETE ] }},
      listeners: [ bare ], respond: {{ status: 200, body: bare-put }} }}
  - {{ name: on-side, match: {{ hosts: [ tea.test ] }}, listeners: [ side ],
      respond: {{ status: 200, body: side }} }}
""" + "".join(
    f"  - {{ name: {name}, match: {{ {match} }}, listeners: [ web ], "
    f"respond: {{ status: 200, body: {name} }} }}\n" for name, match in ROUTES)


@pytest.fixture(scope="module")
def routed(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(CONFIG)
        yield sluice.start()


@pytest.fixture
def wire(topology, routed):
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        yield wire


PRECEDENCE = [
    # method, host, target, route
    ("GET", "none.test", "/", "any-prefix"),
    ("GET", "none.test", "/cartoon", "any-prefix"),
    ("GET", "none.test", "/cart", "any-cart"),
    ("GET", "none.test", "/cart?x=/cart/items", "any-cart"),
    ("GET", "none.test", "/cart/3", "any-cart"),
    ("POST", "none.test", "/cart/3", "any-cart-post"),
    ("GET", "none.test", "/cart/items", "any-cart-exact"),
    ("GET", "none.test", "/cart/items?page=2", "any-cart-exact"),
    ("GET", "none.test", "/cart/items/7", "any-cart-deep"),
    ("POST", "none.test", "/cart/items/7", "any-cart-deep"),  # a longer prefix before a method
    ("GET", "none.test", "/cart/itemsx", "any-cart"),
    ("GET", "a.shop.test", "/cart", "wild-prefix"),           # a host before any path
    ("GET", "a.b.shop.test", "/", "wild-prefix"),
    ("GET", "a.eu.shop.test", "/", "wild-deeper"),
    ("GET", "shop.test", "/", "any-prefix"),                  # a wildcard stands for a label
    ("GET", "api.shop.test", "/", "host-prefix"),
    ("GET", "API.Shop.TEST", "/", "host-prefix"),
    ("GET", "api.shop.test:80", "/", "host-prefix"),
    ("GET", "other.test", "/", "host-prefix"),
    ("GET", "api.shop.test", "/exact", "host-exact"),
    ("GET", "api.shop.test", "/exact/", "host-prefix"),
    ("GET", "only.test", "/get", "host-get"),
    ("PUT", "only.test", "/get", "host-put"),
    # 22: every spelling of a path takes the same route
    ("GET", "none.test", "/x/../cart/./3", "any-cart"),
    ("GET", "none.test", "/x/%2e%2e/%63art", "any-cart"),
]


def test_precedence_is_host_then_exact_path_then_longest_prefix_then_method(wire):
    wrong = []
    for method, host, target, route in PRECEDENCE:
        answer = wire.ask(target, method, host=host, body=b"" if method != "GET" else None)
        if (answer.status, answer.body.decode()) != (200, route):
            wrong.append(f"{method} {host} {target}: {answer.status} {answer.body} not {route}")
    assert not wrong, "\n".join(wrong)


def test_absolute_form_is_routed_by_its_host(wire):
    wire.send(request("http://api.shop.test/exact", host="api.shop.test"))
    assert wire.read_response().body == b"host-exact"


def test_request_that_no_route_matches_gets_404(topology, routed):
    with Wire(topology.connect("client", SLUICE, 82)) as wire:
        for _ in range(2):  # and the connection lives on
            assert wire.ask(host="any.test").status == 404


def test_wrong_method_gets_405_with_the_right_ones(topology, routed):
    with Wire(topology.connect("client", SLUICE, 82)) as wire:
        answer = wire.ask("/get/it", "POST", host="any.test", body=b"")
        assert answer.status == 405
        allowed = {name.strip() for name in answer.get("allow").split(",")}
        assert allowed == {"GET", "PUT", "DELETE"}
        assert wire.ask("/get/it", "PUT", host="any.test", body=b"").body == b"bare-put"


def test_routes_hold_for_their_listeners_only(topology, routed):
    with Wire(topology.connect("client", SLUICE, 81)) as wire:
        assert wire.ask(host="tea.test").body == b"side"
        assert wire.ask(host="even.test").status == 404


def test_redirect_keeps_path_and_query(wire):
    answer = wire.ask("/a/b?c=d", host="move.test")
    assert (answer.status, answer.get("location")) == (308, "https://move.test/a/b?c=d")


def test_redirect_to_another_host_port_and_path(wire):
    answer = wire.ask("/other/thing", host="move.test")
    assert answer.status == 302
    assert answer.get("location").startswith("https://new.test:8443/fixed")


def test_respond_gives_status_fields_and_body(wire):
    for _ in range(2):
        answer = wire.ask("/", host="tea.test")
        assert (answer.status, answer.body) == (418, b"short and stout\n")
        assert (answer.get("content-type"), answer.get("x-kind")) == ("text/plain", "pot")


def test_respond_to_head_has_no_body(wire):
    answer = wire.ask("/", "HEAD", host="tea.test")
    assert (answer.status, answer.get("content-length")) == (418, "16")
    assert wire.ask("/", host="tea.test").body == b"short and stout\n"


def test_respond_204_has_neither_body_nor_length(wire):
    answer = wire.ask("/none", host="tea.test")
    assert (answer.status, answer.all("transfer-encoding"), answer.body) == (204, [], b"")
    assert answer.get("content-length") in (None, "0")
    assert wire.ask("/", host="tea.test").status == 418


def test_respond_takes_no_notice_of_a_request_body(wire):
    answer = wire.ask("/", "POST", body=b"x" * 1000, host="tea.test")
    assert answer.status == 418


@pytest.fixture
def endpoints(topology):
    backends = [RawBackend(topology, BACKEND[number], port,
                           answer_each(response(f"{number}:{port}".encode())))
                for number, port in ((0, 9300), (0, 9301), (1, 9300))]
    yield backends
    for backend in backends:
        backend.close()
        backend.check()


def test_round_robin_spreads_evenly(wire, routed, endpoints):
    seen = collections.Counter(wire.ask(f"/{turn}", host="even.test").body for turn in range(60))
    assert sorted(seen.values()) == [20, 20, 20]
    counted = [each["requests"] for upstream in routed.admin("/v1/upstreams")["upstreams"]
               if upstream["name"] == "even" for each in upstream["endpoints"]]
    assert counted == [20, 20, 20]


def test_round_robin_spreads_by_weight(wire, endpoints):
    seen = collections.Counter(wire.ask(f"/{turn}", host="weighted.test").body
                               for turn in range(100))
    assert sorted(seen.values()) == [20, 20, 60]
    assert seen[b"0:9300"] == 60


def test_counters_of_a_route_move(wire, routed):
    before = routed.route("teapot")
    for _ in range(3):
        wire.ask("/", host="tea.test")
    after = routed.route("teapot")
    assert after["requests"] - before["requests"] == 3
    assert after["responses"]["4xx"] - before["responses"]["4xx"] == 3
    assert after["bytes_out"] - before["bytes_out"] == 3 * len("short and stout\n")
