"""The URL of a store: where the file is that it names."""

from __future__ import annotations

from pathlib import Path

from everlog.errors import UsageError


def path_of(url: str) -> Path | None:
    """Give the file, None for a database in memory; `UsageError` for what is no URL of a SQLite database."""
    scheme, separator, name = url.partition(":///")
    if scheme != "sqlite" or not separator or not name or "?" in name:
        raise UsageError(
            f"{url!r} is not the URL of a SQLite database: write sqlite:///relative.db, sqlite:////absolute.db or"
            " sqlite:///:memory:, without options"
        )
    # Absolute, since the program may change its directory, and files beside the database are looked for later.
    return None if name == ":memory:" else Path(name).absolute()
