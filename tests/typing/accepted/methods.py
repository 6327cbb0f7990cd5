"""Workflows and steps as methods, overridden ones included, of classes that are generic or not."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, assert_type

from everlog import Engine, Handle, step, workflow

T = TypeVar("T")


@dataclass
class Box(Generic[T]):
    inside: T

    @step
    async def take(self, times: int = 1) -> T:
        return self.inside


class Base:
    @workflow
    async def run(self, n: int = 1) -> int:
        return await self.part(n)

    @step
    async def part(self, n: int) -> int:
        return n


class Registry:
    """Class methods work; of their `cls` the checkers think that it is yet to be given."""

    @workflow
    @classmethod
    async def describe(cls, item: str) -> str:
        return f"{cls.__name__} {item}"

    @classmethod
    @workflow
    async def describe_too(cls, item: str) -> str:
        return f"{cls.__name__} {item}"

    @classmethod
    @step
    async def count(cls, item: str) -> int:
        return len(item)


class Derived(Base):
    @workflow
    async def run_more(self, n: int) -> int:
        return await super().part(n) + await self.part(n=n)


async def main(engine: Engine) -> None:
    assert_type(await Box(3).take(times=2), int)
    assert_type(await Box("x").take(), str)
    assert_type(await engine.start(Derived().run), Handle[int])
    assert_type(await engine.run(Derived().run_more, 3), int)
    described: Any = Registry.describe
    assert_type(await engine.run(described, "x"), Any)
    assert_type(await Base().part.options(name="other")(3), int)
