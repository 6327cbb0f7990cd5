"""Failures: exceptions as data, described when they are raised and rebuilt when they are read. No policy."""

from __future__ import annotations

import builtins
import importlib
import traceback as tracebacks
from collections.abc import Callable, Mapping
from types import MemberDescriptorType, TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import msgspec
from msgspec import UNSET, Raw, UnsetType

from everlog import errors
from everlog.core.plain import is_list, is_object, is_tuple
from everlog.core.sealed import Sealing, is_sealed, open_text

if TYPE_CHECKING:
    from everlog.core.codec import Codec

MAX_DEPTH: Final = 10
"""How many causes, and parts of parts, are recorded below an error."""

MAX_TEXT: Final = 16_000
"""The most characters of a message or a traceback that are kept; the middle is cut out of a longer one."""

MAX_DATA: Final = 256_000
"""The most bytes of the arguments, and of the attributes, that are kept; what would be more is left out."""

MAX_PARTS: Final = 1000
"""The most members of an exception group that are kept; a last one stands for the others."""

AROSE: Final = "__everlog_arose__"
"""The attribute under which the runtime keeps where in a history an exception arose; never recorded."""

_NOTE: Final = "Recorded traceback:\n"
_HEAD_FRAMES: Final = 20
_TAIL_FRAMES: Final = 60
_HEAP_TYPE: Final = 1 << 9

# What these builtins keep outside of their arguments and their __dict__.
_MEMBERS: Final[Mapping[type[BaseException], tuple[str, ...]]] = {
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
}

# These steer the process or the event loop that happens to read them, so they never come back as themselves.
_NEVER_REBUILT: Final = (KeyboardInterrupt, SystemExit, GeneratorExit)
_CANCELLED: Final = "asyncio.exceptions:CancelledError"


