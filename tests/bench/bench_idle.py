#!/usr/bin/python3
"""
Idle connections: the memory of Sluice, nginx and haproxy for each of 10,000 keep-alive connections
that have had one request answered, and for each of a quarter as many with TLS 1.3. Prints a table and writes build/bench/idle.json. Needs root.

What counts is the proportional set size of the processes without the files they map, whose part
depends on who else maps them (smaps_rollup), before and with the connections; each round starts the programs anew. The kernel's sockets are the same for all of them.
Where descriptors are short haproxy gets fewer connections: the figure is for each. nginx makes the
structs of all connections that it may have when it starts (some 420 bytes each): they are not in its
figure, ours are.
"""
import argparse
import resource
import socket
import ssl
import sys
import time

from benchlib import machine, report
from benchlib.programs import HOST, Backend, Haproxy, Nginx, Sluice

BAR_BYTES = 6 * 1024
TLS_BAR_BYTES = 16 * 1024
TLS_PART = 4
WORKERS = 2
BACKEND_PORT, FIRST_PORT = 90, 91
SOURCES = 64
ANSWER_BYTES = 100
REQUEST = f"GET /bytes/{ANSWER_BYTES} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()
STILL_S, STILL_DEADLINE_S = 1.0, 20.0
SAMPLED = 100


class IdleHaproxy(Haproxy):
    """It wants two descriptors for every connection it may have, and refuses to start else."""

    count = 0

    def prepare(self):
        super().prepare()
        text = self.conf.read_text()
        self.conf.write_text(text.replace("maxconn 2048", f"maxconn {self.count + 20}"))

    @classmethod
    def most(cls, count):
        cls.count = min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 100)
        return cls.count


class IdleNginx(Nginx):
    """keepalive_timeout must outlive the opening of them all."""

    def prepare(self):
        super().prepare()
        text = self.conf.read_text()
        self.conf.write_text(text.replace("keepalive_timeout 60s", "keepalive_timeout 600s")
                             .replace("worker_rlimit_nofile 65536;", "")
                             .replace("worker_connections 8192", "worker_connections 20000"))


class IdleSluice(Sluice):
    def text(self, keys, routes):
        text = super().text(keys, routes)
        for end in (" }", ",\n"):
            text = text.replace(f"protocol: http{end}",
                                f"protocol: http, timeouts: {{ idle: 10m }}{end}", 1)
        return text


def memory_bytes(program):
    """Of a program and its children: pages that they share count for each by its part."""
    total = 0
    for pid in [program.pid, *machine.children(program.pid)]:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total += int(line.split()[1]) * 1024
    return total


def settled_bytes(program):
    """Once it has not changed for a while."""
    deadline = time.monotonic() + STILL_DEADLINE_S
    last, since = memory_bytes(program), time.monotonic()
    while time.monotonic() - since < STILL_S and time.monotonic() < deadline:
        time.sleep(0.1)
        now = memory_bytes(program)
        if now != last:
            last, since = now, time.monotonic()
    return last


def ask(sock):
    sock.sendall(REQUEST)
    answer = b""
    while b"\r\n\r\n" not in answer or \
            len(answer) - answer.index(b"\r\n\r\n") - 4 < ANSWER_BYTES:
        data = sock.recv(65536)
        if not data:
            raise machine.Unusable("a connection was closed")
        answer += data
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise machine.Unusable(f"answer {answer[:60]!r}")


def make_tls():
    """Nothing is verified: it is the servers that are measured."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def connect(port, number, context=None):
    sock = socket.socket()
    sock.settimeout(30)
    # Many sources, since one alone may be held to fewer connections.
    sock.bind((f"127.0.1.{1 + number % SOURCES}", 0))
    sock.connect(("127.0.0.1", port))
    return context.wrap_socket(sock, server_hostname=HOST) if context else sock


def measure(program, count, context=None):
    """Bytes for each of `count` idle connections."""
    port = program.tls_port if context else program.port
    with connect(port, 0, context) as sock:
        ask(sock)
    before = settled_bytes(program)
    socks = []
    try:
        for number in range(count):
            socks.append(connect(port, number, context))
            ask(socks[-1])
        grown = settled_bytes(program) - before
        for sock in socks[::max(1, count // SAMPLED)]:
            ask(sock) # they are all there
    finally:
        for sock in socks:
            sock.close()
    return grown / count


def contenders(place, backend):
    for nth, kind in enumerate((IdleSluice, IdleNginx, IdleHaproxy)):
        yield kind(place, FIRST_PORT + nth, backend, WORKERS)


def run(place, backend, options, count, context=None):
    samples, counts = {}, {IdleHaproxy.name: IdleHaproxy.most(count)}
    for turn in range(options.rounds):
        for program in contenders(place, backend):
            try:
                program.start()
                value = measure(program, counts.get(program.name, count), context)
            finally:
                program.dispose()
            samples.setdefault(program.name, []).append(value)
            print(f"# round {turn + 1}: {program.name} {value:,.0f} bytes each", flush=True)
    return samples


def show(name, samples, bar):
    """Prints the table of one kind, and returns its row."""
    peers = dict(samples)
    ours = peers.pop(IdleSluice.name)
    row = report.row(name, "bytes each", ours, peers, min, bar)
    lines = [(name, "", "bytes each", "min", "max")]
    lines += [(who, "", *(f"{value:,.0f}" for value in (sorted(values)[len(values) // 2],
                                                       min(values), max(values))))
              for who, values in samples.items()]
    for line in report.cells_as_text(lines):
        print(line)
    print(f"# bar: {bar:,} bytes each; ours {row['ours']:,.0f}")
    return row


def read_options():
    parser = argparse.ArgumentParser(description="memory of idle connections")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=10000, help="connections (default 10000)")
    parser.add_argument("--output", help="in place of build/bench/idle.json")
    parser.add_argument("--quick", action="store_true", help="shows that it works, no figures")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.count = 1, 200
    return options


def main():
    options = read_options()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (65536, hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            break
        except (ValueError, OSError):
            continue
    try:
        with machine.Place() as place:
            backend = Backend(place, BACKEND_PORT).start()
            clear = run(place, backend, options, options.count)
            secure_count = max(1, options.count // TLS_PART)
            secure = run(place, backend, options, secure_count, make_tls())
    except (machine.Unusable, PermissionError, OSError) as error:
        print(f"bench_idle: {error}", file=sys.stderr)
        return 1
    rows = [show(f"{options.count:,} idle connections", clear, BAR_BYTES),
            show(f"{secure_count:,} idle TLS connections", secure, TLS_BAR_BYTES)]
    path = report.write_json("idle", rows, options.output, quick=options.quick,
                             workers=WORKERS, count=options.count)
    print(f"# {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
