"""Requests and answers pass through as HTTP says: methods, framing, keep-alive, 1xx, trailers."""
import random

import pytest

from lib import lanes
from lib.backend import answer_each, messages_in
from lib.netns import CLIENT, SLUICE, SLUICE6
from lib.programs import start_nginx
from lib.wire import Closed, chunk, chunks, framing_of, request, response


def test_get_passes_and_its_answer_comes_back(lane):
    lane.backend.handler = answer_each(response(b"hello", fields=["X-From: backend"]))
    answer = lane.ask("/a/b?c=d%20e&f")
    assert (answer.status, answer.body, answer.get("x-from")) == (200, b"hello", "backend")
    seen = lane.backend.requests[0]
    assert seen.start == "GET /a/b?c=d%20e&f HTTP/1.1"
    assert seen.all("host") == [lane.host]


def test_get_over_ipv6_passes(lane):
    wire = lane.connect(SLUICE6)
    assert wire.ask(host=lane.host).status == 200


def test_head_has_the_length_of_the_answer_and_no_body(lane):
    lane.backend.handler = answer_each(
        b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", response(b"next"))
    wire = lane.connect()
    answer = wire.ask(method="HEAD", host=lane.host)
    assert (answer.status, answer.get("content-length"), answer.body) == (200, "12345", b"")
    # The connection is in step: nothing was taken for a body, on either side.
    assert wire.ask(host=lane.host).body == b"next"
    assert [seen.method for seen in lane.backend.requests] == ["HEAD", "GET"]
    assert len(lane.backend.connections) == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE"])
def test_body_of_any_method_passes(lane, method):
    body = bytes(range(256)) * 100
    assert lane.ask("/in", method, body=body).status == 200
    seen = lane.backend.requests[0]
    assert (seen.method, seen.body) == (method, body)


def test_post_without_a_body_arrives_without_one(lane):
    assert lane.ask("/in", "POST", body=b"").status == 200
    seen = lane.backend.requests[0]
    assert (seen.body, framing_of(seen)) in ((b"", 0), (b"", None))


def test_connections_are_kept_on_both_sides(lane):
    wire = lane.connect()
    for turn in range(50):
        assert wire.ask(f"/{turn}", host=lane.host).status == 200
    assert len(lane.backend.connections) == 1
    assert len(lane.backend.requests) == 50


def test_connection_close_of_the_client_is_honoured(lane):
    wire = lane.connect()
    answer = wire.ask(fields=["Connection: close"], host=lane.host)
    assert answer.status == 200
    assert [value.lower() for value in answer.all("connection")] == ["close"]
    assert wire.is_closed()


def test_connection_close_of_the_backend_is_not_the_clients(lane):
    def handler(connection):
        connection.read_request()
        connection.send(response(b"last", fields=["Connection: close"]))

    lane.backend.handler = handler
    wire = lane.connect()
    for turn in range(3):
        assert wire.ask(f"/{turn}", host=lane.host).body == b"last"
    assert len(lane.backend.connections) == 3


def test_pipelined_requests_are_answered_in_order(lane):
    def handler(connection):
        while True:
            seen = connection.read_request()
            connection.send(response(seen.target.encode() + b" " + seen.body))

    lane.backend.handler = handler
    asked, expected = b"", []
    for turn in range(40):
        if turn % 3 == 1:
            body = b"b" * turn * 50
            asked += request(f"/{turn}", "POST", body=body, host=lane.host)
            expected.append(b"/%d " % turn + body)
        elif turn % 3 == 2:
            asked += request(f"/{turn}", "PUT", ["Transfer-Encoding: chunked"], host=lane.host)
            asked += chunks(b"c" * turn, [7])
            expected.append(b"/%d " % turn + b"c" * turn)
        else:
            asked += request(f"/{turn}", host=lane.host)
            expected.append(b"/%d " % turn)
    wire = lane.connect()
    with wire.sending([asked]):
        assert [wire.read_response().body for _ in expected] == expected


def test_request_that_arrives_byte_by_byte_is_understood(lane):
    asked = request("/slow", "POST", ["Transfer-Encoding: chunked", "X-A: b"], host=lane.host)
    asked += chunks(b"0123456789", [3])
    wire = lane.connect()
    wire.send(*(asked[at:at + 1] for at in range(len(asked))))
    assert wire.read_response().status == 200
    assert lane.backend.requests[0].body == b"0123456789"


def test_answer_that_arrives_byte_by_byte_is_understood(lane):
    def handler(connection):
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abcdef", [4])
        while True:
            connection.read_request()
            connection.send(*(answer[at:at + 1] for at in range(len(answer))))

    lane.backend.handler = handler
    wire = lane.connect()
    assert wire.ask(host=lane.host).body == b"abcdef"
    assert wire.ask(host=lane.host).body == b"abcdef"


def test_chunked_request_keeps_its_bytes(lane):
    body = random.Random(1).randbytes(300_000)
    wire = lane.connect()
    asked = request("/in", "POST", ["Transfer-Encoding: chunked"], host=lane.host)
    with wire.sending([asked, chunks(body, [1, 10, 1000, 40000])]):
        assert wire.read_response().status == 200
    assert lane.backend.requests[0].body == body


def test_chunked_answer_keeps_its_bytes(lane):
    body = random.Random(2).randbytes(300_000)
    lane.backend.handler = answer_each(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(body, [3, 50000]))
    wire = lane.connect()
    for _ in range(2):
        answer = wire.ask(host=lane.host)
        assert answer.chunked and answer.body == body


def test_empty_chunked_bodies_pass_both_ways(lane):
    lane.backend.handler = answer_each(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    wire = lane.connect()
    for _ in range(2):
        wire.send(request("/", "POST", ["Transfer-Encoding: chunked"], host=lane.host),
                  b"0\r\n\r\n")
        assert wire.read_response().body == b""
    assert [seen.body for seen in lane.backend.requests] == [b"", b""]


def test_answer_until_close_ends_cleanly_for_a_client_of_1_1(lane):
    def handler(connection):
        connection.read_request()
        connection.send(response(b"x" * 100_000, length=False))

    lane.backend.handler = handler
    wire = lane.connect()
    for _ in range(2):  # the client's connection outlives the backend's
        answer = wire.ask(host=lane.host)
        assert answer.chunked and answer.body == b"x" * 100_000


# -- HTTP/1.0

def test_client_of_1_0_gets_no_chunks(lane):
    lane.backend.handler = answer_each(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks(b"abc" * 100, [50]))
    wire = lane.connect()
    wire.send(request("/old", host=lane.host, version="HTTP/1.0"))
    answer = wire.read_response()
    assert answer.all("transfer-encoding") == []
    assert answer.body == b"abc" * 100
    assert wire.is_closed()
    assert lane.backend.requests[0].version == "HTTP/1.1"


def test_client_of_1_0_is_closed_after_its_answer(lane):
    wire = lane.connect()
    wire.send(request("/old", host=lane.host, version="HTTP/1.0"))
    assert wire.read_response().body == b"ok"
    assert wire.is_closed()


def test_client_of_1_0_with_keep_alive_is_told_what_becomes_of_its_connection(lane):
    wire = lane.connect()
    wire.send(request("/old", fields=["Connection: keep-alive"], host=lane.host,
                      version="HTTP/1.0"))
    answer = wire.read_response()
    assert answer.body == b"ok"
    if "keep-alive" in (answer.get("connection") or "").lower():
        wire.send(request("/old", host=lane.host, version="HTTP/1.0"))
        assert wire.read_response().body == b"ok"
    assert wire.is_closed()


def test_backend_of_1_0_is_not_reused_unless_it_says_so(lane):
    def handler(connection):
        connection.read_request()
        connection.send(response(b"old", version="HTTP/1.0"))

    lane.backend.handler = handler
    wire = lane.connect()
    for _ in range(3):
        answer = wire.ask(host=lane.host)
        assert (answer.body, answer.start[:8]) == (b"old", "HTTP/1.1")
    assert len(lane.backend.connections) == 3


def test_backend_of_1_0_with_keep_alive_is_reused(lane):
    lane.backend.handler = answer_each(
        response(b"kept", fields=["Connection: keep-alive"], version="HTTP/1.0"))
    wire = lane.connect()
    assert [wire.ask(host=lane.host).body for _ in range(3)] == [b"kept"] * 3
    assert len(lane.backend.connections) == 1


# -- 1xx and Expect

def test_early_hints_are_forwarded_before_the_answer(lane):
    lane.backend.handler = answer_each(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + response(b"page"))
    wire = lane.connect()
    for _ in range(2):
        answer = wire.ask(host=lane.host)
        assert [(early.status, early.get("link")) for early in answer.informational] == [
            (103, "</a.css>; rel=preload")]
        assert answer.body == b"page"


def test_1xx_is_not_sent_to_a_client_of_1_0(lane):
    lane.backend.handler = answer_each(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + response(b"page"))
    wire = lane.connect()
    wire.send(request("/", host=lane.host, version="HTTP/1.0"))
    answer = wire.read_response()
    assert (answer.status, answer.informational, answer.body) == (200, [], b"page")


def test_expect_100_continue_is_answered_before_the_body_is_sent(lane):
    def handler(connection):
        head = connection.read_head()
        if head.get("expect"):
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.read_body(head, framing_of(head))
        connection.send(response(head.body))

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request("/in", "POST", ["Expect: 100-continue", "Content-Length: 5"],
                      host=lane.host))
    assert wire.read_head().start.startswith("HTTP/1.1 100 ")
    wire.send(b"hello")
    answer = wire.read_response()
    assert (answer.status, answer.body) == (200, b"hello")


def test_expect_of_a_client_that_does_not_wait_does_no_harm(lane):
    wire = lane.connect()
    for turn in range(2):
        wire.send(request(f"/{turn}", "POST", ["Expect: 100-continue"], body=b"hello",
                          host=lane.host))
        assert wire.read_response().status == 200
    assert [seen.body for seen in lane.backend.requests] == [b"hello"] * 2


# -- answers without a body

@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answer_that_never_has_a_body_leaves_both_connections_in_step(lane, status):
    lane.backend.handler = answer_each(response(status=status, body=b"", length=False,
                                                fields=["ETag: \"1\""]), response(b"next"))
    wire = lane.connect()
    answer = wire.ask(host=lane.host)
    assert (answer.status, answer.get("etag"), answer.body) == (int(status[:3]), '"1"', b"")
    assert answer.all("transfer-encoding") == []
    assert wire.ask(host=lane.host).body == b"next"
    assert len(lane.backend.connections) == 1


# -- trailers

TRAILED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
TRAILED += chunk(b"data") + b"0\r\nX-Sum: 42\r\nX-Other: v\r\n%s\r\n"
FORBIDDEN = (b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\nHost: evil.test\r\n"
             b"Authorization: Basic eA==\r\nSet-Cookie: a=b\r\nCookie: a=b\r\n"
             b"Content-Type: text/evil\r\nConnection: close\r\nTE: trailers\r\n")
FORBIDDEN_NAMES = {line.partition(b":")[0].decode().lower()
                   for line in FORBIDDEN.split(b"\r\n") if line}


def test_hardening_5_trailers_are_dropped_by_default(lane):
    lane.backend.handler = answer_each(TRAILED % b"")
    wire = lane.connect()
    wire.send(request("/t", "POST", ["Transfer-Encoding: chunked", "TE: trailers",
                                     "Trailer: X-Sum"], host=lane.host),
              chunk(b"up") + b"0\r\nX-Sum: 7\r\n\r\n")
    answer = wire.read_response()
    assert (answer.body, answer.trailers, answer.all("trailer")) == (b"data", [], [])
    seen = lane.backend.requests[0]
    assert (seen.body, seen.trailers, seen.get("x-sum")) == (b"up", [], None)
    assert wire.ask(host=lane.host).body == b"data"


def test_hardening_5_trailers_are_filtered_where_a_route_forwards_them(lane):
    lane.backend.handler = answer_each(TRAILED % FORBIDDEN)
    wire = lane.connect()
    wire.send(request("/t", "POST", ["Transfer-Encoding: chunked", "TE: trailers"],
                      host=lane.trail_host),
              chunk(b"up") + b"0\r\nX-Sum: 7\r\n" + FORBIDDEN + b"\r\n")
    answer = wire.read_response()
    assert answer.body == b"data"
    assert [(name.lower(), value) for name, value in answer.trailers] == [
        ("x-sum", "42"), ("x-other", "v")]
    seen = lane.backend.requests[0]
    assert [(name.lower(), value) for name, value in seen.trailers] == [("x-sum", "7")]
    assert not FORBIDDEN_NAMES & {name.lower() for name, _ in answer.trailers + seen.trailers}


# -- fields

def test_hop_by_hop_fields_end_here(lane):
    lane.backend.handler = answer_each(response(
        fields=["Connection: x-hop-down", "X-Hop-Down: 1", "Keep-Alive: timeout=5", "X-Stay: 1"]))
    answer = lane.ask(fields=["Connection: keep-alive, X-Hop-Up", "X-Hop-Up: 1",
                              "Keep-Alive: timeout=9", "Proxy-Connection: close",
                              "TE: trailers", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk",
                              "Proxy-Authorization: Basic eA==", "X-Stay: 2"])
    seen = lane.backend.requests[0]
    for gone in ("x-hop-up", "keep-alive", "proxy-connection", "upgrade", "http2-settings",
                 "proxy-authorization"):
        assert seen.all(gone) == [], gone
    assert seen.get("x-stay") == "2"
    assert answer.all("x-hop-down") == [] and answer.all("keep-alive") == []
    assert answer.get("x-stay") == "1"


def test_repeated_fields_keep_their_order_and_spelling(lane):
    lane.backend.handler = answer_each(response(fields=["Set-Cookie: a=1", "X-Odd_Name: v",
                                                        "Set-Cookie: b=2"]))
    answer = lane.ask(fields=["Accept: a", "X-Tag: 1", "Accept: b", "X-Tag:   2  ", "X-Empty:"])
    assert answer.all("set-cookie") == ["a=1", "b=2"]
    assert answer.all("x-odd_name") == ["v"]
    seen = lane.backend.requests[0]
    assert (seen.all("accept"), seen.all("x-tag"), seen.all("x-empty")) == (
        ["a", "b"], ["1", "2"], [""])


def test_hardening_19_forwarding_fields_of_a_client_are_replaced(lane):
    lane.ask(fields=["X-Forwarded-For: 1.2.3.4", "x-forwarded-for: 5.6.7.8",
                     "Forwarded: for=1.2.3.4", "X-Real-IP: 1.2.3.4",
                     "X-Forwarded-Proto: https", "X-Forwarded-Host: evil.test",
                     "X-Forwarded-Port: 443"])
    seen = lane.backend.requests[0]
    assert not [field for field in seen.fields if "1.2.3.4" in field[1] or "5.6.7.8" in field[1]]
    assert not [field for field in seen.fields if "evil" in field[1]]
    assert seen.all("x-forwarded-for") in ([CLIENT[0]], [])
    assert seen.all("x-forwarded-proto") in (["http"], [])


# -- real programs

def test_nginx_serves_through_the_proxy(house, topology):
    big = random.Random(3).randbytes(3_000_000)
    files = {"small.txt": b"hello\n", "big.bin": big, "empty": b""}
    directory = house.directory / "nginx"
    out = house.directory / "out.bin"

    def curl(*args):
        return topology.run("client", "curl", "-sS", "-H", "Host: nginx.test", *args).stdout

    with start_nginx(topology, directory, *lanes.NGINX, files):
        url = f"http://{SLUICE}"
        for name, data in files.items():
            curl("-f", "-o", str(out), f"{url}/{name}")
            assert out.read_bytes() == data, name
        status = curl("-r", "100-199", "-o", str(out), "-w", "%{http_code}", f"{url}/big.bin")
        assert (status, out.read_bytes()) == ("206", big[100:200])
        assert f"content-length: {len(big)}" in curl("-fI", f"{url}/big.bin").lower()
        assert curl("-o", "/dev/null", "-w", "%{http_code}", f"{url}/missing") == "404"


def test_what_the_backend_gets_is_well_framed(lane):
    """The recorder that the hardening tests rely on sees every byte."""
    wire = lane.connect()
    for turn in range(5):
        wire.send(request(f"/{turn}", "POST", ["Transfer-Encoding: chunked"], host=lane.host),
                  chunks(b"x" * turn * 1000, [100]))
        wire.read_response()
    complete, rest = messages_in(bytes(lane.backend.connections[0].record))
    assert ([seen.target for seen in complete], rest) == ([f"/{turn}" for turn in range(5)], b"")


def test_stray_bytes_instead_of_a_request_never_reach_the_backend(lane):
    wire = lane.connect()
    wire.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
    try:
        assert wire.read_response().status == 400
    except Closed:
        pass
    assert lane.backend.connections == []
