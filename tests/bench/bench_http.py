#!/usr/bin/python3
"""
Sluice beside nginx and haproxy as HTTP/1 proxies, in clear text and with TLS 1.3, and beside nghttpx
and h2o too with HTTP/2 (in clear text and with TLS) in front: the same backend, the same load, one
machine, rounds in turn. Prints one table and writes build/bench/http.json. Needs root. Where
connections are kept, what is measured begins when all of them stand and have had an answer.

What runs where: with one worker the proxy has CPU 0 for itself, load and backend share the others;
with two workers nothing is held anywhere, but each proxy pins its own workers. All of it talks over
the loopback of a network namespace made for this.

The ratio is that of the proxies' CPU per request (medians over the rounds), to the better peer.
Logging to a file is on for all; sluice has metrics and 10,000 other routes besides, where this build
knows the keys: the first lines say so.
"""
import argparse
import os
import sys

from benchlib import machine, report
from benchlib.load import BadLoad, Load
from benchlib.programs import (Backend, H2o, Haproxy, HaproxyBigBuffers, HaproxySplice,
                               HaproxySpliceBigPipes, Nghttpx, Nginx, NginxBuffered, NginxHttp2,
                               NginxStreamed, Sluice)
from benchlib.rounds import measure

BACKEND_PORT, FIRST_PORT = 81, 100
SMALL = (Nginx, Haproxy)
# Each peer with what its manual offers for large bodies: whichever is best counts.
HTTP2 = (NginxHttp2, Haproxy, Nghttpx, H2o)
BODIES = (Nginx, NginxBuffered, NginxStreamed, Haproxy, HaproxyBigBuffers, HaproxySplice,
          HaproxySpliceBigPipes)
# Splicing is nothing for TLS.
SECURE_BODIES = BODIES[:5]
KIB = 1024

# name: load, peers, the bar for our CPU per request
CASES = {
    "small": (Load("/bytes/128", 128, 64), SMALL, 0.6),
    "new": (Load("/bytes/128", 128, 64, close=True), SMALL, 0.9),
    "16k": (Load(f"/bytes/{16 * KIB}", 16 * KIB, 32), BODIES, None),
    "256k": (Load(f"/bytes/{256 * KIB}", 256 * KIB, 16), BODIES, 0.7),
    "4m": (Load(f"/bytes/{4096 * KIB}", 4096 * KIB, 16), BODIES, 0.7),
    "https": (Load("/bytes/128", 128, 64, tls=True), SMALL, 0.6),
    "https-16k": (Load(f"/bytes/{16 * KIB}", 16 * KIB, 32, tls=True), SECURE_BODIES, 0.6),
    "https-256k": (Load(f"/bytes/{256 * KIB}", 256 * KIB, 16, tls=True), SECURE_BODIES, 0.6),
    # Per CPU-second at least 1.2 and 1.25 times as many as nginx, and as haproxy where that is cheaper.
    "handshake": (Load("/bytes/128", 128, 16, close=True, tls=True), SMALL, 1 / 1.2),
    "resumed": (Load("/bytes/128", 128, 16, close=True, tls=True, resume=True), SMALL, 1 / 1.25),
    "h2": (Load("/bytes/128", 128, 10, streams=10), HTTP2, 0.7),
    "h2-single": (Load("/bytes/128", 128, 50, streams=1), HTTP2, 0.7),
    "h2-tls": (Load("/bytes/128", 128, 10, streams=10, tls=True), HTTP2, 0.7),
    "h2-tls-single": (Load("/bytes/128", 128, 50, streams=1, tls=True), HTTP2, 0.7),
}


def read_options():
    parser = argparse.ArgumentParser(description="HTTP/1 beside nginx and haproxy")
    parser.add_argument("--rounds", type=int, default=9, help="per case (default 9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (default 1)")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ",".join(CASES))
    parser.add_argument("--workers", default="1,2", help="default 1,2")
    parser.add_argument("--load", choices=("load_http", "wrk"), default="load_http",
                        help="wrk: a second opinion from one source address")
    parser.add_argument("--nice", type=int, default=-10,
                        help="of everything that is measured (default -10)")
    parser.add_argument("--peers", default="", help="only peers with such names (comma-separated)")
    parser.add_argument("--against", action="append", default=[], metavar="NAME=DIR",
                        help="another build of sluice as one more peer, by its build directory")
    parser.add_argument("--output", help="in place of build/bench/http.json")
    parser.add_argument("--quick", action="store_true", help="shows that it works, no figures")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.cases = 1, 0.1, "small,new,256k,https,handshake,resumed"
        options.workers, options.peers = "1", "nginx,haproxy"
    options.cases = options.cases.split(",")
    options.builds = [type("OtherSluice", (Sluice,), {"name": name, "build": place or None})
                      for name, _, place in (word.partition("=") for word in options.against)]
    options.workers = [int(word) for word in options.workers.split(",")]
    for name in options.cases:
        if name not in CASES:
            parser.error(f"no case '{name}'; there are {', '.join(CASES)}")
    return options


