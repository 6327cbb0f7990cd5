"""StoreConformance: the contract of `everlog.store` as a pytest class. It tests any store, and knows none.

A backend adopts it in ten lines:

    class TestOurs(StoreConformance):
        @pytest.fixture
        def store(self, tmp_path):
            store = open_store(...)
            yield store
            store.close()

        @pytest.fixture
        def peer(self, store):
            another = open_store(...)  # the same database, as another process would have it
            yield another
            another.close()

`ValuesConformance`, `StreamsConformance`, `WaitsConformance`, `FindingConformance`, `QueuesConformance`,
`SchedulesConformance`, `ForksConformance`, `MovingConformance` and `RetentionConformance` are adopted in the same way,
by stores that keep values, streams, attributes and schedules, list waits, have queues, copy histories, of which all
that can be moved, and that hold and remove workflows; and `OutboxConformance`, with one more fixture, by those that
take part in transactions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from everlog.store import Store

# Before they are imported: so that a failing assertion in them shows its values.
pytest.register_assert_rewrite(
    "everlog.testing.contract_admissions",
    "everlog.testing.contract_children",
    "everlog.testing.contract_claims",
    "everlog.testing.contract_commits",
    "everlog.testing.contract_continuing",
    "everlog.testing.contract_finding",
    "everlog.testing.contract_forks",
    "everlog.testing.contract_messages",
    "everlog.testing.contract_moving",
    "everlog.testing.contract_outbox",
    "everlog.testing.contract_outside",
    "everlog.testing.contract_places",
    "everlog.testing.contract_rooms",
    "everlog.testing.contract_retention",
    "everlog.testing.contract_schedules",
    "everlog.testing.contract_streams",
    "everlog.testing.contract_values",
    "everlog.testing.contract_waits",
    "everlog.testing.contract_workers",
)

from everlog.testing.contract_admissions import AdmissionContract  # noqa: E402 - see above
from everlog.testing.contract_children import ChildrenContract  # noqa: E402 - see above
from everlog.testing.contract_claims import ClaimContract  # noqa: E402 - see above
from everlog.testing.contract_commits import CommitContract  # noqa: E402 - see above
from everlog.testing.contract_continuing import ContinuingContract  # noqa: E402 - see above
from everlog.testing.contract_finding import FindingContract  # noqa: E402 - see above
from everlog.testing.contract_forks import ForkContract  # noqa: E402 - see above
from everlog.testing.contract_messages import MessageContract  # noqa: E402 - see above
from everlog.testing.contract_moving import MovingContract  # noqa: E402 - see above
from everlog.testing.contract_outbox import OutboxContract  # noqa: E402 - see above
from everlog.testing.contract_outside import DeletionConformance as DeletionConformance  # noqa: E402 - see above
from everlog.testing.contract_outside import OutsideContract  # noqa: E402 - see above
from everlog.testing.contract_places import PlaceContract  # noqa: E402 - see above
from everlog.testing.contract_retention import RetentionContract  # noqa: E402 - see above
from everlog.testing.contract_rooms import RoomContract  # noqa: E402 - see above
from everlog.testing.contract_schedules import ScheduleContract  # noqa: E402 - see above
from everlog.testing.contract_streams import StreamContract  # noqa: E402 - see above
from everlog.testing.contract_values import ValueContract  # noqa: E402 - see above
from everlog.testing.contract_waits import WaitContract  # noqa: E402 - see above
from everlog.testing.contract_workers import WorkerContract  # noqa: E402 - see above


class _Conformance:
    """A contract as a test class. A subclass gives the fixtures, and may add tests, but not change one."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        ours = [base for base in cls.__mro__[1:] if base.__module__.startswith("everlog.testing.")]
        changed = sorted({name for base in ours for name in vars(base) if name.startswith("test")} & set(vars(cls)))
        if changed:
            raise TypeError(
                f"{cls.__qualname__} overrides {', '.join(changed)}; the contract is the same for all stores,"
                " so make the store pass, or add tests under other names"
            )

    @pytest.fixture
    def store(self) -> Store:
        """Give a new, empty store. A subclass must."""
        raise NotImplementedError("give a fixture `store` that opens a new, empty store")

    @pytest.fixture
    def peer(self, store: Store) -> Store:
        """Give the same database as another process would have it; the store itself, where no other can."""
        return store


class StoreConformance(
    _Conformance,
    CommitContract,
    ChildrenContract,
    ContinuingContract,
    MessageContract,
    ClaimContract,
    WorkerContract,
    OutsideContract,
):
    """All that every store promises."""


class ValuesConformance(_Conformance, ValueContract):
    """What a store promises that keeps values: `SupportsValues`."""


class WaitsConformance(_Conformance, WaitContract):
    """What a store promises that lists waits, and lets inboxes be read: `SupportsWaits`, `SupportsInboxes`."""


class FindingConformance(_Conformance, FindingContract):
    """What a store promises that finds by attributes: `SupportsFinding`."""


class ForksConformance(_Conformance, ForkContract):
    """What a store promises that copies histories: `SupportsForks`."""


class StreamsConformance(_Conformance, StreamContract):
    """What a store promises that keeps streams: `SupportsStreams`."""


class QueuesConformance(_Conformance, PlaceContract, AdmissionContract, RoomContract):
    """What a store promises that has queues: `SupportsQueues`."""


class OutboxConformance(_Conformance, OutboxContract):
    """What a store promises that writes within transactions of the user's: `SupportsOutbox`."""

    @pytest.fixture
    def connect(self, store: Store) -> Callable[[], Any]:
        """Give what makes a new blocking connection of the user's, on which a transaction is open. A subclass must."""
        raise NotImplementedError("give a fixture `connect` that makes a connection, and begins a transaction on it")


class SchedulesConformance(_Conformance, ScheduleContract):
    """What a store promises that keeps schedules: `SupportsSchedules`."""


class MovingConformance(_Conformance, MovingContract):
    """What a store promises whose rows can be moved, and that keeps all that the others promise: `SupportsMoving`."""


class RetentionConformance(_Conformance, RetentionContract):
    """What a store promises that holds workflows and removes them on a condition: `SupportsRetention`."""
