"""What an execution takes from around it: as values, since it has no store, no clock and no threads."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct, field

from everlog.core.codec import Codec
from everlog.core.failures import Failure
from everlog.core.sealed import said
from everlog.host import Job, unlimited_pool
from everlog.replay.operations import NOT_KEPT


class Environment(Struct, frozen=True, kw_only=True):
    """What an execution needs from around it, as values."""

    codec: Codec
    may_import: Callable[[str], bool]
    """Tells whether exceptions of a top-level package may be rebuilt."""
    everlog: str = ""
    python: str = ""
    build: str = ""
    worker: str = ""
    whole_input: int = 65_536
    """Step inputs of more bytes are recorded as digest, size and preview."""
    run_strand: Callable[[Job], None] = field(default_factory=lambda: unlimited_pool().submit)
    """Runs blocking code at once in a thread that is its own until it returns."""

    def said(self, error: BaseException) -> str:
        """Give what an error says as it may be kept in the open: see `everlog.core.sealed.said`."""
        return said(error, self.codec)


class StepEnd(Struct, frozen=True, kw_only=True, gc=False):
    """How one attempt ended: with a result, with a failure, or with a failure and another attempt to come."""

    started_at: int
    result: bytes | None = None
    value: object = NOT_KEPT
    """The result itself, where to rebuild it from what is recorded would give the very same."""
    failure: Failure | None = None
    retry_at: int | None = None
