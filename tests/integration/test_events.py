"""What the daemon notes as events, and what `sluice event` and `sluice stats` make of it."""
import json
import subprocess

import pytest

from lib.backend import RawBackend
from lib.netns import BACKEND, SLUICE
from lib.programs import build_dir
from lib.wait import wait_until
from lib.wire import Wire

pytestmark = pytest.mark.one_engine

CONFIG = f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams: [ {{ name: app, endpoints: [ "{SLUICE}:9" ] }} ]
routes: [ {{ name: hello, respond: {{ body: hello }} }} ]
"""


def events(sluice, *words):
    return sluice.cli_json("event", *words)["events"]


def kinds(sluice, *words):
    return [event["kind"] for event in events(sluice, *words)]


def test_start_reload_and_list_changes_are_events_in_their_order(sluice):
    sluice.configure(CONFIG)
    sluice.start()
    assert kinds(sluice) == ["ready"]
    sluice.reload()
    sluice.configure(CONFIG + "nonsense: 1\n")
    assert sluice.cli("config", "reload").returncode == 1
    sluice.cli("deny", "add", "203.0.113.0/24", "reason", "scanner", check=True)
    sluice.cli("deny", "delete", "203.0.113.0/24", check=True)
    sluice.cli("allow", "add", "198.51.100.7", check=True)
    seen = events(sluice)
    assert [event["kind"] for event in seen] == [
        "ready", "reloaded", "reload_refused", "deny_changed", "deny_changed", "allow_changed"]
    assert [event["seq"] for event in seen] == [1, 2, 3, 4, 5, 6]
    assert seen[1]["text"] == "generation 2"
    assert "unknown key 'nonsense'" in seen[2]["text"] and seen[2]["level"] == "warning"
    assert (seen[3]["object"], seen[3]["text"]) == ("203.0.113.0/24", "added")
    assert seen[4]["text"] == "removed"
    assert kinds(sluice, "since", "4") == ["deny_changed", "allow_changed"]
    assert kinds(sluice, "last", "1") == ["allow_changed"]
    assert "reload_refused" in sluice.cli("event", check=True).stdout


def test_event_watch_follows_a_restart(sluice, topology):
    sluice.configure(CONFIG)
    sluice.start()
    watching = subprocess.Popen(
        topology.command("sluice", str(build_dir() / "sluice"), "-j", "--socket",
                         sluice.socket_path, "event", "watch", "last", "1", "count", "3"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        first = json.loads(watching.stdout.readline())
        assert (first["kind"], first["seq"]) == ("ready", 1)
        sluice.reload()
        assert json.loads(watching.stdout.readline())["kind"] == "reloaded"
        sluice.kill9()
        sluice.start()
        out, err = watching.communicate(timeout=60)
    finally:
        watching.kill()
        watching.communicate()
    last = json.loads(out)
    assert (last["kind"], last["seq"], err) == ("ready", 1, "")
    assert watching.returncode == 0


def test_ejection_and_return_of_an_endpoint_are_events(sluice, topology):
    sluice.configure(f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams:
  - name: app
    endpoints: [ "{BACKEND[0]}:9340", "{BACKEND[0]}:9341" ]
    ejection: {{ consecutive_failures: 2, base: 200ms }}
routes: [ {{ name: all, proxy: {{ upstream: app }} }} ]
""")
    sluice.start()
    # Nobody listens on the other port. Requests go on, for they are what an endpoint returns by.
    with RawBackend(topology, BACKEND[0], 9340), \
            Wire(topology.connect("client", SLUICE, 80)) as wire:
        def happened(kind):
            assert wire.ask(host="any.test").status in (200, 502, 503)
            return [event for event in events(sluice) if event["kind"] == kind]

        out = wait_until(lambda: happened("endpoint_ejected"), "the endpoint was ejected")
        wait_until(lambda: happened("endpoint_returned"), "the endpoint returned")
    assert out[0]["object"] == f"app {BACKEND[0]}:9341"
    assert out[0]["level"] == "warning"
    assert "failed 2 times in a row" in out[0]["text"]


def test_connections_that_cannot_be_accepted_are_an_event(sluice, topology):
    sluice.descriptors = 160
    sluice.configure(CONFIG, workers=1)
    sluice.start()
    wires = [Wire(topology.connect("client", SLUICE, 80)) for _ in range(160)]
    try:
        assert sluice.log.wait_for("accept: Too many open files")
    finally:
        for wire in wires:
            wire.close()
    with Wire(topology.connect("client", SLUICE, 80)) as wire:  # and it goes on
        assert wire.ask(host="any.test").body == b"hello"
    seen = [event for event in events(sluice) if event["kind"] == "listener_error"]
    assert seen and seen[0]["level"] == "warning"
    assert seen[0]["text"] == "worker 0: accept: Too many open files"


def test_stats_count_what_passed(sluice, topology):
    sluice.configure(CONFIG)
    sluice.start()
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        for _ in range(20):
            assert wire.ask(host="any.test").body == b"hello"
        before = sluice.cli_json("stats")
        assert before["totals"]["connections"] == 1
    assert before["totals"]["requests"] == 20
    assert before["routes"][0]["requests"] in (19, 20)  # the last may still be on its way out
    assert before["upstreams"] == [
        {"name": "app", "endpoints": 1, "ejected": 0, "connections_open": 0, "connections_idle": 0,
         "requests": 0, "requests_per_s": None, "responses_5xx": 0, "failures": 0, "retries": 0}]
    after = sluice.cli_json("stats", "interval", "100ms")
    assert after["interval_s"] >= 0.1
    assert after["totals"]["requests_per_s"] == 0
    assert after["routes"][0]["bytes_out"] == 100
