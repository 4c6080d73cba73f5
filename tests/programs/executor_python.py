# SPDX-License-Identifier: MIT
"""asyncio hands pure Python work to a pool of threads, where it cannot run in parallel either."""
import asyncio
from concurrent.futures import ThreadPoolExecutor

from common import running, work_python


async def serve():
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(4) as pool:
        while running():
            await asyncio.gather(*(loop.run_in_executor(pool, work_python, 200000) for _ in range(4)))


asyncio.run(serve())
