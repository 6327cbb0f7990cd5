"""The parts: which modules each of the demo's workflows indexes, and what the ledger says of who ran them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from everlog.cli.demo.index import Attempt
from everlog.cli.demo.modules import Module

MODULES = 25
"""So many modules are about what one workflow indexes where several processes share the work."""


@dataclass(frozen=True)
class Part:
    """One workflow of the demo and its modules."""

    workflow_id: str
    modules: Sequence[Module]


def divide(modules: Sequence[Module], name: str, *, workers: int) -> list[Part]:
    """Give one part for one worker; for several so many that there is always something for each."""
    if workers == 1:
        return [Part(name, modules)]
    number = max(3 * workers, len(modules) // MODULES)
    return [Part(f"{name}-{one + 1:02}", modules[one::number]) for one in range(number) if modules[one::number]]


def held_by(process: int, parts: Sequence[Part], attempts: Sequence[Attempt], recorded: Collection[str]) -> list[Part]:
    """Give the parts that a process was at work on: its attempts are their last, and there is more to do."""
    last = {attempt.module: place for place, attempt in enumerate(attempts)}
    held: list[Part] = []
    for part in parts:
        begun = [last[module.name] for module in part.modules if module.name in last]
        is_done = all(module.name in recorded for module in part.modules)
        if begun and not is_done and attempts[max(begun)].process == process:
            held.append(part)
    return held


def handovers(parts: Sequence[Part], attempts: Sequence[Attempt]) -> Counter[int]:
    """Count, by the process that had it before, how often a workflow went on in another."""
    part_of = {module.name: part.workflow_id for part in parts for module in part.modules}
    holders: dict[str, int] = {}
    counted: Counter[int] = Counter()
    for attempt in attempts:
        before = holders.setdefault(part_of[attempt.module], attempt.process)
        if before != attempt.process:
            counted[before] += 1
            holders[part_of[attempt.module]] = attempt.process
    return counted
