"""Peers that leave, stall, refuse or ask for too much: what the other side sees."""
import json
import threading

import pytest

from lib.backend import answer_each
from lib.lanes import SHORT_PORT, SMALL_BODY, SMALL_PORT
from lib.wait import wait_until
from lib.wire import Closed, Truncated, chunk, chunks, request, response

BLOCK = b"z" * 65536


def counter(lane, name):
    return lane.sluice.admin("/v1/status")["counters"][name]


# -- clients that leave

@pytest.mark.parametrize("how", ["close", "reset"])
def test_client_that_leaves_during_its_answer_closes_the_upstream_connection(lane, how):
    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            connection.send(BLOCK)

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request(host=lane.host))
    wire.read_response_head()
    wire.close() if how == "close" else wire.reset()
    lane.backend.wait_until_idle()


def test_client_that_leaves_during_its_request_closes_the_upstream_connection(lane):
    lane.backend.handler = lambda connection: connection.wait_for_end()
    wire = lane.connect()
    wire.send(request(method="POST", fields=["Content-Length: 1000"], host=lane.host), b"x" * 10)
    lane.backend.wait_for_connections(1)
    wire.reset()
    lane.backend.wait_until_idle()


def test_client_that_shuts_down_its_side_inside_a_request_gets_no_success(lane):
    wire = lane.connect()
    wire.send(request(method="POST", fields=["Content-Length: 1000"], host=lane.host), b"x" * 10)
    wire.end()
    try:
        assert wire.read_response().status == 400
    except Truncated:
        pass
    lane.backend.wait_until_idle()
    assert lane.backend.requests == []


# -- backends that leave

def short_of(kind):
    if kind == "length":
        return b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 500
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x" * 500)


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("kind", ["length", "chunked", "inside-chunk"])
def test_answer_that_breaks_off_never_looks_complete(lane, kind, how):
    may_end = threading.Event()

    def handler(connection):
        connection.read_request()
        connection.send(short_of(kind) + (b"10\r\nabc" if kind == "inside-chunk" else b""))
        may_end.wait(20)  # until the client has the first part: a reset would discard it
        connection.reset() if how == "reset" else connection.close()

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request(host=lane.host))
    head = wire.read_response_head()
    may_end.set()
    with pytest.raises(Truncated):
        wire.read_response_body(head)


def test_answer_until_close_that_ends_in_a_reset_never_looks_complete(lane):
    may_end = threading.Event()

    def handler(connection):
        connection.read_request()
        connection.send(response(b"x" * 500, length=False))
        may_end.wait(20)
        connection.reset()

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request(host=lane.host))
    head = wire.read_response_head()
    may_end.set()
    with pytest.raises(Truncated):
        wire.read_response_body(head)


def test_backend_that_closes_instead_of_answering_gives_502(lane):
    lane.backend.handler = lambda connection: connection.read_request() and None
    wire = lane.connect()
    for _ in range(2):  # the client's connection lives on
        assert wire.ask("/", "POST", body=b"x", host=lane.host).status == 502
    assert len(lane.backend.requests) == 2


def test_backend_that_breaks_off_inside_the_head_gives_502(lane):
    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Le")

    lane.backend.handler = handler
    assert lane.ask().status == 502


def test_refused_connection_gives_502(lane):
    lane.backend.stop_listening()
    wire = lane.connect()
    for _ in range(2):
        assert wire.ask(host=lane.host).status in (502, 503)
    assert lane.sluice.endpoint(lane.name)["connect_failures"] >= 2


def test_backend_that_does_not_answer_in_time_gives_504(lane):
    def handler(connection):
        connection.read_request()
        connection.wait_for_end()

    lane.backend.handler = handler
    answer = lane.ask(host=lane.hasty_host)
    assert answer.status == 504
    lane.backend.wait_until_idle()


def test_backend_that_stalls_inside_its_answer_is_given_up(lane):
    def handler(connection):
        connection.read_request()
        connection.send(short_of("length"))
        connection.wait_for_end()

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request(host=lane.hasty_host))
    with pytest.raises(Truncated):
        wire.read_response()
    lane.backend.wait_until_idle()


# -- connections that died in the pool

def dies_at_second_request(connection):
    """Answers its first request, takes the second and is gone."""
    first = connection.read_request()
    connection.send(response(b"" if first.method == "HEAD" else b"first"))
    connection.read_request()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_kept_connection_that_was_dead_costs_an_idempotent_request_one_retry(lane, method):
    lane.backend.handler = dies_at_second_request
    wire = lane.connect()
    assert wire.ask("/1", host=lane.host).status == 200
    answer = wire.ask("/2", method, host=lane.host)
    assert answer.status == 200
    assert [seen.target for seen in lane.backend.requests] == ["/1", "/2", "/2"]
    assert len(lane.backend.connections) == 2


