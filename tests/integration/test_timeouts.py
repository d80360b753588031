"""
HARDENING 15: how fast a client must be, in both directions, and for what it is not blamed. The
listener of these tests wants 10 KiB/s and lets a client pause for a second and a half at most.
"""
import socket
import threading
import time

import pytest

from lib.lanes import PACED_IDLE_S, PACED_PORT, PACED_RATE
from lib.wait import DEADLINE_S, DeadlinePassed, Thread, wait_until, wait_until_still
from lib.wire import Truncated, request, response

MIB = 1 << 20
TICK_S = 0.1
LITTLE = 4096  # four times the rate, each tenth of a second
ANSWER_BYTES = 48 * MIB  # more than all buffers on the way
SMALL_WINDOW = 4096
# The kernels on both sides have room for all of this answer, but not the client's alone.
WINDOW, KERNEL_BYTES = 16384, 72 * 1024


def counter(lane, name):
    return lane.sluice.admin("/v1/status")["counters"][name]


def is_done(sluice, route):
    """An exchange is counted when the kernel has taken the last byte of its answer."""
    return sluice.route(route)["responses"]["2xx"] > 0


def connections(lane):
    return sum(each["connections"] for each in lane.sluice.admin("/v1/status")["workers"])


def pause(wire, seconds):
    """Silence of ours; ends early when the peer has something to say."""
    wire.sock.settimeout(seconds)
    try:
        wire.fill()
    except TimeoutError:
        pass
    finally:
        wire.sock.settimeout(DEADLINE_S)


def drip(wire, piece, until, tick_s=TICK_S):
    """A piece each tick until the condition holds or the peer says something."""
    end = time.monotonic() + DEADLINE_S
    while not until() and not wire.buffer and not wire.saw_end:
        if time.monotonic() > end:
            raise DeadlinePassed("dripping went on and on")
        try:
            wire.send(piece)
        except (BrokenPipeError, ConnectionResetError):
            return
        pause(wire, tick_s)


def large_answer(framing="length", size=ANSWER_BYTES):
    def handler(connection):
        connection.read_request()
        if framing == "length":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        else:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
        for at in range(0, size, 65536):
            connection.send(b"a" * min(65536, size - at))
        if framing == "length":
            connection.wait_for_end()

    return handler


def read_slowly(wire, per_tick, seconds, most):
    """For so long, or until that many bytes came."""
    got = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end and got < most:
        data = wire.sock.recv(per_tick)
        if not data:
            raise Truncated(f"the end after {got} bytes")
        got += len(data)
        time.sleep(TICK_S)  # the stimulus itself: a reader of this speed
    return got


# -- requests

@pytest.mark.parametrize("tick_s", [0.01, TICK_S])
def test_hardening_15_body_that_drips_below_the_rate_gets_408(lane, tick_s):
    before = counter(lane, "slow_bodies")
    lane.backend.handler = lambda connection: connection.wait_for_end()
    wire = lane.connect(port=PACED_PORT)
    wire.send(request(method="POST", fields=["Content-Length: 1000000"], host=lane.host))
    drip(wire, b"x", lambda: False, tick_s)
    answer = wire.read_response()
    assert answer.status == 408
    assert answer.get("connection") == "close"
    assert b"too slow" in answer.body
    assert wire.is_closed()
    assert counter(lane, "slow_bodies") == before + 1
    lane.backend.wait_until_idle()
    assert lane.backend.requests == []


def test_hardening_15_body_at_the_rate_passes_however_long_it_takes(lane):
    wire = lane.connect(port=PACED_PORT)
    pieces = int((PACED_IDLE_S + 1) / TICK_S)
    wire.send(request(method="POST", fields=[f"Content-Length: {pieces * LITTLE}"],
                      host=lane.host))
    left = iter(range(pieces))
    drip(wire, b"y" * LITTLE, lambda: next(left, None) is None)
    assert wire.read_response().status == 200
    assert len(lane.backend.requests[0].body) == pieces * LITTLE


