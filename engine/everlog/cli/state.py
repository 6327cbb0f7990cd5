"""`everlog state`: what the code of a workflow was doing when an event was the last one of its history."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

import msgspec

from everlog.core.codec import Codec
from everlog.core.log_lines import Exported
from everlog.runtime.code_state import Redact
from everlog.testing.replays import state_at


def print_state(
    history: Exported, at: int | None, *, codec: Codec | None, redact: Redact | None, as_json: bool
) -> None:
    """Print it. What the code itself prints while it is replayed goes to stderr."""
    with redirect_stdout(sys.stderr):
        state = state_at(history, at, codec=codec, redact=redact)
    print(msgspec.json.encode(state).decode() if as_json else state)
