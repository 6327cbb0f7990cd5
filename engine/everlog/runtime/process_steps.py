"""Process steps: what is handed to a child process to run one attempt of a step there, and what comes back.

Arguments and results cross as the bytes that are recorded, never as pickled objects; an exception crosses as the data
that is recorded of it. The function is found by its module and qualified name.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, Final

import msgspec

from everlog.core.attributes import AttributeValue
from everlog.core.codec import Codec, JsonCodec
from everlog.core.failures import Failure, describe, rebuild, recoded
from everlog.core.signature import Signature
from everlog.errors import StepFailed
from everlog.processes import Say
from everlog.replay.attempts import Attempt
from everlog.replay.context import attempt as attempt_variable
from everlog.replay.definitions import AnyStep
from everlog.replay.importable import find, reference
from everlog.runtime.process_words import SayingOutlet

log: Final = logging.getLogger("everlog")
_JSON: Final = JsonCodec()
_MAIN_HERE: Final = "__mp_main__:"


class _Ask(msgspec.Struct, frozen=True, kw_only=True):
    module: str
    qualified: str
    input: bytes
    workflow_id: str
    workflow_name: str
    started_at: int
    deadline: int | None
    tick: str | None
    attributes: dict[str, AttributeValue]
    parent: str | None
    version: str | None
    step: str
    identity: str
    key: str | None
    number: int


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    result: bytes | None = None
    failure: bytes | None = None
    """As JSON, which it is partly made of."""


_encode: Final = msgspec.msgpack.Encoder().encode
_asked: Final = msgspec.msgpack.Decoder(_Ask).decode
_to_json: Final = msgspec.json.Encoder().encode
_of_json: Final = msgspec.json.Decoder(Failure).decode
_answered: Final = msgspec.msgpack.Decoder(_Answer).decode


def request_of(step: AnyStep[..., Any], attempt: Attempt, input: bytes, codec: Codec) -> bytes:
    """Give what a child needs to run the attempt. Raises `UsageError` where no child can."""
    module, qualified = reference(step)
    if type(codec) is not JsonCodec:  # the child has no such codec, which may hold keys or connections
        what = f"input of step {step.name}"
        args, kwargs = step.signature.decode(codec, input, what=what)
        input = step.signature.encode(_JSON, args, kwargs, what=what)
    ask = _Ask(
        module=module,
        qualified=qualified,
        input=input,
        workflow_id=attempt.workflow_id,
        workflow_name=attempt.name,
        started_at=attempt.started_at,
        deadline=attempt.deadline,
        tick=None if attempt.tick is None else attempt.tick.isoformat(),
        attributes=dict(attempt.attributes),
        parent=attempt.parent,
        version=attempt.version,
        step=step.name,
        identity=attempt.identity,
        key=attempt.key,
        number=attempt.number,
    )
    return _encode(ask)


def result_of(step: AnyStep[..., Any], answer: bytes, codec: Codec) -> bytes:
    """Give the result of an attempt as it is recorded, or raise what it raised there."""
    answered = _answered(answer)
    if answered.failure is not None:
        # It comes from our own child, which ran the user's code: what it names may be imported.
        raise rebuild(_of_json(answered.failure), _JSON, may_import=lambda package: True)
    encoded = answered.result or b"null"
    if type(codec) is not JsonCodec:
        what, declared = f"result of step {step.name}", step.signature.result_type
        encoded = codec.encode(_JSON.decode(encoded, declared, what=what), declared, what=what)
    return encoded


def failure_of(answer: bytes, codec: Codec) -> Failure | None:
    """Give the failure of an attempt as it is recorded: as the child described it, with the traceback it had there."""
    failure = _answered(answer).failure
    if failure is None or type(codec) is JsonCodec:
        return None if failure is None else _of_json(failure)
    return recoded(_of_json(failure), _JSON, codec)


def _as_in_parent(failure: Failure) -> Failure:
    """Name the types of the program's main module as the parent does: here they have another one."""
    kind = failure.type
    return msgspec.structs.replace(
        failure,
        type=f"__main__:{kind.removeprefix(_MAIN_HERE)}" if kind.startswith(_MAIN_HERE) else kind,
        cause=None if failure.cause is None else _as_in_parent(failure.cause),
        parts=tuple(_as_in_parent(part) for part in failure.parts),
    )


def run_here(request: bytes, say: Say) -> bytes:
    """Run one attempt in this process, a child: the target of the pool."""
    ask = _asked(request)
    try:
        attempt = Attempt(
            ask.workflow_id,
            ask.step,
            ask.identity,
            ask.key,
            ask.number,
            ask.workflow_name,
            ask.started_at,
            ask.deadline,
            None if ask.tick is None else datetime.fromisoformat(ask.tick),
            SayingOutlet(say),
            attributes=ask.attributes,
            parent=ask.parent,
            version=ask.version,
        )
        attempt_variable.set(attempt)
        function = find(ask.module, ask.qualified)
        if function is None:
            raise StepFailed(
                f"step {ask.step}: the process that was started for it finds no {ask.module}.{ask.qualified}"
            )
        signature = Signature(function)
        args, kwargs = signature.decode(_JSON, ask.input, what=f"input of step {ask.step}")
        result = function(*args, **kwargs)
        encoded = _JSON.encode(result, signature.result_type, what=f"result of step {ask.step}")
    except BaseException as error:  # noqa: BLE001 - the parent is told, and nobody else is here
        return _encode(_Answer(failure=_to_json(_as_in_parent(describe(error, _JSON)))))
    return _encode(_Answer(result=encoded))
