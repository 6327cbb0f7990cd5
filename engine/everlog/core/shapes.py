"""Shapes: what a declared type form means for encoding and decoding, compiled once. No bytes, no messages to users.

A shape is exact: it encodes only values of the very types that it would decode to, and raises `Trouble` for others.
A type form that is unknown or cannot be resolved has the untyped shape, so that a definition never fails here.
"""

from __future__ import annotations

import collections
import collections.abc as abc
import enum
import pathlib
import types
import typing
from typing import Annotated, Any, ClassVar, Final, Literal, NewType, TypeVar, cast

import msgspec

from everlog.core import plain, standard, tagged
from everlog.core.collected import MAPPINGS
from everlog.core.containers import (
    any_mapping_of,
    collection_of,
    deque_of,
    dict_of,
    enum_of,
    flag_of,
    list_of,
    literal_of,
    mapping_of,
    set_of,
    tuple_of,
    tuple_of_any_length,
)
from everlog.core.hints import resolved_in
from everlog.core.records import Pair, is_typed_dict, pydantic_type, record_of
from everlog.core.unions import EVERYTHING, Shape, union_of

_AS_UNTYPED: Final = frozenset({types.NoneType, bool, int, float, str})
UNTYPED: Final = Shape("Any", None, EVERYTHING, tagged.encode_untyped, tagged.decode_untyped, scalars=_AS_UNTYPED)
_NONE: Final = Shape("None", {types.NoneType}, {"null"}, plain.encode_none, plain.decode_none, scalars=[types.NoneType])

_SIMPLE: Final[dict[object, Shape]] = {
    Any: UNTYPED,
    object: UNTYPED,
    None: _NONE,
    types.NoneType: _NONE,
    bool: Shape("bool", {bool}, {"bool"}, plain.encode_bool, plain.decode_bool, scalars=[bool]),
    int: Shape("int", {int}, {"int", "$int"}, plain.encode_int, plain.decode_int, scalars=[int]),
    float: Shape("float", {float}, {"float", "$float"}, plain.encode_float, plain.decode_float, scalars=[float]),
    str: Shape("str", {str}, {"str", "$str"}, plain.encode_text, plain.decode_text, scalars=[str]),
    **{s.kind: Shape(s.kind.__name__, {s.kind}, {"str", "$str"}, s.encode, s.decode) for s in standard.STANDARD},
    list: list_of(UNTYPED),
    tuple: tuple_of_any_length(UNTYPED),
    typing.Tuple: tuple_of_any_length(UNTYPED),  # noqa: UP006 - the form itself, as a user may have written it
    set: set_of(set, UNTYPED),
    frozenset: set_of(frozenset, UNTYPED),
    dict: dict_of(UNTYPED, UNTYPED),
}
_SIMPLE[pathlib.Path] = _SIMPLE[type(pathlib.Path())]
_SIMPLE[pathlib.PurePath] = _SIMPLE[type(pathlib.PurePath())]

_ABSTRACT_MAPPINGS: Final = (abc.Mapping, abc.MutableMapping)
_COLLECTIONS: Final = (
    *(abc.Iterable, abc.Collection, abc.Container, abc.Reversible),
    *(abc.Sequence, abc.MutableSequence, abc.Set, abc.MutableSet),
)
_QUALIFIERS: Final = (Annotated, ClassVar, typing.Final, typing.Required, typing.NotRequired)
_ALIAS: Final = "TypeAliasType"  # of `typing` from Python 3.12 on, of `typing_extensions` before

_compiled: Final[dict[object, Shape]] = dict(_SIMPLE)


def shape_of(declared: object) -> Shape:
    """Give the shape of a type form, or the shape that was compiled already; fails only at the end of the stack."""
    try:
        found = _compiled.get(declared)
    except TypeError:  # a form that cannot be hashed, such as Annotated with a list
        return _compile_leniently(declared)
    if found is None:
        if isinstance(declared, Shape):
            return declared
        found = _compile_leniently(declared)
        _compiled[declared] = found
    return found


def pair_of(declared: object) -> Pair:
    """Give how values of the type form are encoded and decoded."""
    shape = shape_of(declared)
    return shape.encode, shape.decode


def _compile_leniently(declared: object) -> Shape:
    try:
        return _compile(declared)
    except RecursionError:  # at the end of the stack, which says nothing about the type
        raise
    except Exception:  # whatever metaclasses and future type forms may do
        return UNTYPED


