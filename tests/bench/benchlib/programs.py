"""
The programs of a bench. Each is a Program: start() waits until it answers, stop() ends it by its
pid. A proxy serves `host` at 127.0.0.1 and its own port, and passes everything to one backend.
"""
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from .machine import TOP, Unusable, build_dir, family_cpu_ns, set_affinity

START_S = 30
STOP_S = 20
LOG_S = 3
TLS_PORTS = 1000 # above those in clear text
HOST = "bench.example"
NGINX, HAPROXY = "/usr/sbin/nginx", "/usr/sbin/haproxy"


class Program:
    """cpus: a set of CPUs to stay on, or None."""

    name = "program"
    stop_signal = signal.SIGTERM

    def __init__(self, place, port, cpus=None):
        self.place, self.port, self.cpus = place, port, cpus
        self.directory = place.directory / f"{self.name.replace(chr(32), chr(45))}-{port}"
        self.directory.mkdir()
        self.process = None
        self.environment = dict(os.environ)

    def command(self):
        raise NotImplementedError

    def stdout(self):
        return subprocess.DEVNULL

    def start(self):
        self.place.programs.append(self)
        argv = [str(word) for word in self.command()]
        with open(self.directory / "stderr", "wb") as errors:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=self.stdout(), stderr=errors,
                env=self.environment, cwd=self.directory, preexec_fn=set_affinity(self.cpus))
        deadline = time.monotonic() + START_S
        while not self.answers():
            if self.process.poll() is not None:
                raise Unusable(f"{self.name} ended at its start: {self.errors()}")
            if time.monotonic() > deadline:
                raise Unusable(f"{self.name} did not answer: {self.errors()}")
            time.sleep(0.02)
        return self

    def answers(self):
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    def errors(self):
        text = (self.directory / "stderr").read_text(errors="replace").strip()
        return text[-2000:] or "it says nothing"

    @property
    def pid(self):
        return self.process.pid

    def cpu_ns(self):
        return family_cpu_ns(self.pid)

    def dispose(self):
        """Ends it and forgets what it wrote, so that its port and directory can be used again."""
        self.stop()
        self.place.programs.remove(self)
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop(self):
        if not self.process:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Backend(Program):
    """GET /bytes/N: see byte_server.c."""

    name = "backend"

    def command(self):
        return [build_dir() / "tests/bench/byte_server", "127.0.0.1", self.port]


def make_certificate(place):
    """One for all proxies: ECDSA of P-256. The PEM file has the key too."""
    path = place.directory / "bench.pem"
    if path.exists():
        return path
    done = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "30", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}",
         "-keyout", "-", "-out", "-"], capture_output=True, timeout=START_S, check=False)
    if done.returncode:
        raise Unusable("openssl req: " + done.stderr.decode(errors="replace").strip())
    path.touch(0o600)
    path.write_bytes(done.stdout)
    shutil.chown(path, "nobody")
    return path


class Proxy(Program):
    """
    tls_port: the same with TLS 1.3 in front of it, where the program has it.
    workers: threads or processes that serve. backend: a started Backend. The access log is on, and
    take_log_lines() says how many lines came since it was asked last.
    """

    note = "access log"

    def __init__(self, place, port, backend, workers=1, cpus=None):
        super().__init__(place, port, cpus)
        self.backend, self.workers = backend, workers
        self.log = self.directory / "access.log"
        self.logs = True
        self.tls_port = port + TLS_PORTS
        self.certificate = make_certificate(place)
        self.prepare()

    def prepare(self):
        """Writes the configuration."""

    def take_log_lines(self):
        if not self.log.exists():
            return 0
        with open(self.log, "r+b") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
            file.truncate(0) # all of them append
        return lines

    def wait_for_log_lines(self, count):
        """As take_log_lines(), but waits a while until there are that many: some are buffered."""
        lines, deadline = 0, time.monotonic() + LOG_S
        while lines < count and time.monotonic() < deadline:
            lines += self.take_log_lines()
            time.sleep(0.05)
        return lines


