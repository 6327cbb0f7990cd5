"""Print the other Pythons of this machine that Everlog supports, one line `3.13=/usr/bin/python3.13` for each version.

Looks on the PATH and among pyenv's versions. Fails where there is none: then nothing was tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST = (3, 11)
ASK = "import ensurepip, sys, venv; print(*sys.version_info[:2], sep='.')"


def candidates() -> Iterator[Path]:
    """Every file that is named like a Python, those on the PATH first."""
    directories = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    directories += sorted((Path.home() / ".pyenv" / "versions").glob("*/bin"))
    for directory in directories:
        yield from sorted(directory.glob("python3*"))


def version(python: Path) -> tuple[int, ...] | None:
    """The version that this Python reports, None if it does not start or cannot make virtual environments."""
    try:
        answer = subprocess.run([python, "-c", ASK], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode:
        return None
    return tuple(int(part) for part in answer.stdout.strip().split("."))


def main() -> int:
    """Print what was found; 1 if that is nothing."""
    found: dict[tuple[int, ...], Path] = {}
    for python in candidates():
        if not python.name.removeprefix("python3").removeprefix(".").isdigit() and python.name != "python3":
            continue
        number = version(python)
        if number and number >= OLDEST and number != sys.version_info[:2]:
            found.setdefault(number, python)
    for number, python in sorted(found.items()):
        print(f"{number[0]}.{number[1]}={python}")
    if not found:
        print(f"no other Python of at least 3.11 beside {sys.executable}: install 3.13", file=sys.stderr)
    return 0 if found else 1


if __name__ == "__main__":
    sys.exit(main())
