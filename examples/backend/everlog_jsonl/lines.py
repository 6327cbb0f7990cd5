"""The lines of the file: what each write was, and how it is done again on a `MemoryStore`. No files."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from everlog.memory import MemoryStore
from everlog.store import Batch, ClaimRequest, WorkerRow


class Wrote(msgspec.Struct, tag="wrote"):
    """A batch was committed. What was refused then is refused again."""

    at: int
    batch: Batch


class Took(msgspec.Struct, tag="took"):
    """Workflows were claimed: one request for each, by its id, so that no later idea of an order changes which."""

    at: int
    requests: Sequence[ClaimRequest]


class Registered(msgspec.Struct, tag="registered"):
    """A worker was added."""

    at: int
    worker: WorkerRow


class Renewed(msgspec.Struct, tag="renewed"):
    """A lease was moved."""

    at: int
    worker: str
    lease_until: int


class Retired(msgspec.Struct, tag="retired"):
    """A worker was removed, and lost what it held."""

    at: int
    worker: str


class Deleted(msgspec.Struct, tag="deleted"):
    """Workflows that had ended were removed."""

    at: int
    workflow_ids: Sequence[str]


Line = Wrote | Took | Registered | Renewed | Retired | Deleted

decode = msgspec.json.Decoder(Line).decode


def encode(line: Line) -> bytes:
    """Give a line with its end; there is no other line break in it."""
    return msgspec.json.encode(line) + b"\n"


def repeat(line: Line, model: MemoryStore) -> None:
    """Do again what the line says; the model's clock must stand at `line.at`."""
    match line:
        case Wrote():
            model.commit(line.batch)
        case Took():
            for request in line.requests:
                model.claim(request)
        case Registered():
            model.register(line.worker)
        case Renewed():
            model.renew(line.worker, lease_until=line.lease_until)
        case Retired():
            model.retire(line.worker)
        case Deleted():
            model.delete(line.workflow_ids)
