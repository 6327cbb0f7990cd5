"""Many steps at once: checksums of files, a few at a time, by plain functions that run in threads."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from pathlib import Path

import everlog
from everlog import Engine, step, workflow


@step
def list_files(folder: str) -> list[str]:
    """Look into a folder. That is a step, since it may look otherwise when the workflow is replayed."""
    return sorted(str(path) for path in Path(folder).iterdir() if path.is_file())


@step
def checksum(path: str) -> str:
    """Read a file, in a thread."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@workflow
async def checksums(folder: str, at_once: int = 4) -> dict[str, str]:
    """Give the checksums of all files in a folder. After a crash those that are in the log are not computed again."""
    free = asyncio.Semaphore(at_once)
    found: dict[str, str] = {}

    async def take(path: str) -> None:
        async with free:
            found[path] = await everlog.call(checksum, path)

    async with asyncio.TaskGroup() as group:
        for path in await everlog.call(list_files, folder):
            group.create_task(take(path))
    return dict(sorted(found.items()))


async def main(folder: str) -> None:
    """Print the checksums of a folder."""
    async with Engine("sqlite:///checksums.db") as engine:
        for path, digest in (await engine.run(checksums, folder)).items():
            print(digest[:16], path)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "."))
