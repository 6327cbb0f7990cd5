"""The demo from beginning to end: the measure, the workflow and its kills, the account."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from everlog import Client, HistoryEvent, UsageError
from everlog.cli.demo import report
from everlog.cli.demo.crew import Crew
from everlog.cli.demo.index import Index
from everlog.cli.demo.ledger import Kill, account, recorded_modules
from everlog.cli.demo.modules import Module, documented_names, find_modules
from everlog.cli.demo.parts import Part, divide, held_by
from everlog.cli.demo.progress import Progress
from everlog.cli.demo.workflow import WORKFLOW_ID, Summary, index_library
from everlog.cli.places import store_url

POLL = 0.01
PATIENCE = 60.0
"""Seconds without progress after which something is wrong."""

EACH_HOLDS = 2
"""So many workflows one of several processes holds at a time, so that the others have some as well."""

BROKEN = '"""A file that is broken on purpose, so that one step fails: nothing else here would."""\n\ndef (\n'


@dataclass(frozen=True)
class Settings:
    """What the command line says. `folder` None: a new one among the temporary files; `limit` 0: all modules.

    `database` None: an SQLite file in the folder.
    """

    kills: int = 5
    seed: int | None = None
    folder: str | None = None
    keep: bool = False
    limit: int = 0
    workers: int = 1
    database: str | None = None


def run_demo(settings: Settings) -> int:
    """Run the demo and give its exit code: 0 where all is as it should be, 1 where not, 130 after Ctrl-C."""
    folder = _folder(settings.folder)
    try:
        return asyncio.run(Demo(settings, folder).run())
    except KeyboardInterrupt:
        if settings.keep or settings.folder is not None:
            print(f"\nStopped. The files are in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
            print("\nStopped.")
        return 130


class Demo:
    """One run of the demo in a folder of its own."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._database = settings.database or str(folder / "everlog.db")
        self._url = store_url(self._database)
        self._index = Index(folder / "index.db")
        self._measure = Index(folder / "measure.db")
        self._parts: list[Part] = []
        self._kills: list[Kill] = []
        seed = settings.seed if settings.seed is not None else random.randrange(1_000_000)
        self._seed = seed
        self._random = random.Random(seed)

    async def run(self) -> int:
        modules = find_modules(self._settings.limit)
        workers = self._settings.workers
        report.introduce(len(modules), self._settings.kills, workers, self._seed, self._folder)
        modules += self._make_measure(modules)
        self._index.create()
        # In a database that is not ours alone there may be earlier runs.
        name = WORKFLOW_ID if self._settings.database is None else f"{WORKFLOW_ID}-{random.randrange(16**6):06x}"
        self._parts = divide(modules, name, workers=workers)
        async with Client(self._url) as client:
            for part in self._parts:
                workflow = index_library.options(id=part.workflow_id)
                await client.start(workflow, str(self._index.path), list(part.modules))
        each = 1 if workers == 1 else EACH_HOLDS
        ids = [part.workflow_id for part in self._parts]
        crew = Crew(workers, [self._url, str(each), *ids], self._folder / "worker.log")
        try:
            seconds = await self._run_and_kill(crew, len(modules))
        except Failed as failed:
            print(f"\nThe demo failed: {failed}\nIts files are in {self._folder}")
            return 1
        finally:
            crew.kill_all()
        return await self._account(len(modules), seconds)

    def _make_measure(self, modules: Sequence[Module]) -> list[Module]:
        """Index in a plain loop, and give what was added to the modules so that at least one is refused."""
        report.head("1. The measure: a plain loop, without Everlog and without kills")
        progress = Progress("looping", len(modules))
        self._measure.create()
        refused = 0
        for number, module in enumerate(modules, start=1):
            refused += not _index_plainly(self._measure, module)
            progress.update(number)
        progress.say(f"{len(self._measure.entries())} documented names, in {progress.seconds:.1f} s")
        if refused:
            return []
        path = self._folder / "broken.py"
        path.write_text(BROKEN)
        added = Module("broken", str(path))
        _index_plainly(self._measure, added)
        progress.say("every file parses, so one that does not is added on purpose: broken.py")
        return [added]

    # -- the run and its kills ---------------------------------------------------------------------------------------

    async def _run_and_kill(self, crew: Crew, total: int) -> float:
        where = "a process that is" if crew.size == 1 else f"{crew.size} processes that are"
        report.head(f"2. The workflow: a step for each module, in {where} killed with SIGKILL")
        progress = Progress("indexing", total)
        # Anywhere between the first steps and the last, in milliseconds as well as in steps.
        moments = sorted(self._random.uniform(0.03, 0.9) * total for _ in range(self._settings.kills))
        for number, moment in enumerate(moments, start=1):
            if not await self._run_until(moment, crew, progress):
                break
            await asyncio.sleep(self._random.uniform(0, 0.01))
            await self._kill(number, crew, total, progress)
        await self._run_until(None, crew, progress)
        progress.clear()
        return progress.seconds

    async def _run_until(self, moment: float | None, crew: Crew, progress: Progress) -> bool:
        """Have processes work until so many modules are done, or until they have ended; False if they ended before."""
        crew.fill()
        started = moved = time.monotonic()
        left = self._left_by_the_dead()
        before = self._index.written()
        while True:
            code = crew.ended()
            done = self._index.written()
            if done != before:
                before, moved = done, time.monotonic()
            if left and self._all_begun_since_kill(left):
                progress.say(_resumed(left, crew, time.monotonic() - started))
                left = []
            progress.update(done, note=f"   {len(self._kills)} kills")
            if code == 0:
                return False
            if moment is not None and done >= moment and not left:
                return True
            await self._look_for_trouble(crew, code, time.monotonic() - moved)
            await asyncio.sleep(POLL)

    def _left_by_the_dead(self) -> list[Part]:
        """Give the workflows that the process which was killed last was at work on."""
        if not self._kills:
            return []
        kill = self._kills[-1]
        return held_by(kill.process, self._parts, self._index.attempts()[: kill.attempts], kill.recorded)

    def _all_begun_since_kill(self, left: Sequence[Part]) -> bool:
        begun = {attempt.module for attempt in self._index.attempts()[self._kills[-1].attempts :]}
        return all(any(module.name in begun for module in part.modules) for part in left)

    async def _kill(self, number: int, crew: Crew, total: int, progress: Progress) -> None:
        pid = self._random.choice(crew.pids)
        crew.kill(pid)
        attempts = len(self._index.attempts())
        recorded = recorded_modules(await self._history())
        looked = len(self._index.attempts())
        self._kills.append(Kill(process=pid, attempts=attempts, recorded=set(recorded), looked=looked))
        progress.say(
            f"kill {number}: process {pid} at {self._index.written()} of {total}, with {len(recorded)} results recorded"
        )

    async def _look_for_trouble(self, crew: Crew, code: int | None, silence: float) -> None:
        if code is not None:
            raise Failed(f"the process ended by itself with {code}:\n{crew.last_words()}")
        if silence > PATIENCE:
            async with Client(self._url) as client:
                statuses = [await client.handle(part.workflow_id).status() for part in self._parts]
            whys = " ".join(sorted({status.why for status in statuses}))
            raise Failed(f"nothing happened for {PATIENCE:.0f} s. {whys}\n{crew.last_words()}")

    # -- the account -------------------------------------------------------------------------------------------------

    async def _account(self, total: int, seconds: float) -> int:
        history = await self._history()
        ledger = account(self._index.attempts(), history, self._kills, self._parts)
        report.head("3. The account")
        report.show_summary(await self._summaries(), seconds)
        report.show_ledger(ledger)
        equal = self._index.entries() == self._measure.entries()
        report.show_comparison(equal, len(self._index.entries()))
        report.head("4. The index answers")
        report.show_searches(self._index)
        report.show_commands(self._database, self._folder, self._parts[0].workflow_id)
        return 0 if equal and ledger.is_sound and ledger.results == total else 1

    async def _summaries(self) -> list[Summary]:
        async with Client(self._url) as client:
            return [await client.handle(part.workflow_id, index_library).result() for part in self._parts]

    async def _history(self) -> list[HistoryEvent]:
        async with Client(self._url) as client:
            histories = [await client.handle(part.workflow_id).history() for part in self._parts]
        return [event for history in histories for event in history]


class Failed(Exception):
    """The run cannot go on."""


def _resumed(left: Sequence[Part], crew: Crew, seconds: float) -> str:
    if crew.size == 1:
        return f"resumed after {seconds:.1f} s as process {crew.pids[0]}"
    what = "its workflow goes" if len(left) == 1 else f"its {len(left)} workflows go"
    return f"{what} on elsewhere after {seconds:.1f} s"


def _index_plainly(index: Index, module: Module) -> bool:
    attempt = index.note_attempt(module.name)
    try:
        index.replace(module.name, documented_names(module), attempt, "indexed")
    except SyntaxError:
        return False
    return True


def _folder(given: str | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="everlog-demo-"))
    folder = Path(given).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"the directory {given!r} is not empty; name an empty or a new one")
    except OSError as error:
        raise UsageError(f"{given!r} cannot be a directory for the demo: {error}") from None
    return folder
