"""
Namespaces for L4:   client ──(eth0 down0)── sluice ──(to0 eth0)── backend0
                                                   ──(to1 eth0)── backend1 ...

Backends have the services' addresses on lo and `sluice decap` on eth0; they answer the client by
way of the sluice namespace, which forwards. The links to the backends have room for outer headers.
"""
import hashlib
import os
import socket
import struct
import threading

from .exact import enlarge
from .leftovers import pin_dir
from .netns import Topology, family_of, inside, run
from .programs import build_dir
from .wait import Thread

VIP, VIP6 = "192.0.2.53", "2001:db8::53"
CLIENT, CLIENT6 = "10.78.1.2", "fd78:1::2"
NODE, NODE6 = "10.78.1.1", "fd78:1::1"
DOWN = "down0"
LINK_MTU = 1600
TCP_PORT, UDP_PORT = 7000, 7001


def backend(number):
    return f"10.78.{10 + number}.2"


def backend6(number):
    return f"fd78:{10 + number}::2"


class L4Topology(Topology):
    def __init__(self, backends, pid=None):
        super().__init__(pid)
        self.backends = backends

    def netns(self, role):
        return f"{self.PREFIX}-{self.pid}-l4-{role}"

    def create(self):
        for role in ["client", "sluice", *(f"backend{each}" for each in range(self.backends))]:
            run("ip", "netns", "add", self.netns(role))
            self.run(role, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0",
                     "net.ipv6.conf.default.accept_dad=0", "net.ipv4.conf.all.rp_filter=0",
                     "net.ipv4.conf.default.rp_filter=0")
            self.ip(role, "link", "set", "lo", "up")
        self.run("sluice", "sysctl", "-qw", "net.ipv4.ip_forward=1",
                 "net.ipv6.conf.all.forwarding=1")
        self._join("client", "eth0", "sluice", DOWN)
        self._address("client", "eth0", [CLIENT], [CLIENT6])
        self._address("sluice", DOWN, [NODE], [NODE6])
        self.ip("client", "route", "add", "default", "via", NODE)
        self.ip("client", "-6", "route", "add", "default", "via", NODE6)
        for each in range(self.backends):
            self._add_backend(each)
        return self

    def _add_backend(self, number):
        role, link = f"backend{number}", f"to{number}"
        self._join("sluice", link, role, "eth0")
        self.ip("sluice", "link", "set", link, "mtu", str(LINK_MTU))
        self.ip(role, "link", "set", "eth0", "mtu", str(LINK_MTU))
        gate, gate6 = f"10.78.{10 + number}.1", f"fd78:{10 + number}::1"
        self._address("sluice", link, [gate], [gate6])
        self._address(role, "eth0", [backend(number)], [backend6(number)])
        self.ip(role, "address", "add", f"{VIP}/32", "dev", "lo")
        self.ip(role, "address", "add", f"{VIP6}/128", "dev", "lo", "nodad")
        self.ip(role, "route", "add", "default", "via", gate)
        self.ip(role, "-6", "route", "add", "default", "via", gate6)

    def link_address(self, role):
        return self.ip(role, "-br", "link", "show", "eth0").stdout.split()[2]

    def swap_link_address(self, number, link_address):
        """As another machine would that takes over the backend's addresses."""
        role, gate = f"backend{number}", f"10.78.{10 + number}.1"
        self.ip(role, "link", "set", "eth0", "down")
        self.ip(role, "link", "set", "eth0", "address", link_address)
        self.ip(role, "link", "set", "eth0", "up")
        self.ip(role, "route", "replace", "default", "via", gate)
        self.ip(role, "address", "replace", f"{backend6(number)}/64", "dev", "eth0", "nodad")
        self.ip(role, "-6", "route", "replace", "default", "via", f"fd78:{10 + number}::1")

    # -- decap

    def decap(self, number, *args):
        """`sluice -j decap ...` on a backend. Namespaces share a bpffs: each has its own pins."""
        return self.run(f"backend{number}", str(build_dir() / "sluice"), "-j", "--bpffs",
                        f"{pin_dir()}/l4-{number}", "decap", *args)

    def attach_decap(self, number, *args):
        os.makedirs(pin_dir(), exist_ok=True)
        return self.decap(number, "attach", "dev", "eth0", "address", backend(number), "address",
                          backend6(number), *args)

    def detach_decap(self, number):
        return self.decap(number, "detach", "dev", "eth0")

    def client(self, family, kind=socket.SOCK_STREAM, timeout_s=20.0):
        sock = self.socket("client", family, kind)
        sock.settimeout(timeout_s)
        return sock


