"""The process that the demo kills: an engine on a database, until the demo's workflow has ended or its parent has."""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from everlog import Engine
from everlog.cli.demo.workflow import WORKFLOW_ID, index_library


async def main(url: str) -> None:
    """Run the workflow that lies in the database, from wherever it is."""
    async with Engine(url, workflows=[index_library]) as engine:
        await engine.handle(WORKFLOW_ID, index_library).result()


def _end_with_parent() -> None:
    """Wait for the end of the pipe that the parent holds open, so that no worker outlives the demo."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asyncio.run(main(sys.argv[1]))
