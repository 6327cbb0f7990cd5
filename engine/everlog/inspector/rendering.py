"""Rendering: the templates, which escape all that they are given, and what they say times and numbers with."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from everlog.core.durations import SECOND, from_datetime, spoken

_HERE: Final = Path(__file__).parent

STATIC_FILES: Final = {
    "inspector.css": "text/css; charset=utf-8",
    "live.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""All files that are served as they are, and what they are."""

SHAPES: Final = {
    "queued": "○",
    "delayed": "◔",
    "running": "▶",
    "waiting": "◐",
    "paused": "‖",
    "stuck": "▲",
    "completed": "✓",
    "failed": "✕",
    "cancelled": "⊘",
}
"""A state is told by its word, its shape and its colour."""


def environment() -> Environment:
    """Give the templates. Every template escapes, and a name that is not there is an error."""
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters: dict[str, Any] = {"moment": moment, "precise": precise, "iso": iso, "lasted": lasted, "counted": counted}
    made.filters.update(filters)
    return made


def static_file(name: str) -> tuple[bytes, str] | None:
    """Give a file that is served as it is, and what it is; None for any other name."""
    kind = STATIC_FILES.get(name)
    return None if kind is None else ((_HERE / "static" / name).read_bytes(), kind)


def moment(time: datetime | None) -> str:
    """Give a time to the second."""
    return "" if time is None else f"{time:%Y-%m-%d %H:%M:%S}"


def precise(time: datetime) -> str:
    """Give a time to the millisecond, without the day."""
    return f"{time:%H:%M:%S.%f}"[:-3]


def iso(time: datetime) -> str:
    """Give a time for machines."""
    return time.isoformat(timespec="milliseconds")


def lasted(begin: datetime, end: datetime) -> str:
    """Give what lies between two times, in words."""
    between = from_datetime(end, what="end") - from_datetime(begin, what="begin")
    return "0 s" if between < SECOND // 1000 else spoken(between)


def counted(number: int, what: str) -> str:
    """Give `1 step`, `2 steps`, `1,200 steps`."""
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
