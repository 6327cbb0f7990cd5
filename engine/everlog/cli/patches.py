"""Patches in `everlog check`: which of them may be retired, and which calls may be taken out. It replays nothing."""

from __future__ import annotations

from collections import Counter

from everlog.replay.patches import PatchWay
from everlog.runtime.verdicts import Verdict


class PatchCounts:
    """Where the workflows that were replayed stand to the patches of their code."""

    def __init__(self) -> None:
        self._ways: dict[tuple[str, str], Counter[PatchWay]] = {}
        self._retired: set[tuple[str, str]] = set()
        self._unsure: Counter[str] = Counter()
        """By name, the workflows of which nothing is known: they do not fit."""

    def add(self, verdict: Verdict) -> None:
        """Count a workflow in."""
        self._unsure[verdict.name] += not verdict.is_clean
        for patch, way in verdict.patches.items():
            self._ways.setdefault((verdict.name, patch), Counter())[way] += 1
        self._retired.update((verdict.name, patch) for patch in verdict.retired)

    def told(self) -> list[str]:
        """Give a line for each patch."""
        return [self._line(name, patch, counts) for (name, patch), counts in sorted(self._ways.items())]

    def _line(self, name: str, patch: str, counts: Counter[PatchWay]) -> str:
        subject = f"patch {patch!r} of {name}:"
        new = counts["new"] + counts["marked"] + counts["retired"]
        unsure = self._unsure[name]
        but = f", save {_of(unsure)} that could not be replayed" if unsure else ""
        if counts["old"]:
            return f"{subject} {_of(counts['old'])} went the old way, {_of(new)} the new one; keep both"
        if (name, patch) not in self._retired:
            advice = "" if unsure else f"; it may be retired: patched({patch!r}, retired=True)"
            return f"{subject} none went the old way, {_of(new)} the new one{but}{advice}"
        if counts["marked"]:
            return f"{subject} it is retired; the call is still needed by {_of(counts['marked'])}"
        advice = "" if unsure else "; it may be taken out"
        return f"{subject} it is retired, and none needs the call{but}{advice}"


def _of(count: int) -> str:
    return "1 workflow" if count == 1 else f"{count:,} workflows"
