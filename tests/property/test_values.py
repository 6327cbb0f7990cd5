"""What a step returned, was given or raised is what its workflow sees, live and in replay: through the whole engine."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import everlog
from everlog import Engine, NotEncodable, step, workflow
from everlog.core.codec import JsonCodec, digest
from everlog.core.signature import Signature
from everlog.memory import MemoryStore
from everlog.testing.simulation import SimulatedHost
from tests.property.recording import history
from tests.property.replay_worker import Stirrer, replay
from tests.property.values import Leaf, Tree, form, typed_values, untyped

SEEN: list[tuple[str, str]] = []
"""What a workflow saw: the form of what the step returned, and of what the step was given."""


def carried(declared: Any, value: Any) -> tuple[list[tuple[str, str]], list[tuple[str, str]], str]:
    """Give what a workflow sees live and in a replay from its log, and what the step got."""
    got: list[str] = []

    async def fetch(given: Any) -> Any:
        got.append(form(given))
        return value

    fetch.__annotations__ = {"given": declared, "return": declared}
    fetched = step(fetch, name="fetch")

    async def carry() -> Any:
        first = await fetched(value)
        SEEN.append((form(first), form(await fetched(first))))
        return first

    carry.__annotations__ = {"return": declared}
    flow = workflow(carry, name="carry")
    host = SimulatedHost(seed=1)
    store = MemoryStore(clock=host.wall)

    async def main() -> str:
        async with Engine(store, host=host, workflows=[flow], guards="off") as engine:
            return form(await engine.run(flow.options(id="carry")))

    SEEN.clear()
    result = host.run(main())
    live = SEEN.copy()
    SEEN.clear()
    replay(history(store, "carry"), Stirrer(1))
    again = SEEN.copy()
    assert len(got) == 2
    assert set(got) == {result}
    return live, again, result


@settings(max_examples=settings().max_examples // 2)
@given(typed_values())
def test_a_value_of_a_declared_type_is_the_same_to_everybody(drawn: tuple[Any, Any]) -> None:
    declared, value = drawn
    whole = form(value)
    assert carried(declared, value) == ([(whole, whole)], [(whole, whole)], whole)


@settings(max_examples=settings().max_examples // 2)
@given(untyped)
def test_a_value_without_a_declared_type_is_the_same_to_everybody(value: Any) -> None:
    whole = form(value)
    assert carried(Any, value) == ([(whole, whole)], [(whole, whole)], whole)


class Plain:
    """A class that has no encoding."""


unencodable = st.recursive(
    st.builds(Plain) | st.builds(memoryview, st.binary()) | st.builds(Leaf, st.integers()) | st.builds(object),
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=2),
        st.tuples(st.integers(), inner),
        st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=2),
        st.builds(Tree, st.just(1), st.just([]), st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=1)),
    ),
    max_leaves=3,
)


@given(unencodable)
def test_what_cannot_be_recorded_is_refused_with_its_path_before_anything_is_written(value: Any) -> None:
    ran: list[Any] = []

    async def take(given: Any) -> None:
        ran.append(given)

    async def give() -> Any:
        ran.append(None)
        return value

    taken, given_back = step(take, name="take"), step(give, name="give", retry=everlog.RetryPolicy(max_attempts=3))

    async def carry() -> list[str]:
        told: list[str] = []
        for call in (lambda: taken(value), given_back):
            try:
                await call()
            except NotEncodable as error:
                told.append(str(error).partition(":")[0])
        return told

    flow = workflow(carry, name="refused")
    host = SimulatedHost(seed=1)
    store = MemoryStore(clock=host.wall)

    async def main() -> list[str]:
        async with Engine(store, host=host, workflows=[flow], guards="off") as engine:
            return await engine.run(flow.options(id="refused"))

    told = host.run(main())
    assert [one.partition(", at $")[0] for one in told] == ["input of step take", "result of step give"]
    assert ran == [None], "a step whose input cannot be recorded is not run, one whose result cannot has run, once"
    types = [row.type for row in store.read("refused")]
    assert types == ["workflow_created", "workflow_began", "step_failed", "workflow_completed"]
    replay(history(store, "refused"), Stirrer(1))


PROGRAM = """
import sys
from random import Random
from hypothesis import HealthCheck, given, seed, settings
from everlog.core.codec import JsonCodec, canonical, digest
from tests.property.values import typed_values

@seed(int(sys.argv[1]))
@settings(max_examples=int(sys.argv[2]), database=None, deadline=None, suppress_health_check=list(HealthCheck))
@given(typed_values())
def main(drawn):
    declared, value = drawn
    payload = JsonCodec().encode(value, declared)
    print(digest(payload), payload.hex())

main()
"""


def test_bytes_and_digests_are_the_same_in_every_process() -> None:
    examples = "500" if os.environ.get("EVERLOG_LONG") == "1" else "40"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, "7", examples],
            env={**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": os.pathsep.join([".", *sys.path])},
            stdout=subprocess.PIPE,
        )
        for hashing in ("1", "2")
    ]
    outputs = [one.communicate(timeout=500)[0] for one in running]
    assert [one.returncode for one in running] == [0, 0]
    assert outputs[0].count(b"\n") >= 30
    assert outputs[0] == outputs[1]


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), untyped, min_size=1))
def test_an_input_is_the_same_however_it_was_given(given_by_name: dict[str, Any]) -> None:
    def called(a: Any = 0, b: Any = 0, *, c: Any = 0) -> None: ...

    signature, codec = Signature(called), JsonCodec()
    payload = signature.encode(codec, (), given_by_name, what="input")
    args, kwargs = signature.decode(codec, payload, what="input")
    assert signature.encode(codec, args, kwargs, what="input") == payload
    backwards = dict(reversed(given_by_name.items()))
    assert digest(signature.encode(codec, (), backwards, what="input")) == digest(payload)
    bound = {"a": 0, "b": 0, "c": 0, **given_by_name}
    completed = signature.completed(codec, payload, what="input")
    assert completed == signature.encode(codec, (bound["a"], bound["b"]), {"c": bound["c"]}, what="input")


def test_the_workflow_shares_no_object_with_its_steps() -> None:
    shared: list[Any] = []

    async def keep(items: list[int]) -> list[int]:
        shared.append(items)
        return items

    kept = step(keep, name="keep")

    async def carry() -> list[int]:
        mine = [1]
        back = await kept(mine)
        back.append(2)
        mine.append(3)
        return shared[0]

    flow = workflow(carry, name="shares")

    async def main() -> list[int]:
        async with Engine("memory://", workflows=[flow], guards="off") as engine:
            return await engine.run(flow)

    assert asyncio.run(main()) == [1]
