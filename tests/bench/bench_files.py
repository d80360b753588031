#!/usr/bin/python3
"""
Static files: Sluice beside nginx, the same files, load and machine, rounds in turn (haproxy serves
none). Prints one table and writes build/bench/files.json. Needs root.

One worker each, on a CPU of its own, an access log for both, files in the page cache. nginx has
sendfile and tcp_nopush on and no open_file_cache, as we have none; "nginx cached" has one. The ratio
is that of CPU per request to the better of those that do the same.
"""
import argparse
import os
import sys

from benchlib import machine, report
from benchlib.load import BadLoad, Load
from benchlib.programs import Nginx, Sluice, other_routes
from benchlib.rounds import measure

KIB = 1024
HOST_FILES = "files.example"
FIRST_PORT = 100
OTHER_ROUTES = 10000
CASES = {"4k": (4 * KIB, 64), "16k": (16 * KIB, 32), "64k": (64 * KIB, 32),
         "4m": (4096 * KIB, 16)}

NGINX_CONF = """
daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
worker_rlimit_nofile 65536;
events {{ worker_connections 8192; multi_accept on; }}
http {{
	access_log {log} combined buffer=64k flush=1s;
	client_body_temp_path {directory}/body;
	proxy_temp_path {directory}/proxy;
	fastcgi_temp_path {directory}/fastcgi;
	uwsgi_temp_path {directory}/uwsgi;
	scgi_temp_path {directory}/scgi;
	default_type application/octet-stream;
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	keepalive_timeout 60s;
	{cache}
	server {{
		listen 127.0.0.1:{port} backlog=4096;
		server_name {host};
		root {root};
	}}
}}
"""


class NoBackend:
    """Files need none; the configuration of the others is given an address all the same."""

    port = 81

    @staticmethod
    def cpu_ns():
        return 0


class NginxFiles(Nginx):
    cache = ""

    def prepare(self):
        self.conf = self.directory / "nginx.conf"
        self.conf.write_text(NGINX_CONF.format(
            directory=self.directory, log=self.log, port=self.port, host=HOST_FILES,
            root=self.place.directory / "www", cache=self.cache))


class NginxCached(NginxFiles):
    name, cache = "nginx cached", "open_file_cache max=1000 inactive=60s;"


def make_files(place):
    """As byte_server sends it: load_http compares."""
    directory = place.directory / "www"
    directory.mkdir()
    alphabet = bytes(ord("a") + i for i in range(23))
    for size, _ in CASES.values():
        (directory / f"{size}.bin").write_bytes((alphabet * (size // 23 + 1))[:size])
    return directory


def make_sluice(place, port, cpus):
    route = (f"  - {{ name: files, match: {{ hosts: [ {HOST_FILES} ] }}, "
             f"files: {{ root: {place.directory}/www }} }}\n")
    return Sluice(place, port, NoBackend, 1, cpus,
                  routes=[*other_routes(OTHER_ROUTES), route])


def read_options():
    parser = argparse.ArgumentParser(description="static files beside nginx")
    parser.add_argument("--rounds", type=int, default=9, help="per case (default 9)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each run (default 1)")
    parser.add_argument("--cases", default=",".join(CASES), help="of " + ",".join(CASES))
    parser.add_argument("--nice", type=int, default=-10, help="of what is measured (default -10)")
    parser.add_argument("--output", help="in place of build/bench/files.json")
    parser.add_argument("--quick", action="store_true", help="shows that it works, no figures")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.cases = 1, 0.1, "4k,4m"
    options.cases = options.cases.split(",")
    for name in options.cases:
        if name not in CASES:
            parser.error(f"no case '{name}'; there are {', '.join(CASES)}")
    return options


def run(place, options):
    """Rows for the file, lines for the table, problems."""
    count = os.cpu_count() or 1
    proxy_cpus, other_cpus = ({0}, set(range(1, count))) if count > 1 else (None, None)
    make_files(place)
    programs = [make_sluice(place, FIRST_PORT, proxy_cpus).start(),
                NginxFiles(place, FIRST_PORT + 1, NoBackend, 1, proxy_cpus).start(),
                NginxCached(place, FIRST_PORT + 2, NoBackend, 1, proxy_cpus).start()]
    print(f"# sluice ({programs[0].engine()}): {programs[0].note}, {OTHER_ROUTES:,} other routes")
    rows, lines, problems = [], [report.HEADER], []
    for name in options.cases:
        size, connections = CASES[name]
        load = Load(f"/{size}.bin", size, connections, host=HOST_FILES)
        try:
            samples = measure(programs, NoBackend, load, options.rounds, options.seconds,
                              other_cpus)
        except BadLoad as error:
            problems.append(f"{name}: {error}")
            continue
        # Who keeps files open does something else: in the table, not in the ratio.
        cached = samples.pop(NginxCached.name)
        lines += [*report.lines_of(name, samples),
                  *report.lines_of(name, {NginxCached.name: cached}, NginxCached.name)]
        rows += report.rows_of(name, samples)
    for program in programs:
        program.dispose()
    return rows, lines, problems


def main():
    options = read_options()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, options.nice)
        with machine.Place() as place:
            rows, lines, problems = run(place, options)
    except (machine.Unusable, PermissionError) as error:
        print(f"bench_files: {error}", file=sys.stderr)
        return 1
    for line in report.cells_as_text(lines):
        print(line)
    for problem in problems:
        print(f"bench_files: {problem}", file=sys.stderr)
    path = report.write_json("files", rows, options.output, seconds=options.seconds,
                             quick=options.quick, problems=problems)
    print(f"# {path}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
