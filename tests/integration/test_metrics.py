"""GET /metrics: what promtool says of it, and whether its figures agree with what was done."""
import os
import re
import socket
import struct
import subprocess

import pytest

from lib.backend import RawBackend, answer_each
from lib.netns import BACKEND, DOWN, SLUICE, inside
from lib.prometheus import PORT, Page, connect, fetch, scrape
from lib.wait import wait_until
from lib.wire import Closed, Wire, request, response

pytestmark = pytest.mark.one_engine

TOP = os.path.join(os.path.dirname(__file__), "..", "..")
METRICS = f"  metrics: \"{SLUICE}:{PORT}\"\n"
BACKEND_PORT = 9300
CONFIG = METRICS + f"""
listeners: [ {{ name: web, address: "{SLUICE}:80" }} ]
upstreams:
  - {{ name: up, endpoints: [ "{BACKEND[0]}:{BACKEND_PORT}" ] }}
  - {{ name: odd, endpoints: [ 'unix:/run/a"b\\c.sock' ] }}
routes:
  - {{ name: say, match: {{ path: {{ exact: /say }} }}, respond: {{ status: 200, body: hello }} }}
  - {{ name: go, match: {{ path: {{ exact: /go }} }}, redirect: {{ path: /say }} }}
  - {{ name: odd, match: {{ path: {{ exact: /odd }} }}, proxy: {{ upstream: odd }} }}
  - {{ name: idle, match: {{ path: {{ exact: /idle }} }}, respond: {{ status: 200 }} }}
  - {{ name: up, match: {{ hosts: [ up.test ] }}, proxy: {{ upstream: up }} }}
  - {{ name: once, match: {{ hosts: [ once.test ] }}, policies: [ once, few ],
       respond: {{ status: 200 }} }}
policies: [ {{ name: once, rate_limit: {{ rate: 1/h }} }}, {{ name: few, concurrency: {{ max: 9 }} }} ]
"""
OFFENDERS = "dataplane: { auto_deny: [ { event: rate_limited, over: 9/m, ttl: 1m } ] }\n"


def start(sluice, config=CONFIG):
    sluice.configure(config)
    return sluice.start()


def ask(topology, target, host="any.test", body=None):
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        return wire.ask(target, "POST" if body else "GET", body=body, host=host).status


def requests_of(page, route):
    return page.sum("sluice_route_responses_total", route=route)


def test_promtool_has_nothing_to_say_about_the_page(topology, sluice):
    start(sluice)
    ask(topology, "/say")
    page = fetch(topology).body
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True,
                          timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_requests_bytes_and_durations_of_routes_are_what_was_asked(topology, sluice):
    start(sluice)
    backend = RawBackend(topology, BACKEND[0], BACKEND_PORT, answer_each(
        response(b"x" * 1000), response(b"", "500 Broken"), response(b"", "404 Not Found")))
    with backend:
        for _ in range(7):
            assert ask(topology, "/say") == 200
        for _ in range(3):
            assert ask(topology, "/go") == 308
        with Wire(topology.connect("client", SLUICE, 80)) as wire:
            assert [wire.ask("/", "POST", body=b"y" * 50, host="up.test").status
                    for _ in range(4)] == [200, 500, 404, 404]
        assert ask(topology, "/odd") == 502
        assert ask(topology, "/nowhere") == 404
        with Wire(topology.connect("client", SLUICE, 80)) as wire:
            wire.send(b"GET / HTTP/1.1\r\n bad: 1\r\n\r\n")
            assert wire.read_response().status == 400
        page = wait_until(lambda: (lambda each: each if requests_of(each, "up") == 4 and
                                   each.sum("sluice_unrouted_responses_total") == 2 else None)(
                                       scrape(topology)), "all exchanges were counted")
    count = "sluice_route_responses_total"
    assert page.get(count, route="say", code="2xx") == 7
    assert page.get(count, route="go", code="3xx") == 3
    assert page.get(count, route="odd", code="5xx") == 1
    assert [page.get(count, route="up", code=code) for code in ("none", "2xx", "4xx", "5xx")] == [
        0, 1, 2, 1]
    assert page.get("sluice_unrouted_responses_total", code="4xx") == 2
    assert page.get("sluice_route_request_body_bytes_total", route="up") == 200
    assert page.get("sluice_route_response_body_bytes_total", route="up") == 1000
    assert page.get("sluice_route_response_body_bytes_total", route="say") == 7 * 5
    assert not page.all(count, route="idle"), "a route without requests"
    # Every request is in exactly one route or unrouted.
    heads = page.sum("sluice_http_requests_total") + page.sum("sluice_http_bad_requests_total")
    assert page.sum(count) + page.sum("sluice_unrouted_responses_total") == heads == 17

    for route in ("say", "go", "odd", "up"):
        buckets = sorted((float(dict(labels)["le"]), value) for labels, value in page.all(
            "sluice_route_duration_seconds_bucket", route=route).items())
        values = [value for _, value in buckets]
        assert values == sorted(values) and buckets[-1][0] == float("inf")
        assert values[-1] == page.get("sluice_route_duration_seconds_count", route=route)
        assert values[-1] == requests_of(page, route)
        assert page.get("sluice_route_duration_seconds_sum", route=route) > 0

    where = {"upstream": "up", "endpoint": f"{BACKEND[0]}:{BACKEND_PORT}"}
    assert page.get("sluice_endpoint_requests_total", **where) == 4
    assert page.get("sluice_endpoint_responses_total", code="4xx", **where) == 2
    assert page.get("sluice_endpoint_connects_total", **where) == 1
    assert page.get("sluice_endpoint_reuses_total", **where) == 3
    assert page.get("sluice_endpoint_connect_failures_total", upstream="odd",
                    endpoint='unix:/run/a"b\\c.sock') == 1


