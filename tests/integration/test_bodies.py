"""Bodies keep their bytes whatever their length and cutting, and cost bounded memory."""
import contextlib
import hashlib
import random
import threading

import pytest

from lib import lanes
from lib.netns import SLUICE
from lib.payload import cut, payload, random_length
from lib.programs import rss_bytes, start_hashing_backend
from lib.wait import Thread, wait_until, wait_until_still
from lib.wire import Truncated, Wire, framing_of, request

THREADS = 4
MIB = 1 << 20
STREAM_BYTES = 256 * MIB
GROWTH_BYTES = 64 * MIB


@pytest.fixture(scope="module")
def hashing(topology, house):
    with contextlib.ExitStack() as stack:
        for address, port in lanes.HASHING:
            stack.enter_context(start_hashing_backend(topology, address, port))
        yield house


def one_exchange(wire, rng):
    """A random request for a random answer. Returns what both must be, sent and read."""
    sent = payload(rng.randrange(1 << 22), random_length(rng))
    offset, length = rng.randrange(1 << 22), random_length(rng)
    framing = rng.choice(["length", "length", "chunked", "chunked", "chunked", "close"])
    method = rng.choice(["POST", "POST", "PUT", "HEAD"])
    fields = [f"x-answer: {offset} {length} {framing} {rng.randrange(1 << 30)}"]
    if rng.random() < 0.1:
        fields.append("Expect: 100-continue")
    if rng.random() < 0.5:
        asked = request("/", method, fields, sent, "hashing.test")
    else:
        asked = request("/", method, [*fields, "Transfer-Encoding: chunked"], host="hashing.test")
        asked += b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in cut(sent, rng))
        asked += b"0\r\n\r\n"
    with wire.sending(list(cut(asked, rng))):
        answer = wire.read_response(method)
    what = f"{method} {len(sent)} bytes for {offset} {length} {framing}"
    assert answer.status == 200, f"{what}: {answer} {answer.body[:200]}"
    assert answer.get("x-body-sha256") == hashlib.sha256(sent).hexdigest(), what
    if method != "HEAD":
        assert answer.body == payload(offset, length), what
    return "close" not in (answer.get("connection") or "").lower()


def run_exchanges(topology, count, seed):
    rng, wire = random.Random(seed), None
    try:
        for turn in range(count):
            if wire is None or rng.random() < 0.03:
                if wire:
                    wire.close()
                wire = Wire(topology.connect("client", SLUICE, 80))
            try:
                if not one_exchange(wire, rng):
                    wire.close()
                    wire = None
            except BaseException as error:
                raise AssertionError(f"exchange {turn} with seed '{seed}': {error}") from error
        return count
    finally:
        if wire:
            wire.close()


def test_random_bodies_and_chunkings_keep_their_bytes(hashing, topology, rng, long):
    count = 10_000 if long else 2_000
    seed = rng.getrandbits(32)
    threads = [Thread(run_exchanges, topology, count // THREADS, f"{seed} {number}")
               for number in range(THREADS)]
    done = sum(thread.finish(900) for thread in threads)
    print(f"{done} random bodies kept their bytes under {hashing.engine}, seed {seed}")
    assert done == count


def test_echo_streams_in_both_directions_at_once(lane):
    """The answer begins long before the request has ended."""
    body = payload(77, 3 * MIB)

    def handler(connection):
        head = connection.read_head()
        connection.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        connection.read_body(head, framing_of(head), connection.send)

    lane.backend.handler = handler
    wire = lane.connect()
    with wire.sending([request("/echo", "POST", body=body, host=lane.host)]):
        assert wire.read_response().body == body


class Progress:
    """How far a flow has come, for another thread to watch."""

    def __init__(self):
        self.bytes = 0
        self.digest = hashlib.sha256()

    def sink(self, data):
        self.digest.update(data)
        self.bytes += len(data)


def stream_pieces(progress):
    block = payload(5, MIB)
    for _ in range(STREAM_BYTES // MIB):
        for at in range(0, MIB, 65536):
            piece = block[at:at + 65536]
            yield piece
            progress.sink(piece)


def check_bounded(sluice, before, sample):
    """While the flow is stalled, sluiced has not taken the stream into its memory."""
    wait_until(lambda: sample() > 0, "the stream began")
    moved = wait_until_still(sample, "the sender of a stalled stream")
    assert moved < STREAM_BYTES, "the stream never stalled"
    growth = rss_bytes(sluice.pid) - before
    assert growth < GROWTH_BYTES, f"{growth / MIB:.0f} MiB more while {moved / MIB:.0f} moved"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_slow_client_holds_bounded_memory(lane, framing):
    sent, got = Progress(), Progress()

    def handler(connection):
        connection.read_request()
        if framing == "length":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % STREAM_BYTES)
            for piece in stream_pieces(sent):
                connection.send(piece)
        else:
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in stream_pieces(sent):
                connection.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")
        connection.wait_for_end()

    lane.backend.handler = handler
    before = rss_bytes(lane.sluice.pid)
    wire = lane.connect()
    wire.send(request("/big", host=lane.host))
    head = wire.read_response_head()
    check_bounded(lane.sluice, before, lambda: sent.bytes)
    wire.read_response_body(head, sink=got.sink)
    assert got.bytes == STREAM_BYTES
    assert got.digest.digest() == sent.digest.digest()
    growth = rss_bytes(lane.sluice.pid) - before
    assert growth < GROWTH_BYTES, f"{growth / MIB:.0f} MiB kept after the stream"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_slow_backend_holds_bounded_memory(lane, framing):
    sent, got = Progress(), Progress()
    go_on = threading.Event()

    def handler(connection):
        head = connection.read_head()
        assert go_on.wait(60)
        connection.read_body(head, framing_of(head), got.sink)
        connection.send(response_of(got))
        connection.wait_for_end()

    def response_of(progress):
        digest = progress.digest.hexdigest().encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(digest), digest)

    def upload(wire):
        if framing == "length":
            fields = [f"Content-Length: {STREAM_BYTES}"]
            wire.send(request("/big", "POST", fields, host=lane.host))
            for piece in stream_pieces(sent):
                wire.send(piece)
        else:
            wire.send(request("/big", "POST", ["Transfer-Encoding: chunked"], host=lane.host))
            for piece in stream_pieces(sent):
                wire.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            wire.send(b"0\r\n\r\n")

    lane.backend.handler = handler
    before = rss_bytes(lane.sluice.pid)
    wire = lane.connect(timeout_s=120)
    sender = Thread(upload, wire)
    try:
        check_bounded(lane.sluice, before, lambda: sent.bytes)
    finally:
        go_on.set()
    sender.finish(240)
    answer = wire.read_response()
    assert (answer.status, answer.body.decode()) == (200, sent.digest.hexdigest())
    assert got.bytes == STREAM_BYTES




