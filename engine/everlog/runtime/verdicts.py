"""Verdicts: whether the code of this process fits a history, and if not, both sides of the event at which they part."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from itertools import zip_longest
from typing import Final, Literal

import msgspec

from everlog.core.durations import as_datetime
from everlog.core.event_codec import encode_event, type_of
from everlog.core.events import AnyEvent, EndEvent, WorkflowContinued, WorkflowFailed
from everlog.core.log_lines import Exported
from everlog.core.rewinding import Stored
from everlog.core.sealed import shown_text
from everlog.errors import CorruptLog, EverlogError, NotFound
from everlog.replay.divergence import RECORDED_UNDER, CannotGoOn
from everlog.replay.environment import Environment
from everlog.replay.instances import with_instance
from everlog.replay.patches import PatchWay
from everlog.runtime.replaying import Definitions, Replay, decoded

Outcome = Literal["clean", "diverges", "fails", "unknown", "unreadable", "endless"]

SAME: Final = "the same"
BEFORE: Final = 2
AFTER: Final = 1
"""So many events are shown around the one at which history and code part."""
MOST: Final = 400
"""Characters of one side."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One event, and what the code does there."""

    seq: int
    history: str
    code: str


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a replay of one history came to.

    `clean`: all events were replayed. `diverges`: the code does something else than the event `seq` says. `fails`: the
    code raises after the last event, so that the workflow would fail at once. `unknown`: its function is not here.
    `unreadable`: it is no history that this version can read. `endless`: its code did not come to an end.
    """

    workflow_id: str
    name: str
    outcome: Outcome
    events: int = 0
    """So many were replayed."""
    seq: int | None = None
    why: str = ""
    sides: list[Side] = []
    patches: dict[str, PatchWay] = {}
    """Where the workflow stands to each patch that its code or its history has."""
    retired: list[str] = []
    """The patches that the code asks for as retired."""

    @property
    def is_clean(self) -> bool:
        """Whether the code fits the history."""
        return self.outcome == "clean"

    def __str__(self) -> str:
        """Give it as lines for people, with the two sides of a divergence."""
        return "\n".join(told(self))


def verdict_of(exported: Exported, definitions: Definitions, environment: Environment) -> Verdict:
    """Replay a history against these definitions, without effects, and say what came of it. Raises nothing of ours."""
    workflow_id, name = exported.workflow_id, exported.name
    try:
        history = decoded(exported)
        with Replay(workflow_id, history, definitions, environment) as replay:
            stuck = replay.run()
            name = replay.execution.definition.name
            count = len(replay.rows)
            patches = replay.execution.patches
            stuck = stuck or _input_that_does_not_fit(replay)
            if stuck is not None:
                return _diverging(replay, name, stuck)
            outcome = replay.execution.outcome
            last = replay.rows[-1][2]
            if isinstance(outcome, WorkflowFailed) and not isinstance(last, EndEvent | WorkflowContinued):
                why = f"the code raises {outcome.error.type.rpartition(':')[2]}: {shown_text(outcome.error.message)}"
                sides = _around(replay.rows, replay.rows[-1][0], f"{why}\n{_last_line(outcome)}".rstrip())
                return Verdict(
                    workflow_id=workflow_id, name=name, outcome="fails", seq=replay.seq, why=why, sides=sides
                )
            return Verdict(
                workflow_id=workflow_id,
                name=name,
                outcome="clean",
                events=count,
                patches=patches.ways(),
                retired=sorted(patches.retired),
            )
    except NotFound as error:
        return Verdict(workflow_id=workflow_id, name=name, outcome="unknown", why=str(error))
    except CorruptLog as error:
        return Verdict(workflow_id=workflow_id, name=name, outcome="unreadable", why=str(error))


def _input_that_does_not_fit(replay: Replay) -> CannotGoOn | None:
    """Tell why code that has not begun could not: nothing of its history was compared with it yet."""
    execution = replay.execution
    if execution.began is not None or execution.outcome is not None:
        return None
    codec, created = execution.environment.codec, execution.created
    try:
        definition = with_instance(execution.definition, bytes(created.instance), codec)
        definition.signature.decode(codec, bytes(created.input), what="the recorded input")
    except EverlogError as error:
        return CannotGoOn(f"the recorded input does not fit workflow {execution.definition.name!r}: {error}")
    return None


def _diverging(replay: Replay, name: str, stuck: CannotGoOn) -> Verdict:
    found = stuck.why if stuck.parting is None else stuck.parting.code
    return Verdict(
        workflow_id=replay.workflow_id,
        name=name,
        outcome="diverges",
        seq=replay.seq,
        why=stuck.why,
        sides=_around(replay.rows, replay.seq, found),
    )


def _around(rows: Sequence[Stored], seq: int, code: str) -> list[Side]:
    place = next(number for number, row in enumerate(rows) if row[0] == seq)
    shown = rows[max(0, place - BEFORE) : place + 1 + AFTER]
    return [
        Side(
            seq=number, history=told_event(event), code=SAME if number < seq else _dated(code) if number == seq else ""
        )
        for number, _, event in shown
    ]


def _last_line(failed: WorkflowFailed) -> str:
    lines = [line for line in failed.error.traceback.splitlines() if line.lstrip().startswith("File ")]
    return lines[-1].strip() if lines else ""


def told_event(event: AnyEvent) -> str:
    """Give an event on one line: its type, its operation, and what else it holds."""
    body: dict[str, object] = msgspec.json.decode(encode_event(event))
    if str(body.get("operation", "")).startswith(str(body.get("step", "-"))):
        del body["step"]
    hidden = ("type", "operation", "seed", "started_at", "everlog", "python", "build", "worker", "format", "attempt")
    rest = [f"{name}={msgspec.json.encode(held).decode()}" for name, held in body.items() if name not in hidden]
    line = " ".join([type_of(event), *[str(body[one]) for one in ("operation",) if one in body], *rest])
    line = _dated(line)
    return line if len(line) <= MOST else line[: MOST - 3] + "..."


def _dated(text: str) -> str:
    """Give the text with times at which something is due as dates."""
    return _due.sub(lambda found: found[1] + as_datetime(int(found[2])).isoformat(timespec="milliseconds"), text)


_due: Final = re.compile(r"(due[_ ]at[= ])(\d{14,17})\b")


# -- for people -------------------------------------------------------------------------------------------------------

_TITLES: Final[dict[Outcome, str]] = {
    "clean": "replays clean",
    "diverges": "diverges",
    "fails": "would fail at once",
    "unknown": "has no code here",
    "unreadable": "cannot be read",
    "endless": "did not come to an end",
}


def told(verdict: Verdict, *, columns: int = 100) -> list[str]:
    """Give a verdict as lines of at most so many columns, but for words that are longer."""
    where = "" if verdict.seq is None else f" at event {verdict.seq}"
    lines = [f"{verdict.workflow_id} ({verdict.name}) {_TITLES[verdict.outcome]}{where}"]
    if verdict.sides:
        lines += two_sided(verdict.sides, verdict.seq or 0, columns=columns)
        lines += [f"  {line}" for line in verdict.why.splitlines() if line.startswith(RECORDED_UNDER)]
    elif verdict.why:
        lines += textwrap.wrap(verdict.why, columns - 2, initial_indent="  ", subsequent_indent="  ")
    return lines


def two_sided(sides: Sequence[Side], seq: int, *, columns: int = 100) -> list[str]:
    """Give the events and what the code does there side by side, the one of that seq marked."""
    width = max(20, (columns - 11) // 2)
    lines = [f"  {'seq':>5}  {'history':<{width}}  code"]
    for side in sides:
        mark = ">" if side.seq == seq else " "
        for number, (left, right) in enumerate(
            zip_longest(_wrapped(side.history, width), _wrapped(side.code, width), fillvalue="")
        ):
            first = f"{mark} {side.seq:>5}" if number == 0 else " " * 7
            lines.append(f"{first}  {left:<{width}}  {right}".rstrip())
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    """Give the text in lines of that width; a place in the code has a line of its own, however long that is."""
    lines: list[str] = []
    for part in text[: 2 * MOST].splitlines():
        for line in _place.sub(r"\nat ", part).splitlines():
            is_place = line.startswith("at ")
            lines += [line] if is_place else textwrap.wrap(line, width, break_on_hyphens=False) or [""]
    return lines


_place: Final = re.compile(r" at (?=\S+:\d)")