def test_the_page_agrees_with_the_admin_api(topology, sluice):
    start(sluice)
    ask(topology, "/say")
    wait_until(lambda: sluice.route("say")["requests"] == 1, "the request was counted")
    page, status = scrape(topology), sluice.admin("/v1/status")
    for name, value in status["counters"].items():
        assert page.sum(f"sluice_http_{name}_total") == value, name
    for each in sluice.admin("/v1/counters")["reasons"]:
        # Packets go on arriving.
        assert page.get("sluice_dataplane_packets_total", reason=each["name"]) <= each["packets"]
        assert ("sluice_dataplane_bytes_total", (("reason", each["name"]),)) in page.samples
    assert page.get("sluice_build_info", version=status["version"]) == 1
    assert page.get("process_open_fds") > 5
    assert page.get("process_resident_memory_bytes") > 1 << 20
    assert page.get("process_start_time_seconds") > 1.7e9


def test_every_metric_is_described_and_every_described_one_is_there(topology, sluice):
    start(sluice, CONFIG + OFFENDERS)
    ask(topology, "/say")
    assert [ask(topology, "/", "once.test") for _ in range(2)] == [200, 429]
    page = scrape(topology)
    with open(f"{TOP}/docs/reference/observability.md", encoding="utf-8") as file:
        text = file.read().split("## /metrics")[1]
    described = set()
    for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE):
        described.update(re.findall(r"`([a-zA-Z_]+)`", row))
    counters = {f"sluice_http_{name}_total" for name in sluice.admin("/v1/status")["counters"]}
    counters.update(f"sluice_{kind}_{name}_total" for kind, name in re.findall(
        r"^sluice_(endpoint|upstream)_([a-z_]+)_total", fetch(topology).body.decode(),
        re.MULTILINE))
    described.update(name for name in page.types if name in counters)
    assert set(page.types) - described == set()
    assert {name for name in described if "NAME" not in name} - set(page.types) == set()


@pytest.fixture
def forwarding(topology):
    topology.run("sluice", "sysctl", "-qw", "net.ipv4.ip_forward=1")
    yield
    topology.run("sluice", "sysctl", "-qw", "net.ipv4.ip_forward=0")


