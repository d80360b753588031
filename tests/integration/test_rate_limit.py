"""The policy rate_limit in the daemon: exact over workers, told to clients, kept over reloads."""
import threading

import pytest

from lib.daemon import daemon
from lib.gate import Gate, all_of
from lib.netns import CLIENT, SLUICE
from lib.wait import wait_until
from lib.wire import Wire

CONFIG = """
policies:
  - { name: few, rate_limit: { rate: 1/h, burst: BURST, key: [ { header: x-user } ], keys: KEYS } }
  - { name: apart, rate_limit: { rate: 1/h, burst: 1, key: [ route, { header: x-user } ] } }
  - { name: by-source, rate_limit: { rate: 1/h, burst: 40 } }
  - { name: quick, rate_limit: { rate: 20/s, burst: 1 } }
routes:
  - { name: few, match: { hosts: [ few.test ] }, policies: [ few ], proxy: { upstream: app } }
  - { name: too, match: { hosts: [ too.test ] }, policies: [ few ], respond: { body: too } }
  - { name: here, match: { hosts: [ here.test ] }, policies: [ apart ], respond: { body: here } }
  - { name: there, match: { hosts: [ there.test ] }, policies: [ apart ], respond: { body: there } }
  - { name: mine, match: { hosts: [ mine.test ] }, policies: [ by-source ], respond: { body: mine } }
  - { name: quick, match: { hosts: [ quick.test ] }, policies: [ quick ], respond: { body: quick } }
"""


def config(burst=3, keys=1024):
    return CONFIG.replace("BURST", str(burst)).replace("KEYS", str(keys))


@pytest.fixture(scope="module")
def house(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        gate = Gate(topology, sluice)
        gate.configure(config())
        sluice.start()
        yield gate


def user(gate, name):
    """Nobody else's."""
    return [f"x-user: {gate.protocol}-{name}"]


def test_client_hears_how_far_it_may_go_and_when_to_come_again(gate):
    before = gate.refusals("few", "limited")
    for left in (2, 1, 0):
        status, fields, _ = gate.ask("/", "few.test", user(gate, "one"))
        assert status == 200
        assert all_of(fields, "ratelimit-policy") == ['"few";q=3;w=10800']
        assert all_of(fields, "ratelimit") == [f'"few";r={left};t={3600 * (3 - left)}']
    status, fields, body = gate.ask("/late", "few.test", user(gate, "one"))
    assert (status, body) == (429, b"429 Too Many Requests: too many requests\n")
    assert all_of(fields, "retry-after") == ["3600"]
    assert all_of(fields, "ratelimit") == ['"few";r=0;t=10800']
    assert len(gate.backend.requests) == 3
    assert gate.last_line(target="/late")["reason"] == \
        "too many requests: policy 'few': more than 3 at once and 1 in 3600 s"
    assert gate.refusals("few", "limited") == before + 1
    assert gate.status("/", "few.test", user(gate, "two")) == 200


def test_routes_share_a_limit_unless_the_key_says_otherwise(gate):
    assert [gate.status("/", host, user(gate, "sharer")) for host in
            ("few.test", "too.test", "few.test", "too.test", "few.test")] == [200] * 3 + [429] * 2
    assert [gate.status("/", host, user(gate, "sharer")) for host in
            ("here.test", "there.test", "here.test", "there.test")] == [200] * 2 + [429] * 2


def test_what_was_counted_outlives_reloads(gate):
    try:
        assert [gate.status("/", "too.test", user(gate, "stayer")) for _ in range(4)] == \
            [200] * 3 + [429]
        gate.configure(config(burst=5))
        gate.sluice.reload()
        assert [gate.status("/", "too.test", user(gate, "stayer")) for _ in range(3)] == \
            [200] * 2 + [429]
        gate.configure(config())
        gate.sluice.reload()
        assert gate.status("/", "too.test", user(gate, "stayer")) == 429
        gate.configure(config(keys=2048)) # another table
        gate.sluice.reload()
        assert gate.status("/", "too.test", user(gate, "stayer")) == 200
    finally:
        gate.configure(config())
        gate.sluice.reload()


def test_time_gives_back(gate):
    for _ in range(3):
        wait_until(lambda: gate.status("/", "quick.test") == 200, "the next is let through")


def test_two_workers_count_together(topology, workdir, engine, house):
    """Sixty connections over both, each asking twice: the limit is passed by nobody."""
    source, statuses, lock = CLIENT[2], [], threading.Lock()

    def ask():
        with Wire(topology.connect("client", SLUICE, 80, source=source)) as wire:
            for _ in range(2):
                status = wire.ask("/", host="mine.test").status
                with lock:
                    statuses.append(status)

    threads = [threading.Thread(target=ask) for _ in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200] * 40 + [429] * 80
    workers = house.sluice.admin("/v1/status")["workers"]
    assert len(workers) == 2
