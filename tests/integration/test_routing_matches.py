"""Routes by template, regex, headers and query; what `sluice route explain` says of them."""
import pytest

from lib.daemon import daemon
from lib.netns import SLUICE
from lib.wire import Wire

pytestmark = pytest.mark.one_engine

ROUTES = [
    # name, match
    ("pages", 'path: { template: "/pages/{id}" }'),
    ("reviews", 'path: { template: "/pages/{id}/reviews" }'),
    ("pages-new", 'path: { template: "/pages/new" }', "exact"),
    ("rest", 'path: { template: "/pages/{id}/{more*}" }'),
    ("below", "path: { prefix: /pages }"),
    ("images", 'path: { regex: "/[a-z]+/.*\\\\.(png|jpg)" }'),
    ("hostile", 'path: { regex: "/(a+)+" }'),
    ("plain", "path: { exact: /v }"),
    ("canary", 'path: { exact: /v }, headers: { X-Canary: "yes" }'),
    ("canary-debug", 'path: { exact: /v }, headers: { x-canary: "yes", x-debug: { present: on } }'),
    ("second", 'path: { exact: /v }, query: { v: "2" }'),
    ("second-number", 'path: { exact: /v }, query: { v: "2", n: { regex: "^[0-9]+$" } }'),
    ("mobile", 'path: { exact: /v }, headers: { user-agent: { regex: "(?i)mobile" } }'),
    ("posted", "path: { exact: /v }, methods: [ POST ]"),
]


def route_line(name, match, kind=None):
    match = match.replace("template", kind) if kind else match
    return (f"  - {{ name: {name}, match: {{ hosts: [ m.test ], {match} }}, listeners: [ web ], "
            f"respond: {{ status: 200, body: {name} }} }}\n")


CONFIG = f"""
listeners:
  - {{ name: web, address: "{SLUICE}:80" }}
  - {{ name: many, address: "{SLUICE}:81" }}
routes:
""" + "".join(route_line(*route) for route in ROUTES) + "".join(
    f"  - {{ name: many{i}, listeners: [ many ], match: {{ hosts: [ h{i % 7}.test ], "
    f"path: {{ {('prefix: /p', 'exact: /e', 'regex: /r')[i % 3]}{i} }} }}, "
    f"respond: {{ body: many{i} }} }}\n" for i in range(10000))


