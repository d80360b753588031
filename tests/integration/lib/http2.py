"""
HTTP/2 with every frame in hand: python3-h2 without its manners (it sends what it is told to), and
frames put together by hand where even that is too polite.
"""
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2 import events
from h2.exceptions import ProtocolError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, \
    CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def frame(kind, stream=0, payload=b"", flags=0):
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + \
        struct.pack(">I", stream) + payload


class Gone(Exception):
    """The connection ended before what was waited for came."""


class Answer:
    def __init__(self):
        self.status, self.fields, self.body, self.trailers = None, [], b"", []
        self.informational = []
        self.ended = False
        self.reset = None  # the error code

    @property
    def over(self):
        return self.ended or self.reset is not None

    def get(self, name):
        return next((value for key, value in self.fields if key == name), None)

    def __repr__(self):
        return f"<{self.status} {self.body[:100]!r} reset={self.reset} ended={self.ended}>"


class Http2:
    """A client's connection. With acknowledge=False its windows open only when a test says so."""

    def __init__(self, sock, acknowledge=True, settings=None):
        self.sock = sock
        self.acknowledge = acknowledge
        self.answers = {}
        self.goaway = None
        self.settings = {}
        self.pings = 0
        self.ended = False
        self.h2 = H2Connection(H2Configuration(
            client_side=True, header_encoding="latin-1", validate_outbound_headers=False,
            normalize_outbound_headers=False))
        if settings:
            self.h2.local_settings.update(settings)
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.raw(self.h2.data_to_send())

    def raw(self, *pieces):
        try:
            self.sock.sendall(b"".join(pieces))
        except (BrokenPipeError, ConnectionResetError):
            self.ended = True

    def start(self, target="/", method="GET", host="lane.test", fields=(), end=True, pseudo=None):
        stream = self.h2.get_next_available_stream_id()
        if pseudo is None:
            pseudo = [(":method", method), (":scheme", "http"), (":authority", host),
                      (":path", target)]
        self.h2.send_headers(stream, list(pseudo) + list(fields), end_stream=end)
        self.answers[stream] = Answer()
        self.flush()
        return stream

    def raw_head(self, stream, fields, flags=END_STREAM | END_HEADERS):
        """Without h2's book-keeping, which would stop a client that resets too much."""
        return frame(HEADERS, stream, self.h2.encoder.encode(fields), flags)

    def data(self, stream, data, end=False):
        """As far as the server's windows allow, waiting for them."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), 16384)
            if not room:
                if not self.pump():
                    raise Gone("no window")
                if self.answers[stream].over:
                    return
                continue
            piece, data = data[:room], data[room:]
            self.h2.send_data(stream, piece)
            self.flush()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    def pump(self):
        """One receive. False: the connection is at its end."""
        try:
            received = self.sock.recv(65536)
        except ConnectionResetError:
            received = b""
        if not received:
            self.ended = True
            return False
        try:
            self._take(self.h2.receive_data(received))
        except ProtocolError as error:
            raise AssertionError(f"the server broke the protocol: {error!r}") from error
        self.flush()
        return True

    def _take(self, happened):
        for event in happened:
            answer = self.answers.get(getattr(event, "stream_id", None))
            if isinstance(event, events.ResponseReceived):
                answer.fields = event.headers[1:]
                answer.status = int(event.headers[0][1])
            elif isinstance(event, events.InformationalResponseReceived):
                answer.informational.append((int(event.headers[0][1]), event.headers[1:]))
            elif isinstance(event, events.DataReceived):
                answer.body += event.data
                if self.acknowledge and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length,
                                                      event.stream_id)
            elif isinstance(event, events.TrailersReceived):
                answer.trailers = event.headers
            elif isinstance(event, events.StreamEnded):
                answer.ended = True
            elif isinstance(event, events.StreamReset):
                if answer:
                    answer.reset = event.error_code
            elif isinstance(event, events.ConnectionTerminated):
                self.goaway = event.error_code
            elif isinstance(event, events.RemoteSettingsChanged):
                self.settings.update({key: change.new_value
                                      for key, change in event.changed_settings.items()})
            elif isinstance(event, events.PingAckReceived):
                self.pings += 1

    def wait(self, stream):
        answer = self.answers[stream]
        while not answer.over:
            if not self.pump():
                raise Gone(f"{answer} goaway={self.goaway}")
        return answer

    def ask(self, target="/", method="GET", host="lane.test", fields=(), body=None, **more):
        stream = self.start(target, method, host, fields, end=body is None, **more)
        if body is not None:
            self.data(stream, body, end=True)
        return self.wait(stream)

    def is_alive(self):
        """It answers a PING."""
        before = self.pings
        self.h2.ping(b"01234567")
        self.flush()
        while self.pings == before:
            if not self.pump():
                return False
        return True

    def wait_for_end(self):
        """Reads to the end; the error of the GOAWAY that came before it, or None."""
        while not self.ended and self.pump():
            pass
        return self.goaway

    def close(self):
        self.sock.close()


def take_frames(received):
    """([(kind, flags, stream, payload)], what is left)"""
    frames = []
    while len(received) >= 9:
        size = int.from_bytes(received[:3], "big")
        if len(received) < 9 + size:
            break
        frames.append((received[3], received[4], int.from_bytes(received[5:9], "big"),
                       received[9:9 + size]))
        received = received[9 + size:]
    return frames, received


def read_frames(sock, rest=b""):
    """What a server says to the end, to a client that is no h2."""
    frames = []
    while True:
        try:
            received = sock.recv(65536)
        except ConnectionResetError:
            received = b""
        if not received:
            return frames
        more, rest = take_frames(rest + received)
        frames += more