def kinds_of(case, options):
    """Us and the peers of a case."""
    wanted = [name for name in options.peers.split(",") if name]
    return [Sluice, *options.builds,
            *(kind for kind in CASES[case][1] if not wanted or kind.name in wanted)]


def placement(workers):
    """CPUs of the proxy, and of load and backend; None: wherever the kernel likes."""
    count = os.cpu_count() or 1
    if workers == 1 and count > 1:
        return {0}, set(range(1, count))
    return None, None


class Bench:
    def __init__(self, place, options):
        self.place, self.options = place, options
        self.rows, self.lines, self.problems = [], [report.HEADER], []
        self.others = []
        self.sluice_on = ""

    def run(self):
        for workers in self.options.workers:
            self.run_workers(workers)

    def run_workers(self, workers):
        proxy_cpus, other_cpus = placement(workers)
        backend = Backend(self.place, BACKEND_PORT, other_cpus).start()
        kinds = dict.fromkeys(kind for name in self.options.cases
                              for kind in kinds_of(name, self.options))
        proxies = {kind: kind(self.place, FIRST_PORT + nth, backend, workers, proxy_cpus).start()
                   for nth, kind in enumerate(kinds)}
        self.say_what_is_on(proxies[Sluice], workers)
        for name in self.options.cases:
            chosen = [proxies[kind] for kind in kinds_of(name, self.options)]
            self.run_case(name, workers, chosen, backend, other_cpus)
        text = proxies[Sluice].metrics()
        if text is not None and "\n# TYPE " not in text:
            self.problems.append("sluice's metrics are on, and there are none: " + text[:200])
        for proxy in [*proxies.values(), backend]:
            proxy.dispose()

    def say_what_is_on(self, sluice, workers):
        self.sluice_on = sluice.note
        where = "all pinned by themselves"
        if sluice.cpus:
            where = f"proxy on CPU {min(sluice.cpus)}, load and backend on the others"
        print(f"# {workers} worker{'s' * (workers > 1)}: {where}. sluice ({sluice.engine()}): "
              f"{sluice.note} on"
              + "".join(f"; this build has no {key}" for key in sluice.missing()), flush=True)

    def run_case(self, name, workers, proxies, backend, cpus):
        load, _, bar = CASES[name]
        load.tool = self.options.load
        title = f"{name} {workers}w"
        for proxy in proxies:
            proxy.take_log_lines()
        try:
            samples = measure(proxies, backend, load, self.options.rounds, self.options.seconds,
                              cpus)
        except BadLoad as error:
            self.problems.append(f"{title}: {error}")
            return
        for proxy in proxies:
            self.check_log(title, proxy, sum(sample["count"] for sample in samples[proxy.name]))
        self.rows += report.rows_of(title, samples, bar=bar)
        self.lines += report.lines_of(title, samples, bar=bar)
        self.others += [sample["others"] for taken in samples.values() for sample in taken]

    def check_log(self, title, proxy, requests):
        """Who does not log has an easy life."""
        if not proxy.logs:
            return
        lines = proxy.wait_for_log_lines(requests)
        if lines < requests:
            self.problems.append(f"{title}: {proxy.name} logged {lines} of {requests} requests")


def main():
    options = read_options()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
        with machine.Place() as place:
            bench = Bench(place, options)
            bench.run()
    except (machine.Unusable, PermissionError) as error:
        print(f"bench_http: {error}", file=sys.stderr)
        return 1
    for line in report.cells_as_text(bench.lines):
        print(line)
    if bench.others:
        print(f"# other processes had {sum(bench.others) / len(bench.others):.2f} CPUs on average, "
              f"{max(bench.others):.2f} at most")
    for problem in bench.problems:
        print(f"bench_http: {problem}", file=sys.stderr)
    path = report.write_json("http", bench.rows, options.output, sluice_has_on=bench.sluice_on,
                             load=options.load, seconds=options.seconds, quick=options.quick,
                             problems=bench.problems)
    print(f"# {path}")
    return 1 if bench.problems else 0


if __name__ == "__main__":
    sys.exit(main())
