"""A daemon that answers as it is told to: an HTTP/1.1 server on a Unix socket with scripts."""
import json
import os
import socket
import threading

import answers


class Request:
    def __init__(self, method, target, fields, body):
        self.method = method
        self.target = target
        self.fields = fields
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


def http(body, status=200, fields=(), length=None, head=None):
    """The bytes of an answer; `length` and `head` tell untruths."""
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
    lines = [head or f"HTTP/1.1 {status} Whatever", "Content-Type: application/json",
             f"Content-Length: {len(body) if length is None else length}", "Connection: close",
             *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def error(status, text, **more):
    return http({"error": text, **more}, status)


class FakeAdmin:
    """
    with FakeAdmin(path) as admin: each connection gets answers.ANSWERS, or what was put into
    `admin.script[(method, path)]` or `admin.always`: bytes, a document, or a function that gets
    the connection and the request and does as it likes.
    """

    def __init__(self, path):
        self.path = path
        self.script = {}
        self.always = None
        self.requests = []
        self._threads = []

    def __enter__(self):
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(self.path)
        self._listener.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        # Wakes accept(); closing alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()
        os.unlink(self.path)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._answer, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _read(self, connection):
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None
            data += more
        head, body = data.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines)
        while len(body) < int(fields.get("content-length", 0)):
            body += connection.recv(65536)
        method, target, version = first.split(" ")
        assert version == "HTTP/1.1"
        return Request(method, target, fields, body)

    def _answer(self, connection):
        with connection:
            try:
                request = self._read(connection)
                if request is None:
                    return
                self.requests.append(request)
                path = request.target.split("?")[0]
                answer = self.always
                if answer is None:
                    answer = self.script.get((request.method, path))
                if answer is None:
                    answer = answers.ANSWERS.get((request.method, path),
                                                 error(404, f"there is no {path}"))
                if callable(answer):
                    answer(connection, request)
                    return
                if isinstance(answer, (dict, list)):
                    answer = http(answer)
                connection.sendall(answer)
            except (BrokenPipeError, ConnectionResetError):
                pass


def hang(connection, _request):
    """Says nothing until the client goes away."""
    while connection.recv(4096):
        pass


def hang_after(sent):
    def answer(connection, request):
        connection.sendall(sent)
        hang(connection, request)
    return answer


def endless(connection, _request):
    """A body without length that does not end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    block = b" " * (1 << 20)
    while True:
        connection.sendall(block)


def endless_head(connection, _request):
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X-Filler: %s\r\n" % (b"x" * 1000))


def drip(connection, _request):
    """A byte now and then, for ever: only a deadline for the whole ends it."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.settimeout(0.05)
    while True:
        connection.sendall(b" ")
        try:
            if not connection.recv(1):
                return
        except TimeoutError:
            continue
