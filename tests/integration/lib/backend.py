"""
A backend whose every byte is the test's: a handler function per connection.

It records what arrives, each connection apart, so that a test can say what the proxy let through.
"""
import threading

from .wait import DEADLINE_S, DeadlinePassed, Thread
from .wire import BadMessage, Truncated, Wire, framing_of, parse_head, response


def answer_each(*answers):
    """Answers the requests of a connection in turn with these bytes, then goes on with the last."""
    answers = answers or (response(),)

    def handle(connection):
        turn = 0
        while True:
            connection.read_request()
            connection.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return handle


class Connection(Wire):
    """One connection that the proxy opened."""

    def __init__(self, sock, number, backend):
        super().__init__(sock, record=True)
        self.number = number
        self.requests = []
        self._backend = backend

    def read_request(self, sink=None):
        message = super().read_request(sink)
        with self._backend.changed:
            self.requests.append(message)
            self._backend.changed.notify_all()
        return message

    def wait_for_end(self):
        """Until the proxy closed it. What arrives meanwhile is recorded."""
        while self.fill():
            pass


class RawBackend:
    def __init__(self, topology, address, port, handler=None, timeout_s=DEADLINE_S):
        self.address, self.port = address, port
        self.handler = handler or answer_each()
        self.changed = threading.Condition()
        self.connections = []
        self.errors = []
        self._timeout_s = timeout_s
        self._open = set()
        self._threads = []
        self._listener = topology.listen("backends", address, port)
        self._acceptor = Thread(self._accept)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return  # closed
            sock.settimeout(self._timeout_s)
            connection = Connection(sock, len(self.connections), self)
            with self.changed:
                self.connections.append(connection)
                self._open.add(connection)
                self._threads.append(Thread(self._serve, connection))
                self.changed.notify_all()

    def _serve(self, connection):
        try:
            self.handler(connection)
            connection.close()
        except (Truncated, OSError):
            pass  # the proxy ended it
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.close()
            with self.changed:
                self._open.discard(connection)
                self.changed.notify_all()

    @property
    def requests(self):
        with self.changed:
            return [message for connection in self.connections for message in connection.requests]

    @property
    def open_count(self):
        return len(self._open)

    def wait(self, condition, what, deadline_s=DEADLINE_S):
        with self.changed:
            if not self.changed.wait_for(condition, deadline_s):
                raise DeadlinePassed(f"within {deadline_s:g} s it did not happen that {what}")

    def wait_for_requests(self, count):
        self.wait(lambda: sum(len(each.requests) for each in self.connections) >= count,
                  f"the backend had {count} requests")

    def wait_for_connections(self, count):
        self.wait(lambda: len(self.connections) >= count, f"the backend had {count} connections")

    def wait_until_idle(self):
        self.wait(lambda: not self._open, "every connection to the backend was closed")

    def check(self):
        if self.errors:
            raise self.errors[0]

    def stop_listening(self):
        """From now on connects are refused."""
        try:
            self._listener.shutdown(2)
        except OSError:
            pass
        self._listener.close()
        self._acceptor.finish()

    def close(self):
        self.stop_listening()
        with self.changed:
            still = list(self._open)
        for connection in still:
            try:
                connection.sock.shutdown(2)
            except OSError:
                pass
        for thread in self._threads:
            thread.finish()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None:
            self.check()


def messages_in(record):
    """
    What one connection brought, as (complete requests, rest): the rest is an incomplete last
    message. Raises BadMessage for anything that is not a well-framed request.
    """

    class Replay(Wire):
        def __init__(self):
            super().__init__(None)
            self.buffer += record

        def fill(self):
            return False

    replay, complete = Replay(), []
    while replay.buffer:
        before = bytes(replay.buffer)
        try:
            complete.append(replay.read_request())
        except Truncated:
            head, end, _ = before.partition(b"\r\n\r\n")
            if end:
                framing_of(parse_head(head))
            return complete, before
    return complete, b""


__all__ = ["BadMessage", "Connection", "RawBackend", "answer_each", "messages_in"]
