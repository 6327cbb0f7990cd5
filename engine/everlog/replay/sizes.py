"""Sizes: how large a recorded payload may be, and what is said of large ones. Step inputs have a rule of their own."""

from __future__ import annotations

import logging
from typing import Final

from everlog.errors import NotEncodable

MEGABYTE: Final = 1_048_576
LARGE: Final = MEGABYTE
"""From so many bytes on a payload is remarked on, once for each definition or topic."""
MOST: Final = 64 * MEGABYTE
"""The most bytes of one payload: far below what the databases take, and far above what a history should hold."""
_REMARKS: Final = 1000

log: Final = logging.getLogger("everlog")
_remarked: Final[set[str]] = set()


def check_size(payload: bytes, what: str, *, silent: bool = False) -> None:
    """Raise `NotEncodable` for a payload over `MOST`; log, unless `silent`, that `what` is large where it is."""
    if len(payload) > MOST:
        raise NotEncodable(
            f"{what}: it takes {len(payload) / MEGABYTE:.1f} MB, and one payload may take {MOST / MEGABYTE:g} MB; keep "
            "the data in a file, a table or an object store, and record what names it"
        )
    if len(payload) < LARGE or silent or what in _remarked or len(_remarked) >= _REMARKS:
        return
    _remarked.add(what)
    log.warning(
        "the %s takes %.1f MB of the history, which each replay reads again; keep large data in a file, a table or an "
        "object store, and record what names it (this is said once)",
        what,
        len(payload) / MEGABYTE,
    )
