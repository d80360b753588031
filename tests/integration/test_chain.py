"""Policies that answer, change heads and bodies, or ask somebody, under HTTP/1 and HTTP/2."""
import pytest

from lib.backend import RawBackend, answer_each
from lib.clients import client_of
from lib.daemon import daemon
from lib.netns import BACKEND, SLUICE
from lib.wire import Wire, response

CONFIG = f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams:
  - {{ name: app, endpoints: [ "{BACKEND[0]}:9320" ] }}
  - {{ name: auth, endpoints: [ "{BACKEND[0]}:9321" ] }}
  - {{ name: gone, endpoints: [ "{BACKEND[0]}:9329" ] }}
policies:
  - {{ name: ask, external_auth: {{ upstream: auth, path: "/check?a=b", timeout: 500ms,
                                    take_headers: [ x-user, x-role ],
                                    answer_headers: [ www-authenticate, location ] }} }}
  - {{ name: ask-nobody, external_auth: {{ upstream: gone, path: / }} }}
  - name: shape
    transform:
      request:
        path: "/v2/{{path.id}}/x{{query.q}}"
        query: {{ remove: [ debug, "a b" ], set: {{ who: "{{header.x-who}}" }}, add: {{ v: "2&3" }} }}
        headers:
          remove: [ x-debug, x-user ]
          rename: {{ x-old: x-new }}
          set: {{ x-client: "{{client.address}} {{request.method}}", x-empty: "{{claim.sub}}" }}
          add: {{ x-tag: "{{header.x-who}}" }}
      response:
        headers: {{ remove: [ x-inner ], rename: {{ x-from: x-to }},
                    set: {{ x-status: "{{response.status}} {{response.header.x-inner}}" }} }}
  - {{ name: posted, transform: {{ request: {{ method: PUT }}, response: {{ status: 202 }} }} }}
  - {{ name: marked, transform: {{ response: {{ headers: {{ set: {{ x-marked: "{{route.name}}" }} }} }} }} }}
  - {{ name: browser, cors: {{ origins: [ "https://shop.test", "https://*.pages.test" ],
                              methods: [ GET, PUT ], headers: [ x-token ], credentials: on,
                              expose_headers: [ x-total ], max_age: 10m }} }}
  - {{ name: any-page, cors: {{ origins: "*", headers: "*" }} }}
routes:
  - {{ name: cors, match: {{ hosts: [ cors.test ] }}, policies: [ browser, ask ],
      proxy: {{ upstream: app }} }}
  - {{ name: any, match: {{ hosts: [ any.test ] }}, policies: [ any-page ],
      proxy: {{ upstream: app }} }}
  - {{ name: shape, match: {{ hosts: [ shape.test ], path: {{ template: "/shape/{{id}}" }} }},
      policies: [ shape ], proxy: {{ upstream: app }} }}
  - {{ name: posted, match: {{ hosts: [ posted.test ] }}, policies: [ posted ],
      proxy: {{ upstream: app }} }}
  - {{ name: refused, match: {{ hosts: [ marked.test ], path: {{ prefix: /refused }} }},
      policies: [ marked, ask-nobody ], proxy: {{ upstream: app }} }}
  - {{ name: fixed, match: {{ hosts: [ marked.test ], path: {{ prefix: /fixed }} }},
      policies: [ marked ], respond: {{ status: 200, body: fixed }} }}
  - {{ name: moved, match: {{ hosts: [ marked.test ], path: {{ prefix: /moved }} }},
      policies: [ marked ], redirect: {{ host: other.test, status: 301 }} }}
  - {{ name: lost, match: {{ hosts: [ marked.test ], path: {{ prefix: /lost }} }},
      policies: [ marked ], proxy: {{ upstream: gone }} }}
  - {{ name: ask, match: {{ hosts: [ ask.test ] }}, policies: [ ask ], proxy: {{ upstream: app }} }}
  - {{ name: ask-nobody, match: {{ hosts: [ nobody.test ] }}, policies: [ ask-nobody ],
      proxy: {{ upstream: app }} }}
