"""Index a folder: one workflow per document, ten at a time."""

import asyncio
import sys
from pathlib import Path

import everlog
from everlog import Engine, Handle, RetryPolicy, WorkflowFailed, step, workflow


@step
def read(path: str) -> str:
    return Path(path).read_text()


@step(retry=RetryPolicy(max_attempts=8), timeout=60)
async def embed(text: str) -> list[float]:
    return [float(len(text))]


@step
def store(path: str, vector: list[float]) -> None: ...


@workflow
async def ingest(path: str) -> int:
    text = await everlog.call(read, path)
    vector = await embed(text)
    await everlog.call(store, path, vector)
    return len(text)


def documents(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.glob("*.py"))


async def main(url: str, folder: Path = Path(__file__).parent) -> list[str]:
    paths = documents(folder)
    async with Engine(url, concurrency=10) as engine:
        handles: list[Handle[int]] = [await engine.start(ingest.options(id=path), path) for path in paths]
        total = 0
        for done in asyncio.as_completed([handle.result() for handle in handles]):
            try:
                total += await done
            except WorkflowFailed as failure:
                print(f"{failure.workflow_id}: {failure}")
        return [f"{total > 1000}"]


EXPECTED = ["True"]

if __name__ == "__main__":
    print(asyncio.run(main("sqlite:///ingest.db", Path(sys.argv[1]))))
