"""HTTP/2 towards upstreams: what clients of both protocols see of it, and what endpoints can do."""
import hashlib
import threading

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from lib.http2 import (CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, PUSH_PROMISE,
                       SETTINGS, Http2, frame)
from lib.http2_server import Http2Server
from lib.payload import payload
from lib.wait import Thread, wait_until
from lib.wire import Truncated, response

SPOKEN = "protocol: http2"
PATIENT = "timeouts: { pending: 20s }"


def h2(up):
    return Http2(up.connect().sock)


# ---- what goes through ----

def test_request_and_answer_pass_between_all_protocols(group):
    def on_request(peer, asked):
        peer.answer(asked.stream, b"hello", fields=[("x-answer", "a"), ("content-length", "5")])

    server = Http2Server(on_request)
    up = group([server], SPOKEN)
    answer = up.ask("/a?b=c", fields=["X-Ask: 1", "Connection: x-hop", "X-Hop: 1"])
    assert (answer.status, answer.body, answer.get("x-answer")) == (200, b"hello", "a")
    client = h2(up)
    answer = client.ask("/two", host="up.test")
    assert (answer.status, answer.body, answer.get("x-answer")) == (200, b"hello", "a")
    first, second = server.asked
    assert first.pseudo == {":method": "GET", ":scheme": "http", ":authority": "up.test",
                            ":path": "/a?b=c"}
    assert first.all("x-ask") == ["1"]
    names = {name for name, _ in first.fields}
    assert not names & {"host", "connection", "x-hop", "te", "transfer-encoding", "keep-alive"}
    assert second.target == "/two"
    assert up.endpoint(0)["requests"] == 2


class Gather:
    """Answers when so many requests are here, the last one first, each with its path."""

    def __init__(self, count):
        self.count, self.lock, self.held = count, threading.Lock(), []

    def __call__(self, peer, asked):
        with self.lock:
            self.held.append((peer, asked.stream, asked.target))
            if len(self.held) < self.count:
                return
            held, self.held = self.held, []
        for each, stream, target in reversed(held):
            each.answer(stream, target.encode())


def test_calls_share_a_connection(group):
    up = group([Http2Server(Gather(20))], SPOKEN, workers=1)
    wires = [up.send(f"/{number}") for number in range(20)]
    for number, wire in enumerate(wires):
        assert wire.read_response().body == b"/%d" % number
    assert up.facts()["connections"] == 1
    assert up.endpoint(0)["connects"] == 1
    assert up.endpoint(0)["requests"] == 20


def test_own_limit_of_streams_opens_more_connections(group):
    server = Http2Server(Gather(12))
    up = group([server], SPOKEN, "limits: { streams: 4 }", workers=1)
    wires = [up.send(f"/{number}") for number in range(12)]
    assert [wire.read_response().body for wire in wires] == [b"/%d" % n for n in range(12)]
    assert len(server.peers) == 3
    assert up.endpoint(0)["connects"] == 3


def test_limit_of_the_endpoint_is_kept(group):
    server = Http2Server(Gather(6), settings={SettingCodes.MAX_CONCURRENT_STREAMS: 2})
    up = group([server], SPOKEN, workers=1)
    client = h2(up)
    streams = [client.start(f"/{number}", host="up.test") for number in range(6)]
    assert [client.wait(stream).body for stream in streams] == [b"/%d" % n for n in range(6)]
    assert len(server.peers) == 3
    assert not any(peer.resets for peer in server.peers)


def test_calls_wait_for_a_stream_at_the_limit_of_connections(group):
    server = Http2Server(Gather(2))
    up = group([server], SPOKEN, "limits: { connections: 1, streams: 2, pending: 10 }", PATIENT,
               workers=1)
    wires = [up.send(f"/{number}") for number in range(6)]
    assert [wire.read_response().body for wire in wires] == [b"/%d" % n for n in range(6)]
    assert len(server.peers) == 1
    assert up.facts()["queued"] == 4
    assert up.facts()["waiting"] == 0


