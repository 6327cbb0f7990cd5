"""Attributes: what is said of a workflow to find it by, from its start on, changed from outside, seen by its code."""

from __future__ import annotations

import asyncio
import enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json

import everlog
from everlog import Client, Engine, NotFound, UsageError, WrongContext, step, sync, workflow
from everlog.core.attributes import AttributeValue, changed, checked, from_rows, rows_of, texts_of
from everlog.core.finding import after_prefix
from tests.support import (
    PausableHost,
    events_of,
    in_state,
    kill,
    kinds,
    make_store,
    on_both_stores,
    opened,
    projections_fit,
    run,
    simulate,
)

SEEN: list[Any] = []


@step
async def looks() -> None:
    SEEN.append(everlog.current())


@step
def looks_in_a_thread() -> None:
    SEEN.append(everlog.current())


@workflow(name="attributes.child")
async def child() -> tuple[dict[str, Any], str | None]:
    return dict(everlog.current().attributes), everlog.current().parent_id


@workflow(name="attributes.waits", attributes={"kind": "order", "tags": ["new", 1]})
async def waits(rounds: int = 1) -> list[dict[str, Any]]:
    seen = [dict(everlog.current().attributes)]
    for _ in range(rounds):
        await everlog.recv("go")
        seen.append(dict(everlog.current().attributes))
    return seen


@workflow(name="attributes.waits_blocking", attributes={"kind": "order", "tags": ["new", 1]})
def waits_blocking(rounds: int = 1) -> list[dict[str, Any]]:
    seen = [dict(everlog.current().attributes)]
    for _ in range(rounds):
        sync.recv("go")
        seen.append(dict(everlog.current().attributes))
    return seen


@workflow(name="attributes.family", attributes={"kind": "family"})
async def family() -> tuple[dict[str, Any], str | None]:
    await looks()
    await everlog.call(looks_in_a_thread)
    return await child.options(attributes={"own": True})()


# -- the normal form ---------------------------------------------------------------------------------------------------


scalars = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=80)
)


@given(st.dictionaries(st.text("abc:☃' ", min_size=1, max_size=9), st.none() | scalars | st.lists(scalars, max_size=4)))
def test_the_normal_form_is_equal_where_what_was_given_is_and_comes_back_from_rows(given: dict[str, Any]) -> None:
    normal = checked(given, what="attributes")
    assert checked(normal, what="attributes") == normal
    assert list(normal) == sorted(given)
    for name, value in given.items():
        listed = list(dict.fromkeys((type(one) is bool, one) for one in value)) if isinstance(value, list) else None
        expected = value if listed is None else tuple(one for _, one in listed) or None
        assert normal[name] == expected
    there = changed({}, normal)
    assert from_rows(rows_of(normal)) == there
    assert json.decode(json.encode(there), type=dict[str, AttributeValue]) == there


@given(scalars, scalars)
def test_texts_are_equal_exactly_where_values_are(one: Any, other: Any) -> None:
    texts = [texts_of(value) for value in checked({"a": one, "b": other}, what="x").values() if value is not None]
    assert (texts[0] == texts[1]) == (one == other and (type(one) is bool) == (type(other) is bool))


