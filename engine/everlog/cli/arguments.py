"""Arguments: what the options of several commands are made of. It knows no command."""

from __future__ import annotations

import argparse
from typing import Protocol


class Commands(Protocol):
    """Where a command is added; argparse has no public name for it."""

    def add_parser(self, name: str, *, help: str, description: str) -> argparse.ArgumentParser:
        """Give the parser of a new command."""
        ...


def count(text: str) -> int:
    """Give a number of at least 0 as which an argument is read."""
    number = int(text) if text.isascii() and text.isdigit() else -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a number of at least 0, got {text!r}")
    return number


def some(text: str) -> int:
    """Give a number of at least 1 as which an argument is read."""
    number = count(text)
    if number == 0:
        raise argparse.ArgumentTypeError("expected a number of at least 1, got '0'")
    return number
