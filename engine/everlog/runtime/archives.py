"""Archives: workflows as compressed files in a folder, one each, before they are removed. It decides nothing.

The form is that of `everlog export` (`docs/log-format.md`), in gzip. A file has its name from the id and the times of
the workflow, so that the same one archived again is the same file, and another of the same id, years later, is another.
It is there only as a whole: it is written beside, brought to the disk, and then renamed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

from everlog.core.durations import as_datetime
from everlog.errors import CorruptLog, UsageError
from everlog.runtime.portable import export_lines
from everlog.store_moving import WorkflowRows

SUFFIX: Final = ".jsonl.gz"
LONGEST_NAME: Final = 120
_LEVEL: Final = 6


class Archive:
    """A folder of archived workflows, by the day (UTC) on which they ended."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder: Final = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise UsageError(f"the archive must be a folder, and {str(self.folder)!r} is a file")

    def keep(self, workflows: Iterable[WorkflowRows]) -> int:
        """Write workflows; when this returns they are on the disk, whatever happens to the machine. Gives how many.

        Raises `UsageError` where the folder cannot be written to: then some may be there, as whole files.
        """
        parts, folders = list[tuple[Path, Path]](), dict[Path, None]()
        try:
            for rows in workflows:
                path = self.path_of(rows)
                _make(path.parent, self.folder, folders)
                parts.append((_written(path, _compressed(rows)), path))
                folders[path.parent] = None
            # All are written before the first is waited for: the disk takes them together, nearly.
            for part, _ in parts:
                _bring_to_disk(part)
            for part, path in parts:
                part.replace(path)
            for folder in folders:
                _bring_to_disk(folder)
        except OSError as error:
            raise UsageError(
                f"nothing was removed, since the archive {str(self.folder)!r} cannot be written: {error}"
            ) from error
        finally:
            for part, _ in parts:
                part.unlink(missing_ok=True)
        return len(parts)

    def path_of(self, rows: WorkflowRows) -> Path:
        """Give the file of a workflow that has ended."""
        head = rows.head
        plain = quote(head.workflow_id, safe="")[:LONGEST_NAME]
        known = f"{head.workflow_id}\0{head.created_at}\0{head.seq}\0{head.ended_at}"
        name = f"{plain}-{hashlib.sha256(known.encode()).hexdigest()[:12]}{SUFFIX}"
        return self.folder / f"{as_datetime(head.ended_at or head.created_at):%Y-%m-%d}" / name


def _compressed(rows: WorkflowRows) -> bytes:
    return gzip.compress("".join(export_lines(rows)).encode(), _LEVEL, mtime=0)


def _written(path: Path, content: bytes) -> Path:
    """Write a file beside the one that it will be."""
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(content)
        return Path(file.name)


def _make(folder: Path, top: Path, made: dict[Path, None]) -> None:
    """Make a folder of the archive, and have the names of all that are new brought to the disk as well."""
    if folder in made or folder.is_dir():
        return
    new = [folder] if top.is_dir() else [folder, top]
    folder.mkdir(parents=True, exist_ok=True)
    made.update((one.parent, None) for one in new)


def _bring_to_disk(path: Path) -> None:
    """Have a file, or the names in a folder, survive the loss of power, where the system knows that of a folder."""
    if path.is_dir() and os.name != "posix":
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def opened_lines(path: str | os.PathLike[str]) -> Generator[Iterator[str]]:
    """Give the lines of an exported workflow, compressed or not. `CorruptLog` where the file was cut off or changed."""
    with Path(path).open("rb") as raw:
        magic = raw.read(2)
        raw.seek(0)
        yield _lines(gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw, path)


def _lines(file: IO[bytes] | gzip.GzipFile, path: str | os.PathLike[str]) -> Iterator[str]:
    try:
        for line in file:
            yield line.decode("utf-8")
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CorruptLog(f"{os.fspath(path)} was cut off or changed ({error}); take it from a copy") from error
