"""
The hashing backend, a program of its own: hashing_server.py ADDRESS PORT

It answers with the hash of the request's body and with a body that the request asks for:
  x-answer: OFFSET LENGTH FRAMING SEED    FRAMING: length | chunked | close
The bytes are those of lib/payload.py, so that both ends know them. Prints "listening".
"""
import asyncio
import hashlib
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from lib.payload import cut, payload  # noqa: E402


async def read_fields(reader):
    head = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
    fields = {}
    for line in head[1:]:
        name, _, value = line.partition(":")
        if name.lower() in fields:
            raise ValueError(f"field {name} twice")
        fields[name.lower()] = value.strip()
    return head[0].split(" ")[0], fields


async def hash_body(reader, fields):
    digest, total = hashlib.sha256(), 0
    if "transfer-encoding" in fields:
        if "content-length" in fields or fields["transfer-encoding"] != "chunked":
            raise ValueError(f"framing {fields}")
        while size := int(await reader.readuntil(b"\r\n"), 16):
            digest.update(await reader.readexactly(size))
            total += size
            if await reader.readexactly(2) != b"\r\n":
                raise ValueError("chunk end")
        if await reader.readuntil(b"\r\n") != b"\r\n":
            raise ValueError("trailer")
    else:
        left = total = int(fields.get("content-length", "0"))
        while left:
            data = await reader.readexactly(min(left, 65536))
            digest.update(data)
            left -= len(data)
    return digest.hexdigest(), total


def frame_answer(wish, method, digest, total):
    offset, length, framing, seed = wish.split(" ")
    data = payload(int(offset), int(length))
    rng = random.Random(seed)
    lines = ["HTTP/1.1 200 OK", f"x-body-sha256: {digest}", f"x-body-bytes: {total}"]
    if framing == "length":
        lines.append(f"Content-Length: {len(data)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        data = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece)
                        for piece in cut(data, rng)) + b"0\r\n\r\n"
    else:
        lines.append("Connection: close")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return list(cut(head + (b"" if method == "HEAD" else data), rng)), framing == "close"


async def serve(reader, writer):
    try:
        while True:
            method, fields = await read_fields(reader)
            if fields.get("expect", "") == "100-continue":
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            digest, total = await hash_body(reader, fields)
            wish = fields.get("x-answer", "0 2 length 0")
            pieces, close = frame_answer(wish, method, digest, total)
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)  # one send per piece
            if close:
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    except ValueError as error:
        writer.write(f"HTTP/1.1 400 Bad\r\nx-error: {error}\r\nContent-Length: 0\r\n"
                     "Connection: close\r\n\r\n".encode())
    finally:
        writer.close()


async def main(address, port):
    server = await asyncio.start_server(serve, address, int(port), limit=1 << 20)
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
