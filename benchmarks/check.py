"""Check: how long `everlog check` takes for 10,000 exported histories of 100 events each, with one process per core."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from benchmarks.measuring import report
from benchmarks.replay import history
from everlog.core.log_lines import write_lines

HISTORIES = 10_000
EVENTS = 100


def write_histories(folder: Path) -> None:
    """Write the files; each is a workflow of its own."""
    rows = [(seq, seq, body) for seq, body in enumerate(history(EVENTS - 2), start=1)]
    lines = list(write_lines("checked", "count", rows))
    for number in range(HISTORIES):
        first = next(write_lines(f"checked-{number}", "count", ()))
        (folder / f"{number}.jsonl").write_text(first + "".join(lines[1:]))


def main() -> None:
    with TemporaryDirectory() as folder:
        write_histories(Path(folder))
        command = [sys.executable, "-m", "everlog.cli", "check", "--module", "benchmarks.replay", folder]
        begun = perf_counter()
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        seconds = perf_counter() - begun
    if said != f"{HISTORIES:,} replay clean":
        raise SystemExit(f"the histories were not replayed: {said}")
    report(seconds=seconds, events=HISTORIES * EVENTS / seconds, cores=float(os.cpu_count() or 1))


if __name__ == "__main__":
    main()
