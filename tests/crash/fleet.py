"""A fleet: worker processes of one program on one schema of Postgres, whose words are kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.crash import touring
from tests.postgres import new_schema


class Fleet:
    """Worker processes: `python PROGRAM URL ARGUMENTS ...` each. What they say is kept in files in the folder."""

    def __init__(self, program: Path, folder: Path, url: str | None = None) -> None:
        self.url = new_schema() if url is None else url
        self.program = program
        self.folder = folder
        self.processes: list[subprocess.Popen[bytes]] = []
        self.living: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: object) -> None:
        with open(self.folder / f"worker-{len(self.processes)}", "wb") as told:
            process = subprocess.Popen(
                [sys.executable, "-u", str(self.program), self.url, *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=told,
                stderr=subprocess.STDOUT,
            )
        self.processes.append(process)
        self.living.append(process)

    def file_of(self, process: subprocess.Popen[bytes]) -> Path:
        """Give where that is kept which the process has said."""
        return self.folder / f"worker-{self.processes.index(process)}"

    def held(self, pid: int) -> int:
        """Give how many workflows the workers of a process hold, or 1 while it has only a lease."""
        with touring.connect(self.url) as driver:
            ((workers, heads),) = driver.execute(
                "SELECT count(DISTINCT workers.worker), count(heads.workflow_id)"
                " FROM workers LEFT JOIN heads USING (worker) WHERE (process::jsonb ->> 'pid')::integer = %s",
                [pid],
            ).fetchall()
        return int(heads or workers)

    def wait_for(self, condition: Callable[[], object], *, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, f"waited in vain; {touring.left(self.url)} tours are left; {self.told()}"
            time.sleep(0.02)

    def told(self) -> str:
        """Give what the processes have said."""
        return "\n".join(f"{path.name}: {path.read_text()[-2000:]}" for path in sorted(self.folder.glob("worker-*")))

    def end(self) -> None:
        """Have those end that live, as a deployment does, and insist that they do so well."""
        for process in self.living:
            file = self.file_of(process)
            self.wait_for(lambda file=file: touring.SERVING in file.read_text(), seconds=60)
        for process in self.living:
            process.send_signal(signal.SIGTERM)
        for process in self.living:
            assert process.wait(timeout=60) == 0, self.told()
        assert "Traceback" not in self.told()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
