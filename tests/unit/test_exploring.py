"""explore(): what is wrong with a workflow is found, made small, told and seen again; what is right passes."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlog import Client, Handle, UsageError, workflow
from everlog.runtime.steps import StepRunner
from everlog.testing import Disturbance, ExplorationFailed, ExploredRun, explore
from everlog.testing.module_state import ModuleState
from everlog.testing.replays import replay
from tests.unit import exploring_programs as programs
from tests.unit.exploring_programs import Order

ITEMS = st.lists(st.sampled_from(["", *"abcdefghijk"]), max_size=4)
MANY = 300
"""Examples within which a defect is found for certain: one in ten has it at least, and the first ends the search."""


def found(flow: Any, **options: Any) -> ExplorationFailed:
    with pytest.raises(ExplorationFailed) as caught:
        explore(flow, **{"examples": MANY, **options})
    return caught.value


def seen_again(flow: Any, failed: ExplorationFailed, **options: Any) -> ExplorationFailed:
    """What the text says is to be written to see it again."""
    inputs = [st.just(one) for one in failed.run.args]
    return found(flow, inputs=inputs, disturbance=failed.disturbance, examples=1, **options)


@pytest.mark.parametrize(
    ("flow", "says", "smallest"),
    [
        (programs.order_of_a_set, "in another process, with PYTHONHASHSEED=4711", None),
        (programs.module_cache, "does not do the same again when it is replayed in the same process", [""]),
        (programs.wall_clock, "datetime.now at", [""]),
        (programs.unawaited_task, "does something else than undisturbed", None),
        (programs.shared_default, "does not do the same again when it is replayed in the same process", [""]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_planted_defect_is_found_and_made_small(flow: Any, says: str, smallest: list[str] | None) -> None:
    failed = found(flow, inputs=ITEMS)
    text = str(failed)
    assert says in text
    (history,) = failed.run.histories.values()
    assert len(history.rows) < 10
    assert len(failed.run.happened) < 10
    (items,) = failed.run.args
    assert smallest in (None, items)
    assert len(items) <= 2
    assert f"explore({flow.__name__}, inputs=just({items!r}), disturbance={failed.disturbance!r}" in text
    assert seen_again(flow, failed).what == failed.what


def test_a_divergence_is_told_by_both_sides_and_its_history_can_be_kept() -> None:
    failed = found(programs.module_cache, inputs=ITEMS)
    assert failed.verdict is not None
    assert failed.verdict.seq == 3
    assert ">     3  step_completed exploring.price result=0" in str(failed)
    assert "the code had ended: returned 0" in str(failed)
    assert failed.history is not None
    assert replay(failed.history).is_clean, "by itself, with an empty cache, the code fits"


def test_what_a_crash_does_is_found_with_one_crash_and_nothing_slow() -> None:
    failed = found(
        programs.charges_twice, inputs=st.sampled_from(["", "a"]), invariant=lambda run: len(programs.charged) <= 1
    )
    assert "the invariant does not hold" in str(failed)
    assert len(failed.disturbance.crashes) == 1
    assert not failed.disturbance.slow
    assert failed.run.args == ("",)
    ((number, when),) = failed.disturbance.crashes
    assert f"the process dies {when} its commit {number}, and another one goes on" in str(failed)
    again = seen_again(programs.charges_twice, failed, invariant=lambda run: len(programs.charged) <= 1)
    assert again.run.happened == failed.run.happened
    assert again.run.times(programs.charge) == 2


def test_crashing_at_each_commit_in_turn_finds_the_first() -> None:
    failed = found(
        programs.charges_twice,
        inputs=st.just("x"),
        crashes="each",
        examples=1,
        invariant=lambda run: run.times("exploring.charge") == 1,
    )
    assert failed.disturbance.crashes == ((3, "before"),)


def test_a_result_that_hangs_on_which_step_is_faster_is_found() -> None:
    failed = found(programs.first_wins, inputs=ITEMS)
    assert "comes to something else than undisturbed" in str(failed)
    assert failed.disturbance.slow
    assert not failed.disturbance.crashes
    explore(programs.first_wins, inputs=ITEMS, same=False, examples=5)


def test_what_is_never_awaited_is_found() -> None:
    failed = found(programs.forgets_to_await, inputs=st.sampled_from(["", "a"]))
    assert "calls what it never awaits" in failed.what
    assert "exploring_programs.py" in failed.what


def test_what_it_raises_is_found_unless_it_may() -> None:
    failed = found(programs.raises)
    assert failed.run.kwargs == {"number": 11}
    assert "raises raises KeyError: 11; if it may, say may_raise=KeyError" in str(failed)
    assert "in raises" in str(failed), "its traceback"
    assert isinstance(failed.__cause__, KeyError)
    explore(programs.raises, may_raise=KeyError, examples=10)


def test_what_waits_for_ever_is_found() -> None:
    failed = found(programs.waits_for_ever)
    assert "has not ended after ten years" in failed.what
    assert "exploring.waits_for_ever is waiting" in str(failed)


async def answers(client: Client, handle: Handle[Any]) -> None:
    await asyncio.sleep(40 * 86_400)
    await handle.send("answer", "yes")


async def sends_nothing(client: Client, handle: Handle[Any]) -> None:
    raise ValueError("nothing to send")


def test_what_drives_it_may_fail_too() -> None:
    failed = found(programs.waits_for_ever, drive=sends_nothing)
    assert failed.what == "what is done from outside raises ValueError: nothing to send"


def test_a_right_program_passes_with_children_queues_messages_and_months() -> None:
    tried: Counter[str] = Counter()

    def fits(run: ExploredRun) -> None:
        tried["crashes"] += len(run.disturbance.crashes)
        tried["slow"] += len(run.disturbance.slow)
        tried["failing"] += len(run.disturbance.failing)
        if run.disturbance.slow.get("exploring.in_a_thread") == 2.0:
            assert "2.007 s  step exploring.in_a_thread begins" in "".join(run.happened)
        (order,) = run.args
        sizes = [len(item) for item in order.items]
        parcels = [item * len(item) for item in order.items]
        assert run.result == [order.card.upper(), sizes, parcels, "yes"]
        assert run.times(programs.unsure) >= len(programs.attempts) + len(run.disturbance.failing)
        assert len(run.histories) == 1 + len(order.items)

    options: dict[str, Any] = {
        "drive": answers,
        "failures": {programs.unsure: [ConnectionError("down"), TimeoutError()]},
        "invariant": fits,
        "same": True,
        "hash_seeds": (),
    }
    orders = st.builds(Order, st.sampled_from(["a", "b"]), st.lists(st.sampled_from(["x", "yz"]), max_size=1))
    explore(programs.shop, inputs=orders, examples=8, **options)
    assert tried["crashes"] > 0, "the first example crashes at each commit"
    tried.clear()
    hard = Disturbance(
        crashes=((3, "before"), (4, "after")),
        slow={"exploring.in_a_thread": 2.0},
        failing={"exploring.shop/exploring.parcel: exploring.unsure": 1},
    )
    explore(programs.shop, inputs=st.just(Order("a", ["x", "yz"])), disturbance=hard, examples=1, **options)
    assert tried["crashes"] == 2
    assert tried["slow"] == 1
    assert tried["failing"] == 2, "in the undisturbed run too"


def test_a_right_program_of_blocking_code_passes() -> None:
    explore(programs.blocking, inputs=ITEMS, examples=6)


def test_a_program_may_start_what_it_likes() -> None:
    async def twice(client: Client, items: list[str]) -> int:
        first = await client.start(programs.blocking.options(id="first"), items)
        second = await client.start(programs.blocking.options(id="second"), items)
        return await first.result() + await second.result()

    explore(twice, inputs=ITEMS, invariant=lambda run: run.result % 2 == 0, examples=4)


def test_failures_that_are_not_tried_again_are_raised() -> None:
    failed = found(programs.blocking, inputs=st.just(["a"]), failures={programs.unsure: KeyError("gone")})
    assert failed.disturbance.failing == {"<lambda>/exploring.unsure": 0}
    assert "KeyError" in failed.what


def test_nothing_is_left_behind() -> None:
    attempt, before = StepRunner._attempt, random.getstate()
    held = (dict(programs._prices), list(programs.charged))
    found(programs.module_cache, inputs=ITEMS)
    found(programs.charges_twice, inputs=st.just("x"), invariant=lambda run: len(programs.charged) <= 1)
    assert StepRunner._attempt is attempt
    assert random.getstate() == before
    assert (programs._prices, programs.charged) == held


def test_calls_that_cannot_work_are_refused() -> None:
    @workflow(name="exploring.local")
    async def local(number) -> int:  # type: ignore[no-untyped-def] # the very mistake
        return int(number)

    with pytest.raises(UsageError, match="number has no annotation to draw values by; give inputs="):
        explore(local)
    with pytest.raises(UsageError, match="is defined within a function, so that no other process can replay it"):
        explore(local, inputs=st.integers())
    with pytest.raises(UsageError, match="crashes must be 'some', 'each' or 'none', got 'all'"):
        explore(programs.raises, crashes="all")  # type: ignore[arg-type] # the very mistake
    explore(local, inputs=st.integers(), hash_seeds=(), examples=2)


def test_a_disturbance_is_written_as_code() -> None:
    disturbance = Disturbance(crashes=((2, "before"),), slow={"price": 0.1})
    assert repr(disturbance) == "Disturbance(crashes=[(2, 'before')], slow={'price': 0.1})"
    assert repr(Disturbance()) == "Disturbance()"


# -- module state -----------------------------------------------------------------------------------------------------


class Thing:
    shared: list[Any] = []  # noqa: RUF012 - what classes of users have

    def __init__(self, held: Any) -> None:
        self.held = held


HELD = st.recursive(
    st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.integers(), inner, max_size=3),
    max_leaves=8,
)


def plain(value: Any) -> Any:
    """The value as text, in the order of what it holds."""
    return repr(value.held) if isinstance(value, Thing) else repr(value)


def damage(value: Any) -> None:
    """Change everything that can be reached."""
    if isinstance(value, Thing):
        damage(value.held)
        value.held, value.more = None, 1  # type: ignore[attr-defined] # what code of users does
    elif isinstance(value, list):
        for one in value:
            damage(one)
        value.append("damaged")
    elif isinstance(value, dict):
        for one in value.values():
            damage(one)
        value.pop(next(iter(value), None), None)
        value["damaged"] = 1


@given(HELD)
def test_module_state_is_put_back(held: Any) -> None:
    thing = Thing(held)

    def holds(default: list[Any] = [held]) -> Any:  # noqa: B006 - what code of users does
        return thing, default

    state, before = ModuleState([holds]), (plain(thing), plain(holds()[1]))
    damage(thing)
    damage(holds()[1])
    Thing.shared.append("damaged")
    state.put_back()
    assert (plain(thing), plain(holds()[1])) == before
    assert not hasattr(thing, "more")
    assert Thing.shared == []