# Around the sizes where a body changes its way: buffers, single receives, a pipe.
EDGES = [0, 1, 2047, 16383, 16384, 32767, 65535, 65536, 65537, 81920, 98303, 98304, 98305, 131072,
         262144, 262145, MIB - 1, MIB, MIB + 1, 2 * MIB + 3, 5 * MIB]


def test_lengths_around_every_threshold_keep_their_bytes(hashing, topology, rng):
    """On one connection, so that each answer follows one that went another way."""
    wire = Wire(topology.connect("client", SLUICE, 80))
    sizes = EDGES * 3
    rng.shuffle(sizes)
    for size in sizes:
        offset = rng.randrange(1 << 22)
        wire.send(request("/", "GET", [f"x-answer: {offset} {size} length 1"],
                          host="hashing.test"))
        assert wire.read_response().body == payload(offset, size), f"{size} in {sizes}"
    wire.close()


def test_more_slow_readers_than_pipes_keep_their_bytes(hashing, topology):
    """Who gets no pipe is served by buffers; a reader that leaves gives its pipe back."""
    size, readers = 2 * MIB, 72
    for _ in range(2):
        wires, heads = [], []
        for number in range(readers):
            wire = Wire(topology.connect("client", SLUICE, 80))
            wires.append(wire)
            wire.send(request("/", "GET", [f"x-answer: {number} {size} length 1"],
                              host="hashing.test"))
            heads.append(wire.read_response_head())
        for wire in wires[::3]:
            wire.close()
        for number, (wire, head) in enumerate(zip(wires, heads)):
            if number % 3:
                wire.read_response_body(head)
                assert head.body == payload(number, size), number
                wire.close()


def test_a_body_cut_by_its_backend_is_cut_for_the_client(lane):
    """Past the place where the pipe took over: never a whole answer, never padding."""
    length = 3 * MIB
    cuts = [1000, 70_000, 300_000, length - 1]

    def handler(connection):
        cut_at = int(connection.read_request().get("x-cut"))
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length)
        connection.send(payload(0, cut_at))

    lane.backend.handler = handler
    for cut_at in cuts:
        wire = lane.connect()
        wire.send(request("/", "GET", [f"x-cut: {cut_at}"], host=lane.host))
        got = bytearray()
        with pytest.raises(Truncated):  # the head itself, when the end came with it
            wire.read_response_body(wire.read_response_head(), sink=got.extend)
        assert bytes(got) == payload(0, cut_at)[:len(got)]
        wire.close()


def test_what_a_slow_backend_sent_of_a_large_body_is_not_held_back(lane):
    """A pipe is filled with what there is, not with what is to come."""
    body = payload(9, 4 * MIB)
    arrived = [threading.Event(), threading.Event()]

    def handler(connection):
        for _ in range(2):
            connection.read_request()
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
            connection.send(body[:100_000])
            assert arrived[0].wait(60)
            connection.send(body[100_000:2_000_100])
            assert arrived[1].wait(60)
            connection.send(body[2_000_100:])
            for event in arrived:
                event.clear()
        connection.wait_for_end()

    lane.backend.handler = handler
    wire = lane.connect()
    for _ in range(2):
        got = bytearray()

        def sink(data):
            got.extend(data)
            if len(got) == 100_000:
                arrived[0].set()
            if len(got) == 2_000_100:
                arrived[1].set()

        wire.send(request("/", host=lane.host))
        wire.read_response_body(wire.read_response_head(), sink=sink)
        assert got == body
