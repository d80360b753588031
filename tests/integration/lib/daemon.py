"""The daemon under test: its configuration, life, log, admin socket and CLI."""
import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from .leftovers import pin_dir
from .netns import die_with_parent
from .programs import build_dir
from .wait import DEADLINE_S, DeadlinePassed

SANITIZER_REPORT = re.compile(
    r"(ERROR: (Address|Leak|Thread)Sanitizer|WARNING: ThreadSanitizer|runtime error:).*")

NODE_USER = "nobody"

PREAMBLE = """version: 1
node:
  workers: {workers}
  user: {user}
  state_dir: {directory}/state
  bpffs: {bpffs}
  admin: {{ socket: {directory}/run/admin.sock }}
  drain: {drain}
  log: {{ level: {log_level}, format: text }}
"""


class NotReady(AssertionError):
    """sluiced ended before it was ready."""


class Log:
    """What the daemon writes, line by line, from a pipe."""

    def __init__(self, stream):
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self._stream = stream
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self):
        for line in self._stream:
            with self.changed:
                self.lines.append(line.rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def wait_for(self, pattern, start=0, deadline_s=DEADLINE_S):
        """The first line from `start` on that matches; None when the log ended without one."""
        regex, end = re.compile(pattern), time.monotonic() + deadline_s
        with self.changed:
            while True:
                for line in self.lines[start:]:
                    if regex.search(line):
                        return line
                start = len(self.lines)
                if self.ended:
                    return None
                if not self.changed.wait(end - time.monotonic()):
                    if time.monotonic() >= end:
                        raise DeadlinePassed(f"no line '{pattern}' in:\n" + self.text())

    def text(self):
        return "\n".join(self.lines)

    def close(self):
        self._thread.join(20)
        self._stream.close()


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout_s=20):
        super().__init__("sluice", timeout=timeout_s)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Sluice:
    """One sluiced in the namespace `sluice`. `dispose()` leaves nothing of it."""

    _number = 0

    def __init__(self, topology, directory, engine, name=None):
        Sluice._number += 1
        self.topology = topology
        self.engine = engine
        self.name = name or f"node{Sluice._number}"
        self.directory = Path(directory) / self.name
        self.directory.mkdir(mode=0o755)
        self.config_path = self.directory / "sluice.yaml"
        # As systemd's RuntimeDirectory= makes it: node.user may remove its socket at the end.
        run = self.directory / "run"
        run.mkdir()
        shutil.chown(run, NODE_USER)
        self.socket_path = str(run / "admin.sock")
        self.bpffs = f"{pin_dir()}/{self.name}"
        self.process = None
        self.log = None
        self.env = {}
        self.capabilities = None  # a setpriv list to start with; None: all
        self.descriptors = None  # most that it may have open; None: as many as we

    # -- configuration

    def preamble(self, workers=2, user=NODE_USER, drain="5s", log_level="info"):
        return PREAMBLE.format(directory=self.directory, bpffs=self.bpffs, workers=workers,
                               user=user, drain=drain, log_level=log_level)

    def configure(self, body, **node):
        self.write(self.preamble(**node) + body)

    def write(self, text):
        self.config_path.write_text(text)

    # -- life

    def _environment(self):
        env = dict(os.environ, SLUICE_IO=self.engine, **self.env)
        # Freed memory that the sanitizer keeps back must not look like a leak of ours.
        env["ASAN_OPTIONS"] = "quarantine_size_mb=8:" + env.get("ASAN_OPTIONS", "")
        env["UBSAN_OPTIONS"] = "print_stacktrace=1:" + env.get("UBSAN_OPTIONS", "")
        return env

    def launch(self):
        assert self.process is None
        argv = [str(build_dir() / "sluiced"), "--config", str(self.config_path)]
        if self.capabilities is not None:
            argv = ["setpriv", "--inh-caps=-all", f"--bounding-set={self.capabilities}", *argv]
        if self.descriptors is not None:
            argv = ["prlimit", f"--nofile={self.descriptors}:{self.descriptors}", *argv]
        self.process = subprocess.Popen(
            self.topology.command("sluice", *argv), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
            env=self._environment(), preexec_fn=die_with_parent)
        self.log = Log(self.process.stdout)

    def start(self, deadline_s=30.0):
        self.launch()
        try:
            if self.log.wait_for(r"\bready\b", deadline_s=deadline_s) is None:
                raise NotReady(f"exit {self.process.wait(20)}:\n{self.log.text()}")
        except BaseException:
            self.kill9()
            raise
        return self

    @property
    def pid(self):
        return self.process.pid

    def _reap(self, deadline_s):
        code = self.process.wait(deadline_s)
        self.log.close()
        self.process, last = None, self.log
        report = SANITIZER_REPORT.search(last.text())
        assert not report, f"sanitizer report:\n{last.text()}"
        return code

    def stop(self, deadline_s=60.0):
        """SIGTERM: an orderly end, nothing found by a sanitizer, no route left."""
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self._reap(deadline_s)
        except subprocess.TimeoutExpired:
            text = self.log.text()
            self.kill9()
            raise AssertionError(f"sluiced did not end on SIGTERM:\n{text}") from None
        assert code == 0, f"sluiced ended with {code}:\n{self.log.text()}"
        assert self.local_routes() == "", "routes are left"

    def wait_for_exit(self, deadline_s=DEADLINE_S):
        """For a daemon that is expected to give up: its exit code."""
        return self._reap(deadline_s)

    def kill9(self):
        if self.process:
            self.process.kill()
            self._reap(20)

    def dispose(self):
        if self.process:
            self.process.kill()
            self.process.wait(20)
            self.log.close()
            self.process = None
        if os.path.isdir(self.bpffs):
            with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
                self.cli("prog", "unload")
        # What the CLI could not do must not meet the next test: dropped pins detach.
        subprocess.run(["rm", "-rf", self.bpffs], check=False)

    # -- reload

    def sighup(self):
        """Sends SIGHUP and waits until the daemon has said what became of it."""
        seen = len(self.log.lines)
        self.process.send_signal(signal.SIGHUP)
        line = self.log.wait_for(r"(?i)reload|generation|config", start=seen)
        assert line, f"sluiced ended on SIGHUP:\n{self.log.text()}"
        return line

    def reload(self):
        done = self.cli("config", "reload")
        assert done.returncode == 0, done.stderr
        return done

    # -- talking to it

    def admin(self, path, method="GET", body=None, status=200):
        """The JSON document of one admin request."""
        connection = UnixConnection(self.socket_path)
        try:
            connection.request(method, path, body if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status == status, f"{method} {path}: {answer.status} {text!r}"
            return json.loads(text)
        finally:
            connection.close()

    def cli(self, *args, check=False):
        done = subprocess.run(
            self.topology.command(
                "sluice", str(build_dir() / "sluice"), "--socket", self.socket_path, "--bpffs",
                self.bpffs, "--state-dir", str(self.directory / "state"), *args),
            capture_output=True, text=True, timeout=60, check=False, env=self._environment())
        assert not SANITIZER_REPORT.search(done.stderr), done.stderr
        if check:
            assert done.returncode == 0, f"sluice {' '.join(args)}: {done.stderr or done.stdout}"
        return done

    def cli_json(self, *args):
        return json.loads(self.cli("-j", *args, check=True).stdout)

    def local_routes(self):
        return "".join(self.topology.ip("sluice", family, "route", "show", "table", "all", "proto",
                                        "184").stdout for family in ("-4", "-6"))

    # -- figures

    def endpoint(self, upstream, address=None):
        for each in self.admin("/v1/upstreams")["upstreams"]:
            if each["name"] == upstream:
                for endpoint in each["endpoints"]:
                    if address in (None, endpoint["address"]):
                        return endpoint
        raise AssertionError(f"no endpoint {address} of upstream {upstream}")

    def route(self, name):
        for each in self.admin("/v1/routes")["routes"]:
            if each["name"] == name:
                return each
        raise AssertionError(f"no route {name}")

    def dropped(self, reason):
        for each in self.admin("/v1/counters")["reasons"]:
            if each["name"] == reason:
                return each["packets"]
        raise AssertionError(f"no counter {reason}")


@contextlib.contextmanager
def daemon(topology, workdir, engine):
    """One that is not started yet; it and its pins are gone afterwards, whatever happened."""
    sluice = Sluice(topology, workdir, engine)
    try:
        yield sluice
        if sluice.process:
            sluice.stop()
    finally:
        sluice.dispose()
