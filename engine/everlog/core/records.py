"""Records: classes with named fields <-> JSON objects, field by field, for every way Python has to declare them.

A class is read through its fields, never through its own methods of serialisation, and an instance comes back with
the fields exactly as they were recorded. A field that a payload lacks takes its default; what a payload has beside the
fields is ignored. Fields are compiled at the first use, so that classes may refer to themselves.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, NamedTuple, cast

import msgspec

from everlog.core.hints import class_hints, substituted, type_arguments
from everlog.core.plain import Convert, Trouble, is_dict, is_list, is_object, misread, type_text, unfit
from everlog.core.tagged import decode_untyped, encode_untyped, is_named_tuple

Pair = tuple[Convert, Convert]
"""How to encode and how to decode."""

UNION_TYPE: Final = "$type"
UNION_VALUE: Final = "$value"


class Field(NamedTuple):
    """One field: its name in Python, in JSON, and how its values are converted."""

    name: str
    key: str
    encode: Convert
    decode: Convert


class Record:
    """How instances of one class are encoded and decoded; the subclasses know the ways to declare a class."""

    __slots__ = ("_arguments", "_fields", "_pair_of", "_runs_code", "kind", "name")

    def __init__(self, kind: type, arguments: tuple[object, ...], pair_of: Callable[[object], Pair]) -> None:
        self.kind = kind
        self.name = type_text(kind)
        self._arguments = arguments
        self._pair_of = pair_of
        self._fields: tuple[Field, ...] | None = None
        self._runs_code: bool | None = None

    def encode(self, value: object) -> object:
        if type(value) is not self.kind:
            raise _subclass_of(self.name, value) if isinstance(value, self.kind) else unfit(self.name, value)
        out: dict[str, object] = {}
        name = ""
        try:
            for name, key, encode, _ in self._fields or self.fields():
                item = getattr(value, name)
                if item is not msgspec.UNSET:
                    out[key] = encode(item)
        except Trouble as trouble:
            trouble.under(name)
            raise
        except AttributeError as error:
            raise Trouble(f"{self.name} has no value for its field {name!r}") from error
        if self._runs_code is not False:
            self.check(out)
        return out

    def check(self, out: dict[str, object]) -> None:
        """Rebuild it once, where that runs the user's code, which may not take its own values back."""
        if self._runs_code is None:
            self._runs_code = self.runs_code()
        if not self._runs_code:
            return
        try:
            self.decode(out)
        except Trouble as trouble:
            problem = f"{self.name} cannot be rebuilt from its own fields: {trouble.problem}"
            raise Trouble(problem, expected=trouble.expected, found=trouble.found) from trouble.__cause__

    def runs_code(self) -> bool:
        """Tell whether to build an instance runs code of the class."""
        return hasattr(self.kind, "__post_init__")

    def decode(self, plain: object) -> object:
        plain = self.unwrapped(plain)
        values: dict[str, object] = {}
        name = ""
        try:
            for name, key, _, decode in self._fields or self.fields():
                if key in plain:
                    values[name] = decode(plain[key])
        except Trouble as trouble:
            trouble.under(name)
            raise
        try:
            return self.make(values)
        except (Trouble, RecursionError):
            raise
        except Exception as error:  # whatever a `__post_init__` raises means that the values do not fit
            raise misread(self.name, plain, f"{type(error).__name__}: {error}") from error

    def unwrapped(self, plain: object) -> dict[str, object]:
        """Give the object, also where it was recorded as a member of a union."""
        if is_object(plain) and UNION_TYPE in plain:
            plain = plain.get(UNION_VALUE)
        if not is_object(plain):
            raise misread(self.name, plain)
        return plain

    def fields(self) -> tuple[Field, ...]:
        if self._fields is None:
            hints = self.hints()
            bound = type_arguments(self.kind, self._arguments)
            fields: list[Field] = []
            for name, key in self.keys():
                pair = self._pair_of(substituted(hints.get(name, Any), bound))
                fields.append(Field(name, key, *pair))
            self._fields = tuple(fields)
        return self._fields

    def hints(self) -> dict[str, object]:
        return class_hints(self.kind)

    def keys(self) -> Iterable[tuple[str, str]]:
        """Give the fields' names in Python and in JSON, in order."""
        raise NotImplementedError

    def make(self, values: dict[str, object]) -> object:
        """Build the instance; any exception means that the values do not fit."""
        raise NotImplementedError


