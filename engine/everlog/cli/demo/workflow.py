"""The workflow of the demo, as a user would write it: one step per module, eight at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import everlog
from everlog.cli.demo.index import Index
from everlog.cli.demo.modules import Module, documented_names

WORKFLOW_ID = "index-the-standard-library"
BRANCHES = 8


@dataclass(frozen=True)
class Summary:
    """What the workflow returns: how much it indexed, and what it could not."""

    modules: int
    names: int
    refused: list[str]


@everlog.step
def index_module(index: str, module: Module) -> int:
    """Index one module, and give how many documented names it has. It may be repeated: it replaces what is there."""
    target = Index(Path(index))
    attempt = target.note_attempt(module.name)
    try:
        names = documented_names(module)
    except SyntaxError:
        target.replace(module.name, [], attempt, "refused")
        raise
    target.replace(module.name, names, attempt, "indexed")
    return len(names)


@everlog.workflow
async def index_library(index: str, modules: list[Module]) -> Summary:
    """Index all modules. What does not parse is counted, and stops nothing."""
    waiting: asyncio.Queue[Module] = asyncio.Queue()
    for module in modules:
        waiting.put_nowait(module)
    counts: list[int] = []
    refused: list[str] = []

    async def work() -> None:
        while not waiting.empty():
            module = waiting.get_nowait()
            try:
                counts.append(await everlog.call(index_module.options(key=module.name), index, module))
            except SyntaxError as error:
                refused.append(f"{module.name}: {error}")

    async with asyncio.TaskGroup() as group:
        for number in range(BRANCHES):
            group.create_task(work(), name=f"branch-{number + 1}")
    return Summary(modules=len(counts), names=sum(counts), refused=refused)