@given(st.text(min_size=0, max_size=4), st.text(max_size=6))
def test_the_text_after_a_prefix_is_greater_than_all_that_have_it(prefix: str, text: str) -> None:
    bound = after_prefix(prefix)
    if text.startswith(prefix):
        assert bound is None or text < bound
    elif bound is not None:
        assert text < prefix or text >= bound


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("tenant", "must be a mapping"),
        ({1: "x"}, "a name must be a string, got 1"),
        ({"": "x"}, "1 to 100 characters"),
        ({"n" * 101: "x"}, "1 to 100 characters"),
        ({"everlog:parent": "x"}, "Everlog's own"),
        ({"a\0": "x"}, "NUL"),
        ({"a": "x\ud800"}, "'a' must not contain NUL or lone surrogates"),
        ({"a": {"b": 1}}, "'a' must be a string, a number"),
        ({"a": [["b"]]}, "must be a string, a number"),
        ({"a": [None]}, "must be a string, a number"),
        ({"a": b"x"}, r"got b'x' \(bytes\)"),
        ({"a": Colour.RED}, r"\(Colour\)"),
        ({"a": float("nan")}, "finite"),
        ({"a": 2**63}, "64 bits"),
        ({"a": "x" * 501}, "500 bytes"),
        ({"a": list(range(101))}, "at most 100 values"),
    ],
)
def test_what_can_be_no_attribute_is_refused_at_the_call(given: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        waits.options(attributes=given)
    with pytest.raises(UsageError, match=match):
        workflow(name="attributes.refused", attributes=given)(lambda: None)


# -- from the start on -------------------------------------------------------------------------------------------------


@on_both_stores
def test_options_win_over_the_decorator_name_by_name(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        some = waits.options(id="a", attributes={"tenant": "acme", "tags": None})
        handle = await engine.start(some.options(attributes={"tenant": "umbrella", "n": 1.0}), 0)
        expected = {"kind": "order", "n": 1, "tenant": "umbrella"}
        assert await handle.result() == [expected]
        assert (await handle.status()).attributes == expected
        assert [one.attributes for one in await engine.workflows()] == [expected]
        (created,) = await events_of(engine, "a", "workflow_created")
        assert created.data["attributes"] == expected
        plain = await engine.start(waits, 0)
        assert (await plain.status()).attributes == {"kind": "order", "tags": ("new", 1)}

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_children_and_steps_know_their_parent_and_attributes_are_not_inherited(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(family.options(id="f"))
        assert await handle.result() == ({"own": True}, "f")
        (born,) = await engine.workflows(parent="f")
        assert (born.name, born.parent_id, born.attributes) == ("attributes.child", "f", {"own": True})
        assert (await engine.handle(born.id).status()).parent_id == "f"
        assert await engine.workflows(parent=born.id) == []
        assert [(dict(one.attributes), one.parent_id) for one in SEEN] == [({"kind": "family"}, None)] * 2

    SEEN.clear()
    run(program, kind=kind, folder=tmp_path)


def test_the_first_start_says_what_the_attributes_are() -> None:
    async def program(engine: Engine) -> None:
        for tenant in ("acme", "umbrella"):
            await engine.start(waits.options(id="a", attributes={"tenant": tenant}))
        assert (await engine.handle("a").status()).attributes["tenant"] == "acme"
        await engine.cancel("a")

    run(program)


# -- changed from outside ----------------------------------------------------------------------------------------------


@on_both_stores
@pytest.mark.parametrize("flow", [waits, waits_blocking])
def test_a_change_is_recorded_when_the_call_returns_and_seen_by_the_code_from_then_on(
    flow: Any, kind: str, tmp_path: Any
) -> None:
    async def program(engine: Engine) -> None:
        first = {"kind": "order", "tags": ("new", 1)}
        handle = await engine.start(flow.options(id="a"), 3)
        await asyncio.sleep(0.3)  # in memory
        await handle.update(attributes={"tags": ["old"], "n": 1})
        assert [one.id for one in await engine.workflows(attributes={"tags": "old"})] == ["a"]
        assert await engine.workflows(attributes={"tags": "new"}) == []
        await handle.send("go", 1)
        await asyncio.sleep(30)  # parked
        await handle.update(attributes={"n": 2, "tags": None})
        await handle.update(attributes={"n": 3})
        assert (await handle.status()).attributes == {"kind": "order", "n": 3}
        await in_state(handle, "waiting")
        await handle.send("go", 1)
        await handle.pause()
        await handle.update(attributes={"n": 4})
        assert (await handle.status()).state == "paused"
        await handle.resume()
        await handle.send("go", 1)
        assert await handle.result() == [
            first,
            {"kind": "order", "n": 1, "tags": ("old",)},
            {"kind": "order", "n": 3},
            {"kind": "order", "n": 4},
        ]
        assert (await kinds(handle)).count("attributes_changed") == 4
        projections_fit(engine.store, "a")

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_what_nobody_runs_is_changed_as_well_and_stays_what_it_is(kind: str, tmp_path: Any) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Client(store, host=host) as client:
            handle = await client.start(waits.options(id="a"))
            await handle.update(attributes={"n": 1})
            assert (await handle.status()).state == "queued"
            await handle.pause()
            await handle.update(attributes={"n": 2})
            assert (await handle.status()).state == "paused"
            await handle.resume()
            assert (await handle.status()).state == "queued"
        async with Engine(store, host=host.sibling(), workflows=[waits]) as engine:
            handle = engine.handle("a", waits)
            await handle.send("go", 1)
            assert await handle.result() == [{"kind": "order", "n": 2, "tags": ("new", 1)}] * 2
        store.close()

    simulate(program)


@on_both_stores
def test_a_waiting_workflow_still_wakes_after_a_change(kind: str, tmp_path: Any) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        async with Engine(store, host=host.sibling(), workflows=[sleeps]) as engine:
            handle = await engine.start(sleeps.options(id="a"))
            await asyncio.sleep(10)
            async with Client(store, host=host.sibling()) as client:
                (before,) = store.heads(["a"])
                await client.handle("a").update(attributes={"n": 1})
                (after,) = store.heads(["a"])
                assert before is not None
                assert after is not None
                assert (after.state, after.wake_at, after.topics) == ("waiting", before.wake_at, before.topics)
                assert after.seq == before.seq + 1
            assert await handle.result() == {"n": 1}
        store.close()

    simulate(program)


@workflow(name="attributes.sleeps")
async def sleeps() -> dict[str, Any]:
    await asyncio.sleep(60)
    return dict(everlog.current().attributes)


@on_both_stores
def test_a_change_waits_for_whoever_holds_the_workflow_also_if_that_dies(kind: str, tmp_path: Any) -> None:
    async def program(host: PausableHost) -> None:
        store = make_store(host, kind, tmp_path)
        engine = await opened(Engine(store, host=host.sibling(), workflows=[waits], lease=2))
        await engine.start(waits.options(id="a"))
        await asyncio.sleep(0.2)
        kill(engine)
        async with Client(store, host=host.sibling()) as client:
            changing = asyncio.create_task(client.handle("a").update(attributes={"n": 1}))
            await asyncio.sleep(0.5)
            assert not changing.done()
            async with Engine(store, host=host.sibling(), workflows=[waits], lease=2) as second:
                await changing
                assert (await second.handle("a").status()).attributes["n"] == 1
                await second.send("a", "go", 1)
                result: list[Any] = await second.handle("a").result()
                assert result[-1]["n"] == 1
                assert len(await events_of(second, "a", "attributes_changed")) == 1
        store.close()

    simulate(program)


@on_both_stores
def test_an_ended_workflow_keeps_the_attributes_that_it_had(kind: str, tmp_path: Any) -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(waits.options(id="a"), 0)
        await handle.result()
        with pytest.raises(UsageError, match="'a' has ended, and keeps the attributes"):
            await handle.update(attributes={"n": 1})
        with pytest.raises(NotFound, match="no workflow 'b'"):
            await engine.handle("b").update(attributes={"n": 1})
        with pytest.raises(UsageError, match="must be a mapping"):
            await handle.update(attributes=3)  # type: ignore[arg-type]  # as users do who have no checker
        assert (await handle.status()).attributes == {"kind": "order", "tags": ("new", 1)}

    run(program, kind=kind, folder=tmp_path)


@on_both_stores
def test_a_retry_keeps_what_was_said_meanwhile(kind: str, tmp_path: Any) -> None:
    """A rewinding makes void what the code did, not what others said."""

    async def program(engine: Engine) -> None:
        handle = await engine.start(waits.options(id="a", attributes={"kind": None, "tags": None, "n": 0}), 2)
        await handle.send("go", 1)
        await asyncio.sleep(0.3)
        await handle.cancel()  # where it is rewound to
        await in_state(handle, "cancelled")
        await handle.retry()
        await asyncio.sleep(0.3)
        await handle.update(attributes={"n": 1})
        await asyncio.sleep(0.3)
        await handle.cancel()
        await in_state(handle, "cancelled")
        await handle.retry()
        assert (await handle.status()).attributes == {"n": 1}
        await handle.update(attributes={"m": 2})
        await handle.send("go", 1)
        assert await handle.result() == [{"n": 0}, {"n": 0}, {"m": 2, "n": 1}]
        projections_fit(engine.store, "a")

    run(program, kind=kind, folder=tmp_path)


@workflow(name="attributes.changes_itself")
async def changes_itself() -> str:
    try:
        await everlog.handle(everlog.current().workflow_id).update(attributes={"n": 1})
    except WrongContext:
        return "refused"
    return "changed"


def test_workflow_code_changes_no_attributes() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(changes_itself) == "refused"

    run(program)


@workflow(name="attributes.asks")
async def asks(workflow_id: str) -> dict[str, Any]:
    status = await everlog.handle(workflow_id).status()
    await asyncio.sleep(30)  # dropped from memory: what follows is of the history
    completed = None if status.steps is None else status.steps.completed
    return {"attributes": dict(status.attributes), "parent": status.parent_id, "completed": completed}


def test_a_status_that_workflow_code_asked_for_is_recorded_with_all_of_it() -> None:
    async def program(engine: Engine) -> None:
        await engine.run(family.options(id="f", attributes={"n": [1, 1.5, True, "x"], "one": 2.5}))
        told = await engine.run(asks, "f")
        assert told["attributes"] == {"kind": "family", "n": (1, 1.5, True, "x"), "one": 2.5}
        assert [type(one) for one in told["attributes"]["n"]] == [int, float, bool, str]
        assert told["parent"] is None
        assert told["completed"] == 2
        (born,) = await engine.workflows(parent="f")
        assert (await engine.run(asks, born.id))["parent"] == "f"

    SEEN.clear()
    run(program)


@workflow(name="attributes.writes")
async def writes() -> list[str]:
    attributes: Any = everlog.current().attributes
    refused: list[str] = []
    try:
        attributes["n"] = 1
    except TypeError:
        refused.append("the mapping")
    try:
        attributes["tags"].append("b")
    except AttributeError:
        refused.append("the values")
    return refused


def test_what_code_sees_of_its_attributes_it_cannot_change() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(writes.options(attributes={"tags": ["a"]})) == ["the mapping", "the values"]

    run(program)


def test_blocking_handles_change_attributes(tmp_path: Any) -> None:
    with sync.Engine(f"sqlite:///{tmp_path}/a.db", durability="process") as engine:
        handle = engine.start(waits.options(id="a"))
        handle.update(attributes={"n": 1})
        assert [one.id for one in engine.workflows(attributes={"n": 1})] == ["a"]
        assert engine.counts(attributes={"n": 1}).total == 1
        handle.send("go", 1)
        assert handle.result()[-1]["n"] == 1
