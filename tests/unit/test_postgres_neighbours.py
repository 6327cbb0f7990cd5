"""Who else uses the same database: engines with a schema of their own, and engines that know other workflows."""

from __future__ import annotations

import asyncio

import pytest

from everlog import Client, Engine, NotFound, recv, step, workflow
from tests.postgres import administrator, needs_postgres, new_schema

pytestmark = needs_postgres


@step(name="postgres_neighbours.double")
async def double(number: int) -> int:
    return 2 * number


@workflow(name="postgres_neighbours.doubles")
async def doubles(number: int) -> int:
    return await double(number)


@workflow(name="postgres_neighbours.triples")
async def triples(number: int) -> int:
    return 3 * number


@workflow(name="postgres_neighbours.listens")
async def listens() -> int:
    number: int = await recv("number", type=int)
    return number


def test_engines_with_schemas_of_their_own_see_nothing_of_each_other() -> None:
    """The same ids, workflows, topics and workers; and one that ends leaves the other's workflows where they are."""

    async def program() -> None:
        async with Engine(new_schema(), workflows=[doubles, listens]) as stays:
            waits = await stays.start(listens.options(id="listens"))
            async with Engine(new_schema(), workflows=[doubles, listens]) as goes:
                assert await goes.run(doubles.options(id="order"), 4) == 8
                with pytest.raises(NotFound):
                    await stays.handle("order").status()
                assert await stays.run(doubles.options(id="order"), 5) == 10
                other = await goes.start(listens.options(id="listens"))
                await other.send("number", 1)
                assert await other.result(timeout=30) == 1
                assert len(await goes.on_thread(lambda: goes.store.workers())) == 1
            assert (await waits.status()).state != "completed"
            await waits.send("number", 2)
            assert await waits.result(timeout=30) == 2

    asyncio.run(program())


def test_workflows_that_an_engine_does_not_know_are_left_to_one_that_does() -> None:
    url = new_schema()

    async def program() -> None:
        async with Client(url) as client:
            strangers = [await client.start(triples.options(id=f"stranger-{number}"), number) for number in range(150)]
            async with Engine(url, workflows=[doubles]) as engine:
                assert await asyncio.gather(*(engine.run(doubles, number) for number in range(20))) == [
                    2 * number for number in range(20)
                ]
                with administrator() as driver:
                    schema = url.partition("schema=")[2]
                    heads = f"\"{schema}\".heads WHERE name LIKE '%triples'"
                    query = f"SELECT DISTINCT state, token, seq, takeovers FROM {heads}"
                    assert driver.execute(query.encode()).fetchall() == [("queued", None, 1, 0)]
                async with Engine(url, workflows=[triples]) as knows:
                    results = [await knows.handle(one.id, triples).result(timeout=30) for one in strangers]
                    assert results == [3 * number for number in range(150)]

    asyncio.run(program())
