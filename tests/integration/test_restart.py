"""What outlives the daemon: a stop, a kill, a restart. And what must not."""
import os
import threading
from contextlib import suppress

import pytest

from lib import leftovers
from lib.backend import RawBackend, answer_each
from lib.dataplane import assert_dropped, configure, probe, reach
from lib.netns import BACKEND, CLIENT, DOWN, SLUICE
from lib.wait import Thread, wait_until
from lib.wire import Truncated, Wire, chunks, request, response

PROXY = f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams: [ {{ name: up, endpoints: [ "{BACKEND[0]}:9500" ] }} ]
routes: [ {{ name: all, proxy: {{ upstream: up }} }} ]
"""


def denied_packets(sluice):
    """From the pins: there is no daemon."""
    rows = sluice.cli_json("deny", "counters")["reasons"]
    return next(row["packets"] for row in rows if row["name"] == "deny")


def assert_dropped_without_daemon(sluice, topology, source):
    before = denied_packets(sluice)
    with probe(topology, source):
        wait_until(lambda: denied_packets(sluice) > before, "the counter of deny moved")


@pytest.mark.one_engine
def test_kill_9_leaves_deny_working_and_a_restart_adopts_the_pins(sluice, topology):
    configure(sluice, deny=CLIENT[1])
    sluice.start()
    sluice.cli("deny", "add", CLIENT[2], "reason", "by hand", check=True)
    program = sluice.admin("/v1/status")["dataplane"]["interfaces"][0]
    assert program["name"] == DOWN and program["adopted"] is False
    counted = sluice.dropped("pass")
    sluice.kill9()

    assert_dropped_without_daemon(sluice, topology, CLIENT[1])
    assert_dropped_without_daemon(sluice, topology, CLIENT[2])

    sluice.start()
    assert sluice.admin("/v1/status")["dataplane"]["interfaces"][0]["adopted"] is True
    assert sluice.dropped("pass") >= counted, "the counters began anew"
    assert reach(topology)
    assert_dropped(sluice, topology, CLIENT[1])
    assert_dropped(sluice, topology, CLIENT[2])


@pytest.mark.one_engine
def test_cli_changes_the_lists_while_no_daemon_lives(sluice, topology):
    configure(sluice)
    sluice.start()
    sluice.kill9()

    sluice.cli("deny", "add", CLIENT[1], "reason", "alone", check=True)
    assert_dropped_without_daemon(sluice, topology, CLIENT[1])
    assert [(each["cidr"], each["reason"]) for each in
            sluice.cli_json("deny", "show")["entries"]] == [(f"{CLIENT[1]}/32", "alone")]
    sluice.cli("deny", "add", CLIENT[2], check=True)
    sluice.cli("deny", "delete", CLIENT[2], check=True)
    assert sluice.cli("status").returncode == 0
    shown = sluice.cli_json("prog", "show")
    assert [each["name"] for each in shown["interfaces"]] == [DOWN]

    sluice.start()  # and the daemon keeps what was done
    assert_dropped(sluice, topology, CLIENT[1])
    assert reach(topology, source=CLIENT[2])


@pytest.mark.one_engine
def test_changes_by_cli_survive_the_loss_of_the_pins(sluice, topology):
    """As after a reboot: the overlay in state_dir brings them back."""
    configure(sluice)
    sluice.start()
    sluice.cli("deny", "add", CLIENT[1], "reason", "kept", check=True)
    sluice.stop()
    sluice.cli("prog", "unload", check=True)
    assert reach_nobody(topology)
    sluice.start()
    assert_dropped(sluice, topology, CLIENT[1])
    entry = sluice.cli_json("deny", "show")["entries"][0]
    assert (entry["reason"], entry["origin"]) == ("kept", "cli")


def reach_nobody(topology):
    with pytest.raises(ConnectionRefusedError):
        reach(topology)
    return True


@pytest.mark.one_engine
def test_orderly_stop_leaves_the_kernel_part_at_work(sluice, topology):
    configure(sluice, deny=CLIENT[1])
    sluice.start()
    sluice.stop()
    assert_dropped_without_daemon(sluice, topology, CLIENT[1])
    assert not os.path.exists(sluice.socket_path)


@pytest.mark.one_engine
def test_unload_removes_everything(sluice, topology):
    configure(sluice, deny=CLIENT[1])
    sluice.start()
    refused = sluice.cli("prog", "unload")
    assert refused.returncode != 0 and "stop" in refused.stderr
    sluice.kill9()
    assert "xdp" in topology.ip("sluice", "link", "show", DOWN).stdout
    assert sluice.local_routes() != ""
    sluice.cli("prog", "unload", check=True)
    assert "xdp" not in topology.ip("sluice", "link", "show", DOWN).stdout
    assert not os.path.exists(sluice.bpffs)
    assert sluice.local_routes() == ""
    sluice.cli("prog", "unload", check=True)  # and once more is no error
    reach_nobody(topology)
    sluice.start()
    assert_dropped(sluice, topology, CLIENT[1])


def test_kill_9_under_load_and_a_restart_serve_again(sluice, topology):
    stop = threading.Event()

    def user(number):
        """Asks all the time. Connections may be lost with the daemon, wrong answers never come."""
        done = 0
        while not stop.is_set():
            try:
                with Wire(topology.connect("client", SLUICE, 80, CLIENT[number],
                                           timeout_s=3)) as wire:
                    while not stop.is_set():
                        wire.send(request("/load", "POST", ["Transfer-Encoding: chunked"]),
                                  chunks(b"x" * 50_000, [777]))
                        answer = wire.read_response()
                        assert (answer.status, answer.body) == (200, b"y" * 70_000)
                        done += 1
            except (Truncated, OSError):
                continue
        return done

    with RawBackend(topology, BACKEND[0], 9500, answer_each(response(b"y" * 70_000))) as backend:
        sluice.configure(PROXY)
        sluice.start()
        users = [Thread(user, number) for number in range(4)]
        try:
            for _ in range(3):
                seen = len(backend.requests)
                backend.wait_for_requests(seen + 20)
                sluice.kill9()
                sluice.start()
                wait_until(lambda: reach_proxy(topology), "it serves again")
                # Whoever tried while it was away is let in by its retransmitted SYN, or tried anew.
                seen = len(backend.requests)
                backend.wait_for_requests(seen + 20)
        finally:
            stop.set()
        assert all(each.finish() > 0 for each in users)


def reach_proxy(topology):
    with suppress(Truncated, OSError):
        with Wire(topology.connect("client", SLUICE, 80, timeout_s=5)) as wire:
            return wire.ask("/probe").status == 200
    return False


def test_orderly_stop_lets_running_answers_end(sluice, topology):
    go_on = threading.Event()

    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"a" * 100_000)
        go_on.wait(30)
        connection.send(b"b" * 100_000)
        connection.wait_for_end()

    with RawBackend(topology, BACKEND[0], 9500, handler):
        sluice.configure(PROXY, drain="20s")
        sluice.start()
        with Wire(topology.connect("client", SLUICE, 80)) as busy, \
                Wire(topology.connect("client", SLUICE, 80)) as idle:
            busy.send(request())
            head = busy.read_response_head()
            stopper = Thread(sluice.stop)
            assert idle.is_closed()  # nothing runs on it, so it is closed at once
            go_on.set()
            assert busy.read_response_body(head).body == b"a" * 100_000 + b"b" * 100_000
            assert busy.is_closed()
            stopper.finish()


def test_stop_with_a_stuck_client_ends_with_the_drain_time(sluice, topology):
    def handler(connection):
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        connection.wait_for_end()

    with RawBackend(topology, BACKEND[0], 9500, handler):
        sluice.configure(PROXY, drain="1s")
        sluice.start()
        with Wire(topology.connect("client", SLUICE, 80)) as wire:
            wire.send(request())
            head = wire.read_response_head()
            stopper = Thread(sluice.stop)
            with pytest.raises(Truncated):
                wire.read_response_body(head)
            stopper.finish()


def test_load_leaves_no_descriptor_behind(sluice, topology):
    with RawBackend(topology, BACKEND[0], 9500) as backend:
        sluice.configure(PROXY.replace('"10.77.2.11:9500" ]', '"10.77.2.11:9500" ], '
                                       'timeouts: { idle: 1s }'))
        sluice.start()
        with Wire(topology.connect("client", SLUICE, 80)) as wire:
            wire.ask()
        backend.wait_until_idle()
        before = leftovers.descriptors(sluice.pid)
        for turn in range(30):
            wires = [Wire(topology.connect("client", SLUICE, 80, CLIENT[turn % 4]))
                     for _ in range(8)]
            for number, wire in enumerate(wires):
                if number == 0:
                    wire.send(b"GET / HTTP/1.1\r\nHo")  # and leaves
                elif number == 1:
                    wire.send(b"nonsense\r\n\r\n")
                elif number == 2:
                    wire.send(request("/", "POST", ["Content-Length: 100"]), b"part")
                    wire.reset()
                    continue
                else:
                    assert wire.ask().status == 200
            for wire in wires:
                wire.close()
        backend.wait_until_idle()
        wait_until(lambda: len(leftovers.descriptors(sluice.pid)) <= len(before),
                   "all descriptors of the load were closed")


@pytest.mark.parametrize("fields", [[], ["Connection: close"]])
def test_answer_that_the_kernel_has_outlives_the_daemon(sluice, topology, fields):
    """The daemon is done with it; the client has yet to take it."""
    body = b"a" * (72 * 1024)
    sluice.configure(PROXY, drain="1s")
    sluice.start()
    with RawBackend(topology, BACKEND[0], 9500, answer_each(response(body))), \
            Wire(topology.connect("client", SLUICE, 80, receive_bytes=16384)) as wire:
        wire.send(request(fields=fields, host="any.test"))
        head = wire.read_response_head()
        wait_until(lambda: sluice.route("all")["responses"]["2xx"],
                   "the daemon is done with the answer")
        sluice.stop()
        assert wire.read_response_body(head).body == body