def _subclass_of(expected: str, value: object) -> Trouble:
    found = type_text(type(value))
    return Trouble(
        f"declared {expected}, found an instance of its subclass {found}, which would not come back as the same type; "
        f"declare {expected} | {found}, or the subclass alone",
        expected=expected,
        found=found,
    )


class StructRecord(Record):
    """A `msgspec.Struct`, under the names that it gives its fields in JSON."""

    __slots__ = ()

    def keys(self) -> Iterable[tuple[str, str]]:
        kind = cast("type[msgspec.Struct]", self.kind)
        for name, key in zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True):
            yield name, name if key.startswith("$") else key

    def make(self, values: dict[str, object]) -> object:
        made = cast("type[msgspec.Struct]", self.kind)(**values)
        if hasattr(self.kind, "__post_init__"):  # which may have changed what was recorded after it had run
            for name, value in values.items():
                msgspec.structs.force_setattr(made, name, value)
        return made


_HOLDING: Final = (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset, BaseException)
"""Types whose instances hold something that is no attribute."""


class DataclassRecord(Record):
    """A dataclass. Its `__init__` is not run; a `__post_init__` without arguments is, before the fields are set."""

    __slots__ = ("_defaults", "_is_prepared")

    def keys(self) -> Iterable[tuple[str, str]]:
        self._defaults = dataclasses.fields(self.kind)
        prepare = getattr(self.kind, "__post_init__", None)
        self._is_prepared = prepare is not None and len(inspect.signature(prepare).parameters) == 1
        for field in self._defaults:
            yield field.name, field.name

    def encode(self, value: object) -> object:
        if isinstance(value, _HOLDING):
            raise Trouble(
                f"{self.name} is a dataclass derived from a builtin type, and what it holds beside its fields would be "
                "lost; make that a field"
            )
        return Record.encode(self, value)

    def make(self, values: dict[str, object]) -> object:
        made: object = object.__new__(cast("type[object]", self.kind))
        for field in self._defaults if len(values) < len(self._defaults) else ():
            if field.name not in values:
                self._set_default(made, field, values)
        for name, value in values.items():
            object.__setattr__(made, name, value)
        if self._is_prepared:
            cast("Any", made).__post_init__()
            for name, value in values.items():
                object.__setattr__(made, name, value)
        return made

    def _set_default(self, made: object, field: dataclasses.Field[Any], values: dict[str, object]) -> None:
        if field.default is not dataclasses.MISSING:
            object.__setattr__(made, field.name, field.default)
        elif field.default_factory is not dataclasses.MISSING:
            object.__setattr__(made, field.name, field.default_factory())
        elif field.init:
            raise misread(self.name, values, f"the field {field.name!r} is missing and has no default")


class AttrsRecord(Record):
    """A class made by attrs. Its `__init__`, converters and validators are not run on the way back."""

    __slots__ = ("_defaults",)

    def keys(self) -> Iterable[tuple[str, str]]:
        self._defaults: tuple[Any, ...] = cast("Any", self.kind).__attrs_attrs__
        for attribute in self._defaults:
            yield attribute.name, attribute.name

    def make(self, values: dict[str, object]) -> object:
        made: object = object.__new__(cast("type[object]", self.kind))
        for attribute in self._defaults:
            name, default = attribute.name, attribute.default
            if name not in values:
                if getattr(default, "name", "") == "NOTHING":  # the mark of attrs, which is not imported here
                    raise misread(self.name, values, f"the field {name!r} is missing and has no default")
                factory = getattr(default, "factory", None) if type(default).__name__ == "Factory" else None
                if factory is not None:
                    default = factory(made) if default.takes_self else factory()
                values[name] = default
            object.__setattr__(made, name, values[name])
        return made


