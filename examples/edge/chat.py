"""
A chat room by WebSocket on 127.0.0.1:8002. Each message is JSON, {"name": ..., "text": ...}; what one
says everybody hears, the one who said it, too. Who comes hears the last lines first.
"""
import asyncio
import collections
import json

import websockets

MOST_BYTES = 4096
people, history = set(), collections.deque(maxlen=20)


def read(message):
    """The line to be passed on, or None."""
    try:
        said = json.loads(message)
        name, text = said["name"], said["text"]
    except (ValueError, KeyError, TypeError):
        return None
    if not (isinstance(name, str) and isinstance(text, str) and name and text):
        return None
    return json.dumps({"name": name[:40], "text": text})


async def talk(person):
    for line in list(history):
        await person.send(line)
    people.add(person)
    try:
        async for message in person:
            line = read(message)
            if line is None:
                await person.close(1003, 'expected {"name": ..., "text": ...}')
                break
            history.append(line)
            websockets.broadcast(people, line)  # who is slow does not hold up the others
    finally:
        people.discard(person)


async def serve():
    async with websockets.serve(talk, "127.0.0.1", 8002, max_size=MOST_BYTES):
        await asyncio.Future()


asyncio.run(serve())
