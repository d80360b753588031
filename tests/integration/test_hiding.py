"""HARDENING 36: no client learns a name or an address of an upstream."""

import pytest

from lib.backend import RawBackend, answer_each
from lib.daemon import daemon
from lib.netns import BACKEND, CLIENT, NO_HOST, SLUICE
from lib.programs import start_nginx
from lib.wire import Truncated, Wire, chunk, request, response

pytestmark = pytest.mark.one_engine

BACK = (BACKEND[0], 9340)
OTHER_END = (BACKEND[1], 9341)
NOBODY = (NO_HOST, 9342)
NGINX = (BACKEND[2], 9343)
CONFIG = f"""
listeners:
  - name: web
    address: [ "{SLUICE}:80", "{SLUICE}:8090" ]
    timeouts: {{ header: 1s, idle: 2s, request: 5s }}
    limits: {{ body_bytes: 1KiB, uri_bytes: 256, header_bytes: 2KiB }}
upstreams:
  - name: internal-shop
    endpoints: [ "{BACK[0]}:{BACK[1]}" ]
    timeouts: {{ response: 1s, idle: 1s }}
  - {{ name: two-ends, endpoints: [ "{BACK[0]}:{BACK[1]}", "{OTHER_END[0]}:{OTHER_END[1]}" ] }}
  - {{ name: internal-nobody, endpoints: [ "{NOBODY[0]}:{NOBODY[1]}" ],
      timeouts: {{ connect: 200ms }} }}
  - {{ name: internal-web, endpoints: [ "{NGINX[0]}:{NGINX[1]}" ] }}
policies:
  - {{ name: strip, rewrite: {{ path: {{ prefix: /shop, to: / }} }} }}
  - {{ name: inner, rewrite: {{ path: {{ prefix: /in, to: /app }}, host: origin.internal }} }}
routes:
  - {{ name: all, match: {{ hosts: [ shop.test, "{SLUICE}" ] }},
      proxy: {{ upstream: internal-shop }} }}
  - {{ name: hostless, match: {{ path: {{ prefix: /hostless }} }},
      proxy: {{ upstream: internal-shop }} }}
  - {{ name: open, match: {{ hosts: [ open.test ] }},
      proxy: {{ upstream: internal-shop, expose_upstream: [ server, Location ] }} }}
  - {{ name: all-open, match: {{ hosts: [ all-open.test ] }},
      proxy: {{ upstream: internal-shop, expose_upstream: all }} }}
  - {{ name: ends, match: {{ hosts: [ ends.test ] }}, proxy: {{ upstream: two-ends }} }}
  - {{ name: stripped, match: {{ hosts: [ strip.test ], path: {{ prefix: /shop }} }},
      policies: [ strip ], proxy: {{ upstream: internal-shop }} }}
  - {{ name: inner, match: {{ hosts: [ inner.test ], path: {{ prefix: /in }} }},
      policies: [ inner ], proxy: {{ upstream: internal-shop }} }}
  - {{ name: nobody, match: {{ hosts: [ nobody.test ] }}, proxy: {{ upstream: internal-nobody }} }}
  - {{ name: nginx, match: {{ hosts: [ nginx.test ] }}, proxy: {{ upstream: internal-web }} }}
  - {{ name: get-only, match: {{ hosts: [ get.test ], methods: [ GET ] }},
      proxy: {{ upstream: internal-shop }} }}
"""
TRUST = f"  trusted_proxies: [ {CLIENT[3]} ]\n"
SECRETS = [b"10.77.2.", b"9340", b"9341", b"9342", b"9343", b"internal", b"/run/", b"errno"]
ABOUT = ["Server: Evil/1.0", "Via: 1.1 cache.internal", "X-Powered-By: PHP/5", "X-Runtime: 0.1",
         "X-AspNet-Version: 4", "X-AspNetMvc-Version: 5", "X-Generator: W", "X-Backend: b1",
         "X-Backend-Server: b1", "X-Upstream: b1", "X-Server: b1", "X-Server-Name: b1",
         "X-Served-By: b1", "X-Hostname: b1", "X-Varnish: 1 2", "Alt-Svc: h2=\"10.77.2.11:443\"",
         "X-Envoy-Upstream-Service-Time: 3", "X-Envoy-Decorator-Operation: b1.internal:80/*"]


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(TRUST + CONFIG)
        yield sluice.start()


@pytest.fixture
def backend(topology, node):
    with RawBackend(topology, *BACK) as backend:
        yield backend