def test_workers_give_the_place_of_a_busy_connection_on(group):
    up = group([Http2Server()], SPOKEN, "limits: { connections: 1, streams: 2, pending: 100 }",
               PATIENT, workers=2)
    threads = [Thread(lambda: {up.ask().status for _ in range(10)}) for _ in range(8)]
    assert {code for thread in threads for code in thread.finish()} == {200}
    assert up.facts()["queue_timeouts"] == 0


def echo(peer, asked):
    digest = hashlib.sha256(asked.body).hexdigest()
    peer.answer(asked.stream, asked.body, fields=[("x-digest", digest)])


@pytest.mark.parametrize("kind", ["length", "chunked", "h2"])
def test_large_bodies_pass_both_ways(group, kind):
    body = payload(0, 3 << 20)
    up = group([Http2Server(echo)], SPOKEN)
    if kind == "h2":
        answer = h2(up).ask("/", "POST", "up.test", body=body)
    else:
        fields = [("Transfer-Encoding", "chunked")] if kind == "chunked" else []
        sent = b"".join(b"%x\r\n" % len(body[at:at + 50000]) + body[at:at + 50000] + b"\r\n"
                        for at in range(0, len(body), 50000)) + b"0\r\n\r\n"
        with up.connect() as wire:
            thread = Thread(lambda: wire.read_response())
            head = b"POST / HTTP/1.1\r\nHost: up.test\r\n"
            if fields:
                wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n", sent)
            else:
                wire.send(head + b"Content-Length: %d\r\n\r\n" % len(body), body)
            answer = thread.finish()
    assert answer.status == 200
    assert answer.get("x-digest") == hashlib.sha256(body).hexdigest()
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(body).digest()


def test_slow_client_stops_the_endpoint_and_nobody_else(group, long):
    big = payload(0, (64 if long else 24) << 20)

    def on_request(peer, asked):
        peer.answer(asked.stream, big if asked.target == "/big" else b"small")

    server = Http2Server(on_request)
    up = group([server], SPOKEN, workers=1)
    slow = up.connect()
    slow.send(b"GET /big HTTP/1.1\r\nHost: up.test\r\n\r\n")
    wait_until(lambda: server.peers and 1 in server.peers[0].waiting, "it is being answered")
    peer = server.peers[0]

    def stuck():
        before = len(peer.waiting[1][0])
        for _ in range(5):
            assert up.ask("/small").body == b"small"  # others pass by, on the same connection
        return len(peer.waiting[1][0]) == before

    wait_until(stuck, "the endpoint could send no more")
    assert len(peer.waiting[1][0]) > 1 << 20
    assert len(server.peers) == 1
    answer = slow.read_response()
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(big).digest()


def test_slow_endpoint_stops_the_client(group):
    body = payload(0, 8 << 20)
    server = Http2Server(echo, acknowledge=False)
    up = group([server], SPOKEN, workers=1)
    wire = up.connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: up.test\r\nContent-Length: %d\r\n\r\n" % len(body))
    wire.sock.setblocking(False)
    sent = 0

    def full():
        nonlocal sent
        before = sent
        while True:
            try:
                sent += wire.sock.send(body[sent:sent + 65536])
            except BlockingIOError:
                break
        return sent == before and sent > 0

    server.wait_for(1)
    wait_until(full, "the client could send no more")
    assert sent < len(body)
    assert len(server.asked[0].body) <= 65535


def test_heads_without_bodies(group):
    def on_request(peer, asked):
        code = int(asked.target[1:4])
        fields = [("content-length", "1000")] if asked.method == "HEAD" else []
        peer.head(asked.stream, code, fields, end=True)

    up = group([Http2Server(on_request)], SPOKEN)
    answer = up.ask("/200", "HEAD")
    assert (answer.status, answer.get("content-length"), answer.body) == (200, "1000", b"")
    for code in (204, 304):
        answer = up.ask(f"/{code}")
        assert (answer.status, answer.body) == (code, b"")


