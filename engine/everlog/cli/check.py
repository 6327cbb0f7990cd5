"""`everlog check`: whether the code of the working tree fits the histories of a database, or of exported files.

Other processes replay them, so what the code does to its process stays there, and one that never comes to an end is
killed. Nothing is written anywhere.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Final

import msgspec

from everlog.cli.check_worker import Answer, Question, answer
from everlog.cli.patches import PatchCounts
from everlog.cli.places import opened, store_url
from everlog.cli.rules import Finding
from everlog.cli.text import width
from everlog.core.heads import STATES, State
from everlog.errors import NotFound, UsageError
from everlog.processes import Request, SystemProcessPool
from everlog.runtime.verdicts import Outcome, Verdict, told
from everlog.store import ENDED, WorkflowQuery

PAGE: Final = 500
EVENTS: Final = 20_000
"""So many events, or more, are replayed for one question."""
FILES: Final = 100
PATIENCE: Final = 60.0
"""Seconds after which one replay is given up."""
SUFFIX: Final = ".jsonl"
DIFFERS: Final = 1


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a check is about."""

    modules: list[str]
    codec: str | None
    place: str | None
    """A database, or a directory or a file of exported histories."""
    names: list[str] | None
    """Of workflow functions."""
    whole: bool
    """Also what has ended."""
    known_only: bool
    """Whether workflows whose code is not here are let pass."""
    processes: int | None
    as_json: bool
    most: int
    """So many divergences are shown in full; 0: all."""
    sources: bool = True
    """Whether the sources of the workflows are looked at."""
    histories: bool = True
    """Whether histories are replayed."""


def check(asked: Asked) -> int:
    """Replay what is asked for, print the report; give the exit code: 1 where something does not fit."""
    counted: Counter[Outcome] = Counter()
    seqs: Counter[int] = Counter()
    judged: list[Finding] = []
    shown = 0
    patches = PatchCounts()
    for verdict in _verdicts(asked):
        if isinstance(verdict, Finding):
            judged.append(verdict)
            continue
        patches.add(verdict)
        counted[verdict.outcome] += 1
        if verdict.outcome == "diverges" and verdict.seq is not None:
            seqs[verdict.seq] += 1
        if asked.as_json:
            print(msgspec.json.encode(verdict).decode())
        elif not _passes(verdict, asked):
            shown += 1
            if not asked.most or shown <= asked.most:
                print("\n".join([*told(verdict, columns=width()), ""]))
    for finding in judged:
        print(msgspec.json.encode(finding).decode() if asked.as_json else _said(finding))
    if not asked.as_json:
        if judged:
            print()
        if asked.most and shown > asked.most:
            print(f"... and {shown - asked.most} more that do not fit; --limit 0 shows all\n")
        summary = ", ".join([*([_summary(counted, seqs)] if asked.histories else []), *_of_sources(asked, judged)])
        print("\n".join([*patches.told(), summary]))
    ignored = {"clean", "unknown"} if asked.known_only else {"clean"}
    return DIFFERS if judged or counted.keys() - ignored else 0


def _said(finding: Finding) -> str:
    """Give a finding on one line, as editors and CI know how to read it."""
    path = Path(finding.file)
    file = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return f"{file}:{finding.line}: {finding.rule}: workflow {finding.workflow!r}: {finding.what}: {finding.advice}"


def _of_sources(asked: Asked, judged: list[Finding]) -> list[str]:
    """Give what the summary says of the sources: nothing where nothing was found, unless only they were looked at."""
    if judged:
        return [f"{len(judged):,} {'line' if len(judged) == 1 else 'lines'} of source to look at"]
    return [] if asked.histories else ["nothing was found in the sources"]


def _passes(verdict: Verdict, asked: Asked) -> bool:
    return verdict.is_clean or (asked.known_only and verdict.outcome == "unknown")


def _summary(counted: Counter[Outcome], seqs: Counter[int]) -> str:
    """Give the report in one line: `118 replay clean, 2 diverge at event 7`."""
    parts = [f"{counted['clean']:,} replay clean"]
    if counted["diverges"]:
        places = [str(seq) for seq in sorted(seqs)]
        more = ", ..." if len(places) > 8 else ""
        parts.append(f"{counted['diverges']:,} diverge at event{'s'[: len(places) > 1]} {', '.join(places[:8])}{more}")
    others: list[tuple[Outcome, str]] = [
        ("fails", "would fail at once"),
        ("unknown", "have no code here"),
        ("unreadable", "cannot be read"),
        ("endless", "did not come to an end"),
    ]
    parts += [f"{counted[outcome]:,} {words}" for outcome, words in others if counted[outcome]]
    return ", ".join(parts)


