"""FaultyStore: without a fault it is the store underneath, with one it fails as a store or a process does."""

import pytest

from everlog.errors import StoreUnavailable
from everlog.memory import MemoryStore
from everlog.store import Commit, Done, Store
from everlog.testing import Crash, FaultyStore, StoreConformance
from everlog.testing.faults import Fault
from everlog.testing.making import commit, create, events, head, held, new


class TestWithoutFaults(StoreConformance):
    @pytest.fixture
    def store(self) -> FaultyStore:
        return FaultyStore(MemoryStore())


@pytest.mark.parametrize(("when", "seq"), [("before", 1), ("after", 2)])
@pytest.mark.parametrize("kind", ["unavailable", "crash"])
def test_a_fault_strikes_before_or_after_the_commit_is_durable(when: str, seq: int, kind: str) -> None:
    store = MemoryStore()
    faulty = FaultyStore(store, Fault(commit=2, when=when, kind=kind))  # type: ignore[arg-type] # spelled out above
    token = held(faulty, "order")
    one = Commit(workflow_id="order", token=token, seq=1, state="running", events=events(2, 2))
    with pytest.raises(StoreUnavailable if kind == "unavailable" else Crash) as caught:
        commit(faulty, one)
    assert head(store, "order").seq == seq
    if isinstance(caught.value, StoreUnavailable):
        assert caught.value.unknown_outcome is (when == "after")


def test_after_a_fault_the_store_goes_on_and_after_a_crash_nothing_does() -> None:
    store = MemoryStore()
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
