"""What a store promises of the values of workflows, as tests: `everlog.testing.ValuesConformance`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from everlog.store import Batch, Commit, Done, NewMessage, Refused, State, Store, SupportsValues, ValueRow
from everlog.testing.making import commit, create, ended, event, events, held, message, new


class KeepsValues(Store, SupportsValues, Protocol):
    """A store that keeps values."""


class ValueContract:
    """The last values of names."""

    def test_a_value_is_there_with_the_commit_that_sets_it(self, store: KeepsValues) -> None:
        token = held(store, "order")
        assert commit(store, sets("order", token, 1, state=b'"begun"')) == Done()
        (found,) = store.values("order")
        assert found == value("state", 2, b'"begun"')

    def test_a_later_value_of_the_name_takes_its_place(self, store: KeepsValues) -> None:
        token = held(store, "order")
        commit(store, sets("order", token, 1, state=b"1", total=b"2"))
        commit(store, sets("order", token, 3, state=b"3"))
        assert list(store.values("order")) == [value("state", 4, b"3"), value("total", 3, b"2")]

    def test_a_refused_commit_sets_no_value(self, store: KeepsValues) -> None:
        token = held(store, "order")
        assert commit(store, sets("order", "another token", 1, state=b"1")) == Refused()
        assert commit(store, sets("order", token, 0, state=b"1")) == Refused()
        assert list(store.values("order")) == []

    def test_an_undeliverable_commit_sets_no_value(self, store: KeepsValues) -> None:
        token = held(store, "order")
        one = setting("order", token, 1, {"state": b"1"}, messages=[message("nobody", source="order")])
        commit(store, one)
        assert list(store.values("order")) == []

    def test_values_of_one_workflow_are_not_those_of_another(self, store: KeepsValues) -> None:
        tokens = {workflow_id: held(store, workflow_id) for workflow_id in ("a", "b")}
        commits = [sets(name, token, 1, state=b'"%b"' % name.encode()) for name, token in tokens.items()]
        store.commit(Batch(commits=commits))
        assert [found.payload for name in "ab" for found in store.values(name)] == [b'"a"', b'"b"']

    def test_names_are_in_order_and_told_apart_as_texts_are(self, store: KeepsValues) -> None:
        token = held(store, "order")
        names = ["b", "A", "a", "a ", "ä", "o'hara ☃", "{a}", "0"]
        commit(store, setting("order", token, 1, dict.fromkeys(names, b"1")))
        assert [found.name for found in store.values("order")] == sorted(names)

    def test_a_payload_is_kept_byte_for_byte(self, store: KeepsValues) -> None:
        token = held(store, "order")
        payload = '{"a": 1.50, "b" : "\\u0000 ☃"}'.encode()
        commit(store, sets("order", token, 1, state=payload))
        assert store.values("order")[0].payload == payload
        assert store.find_values([("order", "state")])[0].value == value("state", 2, payload)

    def test_values_are_found_in_the_order_of_the_question(self, store: KeepsValues) -> None:
        token = held(store, "order")
        commit(store, sets("order", token, 1, state=b"1", total=b"2"))
        create(store, new("idle"))
        ended(store, "old")
        wanted = [("order", "total"), ("nobody", "state"), ("idle", "state"), ("old", "x"), ("order", "state")]
        found = store.find_values([*wanted, wanted[0]])
        assert [one.state for one in found] == ["running", None, "queued", "completed", "running", "running"]
        assert [one.value and one.value.payload for one in found] == [b"2", None, None, None, b"1", b"2"]
        assert list(store.find_values([])) == []

    def test_the_values_of_an_ended_workflow_stay(self, store: KeepsValues) -> None:
        token = held(store, "order")
        commit(store, setting("order", token, 1, {"state": b"1"}, to="completed"))
        (found,) = store.find_values([("order", "state")])
        assert (found.state, found.value) == ("completed", value("state", 2, b"1"))

    def test_an_unknown_workflow_has_no_values(self, store: KeepsValues) -> None:
        assert list(store.values("nobody")) == []

    def test_what_one_process_sets_another_finds(self, store: KeepsValues, peer: KeepsValues) -> None:
        token = held(store, "order")
        before = peer.changes()
        commit(store, sets("order", token, 1, state=b"1"))
        assert peer.changes() != before
        assert list(peer.values("order")) == list(store.values("order")) != []


def sets(workflow_id: str, token: str, seq: int, **payloads: bytes) -> Commit:
    """Make a commit with one event for each value that it sets."""
    return setting(workflow_id, token, seq, payloads)


def setting(
    workflow_id: str,
    token: str,
    seq: int,
    payloads: Mapping[str, bytes],
    *,
    to: State = "running",
    messages: Sequence[NewMessage] = (),
) -> Commit:
    """The same, for values of any name, an end, or with messages."""
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state=to,
        events=events(seq + 1, seq + len(payloads)),
        messages=messages,
        values=[value(name, seq + place, payload) for place, (name, payload) in enumerate(payloads.items(), start=1)],
    )


def value(name: str, seq: int, payload: bytes) -> ValueRow:
    """Make a value that the event of this seq has set."""
    return ValueRow(name=name, seq=seq, recorded_at=event(seq).recorded_at, payload=payload)
