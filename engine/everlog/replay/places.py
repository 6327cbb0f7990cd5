"""Places: whose code a frame is, and where the user's code stands in a stack. No judgement of what it does there."""

from __future__ import annotations

import sys
from traceback import StackSummary
from types import FrameType
from typing import Final

OURS: Final = "everlog"
STANDARD: Final = frozenset({*sys.stdlib_module_names, "importlib"}) - {"__main__"}


def package_of(frame: FrameType) -> str:
    """Give the top-level package of the code."""
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0]


def is_of_users(frame: FrameType) -> bool:
    """Tell whether the code is neither ours nor the standard library's."""
    package = package_of(frame)
    return package != OURS and package not in STANDARD


def users_place(frame: FrameType | None) -> str:
    """Give file and line of the innermost code of the user, or say that there is none."""
    while frame is not None and not is_of_users(frame):
        frame = frame.f_back
    return "an unknown place" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def users_stack(frame: FrameType | None) -> str:
    """Give the part of a stack that workflow code called, innermost last, as in a traceback."""
    called: list[tuple[FrameType, int]] = []
    while frame is not None and not is_drain(frame):
        called.append((frame, frame.f_lineno))
        frame = frame.f_back
    while called and not is_of_users(called[-1][0]):
        called.pop()
    return "".join(StackSummary.extract(reversed(called)).format()).rstrip()


def is_drain(frame: FrameType) -> bool:
    """Tell whether all code above it is that of one workflow."""
    return frame.f_code.co_name == "drain_within_budget" and package_of(frame) == OURS
