"""Matching: whether what the code asks for now is what the history says it asked for then."""

from __future__ import annotations

import logging
from typing import Final

from everlog.core.codec import Codec, canonical, digest
from everlog.core.events import LargeInput
from everlog.errors import EverlogError
from everlog.replay.operations import SendOperation, StepOperation

log: Final = logging.getLogger("everlog")


def same_input(
    operation: StepOperation | SendOperation, recorded: bytes | None, large: LargeInput | None, codec: Codec
) -> bool:
    """Tell whether the recorded input is that of the operation.

    Compared as bytes, then in canonical form, then rebuilt through today's types: a new field with a default is no
    difference. An input that was not kept whole can only be compared by digest: a difference is logged and let pass.
    """
    current = operation.input if isinstance(operation, StepOperation) else operation.payload
    if recorded is None:
        if large is not None and digest(current) != large.digest:
            log.warning(
                "workflow %r: the input of %s differs from its recorded digest; it was too large to be kept whole, so "
                "it cannot be compared further",
                operation.execution.workflow_id,
                operation.identity,
            )
        return True
    if recorded == current or canonical(recorded) == canonical(current):
        return True
    if isinstance(operation, StepOperation):
        rebuilt = _rebuilt(operation, recorded, codec)
        return rebuilt is not None and rebuilt == _rebuilt(operation, current, codec)
    return False


def _rebuilt(operation: StepOperation, payload: bytes, codec: Codec) -> bytes | None:
    signature = operation.definition.signature
    try:
        return canonical(signature.completed(codec, payload, what=f"input of {operation.identity}"))
    except (EverlogError, TypeError):
        return None