def test_interim_answers_pass(group):
    def on_request(peer, asked):
        peer.head(asked.stream, 103, [("link", "</a.css>; rel=preload")])
        peer.answer(asked.stream)

    def on_head(peer, asked):
        if ("expect", "100-continue") in asked.fields:
            peer.head(asked.stream, 100)

    up = group([Http2Server(on_request, on_head)], SPOKEN)
    answer = h2(up).ask("/", host="up.test")
    assert [code for code, _ in answer.informational] == [103]
    with up.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: up.test\r\nContent-Length: 2\r\n"
                  b"Expect: 100-continue\r\n\r\n")
        assert wire.read_head().status == 100
        wire.send(b"hi")
        assert wire.read_head().status == 103
        assert wire.read_response().status == 200


# ---- what endpoints do wrong (HARDENING 11, 12) ----

WRONG = {
    "upper case": ([(":status", "200"), ("X-Upper", "1")], b""),
    "connection": ([(":status", "200"), ("connection", "close")], b""),
    "transfer-encoding": ([(":status", "200"), ("transfer-encoding", "chunked")], b""),
    "LF in a value": ([(":status", "200"), ("x-a", "1\nx-b: 2")], b""),
    "NUL in a value": ([(":status", "200"), ("x-a", "a\0b")], b""),
    "no status": ([("x-a", "1")], b""),
    "status of 101": ([(":status", "101")], b""),
    "status that is none": ([(":status", "20x")], b""),
    "pseudo-header behind a field": ([("x-a", "1"), (":status", "200")], b""),
    "request pseudo-header": ([(":status", "200"), (":path", "/")], b""),
    "two content-lengths": ([(":status", "200"), ("content-length", "2"),
                             ("content-length", "2")], b"ok"),
    "longer than content-length": ([(":status", "200"), ("content-length", "1")], b"ok"),
    "shorter than content-length": ([(":status", "200"), ("content-length", "3")], b"ok"),
    "204 with a body": ([(":status", "204")], b"ok"),
}


def test_hardening_12_answers_that_lie_become_502(group):
    wrong = []

    def on_request(peer, asked):
        if asked.target == "/good":
            peer.answer(asked.stream)
            return
        fields, body = WRONG[asked.all("x-case")[0]]
        pieces = [peer.raw_head(asked.stream, fields, END_HEADERS | (0 if body else END_STREAM))]
        if body:
            pieces.append(frame(DATA, asked.stream, body, END_STREAM))
        peer.raw(*pieces)

    server = Http2Server(on_request)
    up = group([server], SPOKEN, "ejection: { consecutive_failures: 0 }", workers=1)
    for what in WRONG:
        answer = up.ask("/bad", fields=[f"X-Case: {what}"])
        if answer.status != 502 or b"broke the protocol" not in answer.body:
            wrong.append(f"{what}: {answer.status} {answer.body}")
    assert not wrong, "\n".join(wrong)
    assert up.endpoint(0)["protocol_errors"] == len(WRONG)
    assert up.ask("/good").status == 200
    assert len(server.peers) == 1, "it cost the connection"


def test_hardening_12_flood_of_interim_answers_is_502(group):
    def on_request(peer, asked):
        for _ in range(17):
            peer.head(asked.stream, 103)
        peer.answer(asked.stream)

    up = group([Http2Server(on_request)], SPOKEN)
    answer = h2(up).ask("/", host="up.test")
    assert answer.status == 502
    assert up.endpoint(0)["protocol_errors"] == 1


def test_header_list_that_is_too_large_is_502(group):
    def on_request(peer, asked):
        peer.answer(asked.stream, fields=[(f"x-{number}", "y" * 5000) for number in range(10)])

    up = group([Http2Server(on_request)], SPOKEN)
    answer = up.ask("/")
    assert answer.status == 502
    assert b"header is too large" in answer.body


