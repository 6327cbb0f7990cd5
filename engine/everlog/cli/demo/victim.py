"""The victim: the child process in which the engine runs, and which is killed. It knows no workflow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = "everlog.cli.demo.worker"


class Victim:
    """One process at a time; what it prints goes to a file."""

    def __init__(self, url: str, output: Path) -> None:
        self._url = url
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The number of the process; 0 where there is none."""
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """Start the process, out of reach of this terminal's Ctrl-C; it ends when its stdin does."""
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", PROGRAM, self._url],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        """Send SIGKILL, which no process can see coming, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._let_go(self._process)

    def ended(self) -> int | None:
        """Give the exit code if it has ended by itself, None while it runs."""
        code = None if self._process is None else self._process.poll()
        if code is not None and self._process is not None:
            self._let_go(self._process)
        return code

    def last_words(self) -> str:
        """Give the end of what it printed."""
        return self._output.read_text(errors="replace")[-2000:] if self._output.exists() else ""

    def _let_go(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None:
            process.stdin.close()
