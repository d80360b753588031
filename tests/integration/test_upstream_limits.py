"""The limit of an upstream's connections, and the requests that wait for one."""
import hashlib
import random
import threading

import pytest

from lib.group import Hold, named, status
from lib.payload import payload
from lib.wait import Thread, wait_until
from lib.wire import Truncated, response

LIMIT = "limits: {{ connections: {}, pending: {} }}"
PATIENT = "timeouts: { pending: 20s, idle: 20s }"


class Gauge:
    """
    How many requests were under way at once. Connections are not counted here: the backend learns
    late that one was closed.
    """

    def __init__(self):
        self.lock = threading.Lock()
        self.now = self.most = 0
        self.never = threading.Event()

    def __call__(self, connection):
        while True:
            connection.read_request()
            with self.lock:
                self.now += 1
                self.most = max(self.most, self.now)
            self.never.wait(0.005)  # work that takes its time
            with self.lock:
                self.now -= 1
            connection.send(response(b"ok"))


@pytest.mark.parametrize("balance", ["round-robin", "least-requests"])
def test_limit_of_connections_holds_for_the_node(group, balance):
    gauge = Gauge()
    up = group([gauge, gauge], LIMIT.format(3, 100), PATIENT, f"balance: {balance}")

    def client():
        # Connections of its own, so that both workers come to it.
        return {up.ask().status for _ in range(6)}

    threads = [Thread(client) for _ in range(12)]
    while any(thread.is_alive() for thread in threads):
        assert up.facts()["connections"] <= 3
    assert {code for thread in threads for code in thread.finish()} == {200}
    assert gauge.most == 3
    facts = up.facts()
    assert facts["waiting"] == 0
    assert facts["connections"] <= 3
    assert facts["queued"] > 0
    assert facts["queue_overflows"] == facts["queue_timeouts"] == 0


def test_requests_beyond_the_queue_get_503_at_once(group):
    hold = Hold()
    up = group([hold], LIMIT.format(1, 2), PATIENT)
    first = up.send()
    up.wait_for_requests(1)
    waiting = []
    for number in range(2):
        waiting.append(up.send())
        up.wait_for("waiting", number + 1)
    answer = up.ask()
    assert answer.status == 503
    assert b"too many requests wait" in answer.body
    assert up.facts()["queue_overflows"] == 1
    assert up.facts()["connections"] == 1
    hold.release()
    assert [wire.read_response().status for wire in (first, *waiting)] == [200] * 3
    assert up.facts()["waiting"] == 0


def test_without_a_queue_nobody_waits(group):
    hold = Hold()
    up = group([hold], LIMIT.format(1, 0), PATIENT)
    first = up.send()
    up.wait_for_requests(1)
    assert up.ask().status == 503
    hold.release()
    assert first.read_response().status == 200


def test_wait_that_is_too_long_gives_503(group):
    hold = Hold()
    up = group([hold], LIMIT.format(1, 10), "timeouts: { pending: 200ms }")
    first = up.send()
    up.wait_for_requests(1)
    answer = up.ask()
    assert answer.status == 503
    assert b"became free in time" in answer.body
    facts = up.facts()
    assert (facts["queue_timeouts"], facts["waiting"], facts["connections"]) == (1, 0, 1)
    # Nothing that the endpoint did.
    assert up.endpoint(0)["failures_in_row"] == 0
    hold.release()
    assert first.read_response().status == 200
    assert up.ask().status == 200


def test_client_that_leaves_is_taken_out_of_the_queue(group):
    hold = Hold()
    up = group([hold], LIMIT.format(1, 10), PATIENT)
    first = up.send()
    up.wait_for_requests(1)
    leaver, stayer = up.send("/leaver"), up.send("/stayer")
    up.wait_for("waiting", 2)
    leaver.reset()
    up.wait_for("waiting", 1)
    hold.release()
    assert first.read_response().status == stayer.read_response().status == 200
    assert [each.target for each in up.backends[0].requests] == ["/", "/stayer"]
    assert up.facts()["connections"] == 1


def test_queue_of_a_worker_is_served_in_order(group):
    hold = Hold()
    up = group([hold], LIMIT.format(1, 100), PATIENT, workers=1)
    wires = [up.send("/0")]
    up.wait_for_requests(1)
    for number in range(1, 8):
        wires.append(up.send(f"/{number}"))
        up.wait_for("waiting", number)
    hold.release()
    assert {wire.read_response().status for wire in wires} == {200}
    assert [each.target for each in up.backends[0].requests] == [f"/{n}" for n in range(8)]
    assert len(up.backends[0].connections) == 1  # each took over the one before it


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_of_a_request_that_waits_is_not_lost(group, framing):
    may_answer = threading.Event()

    def handler(connection):
        while True:
            digest = hashlib.sha256()
            request = connection.read_request(digest.update)
            if request.target == "/first":
                may_answer.wait(20)
            connection.send(response(digest.hexdigest().encode()))

    up = group([handler], LIMIT.format(1, 10), PATIENT)
    first = up.send("/first")
    up.wait_for_requests(1)
    body = payload(7, 1_500_000)
    wire = up.connect()
    if framing == "length":
        head, pieces = f"Content-Length: {len(body)}", [body]
    else:
        head = "Transfer-Encoding: chunked"
        pieces = [b"%x\r\n%s\r\n" % (len(body), body), b"0\r\n\r\n"]
    wire.send(f"POST / HTTP/1.1\r\nHost: up.test\r\n{head}\r\n\r\n".encode())
    with wire.sending(pieces):
        up.wait_for("waiting", 1)
        may_answer.set()
        assert first.read_response().status == 200
        assert wire.read_response().body.decode() == hashlib.sha256(body).hexdigest()


