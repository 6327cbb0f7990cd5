"""Text: tables, times and one-line values for a terminal. It knows nothing of workflows."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from everlog.core.durations import as_datetime

WIDTH: Final = 100
"""The columns of what is not written to a terminal."""


def width() -> int:
    """Give how many columns there are."""
    return max(60, shutil.get_terminal_size((WIDTH, 24)).columns) if sys.stdout.isatty() else WIDTH


def cut(text: str, columns: int) -> str:
    """Give the text on one line of at most so many columns."""
    line = "".join(one if one.isprintable() else " " for one in text)
    return line if len(line) <= columns else line[: max(0, columns - 3)] + "..."


def moment(time: int) -> str:
    """Give a time in microseconds to the second, in UTC."""
    return f"{as_datetime(time):%Y-%m-%d %H:%M:%S}"


def instant(time: int) -> str:
    """Give month, day and time of day to the millisecond, in UTC."""
    return f"{as_datetime(time):%m-%d %H:%M:%S.%f}"[:-3]


def value(raw: Any) -> str:
    """Give a recorded value as one line of JSON."""
    return msgspec.json.encode(raw).decode(errors="replace")


def table(rows: Iterable[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Give rows as aligned lines, the columns numbered in `right` to the right; the last column gets what is left."""
    lines = [list(row) for row in rows]
    columns = width()
    sizes = [max(len(row[number]) for row in lines) for number in range(len(lines[0]) - 1)] if lines else []
    left = max(10, columns - sum(sizes) - 2 * len(sizes))
    given: list[str] = []
    for row in lines:
        cells = [
            cell.rjust(size) if number in right else cell.ljust(size)
            for number, (cell, size) in enumerate(zip(row, sizes, strict=False))
        ]
        given.append("  ".join([*cells, cut(row[-1], left)]).rstrip())
    return given


def paragraph(label: str, text: str, *, indent: int = 10) -> list[str]:
    """Give a labelled text, wrapped under its label; lines that the text has already are kept."""
    lines: list[str] = []
    for line in text.splitlines() or [""]:
        wrapped = textwrap.wrap(line, width() - indent, drop_whitespace=True, break_long_words=False)
        lines += [line[: len(line) - len(line.lstrip())] + one.lstrip() for one in wrapped] or [""]
    return [f"{label if number == 0 else '':<{indent}}{line}".rstrip() for number, line in enumerate(lines)]
