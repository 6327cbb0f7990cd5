"""Methods as workflows and steps: whose `self` recovery finds again, by its name or as a value."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

import everlog
from everlog import Engine, IdInUse, InvalidDefinition, UsageError, WorkflowFailed, step, workflow
from everlog.replay import instances
from everlog.testing.simulation import SimulatedHost
from tests.support import in_state, kill, make_store, opened, run, simulate


@pytest.fixture(autouse=True)
def _own_instances() -> Iterator[None]:
    """Each test registers in a process of its own, so to speak."""
    forget()
    yield
    forget()


def forget() -> None:
    instances._registered.clear()
    instances._names.clear()


class Shop:
    def __init__(self, region: str) -> None:
        self.region = region

    @workflow
    async def checkout(self, order: str, *, copies: int = 1) -> str:
        await asyncio.sleep(1)
        return await self.pack(order * copies)

    @step
    async def pack(self, order: str) -> str:
        return f"{order} packed in {self.region}"

    @staticmethod
    @workflow
    async def price(order: str) -> int:
        await asyncio.sleep(1)
        return await Shop.weigh(order)

    @staticmethod
    @step
    async def weigh(order: str) -> int:
        return len(order)

    @workflow
    @staticmethod
    async def price_too(order: str) -> int:
        return await Shop.weigh(order)

    @workflow
    @classmethod
    async def describe(cls, order: str) -> str:
        await asyncio.sleep(1)
        return f"{await cls.named(order)}, {await cls.named_too(order)}"

    @classmethod
    @workflow
    async def describe_too(cls, order: str) -> str:
        await asyncio.sleep(1)
        return f"{await cls.named.options(key='a')(order)}, {await cls.named_too(order)}"

    @step
    @classmethod
    async def named(cls, order: str) -> str:
        return f"{cls.__name__} {order}"

    @classmethod
    @step
    def plainly(cls, order: str) -> str:
        return f"{cls.__name__} {order}"

    @classmethod
    @step
    async def named_too(cls, order: str) -> str:
        return f"{cls.__name__} {order}"


class Market(Shop):
    pass


@dataclass
class Till:
    currency: str
    places: int = 2

    @workflow
    async def pay(self, cents: int) -> str:
        await asyncio.sleep(1)
        return await self.shown(cents)

    @step
    async def shown(self, cents: int) -> str:
        return f"{cents / 10**self.places:.{self.places}f} {self.currency}"


async def recovered(start: Any, again: Any, host: SimulatedHost) -> Any:
    """Start a workflow, kill its process, do what another program does when it begins, and give the result there."""
    store = make_store(host)
    engine = await opened(Engine(store, host=host.sibling(), lease=2))
    handle = await start(engine)
    await asyncio.sleep(0.5)
    kill(engine)
    forget()
    again()
    async with Engine(store, host=host.sibling(), lease=2) as other:
        return await other.handle(handle.id).result()


def test_a_registered_object_is_found_again_by_its_name() -> None:
    async def program(host: SimulatedHost) -> None:
        shop = everlog.register(Shop("europe"), name="eu")
        everlog.register(Shop("america"), name="us")

        def again() -> None:
            everlog.register(Shop("a new europe"), name="eu")

        result = await recovered(lambda engine: engine.start(shop.checkout, "tea", copies=2), again, host)
        assert result == "teatea packed in a new europe"

    simulate(program)


def test_the_name_of_the_object_is_part_of_the_name_in_the_log() -> None:
    async def program(engine: Engine) -> None:
        shop = everlog.register(Shop("europe"), name="eu")
        handle = await engine.start(shop.checkout.options(id="one"), "tea")
        assert (await handle.status()).name == "Shop.checkout@eu"
        assert await engine.handle("one", shop.checkout).result() == "tea packed in europe"
        assert (await engine.workflows(name="Shop.checkout@eu"))[0].id == "one"
        same = await engine.start(shop.checkout.options(id="one"), order="tea")
        assert same.id == "one"
        other = everlog.register(Shop("america"), name="us")
        with pytest.raises(IdInUse, match=r"Shop\.checkout@eu"):
            await engine.start(other.checkout.options(id="one"), "tea")
        by_name = await engine.start(everlog.named("Shop.checkout@us", type=str), "tea")
        assert await by_name.result() == "tea packed in america"

    run(program)


def test_a_worker_without_the_object_leaves_its_workflows_to_one_that_has_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        shop = everlog.register(Shop("europe"), name="eu")
        async with Engine(store, host=host.sibling(), workflows=[Shop.price]) as engine:
            handle = await engine.start(shop.checkout, "tea")
            forget()
            async with Engine(store, host=host.sibling()):
                await asyncio.sleep(20)
                assert (await handle.status()).state == "queued"
            everlog.register(Shop("europe"), name="eu")
            async with Engine(store, host=host.sibling()):
                assert await handle.result() == "tea packed in europe"

    with caplog.at_level(logging.WARNING, "everlog"):
        simulate(program)
    assert any("'Shop.checkout@eu'" in record.getMessage() for record in caplog.records)


def test_an_object_that_is_registered_while_the_engine_runs_has_its_workflows_run() -> None:
    async def program(engine: Engine) -> None:
        for name in ("a", "b"):
            assert await engine.run(everlog.register(Shop(name), name=name).checkout, "x") == f"x packed in {name}"

    run(program)


def test_an_object_may_be_registered_while_an_engine_looks_for_its_workflows() -> None:
    class RegistersAnother(type):
        def __instancecheck__(cls, instance: object) -> bool:
            everlog.register(Shop("another"), name=f"another-{len(instances._registered)}")
            return super().__instancecheck__(instance)

    class Stall(metaclass=RegistersAnother):
        @workflow
        async def sell(self) -> None: ...

    everlog.register(Shop("europe"), name="eu")
    everlog.register(stall := Stall(), name="stall")
    found = instances.runnable({stall.sell.name: Stall.sell})
    assert set(found) == {stall.sell.name, f"{stall.sell.name}@stall"}
    assert "another-2" in instances._registered


def test_an_object_that_nobody_could_find_again_is_refused_with_the_fix() -> None:
    async def program(engine: Engine) -> None:
        with pytest.raises(UsageError, match=r"Shop\.checkout.*everlog\.register"):
            await engine.start(Shop("europe").checkout, "tea")
        assert await engine.workflows() == []

    run(program)


def test_an_object_that_is_a_value_is_recorded_with_the_start() -> None:
    async def program(host: SimulatedHost) -> None:
        result = await recovered(lambda engine: engine.start(Till("EUR", 1).pay, 125), lambda: None, host)
        assert result == "12.5 EUR"

    simulate(program)


def test_a_value_is_a_part_of_the_input() -> None:
    async def program(engine: Engine) -> None:
        await engine.start(Till("EUR").pay.options(id="one"), 100)
        await engine.start(Till("EUR", 2).pay.options(id="one"), 100)
        for wrong in (Till("USD"), everlog.register(Till("EUR"), name="till")):
            with pytest.raises(IdInUse, match="'one'"):
                await engine.start(wrong.pay.options(id="one"), 100)
        assert await engine.handle("one").result() == "1.00 EUR"

    run(program)


def test_a_value_of_a_subclass_would_come_back_as_another_and_is_refused() -> None:
    @dataclass
    class CoinTill(Till):
        coins: int = 0

    async def program(engine: Engine) -> None:
        with pytest.raises(UsageError, match=r"everlog\.register"):
            await engine.start(CoinTill("EUR").pay, 1)
        till = everlog.register(CoinTill("EUR"), name="coins")
        assert await engine.run(till.pay, 100) == "1.00 EUR"

    run(program)


def test_static_and_class_methods_are_found_by_their_classes() -> None:
    async def program(host: SimulatedHost) -> None:
        for method, expected in (
            (Shop.price, 3),
            (Shop.price_too, 3),
            (Shop("x").price_too, 3),
            (Shop.describe, "Shop tea, Shop tea"),
            (Shop.describe_too, "Shop tea, Shop tea"),
            (Shop("x").describe, "Shop tea, Shop tea"),
        ):
            given: Any = method
            result = await recovered(lambda engine, given=given: engine.start(given, "tea"), lambda: None, host)
            assert result == expected, given

    simulate(program)


def test_a_class_method_of_a_subclass_needs_a_name() -> None:
    async def program(host: SimulatedHost) -> None:
        async with Engine(make_store(host), host=host.sibling()) as engine:
            for method in (Market.describe, Market.describe_too):
                given: Any = method
                with pytest.raises(UsageError, match=r"everlog\.register"):
                    await engine.start(given, "tea")

        everlog.register(Market, name="market")
        for method in (Market.describe, Market.describe_too):
            given = method
            result = await recovered(
                lambda engine, given=given: engine.start(given, "tea"),
                lambda: everlog.register(Market, name="market"),
                host,
            )
            assert result == "Market tea, Market tea"

    simulate(program)


def test_a_value_that_no_longer_fits_its_class_makes_the_workflow_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        engine = await opened(Engine(store, host=host.sibling(), lease=2))
        handle = await engine.start(Till("EUR").pay, 1)
        await asyncio.sleep(0.5)
        kill(engine)
        monkeypatch.setattr(Till.pay, "owner", Elsewise)
        async with Engine(store, host=host.sibling(), lease=2) as other:
            again = other.handle(handle.id)
            await in_state(again, "stuck")
            assert "self of workflow Till.pay" in (await again.status()).why

    simulate(program)


@dataclass
class Elsewise:
    colour: str


# -- registering


def test_a_name_stands_for_one_object_and_an_object_has_one_name() -> None:
    shop = Shop("europe")
    assert everlog.register(shop, name="eu") is shop
    assert everlog.register(shop, name="eu") is shop
    with pytest.raises(InvalidDefinition, match="'eu'"):
        everlog.register(Shop("europe"), name="eu")
    with pytest.raises(InvalidDefinition, match="'us'"):
        everlog.register(shop, name="us")
    for wrong in ("", 7, "a\0b"):
        with pytest.raises(UsageError):
            everlog.register(Shop("x"), name=wrong)  # type: ignore[arg-type]


def test_in_a_notebook_the_object_of_a_cell_that_is_run_again_replaces_the_old_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    everlog.register(Shop("europe"), name="eu")
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    with caplog.at_level(logging.WARNING, "everlog"):
        again = everlog.register(Shop("a new europe"), name="eu")
    assert "replaces" in caplog.text
    with pytest.raises(InvalidDefinition):
        everlog.register(Till("EUR"), name="eu")

    async def program(engine: Engine) -> None:
        assert await engine.run(again.checkout, "tea") == "tea packed in a new europe"

    run(program)


def test_objects_of_a_name_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Table(Shop):
        def __eq__(self, other: object) -> bool:
            raise ValueError("the truth value of a table is ambiguous")

    definitions = {Shop.checkout.name: Shop.checkout}
    everlog.register(Table("europe"), name="eu")
    before = instances.runnable(definitions)
    monkeypatch.delattr(sys.modules["__main__"], "__file__")
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    again = everlog.register(Table("a new europe"), name="eu")
    after = instances.runnable(definitions)
    assert before is not after is instances.runnable(definitions)
    assert after[f"{Shop.checkout.name}@eu"].bound[0] is again


# -- bound methods as functions


def test_a_bound_method_looks_like_one() -> None:
    shop = Shop("europe")
    for bound in (shop.checkout, shop.pack):
        shown: Any = bound
        assert "self" not in inspect.signature(shown).parameters
        assert "order" in inspect.signature(shown).parameters
    assert "self" in inspect.signature(Shop.checkout).parameters
    assert inspect.signature(Shop.describe).parameters.keys() == {"order"}
    assert asyncio.run(shop.pack("tea")) == "tea packed in europe"
    assert asyncio.run(shop.pack.fn("tea")) == "tea packed in europe"
    assert asyncio.run(Shop.pack(shop, "tea")) == "tea packed in europe"
    assert asyncio.run(shop.weigh("tea")) == asyncio.run(Shop.weigh("tea")) == 3
    assert asyncio.run(Shop.named("tea")) == asyncio.run(Shop.named_too("tea")) == "Shop tea"
    assert asyncio.run(Market.named("tea")) == "Market tea"


def test_options_of_a_bound_method_keep_its_object() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(keyed, "tea") == "tea packed in everywhere"

    run(program)


@workflow
async def calls_plain_class_methods() -> list[str]:
    called: Any = Market.plainly
    return [await everlog.call(called, "tea"), await asyncio.to_thread(called, "tea")]


def test_plain_class_methods_can_be_called() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(calls_plain_class_methods) == ["Market tea", "Market tea"]
        assert Market.plainly("tea") == "Market tea"

    run(program)


def test_an_engine_that_is_given_the_method_of_a_value_runs_that_of_every_value() -> None:
    async def program(engine: Engine) -> None:
        assert await engine.run(Till("EUR").pay, 100) == "1.00 EUR"
        assert await engine.run(Till("USD", 1).pay, 100) == "10.0 USD"

    run(program, workflows=[Till("GBP").pay])
    run(program, workflows=[Till.pay])


def test_an_engine_may_be_given_the_methods_of_one_object() -> None:
    shop, other = everlog.register(Shop("europe"), name="eu"), everlog.register(Shop("america"), name="us")

    async def program(engine: Engine) -> None:
        assert await engine.run(shop.checkout, "tea") == "tea packed in europe"
        left = await engine.start(other.checkout, "tea")
        await asyncio.sleep(5)
        assert (await left.status()).state == "queued"

    run(program, workflows=[shop.checkout])


@workflow
async def keyed(order: str) -> str:
    return await Shop("everywhere").pack.options(key=order)(order)


# -- workflows whose code is elsewhere


@dataclass
class Order:
    item: str
    count: int = 1


@workflow
async def buy(order: Order, *rest: int, gift: bool = False) -> str:
    return f"{order.count} {order.item} {rest} {gift}"


def test_a_named_workflow_is_run_by_who_has_its_code() -> None:
    async def program(host: SimulatedHost) -> None:
        store = make_store(host)
        bought = everlog.named("buy", type=str)
        async with everlog.Client(store, host=host.sibling()) as client:
            handles = [
                await client.start(bought, Order("tea")),
                await client.start(bought.options(id="two"), Order("tea", 2), 7, 8, gift=True),
                await client.start(bought, order=Order("tea"), gift=True),
            ]
            async with Engine(store, host=host.sibling(), workflows=[buy]) as engine:
                assert [await handle.result() for handle in handles] == [
                    "1 tea () False",
                    "2 tea (7, 8) True",
                    "1 tea () True",
                ]
                await engine.start(buy.options(id="two"), Order("tea", 2), 7, 8, gift=True)
                await engine.start(bought.options(id="two"), Order("tea", 2), 7, 8, gift=True)
                with pytest.raises(IdInUse):
                    await engine.start(bought.options(id="two"), Order("tea", 3), 7, 8, gift=True)

    simulate(program)


def test_a_named_workflow_whose_arguments_do_not_fit_is_stuck_there() -> None:
    async def program(engine: Engine) -> None:
        for args in ((), (Order("tea"), "seven")):
            handle = await engine.start(everlog.named("buy"), *args)
            await in_state(handle, "stuck")
            assert "input" in (await handle.status()).why
        with pytest.raises(everlog.NotEncodable):
            await engine.start(everlog.named("buy"), object())
        with pytest.raises(UsageError, match="only named"):
            Engine("memory://", workflows=[everlog.named("buy")])
        with pytest.raises(everlog.WrongContext):
            await everlog.named("buy").fn()

    run(program)


def test_a_workflow_fails_as_its_function_does_whichever_object_it_belongs_to() -> None:
    class Faulty:
        @workflow
        async def breaks(self) -> None:
            raise ValueError("broken")

    async def program(engine: Engine) -> None:
        with pytest.raises(WorkflowFailed, match="broken"):
            await engine.run(everlog.register(Faulty(), name="faulty").breaks)

    run(program)