def test_answer_that_breaks_off_is_cut(group):
    cut = []

    def on_request(peer, asked):
        if asked.target == "/cut":
            while cut:
                peer.reset(cut.pop(), ErrorCodes.INTERNAL_ERROR)
            peer.answer(asked.stream)
            return
        cut.append(asked.stream)
        peer.head(asked.stream, fields=[("content-length", "100000")])
        peer.data(asked.stream, b"x" * 1000, end=False)

    up = group([Http2Server(on_request)], SPOKEN, workers=1)
    wire = up.send("/")
    head = wire.read_response_head()
    client = h2(up)
    stream = client.start("/", host="up.test")
    while not client.answers[stream].body:
        client.pump()
    assert up.ask("/cut").status == 200
    with pytest.raises(Truncated):
        wire.read_response_body(head)
    answer = client.wait(stream)
    assert answer.reset is not None and not answer.ended
    assert up.endpoint(0)["resets"] == 2


def test_push_ends_the_connection(group):
    def on_request(peer, asked):
        peer.raw(frame(PUSH_PROMISE, asked.stream, b"\0\0\0\2" + peer.h2.encoder.encode(
            [(":method", "GET"), (":scheme", "http"), (":authority", "up.test"),
             (":path", "/pushed")]), END_HEADERS))
        peer.answer(asked.stream)

    server = Http2Server(on_request)
    up = group([server], SPOKEN)
    assert up.ask("/").status == 502
    wait_until(lambda: up.facts()["connections"] == 0, "its connection was closed")


FLOODS = {
    "ping": lambda peer, asked: frame(PING, 0, b"01234567") * 400,
    "settings": lambda peer, asked: frame(SETTINGS) * 100,
    "empty data": lambda peer, asked: peer.raw_head(asked.stream, [(":status", "200")],
                                                    END_HEADERS) +
    frame(DATA, asked.stream) * 400,
    "continuation": lambda peer, asked: frame(HEADERS, asked.stream) +
    frame(CONTINUATION, asked.stream) * 60,
}


@pytest.mark.parametrize("kind", FLOODS)
def test_hardening_18_floods_of_an_endpoint_end_its_connection(group, kind):
    def on_request(peer, asked):
        if asked.target == "/flood":
            peer.raw(FLOODS[kind](peer, asked))
        else:
            peer.answer(asked.stream)

    server = Http2Server(on_request)
    up = group([server], SPOKEN, workers=1)
    assert up.ask("/flood").status == 502
    wait_until(lambda: up.facts()["connections"] == 0, "its connection was closed")
    assert server.peers[0].goaway in (None, ErrorCodes.ENHANCE_YOUR_CALM)
    assert up.endpoint(0)["protocol_errors"] == 1
    assert up.ask("/").status == 200  # on another
    assert len(server.peers) == 2


def test_hardening_17_resets_of_an_endpoint_end_its_connection(group):
    def on_request(peer, asked):
        if asked.target == "/good":
            peer.answer(asked.stream)
        else:
            peer.reset(asked.stream, ErrorCodes.INTERNAL_ERROR)

    server = Http2Server(on_request)
    up = group([server], SPOKEN, "ejection: { consecutive_failures: 0 }", workers=1)
    client = h2(up)
    for _ in range(250):
        assert client.ask("/", host="up.test").status == 502
    assert len(server.peers) > 1
    assert ErrorCodes.ENHANCE_YOUR_CALM in [peer.goaway for peer in server.peers]
    assert client.ask("/good", host="up.test").status == 200


# ---- failures, and where requests go then ----

def test_endpoint_without_http2_is_a_failed_connection(group):
    def handle(connection):
        connection.fill()
        connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    up = group([handle], SPOKEN)
    answer = up.ask("/", "POST", body=b"x")
    assert answer.status == 502
    assert b"does not speak HTTP/2" in answer.body
    assert up.endpoint(0)["connect_failures"] == 1
    assert up.endpoint(0)["failures_in_row"] == 1


