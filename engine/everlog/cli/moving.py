"""`everlog export`, `import` and `copy`: workflows as files, and databases that move. Nothing is decided here."""

from __future__ import annotations

import hashlib
import sys
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from everlog.cli.places import head_of, opened, store_url
from everlog.errors import IdInUse, NotFound, UsageError
from everlog.runtime.archives import opened_lines
from everlog.runtime.backends import open_store
from everlog.runtime.copying import Copied, End, Live, Movable, Phase, copy, live_workers, movable, pages, undo
from everlog.runtime.portable import export_lines, import_lines
from everlog.store import ENDED, Deduplicated, Done, Exists, Store, SupportsQueues
from everlog.store_moving import WorkflowRows

LONGEST_NAME: Final = 150
LOOK: Final = 0.25
"""Seconds between two looks whether workers still live."""


def export(workflow_ids: Sequence[str], place: str | None, *, folder: str | None, everything: bool) -> None:
    """Write workflows as lines of JSON: one to stdout, or each to a file of its own in a folder."""
    if folder is None and (everything or len(workflow_ids) != 1):
        raise UsageError("each workflow is a file of its own: name one, or a folder for many with --dir")
    url = store_url(place)
    with opened(url) as store:
        moving = movable(End(store, url))
        for workflow_id in workflow_ids:
            head_of(store, workflow_id, url)
        found: Iterable[WorkflowRows] = pages(moving) if everything else moving.rows_of(workflow_ids)
        count = 0
        for rows in found:
            if folder is None:
                sys.stdout.writelines(export_lines(rows))
            else:
                _write(Path(folder) / file_name(rows.head.workflow_id), export_lines(rows))
            count += 1
    if folder is not None:
        print(f"{count} {'workflow was' if count == 1 else 'workflows were'} written to {folder}")


def file_name(workflow_id: str) -> str:
    """Give the name of the file of a workflow: one of its own, on file systems that know no case as well."""
    plain = quote(workflow_id, safe="")
    if plain == workflow_id.lower() and len(plain) <= LONGEST_NAME:
        return f"{plain}.jsonl"
    return f"{plain[:LONGEST_NAME]}-{hashlib.sha256(workflow_id.encode()).hexdigest()[:12]}.jsonl"


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            file.writelines(lines)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def import_files(files: Sequence[str], place: str | None, *, run: bool) -> None:
    """Bring workflows from files into a database; what is there already is left as it is."""
    url = store_url(place)
    read = [(file, _read(file)) for file in files]
    for file, rows in read:
        if rows.head.state not in ENDED and not run:
            raise UsageError(
                f"{file}: workflow {rows.head.workflow_id!r} has not ended ({rows.head.state}) and goes on here as soon"
                " as an engine has its code: its steps run here, whether it runs elsewhere or not. Stop it there, then"
                " give --run; nothing was imported"
            )
    store = open_store(url)
    try:
        moving = movable(End(store, url))
        for file, rows in read:
            print(f"{file}: workflow {rows.head.workflow_id!r} {imported(moving, file, rows)}")
    finally:
        store.close()


def _read(file: str) -> WorkflowRows:
    if file == "-":
        return import_lines(sys.stdin)
    try:
        with opened_lines(file) as lines:
            return import_lines(lines)
    except FileNotFoundError:
        raise NotFound(f"there is no file {file!r}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no text in UTF-8 ({error}); `everlog export` writes such files") from error


def imported(store: Movable, file: str, rows: WorkflowRows) -> str:
    """Write one workflow, and say what came of it. What is there already is left as it is; another one is `IdInUse`."""
    _require_queue(store, rows)
    match store.put_workflow_rows([rows])[0]:
        case Done():
            return f"was imported, {rows.head.state}"
        case Deduplicated(head=head):
            raise IdInUse(f"{file}: workflow {head.workflow_id!r} has its dedup_key in this database; it was left out")
        case Exists():
            (there,) = store.rows_of([rows.head.workflow_id])
            same = list(there.events[: len(rows.events)]) == list(rows.events)
            if same and len(there.events) == len(rows.events):
                return "is there already, with the same history"
            if same:
                return f"is there already, and has gone on from seq {len(rows.events)} to {len(there.events)}"
            raise IdInUse(
                f"{file}: workflow {rows.head.workflow_id!r} is there already with another history, and was left as it"
                " is; import it into another database, or `delete` that one if it has ended"
            )


def _require_queue(store: Store, rows: WorkflowRows) -> None:
    if rows.standing is not None and not isinstance(store, SupportsQueues):
        raise UsageError(f"workflow {rows.head.workflow_id!r} stands in a queue, and this database has none")


def copy_database(source: str, destination: str, *, wait: float, force: bool) -> None:
    """Move all that is in one database to another, and say what was done."""
    source, destination = store_url(source), store_url(destination)
    with opened(source) as left:
        arrived = open_store(destination)
        try:
            ends = End(left, shown(source)), End(arrived, shown(destination))
            bar = Bar()
            copied = _copied_patiently(*ends, bar, wait=wait, force=force)
            bar.end()
            print(_report(*ends, copied))
        finally:
            arrived.close()


def take_back(source: str) -> None:
    """Open the source of a move that has not come to its end."""
    source = store_url(source)
    with opened(source) as left:
        undo(End(left, shown(source)))
    print(f"{shown(source)} is open again; what was copied of it stays closed, and can be deleted")


def _copied_patiently(source: End, destination: End, bar: Bar, *, wait: float, force: bool) -> Copied:
    until = time.monotonic() + wait
    told = False
    while True:
        try:
            return copy(source, destination, move_id=str(uuid.uuid4()), force=force, progress=bar.show)
        except Live as live:
            names = ", ".join(one.worker for one in live.workers[:3])
            if time.monotonic() > until:
                raise UsageError(
                    f"{len(live.workers)} workers run on {source.name} ({names}): stop them and copy again; or give"
                    " --force, then they lose what they hold as if they had died, and steps that run now run again"
                ) from live
            if not told:
                print(f"waiting up to {wait:g} s for {len(live.workers)} workers to end: {names}", file=sys.stderr)
                told = True
        while live_workers(source.store) and time.monotonic() <= until:
            time.sleep(LOOK)


def _report(source: End, destination: End, copied: Copied) -> str:
    what = f"{copied.workflows:,} workflows with {copied.events:,} events"
    if copied.before:
        return f"{source.name} was moved to {destination.name} before: {what} are there now"
    return (
        f"{what} were moved from {source.name} to {destination.name}, and are the same there (SHA-256 {copied.digest});"
        f" {source.name} is closed"
    )


def shown(url: str) -> str:
    """Give a URL as it may be shown and stored: without a password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}"))


class Bar:
    """A line on a terminal that says how far something is; nothing where stderr is none."""

    WIDTH: Final = 30

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._last = 0.0

    def show(self, phase: Phase, done: int, total: int) -> None:
        """Say how far it is, at most a few times a second."""
        now = time.monotonic()
        if not self._is_shown or (now - self._last < 0.1 and done < total):
            return
        self._last = now
        full = self.WIDTH if not total else min(self.WIDTH, self.WIDTH * done // total)
        bar = "#" * full + "." * (self.WIDTH - full)
        sys.stderr.write(f"\r{phase:<9} [{bar}] {done:,} of {total:,} workflows")
        sys.stderr.flush()

    def end(self) -> None:
        """End the line."""
        if self._is_shown:
            sys.stderr.write("\n")
