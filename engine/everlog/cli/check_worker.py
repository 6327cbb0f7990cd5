"""The other process of `everlog check`: replays the histories that it is told of, and answers with their verdicts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import msgspec

from everlog.cli.code import load_modules
from everlog.cli.codecs import codec_of
from everlog.cli.rules import Finding, findings
from everlog.core.codec import Codec
from everlog.core.log_lines import Exported, read_lines
from everlog.errors import CorruptLog, EverlogError
from everlog.processes import Say
from everlog.replay.registry import registered_workflows
from everlog.runtime.backends import open_store
from everlog.runtime.replaying import known_workflows, replay_environment
from everlog.runtime.verdicts import Verdict, verdict_of


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Histories that are to be replayed: of a store, or in files."""

    modules: list[str]
    codec: str | None = None
    url: str | None = None
    names: list[str]
    """Ids of workflows of the store, or paths of files."""
    judges_sources: bool = False
    """Whether the sources of the workflows are looked at too."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts, in the order of what was asked; or why there are none."""

    verdicts: list[Verdict] = []
    findings: list[Finding] = []
    error: str | None = None


def answer(payload: bytes, say: Say) -> bytes:
    """Replay what is asked for; before each history its place in the question is said."""
    question = msgspec.json.decode(payload, type=Question)
    with redirect_stdout(sys.stderr):  # what the code of workflows prints is no part of the report
        try:
            load_modules(question.modules)
            codec = codec_of(question.codec)
            judged = findings(registered_workflows().values()) if question.judges_sources else []
            found = Answer(verdicts=list(_verdicts(question, codec, say)), findings=judged)
        except EverlogError as error:
            found = Answer(error=str(error))
    return msgspec.json.encode(found)


def _verdicts(question: Question, codec: Codec | None, say: Say) -> Iterator[Verdict]:
    environment, definitions = replay_environment(codec), known_workflows()
    for place, exported in enumerate(_histories(question)):
        say(str(place).encode())
        if isinstance(exported, Verdict):
            yield exported
        elif exported is not None:
            yield verdict_of(exported, definitions, environment)


def _histories(question: Question) -> Iterator[Exported | Verdict | None]:
    """Give the histories; in the place of one that cannot be read, the verdict that says so; None: it was deleted."""
    if question.url is None:
        for path in question.names:
            try:
                with Path(path).open(encoding="utf-8") as lines:
                    yield read_lines(lines)
            except (CorruptLog, OSError, UnicodeDecodeError) as error:
                yield Verdict(workflow_id=path, name="a file", outcome="unreadable", why=str(error))
        return
    store = open_store(question.url, create=False)
    try:
        for workflow_id in question.names:
            (head,) = store.heads([workflow_id])
            if head is None:
                yield None
                continue
            rows = store.read(workflow_id, after=head.first_seq - 1)
            yield Exported(
                workflow_id=workflow_id,
                name=head.name,
                rows=[(row.seq, row.recorded_at, row.payload) for row in rows],
            )
    finally:
        store.close()
