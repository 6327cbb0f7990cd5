"""What a mutant is, and how a copy of the SQLite backend becomes one. It runs nothing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

BACKEND = Path(__file__).parents[2] / "backends" / "sqlite" / "everlog_sqlite"


class Mutant(NamedTuple):
    """One defect: `old` of `file`, which occurs there exactly once, becomes `new`, and then `rule` does not hold."""

    name: str
    rule: str
    file: str
    old: str
    new: str


def copy_backend(folder: Path, mutant: Mutant | None) -> None:
    """Put a copy of the backend into a folder, as an importable package; with the defect, if one is given."""
    package = folder / BACKEND.name
    shutil.copytree(BACKEND, package, ignore=shutil.ignore_patterns("__pycache__"))
    if mutant is not None:
        file = package / mutant.file
        file.write_text(mutated(mutant), encoding="utf-8")


def mutated(mutant: Mutant) -> str:
    """Give the text of the mutant's file. Raises `ValueError` where the table no longer fits the backend."""
    text = (BACKEND / mutant.file).read_text(encoding="utf-8")
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"mutant {mutant.name!r}: expected its text once in {mutant.file}, found it {text.count(mutant.old)} times;"
            " the backend has changed, so write the mutant anew"
        )
    return text.replace(mutant.old, mutant.new)
