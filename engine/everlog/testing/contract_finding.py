"""What a store promises of attributes, and of finding and counting by them: `everlog.testing.FindingConformance`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pytest
from msgspec.structs import replace

from everlog.core.attributes import changed, checked, sought
from everlog.store import (
    AttributeChange,
    Batch,
    ChildExists,
    Commit,
    Done,
    Exists,
    NewWorkflow,
    Refused,
    State,
    Store,
    SupportsDeletion,
    SupportsFinding,
    WorkflowCount,
    WorkflowQuery,
)
from everlog.testing.making import BEGINNING, commit, create, ended, event, events, held, message, new


class Finds(Store, SupportsFinding, Protocol):
    """A store that finds."""


class FindingContract:
    """Attributes, finding and counting."""

    def test_attributes_are_there_with_the_workflow_in_order_of_their_names(self, store: Finds) -> None:
        given: dict[str, object] = {"tenant": "acme", "amount": 1.5, "big": 2**62, "express": True, "tags": ["b", "a"]}
        assert create(store, having("order", given)) == Done()
        (found,) = store.attributes(["order"])
        assert list(found.items()) == [
            ("amount", 1.5),
            ("big", 2**62),
            ("express", True),
            ("tags", ("b", "a")),
            ("tenant", "acme"),
        ]
        assert [type(found[name]) for name in ("amount", "big", "express")] == [float, int, bool]

    def test_a_list_of_one_value_is_a_list(self, store: Finds) -> None:
        create(store, having("order", {"tags": ["one"], "tag": "one"}))
        assert dict(store.attributes(["order"])[0]) == {"tag": "one", "tags": ("one",)}

    def test_attributes_come_in_the_order_of_the_question(self, store: Finds) -> None:
        create(store, having("a", {"n": 1}))
        create(store, new("b"))
        create(store, having("c", {"n": 3}))
        asked = ["c", "nobody", "b", "a", "c"]
        assert [dict(found) for found in store.attributes(asked)] == [{"n": 3}, {}, {}, {"n": 1}, {"n": 3}]
        assert list(store.attributes([])) == []

    def test_a_commit_changes_attributes_name_by_name(self, store: Finds) -> None:
        token = held(store, "order")
        assert commit(store, changing("order", token, 1, {"a": 1, "b": "x", "c": ["u", "v"]})) == Done()
        assert commit(store, changing("order", token, 2, {"b": None, "c": ["v", "w"], "d": True})) == Done()
        assert dict(store.attributes(["order"])[0]) == {"a": 1, "c": ("v", "w"), "d": True}
        for name, text, fit in (("b", '"x"', False), ("c", '"u"', False), ("c", '"v"', True), ("d", "true", True)):
            found = store.workflows(WorkflowQuery(attributes={name: [text]}))
            assert [one.workflow_id for one in found] == ["order"] * fit, (name, text)

    def test_a_commit_from_outside_changes_attributes_and_leaves_the_head(self, store: Finds) -> None:
        ended(store, "other")
        create(store, having("order", {"a": 1}))
        one = Commit(
            workflow_id="order", token=None, seq=1, state="queued", events=events(2, 2), attributes=_normal({"a": 2})
        )
        assert commit(store, one) == Done()
        assert dict(store.attributes(["order"])[0]) == {"a": 2}

    def test_a_name_without_a_version_finds_and_counts_all_versions(self, store: Finds) -> None:
        for workflow_id, name in (("a", "checkout"), ("b", "checkout@@2"), ("c", "checkout@@2"), ("d", "checkouts")):
            create(store, replace(having(workflow_id, {"n": 1}), name=name))
        question = WorkflowQuery(names=["checkout"], attributes={"n": ["1"]})
        assert sorted(one.workflow_id for one in store.workflows(question)) == ["a", "b", "c"]
        counted = [_count("checkout", "queued", 1), _count("checkout@@2", "queued", 2)]
        assert list(store.counts(WorkflowQuery(names=["checkout"]))) == counted
        assert list(store.counts(WorkflowQuery(names=["checkout@@2"]))) == counted[1:]
        assert list(store.counts(WorkflowQuery(names=["checkout@@3"]))) == []

    def test_what_is_refused_changes_no_attributes(self, store: Finds) -> None:
        token = held(store, "order")
        commit(store, changing("order", token, 1, {"a": 1}))
        assert commit(store, changing("order", "another token", 2, {"a": 2})) == Refused()
        assert commit(store, changing("order", token, 1, {"b": 2})) == Refused()
        commit(store, replace(changing("order", token, 2, {"c": 3}), messages=[message("nobody", source="order")]))
        assert dict(store.attributes(["order"])[0]) == {"a": 1}

    def test_what_was_there_keeps_its_attributes(self, store: Finds) -> None:
        create(store, having("order", {"a": 1}))
        assert isinstance(create(store, having("order", {"a": 2, "b": 3})), Exists)
        token = held(store, "parent")
        one = Commit(workflow_id="parent", token=token, seq=1, state="running", creates=[having("order", {"c": 4})])
        assert isinstance(commit(store, one), ChildExists)
        assert dict(store.attributes(["order"])[0]) == {"a": 1}

    def test_what_a_commit_creates_has_its_attributes(self, store: Finds) -> None:
        token = held(store, "parent")
        one = Commit(
            workflow_id="parent",
            token=token,
            seq=1,
            state="running",
            creates=[having("a", {"n": 1}), having("b", {"n": 2})],
            attributes=_normal({"n": 3}),
        )
        assert commit(store, one) == Done()
        assert [dict(found) for found in store.attributes(["a", "b", "parent"])] == [{"n": 1}, {"n": 2}, {"n": 3}]

    def test_many_of_one_batch_have_their_own(self, store: Finds) -> None:
        tokens = {f"held-{n}": held(store, f"held-{n}") for n in range(5)}
        store.commit(
            Batch(
                creates=[having(f"new-{n}", {"n": n}) for n in range(5)],
                commits=[changing(name, token, 1, {"n": 10 + n}) for n, (name, token) in enumerate(tokens.items())],
            )
        )
        asked = [*(f"new-{n}" for n in range(5)), *tokens]
        assert [found["n"] for found in store.attributes(asked)] == [0, 1, 2, 3, 4, 10, 11, 12, 13, 14]

    @pytest.mark.parametrize(
        ("asked", "fitting"),
        [
            ({"tenant": "acme"}, "abe"),
            ({"tenant": ["acme", "umbrella"]}, "abce"),
            ({"tenant": "ACME"}, ""),
            ({"n": 1}, "ac"),
            ({"n": 1.0}, "ac"),
            ({"n": True}, "b"),
            ({"n": "1"}, "d"),
            ({"n": [1, "1", True]}, "abcd"),
            ({"tags": "x"}, "ab"),
            ({"tags": ["x", "y"]}, "abc"),
            ({"tenant": "acme", "n": 1}, "a"),
            ({"tenant": ["acme", "umbrella"], "n": [1, True], "tags": "y"}, "bc"),
            ({"tags": None}, "def"),
            ({"tenant": "acme", "tags": None}, "e"),
            ({"tenant": None, "n": None}, "f"),
            ({"o'hara ☃": 'say "☃"'}, "f"),
            ({"nobody": "has this"}, ""),
        ],
    )
    def test_workflows_are_found_by_attributes(self, store: Finds, asked: dict[str, object], fitting: str) -> None:
        _fill(store)
        for newest_first in (True, False):
            query = WorkflowQuery(attributes=sought(asked, what="attributes"), newest_first=newest_first)
            found = [one.workflow_id for one in store.workflows(query)]
            assert found == sorted(fitting, reverse=newest_first)
            assert sum(one.count for one in store.counts(query)) == len(fitting)

    @pytest.mark.parametrize("with_others", [{}, {"n": ["1"]}, {"tags": None}])
    def test_where_there_is_no_choice_of_a_value_nothing_fits(
        self, store: Finds, with_others: dict[str, list[str] | None]
    ) -> None:
        _fill(store)
        query = WorkflowQuery(attributes={"tenant": [], **with_others})
        assert list(store.workflows(query)) == []
        assert list(store.counts(query)) == []

    def test_attributes_are_asked_for_together_with_all_else(self, store: Finds) -> None:
        _fill(store)
        token = held(store, "g")
        commit(store, changing("g", token, 1, {"tenant": "acme"}, to="failed"))
        acme = {"tenant": ['"acme"']}
        assert _ids(store, WorkflowQuery(attributes=acme, states=["failed"])) == "g"
        assert _ids(store, WorkflowQuery(attributes=acme, names=["report"])) == "e"
        assert _ids(store, WorkflowQuery(attributes=acme, id_prefix="a")) == "a"
        assert (
            _ids(store, WorkflowQuery(attributes=acme, created_from=BEGINNING + 1, created_until=BEGINNING + 5)) == "be"
        )
        assert _ids(store, WorkflowQuery(attributes=acme, ended_from=event(2).recorded_at)) == "g"
        assert _ids(store, WorkflowQuery(attributes=acme, ended_until=event(2).recorded_at)) == ""

    @pytest.mark.parametrize("newest_first", [True, False])
    @pytest.mark.parametrize("values", [["odd"], ["odd", "even"]])
    def test_pages_by_attribute_leave_none_out_and_give_none_twice(
        self, store: Finds, newest_first: bool, values: list[str]
    ) -> None:
        """Also those that have two of the values, and those that were created at one time."""
        for number in range(11):
            kinds = ["odd", "even"] if number % 4 == 0 else ["odd" if number % 2 else "even"]
            create(store, _at(having(f"order-{number:02}", {"kind": kinds}), BEGINNING + number // 3))
        query = WorkflowQuery(attributes=sought({"kind": values}, what="x"), newest_first=newest_first, limit=2)
        found: list[str] = []
        while page := store.workflows(query):
            found.extend(one.workflow_id for one in page)
            query = replace(query, after=(page[-1].created_at, page[-1].workflow_id))
        odd = [0, 1, 3, 4, 5, 7, 8, 9]
        expected = [f"order-{number:02}" for number in (range(11) if len(values) == 2 else odd)]
        assert found == (expected[::-1] if newest_first else expected)

    def test_counts_are_by_name_and_state(self, store: Finds) -> None:
        assert list(store.counts(WorkflowQuery())) == []
        for number in range(3):
            create(store, new(f"queued-{number}"))
        create(store, new("report", name="Report"))
        for workflow_id in ("x", "y"):
            ended(store, workflow_id, "failed")
        expected = [_count("Report", "queued", 1), _count("checkout", "failed", 2), _count("checkout", "queued", 3)]
        assert list(store.counts(WorkflowQuery())) == expected
        assert list(store.counts(WorkflowQuery(limit=1, after=(0, "x")))) == expected
        assert list(store.counts(WorkflowQuery(states=["failed"]))) == [_count("checkout", "failed", 2)]
        assert list(store.counts(WorkflowQuery(id_prefix="queued-"))) == [_count("checkout", "queued", 3)]

    def test_what_is_removed_leaves_no_attributes(self, store: Finds) -> None:
        if not isinstance(store, SupportsDeletion):
            pytest.skip("this store cannot delete workflows")
        for workflow_id in ("order", "other"):
            commit(store, changing(workflow_id, held(store, workflow_id), 1, {"a": 1}, to="completed"))
        store.delete(["order"])
        assert dict(store.attributes(["order"])[0]) == {}
        create(store, new("order"))
        assert dict(store.attributes(["order"])[0]) == {}
        assert _ids(store, WorkflowQuery(attributes={"a": ["1"]})) == "other"

    def test_what_one_process_changes_another_finds(self, store: Finds, peer: Finds) -> None:
        token = held(store, "order")
        before = peer.changes()
        commit(store, changing("order", token, 1, {"a": 1}))
        assert peer.changes() != before
        assert _ids(peer, WorkflowQuery(attributes={"a": ["1"]})) == "order"


def having(workflow_id: str, given: Mapping[str, object], *, name: str = "checkout") -> NewWorkflow:
    """Make a workflow with attributes."""
    return replace(new(workflow_id, name=name), attributes=changed({}, _normal(given)))


def changing(workflow_id: str, token: str, seq: int, given: Mapping[str, object], *, to: State = "running") -> Commit:
    """Make a commit of one event that changes attributes."""
    return Commit(
        workflow_id=workflow_id,
        token=token,
        seq=seq,
        state=to,
        events=events(seq + 1, seq + 1),
        attributes=_normal(given),
    )


def _normal(given: Mapping[str, object]) -> AttributeChange:
    return checked(given, what="attributes")


def _at(workflow: NewWorkflow, created_at: int) -> NewWorkflow:
    return replace(workflow, events=[replace(workflow.events[0], recorded_at=created_at)])


def _fill(store: Finds) -> None:
    """Six workflows, a to f, created one after the other."""
    given: dict[str, dict[str, object]] = {
        "a": {"tenant": "acme", "n": 1, "tags": ["x"]},
        "b": {"tenant": "acme", "n": True, "tags": ["x", "y"]},
        "c": {"tenant": "umbrella", "n": 1.0, "tags": ["y", "z"]},
        "d": {"tenant": "none of these", "n": "1"},
        "e": {"tenant": "acme", "n": 2},
        "f": {"o'hara ☃": 'say "☃"'},
    }
    for age, (workflow_id, attributes) in enumerate(given.items()):
        name = "report" if workflow_id == "e" else "checkout"
        create(store, _at(having(workflow_id, attributes, name=name), BEGINNING + age))


def _ids(store: Finds, query: WorkflowQuery) -> str:
    return "".join(sorted(one.workflow_id for one in store.workflows(query)))


def _count(name: str, state: State, count: int) -> WorkflowCount:
    return WorkflowCount(name=name, state=state, count=count)
