"""The crew: the child processes in which the engines run, and which are killed. It knows no workflow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PROGRAM = "everlog.cli.demo.worker"


class Crew:
    """So many processes of one program; what they print goes to one file."""

    def __init__(self, size: int, arguments: Sequence[str], output: Path) -> None:
        self.size = size
        self._arguments = arguments
        self._output = output
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def pids(self) -> list[int]:
        """The numbers of the processes that were started and not killed."""
        return [process.pid for process in self._processes]

    def fill(self) -> None:
        """Start what is missing, out of reach of this terminal's Ctrl-C; each process ends when its stdin does."""
        while len(self._processes) < self.size:
            with self._output.open("ab") as output:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", PROGRAM, *self._arguments],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            self._processes.append(process)

    def kill(self, pid: int) -> None:
        """Send SIGKILL, which no process can see coming, and wait until it is gone."""
        (process,) = [one for one in self._processes if one.pid == pid]
        self._processes.remove(process)
        process.kill()
        process.wait()
        _let_go(process)

    def kill_all(self) -> None:
        """Leave none."""
        for pid in self.pids:
            self.kill(pid)

    def ended(self) -> int | None:
        """Give the exit code of one that has ended by itself and badly, or 0 if all have ended; else None."""
        codes = [process.poll() for process in self._processes]
        wrong = [code for code in codes if code]
        for process, code in zip(self._processes, codes, strict=True):
            if code is not None:
                _let_go(process)
        if wrong:
            return wrong[0]
        return 0 if codes and None not in codes else None

    def last_words(self) -> str:
        """Give the end of what they printed."""
        return self._output.read_text(errors="replace")[-2000:] if self._output.exists() else ""


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