"""


@pytest.fixture(scope="module")
def chain(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(CONFIG)
        yield sluice.start()


def a_backend(port):
    @pytest.fixture
    def backend(topology, chain):
        backend = RawBackend(topology, BACKEND[0], port)
        yield backend
        backend.close()
        backend.check()

    return backend


app, auth = a_backend(9320), a_backend(9321)


@pytest.fixture(params=["http1", "http2"])
def client(request, topology, chain):
    with client_of(topology, request.param) as client:
        yield client


# ---- external_auth ----

def test_request_that_the_service_lets_pass_carries_what_it_said(client, app, auth):
    auth.handler = answer_each(response(fields=["X-User: ann", "X-Other: 1"]))
    answer = client.ask("/a%20b?c=d", "POST", host="ask.test", body=b"x" * 100_000,
                        fields=[("authorization", "Bearer t"), ("if-none-match", '"1"')])
    assert answer.status == 200
    asked, = auth.requests
    assert (asked.method, asked.target, asked.body) == ("GET", "/check?a=b", b"")
    assert asked.get("authorization") == "Bearer t"
    assert asked.get("x-forwarded-method") == "POST"
    assert asked.get("x-forwarded-uri") == "/a%20b?c=d"
    assert asked.get("x-forwarded-host") == "ask.test"
    assert asked.get("if-none-match") is None and asked.get("content-length") is None
    seen, = app.requests
    assert seen.all("x-user") == ["ann"] and seen.get("x-other") is None
    assert len(seen.body) == 100_000


def test_nobody_else_can_say_what_the_service_says(client, app, auth):
    """19, 20, 21: other spellings are stripped, Connection names nothing of ours away."""
    auth.handler = answer_each(response(fields=["X-User: ann"]))
    spoofed = [("x-user", "root"), ("x_user", "root"), ("x.user", "root"), ("x-role", "admin"),
               ("x_role", "admin")]
    if isinstance(client, Wire):
        spoofed.append(("connection", "x-user, x-role"))
    assert client.ask(host="ask.test", fields=spoofed).status == 200
    seen, = app.requests
    assert [(name, value) for name, value in seen.fields
            if name.lower().replace("_", "-").replace(".", "-") in ("x-user", "x-role")] == \
        [("X-User", "ann")]


REFUSALS = [
    # what the service says, what the client gets, fields of it
    ("401 Unauthorized", ["WWW-Authenticate: Bearer", "X-Inner: 1"], 401,
     {"www-authenticate": "Bearer", "x-inner": None}),
    ("403 Forbidden", [], 403, {}),
    ("302 Found", ["Location: https://login.test/?to=x", "Set-Cookie: a=b"], 302,
     {"location": "https://login.test/?to=x", "set-cookie": None}),
    ("404 Not Found", [], 503, {}),
    ("500 Internal Server Error", ["WWW-Authenticate: Bearer"], 503, {"www-authenticate": None}),
    ("304 Not Modified", [], 503, {}),
]


def test_request_that_the_service_refuses_reaches_nobody(client, app, auth):
    auth.handler = answer_each(*(
        response(b"" if "304" in status else b"secret", status, fields, length="304" not in status)
        for status, fields, _, _ in REFUSALS))
    for status, _, expected, kept in REFUSALS:
        answer = client.ask(host="ask.test")
        assert answer.status == expected, status
        assert {name: answer.get(name) for name in kept} == kept, status
        assert b"secret" not in answer.body
    assert app.requests == []


def test_service_that_hangs_or_is_not_there_denies(client, app, auth):
    """24: time-out means deny; what comes later is not listened to."""
    auth.handler = lambda connection: (connection.read_request(), connection.wait_for_end())
    assert client.ask(host="ask.test").status == 503
    assert client.ask(host="nobody.test").status == 503
    assert app.requests == []


def test_service_whose_answer_is_cut_denies(client, app, auth):
    auth.handler = lambda connection: (connection.read_request(), connection.send(
        b"HTTP/1.1 200 OK\r\nX-User: ann\r\nContent-Length: 10\r\n\r\n123"))
    assert client.ask(host="ask.test").status == 503
    assert app.requests == []


def test_client_that_leaves_while_the_service_thinks_leaves_nothing_behind(client, app, auth,
                                                                          topology):
    auth.handler = lambda connection: (connection.read_request(), connection.wait_for_end())
    with Wire(topology.connect("client", SLUICE, 80)) as leaving:
        leaving.send(b"GET / HTTP/1.1\r\nHost: ask.test\r\n\r\n")
        auth.wait_for_requests(1)
        leaving.reset()
    auth.wait_until_idle()
    auth.handler = answer_each()
    assert client.ask(host="ask.test").status == 200


# ---- transform ----

def test_request_and_answer_are_changed_as_the_policy_says(client, app):
    app.handler = answer_each(response(status="203 Hm", fields=[
        "X-Inner: i", "X-From: 1", "X-From: 2"]))
    answer = client.ask("/shape/a%20b?q=%2e&debug=1&a+b=2&%64ebug=3&keep&who=me", host="shape.test",
                        fields=[("x-who", "a&b=c d"), ("x_user", "root"), ("x-debug", "1"),
                                ("x-old", "o"), ("x-empty", "spoofed"), ("x-tag", "mine")])
    assert answer.status == 203
    assert answer.get("x-status") == "203" and answer.get("x-inner") is None
    assert [value for name, value in answer.fields if name.lower() == "x-to"] == ["1", "2"]
    assert answer.get("x-from") is None
    seen, = app.requests
    assert seen.target == "/v2/a%20b/x.?q=%2e&keep&who=a%26b%3Dc%20d&v=2%263"
    assert seen.get("x-client").endswith(" GET")
    assert seen.all("x-new") == ["o"] and seen.all("x-tag") == ["mine", "a&b=c d"]
    for gone in ("x-debug", "x-old", "x-empty", "x_user", "x-user"):
        assert seen.get(gone) is None, gone


def test_value_that_would_make_another_path_of_it_is_refused(client, app):
    """13, 22, 29: text in a path stays text."""
    assert client.ask("/shape/a?q=/../../secret", host="shape.test").status == 400
    assert client.ask("/shape/a?q=%0d%0ax:y", host="shape.test",
                      fields=[("x-who", "a\tb")]).status == 400
    assert client.ask("/shape/a?q=%3fz", host="shape.test").status == 200
    assert [seen.target for seen in app.requests] == ["/v2/a/x%3Fz?q=%3fz&who=&v=2%263"]


def test_method_and_status_are_others_on_the_two_sides(client, app):
    answer = client.ask("/", "POST", host="posted.test", body=b"abc")
    assert (answer.status, answer.body) == (202, b"ok")
    assert (app.requests[0].method, app.requests[0].body) == ("PUT", b"abc")
    assert client.ask("/", "HEAD", host="posted.test").status == 202
    assert app.requests[1].method == "HEAD"


def test_answers_made_here_go_through_the_policies_too(client, app):
    for target, status in (("/refused", 503), ("/fixed", 200), ("/moved", 301), ("/lost", 502)):
        answer = client.ask(target, host="marked.test")
        assert (answer.status, answer.get("x-marked")) == (status, target[1:])
    assert client.ask("/none", host="marked.test").get("x-marked") is None


# ---- cors ----

def preflight(client, origin, host="cors.test", headers="x-token"):
    return client.ask("/", "OPTIONS", host=host, fields=[
        ("origin", origin), ("access-control-request-method", "PUT"),
        ("access-control-request-headers", headers)])


def test_preflight_is_answered_here_before_anybody_asks_who_it_is(client, app, auth):
    answer = preflight(client, "https://a.pages.test")
    assert (answer.status, answer.body) == (204, b"")
    assert {name.lower(): value for name, value in answer.fields
            if name.lower().startswith("access-")} == {
                "access-control-allow-origin": "https://a.pages.test",
                "access-control-allow-credentials": "true",
                "access-control-allow-methods": "GET, PUT",
                "access-control-allow-headers": "x-token",
                "access-control-max-age": "600",
                "access-control-expose-headers": "x-total"}
    vary = ", ".join(value for name, value in answer.fields if name.lower() == "vary")
    assert "origin" in vary and "access-control-request-headers" in vary
    refused = preflight(client, "https://pages.test")
    assert refused.status == 403
    assert refused.get("access-control-allow-origin") is None
    assert preflight(client, "https://x.test", "any.test", "x-a, x-b").get(
        "access-control-allow-headers") == "x-a, x-b"
    assert app.requests == [] and auth.requests == []


def test_answers_say_which_pages_may_read_them(client, app, auth):
    auth.handler = answer_each(response(), response(), response(status="401 No", length=True))
    app.handler = answer_each(response(fields=[
        "Access-Control-Allow-Origin: *", "Vary: Accept-Encoding"]))
    for origin, allowed, status in (("https://shop.test", "https://shop.test", 200),
                                    ("https://evil.test", None, 200),
                                    ("https://shop.test", "https://shop.test", 401)):
        answer = client.ask("/", host="cors.test", fields=[("origin", origin)])
        assert answer.status == status
        assert [value for name, value in answer.fields
                if name.lower() == "access-control-allow-origin"] == [allowed] * bool(allowed)
        assert "origin" in [value for name, value in answer.fields if name.lower() == "vary"]
    answer = client.ask("/", host="any.test", fields=[("origin", "https://x.test")])
    assert answer.get("access-control-allow-origin") == "*"
    assert answer.get("vary") == "Accept-Encoding"


def test_options_that_is_no_preflight_goes_on(client, app, auth):
    assert client.ask("/", "OPTIONS", host="any.test").status == 200
    assert app.requests[0].method == "OPTIONS"