def test_kept_connection_that_was_dead_is_no_reason_to_send_a_post_again(lane):
    lane.backend.handler = dies_at_second_request
    wire = lane.connect()
    assert wire.ask("/1", host=lane.host).status == 200
    assert wire.ask("/2", "POST", body=b"x", host=lane.host).status == 502
    assert [seen.target for seen in lane.backend.requests] == ["/1", "/2"]


def test_request_is_sent_again_only_once(lane):
    def handler(connection):
        if connection.number == 0:
            dies_at_second_request(connection)
        else:
            connection.read_request()

    lane.backend.handler = handler
    wire = lane.connect()
    assert wire.ask("/1", host=lane.host).status == 200
    assert wire.ask("/2", host=lane.host).status == 502
    assert [seen.target for seen in lane.backend.requests] == ["/1", "/2", "/2"]


def test_request_on_a_new_connection_is_not_sent_again(lane):
    lane.backend.handler = lambda connection: connection.read_request() and None
    assert lane.ask("/once").status == 502
    assert len(lane.backend.requests) == 1


def test_answer_that_has_begun_is_never_asked_for_again(lane):
    def handler(connection):
        connection.read_request()
        connection.send(response(b"first"))
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    lane.backend.handler = handler
    wire = lane.connect()
    wire.ask("/1", host=lane.host)
    wire.send(request("/2", host=lane.host))
    with pytest.raises(Truncated):
        wire.read_response()
    assert len(lane.backend.requests) == 2


def test_kept_connection_that_the_backend_closed_is_left_alone(lane):
    def handler(connection):
        connection.read_request()
        connection.send(response(b"bye"))

    lane.backend.handler = handler
    wire = lane.connect()
    wire.ask("/1", host=lane.host)
    wait_until(lambda: lane.sluice.endpoint(lane.name)["connections"]["open"] == 0,
               "the pool let go of the closed connection")
    assert wire.ask("/2", "POST", body=b"x", host=lane.host).status == 200


def test_idle_connections_to_a_backend_are_closed_in_time(lane):
    wire = lane.connect()
    assert wire.ask(host=lane.hasty_host).status == 200
    lane.backend.wait_until_idle()


# -- time

def test_hardening_15_header_that_never_ends_is_given_up(lane):
    before = counter(lane, "header_timeouts")
    wire = lane.connect(port=SHORT_PORT)
    wire.send(b"GET / HTTP/1.1\r\nHost: " + lane.host.encode() + b"\r\nX-")
    try:
        assert wire.read_response().status == 408
    except Truncated:
        pass
    assert wire.is_closed()
    assert lane.backend.connections == []
    assert counter(lane, "header_timeouts") == before + 1


def test_hardening_15_dripping_bytes_do_not_extend_the_header_timeout(lane):
    wire = lane.connect(port=SHORT_PORT, timeout_s=0.1)
    wire.send(b"GET / HTTP/1.1\r\nHost: " + lane.host.encode() + b"\r\nX-Slow: ")
    dripped = 0

    def over():
        """A byte every tenth of a second, for far longer than the listener allows."""
        nonlocal dripped
        try:
            wire.send(b"x")
            dripped += 1
            wire.fill()
            return True
        except TimeoutError:
            return False
        except (BrokenPipeError, ConnectionResetError):
            return True

    wait_until(over, "the dripping client was given up", deadline_s=15)
    assert dripped > 2
    assert lane.backend.connections == []


def test_hardening_15_silent_connection_is_closed(lane):
    wire = lane.connect(port=SHORT_PORT)
    try:
        assert wire.read_response().status == 408
    except Closed:
        pass
    assert wire.is_closed()


def test_hardening_15_idle_connection_is_closed(lane):
    before = counter(lane, "idle_timeouts")
    wire = lane.connect(port=SHORT_PORT)
    assert wire.ask(host=lane.host).status == 200
    assert wire.is_closed()
    assert counter(lane, "idle_timeouts") == before + 1


def test_hardening_15_request_body_that_stops_is_given_up(lane):
    lane.backend.handler = lambda connection: connection.wait_for_end()
    wire = lane.connect(port=SHORT_PORT)
    wire.send(request(method="POST", fields=["Content-Length: 100"], host=lane.host), b"x")
    try:
        assert wire.read_response().status in (408, 504)
    except Truncated:
        pass
    assert wire.is_closed()
    lane.backend.wait_until_idle()