class NamedTupleRecord(Record):
    """A named tuple, as an object, so that it may gain fields with defaults."""

    __slots__ = ()

    def keys(self) -> Iterable[tuple[str, str]]:
        for name in cast("Any", self.kind)._fields:
            yield name, name

    def make(self, values: dict[str, object]) -> object:
        kind = cast("Any", self.kind)
        items = [values[name] if name in values else kind._field_defaults[name] for name in kind._fields]
        made: object = cast("Any", tuple).__new__(kind, items)
        return made


def _mark(hint: object) -> object:
    """Give `Required` or `NotRequired` where a key is marked so, inside of other marks too."""
    origin: object = typing.get_origin(hint)
    if origin is typing.Annotated or str(origin).endswith(".ReadOnly"):
        return _mark(typing.get_args(hint)[0])
    return origin


class TypedDictRecord(Record):
    """A `TypedDict`, in its own order. A value with a key that is not declared is refused, since it would be lost."""

    __slots__ = ("_required",)

    def encode(self, value: object) -> object:
        if not is_dict(value):
            raise unfit(self.name, value)
        known: dict[object, Field] = {field.name: field for field in self._fields or self.fields()}
        if not (self._required <= value.keys() <= known.keys()):
            extra, missing = sorted(map(repr, value.keys() - known.keys())), sorted(self._required - value.keys())
            raise Trouble(f"a {self.name} with the keys it declares was expected; extra {extra}, missing {missing}")
        out: dict[str, object] = {}
        name: object = ""
        try:
            for name, item in value.items():
                out[known[name].key] = known[name].encode(item)
        except Trouble as trouble:
            trouble.under(name)
            raise
        return out

    def decode(self, plain: object) -> object:
        plain = self.unwrapped(plain)
        known = {field.key: field for field in self._fields or self.fields()}
        values: dict[str, object] = {}
        name = ""
        try:
            for key, item in plain.items():
                if key in known:
                    name = known[key].name
                    values[name] = known[key].decode(item)
        except Trouble as trouble:
            trouble.under(name)
            raise
        return self.make(values)

    def keys(self) -> Iterable[tuple[str, str]]:
        hints = class_hints(self.kind)
        declared: frozenset[str] = getattr(self.kind, "__required_keys__", frozenset())
        marks = {name: _mark(hint) for name, hint in hints.items()}
        # The class itself does not know the marks where its annotations are strings.
        self._required = frozenset(
            name
            for name, mark in marks.items()
            if mark is typing.Required or (mark is not typing.NotRequired and name in declared)
        )
        return [(name, f"${name}" if name.startswith("$") else name) for name in hints]

    def make(self, values: dict[str, object]) -> object:
        if missing := sorted(self._required - values.keys()):
            raise misread(self.name, values, f"missing {missing}")
        return values


