"""HTTP/2 and the daemon as a whole: what is configured, the log, the end."""
import json
import struct
import threading
from pathlib import Path

from h2.errors import ErrorCodes
from lib.backend import RawBackend
from lib.http2 import (ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, SETTINGS,
                       Http2, frame, read_frames, take_frames)
from lib.netns import BACKEND, SLUICE
from lib.wire import response


def test_a_listener_without_prior_knowledge_takes_the_preface_for_http1(sluice):
    sluice.configure(f"""
listeners: [ {{ name: web, address: [ "{SLUICE}:80" ], http2: {{ prior_knowledge: off }} }} ]
routes: [ {{ name: all, respond: {{ status: 200, body: "x" }} }} ]
""")
    sluice.start()
    sock = sluice.topology.connect("client", SLUICE, 80)
    sock.sendall(PREFACE + frame(4))
    assert sock.recv(100).startswith(b"HTTP/1.1 505")
    sock.close()


def test_streams_beyond_the_limit_end_the_connection(sluice):
    sluice.configure(f"""
listeners: [ {{ name: web, address: [ "{SLUICE}:80" ], http2: {{ max_concurrent_streams: 4 }} }} ]
upstreams: [ {{ name: u, endpoints: [ "{BACKEND[0]}:9000" ] }} ]
routes: [ {{ name: all, proxy: {{ upstream: u }} }} ]
""")
    gate = threading.Event()

    def handle(connection):
        connection.read_request()
        gate.wait(20)
        connection.send(response())

    with RawBackend(sluice.topology, BACKEND[0], 9000, handle):
        sluice.start()
        h2 = Http2(sluice.topology.connect("client", SLUICE, 80))
        assert h2.is_alive() and h2.settings[3] == 4
        streams = [h2.start() for _ in range(4)]
        gate.set()
        for stream in streams:
            assert h2.wait(stream).status == 200
        gate.clear()
        h2.h2.remote_settings.update({3: 100})  # an impolite client
        h2.h2.remote_settings.acknowledge()
        for _ in range(5):
            h2.start()
        assert h2.wait_for_end() == ErrorCodes.PROTOCOL_ERROR
        gate.set()
        h2.close()


def test_a_drain_says_goaway_and_lets_streams_end(sluice):
    sluice.configure(f"""
listeners: [ {{ name: web, address: [ "{SLUICE}:80" ] }} ]
upstreams: [ {{ name: u, endpoints: [ "{BACKEND[0]}:9000" ] }} ]
routes: [ {{ name: all, proxy: {{ upstream: u }} }} ]
""", drain="4s")
    gate = threading.Event()

    def handle(connection):
        connection.read_request()
        gate.wait(20)
        connection.send(response(b"late"))

    with RawBackend(sluice.topology, BACKEND[0], 9000, handle) as backend:
        sluice.start()
        idle = Http2(sluice.topology.connect("client", SLUICE, 80))
        assert idle.is_alive()
        busy = sluice.topology.connect("client", SLUICE, 80)
        busy.sendall(PREFACE + frame(SETTINGS) + frame(SETTINGS, flags=ACK) +
                     frame(HEADERS, 1, b"\x82\x86\x84\x41\x01a", END_STREAM | END_HEADERS))
        backend.wait_for_requests(1)
        stopping = threading.Thread(target=sluice.stop)
        stopping.start()
        assert idle.wait_for_end() == ErrorCodes.NO_ERROR
        seen, rest = [], b""
        while (GOAWAY, 0) not in [(kind, stream) for kind, _, stream, _ in seen]:
            more, rest = take_frames(rest + busy.recv(65536))
            seen += more
        gate.set()
        seen += read_frames(busy, rest)
        stopping.join()
        goaways = [struct.unpack(">II", payload[:8]) for kind, _, _, payload in seen
                   if kind == GOAWAY]
        assert goaways[0] == (0x7fffffff, 0) and goaways[-1] == (1, 0)
        assert b"late" in [payload for kind, _, stream, payload in seen if kind == DATA]
        busy.close()


def test_the_access_log_and_the_counters_say_http2(sluice):
    log = Path(sluice.directory) / "state" / "access.log"
    text = sluice.preamble() + f"""  access_log: {{ file: {log}, format: json }}
listeners: [ {{ name: web, address: [ "{SLUICE}:80" ] }} ]
routes: [ {{ name: all, respond: {{ status: 200, body: "x" }} }} ]
"""
    sluice.write(text)
    sluice.start()
    h2 = Http2(sluice.topology.connect("client", SLUICE, 80))
    for _ in range(3):
        assert h2.ask().body == b"x"
    assert h2.wait(h2.start(pseudo=[(":method", "GET"), (":scheme", "http"),
                                    (":authority", "a"), (":path", "no")])).reset is not None
    counters = sluice.admin("/v1/status")["counters"]
    assert (counters["http2_connections"], counters["http2_streams"]) == (1, 4)
    assert counters["http2_resets_sent"] == 1
    h2.close()
    sluice.stop()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["protocol"] for line in lines[:3]] == ["HTTP/2"] * 3
    assert lines[3]["reason"] == "stream was reset"
