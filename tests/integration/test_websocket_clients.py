"""
WebSockets of real programs through Sluice: python3-websockets as client and as server, and nginx as
an upstream that passes them on.
"""
import asyncio
import contextlib
import threading

import pytest
from lib.daemon import daemon
from lib.netns import BACKEND, SLUICE
from lib.programs import start_program

websockets = pytest.importorskip("websockets")

PORT, SERVER_PORT, NGINX_PORT = 8109, 9921, 9922
CONFIG = f"""
listeners: [ {{ name: web, address: "{SLUICE}:{PORT}" }} ]
upstreams:
  - {{ name: server, endpoints: [ "{BACKEND[0]}:{SERVER_PORT}" ] }}
  - {{ name: nginx, endpoints: [ "{BACKEND[1]}:{NGINX_PORT}" ] }}
routes:
  - {{ name: server, match: {{ hosts: [ server.test ] }}, proxy: {{ upstream: server, upgrade: websocket }} }}
  - {{ name: nginx, match: {{ hosts: [ nginx.test ] }}, proxy: {{ upstream: nginx, upgrade: websocket }} }}
"""
NGINX = f"""
daemon off;
worker_processes 1;
pid {{directory}}/nginx.pid;
user root;
events {{{{ worker_connections 256; }}}}
http {{{{
	access_log off;
	server {{{{
		listen {BACKEND[1]}:{NGINX_PORT};
		location / {{{{
			proxy_pass http://{BACKEND[0]}:{SERVER_PORT};
			proxy_http_version 1.1;
			proxy_set_header Upgrade $http_upgrade;
			proxy_set_header Connection upgrade;
			proxy_set_header X-Passed nginx;
		}}}}
	}}}}
}}}}
"""


class Server:
    """Says every message back, and closes with 4001 when it is told to."""

    def __init__(self, topology):
        self.seen = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        sock = topology.listen("backends", BACKEND[0], SERVER_PORT)
        self._server = self._do(self._serve(sock))

    async def _serve(self, sock):
        return await websockets.serve(self._handle, sock=sock, subprotocols=["chat"],
                                      max_size=None)

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _handle(self, socket):
        self.seen.append(socket)
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in socket:
                if message == "close":
                    await socket.close(4001, "as asked")
                else:
                    await socket.send(message)

    async def _close(self):
        self._server.close()
        await self._server.wait_closed()

    def close(self):
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(20)
        self._loop.close()


@pytest.fixture(scope="module")
def node(topology, workdir, engine):
    with daemon(topology, workdir, engine) as sluice:
        sluice.configure(CONFIG)
        yield sluice.start()


@pytest.fixture
def server(topology):
    server = Server(topology)
    yield server
    server.close()


@pytest.fixture
def nginx(topology, tmp_path, server):
    config = tmp_path / "nginx.conf"
    config.write_text(NGINX.format(directory=tmp_path))
    with start_program(topology, "backends", ["/usr/sbin/nginx", "-c", str(config), "-e",
                                              str(tmp_path / "error.log")],
                       BACKEND[1], NGINX_PORT, tmp_path) as program:
        yield program


def client(topology, host, **kwargs):
    sock = topology.connect("client", SLUICE, PORT)
    sock.settimeout(None)
    return websockets.connect(f"ws://{host}/chat?room=1", sock=sock, max_size=None, **kwargs)


@pytest.mark.parametrize("host", ["server.test", "nginx.test"])
def test_messages_of_all_kinds_and_sizes(node, topology, server, nginx, host, rng):
    messages = ["", "hello", "ä" * 70000, b"", rng.randbytes(125), rng.randbytes(126),
                rng.randbytes(65536), rng.randbytes(3 << 20)]

    async def talk():
        async with client(topology, host, subprotocols=["other", "chat"]) as socket:
            assert socket.subprotocol == "chat"
            assert [each.name for each in socket.extensions] == ["permessage-deflate"]
            for message in messages:
                await socket.send(message)
                assert await socket.recv() == message
            await (await socket.ping(b"are you there"))
            # All at once: both directions are full.
            await asyncio.gather(*(socket.send(message) for message in messages))
            for message in messages:
                assert await socket.recv() == message
            await socket.send("close")
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 4001 and socket.close_reason == "as asked"

    asyncio.run(asyncio.wait_for(talk(), 60))
    seen, = server.seen
    assert seen.path == "/chat?room=1"
    assert (seen.request_headers.get("x-passed") == "nginx") == (host == "nginx.test")


def test_the_client_closes(node, topology, server):
    async def talk():
        async with client(topology, "server.test", compression=None) as socket:
            await socket.send("x")
            assert await socket.recv() == "x"
            await socket.close(1001, "going")

    asyncio.run(asyncio.wait_for(talk(), 60))
    seen, = server.seen
    server._do(seen.wait_closed())
    assert seen.close_code == 1001 and seen.close_reason == "going"


def test_many_at_once(node, topology, server):
    async def one(number):
        async with client(topology, "server.test") as socket:
            for turn in range(10):
                await socket.send(f"{number} {turn}")
                assert await socket.recv() == f"{number} {turn}"

    async def all_of_them():
        await asyncio.gather(*(one(number) for number in range(50)))

    asyncio.run(asyncio.wait_for(all_of_them(), 60))
    assert len(server.seen) == 50


def test_a_server_that_refuses(node, topology, server):
    async def talk():
        sock = topology.connect("client", SLUICE, PORT)
        sock.settimeout(None)
        with pytest.raises(websockets.InvalidStatusCode) as refused:
            await websockets.connect("ws://none.test/", sock=sock)
        assert refused.value.status_code == 404

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert not server.seen