class Seen:
    """Everything that clients were sent, to be searched for what they must not know."""

    def __init__(self, topology):
        self._topology = topology
        self._wires = []

    def connect(self, port=80, **kwargs):
        wire = Wire(self._topology.connect("client", SLUICE, port, **kwargs), record=True)
        self._wires.append(wire)
        return wire

    def ask(self, target="/", method="GET", fields=(), body=None, host="shop.test", **kwargs):
        with self.connect(**kwargs) as wire:
            return wire.ask(target, method, fields, body, host)

    def check(self):
        assert self._wires
        for wire in self._wires:
            for secret in SECRETS:
                assert secret not in bytes(wire.record), (secret, bytes(wire.record))


@pytest.fixture
def seen(topology, node):
    seen = Seen(topology)
    yield seen
    seen.check()


def location(seen, backend, sent, name="Location", **kwargs):
    # Closed, so that the next answer is that of the next handler.
    backend.handler = answer_each(response(status="302 Found",
                                           fields=[f"{name}: {sent}", "Connection: close"]))
    values = seen.ask(**kwargs).all(name)
    assert len(values) == 1
    return values[0]


def test_hardening_36_urls_of_the_upstream_become_the_clients(seen, backend):
    address = f"{BACK[0]}:{BACK[1]}"
    rows = {
        f"http://{address}/x?y=1#z": "http://shop.test/x?y=1#z",
        f"http://{BACK[0]}/x": "http://shop.test/x",
        f"http://{BACK[0]}:1/x": "http://shop.test/x",
        f"HTTP://user@{address}": "http://shop.test",
        f"//{address}/x": "//shop.test/x",
        f"https://{BACK[0]}/x": "https://shop.test/x",
        "http://internal-shop/x": "http://shop.test/x",
        "http://INTERNAL-shop:80/x": "http://shop.test/x",
        f"http://shop.test:{BACK[1]}/x": "http://shop.test/x",
        "http://shop.test/x": "http://shop.test/x",
        "https://shop.test/x": "https://shop.test/x",
        "http://elsewhere.test/x": "http://elsewhere.test/x",
        "/x": "/x",
        "x": "x",
    }
    for name in ("Location", "Content-Location"):
        assert {sent: location(seen, backend, sent, name) for sent in rows} == rows


def test_hardening_36_the_clients_port_stays(seen, backend):
    for sent in (f"http://{BACK[0]}:{BACK[1]}/x", f"http://shop.test:{BACK[1]}/x",
                 "http://shop.test:8090/x"):
        assert location(seen, backend, sent, host="shop.test:8090",
                        port=8090) == "http://shop.test:8090/x"


def test_hardening_36_behind_a_trusted_proxy_urls_are_those_of_its_clients(seen, backend):
    fields = ["X-Forwarded-Proto: https", "X-Forwarded-Host: www.test:8443"]
    rows = {
        f"http://{BACK[0]}:{BACK[1]}/x": "https://www.test:8443/x",
        "http://shop.test/x": "https://www.test:8443/x",
        "http://www.test:8443/x": "https://www.test:8443/x",
        "https://www.test:8443/x": "https://www.test:8443/x",
    }
    got = {sent: location(seen, backend, sent, fields=fields, source=CLIENT[3]) for sent in rows}
    assert got == rows


def test_hardening_36_each_endpoint_is_known(seen, topology, backend):
    with RawBackend(topology, *OTHER_END) as other:
        for each in (backend, other):
            each.handler = answer_each(response(fields=[
                f"Location: http://{OTHER_END[0]}:{OTHER_END[1]}/x",
                f"Link: <http://{BACK[0]}:{BACK[1]}/2>; rel=next"]))
        for _ in range(4):
            answer = seen.ask(host="ends.test")
            assert answer.get("location") == "http://ends.test/x"
            assert answer.get("link") == "<http://ends.test/2>; rel=next"
        assert backend.requests and other.requests


def test_hardening_36_refresh_and_link_are_rewritten(seen, backend):
    url = f"http://{BACK[0]}:{BACK[1]}/x"
    rows = {
        "Refresh": {f"5; url={url}": "5; url=http://shop.test/x",
                    f"0;URL='{url}'": "0;URL='http://shop.test/x'", "5": "5"},
        "Link": {f"<{url}>; rel=next, <{url}2>; rel=last":
                 "<http://shop.test/x>; rel=next, <http://shop.test/x2>; rel=last"},
    }
    for name, values in rows.items():
        assert {sent: location(seen, backend, sent, name) for sent in values} == values


def test_hardening_36_early_hints_are_rewritten_too(seen, backend):
    backend.handler = answer_each(
        f"HTTP/1.1 103 Early Hints\r\nServer: b1\r\nLink: <http://{BACK[0]}/a.css>\r\n\r\n".encode()
        + response())
    hints = seen.ask().informational
    assert [(hint.get("link"), hint.get("server")) for hint in hints] == [
        ("<http://shop.test/a.css>", None)]


