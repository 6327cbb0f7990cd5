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
from everlog.cli.demo.index import Index
from everlog.cli.demo.ledger import Kill, account, recorded_modules
from everlog.cli.demo.modules import Module, documented_names, find_modules
from everlog.cli.demo.progress import Progress
from everlog.cli.demo.victim import Victim
from everlog.cli.demo.workflow import WORKFLOW_ID, Summary, index_library

POLL = 0.01
PATIENCE = 60.0
"""Seconds without progress after which something is wrong."""

BROKEN = '"""A file that is broken on purpose, so that one step fails: nothing else here would."""\n\ndef (\n'


@dataclass(frozen=True)
class Settings:
    """What the command line says. `folder` None: a new one among the temporary files; `limit` 0: all modules."""

    kills: int = 5
    seed: int | None = None
    folder: str | None = None
    keep: bool = False
    limit: int = 0


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
        self._url = f"sqlite:///{folder / 'everlog.db'}"
        self._index = Index(folder / "index.db")
        self._measure = Index(folder / "measure.db")
        self._victim = Victim(self._url, folder / "worker.log")
        self._kills: list[Kill] = []
        seed = settings.seed if settings.seed is not None else random.randrange(1_000_000)
        self._seed = seed
        self._random = random.Random(seed)

    async def run(self) -> int:
        modules = find_modules(self._settings.limit)
        report.introduce(len(modules), self._settings.kills, self._seed, self._folder)
        modules += self._make_measure(modules)
        self._index.create()
        async with Client(self._url) as client:
            await client.start(index_library.options(id=WORKFLOW_ID), str(self._index.path), modules)
        try:
            seconds = await self._run_and_kill(len(modules))
        except Failed as failed:
            print(f"\nThe demo failed: {failed}\nIts files are in {self._folder}")
            return 1
        finally:
            self._victim.kill()
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

    async def _run_and_kill(self, total: int) -> float:
        report.head("2. The workflow: a step for each module, in a process that is killed with SIGKILL")
        progress = Progress("indexing", total)
        # Anywhere between the first steps and the last, in milliseconds as well as in steps.
        moments = sorted(self._random.uniform(0.03, 0.9) * total for _ in range(self._settings.kills))
        for number, moment in enumerate(moments, start=1):
            if not await self._run_until(moment, total, progress):
                break
            await asyncio.sleep(self._random.uniform(0, 0.01))
            await self._kill(number, total, progress)
        await self._run_until(None, total, progress)
        progress.clear()
        return progress.seconds

    async def _run_until(self, moment: float | None, total: int, progress: Progress) -> bool:
        """Have a process work until so many modules are done, or until it has ended; False if it ended before."""
        if self._victim.pid == 0 or self._victim.ended() is not None:
            self._victim.start()
        started = moved = time.monotonic()
        resumed = not self._kills
        before = self._index.written()
        while True:
            code = self._victim.ended()
            done = self._index.written()
            if done != before:
                before, moved = done, time.monotonic()
            if not resumed and self._begun_since_kill():
                resumed = True
                progress.say(f"resumed after {time.monotonic() - started:.1f} s as process {self._victim.pid}")
            progress.update(done, note=f"   {len(self._kills)} kills")
            if code == 0:
                return False
            if moment is not None and done >= moment and resumed:
                return True
            await self._look_for_trouble(code, time.monotonic() - moved)
            await asyncio.sleep(POLL)

    def _begun_since_kill(self) -> bool:
        return len(self._index.attempts()) > self._kills[-1].attempts

    async def _kill(self, number: int, total: int, progress: Progress) -> None:
        pid = self._victim.pid
        self._victim.kill()
        recorded = recorded_modules(await self._history())
        self._kills.append(Kill(recorded=set(recorded), attempts=len(self._index.attempts())))
        progress.say(
            f"kill {number}: process {pid} at {self._index.written()} of {total}, with {len(recorded)} results recorded"
        )

    async def _look_for_trouble(self, code: int | None, silence: float) -> None:
        if code is not None:
            raise Failed(f"the process ended by itself with {code}:\n{self._victim.last_words()}")
        if silence > PATIENCE:
            async with Client(self._url) as client:
                status = await client.handle(WORKFLOW_ID).status()
            raise Failed(f"nothing happened for {PATIENCE:.0f} s. {status.why}\n{self._victim.last_words()}")

    # -- the account -------------------------------------------------------------------------------------------------

    async def _account(self, total: int, seconds: float) -> int:
        history = await self._history()
        ledger = account(self._index.attempts(), history, self._kills)
        report.head("3. The account")
        report.show_summary(await self._summary(), seconds)
        report.show_ledger(ledger)
        equal = self._index.entries() == self._measure.entries()
        report.show_comparison(equal, len(self._index.entries()))
        report.head("4. The index answers")
        report.show_searches(self._index)
        report.show_commands(self._folder, WORKFLOW_ID)
        return 0 if equal and ledger.is_sound and ledger.results == total else 1

    async def _summary(self) -> Summary:
        async with Client(self._url) as client:
            return await client.handle(WORKFLOW_ID, index_library).result()

    async def _history(self) -> list[HistoryEvent]:
        async with Client(self._url) as client:
            return await client.handle(WORKFLOW_ID).history()


class Failed(Exception):
    """The run cannot go on."""


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
