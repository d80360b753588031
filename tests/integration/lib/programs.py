"""Backends that are programs of their own: the hashing one and nginx."""
import contextlib
import os
import signal
import subprocess
from pathlib import Path

from .wait import wait_until

HERE = Path(__file__).resolve().parent


class Program:
    """A child process in a namespace that is ended with close()."""

    def __init__(self, process, stop_signal=signal.SIGTERM):
        self.process = process
        self._stop_signal = stop_signal

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(self._stop_signal)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(20)
        for stream in (self.process.stdout, self.process.stderr):
            if stream:
                stream.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def start_hashing_backend(topology, address, port):
    process = topology.popen("backends", "/usr/bin/python3", str(HERE / "hashing_server.py"),
                             address, str(port), stdout=subprocess.PIPE, text=True)
    program = Program(process)
    line = process.stdout.readline().strip()
    if line != "listening":
        program.close()
        raise AssertionError(f"the hashing backend says {line!r}")
    return program


NGINX_CONF = """
daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
user root;
events {{ worker_connections 2048; }}
http {{
	access_log off;
	client_body_temp_path {directory}/body;
	proxy_temp_path {directory}/proxy;
	fastcgi_temp_path {directory}/fastcgi;
	uwsgi_temp_path {directory}/uwsgi;
	scgi_temp_path {directory}/scgi;
	client_max_body_size 0;
	server {{
		listen {address}:{port};
		root {directory}/www;
	}}
}}
"""


def start_nginx(topology, directory, address, port, files, role="backends"):
    """files: name -> bytes, served from /."""
    directory = Path(directory)
    (directory / "www").mkdir(parents=True)
    for name, data in files.items():
        (directory / "www" / name).write_bytes(data)
    conf = directory / "nginx.conf"
    conf.write_text(NGINX_CONF.format(directory=directory, address=address, port=port))
    log = open(directory / "stderr.log", "wb")
    with log:
        process = topology.popen(role, "/usr/sbin/nginx", "-c", str(conf), "-e",
                                 str(directory / "error.log"), stdout=log, stderr=log)
    program = Program(process, signal.SIGQUIT)

    def listening():
        if process.poll() is not None:
            raise AssertionError("nginx: " + (directory / "stderr.log").read_text())
        try:
            topology.connect(role, address, port).close()
            return True
        except ConnectionRefusedError:
            return False

    try:
        wait_until(listening, "nginx listens")
    except BaseException:
        program.close()
        raise
    return program


def start_program(topology, role, argv, address, port, directory):
    """Any server: its output goes to a file, and it is there when it accepts connections."""
    output = Path(directory) / "output.log"
    with open(output, "wb") as log:
        process = topology.popen(role, *argv, stdout=log, stderr=log)
    program = Program(process)

    def listening():
        if process.poll() is not None:
            raise AssertionError(f"{argv[0]}: {output.read_text()}")
        try:
            topology.connect(role, address, port).close()
            return True
        except ConnectionRefusedError:
            return False

    try:
        wait_until(listening, f"{argv[0]} listens")
    except BaseException:
        program.close()
        raise
    return program


def rss_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    raise AssertionError(f"no VmRSS for {pid}")


def status_fields(pid):
    """/proc/PID/status as a dict."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        return {name: value.strip() for name, _, value in
                (line.partition(":") for line in status)}


def build_dir():
    root = HERE.parent.parent.parent
    return Path(os.environ.get("SLUICE_BUILD", root / "build")).resolve()