@pytest.fixture(scope="module")
def routed(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(CONFIG)
        yield sluice.start()


@pytest.fixture
def wire(topology, routed):
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        yield wire


ASKED = [
    # method, target, fields, route or status
    ("GET", "/pages/7", (), "pages"),
    ("GET", "/pages/new", (), "pages-new"),
    ("GET", "/pages/7/reviews", (), "reviews"),
    ("GET", "/pages/7/reviews/", (), "rest"),
    ("GET", "/pages/7/x/y", (), "rest"),
    ("GET", "/pages/7/", (), "rest"),
    ("GET", "/pages/a%20b/reviews", (), "reviews"),
    ("GET", "/pages/%72%65views", (), "pages"),
    ("GET", "/pages/x/../7/reviews", (), "reviews"),      # 22: matched in canonical form
    ("GET", "/pages/", (), "below"),                      # a parameter is not empty
    ("GET", "/pages", (), "below"),
    ("GET", "/img/a/b.png", (), "images"),
    ("GET", "/img/a/b.png?x=.gif", (), "images"),
    ("GET", "/img/a/b.pngx", (), 404),                    # the whole path
    ("GET", "/pages/a.png", (), "pages"),                 # a template before a regex
    ("GET", "/aaaa", (), "hostile"),
    ("GET", "/" + "a" * 4000 + "!", (), 404),             # ends at the limit, as no match
    ("GET", "/v", (), "plain"),
    ("GET", "/v", ("X-CANARY: yes",), "canary"),
    ("GET", "/v", ("X-Canary: no",), "plain"),
    ("GET", "/v", ("X-Canary: no", "X-Canary: yes"), "canary"),
    ("GET", "/v", ("X-Canary: yes", "X-Debug: 0"), "canary-debug"),
    ("GET", "/v?v=2", (), "second"),
    ("GET", "/v?a&v=%32", (), "second"),
    ("GET", "/v?v=2&n=17", (), "second-number"),
    ("GET", "/v?v=2&n=x", (), "second"),
    ("GET", "/v?v=2", ("X-Canary: yes",), "canary"),      # headers before query
    ("GET", "/v", ("User-Agent: Some Mobile/1",), "mobile"),
    ("POST", "/v", ("X-Canary: yes",), "posted"),         # a method before headers
    ("PUT", "/v?v=2", (), "second"),
]


def test_templates_regexes_headers_and_query_choose_the_route(wire):
    wrong = []
    for method, target, fields, route in ASKED:
        answer = wire.ask(target, method, fields, host="m.test",
                          body=b"" if method != "GET" else None)
        found = answer.body.decode() if answer.status == 200 else answer.status
        if found != route:
            wrong.append(f"{method} {target} {fields}: {found}, not {route}")
    assert not wrong, "\n".join(wrong)


def test_a_regex_that_reaches_its_limit_is_counted_and_no_match(wire, routed):
    def limits():
        return routed.admin("/v1/status")["counters"]["regex_limits"]

    before = limits()
    assert wire.ask("/" + "a" * 4000 + "!", host="m.test").status == 404
    wire.ask("/v", host="m.test")  # the first one is counted when it is over
    assert limits() == before + 1


def test_ten_thousand_routes_are_served(topology, routed):
    with Wire(topology.connect("client", SLUICE, 81)) as wire:
        for i in range(0, 10000, 101):
            target = "/" + "per"[i % 3] + str(i) + ("/below" if i % 3 == 0 else "")
            assert wire.ask(target, host=f"h{i % 7}.test").body == f"many{i}".encode()
            assert wire.ask(target, host=f"h{(i + 1) % 7}.test").status == 404


def explain(sluice, *words):
    return sluice.cli_json("route", "explain", *words)


def lost_by(found):
    return {other["name"]: (other["lost_by"], other["reason"]) for other in found["others"]}


def test_explain_names_the_winner_and_what_the_others_lack(routed):
    found = explain(routed, "GET", "http://m.test/v?v=2", "header", "x-canary", "yes")
    assert found["request"] == {"listener": "web", "host": "m.test", "path": "/v",
                                "query": "?v=2"}
    assert found["result"]["kind"] == "route"
    assert found["result"]["name"] == "canary"
    assert found["result"]["host"] == "m.test"
    others = lost_by(found)
    assert others["second"] == ("less_specific", "less specific than 'canary', by more headers")
    assert others["plain"] == ("less_specific", "less specific than 'canary', by more headers")
    assert others["canary-debug"] == ("header", "header 'x-debug': is not there")
    assert others["second-number"] == ("query", "query 'n': does not match '^[0-9]+$'")
    assert others["mobile"][0] == "header"
    assert others["posted"] == ("method", "method is not one of its")
    assert others["pages"][0] == "path"
    # Those that came closest stand first.
    order = ["less_specific", "query", "header", "method", "path"]
    ranks = [order.index(other["lost_by"]) for other in found["others"]]
    assert ranks == sorted(ranks)
    assert found["others_not_shown"] == 0
    assert found["routes_of_other_listeners"] == 10000


@pytest.mark.parametrize("method, target, fields, route", ASKED)
def test_explain_says_where_requests_go(routed, method, target, fields, route):
    words = [word for field in fields for word in ("header", *field.split(": "))]
    found = explain(routed, method, "http://m.test" + target, *words)["result"]
    assert found.get("name", found.get("status")) == route


def test_explain_shows_parameters_and_the_canonical_path(routed):
    found = explain(routed, "GET", "http://m.test/pages/x/../a%20b/y//z".replace("//z", "/z"))
    assert found["request"]["path"] == "/pages/a%20b/y/z"
    assert found["result"]["parameters"] == [{"name": "id", "value": "a%20b"},
                                             {"name": "more", "value": "y/z"}]
    assert found["result"]["path"] == {"kind": "template", "value": "/pages/{id}/{more*}"}


def test_explain_tells_refusals_as_the_proxy_does(routed, wire):
    refusals = [("http://m.test/a/..%2f", 400), ("http://m.test/a//b", 400),
                ("http://m.test/../x", 400), ("http://m_t@est/", 400),
                ("http://m.test/" + "a" * 9000, 414)]
    for url, status in refusals:
        found = explain(routed, "GET", url)["result"]
        assert (found["kind"], found["status"]) == ("refused", status), url
        assert found["reason"]
    assert wire.ask("/a//b", host="m.test").status == 400
    found = explain(routed, "TRACE", "http://m.test/")["result"]
    assert (found["kind"], found["status"]) == ("refused", 501)


def test_explain_tells_what_is_answered_without_a_route(topology, routed):
    found = explain(routed, "GET", "http://none.test/")
    assert found["result"] == {"kind": "no_route", "status": 404}
    assert found["others"] == []
    assert found["routes_for_other_hosts"] == len(ROUTES)


def test_explain_takes_host_and_listener_from_the_words(routed):
    found = explain(routed, "GET", "/e1", "header", "host", "H1.test:81", "listener", "many")
    assert found["request"] == {"listener": "many", "host": "h1.test", "path": "/e1"}
    assert found["result"]["name"] == "many1"
    assert len(found["others"]) == 20
    assert found["others_not_shown"] > 1000
    assert all(other["lost_by"] == "path" for other in found["others"])
    # Without a name the URL's port decides.
    assert explain(routed, "GET", "http://h1.test:81/e1")["result"]["name"] == "many1"
    assert explain(routed, "GET", "/v")["request"] == {"listener": "web", "path": "/v"}


def test_explain_in_text_and_its_errors(routed):
    text = routed.cli("route", "explain", "GET", "http://m.test/pages/7", check=True).stdout
    assert "goes to     route 'pages'\n" in text
    assert "parameters  id = 7\n" in text
    assert "less specific than 'pages', by its path\n" in text
    done = routed.cli("route", "explain", "GET", "/", "listener", "wep")
    assert (done.returncode, done.stderr) == (1, "Error: listener 'wep' is not configured\n")
    done = routed.cli("route", "explain", "GET", "ftp://m.test/")
    assert "expected http://, https:// or a path" in done.stderr
    done = routed.cli("route", "explain", "GET", "/", "header", "a", "b\r\nc: d")
    assert "headers: a field needs a valid name and value" in done.stderr
    done = routed.cli("route", "explain", "G T", "/")
    assert "method: expected a method" in done.stderr
