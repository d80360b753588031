"""Datagrams that are counted: each that was sent is answered once, or the test says which is not."""
import selectors
import socket
import struct
import threading
import time

from .wait import DEADLINE_S, Thread

WINDOW = 16  # of each flow
SO_RCVBUFFORCE = 33


class ExactAsker:
    """
    Flows that ask without a pause. An answer holds its question's number at `at`; a datagram is
    never sent again, so that one that is lost stays lost.
    """

    def __init__(self, make_socket, address, port, flows, at=0, payload=b""):
        self.sent = self.answered = 0
        self._at, self._payload = at, payload
        self._open = {}  # number -> its socket
        self._ended = threading.Event()
        self._socks = [make_socket() for _ in range(flows)]
        for sock in self._socks:
            sock.connect((address, port))
            sock.setblocking(False)
        self.names = {"%s:%u" % sock.getsockname()[:2] for sock in self._socks}
        self._thread = Thread(self._run)

    def _ask(self, sock):
        self._open[self.sent] = sock
        sock.send(struct.pack("!Q", self.sent) + self._payload)
        self.sent += 1

    def _hear(self, sock):
        answer = sock.recv(2048)
        number, = struct.unpack_from("!Q", answer, self._at)
        assert answer[self._at + 8:] == self._payload, "bytes changed on the way"
        assert self._open.pop(number, None) is sock, f"{number} is answered twice, or to another"
        self.answered += 1

    def _run(self):
        with selectors.DefaultSelector() as selector:
            for sock in self._socks:
                selector.register(sock, selectors.EVENT_READ)
                for _ in range(WINDOW):
                    self._ask(sock)
            end = None
            while self._open:
                if self._ended.is_set():
                    end = end or time.monotonic() + DEADLINE_S
                    if time.monotonic() > end:
                        return
                for key, _ in selector.select(0.1):
                    self._hear(key.fileobj)
                    if not self._ended.is_set():
                        self._ask(key.fileobj)

    def finish(self):
        """How many were sent; all of them were answered."""
        self._ended.set()
        try:
            self._thread.finish()
        finally:
            for sock in self._socks:
                sock.close()
        assert not self._open and self.sent == self.answered, \
            f"{len(self._open)} of {self.sent} were lost: {sorted(self._open)[:10]}"
        return self.sent

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self._ended.set()
        if kind:
            for sock in self._socks:
                sock.close()


def enlarge(sock):
    """Room for all that is under way: a frame that XDP redirected takes a page of it."""
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    return sock


def datagram_socket(topology, source=None):
    """In the client's namespace."""
    sock = topology.socket("client", socket.AF_INET, socket.SOCK_DGRAM)
    if source:
        sock.bind((source, 0))
    return enlarge(sock)
