"""The columns of places: who is put into which queue by a batch, as statements take it. No SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from everlog.store import Commit, NewWorkflow, Place
from everlog_postgres.arrays import TextArray, bigints, bools, texts
from everlog_postgres.segments import Segment

# An array that is shorter than its neighbours is filled up with nulls by the server.
_NO_TEXTS: Final = texts([])
_NO_BIGINTS: Final = bigints([])
_NO_BOOLS: Final = bools([])
_NO_PLACES: Final[Mapping[str, object]] = {
    "placed_ids": _NO_TEXTS,
    "placed_queues": _NO_TEXTS,
    "placed_names": _NO_TEXTS,
    "placed_partitions": _NO_TEXTS,
    "placed_priorities": _NO_BIGINTS,
    "placed_due_ats": _NO_BIGINTS,
    "placed_keys": _NO_TEXTS,
    "placed_stands": _NO_TEXTS,
    "placed_takes": _NO_BOOLS,
}


def waiting_columns(prefix: str, news: Sequence[NewWorkflow]) -> dict[str, object]:
    """Give the columns of what workflows wait for that are created."""
    wake_ats = [new.wake_at for new in news]
    queues = [None if new.place is None else new.place.queue for new in news]
    return {
        f"{prefix}_wake_ats": bigints(wake_ats) if any(at is not None for at in wake_ats) else _NO_BIGINTS,
        f"{prefix}_queues": texts(queues) if any(queue is not None for queue in queues) else _NO_TEXTS,
    }


def queue_column(commits: Sequence[Commit]) -> TextArray:
    """Give the column of the queues into which commits put their workflows."""
    queues = [None if commit.place is None else commit.place.queue for commit in commits]
    return texts(queues) if any(queue is not None for queue in queues) else _NO_TEXTS


def place_columns(segment: Segment, now: int) -> Mapping[str, object]:
    """Give the columns of places, in the order in which they are taken."""
    rows = list(_places(segment))
    if not rows:
        return _NO_PLACES
    places = [place for _, _, place, _ in rows]
    stands = ["aside" if is_aside else "due" if place.due_at <= now else "delayed" for _, _, place, is_aside in rows]
    return {
        "placed_ids": texts([workflow_id for workflow_id, _, _, _ in rows]),
        "placed_queues": texts([place.queue for place in places]),
        "placed_names": texts([name for _, name, _, _ in rows]),
        "placed_partitions": texts([place.partition for place in places]),
        "placed_priorities": bigints([place.priority for place in places]),
        "placed_due_ats": bigints([place.due_at for place in places]),
        "placed_keys": texts([place.dedup_key for place in places]),
        "placed_stands": texts(stands),
        "placed_takes": bools([place.takes_key and place.dedup_key is not None for place in places]),
    }


def _places(segment: Segment) -> Iterator[tuple[str, str | None, Place, bool]]:
    """Give the workflow, its name where the batch says it, its place, and whether it stands there aside."""
    for new in segment.creates:
        if new.place is not None:
            yield new.workflow_id, new.name, new.place, False
    for commit in segment.commits:
        for new in commit.creates:
            if new.place is not None:
                yield new.workflow_id, new.name, new.place, False
        if commit.place is not None:
            yield commit.workflow_id, commit.name, commit.place, commit.state == "paused"
