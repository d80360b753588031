"""
HARDENING 12 and its kin: a backend is trusted no more than a client. An answer that breaks a rule
gives 502, or breaks off when it had begun; its connection is closed and never used again.
"""
import threading

from lib.backend import answer_each
from lib.wait import DeadlinePassed, wait_until
from lib.wire import Truncated, framing_of, request, response

OK = "HTTP/1.1 200 OK\r\n"
LENGTH = OK + "Content-Length: 4\r\n"
CHUNKED = OK + "Transfer-Encoding: chunked\r\n\r\n"

HEADS = [
    ("length and chunked", LENGTH + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("chunked and length", OK + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    ("two lengths", LENGTH + "Content-Length: 5\r\n\r\nabcd"),
    ("two equal lengths", LENGTH + "Content-Length: 4\r\n\r\nabcd"),
    ("a list of lengths", OK + "Content-Length: 4, 4\r\n\r\nabcd"),
    ("signed length", OK + "Content-Length: +4\r\n\r\nabcd"),
    ("negative length", OK + "Content-Length: -4\r\n\r\nabcd"),
    ("empty length", OK + "Content-Length:\r\n\r\nabcd"),
    ("length of 65 bits", OK + "Content-Length: 18446744073709551616\r\n\r\nabcd"),
    ("gzip, chunked", OK + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("chunked twice", OK + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
                           "0\r\n\r\n"),
    ("xchunked", OK + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("chunked on HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nabcd"),
    ("204 that is chunked", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"
                            "0\r\n\r\n"),
    ("folded field", OK + "X-A: b\r\n c\r\nContent-Length: 4\r\n\r\nabcd"),
    ("bare LF ends the status line", "HTTP/1.1 200 OK\nContent-Length: 4\r\n\r\nabcd"),
    ("bare LF ends a field", OK + "X-A: b\nContent-Length: 4\r\n\r\nabcd"),
    ("bare LF ends the head", LENGTH + "\nabcd"),
    ("bare CR in a field", OK + "X-A: b\rc\r\nContent-Length: 4\r\n\r\nabcd"),
    ("NUL in a value", OK + "X-A: b\x00c\r\nContent-Length: 4\r\n\r\nabcd"),
    ("control in a value", OK + "X-A: b\x01c\r\nContent-Length: 4\r\n\r\nabcd"),
    ("space before the colon", OK + "X-A : b\r\nContent-Length: 4\r\n\r\nabcd"),
    ("empty name", OK + ": b\r\nContent-Length: 4\r\n\r\nabcd"),
    ("no colon", OK + "X-A\r\nContent-Length: 4\r\n\r\nabcd"),
    ("HTTP/0.9", "<html>hello</html>\r\n\r\n"),
    ("HTTP/2.0", "HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nabcd"),
    ("ICY", "ICY 200 OK\r\nContent-Length: 4\r\n\r\nabcd"),
    ("status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nabcd"),
    ("status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nabcd"),
    ("status 099", "HTTP/1.1 099 Low\r\nContent-Length: 4\r\n\r\nabcd"),
    ("status 700", "HTTP/1.1 700 High\r\nContent-Length: 4\r\n\r\nabcd"),
    ("status that is no number", "HTTP/1.1 abc OK\r\nContent-Length: 4\r\n\r\nabcd"),
    ("101 that was not asked for", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
                                   "Connection: upgrade\r\n\r\n"),
    ("1xx with a length", "HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\nabcd"
                          + LENGTH + "\r\nabcd"),
    ("flood of 1xx", "HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000 + LENGTH + "\r\nabcd"),
]

BODIES = [
    ("size 0x5", "0x5\r\nabcde\r\n0\r\n\r\n"),
    ("size with a space", "5 \r\nabcde\r\n0\r\n\r\n"),
    ("negative size", "-5\r\nabcde\r\n0\r\n\r\n"),
    ("empty size", "\r\nabcde\r\n0\r\n\r\n"),
    ("size of 68 bits", "fffffffffffffffff\r\nabcde\r\n0\r\n\r\n"),
    ("bare LF after the size", "5\nabcde\r\n0\r\n\r\n"),
    ("bare LF after the data", "5\r\nabcde\n0\r\n\r\n"),
    ("nothing after the data", "5\r\nabcde0\r\n\r\n"),
    ("bad extension", "5;a=\x01\r\nabcde\r\n0\r\n\r\n"),
    ("long extension", "5;a=" + "b" * 100_000 + "\r\nabcde\r\n0\r\n\r\n"),
    ("trailer without a colon", "5\r\nabcde\r\n0\r\nnothing\r\n\r\n"),
    ("folded trailer", "5\r\nabcde\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
]


def then_wait(*answers):
    """Gives the answers in turn, and then holds the connection open as long as the proxy does."""
    def handle(connection):
        for answer in answers:
            connection.read_request()
            connection.send(answer)
        connection.wait_for_end()

    return handle


def ask_all(lane, rows, judge):
    """Each row's answer on a connection of its own; the next request must not meet it again."""
    wrong = []
    for what, text in rows:
        bad = text.encode("latin-1")
        seen = len(lane.backend.connections)
        lane.backend.handler = then_wait(bad)
        wire = lane.connect()
        wire.send(request("/bad", host=lane.host))
        try:
            answer = wire.read_response()
        except Truncated as error:
            answer = error
        if fault := judge(answer):
            wrong.append(f"{what}: {fault}")
        wire.close()
        try:
            lane.backend.wait_until_idle()
        except DeadlinePassed:
            wrong.append(f"{what}: the upstream connection was not closed")
        # Closed at once: the next row shall not meet this connection in the pool.
        lane.backend.handler = answer_each(response(b"good", fields=["Connection: close"]))
        if lane.ask("/good").body != b"good":
            wrong.append(f"{what}: the next request failed")
        if len(lane.backend.connections) != seen + 2:
            wrong.append(f"{what}: {len(lane.backend.connections) - seen} connections, not 2")
    assert not wrong, "\n".join(wrong)


def test_hardening_12_malformed_answers_give_502_and_end_their_connection(lane):
    def judge(answer):
        if isinstance(answer, Truncated):
            return f"no answer ({answer})"
        return None if answer.status == 502 else f"{answer}"

    ask_all(lane, HEADS, judge)
    assert lane.sluice.endpoint(lane.name)["protocol_errors"] >= len(HEADS) - 1


def test_hardening_12_malformed_bodies_break_off_and_end_their_connection(lane):
    def judge(answer):
        if isinstance(answer, Truncated) or answer.status == 502:
            return None
        return f"a clean end: {answer}"

    ask_all(lane, [(what, CHUNKED + body) for what, body in BODIES], judge)


def test_hardening_12_bytes_after_an_answer_never_become_the_next_one(lane):
    evil = response(b"evil")
    lane.backend.handler = then_wait(response(b"good") + evil)
    wire = lane.connect()
    first = wire.ask("/1", host=lane.host)
    assert first.status == 502 or first.body == b"good"
    lane.backend.wait_until_idle()
    lane.backend.handler = answer_each(response(b"second"))
    with_new = lane.connect()
    assert with_new.ask("/2", host=lane.host).body == b"second"
    assert len(lane.backend.connections) == 2


def test_hardening_12_bytes_on_a_kept_connection_never_become_the_next_answer(lane):
    answered = threading.Event()

    def handler(connection):
        connection.read_request()
        connection.send(response(b"good"))
        answered.wait(20)  # until the proxy has put it in its pool
        connection.send(response(b"evil"))
        connection.wait_for_end()

    lane.backend.handler = handler
    wire = lane.connect()
    assert wire.ask("/1", host=lane.host).body == b"good"
    wait_until(lambda: lane.sluice.endpoint(lane.name)["connections"]["idle"] == 1,
               "the connection was in the pool")
    answered.set()
    lane.backend.wait_until_idle()
    lane.backend.handler = answer_each(response(b"second"))
    assert wire.ask("/2", host=lane.host).body == b"second"


def test_hardening_12_body_of_an_answer_to_head_is_not_taken_for_an_answer(lane):
    lane.backend.handler = then_wait(response(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    wire = lane.connect()
    assert wire.ask("/1", "HEAD", host=lane.host).status in (200, 502)
    lane.backend.wait_until_idle()
    lane.backend.handler = answer_each(response(b"second"))
    assert lane.ask("/2").body == b"second"


def test_hardening_12_few_1xx_are_no_flood(lane):
    lane.backend.handler = answer_each(
        b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + response(b"page"))
    assert lane.ask().body == b"page"


def test_hardening_5_framing_of_an_answer_is_made_anew(lane):
    lane.backend.handler = answer_each(
        CHUNKED.encode() + b"0005;a=b;c=\"d\"\r\nhello\r\n0;last=1\r\n\r\n")
    wire = lane.connect()
    wire.send(request(host=lane.host))
    head = wire.read_response_head()  # the strict reader takes no extension and no odd size
    assert framing_of(head) in ("chunked", 5)
    assert wire.read_response_body(head).body == b"hello"