def test_hardening_36_cookies_are_the_public_hosts(seen, backend):
    backend.handler = answer_each(response(fields=[
        f"Set-Cookie: a=1; Domain={BACK[0]}; Path=/; HttpOnly",
        "Set-Cookie: b=2; Path=/; domain=.internal-shop",
        "Set-Cookie: c=3; Domain=shop.test; Path=/c",
        "Set-Cookie: d=4; Domain=elsewhere.test"]))
    assert seen.ask().all("set-cookie") == ["a=1; Path=/; HttpOnly", "b=2; Path=/",
                                            "c=3; Domain=shop.test; Path=/c",
                                            "d=4; Domain=elsewhere.test"]


def test_hardening_36_paths_are_mapped_back_through_a_rewritten_prefix(seen, backend):
    backend.handler = answer_each(response(fields=[
        f"Location: http://{BACK[0]}:{BACK[1]}/login", "Content-Location: /x",
        "Refresh: 1; url=/y", "Set-Cookie: a=1; Path=/", "Link: </z.css>"]))
    answer = seen.ask("/shop/cart", host="strip.test")
    assert backend.requests[-1].target == "/cart"
    assert [answer.get(name) for name in ("location", "content-location", "refresh", "set-cookie",
                                          "link")] == [
        "http://strip.test/shop/login", "/shop/x", "1; url=/shop/y", "a=1; Path=/shop/",
        "</shop/z.css>"]


def test_hardening_36_a_host_of_our_own_making_is_hidden(seen, backend):
    backend.handler = answer_each(response(fields=[
        "Location: http://origin.internal/app/login",
        "Set-Cookie: a=1; Domain=origin.internal; Path=/app",
        "Set-Cookie: b=1; Domain=.internal; Path=/elsewhere"]))
    answer = seen.ask("/in/x", host="inner.test")
    assert backend.requests[-1].get("host") == "origin.internal"
    assert answer.get("location") == "http://inner.test/in/login"
    assert answer.all("set-cookie") == ["a=1; Path=/in", "b=1; Path=/elsewhere"]


def test_hardening_36_a_client_without_a_host_gets_paths(seen, backend):
    backend.handler = answer_each(response(fields=["Location: http://internal-shop/x"]))
    with seen.connect() as wire:
        wire.send(b"GET /hostless HTTP/1.0\r\n\r\n")
        assert wire.read_response().get("location") == "/x"
    assert backend.requests[-1].get("host") == "internal-shop"


def test_hardening_36_software_behind_is_not_named(seen, backend):
    backend.handler = answer_each(response(fields=ABOUT + ["X-Stays: 1", "Date: x"]))
    answer = seen.ask()
    assert [name.lower() for name, _ in answer.fields] == ["x-stays", "date", "content-length"]


def test_what_a_route_exposes_passes_and_nothing_else(topology, node, backend):
    url = f"http://{BACK[0]}:{BACK[1]}/x"
    backend.handler = answer_each(response(fields=ABOUT + [
        f"Location: {url}", f"Content-Location: {url}", f"Set-Cookie: a=1; Domain={BACK[0]}"]))
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        some = wire.ask(host="open.test")
        whole = wire.ask(host="all-open.test")
    assert (some.get("server"), some.get("location")) == ("Evil/1.0", url)
    assert (some.get("via"), some.get("set-cookie")) == (None, "a=1")
    assert some.get("content-location") == "http://open.test/x"
    assert (whole.get("via"), whole.get("content-location")) == ("1.1 cache.internal", url)
    assert whole.get("set-cookie") == f"a=1; Domain={BACK[0]}"
    assert len(whole.fields) == len(ABOUT) + 4


def test_hardening_36_answers_of_our_own_name_no_software(seen):
    answer = seen.ask("/", host="get.test", method="POST", body=b"")
    assert answer.status == 405
    assert answer.all("server") == [] and answer.all("via") == []


# -- the matrix: whatever goes wrong, nothing of it tells the client where

def close_at_once(connection):
    connection.read_request()


def reset_at_once(connection):
    connection.read_request()
    connection.reset()


def say(*pieces):
    def handler(connection):
        connection.read_request()
        connection.send(*pieces)

    return handler


def silent(connection):
    connection.read_request()
    connection.wait_for_end()