# ---- nginx

NGINX_CONF = """
daemon off;
user root;
worker_processes {workers};
{affinity}
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
	sendfile on;
	tcp_nopush on;
	keepalive_requests 1000000000;
	keepalive_timeout 60s;
	upstream backend {{
		server 127.0.0.1:{backend_port};
		keepalive 256;
		keepalive_requests 1000000000;
	}}
	server {{
		listen 127.0.0.1:{port} {listen} reuseport backlog=4096;
		listen 127.0.0.1:{tls_port} ssl {listen} reuseport backlog=4096;
		ssl_certificate {certificate};
		ssl_certificate_key {certificate};
		ssl_protocols TLSv1.3;
		ssl_session_timeout 1h;
		server_name {host};
		location / {{
			proxy_pass http://backend;
			proxy_http_version 1.1;
			proxy_set_header Connection "";
			proxy_set_header X-Forwarded-For $remote_addr;
			{body}
		}}
	}}
}}
"""
# Buffering as it comes, but never to a file.
NGINX_BUFFERED = "proxy_max_temp_file_size 0; proxy_buffers 16 64k; proxy_busy_buffers_size 256k;"
NGINX_STREAMED = "proxy_buffering off; proxy_buffer_size 64k; proxy_buffers 8 64k;"


class Nginx(Proxy):
    name = "nginx"
    stop_signal = signal.SIGQUIT
    body = "proxy_max_temp_file_size 0;"
    listen = ""

    def prepare(self):
        self.conf = self.directory / "nginx.conf"
        self.conf.write_text(NGINX_CONF.format(
            workers=self.workers, directory=self.directory, log=self.log, port=self.port,
            affinity="worker_cpu_affinity auto;" if self.workers > 1 else "",
            backend_port=self.backend.port, host=HOST, body=self.body, listen=self.listen,
            tls_port=self.tls_port, certificate=self.certificate))

    def command(self):
        if not shutil.which(NGINX):
            raise Unusable("nginx is not installed: run scripts/setup")
        return [NGINX, "-c", self.conf, "-e", self.directory / "error.log"]


class NginxBuffered(Nginx):
    name, body = "nginx big buffers", NGINX_BUFFERED


class NginxStreamed(Nginx):
    name, body = "nginx unbuffered", NGINX_STREAMED


class NginxHttp2(Nginx):
    listen = "http2"


# ---- nghttpx and h2o, which speak HTTP/2 first of all


class Nghttpx(Proxy):
    name = "nghttpx"

    def command(self):
        if not shutil.which("nghttpx"):
            raise Unusable("nghttpx is not installed: run scripts/setup")
        return ["nghttpx", "--conf=/dev/null", f"--workers={self.workers}",
                f"--frontend=127.0.0.1,{self.port};no-tls",
                f"--frontend=127.0.0.1,{self.tls_port}",
                f"--backend=127.0.0.1,{self.backend.port}", f"--accesslog-file={self.log}",
                f"--errorlog-file={self.directory}/error.log", "--backend-keep-alive-timeout=60s",
                "--log-level=ERROR", self.certificate, self.certificate]


H2O_CONF = """
user: root
num-threads: {workers}
max-connections: 4096
pid-file: {directory}/h2o.pid
error-log: {directory}/error.log
access-log: {log}
listen: {{ host: 127.0.0.1, port: {port} }}
listen:
  host: 127.0.0.1
  port: {tls_port}
  ssl: {{ certificate-file: {certificate}, key-file: {certificate} }}
hosts:
  default:
    paths:
      /: {{ proxy.reverse.url: "http://127.0.0.1:{backend_port}/", proxy.timeout.keepalive: 60000 }}
"""


