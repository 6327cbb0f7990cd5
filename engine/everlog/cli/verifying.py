"""`everlog seal`, `everlog verify`: whether a database is what it was. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from everlog.cli.places import opened, store_url
from everlog.core.durations import as_datetime
from everlog.errors import CorruptLog, NotFound, UsageError
from everlog.runtime.copying import End, Movable, movable
from everlog.runtime.seals import Seal, make_seal, read_seal, verify_seal
from everlog.runtime.verifying import Finding, verify

FOUND = 1
SHOWN = 100
"""So many findings are printed."""


def seal(file: str, place: str | None) -> None:
    """Write a seal of a database to a file. One that is there is verified first, and replaced by its successor."""
    url, path = store_url(place), Path(file)
    with opened(url) as store:
        moving = movable(End(store, url))
        previous = _seal_of(file) if path.exists() else None
        if previous is not None:
            for finding in verify_seal(moving, moving, previous):
                if not finding.is_on_record:
                    raise CorruptLog(f"{finding}; {file} was left as it is: `everlog verify --seal {file}` says all")
        part = path.with_name(f"{path.name}.part")
        try:
            with part.open("w", encoding="utf-8", newline="") as lines:
                lines.writelines(make_seal(moving, moving, previous=None if previous is None else previous.digest))
            made = _seal_of(str(part))
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    print(f"{len(made.workflows):,} workflows were sealed in {file}; the seal is {made.digest}")


def verify_database(place: str | None, *, seal_file: str | None, expected: str | None, unchanged: bool) -> int:
    """Print what is not as Everlog wrote it, or as it was sealed; give the exit code."""
    url = store_url(place)
    if seal_file is None and (expected is not None or unchanged):
        raise UsageError("--expect and --unchanged are about a seal: name its file with --seal")
    sealed = None if seal_file is None else _seal_of(seal_file)
    if sealed is not None and expected is not None and sealed.digest != expected:
        raise CorruptLog(f"{seal_file} is another seal than is expected: it is {sealed.digest}, not {expected}")
    with opened(url) as store:
        moving = movable(End(store, url))
        found = 0
        for finding in _findings(moving, sealed, unchanged=unchanged):
            if finding.is_on_record:
                print(f"on record: {finding}")
                continue
            found += 1
            if found <= SHOWN:
                print(finding)
    return _told(found, url, sealed)


def _told(found: int, url: str, sealed: Seal | None) -> int:
    by = "" if sealed is None else f", by the seal of {as_datetime(sealed.at):%Y-%m-%d %H:%M:%S} UTC"
    if not found:
        print(f"{url} is as Everlog wrote it{by}")
        return 0
    print(f"{found} findings in {url}{by}" + (f"; the first {SHOWN} are shown" if found > SHOWN else ""))
    return FOUND


def _findings(moving: Movable, sealed: Seal | None, *, unchanged: bool) -> Iterator[Finding]:
    if sealed is None:
        return verify(moving, moving)
    return verify_seal(moving, moving, sealed, unchanged=unchanged)


def _seal_of(file: str) -> Seal:
    try:
        with Path(file).open(encoding="utf-8", newline="\n") as lines:
            return read_seal(lines)
    except FileNotFoundError:
        raise NotFound(f"there is no file {file!r}; `everlog seal {file}` makes one") from None
    except UnicodeDecodeError as error:
        raise CorruptLog(f"{file} is no seal: {error}") from error