class PydanticRecord(Record):
    """A pydantic model, which is asked to validate only what today's fields do not fit, such as an older payload."""

    __slots__ = ()
    UNSET_KEY: ClassVar = "$unset"

    def encode(self, value: object) -> object:
        out = cast("dict[str, object]", Record.encode(self, value))
        model = cast("Any", value)
        extra: dict[str, object] = model.__pydantic_extra__ or {}
        for name, item in extra.items():
            if name.startswith("$"):
                raise Trouble(f"the extra field {name!r} of {self.name} begins with '$', which cannot be recorded")
            try:
                out[name] = encode_untyped(item)
            except Trouble as trouble:
                trouble.under(name)
                raise
        unset = [field.name for field in self.fields() if field.name not in model.model_fields_set]
        if unset:
            out[self.UNSET_KEY] = unset
        return out

    def decode(self, plain: object) -> object:
        plain = self.unwrapped(plain)
        try:
            return self._make_exactly(plain)
        except Trouble:
            model = cast("Any", self.kind)
            try:
                return model.model_validate({key: item for key, item in plain.items() if not key.startswith("$")})
            except RecursionError:
                raise
            except Exception:  # whatever its validators raise means that the values do not fit
                pass
            raise

    def runs_code(self) -> bool:
        return bool(getattr(self.kind, "__pydantic_post_init__", None))

    def hints(self) -> dict[str, object]:
        return {name: info.annotation for name, info in cast("Any", self.kind).model_fields.items()}

    def keys(self) -> Iterable[tuple[str, str]]:
        for name in cast("Any", self.kind).model_fields:
            yield name, name

    def _make_exactly(self, plain: dict[str, object]) -> object:
        model = cast("Any", self.kind)
        values: dict[str, object] = {}
        for name, key, _, decode in self.fields():
            try:
                if key in plain:
                    values[name] = decode(plain[key])
                elif model.model_fields[name].is_required():
                    raise misread(self.name, plain, "the field is missing and has no default")
            except Trouble as trouble:
                trouble.under(name)
                raise
        extra: dict[str, object] = {}
        if self._takes_extra():
            known = {field.key for field in self.fields()}
            extra = {
                key: decode_untyped(item) for key, item in plain.items() if key not in known and not key.startswith("$")
            }
        unset = plain.get(self.UNSET_KEY)
        given = (values.keys() | extra.keys()) - set(unset if is_list(unset) else ())
        try:
            made: object = model.model_construct(_fields_set=given, **_by_alias(model, values))
        except RecursionError:
            raise
        except Exception as error:  # whatever its `model_post_init` raises means that the values do not fit
            raise misread(self.name, plain, f"{type(error).__name__}: {error}") from error
        vars(made).update(values)
        if self._takes_extra():
            object.__setattr__(made, "__pydantic_extra__", extra)
        return made

    def _takes_extra(self) -> bool:
        return bool(cast("Any", self.kind).model_config.get("extra") == "allow")


def _by_alias(model: Any, values: dict[str, object]) -> dict[str, object]:
    """Give the values under the names by which `model_construct` takes them: a field's alias where it has one."""
    fields: dict[str, Any] = model.model_fields
    return {fields[name].alias or name: value for name, value in values.items()}


def record_of(kind: type[Any], arguments: tuple[object, ...], pair_of: Callable[[object], Pair]) -> Record | None:
    """Give the record for a class with named fields; None for any other class."""
    chosen: type[Record] | None = None
    if msgspec.Struct in kind.__mro__:
        chosen = StructRecord
    elif hasattr(kind, "__dataclass_fields__"):
        chosen = DataclassRecord
    elif hasattr(kind, "__attrs_attrs__"):
        chosen = AttrsRecord
    elif is_typed_dict(kind):
        chosen = TypedDictRecord
    elif is_named_tuple(kind):
        chosen = NamedTupleRecord
    elif "__pydantic_serializer__" in vars(kind) and hasattr(kind, "model_fields"):
        chosen = PydanticRecord
    return chosen(kind, arguments, pair_of) if chosen else None


def is_typed_dict(kind: type) -> bool:
    """Tell whether the class is a TypedDict, of `typing` or of `typing_extensions`."""
    return dict in kind.__mro__ and hasattr(kind, "__required_keys__")


def pydantic_type(kind: type) -> Pair | None:
    """Convert a type that only pydantic knows, such as a URL, through pydantic; None where pydantic is not in use."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None or not hasattr(kind, "__get_pydantic_core_schema__"):
        return None
    try:
        adapter = pydantic.TypeAdapter(kind)
    except RecursionError:  # at the end of the stack, which says nothing about the type
        raise
    except Exception:  # pydantic cannot convert it either
        return None

    def encode(value: object) -> object:
        try:
            plain: object = adapter.dump_python(value, mode="json", round_trip=True, warnings=False)
            back = decode(plain)
        except RecursionError:
            raise
        except Exception as error:
            raise unfit(type_text(kind), value) from error
        if type(back) is not type(value) or back != value:  # a SecretStr, for one, is written as asterisks
            raise Trouble(f"{type_text(kind)} does not come back from pydantic as it was")
        return plain

    def decode(plain: object) -> object:
        try:
            return adapter.validate_python(plain)
        except RecursionError:
            raise
        except Exception as error:
            raise misread(type_text(kind), plain, str(error)) from error

    return encode, decode
