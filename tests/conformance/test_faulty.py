"""FaultyStore: without a fault it is the store underneath, with one it fails as a store or a process does."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from everlog.errors import StoreUnavailable
from everlog.memory import MemoryStore
from everlog.runtime.backends import open_store
from everlog.store import Commit, Done, Store
from everlog.testing import (
    Crash,
    FaultyStore,
    FindingConformance,
    ForksConformance,
    QueuesConformance,
    SchedulesConformance,
    StoreConformance,
    StreamsConformance,
    ValuesConformance,
    WaitsConformance,
)
from everlog.testing.faults import Fault
from everlog.testing.making import (
    admit,
    claim,
    claimed_ids,
    commit,
    create,
    declare,
    enqueued,
    events,
    head,
    held,
    new,
    place_of,
)
from tests.postgres import lent_schema, needs_postgres


class TestWithoutFaults(
    StoreConformance,
    ValuesConformance,
    StreamsConformance,
    WaitsConformance,
    FindingConformance,
    ForksConformance,
    QueuesConformance,
    SchedulesConformance,
):
    @pytest.fixture
    def store(self) -> FaultyStore:
        return FaultyStore(MemoryStore())


@pytest.fixture(params=["memory", "sqlite", pytest.param("postgres", marks=needs_postgres)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    urls = {"memory": lambda: "memory://", "sqlite": lambda: f"sqlite:///{tmp_path}/test.db", "postgres": lent_schema}
    store = open_store(urls[request.param](), durability="process")
    yield store
    store.close()


@pytest.mark.parametrize(("when", "seq"), [("before", 1), ("after", 2)])
@pytest.mark.parametrize("kind", ["unavailable", "crash"])
def test_a_fault_strikes_before_or_after_the_commit_is_durable(store: Store, when: str, seq: int, kind: str) -> None:
    faulty = FaultyStore(store, Fault(commit=2, when=when, kind=kind))  # type: ignore[arg-type] # spelled out above
    token = held(faulty, "order")
    one = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2))
    with pytest.raises(StoreUnavailable if kind == "unavailable" else Crash) as caught:
        commit(faulty, one)
    assert head(store, "order").seq == seq
    if isinstance(caught.value, StoreUnavailable):
        assert caught.value.unknown_outcome is (when == "after")


def test_after_a_fault_the_store_goes_on_and_after_a_crash_nothing_does(store: Store) -> None:
    faulty = FaultyStore(store, Fault(commit=1, when="before"), Fault(commit=3, when="after", kind="crash"))
    with pytest.raises(StoreUnavailable):
        create(faulty, new("a"))
    assert create(faulty, new("a")) == Done()
    with pytest.raises(Crash):
        create(faulty, new("b"))
    through: Store = faulty
    for call in (through.now, through.changes, through.workers, lambda: create(through, new("c"))):
        with pytest.raises(Crash):
            call()
    faulty.close()
    assert [one is not None for one in store.heads(["a", "b", "c"])] == [True, True, False]


@pytest.mark.parametrize(("when", "state"), [("before", "enqueued"), ("after", "queued")])
@pytest.mark.parametrize("kind", ["unavailable", "crash"])
def test_a_fault_strikes_before_or_after_an_admission(store: Store, when: str, state: str, kind: str) -> None:
    declare(store, concurrency=1)
    create(store, enqueued("order"))
    faulty = FaultyStore(store, Fault(admit=1, when=when, kind=kind))  # type: ignore[arg-type] # spelled out above
    with pytest.raises(StoreUnavailable if kind == "unavailable" else Crash) as caught:
        admit(faulty, "t")
    found = place_of(store, "order")
    assert found is not None
    assert (found.state, found.has_slot) == (state, when == "after")
    if isinstance(caught.value, StoreUnavailable):
        assert caught.value.unknown_outcome is (when == "after")
        assert head(store, "order").token is None
    if when == "after" and kind == "unavailable":
        assert claimed_ids(claim(faulty, "u")) == ["order"]