class H2o(Proxy):
    name = "h2o"

    def prepare(self):
        self.conf = self.directory / "h2o.conf"
        self.conf.write_text(H2O_CONF.format(workers=self.workers, directory=self.directory,
                                             log=self.log, port=self.port,
                                             tls_port=self.tls_port,
                                             certificate=self.certificate,
                                             backend_port=self.backend.port))

    def command(self):
        if not shutil.which("h2o"):
            raise Unusable("h2o is not installed: run scripts/setup")
        return ["h2o", "-m", "worker", "-c", self.conf]


# ---- haproxy

HAPROXY_CONF = """
global
	nbthread {workers}
	{affinity}
	maxconn 2048
	log stdout format raw local0
	tune.bufsize {bufsize}
	ssl-default-bind-options ssl-min-ver TLSv1.3
	{tune}
defaults
	mode http
	log global
	option httplog
	option http-keep-alive
	option forwardfor
	http-reuse always
	timeout connect 1s
	timeout client 60s
	timeout server 60s
	timeout http-request 10s
	{options}
frontend bench
	bind 127.0.0.1:{port} backlog 4096
	bind 127.0.0.1:{tls_port} backlog 4096 ssl crt {certificate} alpn h2,http/1.1
	default_backend backend
backend backend
	server one 127.0.0.1:{backend_port} pool-max-conn 256
"""


class Haproxy(Proxy):
    name = "haproxy"
    stop_signal = signal.SIGUSR1
    bufsize, tune, options = 16384, "", ""

    def prepare(self):
        self.conf = self.directory / "haproxy.cfg"
        self.conf.write_text(HAPROXY_CONF.format(
            workers=self.workers, port=self.port, backend_port=self.backend.port,
            affinity=f"cpu-map auto:1/1-{self.workers} 0-{self.workers - 1}"
            if self.workers > 1 else "",
            bufsize=self.bufsize, tune=self.tune, options=self.options, tls_port=self.tls_port,
            certificate=self.certificate))

    def command(self):
        if not shutil.which(HAPROXY):
            raise Unusable("haproxy is not installed: run scripts/setup")
        return [HAPROXY, "-db", "-f", self.conf]

    def stdout(self):
        # It writes no files itself: this is its way to one.
        return os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


class HaproxyBigBuffers(Haproxy):
    name, bufsize = "haproxy big buffers", 65536


class HaproxySplice(Haproxy):
    name, options = "haproxy splice", "option splice-response"


class HaproxySpliceBigPipes(HaproxySplice):
    name, tune = "haproxy splice big pipes", "tune.pipesize 524288"


# ---- Sluice

OTHER_ROUTES = 10000
SLUICE_HEAD = """version: 1
node:
  workers: {workers}
  user: nobody
  state_dir: {directory}/state
  bpffs: {pins}
  admin: {{ socket: {directory}/run/admin.sock }}
  log: {{ level: warn, format: text }}
  drain: 1s
"""
SLUICE_KEYS = {
    "access log": "  access_log: {{ file: {log}, format: combined }}\n",
    "metrics": "  metrics: 127.0.0.1:{metrics_port}\n",
}
SLUICE_BODY = """listeners:
  - {{ name: bench, address: "127.0.0.1:{port}", protocol: http }}
  - {{ name: secure, address: "127.0.0.1:{tls_port}", protocol: http,
      tls: {{ certificates: [ {{ cert: {certificate}, key: {certificate} }} ] }} }}
upstreams:
  - {{ name: backend, endpoints: [ 127.0.0.1:{backend_port} ] }}
"""


def other_routes(count):
    """Routes beside the one that is measured, of every kind whose look-up is by a table."""
    for number in range(count):
        match = (f"hosts: [ h{number}.example ]",
                 f'hosts: [ "*.w{number}.example" ], path: {{ prefix: /app }}',
                 f"hosts: [ {HOST} ], path: {{ exact: /item/{number} }}",
                 f"hosts: [ {HOST} ], path: {{ prefix: /area{number}/part }}")[number % 4]
        yield f"  - {{ name: r{number}, match: {{ {match} }}, proxy: {{ upstream: backend }} }}\n"


