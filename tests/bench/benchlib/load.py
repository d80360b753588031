"""
The load: one run of a generator against one port, for a fixed time. Its figures are checked before
they are believed: answers with another status or length than expected, connections that failed or
ended early make the run, and with it the bench, fail.
"""
import contextlib
import json
import os
import re
import subprocess
from dataclasses import dataclass

from .machine import build_dir, process_cpu_ns, set_affinity
from .programs import HOST

GRACE_S = 30
WARM_UP_S = 0.2 # of h2load


class BadLoad(Exception):
    """The server gave errors."""


@dataclass
class Load:
    """What is asked for. `size_bytes` is that of every answer's body."""

    path: str
    size_bytes: int
    connections: int
    close: bool = False # a connection for every request
    sources: int = 64
    host: str = HOST
    tool: str = "load_http"

    tls: bool = False    # 1.3, to the proxy's other port
    resume: bool = False # each connection the session of the one before

    fields: tuple = () # of each request, "Name: value"; for load_http

    streams: int = 0 # on each connection, of HTTP/2; 0: HTTP/1

    def mark(self):
        """The line by which it says that all connections stand, and counting begins. None: at once."""
        if self.streams:
            # In clear text connections open for next to nothing.
            return "Main benchmark duration is started" if self.tls else None
        return None if self.close or self.tool == "wrk" else "warm"

    def command(self, port, seconds):
        if self.streams:
            return ["h2load", "-t1", f"-c{self.connections}", f"-m{self.streams}",
                    f"-D{round(seconds * 1000)}ms",
                    *([f"--warm-up-time={round(WARM_UP_S * 1000)}ms"] if self.mark() else []),
                    "--tls13-ciphers=TLS_AES_128_GCM_SHA256", "--groups=X25519",
                    "-H", f":authority: {self.host}",
                    f"http{'s' * self.tls}://127.0.0.1:{port}{self.path}"]
        if self.tool == "wrk":
            # One source address and no look at lengths: a second opinion, not the measure.
            close = ["-H", "Connection: close"] if self.close else []
            return ["wrk", "-t1", f"-c{self.connections}", f"-d{max(1, round(seconds))}",
                    "--latency", "-H", f"Host: {self.host}", *close,
                    f"http{'s' * self.tls}://127.0.0.1:{port}{self.path}"]
        return [str(build_dir() / "tests/bench/load_http"), *(["--close"] if self.close else []),
                *(["--tls"] if self.tls else []), *(["--resume"] if self.resume else []),
                *(word for field in self.fields for word in ("--field", field)),
                *(["--warm"] if self.mark() else []),
                "--sources", str(self.sources), "127.0.0.1", str(port), self.path, self.host,
                str(self.size_bytes), str(self.connections), str(seconds)]

    def run(self, port, seconds, cpus=None, begin=lambda: None):
        """
        A dict: requests, seconds, p50_us, p99_us, cpu_ns (of the generator). Calls begin() just
        before what is counted: where connections are kept, all of them stand by then.
        """
        output, before_ns = "", 0
        if not self.mark():
            begin()
        with subprocess.Popen(self.command(port, seconds), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              preexec_fn=set_affinity(cpus)) as process:
            if self.mark():
                output = self._wait_for_mark(process)
                before_ns = process_cpu_ns(process.pid)
                begin()
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write("go\n")
                    process.stdin.flush()
            output += process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if self.streams:
            found = self._read_h2load(output)
        else:
            found = self._read_wrk(output) if self.tool == "wrk" else self._read_own(output)
        if self.tls and not self.streams and self.tool != "wrk":
            self._check_handshakes(found)
        if process.returncode or any(found["errors"].values()) or not found["requests"]:
            raise BadLoad(f"{self.tool}: {output.strip()}")
        found["cpu_ns"] = int((usage.ru_utime + usage.ru_stime) * 1e9) - before_ns
        return found

    def _wait_for_mark(self, process):
        """What it printed before. At its end there is none, and what it says is read as ever."""
        output = ""
        for line in process.stdout:
            if line.startswith(self.mark()):
                break
            output += line
        return output

    def _check_handshakes(self, found):
        """Of the kind that is measured, each of them."""
        full, resumed = found["full_handshakes"], found["resumed_handshakes"]
        wanted = found["requests"] if self.close else self.connections
        if self.resume:
            # The first one of each connection's place has nothing to resume.
            good = full <= self.connections and full + resumed >= wanted and \
                (resumed or wanted <= self.connections)
        else:
            good = full >= wanted and not resumed
        if not good:
            raise BadLoad(f"{full} full and {resumed} resumed handshakes for {found['requests']} "
                          f"requests on {self.connections} connections")

    @staticmethod
    def _read_own(output):
        try:
            return json.loads(output)
        except ValueError:
            raise BadLoad(f"load_http: {output.strip()}") from None

    def _read_h2load(self, output):
        """Its mean and longest times stand for the percentiles, which it does not tell."""
        counts = re.search(r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, "
                           r"(\d+) failed, (\d+) errored, (\d+) timeout", output)
        good = re.search(r"status codes: (\d+) 2xx, 0 3xx, 0 4xx, 0 5xx", output)
        data = re.search(r"space savings [\d.]+%\), [\d.]+\w+ \((\d+)\) data", output)
        took = re.search(r"finished in ([\d.]+)(us|ms|s),", output)
        times = re.search(r"time for request:\s+\S+\s+([\d.]+)(us|ms|s)\s+([\d.]+)(us|ms|s)",
                          output)
        if not (counts and good and data and took and times):
            raise BadLoad(f"h2load: {output.strip()}")
        unit = {"us": 1, "ms": 1e3, "s": 1e6}
        requests = int(counts[1])
        # What the streams at the ends of the time had of their answers counts in full there, and of
        # bytes all that came while it warmed up.
        cut = self.connections * self.streams
        most = float("inf") if self.mark() else cut * self.size_bytes
        warm_s = WARM_UP_S if self.mark() else 0
        return {"requests": requests, "seconds": float(took[1]) * unit[took[2]] / 1e6 - warm_s,
                "p50_us": float(times[3]) * unit[times[4]],
                "p99_us": float(times[1]) * unit[times[2]],
                "errors": {"failed": int(counts[2]), "errored": int(counts[3]),
                           "timeout": int(counts[4]),
                           "status": int(abs(int(good[1]) - requests) > cut),
                           "length": int(not -cut * self.size_bytes <=
                                         int(data[1]) - requests * self.size_bytes <= most)}}

    @staticmethod
    def _read_wrk(output):
        def number(pattern):
            match = re.search(pattern, output)
            return float(match[1]) if match else 0.0

        def latency_us(percent):
            match = re.search(rf"^\s*{percent}%\s+([\d.]+)(us|ms|s)\s*$", output, re.M)
            return float(match[1]) * {"us": 1, "ms": 1e3, "s": 1e6}[match[2]] if match else 0.0

        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)",
                           output)
        return {"requests": int(number(r"(\d+) requests in")),
                "seconds": number(r"requests in ([\d.]+)s"),
                "p50_us": latency_us(50), "p99_us": latency_us(99),
                "errors": {"status": int(number(r"Non-2xx or 3xx responses: (\d+)")),
                           "socket": sum(map(int, errors.groups())) if errors else 0}}