def _compile(declared: object) -> Shape:
    origin: object = typing.get_origin(declared)
    arguments = typing.get_args(declared)
    if isinstance(declared, TypeVar):
        return _variable(declared)
    if isinstance(declared, NewType):
        return shape_of(declared.__supertype__)
    if _ALIAS in (type(declared).__name__, type(origin).__name__):
        return _alias(declared, origin, arguments)
    if origin in _QUALIFIERS or str(origin).endswith(".ReadOnly"):
        return shape_of(arguments[0])
    if origin is typing.Union or origin is types.UnionType:
        return _union(arguments)
    if origin is Literal:
        return literal_of(arguments)
    if isinstance(origin, type):
        return _container(origin, arguments) or _class(origin, arguments)
    if not isinstance(declared, type):
        return UNTYPED
    return _container(declared, ()) or _class(declared, ())


def _variable(variable: TypeVar) -> Shape:
    if variable.__bound__ is not None:
        return shape_of(resolved_in(variable.__bound__, variable))
    return _union(variable.__constraints__) if variable.__constraints__ else UNTYPED


def _alias(declared: object, origin: object, arguments: tuple[object, ...]) -> Shape:
    value = cast("Any", origin).__value__[arguments] if arguments else cast("Any", declared).__value__
    value = resolved_in(value, origin if arguments else declared)
    if not _mentions(value, declared, set()):
        return shape_of(value)
    name = str(declared)

    def compiled() -> Shape:  # not before it is used, since to compile it takes itself
        return shape_of(value)

    return Shape(name, None, EVERYTHING, lambda value: compiled().encode(value), lambda data: compiled().decode(data))


def _mentions(hint: object, alias: object, seen: set[int]) -> bool:
    if hint is alias:
        return True
    if id(hint) in seen:
        return False
    seen.add(id(hint))
    inner = [*typing.get_args(hint), *([cast("Any", hint).__value__] if type(hint).__name__ == _ALIAS else [])]
    return any(_mentions(part, alias, seen) for part in inner)


def _union(arguments: tuple[object, ...]) -> Shape:
    shapes = [shape_of(argument) for argument in arguments if argument is not msgspec.UnsetType]
    if UNTYPED in shapes:  # which writes JSON's own scalars just as their shapes would
        shapes = [shape for shape in shapes if shape.types is None or not shape.types <= _AS_UNTYPED]
    return union_of(shapes)


def _container(origin: type, arguments: tuple[object, ...]) -> Shape | None:
    if origin is tuple:
        return _tuple(arguments)
    if origin is collections.Counter:
        return mapping_of(origin, shape_of(arguments[0]) if arguments else UNTYPED, shape_of(int))
    if origin is dict or origin in MAPPINGS or origin in _ABSTRACT_MAPPINGS:
        key, item = map(shape_of, arguments if len(arguments) == 2 else (Any, Any))
        if origin in _ABSTRACT_MAPPINGS:
            return any_mapping_of(origin.__name__, key, item)
        return dict_of(key, item) if origin is dict else mapping_of(origin, key, item)
    item = shape_of(arguments[0]) if arguments else UNTYPED
    if origin is collections.deque:
        return deque_of(item)
    if origin is list:
        return list_of(item)
    if origin is set:
        return set_of(set, item)
    if origin is frozenset:
        return set_of(frozenset, item)
    return collection_of(origin.__name__, item) if origin in _COLLECTIONS else None


def _tuple(arguments: tuple[object, ...]) -> Shape:
    if len(arguments) == 2 and arguments[1] is ...:
        return tuple_of_any_length(shape_of(arguments[0]))
    if any(typing.get_origin(part) is typing.Unpack or getattr(part, "__unpacked__", False) for part in arguments):
        return tuple_of_any_length(UNTYPED)
    return tuple_of([shape_of(part) for part in arguments])


def _class(kind: type[Any], arguments: tuple[object, ...]) -> Shape:
    if enum.Flag in kind.__mro__:
        return flag_of(kind)
    if enum.Enum in kind.__mro__:
        return enum_of(kind)
    taken: type = dict if is_typed_dict(kind) else kind
    full = plain.type_text(kind)
    record = record_of(kind, arguments, pair_of)
    if record is not None:
        return Shape(kind.__name__, {taken}, {"object"}, record.encode, record.decode, full=full)
    foreign = pydantic_type(kind)
    return Shape(kind.__name__, None, EVERYTHING, *foreign, full=full) if foreign else UNTYPED
