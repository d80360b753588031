"""Which endpoint gets a request, and which gets none for a while because it fails."""
import pytest

from lib.backend import answer_each
from lib.group import (Hold, Switch, close_before_answer, garbage, named, never_answer,
                       reset_before_answer, status)
from lib.netns import CLIENT
from lib.wait import wait_until
from lib.wire import response

pytestmark = pytest.mark.one_engine

BALANCES = ["round-robin", "least-requests", "random-two"]


# -- by load

@pytest.mark.parametrize("balance, count", [("least-requests", 5), ("random-two", 2)])
def test_requests_under_way_are_counted_for_the_node(group, balance, count):
    """Clients come by both workers; a count per worker would not share so exactly."""
    hold = Hold()
    up = group([hold] * count, f"balance: {balance}")
    wires = []
    for number in range(2 * count):
        wires.append(up.send())
        up.wait_for_requests(number + 1)
    assert up.seen() == [2] * count
    assert [each["active"] for each in up.facts()["endpoints"]] == [2] * count
    hold.release()
    assert {wire.read_response().status for wire in wires} == {200}
    wait_until(lambda: all(each["active"] == 0 for each in up.facts()["endpoints"]),
               "no request was under way any more")


def test_least_requests_fills_endpoints_by_weight(group):
    hold = Hold()
    up = group([hold] * 3, "balance: least-requests", weights=[1, 3, 4])
    for number in range(16):
        up.send()
        up.wait_for_requests(number + 1)
    assert up.seen() == [2, 6, 8]
    hold.release()


# -- by hash

def ask_key(up, field):
    return int(up.ask(fields=[field]).body)


@pytest.mark.parametrize("hash_on, fields", [
    ("{ header: X-User }", ["x-user: {}"]),
    ("{ cookie: sid }", ["Cookie: other=1; sid={}; third=2"]),
])
def test_maglev_keeps_a_key_with_its_endpoint(group, hash_on, fields):
    up = group([named(number) for number in range(4)], "balance: maglev", f"hash_on: {hash_on}")
    places = {}
    for _ in range(3):
        for key in range(24):
            answer = int(up.ask(fields=[field.format(f"k{key}") for field in fields]).body)
            assert places.setdefault(key, answer) == answer
    assert set(places.values()) == {0, 1, 2, 3}
    up.sluice.reload()
    for key, place in places.items():
        assert int(up.ask(fields=[field.format(f"k{key}") for field in fields]).body) == place


@pytest.mark.parametrize("hash_on, target", [
    ("{ query: user }", "/x?a=1&user={}&b=2"),
    ("path", "/users/{}?a=1"),
])
def test_maglev_hashes_parts_of_the_url(group, hash_on, target):
    up = group([named(number) for number in range(4)], "balance: maglev", f"hash_on: {hash_on}")
    places = {}
    for round_number in range(3):
        for key in range(24):
            answer = int(up.ask(target.format(key) + f"&r={round_number}").body)
            assert places.setdefault(key, answer) == answer
    assert set(places.values()) == {0, 1, 2, 3}


def test_maglev_hashes_the_clients_address(group):
    up = group([named(number) for number in range(4)], "balance: maglev", "hash_on: source")
    for address in CLIENT:
        assert len({up.ask(source=address).body for _ in range(5)}) == 1


def test_maglev_without_the_key_takes_turns(group):
    up = group([named(number) for number in range(3)], "balance: maglev",
               "hash_on: { header: x-user }", workers=1)
    answers = [int(up.ask(fields=fields).body)
               for fields in ([], ["x-user: "], ["x-other: 1"]) for _ in range(3)]
    assert sorted(answers) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_maglev_moves_only_the_keys_of_an_ejected_endpoint(group):
    up = group([named(0), named(1), status(503), named(3)], "balance: maglev",
               "hash_on: { header: x-user }",
               "ejection: { consecutive_failures: 1, base: 1h, max: 50% }")
    first = [up.ask(fields=[f"x-user: k{key}"]) for key in range(40)]
    assert up.endpoint(2)["state"] == "ejected"
    failed = [answer for answer in first if answer.status == 503]
    assert len(failed) == 1  # the one that showed it; the others had gone elsewhere
    again = [up.ask(fields=[f"x-user: k{key}"]) for key in range(40)]
    assert {answer.status for answer in again} == {200}
    assert {int(answer.body) for answer in again} == {0, 1, 3}
    for before, now in zip(first, again):
        if before.status == 200:
            assert before.body == now.body


# -- ejection

FAILURES = {
    "refused": None,
    "reset": reset_before_answer,
    "closed": close_before_answer,
    "silent": never_answer,
    "broken": garbage,
    "502": status(502),
    "503": status(503),
    "504": status(504),
}
EJECT = "ejection: { consecutive_failures: 3, base: 1h, max: 50% }"


@pytest.mark.one_engine(False)
@pytest.mark.parametrize("failure", FAILURES)
def test_endpoint_that_fails_in_a_row_is_ejected(group, failure):
    up = group([named(0), FAILURES[failure]], EJECT, "retry: { on: [] }",
               "timeouts: { response: 300ms, connect: 300ms }")
    wait_until(lambda: up.ask() and up.endpoint(1)["state"] == "ejected",
               "the endpoint was ejected")
    endpoint = up.endpoint(1)
    assert endpoint["ejections"] == 1
    assert endpoint["failures_in_row"] == 3
    assert 0 < endpoint["ejected_for_ms"] <= 3600000
    seen = up.seen()[1]
    assert {up.ask().body for _ in range(8)} == {b"0"}
    assert up.seen()[1] == seen
    assert "ejected" in up.sluice.cli("upstream", check=True).stdout
    events = up.sluice.admin("/v1/events")["events"]
    assert [each["object"] for each in events if each["kind"] == "endpoint_ejected"] == [
        f"up {up.addresses[1]}"]


