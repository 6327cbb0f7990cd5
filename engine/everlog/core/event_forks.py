"""The event with which a fork begins to be a workflow of its own. How forks are made is not known here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from everlog.core.event_parts import Event, QueuePlace

KeptMessages = Literal["keep", "drop"]
"""What becomes of the messages that were received after the cut, or are unread: the fork has them too, or not."""
OpenChildren = Literal["rerun", "keep"]
"""What becomes of children that are open at the cut: the fork starts its own, or waits for the same ones."""

Replacements = Mapping[int, object] | Mapping[str, object] | Mapping[int | str, object]
"""What is to stand in the place of what was recorded, by the seq of its event or by its operation."""


class WorkflowForked(Event, frozen=True, gc=False, kw_only=True, tag="workflow_forked"):
    """The first row of a fork that is its own: those before are of the workflow `source`, up to its seq `at`.

    They are as they were there, save that rows of which the seqs are `replaced` hold what was given instead, and that
    those in `void` do not count for a replay: code that gets what was given does not come there. The row of the
    creation, or of the last continuation, has no parent any more. What is open at `at` is open anew. Not a fact.
    """

    source: str
    at: int
    by: str
    asked_at: int
    asked: str
    """The digest of what was asked for: by this a repetition is known."""
    replaced: tuple[int, ...] = ()
    void: tuple[int, ...] = ()
    messages: KeptMessages = "keep"
    children: OpenChildren = "rerun"
    told: tuple[tuple[str, int], ...] = ()
    """Asks, by source and number, that are the source's to answer: nobody is told what this workflow answers."""
    deadline: int | None = None
    """The time at which it is cancelled, which takes the place of every earlier one."""
    place: QueuePlace | None = None
    """Where it stands until it is admitted."""
    name: str | None = None
    """Its name in the log, where that has another version than the source."""
