"""What is promised of unrecorded parameters: passed as they are, in no input, and no part of any comparison."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from everlog import Client, Engine, InvalidDefinition, RetryPolicy, UsageError, call, step, workflow
from tests.support import FlakyStore, PausableHost, events_of, in_state, kill, make_store, opened, run, simulate


class Bank:
    """A client, which nothing can record."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = asyncio.Lock()
        self.calls: list[Any] = []


BANKS: list[Bank] = []


@step(unrecorded=("bank",), retry=RetryPolicy(max_attempts=2, first_delay=0.01))
async def charge(bank: Bank, card: str, cents: int = 5, *, note: str = "") -> str:
    bank.calls.append((card, cents, note))
    if card == "fails once" and len(bank.calls) == 1:
        raise ConnectionError
    return f"{card} by {bank.name}"


@step(unrecorded=["log"])
def write(text: str, log: list[str] | None = None, *rest: int) -> int:
    if log is not None:
        log.append(text)
    return len(rest)


class Shop:
    def __init__(self, name: str) -> None:
        self.name = name

    @step(unrecorded=("bank",))
    async def sell(self, what: str, bank: Bank) -> str:
        return f"{what} at {self.name} by {bank.name}"


@workflow
async def buys(card: str) -> list[Any]:
    bank = BANKS[-1]
    log: list[str] = []
    shop = Shop("corner")
    results = [
        await charge(bank, card),
        await charge(card=card, bank=bank, note="x"),
        await call(write, "text", log, 1, 2),
        await call(write, "more"),
        await shop.sell("cup", bank=bank),
    ]
    await asyncio.sleep(10)
    return results


EXPECTED = ["fails once by one", "fails once by one", 2, 0, "cup at corner by one"]


def test_they_are_passed_as_they_are_and_are_not_in_the_input() -> None:
    BANKS[:] = [Bank("one")]

    async def program(engine: Engine) -> None:
        handle = await engine.start(buys, "fails once")
        assert await handle.result() == EXPECTED
        inputs = [event.data.get("input") for event in await events_of(engine, handle.id, "step_completed")]
        failed = await events_of(engine, handle.id, "step_attempt_failed")
        assert [event.data.get("input") for event in failed] == [{"card": "fails once"}]
        assert inputs == [
            None,
            {"card": "fails once", "note": "x"},
            {"text": "text", "rest": [1, 2]},
            {"text": "more"},
            {"what": "cup"},
        ]

    run(program, workflows=[buys])
    assert BANKS[0].calls == [("fails once", 5, ""), ("fails once", 5, ""), ("fails once", 5, "x")]


def test_a_process_that_goes_on_passes_its_own() -> None:
    """Another object in a replay is no divergence: it is in no input."""

    async def program(host: PausableHost) -> None:
        plain = make_store(host)
        BANKS[:] = [Bank("one")]
        first = await opened(Engine(FlakyStore(plain), host=host.sibling(), workflows=[buys], lease=1))
        handle = await first.start(buys.options(id="b"), "fails once")
        await in_state(handle, "waiting")
        kill(first)
        BANKS.append(Bank("two"))
        async with Engine(plain, host=host, workflows=[buys]) as second:
            assert await second.handle("b", buys).result() == EXPECTED
        assert BANKS[1].calls == []

    simulate(program)


def test_a_plain_call_is_the_function_itself() -> None:
    bank = Bank("one")
    assert asyncio.run(charge(bank, "x")) == "x by one"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("bank", "clinet"), "no parameter 'clinet' to leave unrecorded; it has bank, card, rest, more"),
        ("bank", r"as in \('client',\), got 'bank'"),
        (5, "got 5"),
        ((["bank"],), "no parameter"),
        (("rest",), r"\*rest cannot be unrecorded as a whole"),
        (("more",), r"\*\*more cannot be unrecorded as a whole"),
    ],
)
def test_what_is_no_parameter_is_refused_where_it_is_defined(names: Any, told: str) -> None:
    async def pay(bank: Bank, card: str, *rest: int, **more: int) -> None: ...

    with pytest.raises(InvalidDefinition, match=told):
        step(unrecorded=names)(pay)


@workflow(unrecorded=("bank",))
async def pays(card: str, bank: Bank = Bank("default")) -> str:  # noqa: B008 - that it is shared is what is wanted
    return await charge(bank, card)


def test_of_a_workflow_they_take_their_defaults() -> None:
    async def program(engine: Engine) -> None:
        handle = await engine.start(pays, "x")
        assert await handle.result() == "x by default"
        (created,) = await events_of(engine, handle.id, "workflow_created")
        assert created.data["input"] == {"card": "x"}
        with pytest.raises(UsageError, match=r"unrecorded parameter 'bank'.*takes its default"):
            await engine.start(pays, "x", Bank("other"))

    run(program, workflows=[pays])

    async def without_default(bank: Bank) -> None: ...

    with pytest.raises(InvalidDefinition, match="'bank' needs a default"):
        workflow(unrecorded=["bank"])(without_default)


def test_a_parameter_may_become_unrecorded() -> None:
    """What an older input has for it is ignored."""

    async def before(card: str, bank: str) -> str:
        return f"{card} {bank}"

    async def after(card: str, bank: str) -> str:
        return f"{card} {bank}"

    definitions = {"now": step(before, name="pay")}

    async def pay_and_wait() -> str:
        result = await definitions["now"]("x", "y")
        await asyncio.sleep(10)
        return result

    flow = workflow(pay_and_wait, name="pay and wait")

    async def program(host: PausableHost) -> None:
        plain = make_store(host)
        first = await opened(Engine(FlakyStore(plain), host=host.sibling(), workflows=[flow], lease=1))
        handle = await first.start(flow.options(id="b"))
        await in_state(handle, "waiting")
        kill(first)
        definitions["now"] = step(after, name="pay", unrecorded=("bank",))
        async with Engine(plain, host=host, workflows=[flow]) as second, Client(plain, host=host) as client:
            assert await second.handle("b", flow).result() == "x y"
            assert (await client.handle("b").status()).state == "completed"

    simulate(program)
