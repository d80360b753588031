"""`stats` and `event`: rates between two looks, and commands that print as long as they run."""
import copy
import json
import os
import subprocess
import threading

import answers
from conftest import HANG_S, SLUICE
from fake_admin import FakeAdmin, http


def growing(document, change):
    """An answer that change(document, turn) alters each time it is asked for."""
    turns = iter(range(1 << 30))

    def answer(connection, _request):
        altered = copy.deepcopy(document)
        change(altered, next(turns))
        connection.sendall(http(altered))

    return answer


def grow_workers(document, turn):
    for worker in document["workers"]:
        worker["requests"] += 1000 * turn


def grow_routes(document, turn):
    document["routes"][0]["requests"] += 500 * turn


def grow_upstreams(document, turn):
    document["upstreams"][0]["endpoints"][1]["requests"] += 250 * turn


def grow(admin):
    admin.script[("GET", "/v1/status")] = growing(answers.STATUS, grow_workers)
    admin.script[("GET", "/v1/routes")] = growing(answers.ROUTES, grow_routes)
    admin.script[("GET", "/v1/upstreams")] = growing(answers.UPSTREAMS, grow_upstreams)


def test_rates_are_what_grew_by_the_time_that_passed(sluice, admin):
    grow(admin)
    doc = sluice("-j", "stats", "interval", "200ms").json
    seconds = doc["interval_s"]
    assert seconds >= 0.2
    for rate, grown in ((doc["totals"]["requests_per_s"], 2000),
                        (doc["totals"]["accepted_per_s"], 0),
                        (doc["routes"][0]["requests_per_s"], 500),
                        (doc["routes"][1]["requests_per_s"], 0),
                        (doc["upstreams"][0]["requests_per_s"], 250)):
        assert abs(rate * seconds - grown) < 0.01 * grown + 0.001
    assert doc["routes"][0]["requests"] == answers.ROUTES["routes"][0]["requests"] + 500


def test_sums_are_those_of_workers_and_endpoints(sluice):
    doc = sluice("-j", "stats").json
    assert doc["interval_s"] is None and doc["totals"]["requests_per_s"] is None
    assert doc["totals"]["requests"] == 98765432 + 98700011
    assert doc["totals"]["connections"] == 21
    assert doc["totals"]["counters"] == answers.STATUS["counters"]
    cart = doc["upstreams"][0]
    assert (cart["endpoints"], cart["requests"], cart["failures"]) == (2, 187500, 6)
    assert (cart["ejected"], cart["retries"]) == (1, 3)


def test_another_daemon_and_a_new_route_have_no_rate(sluice, admin):
    def restart(document, turn):
        document["pid"] += turn

    grow(admin)
    admin.script[("GET", "/v1/status")] = growing(answers.STATUS, restart)
    doc = sluice("-j", "stats", "interval", "100ms").json
    assert doc["interval_s"] is None
    assert [route["requests_per_s"] for route in doc["routes"]] == [None] * 3

    def rename(document, turn):
        document["routes"][0]["name"] += str(turn)

    admin.script[("GET", "/v1/status")] = growing(answers.STATUS, grow_workers)
    admin.script[("GET", "/v1/routes")] = growing(answers.ROUTES, rename)
    doc = sluice("-j", "stats", "interval", "100ms").json
    rates = [route["requests_per_s"] for route in doc["routes"]]
    assert rates[0] is None and None not in rates[1:]


def test_stats_watch_prints_a_document_for_each_interval(sluice, admin):
    grow(admin)
    result = sluice("-j", "stats", "watch", "interval", "100ms", "count", "3")
    docs = [json.loads(line) for line in result.out.splitlines()]
    assert result.status == 0 and len(docs) == 3
    assert [doc["routes"][0]["requests"] for doc in docs] == [125500, 126000, 126500]
    assert all(doc["interval_s"] > 0 for doc in docs)
    text = sluice("stats", "watch", "interval", "100ms", "count", "2").out
    assert text.count("ROUTE ") == 2 and "\x1b" not in text


