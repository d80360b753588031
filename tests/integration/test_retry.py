"""A request that failed at one endpoint and is sent to another, and those that must not be."""
import hashlib
import threading
import time

import pytest

from lib.backend import answer_each
from lib.group import (FIRST_PORT, close_before_answer, garbage, named, never_answer,
                       reset_before_answer, status)
from lib.netns import NO_HOST
from lib.payload import payload
from lib.wire import Truncated, response

NO_EJECTION = "ejection: { consecutive_failures: 0 }"
UNREACHABLE = f"{NO_HOST}:{FIRST_PORT}"  # connects to it get no answer


def hash_body(connection):
    while True:
        digest = hashlib.sha256()
        request = connection.read_request(digest.update)
        connection.send(response(f"{request.method} {digest.hexdigest()}".encode()))


# -- connect

def test_refused_connection_is_tried_at_another_endpoint_for_any_method(group):
    up = group([None, hash_body], NO_EJECTION)
    body = payload(0, 100000)
    want = hashlib.sha256(body).hexdigest()
    for _ in range(4):
        assert up.ask().status == 200
        assert up.ask(method="POST", body=body).body.decode() == f"POST {want}"
    facts = up.facts()
    assert facts["retries"] == facts["endpoints"][0]["connect_failures"] > 0


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_empty_chunked_body_is_whole_at_the_other_endpoint(group, method):
    up = group([None, hash_body], NO_EJECTION, "retry: { on: [ connect, reset ] }", workers=1)
    for _ in range(4):
        wire = up.connect()
        wire.send(f"{method} / HTTP/1.1\r\nHost: up.test\r\nTransfer-Encoding: chunked\r\n\r\n"
                  "0\r\n\r\n".encode())
        assert wire.read_response().body.decode() == f"{method} {hashlib.sha256().hexdigest()}"
    assert up.facts()["retries"] > 0


