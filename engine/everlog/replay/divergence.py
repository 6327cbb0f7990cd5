"""Divergence: the history and the code do not fit. The exceptions that say so; finding it is the execution's work."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from everlog.core.event_codec import encode_event, type_of
from everlog.core.events import AnyEvent

RECORDED_UNDER: Final = "The history was recorded under Python"


class Parting(Struct, frozen=True):
    """Where history and code part, by its sides."""

    seq: int
    history: str
    """What the history has there."""
    code: str
    """What the code does there instead, with file and line where they are known."""


class CannotGoOn(BaseException):
    """The workflow is stuck: nothing is recorded, and another build may go on. Not for workflow code to catch."""

    def __init__(self, why: str, parting: Parting | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.parting = parting
        """None where no event differs: the code does not fit for another reason, which `why` says."""


class TornDown(GeneratorExit):
    """The workflow is being dropped from memory; raised by its operations. Not for workflow code to catch.

    Of this kind, since it is what generators may raise when they are closed, as those of blocking code are then.
    """


def divergence(
    workflow_id: str, seq: int, event: AnyEvent | None, *, found: str, recorded_under: str, running_under: str
) -> CannotGoOn:
    """Explain where history and code part, in the four parts of every error."""
    history = "ends here" if event is None else f"{type_of(event)} {_body(event)}"
    python = ""
    if recorded_under and recorded_under.rsplit(".", 1)[0] != running_under.rsplit(".", 1)[0]:
        python = f"\n{RECORDED_UNDER} {recorded_under}; this is {running_under}."
    return CannotGoOn(
        f"workflow {workflow_id!r} took another path than its history at seq {seq}.\n"
        f"  history  seq {seq}  {history}\n"
        f"  code     {found}\n"
        "Either the code changed while this workflow was in flight, or it branched on something that a replay cannot "
        f"repeat (clock, chance, environment, order of a set of strings).{python}\n"
        "Its history is untouched. Deploy code that fits the history, and it goes on by itself.",
        Parting(seq, history, found),
    )


def _body(event: AnyEvent) -> str:
    text = encode_event(event).decode(errors="replace")
    text = text.split(",", 1)[1] if "," in text else text
    return "{" + text if len(text) <= 300 else "{" + text[:300] + "..."
