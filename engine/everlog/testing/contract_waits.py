"""What a store promises of waits that people answer, and of its key, as tests: `everlog.testing.WaitsConformance`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from everlog.store import (
    Batch,
    Commit,
    Done,
    ListedWait,
    Refused,
    State,
    Store,
    SupportsDeletion,
    SupportsInboxes,
    SupportsWaits,
    WaitQuery,
    WaitRow,
)
from everlog.testing.making import BEGINNING, commit, events, held, message, post


class ListsWaits(Store, SupportsWaits, SupportsInboxes, Protocol):
    """A store that lists waits."""


class WaitContract:
    """Waits, in the commits that open and close them."""

    def test_a_wait_is_listed_with_the_commit_that_opens_it(self, store: ListsWaits) -> None:
        token = held(store, "order")
        assert commit(store, lists("order", token, 1, wait(2))) == Done()
        assert list(store.list_waits(WaitQuery())) == [ListedWait("order", wait(2))]

    def test_a_wait_is_listed_until_the_commit_that_closes_it(self, store: ListsWaits) -> None:
        token = held(store, "order")
        commit(store, lists("order", token, 1, wait(2), wait(3)))
        assert commit(store, lists("order", token, 3, wait(4), closes=[2, 3])) == Done()
        assert list(store.list_waits(WaitQuery())) == [ListedWait("order", wait(4))]

    def test_everything_that_is_said_of_a_wait_is_kept(self, store: ListsWaits) -> None:
        token = held(store, "order")
        title, text = "May o'hara ☃ have 1 %s?", '{"a" : 1.50, "b": "☃"}'.encode()
        said = wait(2, topic="o'hara ☃", title=title, due_at=BEGINNING + 5, metadata=text, schema=b"{}")
        commit(store, lists("order", token, 1, said))
        assert list(store.list_waits(WaitQuery())) == [ListedWait("order", said)]

    def test_a_commit_that_is_not_done_lists_and_closes_nothing(self, store: ListsWaits) -> None:
        token = held(store, "order")
        commit(store, lists("order", token, 1, wait(2)))
        assert commit(store, lists("order", "another token", 2, wait(3), closes=[2])) == Refused()
        assert commit(store, lists("order", token, 1, wait(3), closes=[2])) == Refused()
        to_nobody = lists("order", token, 2, wait(3), closes=[2])
        to_nobody = Commit(
            workflow_id="order",
            token=token,
            seq=2,
            state="running",
            events=to_nobody.events,
            messages=[message("nobody", source="order")],
            waits=to_nobody.waits,
            closes=to_nobody.closes,
        )
        assert commit(store, to_nobody) != Done()
        assert list(store.list_waits(WaitQuery())) == [ListedWait("order", wait(2))]

    def test_waits_of_one_workflow_are_not_those_of_another(self, store: ListsWaits) -> None:
        tokens = {workflow_id: held(store, workflow_id) for workflow_id in ("a", "b")}
        store.commit(Batch(commits=[lists(name, token, 1, wait(2)) for name, token in tokens.items()]))
        store.commit(Batch(commits=[lists("a", tokens["a"], 2, closes=[2])]))
        assert [one.workflow_id for one in store.list_waits(WaitQuery())] == ["b"]

    def test_they_are_listed_by_topic_workflow_and_seq(self, store: ListsWaits) -> None:
        tokens = {workflow_id: held(store, workflow_id) for workflow_id in ("a", "b")}
        for name, token in tokens.items():
            commit(store, lists(name, token, 1, wait(2, topic="x"), wait(3, topic="y")))
        listed = {(one.workflow_id, one.wait.seq) for one in store.list_waits(WaitQuery(topic="y"))}
        assert listed == {("a", 3), ("b", 3)}
        assert [one.wait.seq for one in store.list_waits(WaitQuery(workflow_id="b"))] == [2, 3]
        assert [one.wait.topic for one in store.list_waits(WaitQuery(workflow_id="b", seq=3))] == ["y"]
        assert list(store.list_waits(WaitQuery(workflow_id="b", seq=4))) == []
        assert list(store.list_waits(WaitQuery(workflow_id="nobody"))) == []
        assert list(store.list_waits(WaitQuery(topic="Y"))) == []

    def test_pages_are_in_order_and_complete(self, store: ListsWaits) -> None:
        names = ["b", "A", "a", "ä", "☃"]
        for number, name in enumerate(names):
            opened_at = BEGINNING + number % 2
            rows = [wait(seq, opened_at=opened_at) for seq in (2, 3, 4)]
            commit(store, lists(name, held(store, name), 1, *rows))
        found: list[tuple[int, str, int]] = []
        while True:
            page = store.list_waits(WaitQuery(after=found[-1] if found else None, limit=4))
            found += [(one.wait.opened_at, one.workflow_id, one.wait.seq) for one in page]
            if len(page) < 4:
                break
        assert found == sorted(found)
        assert len(found) == 15

    def test_a_wait_stays_listed_while_nobody_holds_its_workflow(self, store: ListsWaits) -> None:
        token = held(store, "order")
        commit(store, lists("order", token, 1, wait(2), to="waiting", release=True))
        assert len(store.list_waits(WaitQuery())) == 1
        assert commit(store, lists("order", None, 2, closes=[2], to="cancelled")) == Done()
        assert list(store.list_waits(WaitQuery())) == []

    def test_what_is_deleted_is_listed_no_more(self, store: ListsWaits) -> None:
        if not isinstance(store, SupportsDeletion):
            return
        token = held(store, "order")
        commit(store, lists("order", token, 1, wait(2), to="completed"))
        store.delete(["order"])
        assert list(store.list_waits(WaitQuery())) == []

    def test_what_one_process_lists_another_finds(self, store: ListsWaits, peer: ListsWaits) -> None:
        commit(store, lists("order", held(store, "order"), 1, wait(2)))
        assert list(peer.list_waits(WaitQuery())) == [ListedWait("order", wait(2))]

    def test_there_is_one_key_whoever_proposes(self, store: ListsWaits, peer: ListsWaits) -> None:
        assert store.signing_key("first") == "first"
        assert peer.signing_key("second") == "first"
        assert store.signing_key("third") == "first"

    def test_anybody_reads_what_is_unread(self, store: ListsWaits, peer: ListsWaits) -> None:
        held(store, "order")
        assert list(store.inbox("order")) == []
        assert list(store.inbox("nobody")) == []
        for number in (1, 2, 3):
            assert post(store, message("order", number, payload=b"%d" % number)) == Done()
        assert [(row.destination, row.source, row.number, row.payload) for row in peer.inbox("order")] == [
            ("order", "client", number, b"%d" % number) for number in (1, 2, 3)
        ]


def wait(
    seq: int,
    *,
    topic: str = "decision",
    title: str = "May I?",
    opened_at: int = BEGINNING,
    due_at: int | None = None,
    metadata: bytes | None = None,
    schema: bytes | None = None,
) -> WaitRow:
    """Make a wait that the event of this seq has opened."""
    return WaitRow(
        seq=seq,
        operation=f"recv#{seq}",
        topic=topic,
        title=title,
        opened_at=opened_at,
        due_at=due_at,
        metadata=metadata,
        schema=schema,
    )


def lists(
    workflow_id: str,
    token: str | None,
    seq: int,
    *waits: WaitRow,
    closes: Sequence[int] = (),
    to: State = "running",
    release: bool = False,
) -> Commit:
    """Make a commit with an event for each wait that it opens or closes."""
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state=to,
        events=events(seq + 1, seq + max(1, len(waits) + len(closes))),
        waits=waits,
        closes=closes,
        release=release,
    )