def test_hardening_15_burst_of_a_body_pays_for_a_pause(lane):
    """What came fast buys the most that a client may pause; a second pause is not paid for."""
    size = int(PACED_RATE * PACED_IDLE_S) * 2
    wire = lane.connect(port=PACED_PORT)
    wire.send(request(method="POST", fields=[f"Content-Length: {3 * size}"], host=lane.host))
    for _ in range(2):
        wire.send(b"b" * size)
        pause(wire, PACED_IDLE_S * 0.55)
    wire.send(b"b" * size)
    assert wire.read_response().status == 200
    wire.send(request(method="POST", fields=[f"Content-Length: {3 * size}"], host=lane.host),
              b"b" * size)
    pause(wire, 2 * PACED_IDLE_S)
    assert wire.read_response().status == 408


def test_hardening_15_back_pressure_of_a_backend_is_not_the_clients_slowness(lane):
    go_on = threading.Event()

    def handler(connection):
        head = connection.read_head()
        assert go_on.wait(60)
        connection.read_body(head, int(head.get("content-length")), lambda data: None)
        connection.send(response(b"all of it"))
        connection.wait_for_end()

    lane.backend.handler = handler
    before = counter(lane, "slow_bodies")
    wire = lane.connect(port=PACED_PORT, timeout_s=60)
    sent = [0]

    def upload():
        wire.send(request(method="POST", fields=[f"Content-Length: {ANSWER_BYTES}"],
                          host=lane.host))
        for _ in range(ANSWER_BYTES // 65536):
            wire.send(b"u" * 65536)
            sent[0] += 65536

    sender = Thread(upload)
    try:
        wait_until(lambda: sent[0], "the upload began")
        stalled = wait_until_still(lambda: sent[0], "an upload that nobody takes",
                                   samples=int(1.5 * PACED_IDLE_S / 0.02))
        assert stalled < ANSWER_BYTES
    finally:
        go_on.set()
    sender.finish()
    assert wire.read_response().body == b"all of it"
    assert counter(lane, "slow_bodies") == before


def test_hardening_15_client_that_waits_for_100_is_not_slow(lane):
    """The backend asks for the body later than a silent client would be given."""
    def handler(connection):
        head = connection.read_head()
        try:
            connection.sock.settimeout(6)  # the first credit is five seconds
            connection.fill()
        except TimeoutError:
            pass
        connection.sock.settimeout(DEADLINE_S)
        connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.read_body(head, 4)
        connection.send(response(b"thanks"))
        connection.wait_for_end()

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request(method="POST", fields=["Content-Length: 4", "Expect: 100-continue"],
                      host=lane.host))
    assert wire.read_head().status == 100
    wire.send(b"body")
    assert wire.read_response().body == b"thanks"


# -- answers

@pytest.mark.parametrize("framing", ["length", "close"])
def test_hardening_15_reader_that_takes_nothing_is_reset(lane, framing):
    before = counter(lane, "slow_readers")
    lane.backend.handler = large_answer(framing)
    wire = lane.connect(port=PACED_PORT, receive_bytes=SMALL_WINDOW)
    wire.send(request(host=lane.host))
    wait_until(lambda: counter(lane, "slow_readers") == before + 1, "the reader was given up")
    lane.backend.wait_until_idle()
    with pytest.raises((ConnectionResetError, Truncated)):
        while wire.sock.recv(65536):
            pass
        raise Truncated("an end where a reset was due")


def test_hardening_15_reader_that_drips_below_the_rate_is_reset(lane):
    before = counter(lane, "slow_readers")
    lane.backend.handler = large_answer()
    wire = lane.connect(port=PACED_PORT, receive_bytes=SMALL_WINDOW)
    wire.send(request(host=lane.host))
    with pytest.raises((ConnectionResetError, Truncated)):
        read_slowly(wire, 100, DEADLINE_S, ANSWER_BYTES)
    assert counter(lane, "slow_readers") == before + 1
    lane.backend.wait_until_idle()


