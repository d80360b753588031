"""
HARDENING 15: slowhttptest's four ways of wearing a server out with few bytes, while a client that
behaves is served as ever. Afterwards nothing of it is left.

In a short run the four attack one daemon at the same time; in the long one each has it to itself,
with more connections and for longer.
"""
import shutil
import ssl
import subprocess
import threading
import time

import pytest

from lib.backend import RawBackend
from lib.certificates import make_certificate
from lib.netns import BACKEND, CLIENT, SLUICE
from lib.programs import start_nginx
from lib.wait import Thread, wait_until
from lib.wire import Wire

TOOL = "slowhttptest"
NGINX_PORT = 8080
LARGE_BYTES = 2 << 20
LARGE_URL = "/large.bin"
FORM_URL = "/form"  # its backend wants the whole of a body before it answers
MODES = {
    "slow headers": ["-H", "-i", "1", "-x", "10"],
    "slow body": ["-B", "-i", "1", "-s", "8192", "-x", "10"],
    "range": ["-R", "-a", "5", "-b", "500"],
    "slow read": ["-X", "-n", "1", "-w", "1", "-y", "256", "-z", "5", "-k", "3"],
}
CONFIG = f"""
listeners:
  - name: web
    address: [ "{SLUICE}:80" ]
    timeouts: {{ header: 3s, idle: 5s, request: 10s }}
  - name: secure
    address: [ "{SLUICE}:443" ]
    timeouts: {{ handshake: 3s, header: 3s, idle: 5s, request: 10s }}
    tls: {{ certificates: [ {{ cert: one.pem, key: one.key }} ] }}
upstreams:
  - {{ name: nginx, endpoints: [ "{BACKEND[2]}:{NGINX_PORT}" ] }}
  - {{ name: form, endpoints: [ "{BACKEND[0]}:9000" ] }}
routes:
  - {{ name: form, match: {{ path: {{ exact: {FORM_URL} }} }}, proxy: {{ upstream: form }} }}
  - {{ name: all, proxy: {{ upstream: nginx }} }}
"""


@pytest.fixture
def backend(topology, tmp_path):
    with start_nginx(topology, tmp_path / "nginx", BACKEND[2], NGINX_PORT,
                     {"small.txt": b"small", "large.bin": b"L" * LARGE_BYTES}) as program:
        with RawBackend(topology, BACKEND[0], 9000):
            yield program


def status(sluice):
    return sluice.admin("/v1/status")


def connect(topology, secure, source=None):
    sock = topology.connect("client", SLUICE, 443 if secure else 80, source=source)
    if not secure:
        return Wire(sock)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return Wire(context.wrap_socket(sock, server_hostname="any.test"))


def attack(topology, mode, connections, seconds, secure):
    """slowhttptest has bound itself by -l; it ends earlier when all its connections are closed."""
    url = FORM_URL if mode == "slow body" else LARGE_URL
    return topology.popen(
        "client", TOOL, *MODES[mode], "-c", str(connections), "-r", str(connections),
        "-l", str(seconds), "-p", "20", "-u", f"{'https' if secure else 'http'}://{SLUICE}{url}",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


class WellBehaved:
    """Asks on a new connection and again on it, all the time."""

    def __init__(self, topology, secure):
        self.topology, self.secure = topology, secure
        self.answers, self.slowest_s = 0, 0.0
        self.stop = threading.Event()
        self.thread = Thread(self._run)

    def _run(self):
        while not self.stop.is_set():
            with connect(self.topology, self.secure, CLIENT[1]) as wire:
                for target, size in (("/small.txt", 5), (LARGE_URL, LARGE_BYTES),
                                     ("/small.txt", 5)):
                    began = time.monotonic()
                    answer = wire.ask(target, host="any.test")
                    assert (answer.status, len(answer.body)) == (200, size), answer
                    self.answers += 1
                    self.slowest_s = max(self.slowest_s, time.monotonic() - began)

    def finish(self):
        self.stop.set()
        self.thread.finish()


def withstand(sluice, topology, modes, connections, seconds, secure):
    """Attacks by all modes at once; returns what the counters say of it."""
    good = WellBehaved(topology, secure)
    attackers = {mode: attack(topology, mode, connections, seconds, secure) for mode in modes}
    reports = {}
    try:
        for mode, process in attackers.items():
            reports[mode], _ = process.communicate(timeout=seconds + 60)
    finally:
        for process in attackers.values():
            if process.poll() is None:
                process.kill()
                process.wait(20)
    good.finish()
    assert good.answers >= 9, "the client that behaves was hardly served"
    for mode, report in reports.items():
        assert "connected" in report or "closed" in report, f"{mode}: {report}"

    def idle():
        now = status(sluice)
        return sum(each["connections"] for each in now["workers"]) == 0

    wait_until(idle, "every connection of the attack was let go", deadline_s=60)
    assert status(sluice)["memory"]["level"] == "easy"
    with connect(topology, secure) as wire:
        assert wire.ask("/small.txt", host="any.test").body == b"small"
    return status(sluice)["counters"]


@pytest.mark.skipif(not shutil.which(TOOL), reason=f"{TOOL} is not installed: run scripts/setup")
@pytest.mark.parametrize("secure", [False, True], ids=["clear", "tls"])
def test_hardening_15_slowhttptest_does_not_harm_others(sluice, topology, backend, long, secure):
    make_certificate(sluice.directory, "one", "any.test")
    sluice.configure(CONFIG)
    sluice.start()
    if long:
        for mode in MODES:
            counters = withstand(sluice, topology, [mode], 400, 15, secure)
    else:
        counters = withstand(sluice, topology, list(MODES), 150, 12, secure)
    assert counters["header_timeouts"] > 0, counters
    assert counters["slow_bodies"] > 0, counters
    assert counters["slow_readers"] > 0, counters
