"""What a store promises of the room that a worker has for each partition, as tests. Part of `QueuesConformance`."""

from __future__ import annotations

from everlog.store import Store
from everlog.testing.making import HOUR, admit, claimed_ids, create, declare, enqueued


class RoomContract:
    """How many of each partition are admitted to one worker."""

    def test_no_more_of_a_partition_are_admitted_than_the_worker_has_room_for(self, store: Store) -> None:
        declare(store, rate_limit=(100, HOUR))
        for number in range(3):
            for partition in ("a", "b", "c"):
                create(store, enqueued(f"{partition}{number}", partition=partition))
        first = admit(store, "t", "u", "v", "w", partition_room=1)
        assert claimed_ids(first) == ["a0", "b0", "c0"]
        assert first.next_due is None  # time alone makes no room
        assert claimed_ids(admit(store, "x", partition_room=1, partition_rooms={"a": 0, "c": 0})) == ["b1"]
        assert claimed_ids(admit(store, "z", partition_room=1, partition_rooms=dict.fromkeys("abc", 0))) == []
        peer = admit(store, "p", "q", "r", "s", "o", worker="worker-2", partition_room=2, partition_rooms={"a": 1})
        assert claimed_ids(peer) == ["c1", "a1", "b2", "c2"]

    def test_room_of_a_partition_holds_where_there_are_none(self, store: Store) -> None:
        declare(store)
        for number in range(3):
            create(store, enqueued(f"order-{number}"))
        assert claimed_ids(admit(store, "t", "u", "v", partition_room=2)) == ["order-0", "order-1"]
        assert claimed_ids(admit(store, "w", partition_room=2, partition_rooms={"": 0})) == []
