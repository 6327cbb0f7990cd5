"""Workflows and steps as methods, overridden ones included, of classes that are generic or not."""

from dataclasses import dataclass
from typing import Generic, TypeVar, assert_type

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


class Derived(Base):
    @workflow
    async def run_more(self, n: int) -> int:
        return await super().part(n) + await self.part(n=n)


async def main(engine: Engine) -> None:
    assert_type(await Box(3).take(times=2), int)
    assert_type(await Box("x").take(), str)
    assert_type(await engine.start(Derived().run), Handle[int])
    assert_type(await engine.run(Derived().run_more, 3), int)
    assert_type(await Base().part.options(name="other")(3), int)
