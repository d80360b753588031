"""
Network namespaces:   client ──(eth0 down0)── sluice ──(up0 eth0)── backends

Names hold the pid of the test session, so that sessions do not meet and a later one can tell what
a dead one left behind. Commands run by `nsenter --net`: `ip netns exec` would hide bpffs. Sockets
of the test process itself are made by visiting the namespace for a moment: they stay in it.
"""
import contextlib
import ctypes
import os
import signal
import socket
import struct
import subprocess

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
ROLES = ("client", "sluice", "backends")

CLIENT = ["10.77.1.2", "10.77.1.3", "10.77.1.4", "10.77.1.5"]
CLIENT6 = ["fd77:1::2", "fd77:1::3", "fd77:1::4", "fd77:1::5"]
SLUICE, SLUICE6 = "10.77.1.1", "fd77:1::1"
BACKEND = ["10.77.2.11", "10.77.2.12", "10.77.2.13", "10.77.2.14"]
BACKEND6 = ["fd77:2::11", "fd77:2::12"]
NO_HOST = "10.77.2.99"  # on the backends' net, and nobody's
DOWN, UP = "down0", "up0"

_libc = ctypes.CDLL(None, use_errno=True)


def _setns(fd):
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"setns: {os.strerror(error)}")


@contextlib.contextmanager
def inside(netns):
    """Sockets that this thread makes in the block belong to the namespace."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        target = os.open(f"/run/netns/{netns}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _setns(target)
        finally:
            os.close(target)
        try:
            yield
        finally:
            _setns(own)
    finally:
        os.close(own)


def die_with_parent():
    """For preexec_fn: a test session that is killed takes its children along."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def run(*argv, check=True, **kwargs):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, **kwargs)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()}")
    return done


class Topology:
    PREFIX = "sltest"

    def __init__(self, pid=None):
        self.pid = pid or os.getpid()

    def netns(self, role):
        return f"{self.PREFIX}-{self.pid}-{role}"

    def create(self):
        for role in ROLES:
            run("ip", "netns", "add", self.netns(role))
            # Addresses are usable at once: nobody else is here to have them.
            self.run(role, "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0",
                     "net.ipv6.conf.default.accept_dad=0")
            self.ip(role, "link", "set", "lo", "up")
        self._join("client", "eth0", "sluice", DOWN)
        self._join("sluice", UP, "backends", "eth0")
        self._address("client", "eth0", CLIENT, CLIENT6)
        self._address("sluice", DOWN, [SLUICE], [SLUICE6])
        self._address("sluice", UP, ["10.77.2.1"], ["fd77:2::1"])
        self._address("backends", "eth0", BACKEND, BACKEND6)
        self.ip("client", "route", "add", "default", "via", SLUICE)
        self.ip("client", "-6", "route", "add", "default", "via", SLUICE6)
        return self

    def _join(self, role, device, peer_role, peer_device):
        run("ip", "link", "add", device, "netns", self.netns(role), "type", "veth",
            "peer", "name", peer_device, "netns", self.netns(peer_role))
        for end, name in ((role, device), (peer_role, peer_device)):
            # A checksum left to the device is not one yet when XDP sees the packet.
            self.run(end, "ethtool", "-K", name, "tx", "off")
            self.ip(end, "link", "set", name, "up")

    def _address(self, role, device, v4, v6):
        for address in v4:
            self.ip(role, "address", "add", f"{address}/24", "dev", device)
        for address in v6:
            self.ip(role, "address", "add", f"{address}/64", "dev", device, "nodad")

    def destroy(self):
        """Ends what still runs in the namespaces and removes them. Idempotent."""
        for name in list_netns():
            if not name.startswith(self.netns("")):
                continue
            for pid in run("ip", "netns", "pids", name, check=False).stdout.split():
                if int(pid) != os.getpid():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "delete", name, check=False)

    def command(self, role, *argv):
        return ["nsenter", f"--net=/run/netns/{self.netns(role)}", "--", *argv]

    def run(self, role, *argv, check=True, **kwargs):
        return run(*self.command(role, *argv), check=check, **kwargs)

    def ip(self, role, *argv, check=True):
        return run("ip", "-n", self.netns(role), *argv, check=check)

    def popen(self, role, *argv, **kwargs):
        return subprocess.Popen(self.command(role, *argv), preexec_fn=die_with_parent, **kwargs)

    def socket(self, role, family, kind=socket.SOCK_STREAM):
        with inside(self.netns(role)):
            return socket.socket(family, kind)

    def connect(self, role, address, port, source=None, timeout_s=20.0, receive_bytes=None):
        sock = self.socket(role, family_of(address))
        try:
            sock.settimeout(timeout_s)
            if receive_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if source:
                sock.bind((source, 0))
            sock.connect((address, port))
            return sock
        except BaseException:
            sock.close()
            raise

    def listen(self, role, address, port, backlog=128):
        sock = self.socket(role, family_of(address))
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            sock.listen(backlog)
            return sock
        except BaseException:
            sock.close()
            raise


def list_netns():
    return {line.split()[0] for line in run("ip", "netns", "list").stdout.splitlines() if line}


def reset_on_close(sock):
    """close() will send RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
