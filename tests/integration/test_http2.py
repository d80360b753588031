"""HTTP/2 in clear text, by prior knowledge, in front of backends that speak HTTP/1."""
import threading

import pytest

from h2.errors import ErrorCodes
from lib import lanes
from lib.backend import answer_each
from lib.http2 import PREFACE, Http2, frame
from lib.netns import SLUICE
from lib.programs import start_nginx
from lib.wire import chunk, response


@pytest.fixture
def h2(lane):
    return Http2(lane.connect().sock)


def connect(lane, port=lanes.PORT, **kwargs):
    return Http2(lane.connect(port=port).sock, **kwargs)


def test_get_passes_and_its_answer_comes_back(lane, h2):
    lane.backend.handler = answer_each(
        response(b"hello", fields=["X-From: Backend", "Connection: X-Hop", "X-Hop: 1"]))
    answer = h2.ask("/a/b?c=d%20e&f", host=lane.host, fields=[("x-mine", "1")])
    assert (answer.status, answer.body, answer.get("x-from")) == (200, b"hello", "Backend")
    assert answer.get("content-length") == "5"
    assert answer.get("connection") is None and answer.get("x-hop") is None
    seen = lane.backend.requests[0]
    assert seen.start == "GET /a/b?c=d%20e&f HTTP/1.1"
    assert seen.all("host") == [lane.host]
    assert seen.get("x-mine") == "1"
    assert seen.get("via") == "2 sluice"
    assert seen.get("x-forwarded-proto") == "http"


def test_http1_and_http2_share_a_listener_and_its_first_bytes_may_come_one_by_one(lane):
    assert lane.ask("/one").status == 200
    sock = lane.connect().sock
    whole = PREFACE + frame(4) + frame(1, 1, bytes.fromhex("8286") + b"\x44\x01/\x41" +
                                       bytes((len(lane.host),)) + lane.host.encode(), 5)
    for at in range(len(whole)):
        sock.sendall(whole[at:at + 1])
    lane.backend.wait_for_requests(2)
    sock.close()
    # What only looks like the preface for a while is a request of HTTP/1, and a bad one.
    wire = lane.connect()
    wire.send(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n")
    assert wire.read_response().status == 505


def test_many_streams_at_once_are_answered_in_any_order(lane, h2):
    gate = threading.Event()

    def handle(connection):
        while True:
            seen = connection.read_request()
            if seen.target == "/slow":
                gate.wait(20)
            connection.send(response(seen.target.encode()))

    lane.backend.handler = handle
    slow = h2.start("/slow", host=lane.host)
    others = [h2.start(f"/{number}", host=lane.host) for number in range(60)]
    for number, stream in enumerate(others):
        assert h2.wait(stream).body == f"/{number}".encode()
    assert not h2.answers[slow].over
    gate.set()
    assert h2.wait(slow).body == b"/slow"


@pytest.mark.parametrize("size", [0, 1, 70_000, 5_000_000])
def test_bodies_pass_both_ways_whole(lane, h2, rng, size):
    body = rng.randbytes(size)

    def handle(connection):
        while True:
            seen = connection.read_request()
            connection.send(response(seen.body))

    lane.backend.handler = handle
    answer = h2.ask("/echo", "POST", lane.host, [("content-length", str(size))], body)
    assert (answer.status, answer.body) == (200, body)
    assert lane.backend.requests[0].get("content-length") == str(size)
    unknown = h2.ask("/echo", "POST", lane.host, body=body)
    assert unknown.body == body
    assert lane.backend.requests[1].get("transfer-encoding") == "chunked"


def test_chunks_with_trailers_become_data_with_trailers_and_back(lane, h2):
    def handle(connection):
        seen = connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(b"ab"),
                        chunk(b"cd"), b"0\r\nX-Sum: 7\r\nContent-Length: 9\r\n\r\n")
        assert seen.trailers == [("x-check", "1")]

    lane.backend.handler = handle
    stream = h2.start("/t", "POST", lane.trail_host, end=False)
    h2.data(stream, b"body")
    h2.h2.send_headers(stream, [("x-check", "1"), ("authorization", "no")], end_stream=True)
    h2.flush()
    answer = h2.wait(stream)
    assert (answer.body, answer.trailers) == (b"abcd", [("x-sum", "7")])


def test_nghttp_sends_and_gets_trailers(lane, topology, tmp_path):
    def handle(connection):
        seen = connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(seen.body),
                        b"0\r\nX-Sum: 7\r\n\r\n")

    lane.backend.handler = handle
    (tmp_path / "body").write_bytes(b"body")
    got = topology.run("client", "nghttp", "-v", "-d", str(tmp_path / "body"), "--trailer",
                       "x-check: 1", "--no-content-length", "-H",
                       f":authority: {lane.trail_host}", f"http://{SLUICE}/t")
    assert "x-sum: 7" in got.stdout and "body" in got.stdout, got.stdout
    assert lane.backend.requests[0].trailers == [("x-check", "1")]


