"""A file system of a few megabytes, for tests in which a disk is full. Needs the right to mount one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

_CHUNK = bytes(1 << 16)
_WATCH = """
import subprocess, sys
sys.stdin.read()
subprocess.run(["umount", "--lazy", sys.argv[1]], check=False)
subprocess.run(["rmdir", sys.argv[1]], check=False)
"""
"""Takes the file system away however this process ends: its input does."""


@contextmanager
def small_file_system(megabytes: int) -> Iterator[Path]:
    """Mount a file system that holds so much; skip the test where that is not possible."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a small file system to fill up can be mounted by root on Linux only")
    folder = tempfile.mkdtemp(prefix="everlog-small-")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "everlog-small", folder]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        os.rmdir(folder)
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    watcher = subprocess.Popen([sys.executable, "-c", _WATCH, folder], stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield Path(folder)
    finally:
        watcher.communicate()


def fill(folder: Path) -> Path:
    """Take all the space that is left; give the file that has it."""
    filler = folder / "filler"
    with suppress(OSError), open(filler, "ab", buffering=0) as file:
        while file.write(_CHUNK) == len(_CHUNK):
            pass
    with suppress(OSError), open(filler, "ab", buffering=0) as file:
        while file.write(b"!"):
            pass
    return filler
