"""What a store promises of workflows that continue as new. Test names are sentences about guarantees."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from everlog.errors import InternalError
from everlog.store import Batch, Commit, Done, EventRow, Refused, Store, WorkflowQuery
from everlog.testing.making import claim, claimed_ids, commit, create, ended, event, events, head, held, message, new


def continues(workflow_id: str, token: str, seq: int, *, at: int, last: int, name: str = "checkout") -> Commit:
    """Make a commit of the events after `seq` up to `last`, at one of which the workflow continues."""
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state="running",
        events=events(seq + 1, last),
        first_seq=at,
        name=name,
        release=True,
    )


class ContinuingContract:
    """Commits with `first_seq`."""

    def test_a_claim_gives_the_history_from_where_it_continued_and_read_gives_all(self, store: Store) -> None:
        token = held(store, "order", seq=3)
        assert commit(store, continues("order", token, 3, at=5, last=6)) == Done()
        (claimed,) = claim(store, "t").claimed
        assert (claimed.head.first_seq, claimed.head.seq) == (5, 6)
        assert list(claimed.history) == events(5, 6)
        assert list(store.read("order")) == events(1, 6)
        assert list(store.read("order", after=2, limit=2)) == events(3, 4)

    def test_before_it_continues_the_first_seq_is_1(self, store: Store) -> None:
        create(store, new("queued", seq=4))
        held(store, "held")
        assert [head(store, name).first_seq for name in ("queued", "held")] == [1, 1]

    def test_what_follows_is_given_with_it(self, store: Store) -> None:
        token = held(store, "order")
        at_once = replace(continues("order", token, 1, at=2, last=3), release=False)
        assert commit(store, at_once) == Done()
        for seq in (3, 4):
            goes_on = Commit(
                workflow_id="order", token=token, seq=seq, state="running", events=events(seq + 1, seq + 1)
            )
            assert commit(store, goes_on) == Done()
        parks = Commit(workflow_id="order", token=token, seq=5, state="waiting", wake_at=store.now(), release=True)
        assert commit(store, parks) == Done()
        (claimed,) = claim(store, "t").claimed
        assert claimed.head.first_seq == 2
        assert list(claimed.history) == events(2, 5)

    def test_it_continues_any_number_of_times_and_the_last_counts(self, store: Store) -> None:
        token = held(store, "order")
        for seq in range(1, 21):
            goes_on = replace(continues("order", token, seq, at=seq + 1, last=seq + 1), release=seq == 20)
            assert commit(store, goes_on) == Done()
        (claimed,) = claim(store, "t").claimed
        assert claimed.head.first_seq == 21
        assert list(claimed.history) == events(21, 21)
        assert list(store.read("order")) == events(1, 21)

    def test_its_name_is_the_new_one_for_claims_and_listings(self, store: Store) -> None:
        token = held(store, "order")
        goes_on = replace(continues("order", token, 1, at=2, last=2, name="report"), state="queued")
        assert commit(store, goes_on) == Done()
        assert head(store, "order").name == "report"
        assert [one.workflow_id for one in store.workflows(WorkflowQuery(names=["report"]))] == ["order"]
        assert list(store.workflows(WorkflowQuery(names=["checkout"]))) == []
        assert claimed_ids(claim(store, "t", names=["checkout"])) == []
        assert claimed_ids(claim(store, "t", names=["report"])) == ["order"]

    def test_it_keeps_its_age_its_inbox_and_its_holder(self, store: Store) -> None:
        token = held(store, "order")
        before = head(store, "order")
        assert store.commit(Batch(posts=[message("order", 1), message("order", 2)])).posts == [Done(), Done()]
        rows = store.unread("worker-1")
        goes_on = replace(continues("order", token, 1, at=2, last=2), release=False, consumed=[rows[0].row])
        assert commit(store, goes_on) == Done()
        after = head(store, "order")
        assert (after.created_at, after.token, after.worker) == (before.created_at, token, "worker-1")
        assert [row.number for row in store.unread("worker-1")] == [2]

    def test_only_what_follows_counts_for_the_bytes_of_a_claim(self, store: Store) -> None:
        long = b'"' + b"x" * 10_000 + b'"'
        for name in ("a", "b", "c"):
            token = held(store, name)
            grown = Commit(workflow_id=name, token=token, seq=1, state="running", events=[event(2, long)])
            assert commit(store, grown) == Done()
            last = [event(3, long), event(4), event(5, b'"' + b"y" * 98 + b'"')]
            goes_on = replace(continues(name, token, 2, at=4, last=5), events=last)
            assert commit(store, goes_on) == Done()
        claimed = claim(store, "t", "u", "v", max_bytes=204).claimed
        assert [len(one.history) for one in claimed] == [2, 2, 0]

    def test_one_that_is_refused_changes_nothing(self, store: Store) -> None:
        token = held(store, "order")
        before = head(store, "order")
        assert commit(store, continues("order", "another", 1, at=2, last=2, name="report")) == Refused()
        assert commit(store, continues("order", token, 2, at=3, last=3, name="report")) == Refused()
        assert head(store, "order") == before

    def test_several_of_a_batch_continue_and_others_do_not(self, store: Store) -> None:
        tokens = {name: held(store, name) for name in ("a", "b", "c")}
        commits = [
            continues("a", tokens["a"], 1, at=3, last=3),
            Commit(workflow_id="b", token=tokens["b"], seq=1, state="running", events=events(2, 3), release=True),
            continues("c", tokens["c"], 1, at=2, last=3, name="report"),
        ]
        assert list(store.commit(Batch(commits=commits)).commits) == [Done()] * 3
        assert [(head(store, name).first_seq, head(store, name).name) for name in tokens] == [
            (3, "checkout"),
            (1, "checkout"),
            (2, "report"),
        ]

    def test_an_end_keeps_it(self, store: Store) -> None:
        token = held(store, "order")
        commit(store, replace(continues("order", token, 1, at=2, last=2), release=False))
        over = Commit(workflow_id="order", token=token, seq=2, state="completed", events=events(3, 3))
        assert commit(store, over) == Done()
        assert head(store, "order").first_seq == 2
        ended(store, "other")
        assert head(store, "other").first_seq == 1

    def test_a_name_alone_is_another_one_for_claims_and_listings(self, store: Store) -> None:
        for workflow_id, state in (("parked", "waiting"), ("over", "failed")):
            token = held(store, workflow_id)
            over = Commit(
                workflow_id=workflow_id,
                token=token,
                seq=1,
                state=state,  # type: ignore[arg-type]  # one of two words
                events=events(2, 2),
                release=True,
            )
            assert commit(store, over) == Done()
        held_one = held(store, "held")
        renames = [
            Commit(workflow_id="parked", token=None, seq=2, state="running", events=events(3, 3), name="checkout@@2"),
            Commit(workflow_id="over", token=None, seq=2, state="queued", events=events(3, 3), name="checkout@@2"),
            Commit(workflow_id="held", token=held_one, seq=1, state="running", events=events(2, 2), name="checkout@@2"),
        ]
        assert list(store.commit(Batch(commits=renames)).commits) == [Done()] * 3
        assert [head(store, name).name for name in ("parked", "over", "held")] == ["checkout@@2"] * 3
        assert [head(store, name).first_seq for name in ("parked", "over", "held")] == [1] * 3
        assert claimed_ids(claim(store, "t", "u", names=["checkout"])) == []
        assert sorted(claimed_ids(claim(store, "t", "u", names=["checkout@@2"]))) == ["over", "parked"]

    def test_a_name_without_a_version_finds_all_versions(self, store: Store) -> None:
        for workflow_id, name in (("a", "checkout"), ("b", "checkout@@2"), ("c", "checkout@@3"), ("d", "checkouts")):
            create(store, replace(new(workflow_id), name=name))

        def found(*names: str) -> list[str]:
            return sorted(one.workflow_id for one in store.workflows(WorkflowQuery(names=names)))

        assert found("checkout") == ["a", "b", "c"]
        assert found("checkout@@2", "checkouts") == ["b", "d"]
        assert found("checkout@@4", "check") == []
        assert claimed_ids(claim(store, "t", "u", "v", names=["checkout", "checkout@@3"])) == ["a", "c"]

    def test_a_name_alone_needs_an_event(self, store: Store) -> None:
        token = held(store, "order")
        with pytest.raises(InternalError, match="would continue"):
            commit(store, Commit(workflow_id="order", token=token, seq=1, state="running", name="checkout@@2"))

    @pytest.mark.parametrize(("first_seq", "name"), [(1, "checkout"), (4, "checkout"), (2, None), (0, "checkout")])
    def test_a_commit_that_could_not_continue_so_is_refused_before_anything_is_written(
        self, store: Store, first_seq: int | None, name: str | None
    ) -> None:
        token = held(store, "order")
        before = head(store, "order")
        two: list[EventRow] = events(2, 3)
        wrong = Commit(
            workflow_id="order", token=token, seq=1, state="running", events=two, first_seq=first_seq, name=name
        )
        with pytest.raises(InternalError, match="would continue"):
            store.commit(Batch(commits=[wrong]))
        assert head(store, "order") == before
