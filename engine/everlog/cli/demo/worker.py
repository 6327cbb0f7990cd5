"""The process that the demo kills: an engine on a database, until the demo's workflows have ended or its parent has.

Its arguments: the URL, how many workflows it holds at a time, and the ids of all of them.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Sequence

from everlog import Engine
from everlog.cli.demo.workflow import index_library


async def main(url: str, concurrency: int, ids: Sequence[str]) -> None:
    """Run workflows that lie in the database, from wherever they are, until all have ended."""
    async with Engine(url, workflows=[index_library], concurrency=concurrency) as engine:
        await asyncio.gather(*(engine.handle(one, index_library).result() for one in ids))


def _end_with_parent() -> None:
    """Wait for the end of the pipe that the parent holds open, so that no worker outlives the demo."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
