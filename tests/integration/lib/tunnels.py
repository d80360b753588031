"""What a WebSocket's server says in its handshake, and backends that agree to everything."""
import base64
import hashlib

from .wire import response

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_of(key):
    return base64.b64encode(hashlib.sha1(key.encode() + GUID).digest()).decode()


def switching(message, *fields, token="websocket", accept=None):
    lines = ["HTTP/1.1 101 Switching Protocols", "Connection: Upgrade", f"Upgrade: {token}"]
    if accept is None and message.get("sec-websocket-key"):
        accept = accept_of(message.get("sec-websocket-key"))
    if accept:
        lines.append(f"Sec-WebSocket-Accept: {accept}")
    return "\r\n".join([*lines, *fields]).encode() + b"\r\n\r\n"


def say_back(connection):
    while True:
        while connection.buffer:
            connection.send(connection._take(len(connection.buffer)))
        if not connection.fill():
            return


def echo(connection):
    """Agrees to whatever is asked and says everything back."""
    while True:
        message = connection.read_request()
        if message.get("upgrade"):
            break
        connection.send(response(b"plain"))
    connection.send(switching(message, token=message.get("upgrade")))
    say_back(connection)


def read_exactly(wire, count):
    while len(wire.buffer) < count:
        assert wire.fill(), f"end after {len(wire.buffer)} of {count} bytes"
    return wire._take(count)
