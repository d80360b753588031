"""Answers that are made here when something is wrong: complete, customisable by file, counted."""
import json
import os

import pytest

from lib.backend import RawBackend
from lib.daemon import NotReady, daemon
from lib.netns import BACKEND, SLUICE
from lib.wire import Wire, request

pytestmark = pytest.mark.one_engine

BACK = (BACKEND[0], 9350)
CLOSED = (BACKEND[0], 9351)
PAGES = {
    "404.html": "<h1>Nothing here</h1>\n",
    "5xx.json": '{"sorry": true}\n',
    "504.txt": "later\n",
    "4xx.htm": "<p>No.</p>",
    "empty.txt": "",
}
LIMITS = "limits: { header_bytes: 2KiB, uri_bytes: 256, body_bytes: 1KiB }, timeouts: { header: 1s }"
CONFIG = f"""
listeners:
  - {{ name: plain, address: "{SLUICE}:80", {LIMITS} }}
  - {{ name: pages, address: "{SLUICE}:81", {LIMITS},
      errors: {{ 404: pages/404.html, 5xx: pages/5xx.json, 504: pages/504.txt }} }}
upstreams:
  - {{ name: back, endpoints: [ "{BACK[0]}:{BACK[1]}" ] }}
  - {{ name: closed, endpoints: [ "{CLOSED[0]}:{CLOSED[1]}" ] }}
  - {{ name: slow, endpoints: [ "{BACK[0]}:{BACK[1]}" ], timeouts: {{ response: 100ms }} }}
routes:
  - {{ name: a, match: {{ hosts: [ a.test ] }}, proxy: {{ upstream: back }} }}
  - {{ name: get, match: {{ hosts: [ get.test ], methods: [ GET ] }}, proxy: {{ upstream: back }} }}
  - {{ name: closed, match: {{ hosts: [ closed.test ] }}, proxy: {{ upstream: closed }} }}
  - {{ name: slow, match: {{ hosts: [ slow.test ] }}, proxy: {{ upstream: slow }} }}
  - {{ name: own, match: {{ hosts: [ own.test ] }}, respond: {{ status: 404, body: mine }} }}
"""
NODE_PAGES = "  errors: { 4xx: pages/4xx.htm, 404: pages/empty.txt }\n"

ASKED = {
    # status: what is sent
    400: b"GET / HTTP/1.1\r\n\r\n",
    404: request(host="nowhere.test"),
    405: request(method="POST", host="get.test", body=b""),
    408: b"GET / HTTP/1.1\r\nHost: a.test\r\nX-",
    413: request(method="POST", host="a.test", fields=["Content-Length: 2000"]),
    414: request("/" + "u" * 300, host="a.test"),
    417: request(method="POST", host="a.test", fields=["Expect: x", "Content-Length: 0"]),
    421: request("https://a.test/", host="a.test"),
    431: request(host="a.test", fields=["X-Long: " + "v" * 4000]),
    501: request(method="TRACE", host="a.test"),
    502: request(host="closed.test"),
    504: request(host="slow.test"),
    505: b"GET / HTTP/1.7\r\nHost: a.test\r\n\r\n",
}
REASONS = {400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
           408: "Request Timeout", 413: "Content Too Large", 414: "URI Too Long",
           417: "Expectation Failed", 421: "Misdirected Request",
           431: "Request Header Fields Too Large", 501: "Not Implemented", 502: "Bad Gateway",
           504: "Gateway Timeout", 505: "HTTP Version Not Supported"}


def write_pages(sluice, pages):
    directory = sluice.directory / "pages"
    directory.mkdir(exist_ok=True)
    for name, text in pages.items():
        (directory / name).write_text(text)


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        write_pages(sluice, PAGES)
        sluice.configure(CONFIG)
        yield sluice.start()


@pytest.fixture
def backend(topology, node):
    """Never answers."""
    def silent(connection):
        connection.read_request()
        connection.wait_for_end()

    with RawBackend(topology, *BACK, handler=silent) as backend:
        yield backend


def answer(node, asked, port=80, method="GET"):
    with Wire(node.topology.connect("client", SLUICE, port)) as wire:
        wire.send(asked)
        return wire.read_response(method)


def test_every_status_has_an_answer_with_its_reason(node, backend):
    for status, asked in ASKED.items():
        got = answer(node, asked)
        assert got.start == f"HTTP/1.1 {status} {REASONS[status]}"
        assert got.get("content-type") == "text/plain"
        assert got.get("cache-control") == "no-store"
        assert got.body.startswith(f"{status} {REASONS[status]}: ".encode()), got.body
    assert answer(node, ASKED[405]).get("allow") == "GET"