@pytest.mark.parametrize("method, head, length", [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n", "12345"),
    ("GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
    ("GET", b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n", None),
])
def test_answers_without_a_body_end_with_their_head(lane, h2, method, head, length):
    lane.backend.handler = answer_each(head, response(b"next"))
    answer = h2.ask("/", method, lane.host)
    assert (answer.status, answer.body) == (int(head.split()[1]), b"")
    assert answer.get("content-length") == length
    assert h2.ask("/", host=lane.host).body == b"next"
    assert len(lane.backend.connections) == 1


def test_interim_answers_pass(lane, h2):
    lane.backend.handler = answer_each(
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + response())
    answer = h2.ask("/", host=lane.host)
    assert [status for status, _ in answer.informational] == [103, 100]
    assert answer.informational[0][1] == [("link", "</a>")]
    assert answer.status == 200


def test_crumbs_of_a_cookie_are_one_field_for_http1(lane, h2):
    h2.ask("/", host=lane.host, fields=[("cookie", "a=1"), ("x-between", "y"), ("cookie", "b=2"),
                                        ("cookie", "c=3")])
    seen = lane.backend.requests[0]
    assert seen.all("cookie") == ["a=1; b=2; c=3"]
    assert seen.get("x-between") == "y"


def test_a_reader_that_stops_one_stream_holds_its_backend_and_no_other_stream(lane):
    size = 40 << 20
    sent = []

    def handle(connection):
        while True:
            seen = connection.read_request()
            if seen.target != "/large":
                connection.send(response(b"small"))
                continue
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for _ in range(size >> 16):
                connection.send(b"x" * 65536)
                sent.append(65536)

    lane.backend.handler = handle
    # The stream's window is 64 KiB and stays so; the connection's is never the limit.
    h2 = connect(lane, acknowledge=False)
    h2.h2.increment_flow_control_window(1 << 24)
    h2.flush()
    large = h2.start("/large", host=lane.host)
    for _ in range(30):
        assert h2.ask("/", host=lane.host).body == b"small"
    assert len(h2.answers[large].body) == 65535
    held = sum(sent)
    assert held < size // 2, "the backend was not held"
    h2.acknowledge = True
    h2.h2.acknowledge_received_data(65535, large)
    h2.flush()
    assert len(h2.wait(large).body) == size


def test_a_backend_that_does_not_read_holds_the_client_by_its_window(lane):
    gate = threading.Event()
    size = 8 << 20

    def handle(connection):
        head = connection.read_head()
        gate.wait(30)
        connection._take(size)
        connection.send(response(head[0].encode() if isinstance(head, tuple) else b"read"))

    lane.backend.handler = handle
    h2 = connect(lane)
    stream = h2.start("/up", "POST", lane.host, [("content-length", str(size))], end=False)
    sent = 0
    while sent < size:
        room = min(h2.h2.local_flow_control_window(stream), 16384)
        if not room:
            # Everything that could be said was said: no window comes before the backend reads.
            if h2.is_alive() and not h2.h2.local_flow_control_window(stream):
                break
            continue
        h2.h2.send_data(stream, b"y" * room)
        sent += room
        h2.flush()
    assert sent < size, "nothing held the client"
    gate.set()
    h2.data(stream, b"y" * (size - sent), end=True)
    assert h2.wait(stream).status == 200


def test_a_stream_that_the_client_resets_ends_its_call_and_no_other(lane, h2):
    arrived = threading.Event()

    def handle(connection):
        while True:
            seen = connection.read_request()
            if seen.target == "/gone":
                arrived.set()
                connection.wait_for_end()
                return
            connection.send(response())

    lane.backend.handler = handle
    gone = h2.start("/gone", host=lane.host)
    assert arrived.wait(20)
    h2.h2.reset_stream(gone, ErrorCodes.CANCEL)
    h2.flush()
    lane.backend.wait_until_idle()
    assert h2.ask("/", host=lane.host).status == 200


def test_an_answer_that_is_cut_resets_its_stream_and_no_other(lane, h2):
    def handle(connection):
        seen = connection.read_request()
        if seen.target == "/cut":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        else:
            connection.send(response())

    lane.backend.handler = handle
    answer = h2.ask("/cut", host=lane.host)
    assert (answer.reset, answer.ended) == (ErrorCodes.INTERNAL_ERROR, False)
    assert h2.ask("/", host=lane.host).status == 200


def test_an_answer_before_the_end_of_the_request_is_whole_and_then_the_stream_is_reset(lane, h2):
    lane.backend.handler = lambda connection: (connection.read_head(),
                                               connection.send(response(b"no", "403 Forbidden")),
                                               connection.wait_for_end())
    stream = h2.start("/", "POST", lane.host, end=False)
    h2.data(stream, b"begin")
    answer = h2.wait(stream)
    assert (answer.status, answer.body) == (403, b"no")
    assert h2.is_alive()


def test_settings_say_what_we_allow(lane, h2):
    assert h2.is_alive()
    assert h2.settings[3] == 128  # MAX_CONCURRENT_STREAMS
    assert h2.settings[8] == 1  # extended CONNECT
    assert h2.settings[6] == 32 * 1024  # header list


def test_curl_nghttp_and_h2load_are_served(topology, house, tmp_path):
    content = bytes(range(256)) * 4000
    url = f"http://{SLUICE}/large.bin"
    with start_nginx(topology, tmp_path / "nginx", *lanes.NGINX, {"large.bin": content}):
        got = topology.run("client", "curl", "-sS", "--http2-prior-knowledge", "-H",
                           "Host: nginx.test", "-o", str(tmp_path / "got"), "-w",
                           "%{http_code} %{http_version}", url)
        assert got.stdout == "200 2"
        assert (tmp_path / "got").read_bytes() == content
        got = topology.run("client", "nghttp", "-ns", "-H", ":authority: nginx.test", url)
        assert " 200 " in got.stdout
        got = topology.run("client", "h2load", "-n", "400", "-c", "4", "-m", "10", "-H",
                           ":authority: nginx.test", url)
        assert "400 succeeded, 0 failed" in got.stdout, got.stdout