def receive(sock, length):
    data = bytearray()
    while len(data) < length:
        piece = sock.recv(min(length - len(data), 1 << 16))
        if not piece:
            raise EOFError(f"{len(data)} of {length} bytes")
        data += piece
    return bytes(data)


class Servers:
    """
    On one backend: a TCP and a UDP server on the services' addresses, TCP on its own, too. The answer to a message is
    the backend's number, the hash of what came, and all of it.
    """

    def __init__(self, topology, number):
        self.number = number
        self.connections = 0
        self._socks, self._threads = [], []
        self._lock = threading.Lock()
        role = f"backend{number}"
        for address in (backend(number), backend6(number)):  # where probes call
            self._start(topology.listen(role, address, TCP_PORT), self._accept)
        for address in (VIP, VIP6):
            listener = topology.listen(role, address, TCP_PORT)
            self._start(listener, self._accept)
            sock = topology.socket(role, family_of(address), socket.SOCK_DGRAM)
            enlarge(sock).bind((address, UDP_PORT))
            self._start(sock, self._datagrams)

    def _start(self, sock, function):
        self._socks.append(sock)
        self._threads.append(Thread(function, sock))

    def _answer(self, data):
        return bytes([self.number]) + hashlib.sha256(data).digest() + data

    def _accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
                self._start(sock, self._serve)

    def _serve(self, sock):
        try:
            while True:
                length, = struct.unpack("!I", receive(sock, 4))
                sock.sendall(self._answer(receive(sock, length)))
        except (EOFError, OSError):
            sock.close()

    def _datagrams(self, sock):
        while True:
            try:
                data, peer = sock.recvfrom(65536)
                if data:
                    sock.sendto(self._answer(data), peer)
            except OSError:
                return

    def close(self):
        with self._lock:
            socks = list(self._socks)
        for sock in socks:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()


def check_answer(answer, data):
    """The backend's number; every byte came through, both ways."""
    assert answer[1:33] == hashlib.sha256(data).digest(), "bytes changed on the way there"
    assert answer[33:] == data, "bytes changed on the way back"
    return answer[0]


class TcpPeer:
    """A client's connection."""

    def __init__(self, topology, address=VIP, port=TCP_PORT):
        self.sock = topology.client(family_of(address))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.sock.connect((address, port))
        except BaseException:
            self.sock.close()
            raise

    def say(self, data):
        """Sends and receives at the same time; the backend that answered."""
        writer = Thread(self.sock.sendall, struct.pack("!I", len(data)) + data)
        answer = receive(self.sock, 33 + len(data))
        writer.finish()
        return check_answer(answer, data)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask_udp(topology, data, address=VIP, port=UDP_PORT, timeout_s=20.0):
    with topology.client(family_of(address), socket.SOCK_DGRAM, timeout_s) as sock:
        sock.connect((address, port))
        sock.send(data)
        return check_answer(sock.recv(65536), data)


class Encapsulator:
    """Stands in for a balancer: what comes in on down0 to a service goes to one backend."""

    PROTOCOLS = {4: (0x0800, slice(16, 20), VIP), 6: (0x86dd, slice(24, 40), VIP6)}

    def __init__(self, topology, inner, outer, target):
        """inner, outer: 4 or 6. target: the outer destination."""
        ethertype, self._place, vip = self.PROTOCOLS[inner]
        self._vip = socket.inet_pton(family_of(vip), vip)
        self._target = target
        self._capture = topology.socket("sluice", socket.AF_PACKET, socket.SOCK_DGRAM)
        self._capture.bind((DOWN, ethertype))
        self._capture.settimeout(0.2)
        with_header = socket.AF_INET if outer == 4 else socket.AF_INET6
        protocol = 4 if inner == 4 else 41
        with inside(topology.netns("sluice")):
            self._out = socket.socket(with_header, socket.SOCK_RAW, protocol)
        self._ended = False
        self._thread = Thread(self._forward)

    def _forward(self):
        while not self._ended:
            try:
                packet, (_, _, kind, _, _) = self._capture.recvfrom(65536)
            except TimeoutError:
                continue
            if kind != socket.PACKET_OUTGOING and packet[self._place] == self._vip:
                self._out.sendto(packet, (self._target, 0))

    def close(self):
        self._ended = True
        self._thread.finish()
        self._capture.close()
        self._out.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
