"""A program that takes orders: each is a row of its own and a workflow, in one transaction. It is killed meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from contextlib import closing
from typing import Any

import psycopg

import everlog
from everlog import Client, Engine, workflow


@workflow(name="fulfil")
async def fulfil(order: str) -> str:
    return await everlog.recv("paid", type=str)


def connect(url: str) -> Any:
    """Connect to the database of a store past Everlog, as the user's code would."""
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"), timeout=60)
    base, _, options = url.partition("?")
    kept = "&".join(option for option in options.split("&") if not option.startswith("schema="))
    return psycopg.connect(f"{base}?{kept}")


def table(url: str) -> str:
    return "orders" if url.startswith("sqlite") else "orders_" + url.rpartition("schema=")[2]


async def take_orders(url: str, first: int) -> None:
    """Take orders until this process is killed; say of each where it stands."""
    async with Engine(url) as engine:
        with closing(connect(url)) as connection:
            for number in range(first, first + 1000):
                order = f"order-{number}"
                connection.execute(f"INSERT INTO {table(url)} VALUES ('{order}')")
                print("inserted", order, flush=True)
                outbox = engine.using(connection)
                await outbox.start(fulfil.options(id=order), order)
                print("started", order, flush=True)
                await outbox.send(order, "paid", f"paid {order}", key="paid")
                print("sent", order, flush=True)
                time.sleep(0.002)  # noqa: ASYNC251 - here it is to be killed, too
                connection.commit()
                print("committed", order, flush=True)


async def outcome(url: str) -> tuple[set[str], dict[str, str]]:
    """Give the orders that are there, and what came of the workflows that are."""
    with closing(connect(url)) as connection:
        orders = {row[0] for row in connection.execute(f"SELECT id FROM {table(url)}").fetchall()}
        connection.rollback()
    async with Engine(url) as engine:
        ids = [one.id async for one in engine.workflows()]
        return orders, {one: await engine.handle(one, fulfil).result(timeout=60) for one in ids}


async def prepare(url: str) -> None:
    """Make the tables of Everlog and that of the user."""
    async with Client(url):
        pass
    with closing(connect(url)) as connection:
        connection.execute(f"CREATE TABLE {table(url)} (id text PRIMARY KEY)")
        connection.commit()


if __name__ == "__main__":
    asyncio.run(take_orders(sys.argv[1], int(sys.argv[2])))
