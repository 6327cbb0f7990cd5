"""The store keeps the contract, and agrees with the memory store about random operations."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from everlog_jsonl import JsonLinesStore, open_store
from hypothesis import HealthCheck, settings

from everlog.errors import StoreUnavailable
from everlog.store import Store
from everlog.testing import (
    Crash,
    DeletionConformance,
    FaultyStore,
    FindingConformance,
    StoreConformance,
    StoreMachine,
    StreamsConformance,
    ValuesConformance,
)
from everlog.testing.faults import Fault
from everlog.testing.making import create, events, new


class TestContract(StoreConformance, ValuesConformance, StreamsConformance, FindingConformance, DeletionConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[JsonLinesStore]:
        store = open_store(f"jsonl:///{tmp_path}/test.jsonl", durability="process")
        yield store
        store.close()

    @pytest.fixture
    def peer(self, store: JsonLinesStore, tmp_path: Path) -> Iterator[JsonLinesStore]:
        peer = open_store(f"jsonl:///{tmp_path}/test.jsonl", durability="process")
        yield peer
        peer.close()


class Machine(StoreMachine):
    def open_stores(self, clock: Callable[[], int]) -> Mapping[str, Store]:
        self.directory = tempfile.mkdtemp()
        return {"jsonl": self.open_file(clock)}

    def open_file(self, clock: Callable[[], int]) -> Store:
        return open_store(f"jsonl:///{self.directory}/test.jsonl", durability="process", clock=clock)

    def reopen(self, name: str, store: Store, clock: Callable[[], int]) -> Store:
        store.close()
        return self.open_file(clock)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory, ignore_errors=True)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_line_that_was_cut_by_a_crash_is_dropped(tmp_path: Path) -> None:
    file = tmp_path / "test.jsonl"
    store = open_store(f"jsonl:///{file}")
    create(store, new("a"))
    whole = file.read_bytes()
    create(store, new("b"))
    store.close()
    file.write_bytes(file.read_bytes()[:-1])
    store = open_store(f"jsonl:///{file}")
    assert [one is not None for one in store.heads(["a", "b"])] == [True, False]
    create(store, new("c"))
    assert file.read_bytes().startswith(whole)
    store.close()
    store = open_store(f"jsonl:///{file}")
    assert [one is not None for one in store.heads(["a", "b", "c"])] == [True, False, True]
    store.close()


def test_after_a_crash_behind_the_commit_everything_is_there(tmp_path: Path) -> None:
    url = f"jsonl:///{tmp_path}/test.jsonl"
    faulty = FaultyStore(open_store(url), Fault(commit=1, when="after", kind="crash"))
    with pytest.raises(Crash):
        create(faulty, new("a"))
    faulty.store.close()
    store = open_store(url)
    assert list(store.read("a")) == events(1, 1)
    store.close()


def test_a_file_that_is_not_there_is_made_only_if_it_may_be(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        open_store(f"jsonl:///{tmp_path}/test.jsonl", create=False)
