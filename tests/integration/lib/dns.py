"""A name server for one kind of question, and who asks it: messages of RFC 1035 over UDP."""
import contextlib
import ipaddress
import socket
import struct
import zlib

from .wait import Thread

QUERY, RESPONSE = 0x0100, 0x8580


def encode_name(name):
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def address_of(name):
    """What the server answers: made of the name, so that the one who asks can check it."""
    return str(ipaddress.IPv4Address(zlib.crc32(name.encode())))


def _answer(query):
    number, flags, questions = struct.unpack_from("!HHH", query)
    assert flags == QUERY and questions == 1
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += 1 + query[at]
    question = query[12:at + 5]
    record = struct.pack("!HHHIH", 0xc00c, 1, 1, 60, 4)
    return struct.pack("!6H", number, RESPONSE, 1, 1, 0, 0) + question + record + \
        ipaddress.IPv4Address(address_of(".".join(labels))).packed


@contextlib.contextmanager
def name_server(sock):
    """Serves on the bound socket; yields a list of those who asked."""
    peers = []

    def serve():
        with contextlib.suppress(OSError):
            while True:
                query, peer = sock.recvfrom(2048)
                if not query:
                    return
                peers.append(peer)
                sock.sendto(_answer(query), peer)

    thread = Thread(serve)
    try:
        yield peers
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        thread.finish()
        sock.close()


def resolve(sock, name, number):
    """By a connected socket: the address that the name has."""
    question = encode_name(name) + struct.pack("!HH", 1, 1)
    sock.send(struct.pack("!6H", number, QUERY, 1, 0, 0, 0) + question)
    reply = sock.recv(2048)
    assert struct.unpack_from("!4H", reply) == (number, RESPONSE, 1, 1)
    assert reply[12:12 + len(question)] == question
    return str(ipaddress.IPv4Address(reply[-4:]))
