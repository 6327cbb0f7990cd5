"""Builds: the name of the code that runs, so that a stuck workflow goes on with other code and not with the same."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from everlog.core.codec import Codec
from everlog.core.sealed import Sealing
from everlog.replay.definition import Definition

VARIABLE: Final = "EVERLOG_BUILD"


def current_build(definitions: Iterable[Definition[..., Any]], codec: Codec) -> str:
    """Give `EVERLOG_BUILD`, or else a digest of the source files that define these workflows.

    What the codec can open belongs to it: a workflow that is stuck since a key was missing goes on where that is.
    """
    named = os.environ.get(VARIABLE) or _digest_of(definitions)
    mark = codec.mark if isinstance(codec, Sealing) else ""
    return f"{named}+{mark}" if mark else named


def _digest_of(definitions: Iterable[Definition[..., Any]]) -> str:
    digest = hashlib.sha256()
    for module in sorted({definition.__module__ for definition in definitions}):
        file = getattr(sys.modules.get(module), "__file__", None)
        if file is not None and Path(file).is_file():
            digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:16]