def test_rates_of_the_kernel_part_go_on_over_a_restart_of_the_daemon(sluice, admin):
    def grow_counters(document, turn):
        document["reasons"][2]["packets"] += 300 * turn
        document["reasons"][2]["bytes"] += 18000 * turn

    def restart(document, turn):
        document["pid"] += turn

    admin.script[("GET", "/v1/status")] = growing(answers.STATUS, restart)
    admin.script[("GET", "/v1/counters")] = growing(answers.COUNTERS, grow_counters)
    doc = sluice("-j", "stats", "interval", "200ms").json
    deny = doc["reasons"][2]
    assert deny["name"] == "deny" and deny["packets"] == 45978 and doc["interval_s"] is None
    # The time between the looks is not told; packets and bytes grew in the same.
    assert 0 < deny["packets_per_s"] <= 1500
    assert abs(deny["bytes_per_s"] / deny["packets_per_s"] - 60) < 0.001
    assert doc["reasons"][0]["packets_per_s"] == 0
    assert sluice("-j", "stats").json["reasons"][0]["packets_per_s"] is None


def test_services_and_backends_have_their_rates(sluice, admin):
    def grow(document, turn):
        service = document["services"][0]
        service["packets"] += 200 * turn
        service["backends"][1]["packets"] += 100 * turn
        service["backends"][1]["bytes"] += 6000 * turn
        if turn % 2:
            service["backends"].reverse()

    admin.script[("GET", "/v1/services")] = growing(answers.SERVICES, grow)
    service, = sluice("-j", "stats", "interval", "100ms").json["services"]
    assert (service["name"], service["backends_up"], service["fail_open"]) == ("dns", 1, False)
    backends = {each["address"]: each for each in service["backends"]}
    assert backends["2001:db8:1::11"]["packets_per_s"] == 0
    assert backends["2001:db8:1::11"]["packets"] == 833000
    grown = backends["2001:db8:1::12"]
    assert grown["state"] == "draining" and 0 < grown["packets_per_s"] <= 1000
    assert abs(service["packets_per_s"] / grown["packets_per_s"] - 2) < 0.001
    assert abs(grown["bytes_per_s"] / grown["packets_per_s"] - 60) < 0.001
    service, = sluice("-j", "stats").json["services"]
    assert service["packets_per_s"] is service["backends"][0]["bytes_per_s"] is None
    admin.script[("GET", "/v1/services")] = answers.SERVICES | {"services": [
        answers.SERVICES["services"][0] | {"health": {"fail_open": True}}]}
    assert "1 of 2 up, fail open" in sluice("stats").out


def event(seq, **more):
    return {"seq": seq, "time": "2026-11-24T04:00:00Z", "time_ms": 1, "kind": "reloaded",
            "level": "info", "object": None, "text": f"generation {seq}", **more}


class Node:
    """Events that a test adds while the command watches."""

    def __init__(self, instance, count=0):
        self.instance = instance
        self.events = [event(seq + 1) for seq in range(count)]
        self.oldest = 1
        self.asked = threading.Condition()
        self.asks = []

    def add(self, **more):
        self.events.append(event(len(self.events) + 1, **more))

    def __call__(self, connection, request):
        query = dict(pair.split("=") for pair in request.target.split("?")[1].split("&"))
        since, last = int(query["since"]), int(query["last"])
        wanted = [each for each in self.events if each["seq"] > max(since, self.oldest - 1)]
        connection.sendall(http({
            "instance": self.instance, "newest": len(self.events), "lost": 0,
            "missed": max(0, self.oldest - 1 - since), "events": wanted[len(wanted) - last:]
            if last < len(wanted) else wanted}))
        with self.asked:
            self.asks.append((since, last))
            self.asked.notify_all()

    def wait_for(self, since):
        with self.asked:
            assert self.asked.wait_for(lambda: any(ask[0] == since for ask in self.asks), HANG_S)