# -- what is replayed ------------------------------------------------------------------------------------------------


def _questions(asked: Asked) -> Iterator[Question]:
    path = Path(asked.place) if asked.place is not None else None
    if path is not None and (path.is_dir() or path.suffix == SUFFIX):
        files = sorted(str(one) for one in path.rglob(f"*{SUFFIX}")) if path.is_dir() else [str(path)]
        if not files:
            raise UsageError(f"there is no exported history (*{SUFFIX}) in {str(path)!r}, so nothing would be checked")
        if not path.exists():
            raise NotFound(f"there is no file {str(path)!r}")
        for begin in range(0, len(files), FILES):
            yield Question(modules=asked.modules, codec=asked.codec, names=files[begin : begin + FILES])
        return
    url = store_url(asked.place)
    for names in _chunks(url, asked):
        yield Question(modules=asked.modules, codec=asked.codec, url=url, names=names)


def _chunks(url: str, asked: Asked) -> Iterator[list[str]]:
    """Give the ids of the workflows of a store, so many at once as make for enough work."""
    states: list[State] | None = None if asked.whole else [state for state in STATES if state not in ENDED]
    query = WorkflowQuery(states=states, names=asked.names, limit=PAGE)
    names: list[str] = []
    events = 0
    with opened(url) as store:
        while page := store.workflows(query):
            for head in page:
                names.append(head.workflow_id)
                events += head.seq - head.first_seq + 1
                if events >= EVENTS or len(names) >= PAGE:
                    yield names
                    names, events = [], 0
            query = msgspec.structs.replace(query, after=(page[-1].created_at, page[-1].workflow_id))
    if names:
        yield names


# -- in other processes ----------------------------------------------------------------------------------------------


class _Chunk:
    """One question with a process, or waiting for one."""

    def __init__(self, question: Question, done: SimpleQueue[tuple[_Chunk, bytes | Exception]]) -> None:
        self.question = question
        self.place: int | None = None
        """Of the history that is being replayed."""
        self.heard_at: float | None = None
        payload = msgspec.json.encode(question)
        self.request = Request(payload, self._begun, lambda found: done.put((self, found)), self._said)

    def _begun(self) -> None:
        self.heard_at = monotonic()

    def _said(self, what: bytes) -> None:
        self.place, self.heard_at = int(what), monotonic()

    def is_late(self) -> bool:
        """Tell whether its process has been at one history for too long."""
        return self.heard_at is not None and monotonic() - self.heard_at > PATIENCE


def _verdicts(asked: Asked) -> Iterator[Verdict | Finding]:
    done: SimpleQueue[tuple[_Chunk, bytes | Exception]] = SimpleQueue()
    pool = SystemProcessPool(answer, asked.processes or os.cpu_count() or 1)
    open_now: set[_Chunk] = set()

    def submit(question: Question) -> None:
        chunk = _Chunk(question, done)
        open_now.add(chunk)
        pool.submit(chunk.request)

    try:
        questions = _questions(asked) if asked.histories else iter(())
        if asked.sources:
            first = next(questions, Question(modules=asked.modules, names=[]))
            submit(msgspec.structs.replace(first, judges_sources=True))
        for question in questions:
            submit(question)
        while open_now:
            try:
                chunk, found = done.get(timeout=1)
            except Empty:
                for chunk in [one for one in open_now if one.is_late()]:
                    chunk.request.withdraw()
                continue
            open_now.discard(chunk)
            if isinstance(found, bytes):
                given = msgspec.json.decode(found, type=Answer)
                if given.error is not None:
                    raise UsageError(given.error)
                yield from given.verdicts
                yield from given.findings
            else:
                yield _given_up(chunk, found)
                for question in _rest(chunk):
                    submit(question)
    finally:
        pool.close()


def _given_up(chunk: _Chunk, error: Exception) -> Verdict:
    """Give the verdict on the history with which a process died, or was killed."""
    if chunk.place is None:
        raise UsageError(f"no process could replay anything: {error}")
    late = f"it was still being replayed after {PATIENCE:g} s, and given up" if chunk.is_late() else str(error)
    name = chunk.question.names[chunk.place]
    return Verdict(workflow_id=name, name="unknown", outcome="endless", why=late)


def _rest(chunk: _Chunk) -> Iterator[Question]:
    """Give the questions after the others of a chunk."""
    place = chunk.place or 0
    for names in (chunk.question.names[:place], chunk.question.names[place + 1 :]):
        if names:
            yield msgspec.structs.replace(chunk.question, names=names, judges_sources=False)
    if chunk.question.judges_sources:
        yield msgspec.structs.replace(chunk.question, url=None, names=[])