@pytest.mark.parametrize("how", ["answers 400", "closes", "says nothing"])
def test_request_goes_to_another_endpoint_when_one_has_no_http2(group, how):
    def handle(connection):
        connection.fill()
        if how == "answers 400":
            connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        elif how == "says nothing":
            connection.wait_for_end()

    server = Http2Server(echo)
    up = group([handle, server], SPOKEN, "timeouts: { connect: 300ms }")
    for number in range(4):
        answer = up.ask("/", "POST", body=b"body %d" % number)
        assert (answer.status, answer.body) == (200, b"body %d" % number)
    assert up.endpoint(0)["connect_failures"] >= 1
    assert up.endpoint(1)["requests"] == 4


def test_refused_stream_is_sent_again(group):
    seen = []

    def on_request(peer, asked):
        seen.append(asked)
        if len(seen) == 1:
            peer.reset(asked.stream, ErrorCodes.REFUSED_STREAM)
        else:
            peer.answer(asked.stream, asked.body)

    up = group([Http2Server(on_request)], SPOKEN)
    assert up.ask("/", "POST", fields=["Content-Length: 0"]).status == 200
    assert len(seen) == 2
    assert up.facts()["retries"] == 1
    assert up.endpoint(0)["resets"] == 1


def test_refused_stream_whose_body_went_out_is_not_sent_again(group):
    def on_request(peer, asked):
        peer.reset(asked.stream, ErrorCodes.REFUSED_STREAM)

    server = Http2Server(on_request)
    up = group([server], SPOKEN)
    assert up.ask("/", "POST", body=b"body").status == 502
    assert len(server.asked) == 1


def test_reset_is_a_failure_of_the_endpoint(group):
    def on_request(peer, asked):
        peer.reset(asked.stream, ErrorCodes.INTERNAL_ERROR)

    server = Http2Server(on_request)
    up = group([server, Http2Server()], SPOKEN, "retry: { on: [ reset ] }")
    for _ in range(4):
        assert up.ask("/").status == 200
    assert up.endpoint(0)["resets"] == up.facts()["retries"] >= 1
    assert up.ask("/", "POST", body=b"x").status in (200, 502)


def test_goaway_leaves_nothing_undone(group):
    """Streams above its last one go to another connection; those below end on this one."""
    second, held = threading.Event(), []

    def on_request(peer, asked):
        held.append(asked)
        if peer is server.peers[0]:
            if len(peer.asked) == 3:
                peer.raw_goaway(1)
                second.wait(20)
                peer.answer(1, b"the old one")
        else:
            peer.answer(asked.stream, b"a new one")
            if len(peer.asked) == 2:
                second.set()

    server = Http2Server(on_request)
    up = group([server], SPOKEN, "retry: { attempts: 1 }", workers=1)
    client = h2(up)
    streams = [client.start(f"/{number}", "POST", host="up.test") for number in range(3)]
    assert [client.wait(stream).body for stream in streams] == [b"the old one"] + \
        [b"a new one"] * 2
    wait_until(lambda: up.facts()["connections"] == 1, "the old connection was closed")
    assert up.endpoint(0)["resets"] == 0
    assert client.ask("/", host="up.test").body == b"a new one"
    assert len(server.peers) == 2


def test_goaway_for_ever_does_not_loop(group):
    def on_request(peer, asked):
        peer.raw_goaway(0)

    server = Http2Server(on_request)
    up = group([server], SPOKEN, "ejection: { consecutive_failures: 0 }",
               "retry: { on: [ connect ], attempts: 3 }")
    assert up.ask("/").status == 502
    assert 2 <= len(server.asked) <= 8


def test_lost_connection_fails_all_its_calls_and_counts_once(group):
    gathered = []

    def on_request(peer, asked):
        gathered.append(asked)
        if len(gathered) == 5:
            peer.sock.shutdown(2)

    server = Http2Server(on_request)
    up = group([server], SPOKEN, workers=1)
    client = h2(up)
    streams = [client.start(f"/{number}", "POST", host="up.test") for number in range(5)]
    assert [client.wait(stream).status for stream in streams] == [502] * 5
    assert up.endpoint(0)["resets"] == 5
    assert up.endpoint(0)["failures_in_row"] == 1


