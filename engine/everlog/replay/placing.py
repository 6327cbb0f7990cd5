"""Placing: what the options of a start say of where and when it begins. It knows no store, and starts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, get_args

from msgspec import Struct, structs

from everlog.core.durations import SECOND, microseconds
from everlog.core.names import check_name
from everlog.core.numbers import is_whole
from everlog.errors import InvalidDefinition, UsageError
from everlog.replay.queues import Queue

IfDuplicate = Literal["return", "raise", "replace"]
"""What becomes of a start whose `dedup_key` another workflow of the queue has."""

MOST_PRIORITY: Final = 1_000_000_000


class Placing(Struct, frozen=True, kw_only=True):
    """The options of a start that say where and when it begins; None is what was not said. Times in microseconds."""

    queue: Queue | str | None = None
    priority: int | None = None
    delay: int | None = None
    max_delay: int | None = None
    dedup_key: str | None = None
    if_duplicate: IfDuplicate | None = None
    partition: str | None = None

    def queue_name(self) -> str | None:
        """Give the name of the queue."""
        return self.queue.name if isinstance(self.queue, Queue) else self.queue


AT_ONCE: Final = Placing()
"""In no queue, and without a delay."""

OPTIONS: Final = frozenset(Placing.__struct_fields__)
"""The names of the options that are of placing."""


def placing_of(before: Placing, options: Mapping[str, Any]) -> Placing:
    """Give the placing with other options; raises `UsageError` for one that makes no sense by itself."""
    changes = {name: _checked(name, given) for name, given in options.items() if name in OPTIONS}
    return structs.replace(before, **changes) if changes else before


def check_placing(placing: Placing, name: str) -> None:
    """Refuse options that do not fit each other, at the start of the workflow `name`."""
    given = [option for option in ("priority", "partition", "dedup_key") if getattr(placing, option) is not None]
    if placing.queue is None and given:
        raise UsageError(
            f"workflow {name} is started with {given[0]}=, which says where it stands in a queue, and without a queue; "
            "give it queue="
        )
    if placing.if_duplicate is not None and placing.dedup_key is None:
        raise UsageError(f"workflow {name} is started with if_duplicate= and without a dedup_key; give it dedup_key=")
    if placing.if_duplicate == "replace" and not placing.delay:
        raise UsageError(
            f"workflow {name} is started with if_duplicate='replace', which puts off what waits, and without a delay: "
            "nothing would wait; give it delay="
        )
    if placing.max_delay is not None and placing.if_duplicate != "replace":
        raise UsageError(
            f"workflow {name} is started with max_delay=, which bounds how long if_duplicate='replace' may put it off; "
            "give it both, or neither"
        )
    if placing.max_delay is not None and placing.max_delay < (placing.delay or 0):
        raise UsageError(
            f"workflow {name} is started with a max_delay of {placing.max_delay / SECOND:g} s, which is shorter than "
            f"its delay of {(placing.delay or 0) / SECOND:g} s"
        )


def checked_queue(given: object, what: str = "queue") -> Queue | str:
    """Give what names a queue back; `UsageError` for anything else."""
    if isinstance(given, Queue):
        return given
    if not isinstance(given, str):
        raise UsageError(f"{what} must be a Queue, or the name of one, got {given!r}")
    return check_name(given, "the name of a queue")


def checked_priority(given: object) -> int:
    """Give a priority back; `UsageError` where it is none."""
    if not isinstance(given, int) or not is_whole(given) or abs(given) > MOST_PRIORITY:
        raise UsageError(
            f"priority must be a whole number between -{MOST_PRIORITY:,} and {MOST_PRIORITY:,}, the lower first, got "
            f"{given!r}"
        )
    return given


def _checked(option: str, given: Any) -> Any:
    match option:
        case "queue":
            return None if given is None else checked_queue(given)
        case "priority":
            return checked_priority(given)
        case "delay" | "max_delay":
            return microseconds(given, what=option)
        case "if_duplicate":
            if given not in get_args(IfDuplicate):
                raise InvalidDefinition(f"if_duplicate must be 'return', 'raise' or 'replace', got {given!r}")
            return given
        case _:
            return check_name(given, f"the {option} of a workflow")
