"""Origins: where in a history an exception arose, kept in it, and from where a retry of what it ended goes on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from everlog.core.failures import AROSE

if TYPE_CHECKING:
    from everlog.replay.execution import Execution


class Arose(Struct):
    """What an exception carries of where in a history it arose: seqs of the facts that were delivered then."""

    seed: str
    """Of the workflow: an exception object may be seen by several."""
    recorded: int | None = None
    """It is the outcome of an operation."""
    handled: int | None = None
    """It was there already."""
    undone: int | None = None
    """What it broke off, and what was undone for that, began then."""


def note_recorded(execution: Execution, error: BaseException, seq: int | None = None) -> None:
    """Keep in an exception that it came from the fact that is being delivered, or from that of a seq."""
    _arose(execution, error).recorded = execution.seq if seq is None else seq


def note_handled(execution: Execution) -> None:
    """Keep in the exception that is being handled here, if any, that it had arisen by now."""
    error = sys.exc_info()[1]
    if error is not None:
        note_arisen(execution, error)


def note_arisen(execution: Execution, error: BaseException) -> None:
    """Keep in an exception that it had arisen by now."""
    arose = _arose(execution, error)
    if arose.handled is None:
        arose.handled = execution.seq


def note_undone(execution: Execution, error: BaseException, since: int) -> None:
    """Keep in an exception that what began at this seq was undone because of it."""
    arose = _arose(execution, error)
    arose.undone = since if arose.undone is None else min(arose.undone, since)


def _arose(execution: Execution, error: BaseException) -> Arose:
    seed = execution.created.seed
    try:
        kept = vars(error)
        arose = kept.get(AROSE)
        if not isinstance(arose, Arose) or arose.seed != seed:
            kept[AROSE] = arose = Arose(seed)
    except Exception:  # noqa: BLE001 - a class of the user's may have a `__dict__` of its own, that raises anything
        return Arose(seed)
    return arose


def after_failure(execution: Execution, error: BaseException) -> int:
    """Give the seq from which a retry of a workflow goes on that this error has ended.

    That is before the failed operation whose exception it was, or from which or in whose handling it arose; and before
    what was undone because of it. Otherwise it is where the exception arose: what was recorded before stays, and the
    code goes on from there, mended perhaps.
    """
    points = list(_led_to(execution, error, set()))
    return max(execution.first_seq, min(points)) if points else _arose(execution, error).handled or execution.seq


def after_cancellation(execution: Execution, cancellation: BaseException | None) -> int:
    """Give the seq from which a retry of a cancelled workflow goes on: before the request that it did not survive.

    And before what was undone because of that.
    """
    arisen, points, seen = execution.seq, list[int](), set[int]()
    while isinstance(cancellation, asyncio.CancelledError) and id(cancellation) not in seen:
        seen.add(id(cancellation))
        arose = _arose(execution, cancellation)
        arisen = min(arisen, arose.handled or arisen)
        if arose.undone is not None:
            points.append(arose.undone - 1)
        cancellation = cancellation.__context__
    requests = [seq for seq in execution.cancel_requests if seq <= arisen]
    return max(execution.first_seq, min([*points, requests[-1] - 1 if requests else arisen]))


def _led_to(execution: Execution, error: BaseException, seen: set[int]) -> Iterator[int]:
    """Give the seqs before what failed, or was undone, and led to this error."""
    if id(error) in seen:
        return
    seen.add(id(error))
    arose = _arose(execution, error)
    if arose.undone is not None:
        yield arose.undone - 1
    if arose.recorded is not None:
        yield arose.recorded - 1
    elif isinstance(error, BaseExceptionGroup):
        parts: Sequence[BaseException] = vars(BaseExceptionGroup)["exceptions"].__get__(error)
        for part in parts:
            yield from _led_to(execution, part, seen)
    else:
        earlier_one = error.__cause__ or error.__context__
        if earlier_one is not None:
            yield from _led_to(execution, earlier_one, seen)


def cancellation_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Give the exception with which a cancelled task ended."""
    try:
        task.result()
    except asyncio.CancelledError as error:
        return error
    return None
