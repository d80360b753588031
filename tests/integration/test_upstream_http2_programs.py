"""HTTP/2 towards programs that people run: nginx by TLS and ALPN, nghttpd with TLS and without."""
import hashlib
import os

import pytest

from lib.certificates import make_certificate
from lib.daemon import daemon
from lib.http2 import Http2
from lib.netns import BACKEND, SLUICE
from lib.payload import BLOCK_BYTES, payload
from lib.programs import start_program
from lib.wait import wait_until
from lib.wire import Wire

ADDRESS = BACKEND[0]
NGINX, ONCE, OLD, SECURE, CLEAR = range(9741, 9746)
BIG = payload(11, BLOCK_BYTES)
TLS = "tls: { ca: site.pem, server_name: site.test }"
# name: port, further keys
UPSTREAMS = {
    "nginx": (NGINX, TLS),
    "once": (ONCE, TLS),
    "old": (OLD, TLS + ", ejection: { consecutive_failures: 0 }"),
    "secure": (SECURE, TLS),
    "clear": (CLEAR, "slow_start: 0s"),
}


def config(directory):
    upstreams = "".join(f'  - {{ name: {name}, endpoints: [ "{ADDRESS}:{port}" ], protocol: http2, '
                        f"{more} }}\n" for name, (port, more) in UPSTREAMS.items())
    routes = "".join(f"  - {{ name: {name}, match: {{ hosts: [ {name}.test ] }}, "
                     f"proxy: {{ upstream: {name}, trailers: on }} }}\n" for name in UPSTREAMS)
    return (f"  access_log: {{ file: {directory}/log/access.log }}\n"
            f'listeners: [ {{ name: web, address: "{SLUICE}:80", '
            "limits: { body_bytes: 64MiB } } ]\n"
            f"upstreams:\n{upstreams}routes:\n{routes}")


NGINX_CONF = f"""
daemon off;
worker_processes 1;
pid {{directory}}/nginx.pid;
user root;
events {{{{ worker_connections 512; }}}}
http {{{{
	access_log off;
	client_body_temp_path {{directory}}/body;
	proxy_temp_path {{directory}}/proxy;
	fastcgi_temp_path {{directory}}/fastcgi;
	uwsgi_temp_path {{directory}}/uwsgi;
	scgi_temp_path {{directory}}/scgi;
	client_max_body_size 0;
	ssl_session_cache shared:all:1m;
	ssl_certificate {{directory}}/site.pem;
	ssl_certificate_key {{directory}}/site.key;
	root {{directory}}/www;
	server {{{{
		listen {ADDRESS}:{NGINX} ssl http2;
		location /facts {{{{ return 200 "$server_protocol $ssl_server_name $connection $http_x_ask"; }}}}
		location /up {{{{ dav_methods PUT; }}}}
	}}}}
	server {{{{
		listen {ADDRESS}:{ONCE} ssl http2;
		keepalive_requests 1;
		location / {{{{ return 200 "$ssl_session_reused $connection"; }}}}
	}}}}
	server {{{{ listen {ADDRESS}:{OLD} ssl; }}}}
}}}}
"""


def start_programs(topology, directory):
    make_certificate(directory, "site", "site.test")
    (directory / "www" / "up").mkdir(parents=True)
    (directory / "www" / "big").write_bytes(BIG)
    conf = directory / "nginx.conf"
    conf.write_text(NGINX_CONF.format(directory=directory))
    nghttpd = ["/usr/sbin/nghttpd", "-a", ADDRESS, "-d", str(directory / "www"), "--echo-upload",
               "--trailer", "x-sum: 42"]
    yield start_program(topology, "backends", ["/usr/sbin/nginx", "-c", str(conf), "-e",
                                               str(directory / "error.log")],
                        ADDRESS, NGINX, directory)
    yield start_program(topology, "backends", [*nghttpd, str(SECURE), str(directory / "site.key"),
                                               str(directory / "site.pem")],
                        ADDRESS, SECURE, directory)
    yield start_program(topology, "backends", [*nghttpd, "--no-tls", str(CLEAR)],
                        ADDRESS, CLEAR, directory)


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        programs = []
        try:
            for program in start_programs(topology, sluice.directory):
                programs.append(program)
            sluice.configure(config(sluice.directory), workers=1)
            yield sluice.start()
        finally:
            for program in programs:
                program.close()


class Answer:
    def __init__(self, status, body, trailers):
        self.status, self.body = status, body
        self.trailers = trailers  # None: there is no room for any, by Content-Length of HTTP/1


@pytest.fixture(params=["http1", "http2"])
def ask(topology, node, request):
    def by_http1(name, target, method="GET", body=None, fields=()):
        with Wire(topology.connect("client", SLUICE, 80)) as wire:
            answer = wire.ask(target, method, fields, body, f"{name}.test")
            return Answer(answer.status, answer.body,
                          None if answer.get("content-length") else answer.trailers)

    def by_http2(name, target, method="GET", body=None, fields=()):
        client = Http2(topology.connect("client", SLUICE, 80))
        answer = client.ask(target, method, f"{name}.test",
                            [tuple(part.strip() for part in field.lower().split(":", 1))
                             for field in fields], body)
        client.close()
        return Answer(answer.status, answer.body, answer.trailers or [])

    return by_http1 if request.param == "http1" else by_http2


def test_nginx_is_asked_by_http2_over_one_connection(ask):
    seen = [ask("nginx", "/facts", fields=["X-Ask: mine"]).body.decode().split()
            for _ in range(5)]
    assert {tuple(each[:2] + each[3:]) for each in seen} == {("HTTP/2.0", "site.test", "mine")}
    assert len({each[2] for each in seen}) == 1


@pytest.mark.parametrize("name", ["nginx", "secure", "clear"])
def test_large_answers_are_whole(ask, name):
    answer = ask(name, "/big")
    assert answer.status == 200
    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(BIG).digest()


def test_large_uploads_are_whole(ask, node):
    place = node.directory / "www" / "up" / "file"
    if place.exists():
        os.unlink(place)
    assert ask("nginx", "/up/file", "PUT", BIG).status == 201
    assert place.read_bytes() == BIG


@pytest.mark.parametrize("name", ["secure", "clear"])
def test_uploads_come_back_from_nghttpd_with_its_trailers(ask, name):
    answer = ask(name, "/echo", "POST", BIG[:300000])
    assert (answer.status, answer.body) == (200, BIG[:300000])
    assert answer.trailers is None or ("x-sum", "42") in answer.trailers


def test_sessions_are_resumed(ask):
    """Each answer ends its connection."""
    seen = [ask("once", "/").body.decode().split() for _ in range(3)]
    assert len({connection for _, connection in seen}) == 3
    assert seen[-1][0] == "r"


def test_peer_without_http2_is_no_peer(ask, node):
    """nginx breaks the handshake off, as RFC 7301 3.2 wants it."""
    assert ask("old", "/").status == 502
    log = node.directory / "log" / "access.log"
    wait_until(lambda: "no application protocol" in log.read_text(), "the log says why")
