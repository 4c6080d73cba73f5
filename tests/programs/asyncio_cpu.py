# SPDX-License-Identifier: MIT
"""asyncio handlers that compute: everything happens on the one thread of the event loop."""
import asyncio

from common import running, work_python


async def handle():
    while running():
        work_python()
        await asyncio.sleep(0)


async def serve():
    await asyncio.gather(*(handle() for _ in range(8)))


asyncio.run(serve())
