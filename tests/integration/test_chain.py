"""Policies that answer, change heads and bodies, or ask somebody, under HTTP/1 and HTTP/2."""
import pytest

from lib.backend import RawBackend, answer_each
from lib.daemon import daemon
from lib.http2 import Http2
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
routes:
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
    """ask(target, method, host, fields, body), fields in pairs; get() of its answers knows no case."""
    sock = topology.connect("client", SLUICE, 80)
    if request.param == "http2":
        yield Http2(sock)
        sock.close()
        return
    with Wire(sock) as wire:
        ask = wire.ask
        wire.ask = lambda *args, fields=(), **more: ask(
            *args, fields=[f"{name}: {value}" for name, value in fields], **more)
        yield wire


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