class Watching:
    """`sluice -j event watch` at work."""

    def __init__(self, places, *words):
        env = {**os.environ, **places}
        self.process = subprocess.Popen([SLUICE, *words], env=env, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def line(self):
        return self.process.stdout.readline()

    def end(self):
        out, err = self.process.communicate(timeout=HANG_S)
        return self.process.returncode, out, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()


def test_event_watch_prints_events_as_they_come(admin, places, sluice_binary):
    node = Node(instance=1, count=5)
    admin.script[("GET", "/v1/events")] = node
    with Watching(places, "-j", "event", "watch", "count", "3") as watching:
        node.wait_for(5)  # the five old ones are not shown
        node.add()
        assert json.loads(watching.line()) == event(6)
        node.wait_for(6)
        node.add(object="cart 10.0.0.1:80", text="two at\nonce \x1b[2J")
        node.add()
        status, out, err = watching.end()
    assert [json.loads(line)["seq"] for line in out.splitlines()] == [7, 8]
    assert (status, err) == (0, "")


def test_event_watch_shows_some_of_the_past_first(admin, places, sluice_binary):
    node = Node(instance=1, count=5)
    admin.script[("GET", "/v1/events")] = node
    for words, expected in ((["last", "2", "count", "2"], [4, 5]),
                            (["since", "2", "count", "3"], [3, 4, 5]),
                            (["since", "1", "last", "1", "count", "1"], [5])):
        with Watching(places, "-j", "event", "watch", *words) as watching:
            _, out, _ = watching.end()
        assert [json.loads(line)["seq"] for line in out.splitlines()] == expected


def test_event_watch_says_what_it_missed(admin, places, sluice_binary):
    node = Node(instance=1, count=5)
    admin.script[("GET", "/v1/events")] = node
    with Watching(places, "-j", "event", "watch", "count", "1") as watching:
        node.wait_for(5)
        node.events += [event(seq) for seq in range(6, 20)]
        node.oldest = 19
        _, out, _ = watching.end()
    assert [json.loads(line) for line in out.splitlines()] == [{"missed": 13}, event(19)]


def test_event_watch_follows_a_daemon_that_starts_anew(places, sluice_binary):
    first, second = Node(instance=1, count=9), Node(instance=2, count=2)
    with FakeAdmin(places["SLUICE_SOCKET"]) as admin:
        admin.script[("GET", "/v1/events")] = first
        watching = Watching(places, "event", "watch", "count", "3")
        with watching:
            first.wait_for(9)
            admin.__exit__()
            assert watching.process.stderr.readline().endswith("; waiting for one\n")
            with FakeAdmin(places["SLUICE_SOCKET"]) as again:
                again.script[("GET", "/v1/events")] = second
                second.wait_for(2)
                second.add(text="after\x1b[2J all")
                status, out, err = watching.end()
            admin.__enter__()
    assert out.splitlines() == [
        "2026-11-24T04:00:00Z info reloaded: generation 1",
        "2026-11-24T04:00:00Z info reloaded: generation 2",
        "2026-11-24T04:00:00Z info reloaded: after\\x1b[2J all"]
    assert (status, err) == (0, "")


def test_event_watch_ends_when_nobody_reads_it(admin, places, sluice_binary):
    node = Node(instance=1, count=1)
    admin.script[("GET", "/v1/events")] = node
    with Watching(places, "event", "watch", "last", "1") as watching:
        assert watching.line()
        watching.process.stdout.close()
        node.add()
        assert watching.process.wait(HANG_S) == 1
        assert watching.process.stderr.read() == ""


def test_event_watch_without_a_daemon_is_an_error(alone):
    assert "start sluiced" in alone("-j", "event", "watch").json_error


def test_error_while_watching_is_the_last_document(admin, places, sluice_binary):
    node = Node(instance=1, count=1)
    admin.script[("GET", "/v1/events")] = node
    with Watching(places, "-j", "event", "watch", "last", "1") as watching:
        assert json.loads(watching.line())["seq"] == 1
        admin.script[("GET", "/v1/events")] = {"nonsense": 1}
        status, out, _ = watching.end()
    assert status == 1
    assert set(json.loads(out)) == {"error"}
