"""Progress: a bar on a terminal, sparse lines elsewhere. It measures time and nothing else."""

from __future__ import annotations

import sys
import time

BAR = 28
REDRAW = 0.1
LINES = 5
"""How many lines a whole run gets where there is no terminal."""


class Progress:
    """How far a run of `total` parts is."""

    def __init__(self, label: str, total: int) -> None:
        self._label = label
        self._total = total
        self._started = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._drawn_at = 0.0
        self._lines = 0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._started

    def update(self, done: int, *, note: str = "") -> None:
        """Show that so many parts are done."""
        if not self._terminal:
            if self._lines < LINES and done * LINES >= (self._lines + 1) * self._total:
                self._lines = done * LINES // self._total
                print(f"  {self._text(done)}", flush=True)
        elif time.monotonic() - self._drawn_at > REDRAW:
            self._drawn_at = time.monotonic()
            filled = BAR * done // self._total
            bar = "#" * filled + "-" * (BAR - filled)
            print(f"\r\x1b[K  {self._label} [{bar}] {self._text(done)}{note}", end="", flush=True)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.clear()
        print(f"  {line}", flush=True)

    def clear(self) -> None:
        """Take the bar away."""
        if self._terminal:
            self._drawn_at = 0.0
            print("\r\x1b[K", end="", flush=True)

    def _text(self, done: int) -> str:
        rate = done / max(self.seconds, 0.001)
        left = f"{(self._total - done) / rate:.0f} s left" if done else ""
        return f"{done:>{len(str(self._total))}} of {self._total}   {rate:.0f} a second   {left}"