def test_one_connection_is_shared_by_two_workers(group):
    """What one worker keeps idle is given up when the other needs its place."""
    up = group([named(0)], LIMIT.format(1, 10), PATIENT, workers=2)
    for _ in range(30):
        assert up.ask().status == 200
    workers = up.sluice.admin("/v1/status")["workers"]
    assert all(worker["requests"] > 0 for worker in workers), "the clients met one worker only"
    assert up.facts()["connections"] == 1
    assert up.facts()["queue_timeouts"] == 0


def test_busy_worker_does_not_starve_the_other(group):
    up = group([named(0)], LIMIT.format(1, 10), PATIENT, workers=2)
    stop = threading.Event()

    def busy():
        wire = up.connect()
        count = 0
        while not stop.is_set():
            assert wire.ask().status == 200
            count += 1
        return count

    threads = [Thread(busy) for _ in range(3)]
    try:
        for _ in range(20):
            assert up.ask().status == 200
    finally:
        stop.set()
    assert all(thread.finish() > 0 for thread in threads)
    assert up.facts()["queue_timeouts"] == 0


def test_maglev_at_its_limit_still_reaches_the_right_endpoint(group):
    up = group([named(number) for number in range(3)], LIMIT.format(1, 10), PATIENT,
               "balance: maglev", "hash_on: { header: x-user }")
    places = {}
    for _ in range(3):
        for key in range(8):
            answer = up.ask(fields=[f"x-user: k{key}"])
            assert answer.status == 200
            assert places.setdefault(key, answer.body) == answer.body
    assert len(set(places.values())) > 1


def test_reload_that_raises_the_limit_lets_waiting_requests_go(group):
    hold = Hold()
    up = group([hold], LIMIT.format(1, 10), PATIENT)
    first = up.send()
    up.wait_for_requests(1)
    waiter = up.send("/waiter")
    up.wait_for("waiting", 1)
    up.configure(LIMIT.format(5, 10), PATIENT)
    up.sluice.reload()
    newcomer = up.send("/newcomer")  # under the new limit
    up.wait_for_requests(2)
    hold.release()
    assert {wire.read_response().status for wire in (first, waiter, newcomer)} == {200}


def test_kept_connections_end_after_the_idle_time(group):
    up = group([named(0)], "timeouts: { idle: 300ms }")
    for _ in range(4):
        assert up.ask().status == 200
    up.wait_for("connections", 0)
    assert up.endpoint(0)["connections"] == {"open": 0, "idle": 0}
    assert up.ask().status == 200


def test_no_place_leaks_whatever_fails(group, rng):
    """Refused, reset, silent, broken and busy backends, clients that leave, queues that overflow."""
    chance = random.Random(rng.random())
    lock = threading.Lock()

    def capricious(connection):
        connection.read_request()
        with lock:
            what = chance.randrange(7)
        if what == 0:
            connection.reset()
        elif what == 1:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
        elif what == 2:
            connection.send(b"nonsense\r\n\r\n")
        elif what == 3:
            connection.wait_for_end()
        elif what == 4:
            connection.send(response(b"busy", "503 Busy"))
            capricious(connection)
        elif what == 5:
            connection.send(response(b"bye", fields=["Connection: close"]))
        else:
            connection.send(response(b"fine"))
            capricious(connection)

    up = group([capricious, None, capricious, status(503)], LIMIT.format(4, 3),
               "timeouts: { pending: 200ms, response: 300ms, connect: 300ms, idle: 500ms }",
               "retry: { on: [ connect, reset, 502, 503 ], per_try: 200ms, attempts: 4, "
               "budget: 100% }",
               "ejection: { consecutive_failures: 3, base: 100ms, max: 50% }")

    def client(seed):
        own = random.Random(seed)
        for _ in range(15):
            wire = up.connect()
            body = own.choice([None, None, b"x" * 20000])
            try:
                if own.randrange(4) == 0:
                    wire.send(b"GET / HTTP/1.1\r\nHost: up.test\r\n\r\n")
                    wire.reset()
                    continue
                wire.ask(method="GET" if body is None else "POST", body=body, host="up.test")
            except Truncated:
                pass
            wire.close()

    threads = [Thread(client, rng.random()) for _ in range(10)]
    for thread in threads:
        thread.finish()
    up.wait_for("waiting", 0)
    up.wait_for("connections", 0)
    for endpoint in up.facts()["endpoints"]:
        assert endpoint["active"] == 0
        assert endpoint["connections"] == {"open": 0, "idle": 0}
    for backend in up.backends:
        if backend:
            backend.handler = named(1)
    wait_until(lambda: up.ask().status == 200, "it answered again")
