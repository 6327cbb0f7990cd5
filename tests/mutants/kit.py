"""The kit on one copy of the SQLite backend, for `python -m tests.mutants`: the class first, then a short machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

import everlog_sqlite
from everlog.store import Store
from everlog.testing import DeletionConformance, FindingConformance, StoreConformance, StoreMachine
from everlog_sqlite import SqliteStore, open_store


def test_it_is_the_copy_that_is_tested() -> None:
    assert Path(everlog_sqlite.__file__).is_relative_to(os.environ["EVERLOG_MUTANT"])


class TestClass(StoreConformance, FindingConformance, DeletionConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteStore]:
        store = open_store(f"sqlite:///{tmp_path}/test.db", durability="process")
        yield store
        store.close()

    @pytest.fixture
    def peer(self, store: SqliteStore, tmp_path: Path) -> Iterator[SqliteStore]:
        peer = open_store(f"sqlite:///{tmp_path}/test.db", durability="process")
        yield peer
        peer.close()


class Machine(StoreMachine):
    def open_stores(self, clock: Callable[[], int]) -> Mapping[str, Store]:
        self.directory = tempfile.mkdtemp()
        return {"file": self.open_file(clock)}

    def open_file(self, clock: Callable[[], int]) -> Store:
        return open_store(f"sqlite:///{self.directory}/test.db", durability="process", clock=clock)

    def reopen(self, name: str, store: Store, clock: Callable[[], int]) -> Store:
        store.close()
        return self.open_file(clock)

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory, ignore_errors=True)


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,  # so that two runs say the same
    database=None,
    phases=[Phase.generate],  # a failure is a failure; nobody reads the smallest one
    suppress_health_check=list(HealthCheck),
)
