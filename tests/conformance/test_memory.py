"""The memory store keeps the contract that it specifies."""

import pytest

from everlog.memory import MemoryStore
from everlog.testing import (
    DeletionConformance,
    FindingConformance,
    ForksConformance,
    MovingConformance,
    QueuesConformance,
    RetentionConformance,
    SchedulesConformance,
    StoreConformance,
    StreamsConformance,
    ValuesConformance,
    WaitsConformance,
)


class TestMemory(
    StoreConformance,
    ValuesConformance,
    StreamsConformance,
    WaitsConformance,
    FindingConformance,
    ForksConformance,
    MovingConformance,
    QueuesConformance,
    DeletionConformance,
    RetentionConformance,
    SchedulesConformance,
):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


def test_a_subclass_cannot_change_a_test_of_the_contract() -> None:
    with pytest.raises(TypeError, match="test_a_closed_store_is_unavailable"):
        type("TestLenient", (StoreConformance,), {"test_a_closed_store_is_unavailable": staticmethod(print)})
