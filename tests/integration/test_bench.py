"""The benchmarks' tools measure what they say, and fail when a server misbehaves."""
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lib.daemon import SANITIZER_REPORT
from lib.netns import die_with_parent
from lib.programs import build_dir
from lib.wait import Thread

BENCHES = Path(__file__).resolve().parents[1] / "bench"
FIGURES = {"requests", "p50", "p99", "proxy_cpu", "kernel_cpu", "total_cpu"}


def body(size):
    return bytes(ord("a") + i % 23 for i in range(size))


def answer(content, status="200 OK", length=None):
    length = len(content) if length is None else length
    return f"HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n".encode() + content


def load_from(reply, *options):
    """What load_http says of a server that gives this reply to every request, and its exit code."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            try:
                while True:
                    sock, _ = listener.accept()
                    with sock:
                        while sock.recv(4096):
                            sock.sendall(reply)
            except OSError:
                pass # closed

        thread = Thread(serve)
        done = subprocess.run(
            [build_dir() / "tests/bench/load_http", *options, "127.0.0.1",
             str(listener.getsockname()[1]), "/bytes/1000", "bench.example", "1000", "1", "0.05"],
            input="go\n", capture_output=True, text=True, timeout=60, check=False,
            preexec_fn=die_with_parent)
        listener.shutdown(socket.SHUT_RDWR)
    thread.finish()
    *before, found = done.stdout.splitlines()
    return before, json.loads(found), done.returncode


@pytest.mark.parametrize("reply, error", [
    (answer(body(1000)), None),
    (answer(body(1000), "503 Service Unavailable"), "status"),
    (answer(body(999)), "length"),
    (answer(b"b" + body(1000)[1:]), "content"),
    (answer(body(999), length=1000), "timeout"),
    (b"HTTP/1.1 200 OK\r\n\r\n", "length"),
], ids=["good", "status", "length", "content", "short", "no-length"])
def test_the_load_generator_fails_for_each_wrong_answer(reply, error):
    _, found, code = load_from(reply)
    wrong = {name for name, count in found["errors"].items() if count}
    assert (wrong, code) == ({error} if error else set(), 1 if error else 0)


@pytest.mark.parametrize("reply, error", [
    (answer(body(1000)), None), (answer(body(1000), "503 Service Unavailable"), "status"),
], ids=["good", "status"])
def test_the_load_generator_counts_from_the_word_on(reply, error):
    before, found, code = load_from(reply, "--warm")
    wrong = {name for name, count in found["errors"].items() if count}
    assert (before, wrong, code) == (["warm"], {error} if error else set(), 1 if error else 0)
    assert bool(found["requests"]) != bool(error)


@pytest.mark.parametrize("close, resume, full, resumed, good", [
    (False, False, 8, 0, True), (False, False, 7, 0, False), (False, False, 8, 1, False),
    (True, False, 100, 0, True), (True, False, 99, 1, False), (True, False, 99, 0, False),
    (True, True, 8, 92, True), (True, True, 9, 91, False), (True, True, 100, 0, False),
    (True, True, 8, 91, False),
])
def test_handshakes_of_the_other_kind_make_a_load_fail(close, resume, full, resumed, good):
    code = ("import sys; sys.path.insert(0, sys.argv[1])\n"
            "from benchlib.load import Load\n"
            f"load = Load('/', 1, 8, close={close}, tls=True, resume={resume})\n"
            "load._check_handshakes({'requests': 100, "
            f"'full_handshakes': {full}, 'resumed_handshakes': {resumed}}})\n")
    done = subprocess.run([sys.executable, "-B", "-c", code, BENCHES], capture_output=True,
                          text=True, timeout=60, check=False)
    assert (done.returncode == 0) == good, done.stderr
    assert good or "BadLoad" in done.stderr


def test_the_bench_of_files_writes_every_figure_for_every_case(tmp_path):
    output = tmp_path / "files.json"
    done = subprocess.run(
        [sys.executable, "-B", BENCHES / "bench_files.py", "--quick", "--nice", "0", "--output",
         output], capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=die_with_parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not SANITIZER_REPORT.search(done.stderr), done.stderr
    found = json.loads(output.read_text())
    assert found["machine"] and not found["problems"]
    assert {row["name"] for row in found["rows"]} == {f"{case} {figure}" for case in ("4k", "4m")
                                                      for figure in FIGURES}


def test_the_bench_of_idle_connections_writes_its_figure(tmp_path):
    output = tmp_path / "idle.json"
    done = subprocess.run(
        [sys.executable, "-B", BENCHES / "bench_idle.py", "--quick", "--output", output],
        capture_output=True, text=True, timeout=120, check=False, preexec_fn=die_with_parent)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    clear, secure = found["rows"]
    for row in (clear, secure):
        assert row["ours"] > 0 and set(row["peers"]) == {"nginx", "haproxy"}
        assert row["unit"] == "bytes each"
    assert (clear["bar"], secure["bar"]) == (6144, 16384)
    assert "TLS" in secure["name"]


def test_the_bench_of_policies_writes_what_each_adds(tmp_path):
    output = tmp_path / "gateway.json"
    done = subprocess.run(
        [sys.executable, "-B", BENCHES / "bench_gateway.py", "--quick", "--nice", "0", "--output",
         output], capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=die_with_parent)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {row["name"]: row for row in json.loads(output.read_text())["rows"]}
    assert rows["jwt proxy_cpu"]["bar"] == 1.0 and "bar" not in rows["jwt verified proxy_cpu"]
    assert rows["api_key proxy_cpu"]["bar"] == rows["rate_limit proxy_cpu"]["bar"] == 0.5
    for row in rows.values():
        assert row["ours"] > 0 and row["peer_name"] == "plain"
        assert row["added"] == pytest.approx(row["ours"] - row["peer"])


def test_the_bench_of_http_writes_every_figure_for_every_case(tmp_path):
    output = tmp_path / "http.json"
    done = subprocess.run(
        [sys.executable, "-B", BENCHES / "bench_http.py", "--quick", "--nice", "0", "--output",
         output], capture_output=True, text=True, timeout=120, check=False,
        preexec_fn=die_with_parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not SANITIZER_REPORT.search(done.stderr), done.stderr
    found = json.loads(output.read_text())
    assert found["machine"] and not found["problems"]
    names = {row["name"] for row in found["rows"]}
    assert names == {f"{case} 1w {figure}" for case in ("small", "new", "256k", "https", "handshake",
                                                             "resumed")
                     for figure in FIGURES}
    for row in found["rows"]:
        assert row["rounds"] == 1 and row["unit"] and row["peer_name"] in ("nginx", "haproxy")
        if not row["name"].endswith("kernel_cpu"): # kernel threads may have had nothing to do
            assert row["ours"] > 0 and row["ratio"] == pytest.approx(row["ours"] / row["peer"])


def test_the_bench_of_the_kernel_part_writes_every_case_and_all_packets_end_as_expected(tmp_path):
    output = tmp_path / "xdp.json"
    done = subprocess.run(
        [sys.executable, "-B", BENCHES / "bench_xdp.py", "--quick", "--output", output],
        capture_output=True, text=True, timeout=120, check=False, preexec_fn=die_with_parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not SANITIZER_REPORT.search(done.stderr), done.stderr
    found = json.loads(output.read_text())
    assert found["machine"] and not found["problems"]
    rows = {row["name"]: row for row in found["rows"]}
    for family in ("v4", "v6"):
        assert rows[f"pass {family}"]["bars"]
        for kind in ("hit", "miss"):
            assert rows[f"deny {family} 10 {kind}"]["peer_name"] == "lpm"
    for change in ("clean", "1.6% in change", "all in change"):
        for flows in ("1", "new"):
            assert rows[f"service {change} {flows}"]["peer_name"] == "lru"
    for case in ("forward 1", "reverse 1", "forward new"):
        assert rows[f"nat {case}"]["peer_name"] == "lru2"
    assert rows["live forward ipip"]["ours"] > 0
    assert rows["live drop"]["peer_name"] == "nftables" and rows["live drop"]["unit"] == "Mpps"
    assert all(row["rounds"] == 1 and row["unit"] for row in rows.values())
    # What is left without the floor may be anything in so short a time.
    assert all(row["ours"] > 0 for row in rows.values() if "less floor" not in row["name"])