ACCEPTS = {
    "application/json": True,
    "text/html, application/json;q=0.9": True,
    "APPLICATION/JSON": True,
    "application/json;q=0": False,
    "application/json; q=0.000, text/html": False,
    "application/jsonx": False,
    "text/html,*/*;q=0.8": False,
}


def test_who_accepts_json_gets_json(node):
    got = {}
    for accept in ACCEPTS:
        reply = answer(node, request(host="nowhere.test", fields=[f"Accept: {accept}"]))
        got[accept] = reply.get("content-type") == "application/json"
        if got[accept]:
            assert json.loads(reply.body)["status"] == 404
    assert got == ACCEPTS
    two = answer(node, request(host="nowhere.test", fields=["Accept: text/html",
                                                            "Accept: application/json"]))
    assert two.get("content-type") == "application/json"


def test_pages_are_taken_by_status_and_by_class(node, backend):
    """Refusals of the codec included; where there is none the built-in answer stays."""
    for status, asked in ASKED.items():
        got = answer(node, asked, port=81)
        assert got.status == status
        page = ("404.html" if status == 404 else "504.txt" if status == 504 else
                "5xx.json" if status >= 500 else None)
        kinds = {"html": "text/html; charset=utf-8", "txt": "text/plain; charset=utf-8",
                 "json": "application/json"}
        if page:
            assert (got.body.decode(), got.get("content-type")) == (
                PAGES[page], kinds[page.split(".")[1]])
        else:
            assert got.body.startswith(str(status).encode())


def test_page_wins_over_what_the_client_accepts(node):
    got = answer(node, request(host="nowhere.test", fields=["Accept: application/json"]), port=81)
    assert got.body.decode() == PAGES["404.html"]


def test_page_for_head_has_its_length_and_no_body(node):
    with Wire(node.topology.connect("client", SLUICE, 81)) as wire:
        for _ in range(2):
            got = wire.ask(method="HEAD", host="nowhere.test")
            assert (got.status, got.get("content-length")) == (404, str(len(PAGES["404.html"])))
        assert wire.ask(host="nowhere.test").body.decode() == PAGES["404.html"]


def test_answers_that_are_no_failures_have_no_page(node):
    assert answer(node, request(host="own.test"), port=81).body == b"mine"


def test_errors_are_counted_like_other_answers(node):
    before = node.route("get")["responses"]["4xx"], node.admin("/v1/status")["counters"]
    answer(node, ASKED[405])
    answer(node, ASKED[414])
    answer(node, ASKED[404])
    after = node.route("get")["responses"]["4xx"], node.admin("/v1/status")["counters"]
    assert after[1]["local_errors"] == before[1]["local_errors"] + 3
    assert after[1]["bad_requests"] == before[1]["bad_requests"] + 1
    assert after[1]["no_route"] == before[1]["no_route"] + 1


def test_pages_of_the_node_are_for_listeners_without_one_of_their_own(node):
    node.configure(NODE_PAGES + CONFIG)
    node.reload()
    try:
        rows = {(80, 404): "empty.txt", (80, 400): "4xx.htm", (81, 404): "404.html",
                (81, 400): "4xx.htm", (81, 501): "5xx.json"}
        for (port, status), page in rows.items():
            assert answer(node, ASKED[status], port=port).body.decode() == PAGES[page]
        assert answer(node, ASKED[501]).body.startswith(b"501 ")
    finally:
        node.configure(CONFIG)
        node.reload()


def test_pages_are_read_anew_by_reload_and_not_before(node):
    write_pages(node, {"404.html": "<h1>Other</h1>"})
    try:
        assert answer(node, ASKED[404], port=81).body.decode() == PAGES["404.html"]
        node.reload()
        assert answer(node, ASKED[404], port=81).body == b"<h1>Other</h1>"
        (node.directory / "pages" / "404.html").unlink()
        done = node.cli("config", "reload")
        assert done.returncode != 0 and "404.html" in done.stderr
        assert answer(node, ASKED[404], port=81).body == b"<h1>Other</h1>"
    finally:
        write_pages(node, PAGES)
        node.reload()


def test_page_that_the_daemons_user_cannot_read_is_told_at_start(sluice):
    write_pages(sluice, PAGES)
    os.chmod(sluice.directory / "pages" / "404.html", 0o600)
    sluice.configure(CONFIG)
    with pytest.raises(NotReady, match="404.html: user 'nobody' cannot read it"):
        sluice.start()
