"""Numbers: whether what a user gave is one. Users without a type checker give anything."""

from __future__ import annotations

from everlog.errors import UsageError


def is_number(value: object) -> bool:
    """Tell whether it is an int or a float; True and False are none here."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_whole(value: object) -> bool:
    """Tell whether it is an int; True and False are none here."""
    return isinstance(value, int) and not isinstance(value, bool)


def check_count(value: int, *, what: str) -> int:
    """Give the number back; `UsageError` naming `what` where it is not a whole number of at least 1."""
    if not is_whole(value) or value < 1:
        raise UsageError(f"{what} must be a whole number of at least 1, got {value!r}")
    return value