ABOUT_US = f"X-Served-By: {BACK[0]}\r\nServer: internal/1\r\n".encode()
FAILURES = {
    "close": (close_at_once, 502),
    "reset": (reset_at_once, 502),
    "silence": (silent, 504),
    "garbage": (say(b"internal-shop says no\r\n\r\n"), 502),
    "half a head": (say(b"HTTP/1.1 200 OK\r\n" + ABOUT_US), 502),
    "two lengths": (say(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n" + ABOUT_US
                        + b"\r\nx"), 502),
    "head too large": (say(b"HTTP/1.1 200 OK\r\nX-A: " + b"internal" * 20_000 + b"\r\n\r\n"), 502),
    "too many 1xx": (say((b"HTTP/1.1 103 Early Hints\r\n" + ABOUT_US + b"\r\n") * 40), 502),
    "101": (say(b"HTTP/1.1 101 Switching Protocols\r\n" + ABOUT_US + b"Upgrade: x\r\n\r\n"), 502),
    "cut length": (say(b"HTTP/1.1 200 OK\r\n" + ABOUT_US + b"Content-Length: 9\r\n\r\nabc"), None),
    "cut chunk": (say(b"HTTP/1.1 200 OK\r\n" + ABOUT_US + b"Transfer-Encoding: chunked\r\n\r\n"
                      + chunk(b"abc") + b"9\r\nabc"), None),
    "bad chunk": (say(b"HTTP/1.1 200 OK\r\n" + ABOUT_US + b"Transfer-Encoding: chunked\r\n\r\n"
                      + chunk(b"abc") + b"internal\r\n"), 502),
}


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_hardening_36_no_failure_of_a_backend_tells_where_it_is(seen, backend, accept):
    wrong = []
    for what, (handler, status) in FAILURES.items():
        backend.handler = handler
        wire = seen.connect()
        wire.send(request(fields=[f"Accept: {accept}"], host="shop.test"))
        try:
            got = wire.read_response().status
        except Truncated:
            got = None
        wire.end()
        wire.read_until_close()
        # What broke off may have been seen before or after its head was passed on.
        if got != status and (got, status) not in ((502, None), (None, 502)):
            wrong.append(f"{what}: {got} instead of {status}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_hardening_36_no_unreachable_backend_is_told(seen, node, accept):
    fields = [f"Accept: {accept}"]
    assert seen.ask(fields=fields).status == 502  # nobody listens there
    assert seen.ask(fields=fields, host="nobody.test").status in (502, 504)


def test_hardening_36_no_refusal_tells_of_upstreams(seen, backend):
    backend.handler = silent
    rows = {
        b"GET / HTTP/1.1\r\n\r\n": 400,
        b"GET /x%2fy HTTP/1.1\r\nHost: shop.test\r\n\r\n": 400,
        b"GET /\x01 HTTP/1.1\r\nHost: shop.test\r\n\r\n": 400,
        b"GET https://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n": 421,
        b"POST / HTTP/1.1\r\nHost: get.test\r\nContent-Length: 0\r\n\r\n": 405,
        b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-A: " + b"a" * 4000 + b"\r\n\r\n": 431,
        b"GET /" + b"a" * 300 + b" HTTP/1.1\r\nHost: shop.test\r\n\r\n": 414,
        b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 2000\r\n\r\n": 413,
        b"POST / HTTP/1.1\r\nHost: shop.test\r\nExpect: x\r\n\r\n": 417,
        b"POST / HTTP/1.1\r\nHost: shop.test\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
        b"TRACE / HTTP/1.1\r\nHost: shop.test\r\n\r\n": 501,
        b"GET / HTTP/3.0\r\nHost: shop.test\r\n\r\n": 505,
        b"POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 9\r\n\r\nx": 408,
        b"GET / HTTP/1.1\r\nHost: shop.test\r\nX-": 408,
    }
    got = {}
    for asked in rows:
        wire = seen.connect()
        wire.send(asked)
        got[asked] = wire.read_response().status
        wire.close()
    assert got == rows


# -- a real server

def test_nginx_behind_a_port_of_its_own_redirects_to_the_public_one(seen, topology, node):
    """For a directory nginx makes an absolute URL of Host and its own port."""
    directory = node.directory / "nginx-redirects"
    with start_nginx(topology, directory, *NGINX, {"f.txt": b"x"}):
        (directory / "www" / "dir").mkdir()
        (directory / "www" / "dir" / "index.html").write_text("in")
        direct = Wire(topology.connect("backends", *NGINX))
        with direct:
            told = direct.ask("/dir", host="nginx.test").get("location")
        assert told == f"http://nginx.test:{NGINX[1]}/dir/"
        answer = seen.ask("/dir", host="nginx.test")
        assert (answer.status, answer.get("location")) == (301, "http://nginx.test/dir/")
        assert answer.all("server") == []
        answer = seen.ask("/dir", host="nginx.test:8090", port=8090)
        assert answer.get("location") == "http://nginx.test:8090/dir/"