def test_empty_chunked_body_ends_the_right_to_a_second_sending(group):
    up = group([reset_before_answer, reset_before_answer], NO_EJECTION, "retry: { on: [ reset ] }")
    wire = up.connect()
    wire.send(b"PUT / HTTP/1.1\r\nHost: up.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
    assert wire.read_response().status == 502
    assert sum(up.seen()) == 1


def test_two_dead_endpoints_of_three_are_no_failure(group):
    up = group([None, None, named(2)], NO_EJECTION)
    assert {up.ask().body for _ in range(9)} == {b"2"}


@pytest.mark.parametrize("retry", ["{ attempts: 1 }", "{ on: [] }", "{ on: [ reset, 503 ] }"])
def test_refused_connection_is_not_retried_where_that_is_not_wanted(group, retry):
    up = group([None, named(1)], NO_EJECTION, f"retry: {retry}", workers=1)
    assert sorted(up.ask().status for _ in range(6)) == [200, 200, 200, 502, 502, 502]
    assert up.facts()["retries"] == 0


def test_body_given_while_connecting_goes_to_the_other_endpoint(group):
    """The first endpoint never accepts: what was read of the body meanwhile must not be lost."""
    up = group([UNREACHABLE, hash_body], NO_EJECTION, "timeouts: { connect: 300ms }", workers=1)
    body = payload(3, 2_000_000)
    want = hashlib.sha256(body).hexdigest()
    for _ in range(4):
        assert up.ask(method="POST", body=body).body.decode() == f"POST {want}"
    assert up.endpoint(0)["connect_failures"] >= 1
    assert up.endpoint(0)["requests"] >= 1


def test_connect_timeout_of_the_only_endpoint_gives_504(group):
    up = group([UNREACHABLE], NO_EJECTION, "timeouts: { connect: 200ms }")
    answer = up.ask()
    assert answer.status == 504
    assert NO_HOST.encode() not in answer.body
    assert up.endpoint(0)["connect_failures"] == 1  # whoever refused is not asked again


# -- reset

@pytest.mark.parametrize("failure", [reset_before_answer, close_before_answer])
def test_lost_connection_is_retried_when_the_method_allows_it(group, failure):
    up = group([failure, named(1)], NO_EJECTION, "retry: { on: [ reset ] }", workers=1)
    assert {up.ask().body for _ in range(6)} == {b"1"}
    retries = up.facts()["retries"]
    assert retries > 0
    # POST may have been carried out; of PUT's body something has been read.
    assert sorted(up.ask(method="POST").status for _ in range(4)) == [200, 200, 502, 502]
    assert sorted(up.ask(method="PUT", body=b"x").status for _ in range(4)) == [200, 200, 502, 502]
    assert up.facts()["retries"] == retries
    assert {up.ask(method="DELETE").status for _ in range(4)} == {200}


def test_lost_connection_is_not_retried_by_default(group):
    up = group([reset_before_answer, named(1)], NO_EJECTION, workers=1)
    assert sorted(up.ask().status for _ in range(4)) == [200, 200, 502, 502]
    assert up.facts()["retries"] == 0


def test_only_endpoint_is_asked_again_after_a_reset(group):
    up = group([reset_before_answer], NO_EJECTION, "retry: { on: [ reset ], attempts: 3 }")
    assert up.ask().status == 502
    assert up.seen() == [3]


def test_answer_that_breaks_off_inside_its_body_is_not_retried(group):
    def half(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")

    up = group([half, half], NO_EJECTION, "retry: { on: [ reset, 502, 503, 504 ] }")
    with pytest.raises(Truncated):
        up.ask()
    assert sum(up.seen()) == 1


def test_interim_answer_ends_the_right_to_retry(group):
    def early(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        connection.reset()

    up = group([early, early], NO_EJECTION, "retry: { on: [ reset ] }")
    assert up.ask().status == 502
    assert sum(up.seen()) == 1


def test_broken_answer_is_not_retried(group):
    up = group([garbage, garbage], NO_EJECTION, "retry: { on: [ connect, reset, 502, 503, 504 ] }")
    assert up.ask().status == 502
    assert sum(up.seen()) == 1


# -- status

@pytest.mark.parametrize("code", [502, 503, 504])
def test_gateway_errors_are_retried_before_the_head_is_given_out(group, code):
    up = group([status(code), named(1)], NO_EJECTION, f"retry: {{ on: [ {code} ] }}", workers=1)
    assert {up.ask().body for _ in range(6)} == {b"1"}
    assert sorted(up.ask(method="POST").status for _ in range(4)) == [200, 200, code, code]


def test_last_answer_passes_when_the_attempts_are_used_up(group):
    up = group([status(503, b"first"), status(503, b"second")], NO_EJECTION,
               "retry: { on: [ 503 ], attempts: 2 }")
    answer = up.ask()
    assert answer.status == 503
    assert answer.body in (b"first", b"second")
    assert up.seen() == [1, 1]  # another than the one that was tried


def test_other_statuses_are_not_retried(group):
    up = group([status(500), status(500)], NO_EJECTION, "retry: { on: [ 502, 503, 504 ] }")
    assert up.ask().status == 500
    assert sum(up.seen()) == 1


def test_large_body_of_the_answer_that_is_retried_is_thrown_away(group):
    up = group([status(503, b"x" * 300000), named(1)], NO_EJECTION, "retry: { on: [ 503 ] }",
               workers=1)
    assert {up.ask().body for _ in range(4)} == {b"1"}


def test_head_request_is_retried(group):
    up = group([answer_each(b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\n"),
                answer_each(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")],
               NO_EJECTION, "retry: { on: [ 503 ] }", workers=1)
    for _ in range(4):
        assert up.ask(method="HEAD").status == 200


# -- per_try

def test_attempt_without_answer_in_time_is_followed_by_another(group):
    up = group([never_answer, named(1)], NO_EJECTION, "retry: { per_try: 200ms }", workers=1)
    assert {up.ask().body for _ in range(4)} == {b"1"}
    assert up.endpoint(0)["timeouts"] >= 1
    assert up.ask(method="POST").status in (200, 504)


def test_post_is_not_sent_again_after_per_try(group):
    up = group([never_answer], NO_EJECTION, "retry: { per_try: 200ms, attempts: 5 }")
    assert up.ask(method="POST").status == 504
    assert up.seen() == [1]


def test_slow_upload_does_not_use_up_the_time_of_the_attempt(group):
    """The client takes longer than per_try for its body; the backend answers at once."""
    up = group([named(0)], NO_EJECTION, "retry: { per_try: 300ms }")
    wire = up.connect()
    wire.send(b"POST / HTTP/1.1\r\nHost: up.test\r\nContent-Length: 40\r\n\r\n")
    never = threading.Event()
    for _ in range(40):
        wire.send(b"x")
        never.wait(0.02)  # the client is slow
    assert wire.read_response().status == 200


def test_header_that_trickles_in_does_not_stretch_the_response_timeout(group):
    def trickle(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            connection.send(b"x")
            never.wait(0.02)

    never = threading.Event()
    up = group([trickle], NO_EJECTION, "timeouts: { response: 500ms }")
    assert up.ask().status == 504
    assert up.endpoint(0)["timeouts"] == 1


def test_response_timeout_bounds_all_attempts(group):
    up = group([never_answer, never_answer], NO_EJECTION, "timeouts: { response: 1s }",
               "retry: { per_try: 400ms, attempts: 10 }")
    assert up.ask().status == 504
    assert 1 <= sum(up.seen()) <= 3


def test_response_timeout_itself_is_not_retried(group):
    up = group([never_answer, never_answer], NO_EJECTION, "timeouts: { response: 200ms }",
               "retry: { on: [ connect, reset, 502, 503, 504 ], attempts: 10 }")
    assert up.ask().status == 504
    assert sum(up.seen()) == 1


# -- budget

def test_budget_bounds_the_retries_of_the_node(group):
    up = group([status(503), status(503)], NO_EJECTION,
               "retry: { on: [ 503 ], attempts: 10, budget: 10% }")
    started = time.monotonic()
    wires = [up.connect() for _ in range(4)]  # of both workers
    for number in range(300):
        assert wires[number % 4].ask().status == 503
    elapsed = time.monotonic() - started
    facts = up.facts()
    assert facts["calls"] == 300
    # 30 to begin with, a tenth of the requests, three a second.
    assert 30 <= facts["retries"] <= 30 + 30 + 3 * (elapsed + 1)
    assert facts["retries_over_budget"] > 0
    assert sum(up.seen()) == 300 + facts["retries"]


def test_kept_connection_that_died_is_resent_and_is_no_retry(group):
    def once(connection):
        connection.read_request()
        connection.send(response(b"one"))
        connection.read_request()  # and closes instead of answering

    up = group([once], NO_EJECTION, "retry: { on: [] }", workers=1)
    wire = up.connect()
    for _ in range(4):
        assert wire.ask().status == 200
    assert up.facts()["retries"] == 0
    assert up.endpoint(0)["failures_in_row"] == 0
    assert up.sluice.admin("/v1/status")["counters"]["upstream_retries"] >= 1
