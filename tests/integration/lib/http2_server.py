"""
An upstream that speaks HTTP/2, in clear text or over TLS: a handler for lib/backend.py whose every
frame is the test's. It is python3-h2 without its manners, as lib/http2.py is for clients.
"""
import struct
import threading

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2 import events
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from .http2 import GOAWAY, HEADERS, frame


class Asked:
    """One request."""

    def __init__(self, stream, head):
        self.stream = stream
        self.fields = [(name, value) for name, value in head if not name.startswith(":")]
        self.pseudo = {name: value for name, value in head if name.startswith(":")}
        self.body, self.trailers = b"", []
        self.target = self.pseudo.get(":path")
        self.method = self.pseudo.get(":method")

    def all(self, name):
        return [value for key, value in self.fields if key == name]


class Peer:
    """The server's end of one connection."""

    def __init__(self, sock, server):
        self.sock, self.server = sock, server
        self.asked, self.waiting = {}, {}
        self.resets, self.goaway = {}, None
        self.h2 = H2Connection(H2Configuration(
            client_side=False, header_encoding="latin-1", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        self.h2.local_settings = Settings(client=False, initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: 1000, **server.settings})
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.raw(self.h2.data_to_send())

    def raw(self, *pieces):
        try:
            self.sock.sendall(b"".join(pieces))
        except OSError:
            pass  # the proxy has gone: reading tells

    def raw_head(self, stream, fields, flags):
        """Without h2's opinion of it."""
        return frame(HEADERS, stream, self.h2.encoder.encode(fields), flags)

    def head(self, stream, code=200, fields=(), end=False):
        self.h2.send_headers(stream, [(":status", str(code)), *fields], end_stream=end)
        self.flush()

    def data(self, stream, data, end=True, trailers=()):
        """As far as the windows allow, now and when they open."""
        self.waiting[stream] = [data, end, trailers]
        self._push(stream)

    def answer(self, stream, body=b"ok", code=200, fields=(), trailers=()):
        self.head(stream, code, fields)
        self.data(stream, body, True, trailers)

    def reset(self, stream, code):
        self.h2.reset_stream(stream, code)
        self.flush()

    def raw_goaway(self, last, code=0):
        self.raw(frame(GOAWAY, 0, struct.pack(">II", last, code)))

    def _push(self, stream):
        data, end, trailers = self.waiting[stream]
        try:
            while data:
                room = min(self.h2.local_flow_control_window(stream), 16384)
                if room <= 0:
                    break
                self.h2.send_data(stream, data[:room])
                data = data[room:]
                self.flush()
            if data:
                self.waiting[stream][0] = data
                return
            del self.waiting[stream]
            if trailers:
                self.h2.send_headers(stream, list(trailers), end_stream=True)
            elif end:
                self.h2.end_stream(stream)
            self.flush()
        except ProtocolError:
            self.waiting.pop(stream, None)  # it was reset

    def _take(self, event):
        stream = getattr(event, "stream_id", None)
        if isinstance(event, events.RequestReceived):
            self.asked[stream] = Asked(stream, event.headers)
            self.server.note(self.asked[stream])
            self.server.on_head(self, self.asked[stream])
        elif isinstance(event, events.DataReceived):
            self.asked[stream].body += event.data
            if self.server.acknowledge and event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
        elif isinstance(event, events.TrailersReceived):
            self.asked[stream].trailers = event.headers
        elif isinstance(event, events.StreamEnded):
            self.server.on_request(self, self.asked[stream])
        elif isinstance(event, events.StreamReset):
            self.resets[stream] = event.error_code
            self.waiting.pop(stream, None)
        elif isinstance(event, events.ConnectionTerminated):
            self.goaway = event.error_code

    def run(self):
        while True:
            try:
                received = self.sock.recv(65536)
            except OSError:
                received = b""
            if not received:
                return
            for event in self.h2.receive_data(received):
                self._take(event)
            self.flush()
            for stream in list(self.waiting):
                self._push(stream)


class Http2Server:
    """
    on_request(peer, asked) when a request is whole, on_head(peer, asked) when its head is. Both run
    in the connection's thread. wrap: of the socket, for TLS.
    """

    def __init__(self, on_request=None, on_head=None, settings=None, acknowledge=True, wrap=None):
        self.on_request = on_request or (lambda peer, asked: peer.answer(asked.stream))
        self.on_head = on_head or (lambda peer, asked: None)
        self.settings = settings or {}
        self.acknowledge, self.wrap = acknowledge, wrap
        self.changed = threading.Condition()
        self.peers, self.asked = [], []

    def note(self, asked):
        with self.changed:
            self.asked.append(asked)
            self.changed.notify_all()

    def wait_for(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.asked) >= count, 20), \
                f"{len(self.asked)} of {count} requests came"

    def __call__(self, connection):
        sock = self.wrap(connection.sock) if self.wrap else connection.sock
        peer = Peer(sock, self)
        with self.changed:
            self.peers.append(peer)
            self.changed.notify_all()
        peer.run()
