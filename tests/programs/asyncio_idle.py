# SPDX-License-Identifier: MIT
"""An asyncio server without clients, and a task that wakes ten times a second."""
import asyncio

from common import running


async def tick():
    while running():
        await asyncio.sleep(0.1)


async def serve():
    server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    await tick()
    server.close()


asyncio.run(serve())
