"""Replays in tests: a recorded history, and whether the code here still fits it, or what it was doing at an event.

Nothing here has an effect: no step runs, nothing is written. The code of the workflow runs, in the caller's thread and
as plain Python, so breakpoints of an editor's debugger in it are hit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from everlog.core.codec import Codec
from everlog.core.log_lines import Exported, read_lines, write_lines
from everlog.errors import CorruptLog, NotFound
from everlog.replay.definitions import AnyWorkflow
from everlog.runtime.client import Client
from everlog.runtime.code_state import CodeState, Redact, code_state
from everlog.runtime.replaying import Replay, decoded, known_workflows, replay_environment
from everlog.runtime.verdicts import Verdict, verdict_of

History = Exported | str | Path
"""A history, or the file of an exported one."""


class HistoryDiverges(AssertionError):
    """The code does not fit a recorded history; `verdict` says where, and its text shows both sides."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(str(verdict))
        self.verdict = verdict


def load_history(path: str | Path, /) -> Exported:
    """Give the history in a file, as `everlog export` or `save_history` wrote it. Raises `NotFound`, `CorruptLog`."""
    try:
        with Path(path).open(encoding="utf-8") as lines:
            return read_lines(lines)
    except FileNotFoundError:
        raise NotFound(f"there is no file {str(path)!r} with an exported history") from None
    except (CorruptLog, UnicodeDecodeError) as error:
        raise CorruptLog(f"{path}: {error}") from error


def save_history(history: Exported, path: str | Path, /) -> None:
    """Write a history to a file, one line for each event: for a test that replays it."""
    text = "".join(write_lines(history.workflow_id, history.name, history.rows))
    Path(path).write_text(text, encoding="utf-8")


async def history_of(client: Client, workflow_id: str, /) -> Exported:
    """Give the history that a workflow has now, from a client or an engine. Raises `NotFound`."""

    def read() -> Exported:
        (head,) = client.store.heads([workflow_id])
        if head is None:
            raise NotFound(f"there is no workflow {workflow_id!r} in this store")
        rows = [(row.seq, row.recorded_at, row.payload) for row in client.store.read(workflow_id)]
        return Exported(workflow_id=workflow_id, name=head.name, rows=rows)

    return await client.on_thread(read)


def replay(
    history: History, /, workflow: AnyWorkflow[..., Any] | None = None, *, codec: Codec | None = None
) -> Verdict:
    """Replay a history against the workflow, by default the one defined under its name; `HistoryDiverges` if it fails.

    It is clean where the code asks for all that the history says, in its order and with its inputs, and ends as it
    does. `codec` is that of the engine that recorded it.
    """
    verdict = verdict_of(_loaded(history), known_workflows(workflow), replay_environment(codec))
    if not verdict.is_clean:
        raise HistoryDiverges(verdict)
    return verdict


def state_at(
    history: History,
    /,
    seq: int | None = None,
    *,
    workflow: AnyWorkflow[..., Any] | None = None,
    redact: Redact | None = None,
    codec: Codec | None = None,
) -> CodeState:
    """Give what the code was doing when the event `seq` was the last; without it, at the end of the history.

    `redact(name, value)` gives what is shown in the place of a variable's value. Where the code does not fit the
    history up to there, that is where it stands, and `stuck` says why. Raises `UsageError` where there is no such
    event, `NotFound` where the code is not here.
    """
    with open_replay(history, workflow, at=seq, codec=codec) as opened:
        opened.run(seq)
        return code_state(opened, redact=redact)


def open_replay(
    history: History,
    /,
    workflow: AnyWorkflow[..., Any] | None = None,
    *,
    at: int | None = None,
    codec: Codec | None = None,
) -> Replay:
    """Give a replay to be stepped by hand: `with open_replay(...) as one: while one.advance(): ...`.

    Nothing is applied at first. `run(seq)` goes on up to an event, `seq` is the last one that was applied, `stuck`
    says why it could not go on. With `at` it is what was replayed when that event was the last: see `state_at`.
    """
    recorded = _loaded(history)
    definitions = known_workflows(workflow)
    return Replay(recorded.workflow_id, decoded(recorded), definitions, replay_environment(codec), at=at)


def _loaded(history: History) -> Exported:
    return history if isinstance(history, Exported) else load_history(history)
