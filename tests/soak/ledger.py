"""The ledger: what processes say that they did, a line of JSON each, in files that outlive them. It shares no code with
Everlog.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from time import time_ns
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """One line: when, by which process, and what."""

    at: int
    """Nanoseconds since 1970."""
    pid: int
    what: str
    said: list[Any]


class Ledger:
    """The file of one process. A line that `write` has returned from survives the process, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / f"ledger-{os.getpid()}", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, what: str, *said: object) -> None:
        """Add a line, wholly or not at all."""
        os.write(self._file, json.dumps([time_ns(), os.getpid(), what, list(said)]).encode() + b"\n")


def read(folder: Path) -> list[Entry]:
    """Give the lines of all processes, in the order in which they were written."""
    return sorted(_lines(folder))


def _lines(folder: Path) -> Iterator[Entry]:
    for file in folder.glob("ledger-*"):
        for line in file.read_text().splitlines():
            yield Entry(*json.loads(line))