@pytest.mark.parametrize("answer", ["200 OK", "404 No", "500 Broken", "501 No", "429 Slow"])
def test_other_answers_do_not_eject(group, answer):
    up = group([named(0), answer_each(response(b"", answer))],
               "ejection: { consecutive_failures: 1, base: 1h }")
    for _ in range(10):
        up.ask()
    assert up.endpoint(1)["state"] == "ok"
    assert up.endpoint(1)["failures_in_row"] == 0


def test_ejected_endpoint_comes_back_and_one_failure_ejects_it_again(group):
    switch = Switch(response(b"", "503 No"))
    up = group([named(0), switch], "retry: { on: [] }",
               "ejection: { consecutive_failures: 3, base: 200ms, max: 50% }")
    wait_until(lambda: up.ask() and up.endpoint(1)["ejections"] == 1, "it was ejected")
    assert up.seen()[1] == 3
    wait_until(lambda: up.ask() and up.endpoint(1)["ejections"] == 2, "it was ejected again")
    assert up.seen()[1] == 4
    switch.answer = response(b"1")
    wait_until(lambda: up.ask().body == b"1", "it got requests again")
    assert up.endpoint(1)["state"] == "ok"
    assert up.endpoint(1)["failures_in_row"] == 0
    kinds = [each["kind"] for each in up.sluice.admin("/v1/events")["events"]]
    assert kinds.count("endpoint_ejected") == kinds.count("endpoint_returned") == 2


def test_ejection_survives_a_reload_and_holds_for_all_workers(group):
    up = group([named(0), status(503)], EJECT, "retry: { on: [] }", workers=4)
    wait_until(lambda: up.ask() and up.endpoint(1)["state"] == "ejected", "it was ejected")
    assert up.seen()[1] == 3  # of all four workers together
    up.sluice.reload()
    assert up.endpoint(1)["state"] == "ejected"
    assert {up.ask().body for _ in range(12)} == {b"0"}


def test_when_all_are_ejected_all_are_used(group):
    up = group([status(503)] * 2, "ejection: { consecutive_failures: 1, base: 1h, max: 100% }",
               "retry: { on: [] }")
    for _ in range(2):
        wait_until(lambda: up.ask() and all(each["state"] == "ejected"
                                            for each in up.facts()["endpoints"]),
                   "both were ejected")
    before = up.seen()
    for _ in range(8):
        assert up.ask().status == 503
    assert all(after > earlier for after, earlier in zip(up.seen(), before))


def test_one_of_two_stays_whatever_happens(group):
    up = group([status(503)] * 2, "ejection: { consecutive_failures: 1, base: 1h, max: 50% }",
               "retry: { on: [] }")
    for _ in range(10):
        assert up.ask().status == 503
    assert sorted(each["state"] for each in up.facts()["endpoints"]) == ["ejected", "ok"]


@pytest.mark.one_engine(False)
def test_errors_made_here_never_count_against_an_endpoint(group, sluice):
    """DESIGN 3: there are no descriptors for a connection, so nobody can say what it would do."""
    sluice.descriptors = 128
    up = group([named(0), named(1)], "ejection: { consecutive_failures: 1, base: 1h, max: 100% }",
               workers=1)
    wire = up.connect()
    wire.send(b"GET / HTTP/1.1\r\n")  # accepted, and not idle
    taken = [up.connect() for _ in range(160)]  # more than there are descriptors
    sluice.log.wait_for("Too many open files")
    wire.send(b"Host: up.test\r\n\r\n")
    assert wire.read_response().status == 503
    assert wire.ask().status == 503
    for each in taken:
        each.close()
    wait_until(lambda: wire.ask().status == 200, "there were descriptors again")
    for endpoint in up.facts()["endpoints"]:
        assert endpoint["state"] == "ok"
        assert endpoint["failures_in_row"] == endpoint["ejections"] == 0
        assert endpoint["connect_failures"] == 0
    assert up.facts()["retries"] == 0


@pytest.mark.one_engine(False)
def test_clients_that_leave_never_count_against_an_endpoint(group):
    up = group([never_answer], "ejection: { consecutive_failures: 1, base: 1h, max: 100% }")
    for number in range(5):
        wire = up.send()
        up.wait_for_requests(number + 1)
        wire.reset()
        up.backends[0].wait_until_idle()
    assert up.endpoint(0)["state"] == "ok"
    assert up.endpoint(0)["failures_in_row"] == 0
    assert up.endpoint(0)["active"] == 0


# -- slow start

@pytest.mark.parametrize("balance", BALANCES)
def test_endpoint_that_a_reload_adds_starts_slowly(group, balance):
    keys = f"balance: {balance}", "slow_start: 1d"
    up = group([named(0), named(1), named(2)], *keys, count=2, workers=1)
    wire = up.connect()
    answers = [int(wire.ask().body) for _ in range(40)]
    assert set(answers) == {0, 1}  # those of the first configuration do not start slowly
    up.configure(*keys)
    up.sluice.reload()
    answers = [int(wire.ask().body) for _ in range(300)]
    # A tenth of the weight of the others; where nobody is busy, that decides alone.
    assert answers.count(2) < 45
    assert answers.count(2) > 0 or balance != "round-robin"
    assert answers.count(0) > 60 and answers.count(1) > 60