def test_kept_connection_that_died_is_replaced(group):
    server = Http2Server()
    up = group([server], SPOKEN, workers=1)
    assert up.ask("/").status == 200
    server.peers[0].sock.shutdown(2)
    wait_until(lambda: up.facts()["connections"] == 0, "it was noticed")
    assert up.ask("/").status == 200
    assert up.endpoint(0)["resets"] == 0


def test_answer_that_does_not_come_is_504_and_others_go_on(group):
    def on_request(peer, asked):
        if asked.target != "/never":
            peer.answer(asked.stream)

    server = Http2Server(on_request)
    up = group([server], SPOKEN, "timeouts: { response: 500ms }", workers=1)
    never = up.send("/never")
    server.wait_for(1)
    assert up.ask("/").status == 200
    assert never.read_response().status == 504
    wait_until(lambda: server.peers[0].resets, "the endpoint was told")
    assert up.ask("/").status == 200
    assert len(server.peers) == 1
    assert up.endpoint(0)["timeouts"] == 1


def test_connection_that_says_nothing_is_not_used_again(group):
    server = Http2Server(lambda peer, asked: None)
    up = group([server], SPOKEN, "timeouts: { response: 300ms }", workers=1)
    # The ACK of our SETTINGS may come behind the first request.
    assert [up.ask("/").status for _ in range(3)] == [504] * 3
    assert len(server.peers) == 2


def test_client_that_leaves_resets_its_stream_alone(group):
    server = Http2Server(lambda peer, asked: asked.target == "/held" or peer.answer(asked.stream))
    up = group([server], SPOKEN, workers=1)
    wire = up.send("/held")
    server.wait_for(1)
    wire.reset()
    wait_until(lambda: server.peers[0].resets == {1: ErrorCodes.CANCEL}, "it was reset")
    assert up.ask("/").status == 200
    assert len(server.peers) == 1


def test_early_answer_ends_the_request(group):
    def on_head(peer, asked):
        if asked.method == "POST":
            peer.answer(asked.stream, b"enough", 413)

    server = Http2Server(on_head=on_head, acknowledge=False)
    up = group([server], SPOKEN, workers=1)
    with up.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: up.test\r\nContent-Length: 1000000\r\n\r\n", b"x")
        assert wire.read_response().status == 413
    wait_until(lambda: server.peers[0].resets, "the endpoint was told")
    assert up.ask("/").status == 200


# ---- life of connections ----

def test_idle_connection_says_goodbye(group):
    server = Http2Server()
    up = group([server], SPOKEN, "timeouts: { idle: 300ms }", workers=1)
    assert up.ask("/").status == 200
    wait_until(lambda: up.facts()["connections"] == 0, "it was closed")
    assert server.peers[0].goaway == ErrorCodes.NO_ERROR


def test_endpoint_that_is_removed_keeps_its_streams_and_no_connection(group):
    go = threading.Event()

    def on_request(peer, asked):
        if asked.target == "/held":
            go.wait(20)
        peer.answer(asked.stream, b"old")

    old = Http2Server(on_request)
    new = Http2Server(lambda peer, asked: peer.answer(asked.stream, b"new"))
    up = group([old, new], SPOKEN, workers=1, count=1)
    wire = up.send("/held")
    old.wait_for(1)
    up.addresses.reverse()
    up.configure(SPOKEN, count=1)
    up.sluice.reload()
    assert up.ask("/").body == b"new"
    go.set()
    assert wire.read_response().body == b"old"
    up.backends[0].wait_until_idle()


def test_change_of_protocol_takes_new_connections(group):
    server = Http2Server()
    switch = {"h2": True}

    def handle(connection):
        if switch["h2"]:
            server(connection)
            return
        connection.read_request()
        connection.send(response(b"one"))

    up = group([handle], SPOKEN, workers=1)
    assert up.ask("/").body == b"ok"
    switch["h2"] = False
    up.configure()
    up.sluice.reload()
    assert up.ask("/").body == b"one"
