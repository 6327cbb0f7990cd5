"""Matching: whether what the code asks for now is what the history says it asked for then."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from everlog.core.codec import SELF, Codec, canonical, digest
from everlog.core.event_parts import LargeInput
from everlog.core.events import ChildStarted, StartFailed
from everlog.core.sealed import is_known_otherwise
from everlog.core.signature import Signature
from everlog.core.versions import workflow_of
from everlog.errors import EverlogError, PayloadUnavailable
from everlog.replay.instances import runnable
from everlog.replay.operations import ReplyOperation, SendOperation, StartOperation, StepOperation
from everlog.replay.registry import registered_workflows

if TYPE_CHECKING:
    from everlog.replay.definitions import AnyWorkflow
    from everlog.replay.execution import Execution

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
        if large is not None and not _has_digest(operation, current, large.digest, codec):
            log.warning(
                "workflow %r: the input of %s differs from its recorded digest; it was too large to be kept whole, so "
                "it cannot be compared further",
                operation.execution.workflow_id,
                operation.identity,
            )
        return True
    if recorded == current or canonical(recorded) == canonical(current):
        return True
    rebuild = _rebuilt_input if isinstance(operation, StepOperation) else _rebuilt_message
    try:
        return canonical(rebuild(operation, recorded, codec)) == canonical(rebuild(operation, current, codec))
    except PayloadUnavailable:
        raise
    except (EverlogError, TypeError):
        return False


def _has_digest(operation: StepOperation | SendOperation, current: bytes, recorded: str, codec: Codec) -> bool:
    if isinstance(operation, StepOperation) and operation.large_input is not None:
        known = operation.large_input.digest
    else:
        known = digest(current)
    return known == recorded or is_known_otherwise(codec, [current], recorded, lambda forms: digest(forms[0]))


def same_result(execution: Execution, recorded: bytes, current: bytes) -> bool:
    """Tell whether the recorded result of the workflow is what the code returns now, compared as inputs are."""
    if recorded == current or canonical(recorded) == canonical(current):
        return True
    codec, declared = execution.environment.codec, execution.definition.signature.result_type
    try:
        rebuilt = [codec.encode(codec.decode(payload, declared), declared) for payload in (recorded, current)]
        return canonical(rebuilt[0]) == canonical(rebuilt[1])
    except PayloadUnavailable:
        raise
    except EverlogError:
        return False


def same_answer(operation: ReplyOperation, recorded: bytes, codec: Codec) -> bool:
    """Tell whether the recorded answer is that of the operation, compared as inputs are."""
    current = operation.answer or b"null"
    if recorded == current or canonical(recorded) == canonical(current):
        return True
    try:
        rebuilt = [_rebuilt_message(operation, payload, codec) for payload in (recorded, current)]
        return canonical(rebuilt[0]) == canonical(rebuilt[1])
    except PayloadUnavailable:
        raise
    except (EverlogError, TypeError):
        return False


def same_start(operation: StartOperation, event: ChildStarted | StartFailed, codec: Codec) -> bool:
    """Tell whether the recorded start is that of the operation. An id that nobody chose is read from the history."""
    definition = operation.definition
    is_chosen = definition.id is not None and not (isinstance(event, ChildStarted) and event.deduplicated)
    # Which version a child was started with is not for its parent to do again.
    if workflow_of(event.name) != workflow_of(operation.name) or (is_chosen and event.child != definition.id):
        return False
    if not same_object(bytes(event.instance), bytes(operation.instance)):
        return False
    return same_arguments(definition, bytes(event.input), operation.input, codec)


def same_object(recorded: bytes, given: bytes) -> bool:
    """Tell whether the objects whose methods two starts are of are the same."""
    return recorded == given or bool(recorded and given and canonical(recorded) == canonical(given))


def same_arguments(definition: AnyWorkflow[..., Any], recorded: bytes, given: bytes, codec: Codec) -> bool:
    """Tell whether two inputs of a workflow are the same, as text or once rebuilt through today's types."""
    if recorded == given or canonical(recorded) == canonical(given):
        return True
    if not definition.is_here:
        here = runnable(registered_workflows()).get(definition.name)
        if here is None:
            return False
        definition = here
    what = f"input of workflow {definition.name}"
    try:
        completed = [definition.signature.completed(codec, payload, what=what) for payload in (recorded, given)]
        return canonical(completed[0]) == canonical(completed[1])
    except PayloadUnavailable:
        raise
    except (EverlogError, TypeError):
        return False


def _rebuilt_input(operation: Any, payload: bytes, codec: Codec) -> bytes:
    signature: Signature = operation.definition.signature
    return signature.completed(codec, payload, what=f"input of {operation.identity}")


def _rebuilt_message(operation: Any, payload: bytes, codec: Codec) -> bytes:
    return codec.encode(codec.decode(payload, operation.declared), SELF)