class Sluice(Proxy):
    """`on` names what of access log, metrics and 10,000 other routes this build could be given."""

    name = "sluice"
    build = None # another build's directory, to compare it with; None: this one's

    def __init__(self, place, port, backend, workers=1, cpus=None, extra="", routes=None):
        """extra: text for the section node. routes: text in place of the default routes."""
        self.extra, self.routes = extra, routes
        self.metrics_port = port + 500
        self.pins = place.pins / str(port)
        super().__init__(place, port, backend, workers, cpus)

    def prepare(self):
        if not self.binary("sluiced").exists():
            raise Unusable(f"{self.binary('sluiced')} is not built: run make")
        self.conf = self.directory / "sluice.yaml"
        (self.directory / "run").mkdir()
        shutil.chown(self.directory / "run", "nobody")
        self.directory.chmod(0o755)
        # As logrotate would: the daemon may append to it, not make it.
        self.log.touch()
        shutil.chown(self.log, "nobody")
        self.on = [key for key in SLUICE_KEYS if self.is_accepted(self.text([key], ()))]
        self.logs = "access log" in self.on
        routes = self.routes or list(other_routes(OTHER_ROUTES))
        self.conf.write_text(self.text(self.on, routes))
        if not self.routes:
            self.on.append("10,000 other routes")
        self.note = ", ".join(self.on)

    def missing(self):
        return [key for key in SLUICE_KEYS if key not in self.on]

    def text(self, keys, routes):
        values = {"workers": self.workers, "directory": self.directory, "pins": self.pins,
                  "log": self.log, "metrics_port": self.metrics_port, "port": self.port,
                  "backend_port": self.backend.port, "tls_port": self.tls_port,
                  "certificate": self.certificate}
        return (SLUICE_HEAD.format(**values) +
                "".join(SLUICE_KEYS[key].format(**values) for key in keys) + self.extra +
                SLUICE_BODY.format(**values) + "routes:\n" +
                f"  - {{ name: bench, match: {{ hosts: [ {HOST} ] }}, "
                "proxy: { upstream: backend } }\n" + "".join(routes))

    def binary(self, name):
        return Path(self.build or build_dir()) / name

    def is_accepted(self, text):
        self.conf.write_text(text)
        check = subprocess.run([self.binary("sluiced"), "--check", self.conf],
                               capture_output=True, text=True, timeout=START_S, check=False)
        if check.returncode and "not supported yet" not in check.stderr + check.stdout:
            raise Unusable("sluiced --check: " + (check.stderr + check.stdout).strip())
        return check.returncode == 0

    def command(self):
        return [self.binary("sluiced"), "--config", self.conf]

    def cli(self, *words):
        """What `sluice WORDS` prints, as JSON text."""
        return subprocess.run(
            [self.binary("sluice"), "--socket", self.directory / "run/admin.sock", "--bpffs",
             self.pins, "--state-dir", self.directory / "state", "-j", *words],
            text=True, check=True, capture_output=True, timeout=START_S).stdout

    def engine(self):
        return json.loads(self.cli("status"))["io"]["engine"]

    def metrics(self):
        """The text of /metrics, or None when this build has none."""
        if "metrics" not in self.on:
            return None
        with socket.create_connection(("127.0.0.1", self.metrics_port), 10) as sock:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n")
            text = b"".join(iter(lambda: sock.recv(1 << 16), b""))
        return text.decode(errors="replace")

    def stop(self):
        super().stop()
        if self.pins.exists():
            with contextlib.suppress(subprocess.CalledProcessError):
                self.cli("prog", "unload")


__all__ = ["HOST", "TOP", "Backend", "H2o", "Haproxy", "HaproxyBigBuffers", "HaproxySplice",
           "HaproxySpliceBigPipes", "Nghttpx", "Nginx", "NginxBuffered", "NginxHttp2",
           "NginxStreamed", "Program", "Proxy",
           "Sluice", "other_routes"]