def test_hardening_15_reader_at_the_rate_gets_all_of_it(lane):
    before = counter(lane, "slow_readers")
    lane.backend.handler = large_answer()
    wire = lane.connect(port=PACED_PORT, receive_bytes=SMALL_WINDOW)
    wire.send(request(host=lane.host))
    head = wire.read_response_head()
    got = len(wire.buffer)
    wire.buffer.clear()
    got += read_slowly(wire, LITTLE, 2 * PACED_IDLE_S, ANSWER_BYTES - got)
    wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
    while got < ANSWER_BYTES:
        data = wire.sock.recv(MIB)
        assert data, f"the end after {got} bytes"
        got += len(data)
    assert (head.status, got) == (200, ANSWER_BYTES)
    assert counter(lane, "slow_readers") == before


def test_hardening_15_slow_backend_is_not_the_readers_slowness(lane):
    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n")
        connection.sock.settimeout(TICK_S)
        for _ in range(30):  # three seconds
            connection.send(b".")
            try:
                connection.fill()
            except TimeoutError:
                pass

    lane.backend.handler = handler
    wire = lane.connect(port=PACED_PORT)
    assert wire.ask(host=lane.host).body == b"." * 30


@pytest.mark.parametrize("fields", [[], ["Connection: close"]])
def test_hardening_15_answer_that_only_the_kernel_has_taken_is_paced_too(lane, fields):
    """The daemon is done with it; the client still has to read it, and its connection counts."""
    lane.backend.handler = large_answer(size=KERNEL_BYTES)
    others, before = connections(lane), counter(lane, "slow_readers")
    wire = lane.connect(port=PACED_PORT, receive_bytes=WINDOW)
    wire.send(request(fields=fields, host=lane.host))
    wait_until(lambda: is_done(lane.sluice, lane.name), "the daemon is done with the answer")
    assert (connections(lane), counter(lane, "slow_readers")) == (others + 1, before)
    wait_until(lambda: counter(lane, "slow_readers") == before + 1, "the reader was given up")
    wait_until(lambda: connections(lane) == others, "the connection is gone")
    with pytest.raises((ConnectionResetError, Truncated)):
        while wire.sock.recv(65536):
            pass
        raise Truncated("an end where a reset was due")


@pytest.mark.parametrize("fields", [[], ["Connection: close"]])
def test_hardening_15_reader_of_what_the_kernel_has_gets_all_of_it(lane, fields):
    size = KERNEL_BYTES
    lane.backend.handler = large_answer(size=size)
    before = counter(lane, "slow_readers")
    wire = lane.connect(port=PACED_PORT, receive_bytes=WINDOW)
    wire.send(request(fields=fields, host=lane.host))
    wire.end()  # half-closing takes nothing from it
    assert wire.read_response_head().status == 200
    got = len(wire.buffer)
    wire.buffer.clear()
    got += read_slowly(wire, LITTLE // 3, 2 * PACED_IDLE_S, size - got)
    while data := wire.sock.recv(MIB):
        got += len(data)
    assert got == size
    assert counter(lane, "slow_readers") == before


# -- clients that leave

def test_reset_is_noticed_while_the_backend_takes_its_time(lane):
    lane.backend.handler = lambda connection: (connection.read_request(),
                                               connection.wait_for_end())
    before = counter(lane, "client_aborts")
    wire = lane.connect()
    wire.send(request(host=lane.host))
    lane.backend.wait_for_requests(1)
    wire.reset()
    lane.backend.wait_until_idle()
    assert counter(lane, "client_aborts") == before + 1


def test_half_closed_client_gets_its_answer_when_the_backend_has_it(lane):
    answered = threading.Event()

    def handler(connection):
        connection.read_request()
        assert answered.wait(DEADLINE_S)
        connection.send(response(b"at last"))
        connection.wait_for_end()

    lane.backend.handler = handler
    wire = lane.connect()
    wire.send(request(host=lane.host))
    wire.end()
    lane.backend.wait_for_requests(1)
    answered.set()
    assert wire.read_response().body == b"at last"
    assert wire.is_closed()
