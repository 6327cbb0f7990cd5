"""Copying a database: it is run in one place at any time, and the same call goes on with what was begun."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from everlog.errors import CorruptLog, EverlogError, StoreUnavailable, UsageError
from everlog.memory import MemoryStore
from everlog.runtime.backends import open_store
from everlog.runtime.copying import Copied, End, Live, copy, movable, pages, undo
from everlog.runtime.digests import moved_digest
from everlog.store import Done, WorkflowQuery
from everlog.testing.contract_moving import furnish
from everlog.testing.making import create, new, worker
from tests.postgres import lent_schema, needs_postgres

KINDS = ["memory", "sqlite", pytest.param("postgres", marks=needs_postgres)]


@pytest.fixture
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[End]:
    yield from opened(getattr(request, "param", "memory"), tmp_path, "source")


@pytest.fixture
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[End]:
    yield from opened(getattr(request, "param", "memory"), tmp_path, "destination")


def opened(kind: str, folder: Path, name: str) -> Iterator[End]:
    urls = {"memory": lambda: "memory://", "sqlite": lambda: f"sqlite:///{folder}/{name}.db", "postgres": lent_schema}
    store = open_store(urls[kind](), durability="process")
    yield End(store, f"{kind} {name}")
    store.close()


def moved(source: End, destination: End, **options: Any) -> Copied:
    return copy(source, destination, move_id="move-1", **options)


def digests(end: End) -> dict[str, str]:
    return {rows.head.workflow_id: moved_digest(rows) for rows in pages(movable(end))}


def histories(end: End) -> dict[str, Any]:
    return {rows.head.workflow_id: list(rows.events) for rows in pages(movable(end))}


@pytest.mark.parametrize("source", KINDS, indirect=True)
@pytest.mark.parametrize("destination", KINDS, indirect=True)
def test_all_is_there_and_run_there_alone(source: End, destination: End) -> None:
    furnish(movable(source))
    told: list[tuple[str, int, int]] = []
    copied = moved(source, destination, progress=lambda *one: told.append(one))
    assert digests(source) == digests(destination)
    assert (copied.workflows, copied.before) == (len(digests(source)), False)
    assert copied.events == sum(len(rows.events) for rows in pages(movable(source)))
    assert told[-1] == ("comparing", copied.workflows, copied.workflows)
    assert create(destination.store, new("another")) == Done()
    with pytest.raises(StoreUnavailable, match=r"it was moved to .* destination: use that one"):
        create(source.store, new("another"))


def test_the_same_call_again_does_nothing(source: End, destination: End) -> None:
    furnish(movable(source))
    copied = moved(source, destination)
    again = moved(source, destination)
    assert (again.before, again.digest) == (True, copied.digest)
    with pytest.raises(UsageError, match="it was moved to memory destination"):
        moved(source, End(MemoryStore(), "another"))


class Died(Exception):
    """Raised in the place of a call of a store."""


class Dying:
    """A store that dies at its nth write, before it or after it."""

    def __init__(self, store: Any, writes: list[int], dies_at: int, *, after: bool) -> None:
        self._store, self._writes, self._dies_at, self._after = store, writes, dies_at, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in {"put_workflow_rows", "put_shared_rows", "close_for_move", "open_after_move"}:
            return found

        def write(*given: Any) -> Any:
            self._writes[0] += 1
            if self._writes[0] != self._dies_at:
                return found(*given)
            if self._after:
                found(*given)
            raise Died

        return write


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("dies_at", range(1, 10))
def test_whatever_dies_the_same_call_goes_on(
    source: End, destination: End, dies_at: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("everlog.runtime.copying.PAGE", 3)
    furnish(movable(source))
    writes = [0]
    ends = [End(Dying(end.store, writes, dies_at, after=after), end.name) for end in (source, destination)]  # type: ignore[arg-type] # it stands for the store
    with pytest.raises(Died):
        moved(*ends)
    open_ones = [end for end in (source, destination) if movable(end).move() is None]
    assert len(open_ones) <= 1 or not digests(destination), "never both"
    copied = copy(source, destination, move_id="move-2")
    assert copied.workflows == len(digests(source))
    assert copied.before is (dies_at == 9 and after)
    assert digests(source) == digests(destination)
    assert movable(destination).move() is None
    with pytest.raises(StoreUnavailable):
        create(source.store, new("another"))


def test_who_lives_on_it_is_waited_for_or_loses_what_it_holds(source: End, destination: End) -> None:
    furnish(movable(source))
    source.store.register(worker("living", lease_until=source.store.now() + 10_000_000))
    with pytest.raises(Live) as caught:
        moved(source, destination)
    assert [one.worker for one in caught.value.workers] == ["living"]
    assert (movable(source).move(), movable(destination).move()) == (None, None)
    moved(source, destination, force=True)
    assert list(source.store.workers()) == []


def test_a_move_that_is_not_complete_can_be_taken_back(source: End, destination: End) -> None:
    furnish(movable(source))
    before = histories(source)
    broken = End(Dying(destination.store, [0], 3, after=True), destination.name)  # type: ignore[arg-type] # as above
    with pytest.raises(Died):
        moved(source, broken)
    undo(source)
    assert histories(source) == before
    assert create(source.store, new("another")) == Done()
    with pytest.raises(UsageError, match="name an empty database"):
        moved(source, destination)
    with pytest.raises(StoreUnavailable):
        create(destination.store, new("another"))
    with pytest.raises(UsageError, match="it is open"):
        undo(source)
    assert moved(source, End(MemoryStore(), "another")).workflows == len(before) + 1
    with pytest.raises(UsageError, match="it was moved to another"):
        undo(source)


def test_what_is_not_empty_is_not_copied_to(source: End, destination: End) -> None:
    create(destination.store, new("theirs"))
    with pytest.raises(UsageError, match="of its own"):
        moved(source, destination)
    assert movable(source).move() is None


def test_what_arrived_otherwise_than_it_left_is_never_opened(source: End, destination: End) -> None:
    furnish(movable(source))

    def damage(phase: str, done: int, total: int) -> None:
        if phase == "copying" and done == total:
            store: Any = destination.store
            store._workflows["busy"].events.pop()

    with pytest.raises(CorruptLog, match="workflow 'busy' is not in memory destination what it is"):
        moved(source, destination, progress=damage)
    for end in (source, destination):
        with pytest.raises(EverlogError):
            create(end.store, new("another"))


def test_an_empty_database_can_be_moved(source: End, destination: End) -> None:
    assert moved(source, destination).workflows == 0
    assert destination.store.workflows(WorkflowQuery()) == []