def test_hardening_15_request_that_drips_for_too_long_is_given_up(lane):
    """It never idles and is not too slow: some of the body comes all the time."""
    lane.backend.handler = lambda connection: connection.wait_for_end()
    wire = lane.connect(port=SHORT_PORT, timeout_s=0.1)
    wire.send(request(method="POST", fields=["Content-Length: 1000000"], host=lane.host))
    dripped = 0

    def answered():
        nonlocal dripped
        try:
            wire.send(b"x" * 1024)
            dripped += 1
            wire.fill()
            return True
        except TimeoutError:
            return False

    wait_until(answered, "the dripping client was given up", deadline_s=15)
    assert dripped > 10
    assert wire.read_response().status == 408
    lane.backend.wait_until_idle()


def test_hardening_15_long_answer_is_not_cut_by_the_request_timeout(lane):
    """The request's age counts until its answer begins: a download may take as long as it moves."""
    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n")
        connection.sock.settimeout(0.1)
        for _ in range(40):  # four seconds, the timeout is three
            connection.send(b".")
            try:
                connection.fill()
            except TimeoutError:
                pass

    lane.backend.handler = handler
    wire = lane.connect(port=SHORT_PORT)
    wire.send(request(host=lane.host))
    assert wire.read_response().body == b"." * 40


# -- size

def test_hardening_14_body_longer_than_allowed_gets_413(lane):
    wire = lane.connect(port=SMALL_PORT)
    wire.send(request(method="POST", fields=[f"Content-Length: {SMALL_BODY + 1}"],
                      host=lane.host))
    assert wire.read_response().status == 413
    assert wire.is_closed()
    assert lane.backend.connections == []


def test_hardening_14_chunked_body_longer_than_allowed_gets_413(lane):
    wire = lane.connect(port=SMALL_PORT)
    asked = request(method="POST", fields=["Transfer-Encoding: chunked"], host=lane.host)
    with wire.sending([asked, chunks(b"x" * (SMALL_BODY + 1), [1000])]):
        assert wire.read_response().status == 413
        assert wire.read_until_close() == b""
    lane.backend.wait_until_idle()
    assert lane.backend.requests == []


@pytest.mark.parametrize("chunked", [False, True])
def test_hardening_14_body_of_just_the_allowed_length_passes(lane, chunked):
    wire = lane.connect(port=SMALL_PORT)
    body = b"x" * SMALL_BODY
    if chunked:
        asked = request(method="POST", fields=["Transfer-Encoding: chunked"], host=lane.host)
        asked += chunks(body, [1000])
    else:
        asked = request(method="POST", body=body, host=lane.host)
    with wire.sending([asked]):
        assert wire.read_response().status == 200
    assert lane.backend.requests[0].body == body


OVERSIZED = [
    # what, target, fields, status
    ("target", "/" + "u" * 256, [], 414),
    ("target of a megabyte", "/" + "u" * 1_000_000, [], 414),
    ("one field", "/", ["X-Long: " + "v" * 4096], 431),
    ("all fields", "/", ["X-%d: " % at + "v" * 400 for at in range(8)], 431),
    ("number of fields", "/", ["X-%d: v" % at for at in range(11)], 431),
]


def test_hardening_14_oversized_heads_get_414_or_431(lane):
    wrong = []
    for what, target, fields, status in OVERSIZED:
        wire = lane.connect(port=SMALL_PORT)
        with wire.sending([request(target, fields=fields, host=lane.host)]):
            try:
                got = wire.read_response().status
                wire.is_closed()
            except Truncated:
                got = None
        if got != status:
            wrong.append(f"{what}: {got} instead of {status}")
    assert not wrong, "\n".join(wrong)
    assert lane.backend.connections == []


def test_hardening_12_answer_with_an_oversized_head_gives_502(lane):
    lane.backend.handler = answer_each(response(fields=["X-Long: " + "v" * 100_000]))
    wire = lane.connect()
    assert wire.ask(host=lane.host).status == 502
    lane.backend.wait_until_idle()


# -- what error answers say

def test_hardening_36_error_answers_name_no_upstream(lane):
    lane.backend.stop_listening()
    for fields in ([], ["Accept: application/json"]):
        answer = lane.ask(fields=fields)
        assert answer.status in (502, 503)
        assert answer.body and answer.get("content-type")
        if "json" in answer.get("content-type"):
            json.loads(answer.body)
        text = answer.start + str(answer.fields) + answer.body.decode()
        for secret in ("10.77.2.", str(lane.port), lane.name, "/work/", "errno"):
            assert secret not in text, f"{secret} in {text}"


def test_hardening_36_error_answer_to_head_has_no_body(lane):
    lane.backend.stop_listening()
    wire = lane.connect()
    answer = wire.ask(method="HEAD", host=lane.host)
    assert answer.status in (502, 503)
    assert wire.ask(method="HEAD", host=lane.host).status in (502, 503)
