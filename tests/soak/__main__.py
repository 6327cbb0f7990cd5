"""The soak: `python -m tests.soak [--minutes M] [--seed N] [--store sqlite|postgres]`.

All primitives at once, on several worker processes, under a random sequence of mishaps; then an independent checker
reads what is left.

It ends with 1 if a law was broken. Without `--store` both databases have their turn, each for half of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, Final

import psycopg

from everlog import Client, WorkflowStatus
from everlog.errors import StoreUnavailable
from everlog.runtime.backends import open_store
from tests.postgres import started_server
from tests.proxies import Proxy
from tests.soak import town
from tests.soak.checker import LAWS, read_town
from tests.soak.ledger import Ledger
from tests.soak.mishaps import Mishap, PostgresMishaps, SqliteMishaps, Workers
from tests.soak.traffic import Traffic

LINES: Final = {"sqlite": 20, "postgres": 40}
WORKERS: Final = {"sqlite": 2, "postgres": 4}
BETWEEN: Final = (0.5, 4)
"""Seconds between two mishaps."""
SHOWN: Final = 5
PATIENCE: Final = 120
"""Seconds after the last mishap in which everything has to come to its end."""
PAYMENTS: Final = "CREATE TABLE soak_payments (who TEXT NOT NULL, amount INTEGER NOT NULL)"


@contextmanager
def database(store: str, folder: Path) -> Iterator[tuple[str, str, Sequence[Mishap]]]:
    """Give the URL for the workers, that for the checker, and what may happen."""
    if store == "sqlite":
        url = f"sqlite:///{folder}/soak.db"
        open_store(url).close()
        mishaps = SqliteMishaps(f"{folder}/soak.db")
        with mishaps.connected() as connection:
            connection.execute(PAYMENTS)
        yield url, url, mishaps.all()
        return
    server: Any = started_server(folder)
    try:
        url = server.get_uri()
        open_store(url).close()
        with psycopg.connect(url) as connection:
            connection.execute(PAYMENTS)
        proxy = Proxy(url)
        yield proxy.url, url, PostgresMishaps(server, proxy).all()
        proxy.close()
    finally:
        server.cleanup()


async def live(
    url: str, folder: Path, store: str, mishaps: Sequence[Mishap], seconds: float, random: Random
) -> tuple[Counter[str], int, list[str]]:
    """Let it all happen; give how often what did, how many workflows were seen to their end, and what went wrong."""
    ledger = Ledger(folder)
    workers = await asyncio.to_thread(Workers, url, folder, ledger, WORKERS[store])
    happened: Counter[str] = Counter()
    wrong = workers.wrong
    try:
        async with Client(url) as client:
            traffic = Traffic(client, ledger, random)
            flowing = asyncio.create_task(traffic.flow(LINES[store]))
            of_workers = [workers.kill, workers.kill, workers.stop, workers.replace]
            until = time.monotonic() + seconds
            before = ""
            while time.monotonic() < until and not flowing.done():
                await asyncio.sleep(random.uniform(*BETWEEN))
                before = before or workers.resources()
                if random.random() < 0.6:
                    of_worker = random.choice(of_workers)
                    await asyncio.to_thread(of_worker, random)
                    happened[str(of_worker.__doc__)] += 1
                else:
                    mishap = random.choice(mishaps)
                    await asyncio.to_thread(mishap)
                    happened[str(mishap.__doc__)] += 1
            traffic.over = True
            try:
                async with asyncio.timeout(PATIENCE):
                    await flowing
                    await until_quiet(client)
            except TimeoutError:
                wrong += [f"still open: {one.id} is {one.state}: {one.why}" async for one in open_ones(client)][:SHOWN]
            print(f"a worker at most: {before} at first, {workers.resources()} at the end")
        await asyncio.to_thread(workers.end)
    finally:
        workers.close()
    return happened, traffic.ended, wrong


async def until_quiet(client: Client) -> None:
    """Wait until all that was started has ended; the schedule makes no more."""
    while True:
        with suppress(StoreUnavailable):
            await client.schedule("soak.tick").pause()
            if not [one.id async for one in open_ones(client)]:
                return
        await asyncio.sleep(0.5)


def open_ones(client: Client) -> AsyncIterator[WorkflowStatus]:
    """Give what has not ended."""
    return aiter(client.workflows(state=["running", "queued", "waiting", "stuck"]))


def told_of_errors(folder: Path) -> Iterator[str]:
    """Give what workers said of errors that nobody expects."""
    for file in sorted(folder.glob("worker-*")):
        told = file.read_text()
        if "Traceback" in told:
            yield f"{file.name} has told of an error:\n{told[-3000:]}"


def soak(store: str, seconds: float, seed: int) -> bool:
    """Live for so long, then check; give whether all is well."""
    with tempfile.TemporaryDirectory(prefix="everlog-soak-") as name:
        folder = Path(name)
        with database(store, folder) as (url, plain_url, mishaps):
            happened, ended, wrong = asyncio.run(live(url, folder, store, mishaps, seconds, Random(seed)))
            wrong += told_of_errors(folder)
            left = read_town(plain_url, folder, {"narrow": town.NARROW, "provider": town.PROVIDED}, town.EVERY)
        print(f"\n{store}: {ended:,} workflows of the traffic, {len(left.histories):,} in all, ", end="")
        print(f"{sum(len(one.events) for one in left.histories.values()):,} events; seed {seed}")
        for what, times in happened.most_common():
            print(f"{times:6}  {what}")
        for law in LAWS:
            broken = list(law(left))
            print(f"{'BROKEN' if broken else 'holds':>6}  {law.__doc__}")
            wrong += broken[:SHOWN]
        for one in wrong:
            print(f" wrong  {one}")
        return not wrong


def main() -> None:
    """See above."""
    arguments = argparse.ArgumentParser(prog="python -m tests.soak")
    arguments.add_argument("--minutes", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    arguments.add_argument("--store", choices=list(LINES), action="append")
    given = arguments.parse_args()
    logging.getLogger("everlog").setLevel(logging.ERROR)
    stores = given.store or list(LINES)
    outcomes = [soak(store, given.minutes * 60 / len(stores), given.seed) for store in stores]
    raise SystemExit(0 if all(outcomes) else 1)


if __name__ == "__main__":
    main()
