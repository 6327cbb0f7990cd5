"""`everlog debug`: pdb where the code of a workflow stands at an event of its history. Filled in below."""

from __future__ import annotations

from everlog.core.codec import Codec
from everlog.core.log_lines import Exported


def debug(history: Exported, at: int | None, *, codec: Codec | None) -> None:
    raise NotImplementedError


def debug_with_breakpoint(history: Exported, at: int | None, *, codec: Codec | None) -> None:
    raise NotImplementedError