def test_services_and_backends_have_their_rows(topology, sluice, forwarding):
    with topology.listen("backends", BACKEND[0], BACKEND_PORT):
        start(sluice, METRICS + f"""
dataplane: {{ interfaces: [ {{ name: {DOWN} }} ] }}
services:
  - {{ name: plain, address: 198.51.100.1, ports: 80, protocol: tcp, forward: ipip, slots: 211,
       backends: [ {{ address: {BACKEND[0]}, weight: 7 }} ] }}
  - {{ name: probed, address: 198.51.100.2, ports: {BACKEND_PORT}, protocol: udp, forward: ipip,
       slots: 211, backends: [ {BACKEND[0]}, {BACKEND[1]} ],
       health: {{ probe: tcp, interval: 200ms, timeout: 200ms }} }}
""")
        up, down = ({"service": "probed", "backend": BACKEND[number]} for number in (0, 1))
        page = wait_until(lambda: (lambda each: each if each.get("sluice_backend_up", **down) == 0
                                   else None)(scrape(topology)), "one backend is down")
        done = subprocess.run(["promtool", "check", "metrics"], input=fetch(topology).body,
                              capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert page.get("sluice_backend_up", **up) == 1
        assert page.get("sluice_backend_probes_total", result="failed", **down) >= 3
        assert page.get("sluice_backend_probes_total", result="succeeded", **up) >= 1
        assert page.get("sluice_backend_probes_total", result="failed", **up) == 0
        states = {labels[1][1]: value for labels, value in page.all(
            "sluice_service_backends", service="probed").items()}
        assert states == {"up": 1, "down": 1, "draining": 0, "drained": 0, "removed": 0}
        assert page.get("sluice_service_fail_open", service="probed") == 0
        assert not page.all("sluice_backend_up", service="plain"), "nobody probes it"
        plain = {"service": "plain", "backend": BACKEND[0]}
        assert page.get("sluice_backend_weight", **plain) == 7
        before = page.get("sluice_service_packets_total", service="plain")
        with inside(topology.netns("client")):
            raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        with raw:
            for port in range(10):
                raw.sendto(struct.pack("!HHIIBBHHH", 1000 + port, 80, 1, 0, 0x50, 2, 100, 0, 0),
                           ("198.51.100.1", 0))
        page = wait_until(lambda: (lambda each: each if each.get(
            "sluice_service_packets_total", service="plain") == before + 10 else None)(
                scrape(topology)), "the packets are counted")
        assert page.get("sluice_service_bytes_total", service="plain") == 10 * 54  # with the Ethernet header
        assert page.get("sluice_backend_packets_total", **plain) == 10
        assert page.get("sluice_backend_bytes_total", **plain) == 10 * 54  # with the Ethernet header
    page = wait_until(lambda: (lambda each: each if each.get(
        "sluice_service_fail_open", service="probed") == 1 else None)(scrape(topology)),
                      "all are down")
    assert page.get("sluice_service_fail_opens_total", service="probed") == 1


def test_drops_are_told_by_service_and_reason(topology, sluice, forwarding):
    start(sluice, METRICS + f"""
dataplane: {{ interfaces: [ {{ name: {DOWN} }} ] }}
services:
  - {{ name: empty, address: 198.51.100.1, ports: 80, protocol: udp, forward: ipip, slots: 211,
       backends: [ {{ address: {BACKEND[0]}, weight: 0 }} ] }}
  - {{ name: good, address: 198.51.100.2, ports: 80, protocol: udp, forward: ipip, slots: 211,
       backends: [ {BACKEND[0]} ] }}
""")
    with topology.socket("client", socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for number in range(12):
            sock.sendto(b"x", ("198.51.100.%u" % (1 + number % 3 // 2), 80))
    name = "sluice_service_dropped_packets_total"
    page = wait_until(lambda: (lambda each: each if each.sum(name, service="empty") == 8 and each.get(
        "sluice_service_packets_total", service="good") == 4 else None)(scrape(topology)),
                      "all packets are counted")
    assert page.get(name, service="empty", reason="service_no_backend") == 8
    assert not page.all(name, service="good")
    services = {each["name"]: each for each in sluice.cli_json("service")["services"]}
    assert services["empty"]["dropped"] == 8 and services["good"]["dropped"] == 0
    assert services["empty"]["drops"] == {"service_no_backend": 8}
    assert "8 service_no_backend" in sluice.cli("service", "name", "empty", check=True).stdout
    sluice.kill9()
    services = {each["name"]: each for each in sluice.cli_json("service")["services"]}
    assert services["empty"]["drops"] == {"service_no_backend": 8}


def test_other_requests_are_refused(topology, sluice):
    start(sluice)
    for target, method, status in (("/", "GET", 404), ("/metrics/", "GET", 404),
                                   ("/v1/status", "GET", 404), ("/metrics", "POST", 405),
                                   ("/metrics", "DELETE", 405)):
        assert fetch(topology, target, method).status == status, (method, target)
    assert fetch(topology, "/metrics?name[]=x").status == 200
    answer = fetch(topology, method="HEAD")
    assert answer.status == 200
    with connect(topology) as wire:
        wire.send(b"\x16\x03\x01 what\r\n\r\n")
        assert wire.read_response().status == 400
    with connect(topology) as wire:
        wire.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        head, _, body = wire.read_until_close().partition(b"\r\n\r\n")
        assert b"chunked" not in head
        Page(body.decode())


def test_at_most_16_connections_are_held_open(topology, sluice):
    start(sluice)
    held = [connect(topology) for _ in range(16)]
    for wire in held:
        wire.send(b"GET /metr")
    with connect(topology) as wire:
        wire.send(request("/metrics", host="metrics.test"))
        try:
            wire.read_response()
            raise AssertionError("a 17th connection was served")
        except Closed:
            pass
    for wire in held:
        wire.send(b"ics HTTP/1.1\r\nHost: m\r\n\r\n")
        assert wire.read_response().status == 200
        wire.close()
    wait_until(lambda: fetch(topology).status == 200, "the others are served again")


def test_reloads_show_and_counters_go_on(topology, sluice):
    start(sluice)
    ask(topology, "/say")
    assert scrape(topology).get("sluice_config_generation") == 1
    sluice.reload()
    page = wait_until(lambda: (lambda each: each if requests_of(each, "say") == 1 else None)(
        scrape(topology)), "the request was counted")
    assert page.get("sluice_config_generation") == 2
    loaded = page.get("sluice_config_last_reload_success_timestamp_seconds")
    assert page.get("sluice_config_last_reload_successful") == 1
    sluice.configure(CONFIG + "nonsense: 1\n")
    assert sluice.cli("config", "reload").returncode != 0
    page = scrape(topology)
    assert page.get("sluice_config_last_reload_successful") == 0
    assert page.get("sluice_config_last_reload_success_timestamp_seconds") == loaded
    sluice.configure(CONFIG.replace(str(PORT), str(PORT + 1)))
    done = sluice.cli("config", "reload")
    assert done.returncode != 0 and "node.metrics: needs a restart" in done.stderr


def test_an_address_that_is_taken_ends_the_start_with_its_name(topology, sluice):
    with topology.listen("sluice", SLUICE, PORT):
        sluice.configure(CONFIG)
        sluice.launch()
        line = sluice.log.wait_for("cannot start")
        assert "node.metrics" in line and "in use" in line, line
        assert sluice.wait_for_exit() == 1


MANY = 10000


def test_a_page_of_10000_routes_that_nobody_reads_holds_up_nobody(topology, sluice):
    routes = "".join(f"  - {{ name: r{number}, match: {{ path: {{ exact: /r/{number} }} }}, "
                     "respond: { status: 204 } }\n" for number in range(MANY))
    start(sluice, METRICS + f"\nlisteners: [ {{ name: web, address: \"{SLUICE}:80\" }} ]\n"
          "routes:\n" + routes)
    quiet = fetch(topology).body
    assert len(quiet) < 50000, "routes without requests are left out"
    with Wire(topology.connect("client", SLUICE, 80)) as wire:
        for first in range(0, MANY, 100):
            numbers = range(first, first + 100)
            wire.send(b"".join(request(f"/r/{number}") for number in numbers))
            for _ in numbers:
                assert wire.read_response().status == 204
    with connect(topology) as slow:
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.send(request("/metrics", host="metrics.test"))
        slow.read_line()
        # It is in the middle of a page that does not fit any buffer; everybody else is served.
        assert sluice.admin("/v1/status")["state"] == "ready"
        assert ask(topology, "/r/5") == 204
        whole = fetch(topology)
        sluice.reload()
        slow.read_head()
        rest = slow.read_body(type("Message", (), {})(), "chunked")
    for each in whole, rest:  # to read so much takes longer than a reader may stop
        page = Page(each.body.decode())
        assert len(page.all("sluice_route_duration_seconds_count")) == MANY
        assert page.sum("sluice_route_responses_total") >= MANY
