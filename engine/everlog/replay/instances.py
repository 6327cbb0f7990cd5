"""Instances: the objects whose methods are workflows, and how recovery finds them again. Steps need none of this.

The `self` of a workflow is either an object that was registered under a name, which is then part of the name of the
workflow in the log (`Shop.checkout@eu`), so that only a worker that has such an object claims it; or a value, such as
a dataclass, which is recorded with the start. A class method is found by its class, or by a name of a subclass.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import MethodType
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from msgspec import Raw

from everlog.core.codec import Codec
from everlog.core.event_parts import ABSENT
from everlog.core.names import check_name
from everlog.core.versions import check_unversioned, version_of, versioned, workflow_of
from everlog.errors import InvalidDefinition, NotEncodable, UsageError
from everlog.replay.importable import is_interactive

if TYPE_CHECKING:
    from everlog.replay.definition import Definition

S = TypeVar("S")
D = TypeVar("D", bound="Definition[..., Any]")
log: Final = logging.getLogger("everlog")

_registered: Final[dict[str, object]] = {}
_names: Final[dict[int, str]] = {}
"""Of each registered object, which stays in memory, by its address."""
_runnable: tuple[Mapping[str, Any], Mapping[str, object], Mapping[str, Any]] = ({}, {}, {})
"""What was asked for last, and of what. Engines ask on their own threads, so that it is exchanged as a whole."""


def register(obj: S, /, *, name: str) -> S:
    """Give an object a name under which the log knows it, so that its methods can be workflows; gives the object back.

    After a restart the program registers such an object under the same name, before it opens an engine. Workflows of
    an object that is not registered there wait for an engine of a program that has it. Registering the same object
    again changes nothing; another object under a used name, or another name for it, is `InvalidDefinition`. At a
    prompt or in a notebook, where a cell is run again, the new object takes the place of the old one of its class.
    """
    check_unversioned(check_name(name, "the name of an object"), "the name of an object")
    known = _registered.get(name)
    if known is obj:
        return obj
    if id(obj) in _names:
        raise InvalidDefinition(f"{obj!r} is registered as {_names[id(obj)]!r} already, and cannot also be {name!r}")
    if known is not None:
        if not (is_interactive() and _full_name(known) == _full_name(obj)):
            raise InvalidDefinition(
                f"two objects are registered as {name!r}: {known!r} and {obj!r}; give one of them another name"
            )
        log.warning("%r is registered as %r again, and replaces %r", obj, name, known)
        del _names[id(known)]
    _registered[name] = obj
    _names[id(obj)] = name
    return obj


def startable(definition: D) -> D:
    """Give the definition under the name that the log will know it by."""
    name = _names.get(id(definition.bound[0])) if definition.bound else None
    named = definition if name is None else _named(definition, name)
    if named.name == versioned(workflow_of(named.name), named.version):
        return named
    return named.changed(name=versioned(workflow_of(named.name), named.version))


def hosted(definition: D) -> D:
    """Give the definition under which an engine that is given this one runs its workflows, of whatever object."""
    name = _names.get(id(definition.bound[0])) if definition.bound else None
    if name is not None or definition.unbound is None:
        return definition if name is None else _named(definition, name)
    return cast("D", definition.unbound)


def recorded_instance(definition: Definition[..., Any], codec: Codec) -> Raw:
    """Give what a start records of the object whose method it starts: nothing where its name is enough.

    Raises `UsageError` where the object has no name and is no value.
    """
    if not definition.bound or id(definition.bound[0]) in _names:
        return ABSENT
    (instance,) = definition.bound
    owner = _owner_of(definition)
    if isinstance(instance, type):
        if instance is owner:
            return ABSENT
    elif owner is not None:
        try:
            return Raw(codec.encode(instance, owner, what=f"self of workflow {definition.name}"))
        except NotEncodable:
            pass
    raise UsageError(
        f"workflow {definition.name} is a method of {instance!r}, which could not be found again after a restart: "
        'register it where the program begins, by everlog.register(it, name="..."), or make its class a dataclass'
    )


def with_instance(definition: D, recorded: bytes, codec: Codec) -> D:
    """Give the definition bound to what was recorded of its object. Raises `UsageError` where that cannot be had."""
    if definition.bound:
        return definition
    owner = _owner_of(definition)
    if not recorded:
        return definition.bound_to(owner) if _takes_class(definition, owner) else definition
    if owner is None:
        raise UsageError(f"its object was recorded, and {definition.name} ({definition.where()}) is no method now")
    return definition.bound_to(codec.decode(recorded, owner, what=f"self of workflow {definition.name}"))


def with_class(step: D, args: tuple[Any, ...]) -> tuple[D, tuple[Any, ...]]:
    """Take the class off the arguments of a class method, where Python has put it: `@classmethod` above `@step`."""
    if step.bound or not args or not isinstance(args[0], type) or not _takes_class(step, _owner_of(step)):
        return step, args
    return step.bound_to(args[0]), args[1:]


def unwrapped(fn: Any) -> Any:
    """Give the definition within a bound method: what `@classmethod` above a decorator makes from Python 3.13 on."""
    if isinstance(fn, MethodType) and hasattr(fn.__func__, "bound_to"):
        definition: Any = fn.__func__
        return definition.bound_to(fn.__self__)
    return fn


def runnable(definitions: Mapping[str, D]) -> Mapping[str, D]:
    """Give the definitions and, for each registered object, those that are methods of it, by their names in the log."""
    global _runnable
    if not _registered:
        return definitions
    of, registered, found = _runnable
    if not (_are_same(of, definitions) and _are_same(registered, _registered)):
        of, registered = dict(definitions), dict(_registered)
        found = dict(of)
        for name, instance in registered.items():
            for log_name, definition in of.items():
                owner = None if definition.bound else _owner_of(definition)
                if owner is not None and _fits(instance, owner, _takes_class(definition, owner)):
                    bound = _named(definition.bound_to(instance), name)
                    found[versioned(bound.name, version_of(log_name))] = bound
        _runnable = of, registered, found
    return found


def _are_same(known: Mapping[str, object], now: Mapping[str, object]) -> bool:
    """Tell whether they have the same objects, which are not compared: what is equal is for their class to say."""
    return known.keys() == now.keys() and all(now[name] is one for name, one in known.items())


def _named(definition: D, name: str) -> D:
    suffix = f"@{name}"
    if workflow_of(definition.name).endswith(suffix):
        return definition
    return definition.changed(name=check_name(definition.name + suffix, "the name of a workflow"))


def _fits(instance: object, owner: type, takes_class: bool) -> bool:
    if takes_class:
        return isinstance(instance, type) and issubclass(instance, owner)
    return isinstance(instance, owner)


def _takes_class(definition: Definition[..., Any], owner: type | None) -> bool:
    if definition.binds != "instance":
        return definition.binds == "class"
    return isinstance(vars(owner).get(definition.__name__), classmethod) if owner is not None else False


def _owner_of(definition: Definition[..., Any]) -> type | None:
    """Give the class in whose body the function stands, also where `@classmethod` was put above the decorator."""
    if definition.binds == "nothing":
        return None
    if definition.owner is not None:
        return definition.owner
    found: Any = sys.modules.get(definition.__module__)
    for part in definition.__qualname__.split(".")[:-1]:
        found = getattr(found, part, None)
    return found if isinstance(found, type) and definition.__name__ in vars(found) else None


def _full_name(obj: object) -> tuple[str, str]:
    kind = obj if isinstance(obj, type) else type(obj)
    return kind.__module__, kind.__qualname__