class Failure(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An exception as it is recorded.

    `type` is "module:qualname"; `args` is the untyped encoding of the tuple of arguments, where all of them can be
    encoded; `attributes` of the instance's attributes, without those that cannot (`UNSET` where there are none, since
    msgspec cannot read a `Raw` that may be None). `cause` is what the exception was
    raised from, or raised while handling; `parts` are the members of an exception group.
    """

    type: str
    message: str
    traceback: str = ""
    args: Raw | UnsetType = UNSET
    attributes: Raw | UnsetType = UNSET
    cause: Failure | None = None
    parts: tuple[Failure, ...] = ()


def describe(error: BaseException, codec: Codec, *, traceback: bool = True) -> Failure:
    """Give the error as data, with its causes and parts down to `MAX_DEPTH`.

    Never raises an `Exception`, whatever the error's own methods do: what cannot be had is left out. Texts are
    valid Unicode of at most `MAX_TEXT` characters (those of a group's parts share that), sealed where the codec
    seals texts.
    """
    try:
        return _sealed(_describe(error, codec, MAX_TEXT if traceback else 0, frozenset(), MAX_DEPTH), codec)
    except Exception:  # above all RecursionError, where the error was raised at the end of the stack
        return Failure(type=type_name(type(error)), message="")


def rebuild(failure: Failure, codec: Codec, *, may_import: Callable[[str], bool]) -> BaseException:
    """Give an exception of the recorded type, with its arguments, attributes, causes and parts.

    Builtins and the types of `everlog.errors` are always rebuilt, others where `may_import(top-level package)` is
    true, without running an `__init__` or `__new__` that is written in Python. `StepFailed` stands for what cannot
    be rebuilt and for what would stop the process or the loop. The recorded traceback is added as a note.
    `PayloadUnavailable` where it was sealed, and cannot be opened here.
    """
    failure = opened(failure, codec)
    error = _rebuild_alone(failure, codec, may_import)
    if failure.traceback:
        _add_note(error, _NOTE + failure.traceback)
    if failure.cause is not None:
        error.__cause__ = rebuild(failure.cause, codec, may_import=may_import)
    return error


def opened(failure: Failure, codec: Codec) -> Failure:
    """Give the failure with plain texts; `PayloadUnavailable` where they were sealed and cannot be opened here."""
    if not is_sealed(failure.message) and not is_sealed(failure.traceback):
        return failure
    return msgspec.structs.replace(
        failure,
        message=open_text(failure.message, codec, "the message of an exception"),
        traceback=open_text(failure.traceback, codec, "a traceback"),
        cause=None if failure.cause is None else opened(failure.cause, codec),
        parts=tuple(opened(part, codec) for part in failure.parts),
    )


def recoded(failure: Failure, before: Codec, codec: Codec) -> Failure:
    """Give a failure that was described by one codec as another would have described it."""
    return _sealed(_recoded(opened(failure, before), before, codec), codec)


def type_name(kind: type) -> str:
    """Give the name of the class as it is recorded: "module:qualname"."""
    return _text(f"{kind.__module__}:{kind.__qualname__}")


# ---- describing


def _describe(error: BaseException, codec: Codec, room: int, above: frozenset[int], depth: int) -> Failure:
    above = above | {id(error)}
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    described: Failure | None = None
    if cause is not None and depth and id(cause) not in above:
        described = _describe(cause, codec, room, above, depth - 1)
    parts: tuple[Failure, ...] = ()
    if _is_group(error) and depth:
        share = max(room // len(error.exceptions), min(room, 1000))
        kept, others = error.exceptions[:MAX_PARTS], len(error.exceptions) - MAX_PARTS
        parts = tuple(_describe(part, codec, share, above, depth - 1) for part in kept)
        if others > 0:
            parts += (Failure(type=type_name(errors.StepFailed), message=f"{others} more exceptions left out"),)
    return Failure(
        type=type_name(type(error)),
        message=_message(error),
        traceback=_traceback(error, room) if room else "",
        args=_args(error, codec),
        attributes=_attributes(error, codec),
        cause=described,
        parts=parts,
    )


def _sealed(failure: Failure, codec: Codec) -> Failure:
    if isinstance(codec, Sealing):
        message, traceback = codec.seal_text(failure.message), codec.seal_text(failure.traceback)
    elif is_sealed(failure.message) or is_sealed(failure.traceback):  # it only looks so: nobody could open it
        message, traceback = " " + failure.message, " " + failure.traceback
    else:
        message, traceback = failure.message, failure.traceback
    return msgspec.structs.replace(
        failure,
        message=message,
        traceback=traceback,
        cause=None if failure.cause is None else _sealed(failure.cause, codec),
        parts=tuple(_sealed(part, codec) for part in failure.parts),
    )


def _recoded(failure: Failure, before: Codec, codec: Codec) -> Failure:
    return msgspec.structs.replace(
        failure,
        args=_recoded_data(failure.args, before, codec),
        attributes=_recoded_data(failure.attributes, before, codec),
        cause=None if failure.cause is None else _recoded(failure.cause, before, codec),
        parts=tuple(_recoded(part, before, codec) for part in failure.parts),
    )


def _recoded_data(held: Raw | UnsetType, before: Codec, codec: Codec) -> Raw | UnsetType:
    try:
        return UNSET if isinstance(held, UnsetType) else Raw(codec.encode(before.decode(bytes(held))))
    except Exception:
        return UNSET


def _is_group(error: BaseException) -> TypeGuard[BaseExceptionGroup[BaseException]]:
    return isinstance(error, BaseExceptionGroup)


def _message(error: BaseException) -> str:
    try:
        if _is_group(error):
            return _text(error.message)
        return _text(str(error))
    except Exception as problem:
        why = f"<no message: its __str__ raised {type(problem).__name__}>"
        args: object = error.args
        if is_tuple(args) and len(args) == 1 and isinstance(args[0], str):  # such as the message of a rebuilt one
            return _text(f"{args[0]} {why}") if why not in args[0] else _text(args[0])
        return why


def _text(text: str, room: int = MAX_TEXT) -> str:
    """Give the text in at most `room` characters and without lone surrogates, which no store would take."""
    if len(text) > room:
        half = room // 2
        text = f"{text[:half]}\n... {len(text) - 2 * half} characters left out ...\n{text[-half:]}"
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _traceback(error: BaseException, room: int) -> str:
    """Give the frames of the error itself, after those that were recorded before it was rebuilt here."""
    try:
        earlier = "".join(note.removeprefix(_NOTE) for note in _notes(error) if note.startswith(_NOTE))
        return _text(earlier + _frames(error.__traceback__), room)
    except Exception as problem:
        return f"<no traceback: formatting it raised {type(problem).__name__}>"


def _frames(traceback: TracebackType | None) -> str:
    frames = list(tracebacks.walk_tb(traceback))
    if len(frames) <= _HEAD_FRAMES + _TAIL_FRAMES:
        return "".join(tracebacks.StackSummary.extract(iter(frames)).format())
    head = tracebacks.StackSummary.extract(iter(frames[:_HEAD_FRAMES])).format()
    tail = tracebacks.StackSummary.extract(iter(frames[-_TAIL_FRAMES:])).format()
    between = f"  ... {len(frames) - _HEAD_FRAMES - _TAIL_FRAMES} frames left out ...\n"
    return "".join([*head, between, *tail])


def _notes(error: BaseException) -> list[str]:
    notes: object = vars(error).get("__notes__")  # a class may have a `__getattr__` that does not work here
    return [note for note in notes if isinstance(note, str)] if is_list(notes) else []


def _args(error: BaseException, codec: Codec) -> Raw | UnsetType:
    try:
        if _is_group(error):
            return UNSET  # the message and the parts are recorded, and are all that it takes
        args: object = error.args
        if isinstance(error, OSError):
            args = OSError.__reduce__(error)[1]  # with the file names, which `args` leaves out
        encoded = codec.encode(args, what="arguments of an exception")
        return Raw(encoded) if len(encoded) <= MAX_DATA else UNSET
    except Exception:
        return UNSET


def _attributes(error: BaseException, codec: Codec) -> Raw | UnsetType:
    try:
        kept: dict[str, object] = {}
        room = MAX_DATA
        for name, value in _own(error).items():
            size = _size(value, codec)
            if size is not None and size <= room:
                kept[name] = value
                room -= size
        return Raw(codec.encode(kept, what="attributes of an exception")) if kept else UNSET
    except Exception:
        return UNSET


def _own(error: BaseException) -> dict[str, object]:
    """Give what the instance holds beside its arguments; recorded failures as plain data."""
    own: dict[str, object] = {}
    for name in _member_names(type(error)):
        try:
            own[name] = object.__getattribute__(error, name)
        except AttributeError:  # a slot that was never set
            continue
    own.update(vars(error))
    own.pop(AROSE, None)
    notes = [note for note in _notes(error) if not note.startswith(_NOTE)]
    own.pop("__notes__", None)
    if notes:
        own["__notes__"] = notes
    if isinstance(error, (errors.StepFailed, errors.WorkflowFailed)) and error.error is not None:
        own["error"] = msgspec.json.decode(msgspec.json.encode(error.error))
    return own


def _member_names(kind: type[BaseException]) -> list[str]:
    names: list[str] = []
    for base in kind.__mro__:
        names.extend(_MEMBERS.get(base, ()))
        if base.__flags__ & _HEAP_TYPE:
            names.extend(name for name, slot in vars(base).items() if isinstance(slot, MemberDescriptorType))
    return names


def _size(value: object, codec: Codec) -> int | None:
    """Give how many bytes the value takes, None where it has no encoding."""
    try:
        return len(codec.encode(value))
    except Exception:
        return None


# ---- rebuilding


def _rebuild_alone(failure: Failure, codec: Codec, may_import: Callable[[str], bool]) -> BaseException:
    try:
        kind = _find(failure.type, may_import)
        rebuilt = None if kind is None else _build(kind, failure, codec, may_import)
    except errors.PayloadUnavailable:
        raise
    except Exception:  # its module or its layout is not what it was: as if the type were not known
        rebuilt = None
    if rebuilt is not None:
        return rebuilt
    name = failure.type.removeprefix("builtins:").replace(":", ".")
    return errors.StepFailed(f"{name}: {failure.message}", error=failure)


def _find(name: str, may_import: Callable[[str], bool]) -> type[BaseException] | None:
    module_name, _, qualname = name.partition(":")
    found: object
    if module_name == builtins.__name__:
        found = builtins
    elif module_name == errors.__name__:
        found = errors
    elif "<locals>" in qualname or not may_import(module_name.partition(".")[0]):
        return None
    else:
        found = importlib.import_module(module_name)
    for part in qualname.split("."):
        found = getattr(found, part)
    if not isinstance(found, type) or not issubclass(found, BaseException) or issubclass(found, _NEVER_REBUILT):
        return None
    return None if any(type_name(base) == _CANCELLED for base in found.__mro__) else found


def _build(
    kind: type[BaseException], failure: Failure, codec: Codec, may_import: Callable[[str], bool]
) -> BaseException:
    args = _recorded_args(failure, codec)
    if BaseExceptionGroup in kind.__mro__:
        args = (failure.message, [rebuild(part, codec, may_import=may_import) for part in failure.parts])
    # The builtin base that decides the layout makes the instance; nothing that a user wrote is run.
    base: Any = kind
    while base.__flags__ & _HEAP_TYPE:
        base = base.__base__
    error: BaseException = base.__new__(kind, *args)
    base.__init__(error, *args)
    if not isinstance(error, OSError):  # which has taken the file names out of its args
        error.args = args
    if failure.attributes:
        _set_attributes(error, codec.decode(bytes(failure.attributes), what="attributes of an exception"))
    return error


def _recorded_args(failure: Failure, codec: Codec) -> tuple[object, ...]:
    if failure.args:
        args = codec.decode(bytes(failure.args), what="arguments of an exception")
        if is_tuple(args):
            return args
    return (failure.message,)


def _set_attributes(error: BaseException, attributes: object) -> None:
    if not is_object(attributes):
        return
    if isinstance(error, (errors.StepFailed, errors.WorkflowFailed)):
        recorded = attributes.get("error")
        attributes["error"] = (
            None if recorded is None else msgspec.json.decode(msgspec.json.encode(recorded), type=Failure)
        )
    members = _member_names(type(error))
    for name, value in attributes.items():
        if name in members:
            object.__setattr__(error, name, value)
        else:
            vars(error)[name] = value


def _add_note(error: BaseException, note: str) -> None:
    vars(error)["__notes__"] = [*_notes(error), note]
