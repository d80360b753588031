"""Bytes that both ends of a test know without sending them: windows of one random block."""
import random

BLOCK_BYTES = 4 * 1024 * 1024
_block = random.Random("sluice").randbytes(BLOCK_BYTES)

# Lengths where buffers, chunk heads and windows have their edges.
EDGES = [0, 1, 2, 15, 16, 17, 255, 256, 4095, 4096, 4097, 16383, 16384, 16385, 32768, 65535, 65536,
         65537, 131072, 262144]


def payload(offset, length):
    """length <= BLOCK_BYTES"""
    offset %= BLOCK_BYTES
    piece = _block[offset:offset + length]
    return piece + _block[:length - len(piece)]


def random_length(rng):
    """Mostly edges and small ones, sometimes up to 1 MiB."""
    kind = rng.random()
    if kind < 0.35:
        return max(0, rng.choice(EDGES) + rng.randint(-2, 2))
    if kind < 0.97:
        return int(2 ** rng.uniform(0, 16))
    return rng.randint(65536, 1 << 20)


def cut(data, rng):
    """data in random pieces: sometimes many small ones, sometimes a few."""
    if not data:
        return
    most = rng.choice([1, 7, 100, 1000, 5000, 20000, 1 << 20])
    most = max(most, len(data) // 200)  # at most some hundred pieces
    position = 0
    while position < len(data):
        size = rng.randint(1, most)
        yield data[position:position + size]
        position += size
