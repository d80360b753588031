"""
HTTP/1 on a socket with every byte in our hand. The reader is strict and knows only what a correct
proxy may send: anything else raises BadMessage, an end inside a message Truncated.
"""
import contextlib
import re
import socket
import struct

from .wait import Thread

TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+\Z")


class BadMessage(AssertionError):
    pass


class Truncated(Exception):
    """The stream ended inside a message."""


class Closed(Truncated):
    """The stream ended where a message could have begun."""


class Message:
    """A request or response: start line, fields in order as (name, value), body."""

    def __init__(self, start, fields):
        self.start = start
        self.fields = fields
        self.body = b""
        self.trailers = []
        self.chunked = False
        self.informational = []  # the 1xx answers before a response

    def all(self, name):
        return [value for field, value in self.fields if field.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    @property
    def method(self):
        return self.start.split(" ")[0]

    @property
    def target(self):
        return self.start.split(" ")[1]

    @property
    def version(self):
        return self.start.split(" ")[2]

    def __repr__(self):
        return f"<{self.start!r} {self.fields} {len(self.body)} bytes>"


def parse_head(head):
    """The bytes up to and without the empty line."""
    lines = head.split(b"\r\n")
    if b"\r" in head.replace(b"\r\n", b"") or b"\n" in head.replace(b"\r\n", b""):
        raise BadMessage(f"bare CR or LF in the head: {head!r}")
    fields = []
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not TOKEN.match(name):
            raise BadMessage(f"malformed field line {line!r}")
        fields.append((name.decode("ascii"), value.strip(b" \t").decode("latin-1")))
    return Message(lines[0].decode("latin-1"), fields)


def framing_of(message):
    """"chunked", a length, or None; only what we are allowed to emit passes."""
    lengths, codings = message.all("content-length"), message.all("transfer-encoding")
    if codings and lengths:
        raise BadMessage(f"Content-Length and Transfer-Encoding: {message.fields}")
    if len(codings) > 1 or (codings and codings[0].lower() != "chunked"):
        raise BadMessage(f"Transfer-Encoding {codings}")
    if len(lengths) > 1 or (lengths and not re.fullmatch("[0-9]+", lengths[0])):
        raise BadMessage(f"Content-Length {lengths}")
    if codings:
        return "chunked"
    return int(lengths[0]) if lengths else None


class Wire:
    """One connection. Every operation has the socket's timeout as its deadline."""

    def __init__(self, sock, record=False):
        self.sock = sock
        self.buffer = bytearray()
        self.record = bytearray() if record else None
        self.saw_end = False
        self.received_bytes = 0

    # -- sending

    def send(self, *pieces):
        for piece in pieces:
            self.sock.sendall(piece)

    @contextlib.contextmanager
    def sending(self, pieces):
        """Sends from a thread while the block reads: both directions at once."""

        def pump():
            # Whoever stops reading our request has answered already: the reader judges that.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.send(*pieces)

        thread = Thread(pump)
        yield
        thread.finish()

    def end(self):
        """Half-close: we have no more to say."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    # -- receiving

    def fill(self):
        """Receives once. False at the end of the stream, also for a reset."""
        if self.saw_end:
            return False
        try:
            data = self.sock.recv(262144)
        except ConnectionResetError:
            data = b""
        if not data:
            self.saw_end = True
            return False
        self.received_bytes += len(data)
        if self.record is not None:
            self.record += data
        self.buffer += data
        return True

    def _take(self, count):
        taken = bytes(self.buffer[:count])
        del self.buffer[:count]
        return taken

    def read_line(self):
        while True:
            end = self.buffer.find(b"\n")
            if end >= 0:
                line = self._take(end + 1)
                if not line.endswith(b"\r\n") or b"\r" in line[:-2]:
                    raise BadMessage(f"line {line!r}")
                return line[:-2]
            if not self.fill():
                raise Truncated(f"end inside a line: {bytes(self.buffer)!r}")

    def read_head(self):
        while True:
            end = self.buffer.find(b"\r\n\r\n")
            if end >= 0:
                return parse_head(self._take(end + 4)[:-4])
            if not self.fill():
                if self.buffer:
                    raise Truncated(f"end inside a head: {bytes(self.buffer)!r}")
                raise Closed("end of stream instead of a head")

    def _copy(self, count, sink):
        """count bytes to sink; None: until the end of the stream."""
        while count is None or count > 0:
            if not self.buffer and not self.fill():
                if count is None:
                    return
                raise Truncated(f"{count} bytes of the body are missing")
            data = self._take(len(self.buffer) if count is None else min(count, len(self.buffer)))
            sink(data)
            if count is not None:
                count -= len(data)

    def _read_chunks(self, message, sink):
        while True:
            line = self.read_line()
            if not re.fullmatch(rb"[0-9a-fA-F]+", line):
                raise BadMessage(f"chunk size line {line!r}")
            size = int(line, 16)
            if size == 0:
                break
            self._copy(size, sink)
            if self.read_line() != b"":
                raise BadMessage("chunk data is not followed by CRLF")
        while line := self.read_line():
            message.trailers += parse_head(b"\r\n" + line).fields

    def read_body(self, message, framing, sink=None):
        pieces = []
        sink = sink or pieces.append
        message.chunked = framing == "chunked"
        if message.chunked:
            self._read_chunks(message, sink)
        else:
            self._copy(framing, sink)
        message.body = b"".join(pieces)
        return message

    def read_request(self, sink=None):
        message = self.read_head()
        if not re.fullmatch(r"\S+ \S+ HTTP/1\.[01]", message.start):
            raise BadMessage(f"request line {message.start!r}")
        return self.read_body(message, framing_of(message) or 0, sink)

    def read_response_head(self):
        """The final response's head; the 1xx before it are in .informational."""
        informational = []
        while True:
            message = self.read_head()
            if not re.fullmatch(r"HTTP/1\.[01] [0-9]{3} [^\r\n]*", message.start):
                raise BadMessage(f"status line {message.start!r}")
            if message.status >= 200 or message.status == 101:
                message.informational = informational
                return message
            informational.append(message)

    def read_response(self, method="GET", sink=None):
        message = self.read_response_head()
        return self.read_response_body(message, method, sink)

    def read_response_body(self, message, method="GET", sink=None):
        framing = framing_of(message)
        if method == "HEAD" or message.status in (204, 304):
            return message
        return self.read_body(message, framing, sink)

    def read_until_close(self):
        while self.fill():
            pass
        return self._take(len(self.buffer))

    def is_closed(self):
        """Waits for the peer's end; fails when more bytes come first."""
        if self.buffer or self.fill():
            raise BadMessage(f"bytes instead of the end: {bytes(self.buffer[:200])!r}")
        return True

    # -- both

    def ask(self, target="/", method="GET", fields=(), body=None, host="lane.test"):
        self.send(request(target, method, fields, body, host))
        return self.read_response(method)


def request(target="/", method="GET", fields=(), body=None, host="lane.test", version="HTTP/1.1"):
    lines = [f"{method} {target} {version}", f"Host: {host}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b"")


def response(body=b"ok", status="200 OK", fields=(), version="HTTP/1.1", length=True):
    lines = [f"{version} {status}", *fields]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunks(data, sizes):
    """data cut by the sizes in turn, framed, with the last chunk."""
    framed, position, turn = [], 0, 0
    while position < len(data):
        size = sizes[turn % len(sizes)]
        framed.append(chunk(data[position:position + size]))
        position, turn = position + size, turn + 1
    return b"".join(framed) + b"0\r\n\r\n"
