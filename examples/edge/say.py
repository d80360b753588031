"""
Says one line in the chat and prints what is heard until that line has come back.
usage: say.py NAME TEXT
"""
import asyncio
import json
import ssl
import sys

import websockets

ADDRESS, HOST = "192.0.2.10", "www.edge.test"
CA = "/run/sluice-edge/edge/tls/ca.pem"


async def say(name, text):
    context = ssl.create_default_context(cafile=CA)
    async with websockets.connect(f"wss://{HOST}/chat", host=ADDRESS, ssl=context,
                                  server_hostname=HOST) as chat:
        await chat.send(json.dumps({"name": name, "text": text}))
        async for message in chat:
            said = json.loads(message)
            print(f"{said['name']}: {said['text']}")
            if said == {"name": name, "text": text}:
                return


asyncio.run(asyncio.wait_for(say(*sys.argv[1:]), 20))
