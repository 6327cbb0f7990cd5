"""Signature: the arguments of a call <-> one recorded input. Does not call anything, and records no defaults."""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from inspect import Parameter
from typing import Any, Final, Optional, cast

from everlog.core.codec import Codec, JsonCodec, Mismatch, to_json
from everlog.core.containers import dict_of, tuple_of_any_length
from everlog.core.hints import Hints, function_hints
from everlog.core.plain import LARGEST, SMALLEST, Convert, Trouble, is_list, is_object, misread
from everlog.core.shapes import shape_of
from everlog.core.unions import Shape
from everlog.errors import InvalidDefinition, UsageError

POSITIONAL: Final = "*"
"""The key of arguments that were recorded by position, where the names of the parameters were not known."""

_MOST_KINDS: Final = 64
_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """Turns the arguments of a call of `fn` into one recorded input and back.

    The input is a JSON object by parameter name, in the order of the signature, of those arguments that were given;
    those of `*args` are a list, those of `**kwargs` an object, each under its own name. So parameters with defaults
    may be added later, and what an older input has beyond the parameters is ignored.
    With `skip_first` the first parameter, `self` of a method, is left out on both ways; the parameters named in
    `unrecorded` are in no input, and are handed to `decode` as they are.
    Annotations are resolved at the first use; one that cannot be resolved counts as none.
    """

    __slots__ = ("_bound_one", "_converters", "_fn", "_hints", "_is_simple", "_name", "_parameters", "_plain",
                 "_plain_results", "_positional", "_required", "_rest", "_scalars", "_shape", "_signature",
                 "unrecorded")  # fmt: skip

    def __init__(
        self, fn: Callable[..., object], *, skip_first: bool = False, unrecorded: Collection[str] = ()
    ) -> None:
        self._fn = fn
        self._name = getattr(fn, "__qualname__", type(fn).__qualname__)
        self._signature = _signature_of(fn, skip_first)
        self._parameters = tuple(self._signature.parameters.values())
        self.unrecorded = frozenset(unrecorded)
        positional = [p for p in self._parameters if p.kind in _POSITIONAL]
        self._positional = tuple(parameter.name for parameter in positional)
        self._rest = next((p.name for p in self._parameters if p.kind is Parameter.VAR_POSITIONAL), None)
        self._required = sum(parameter.default is Parameter.empty for parameter in positional)
        self._is_simple = not unrecorded and all(
            p.kind in _POSITIONAL or (p.kind is Parameter.KEYWORD_ONLY and p.default is not Parameter.empty)
            for p in self._parameters
        )
        self._hints: Hints | None = None
        self._converters: dict[str, tuple[Convert, Convert]] | None = None
        self._scalars: dict[str, frozenset[type]] = {}
        self._plain: dict[tuple[type, ...], tuple[int, ...] | None] = {}
        """By the types of arguments that were given by position: see `_numbers_in`."""
        self._shape = Shape("arguments", {dict}, {"object"}, self._encode_given, self._decode_given,
                            is_plain=cast("Callable[[object], bool]", self._is_plain))  # fmt: skip
        self._plain_results: frozenset[type] | None = None
        self._bound_one: Signature | None = None

    def without_first(self) -> Signature:
        """Give the signature of the method that the function is, without `self`; always the same one."""
        if self._bound_one is None:
            first = set(self._signature.parameters) - set(_signature_of(self._fn, True).parameters)
            self._bound_one = Signature(self._fn, skip_first=True, unrecorded=self.unrecorded - first)
        return self._bound_one

    def encode(self, codec: Codec, args: tuple[object, ...], kwargs: dict[str, object], *, what: str) -> bytes:
        """Give the input; `TypeError` as the call itself would raise it, `NotEncodable` with the argument's name."""
        if self._is_simple and not kwargs and self._required <= len(args) <= len(self._positional):
            given = dict(zip(self._positional, args, strict=False))
        else:
            given = self._bound(args, kwargs)
        if self.unrecorded:
            given = {name: value for name, value in given.items() if name not in self.unrecorded}
        return codec.encode(given, self._shape, what=what)

    def encode_plain(self, args: tuple[object, ...]) -> bytes | None:
        """Give the input that `JsonCodec` gives for a call with just these, where to rebuild it would give just these.

        So it is with JSON's own scalars where they are declared; None where it is not so, or not known.
        """
        kinds = tuple(map(type, args))
        try:
            numbers = self._plain[kinds]
        except KeyError:
            numbers = self._numbers_in(kinds)
        if numbers is None:
            return None
        given: tuple[Any, ...] = args
        for position in numbers:
            if not SMALLEST <= given[position] <= LARGEST:  # nor is a NaN
                return None
        try:
            return to_json(dict(zip(self._positional, args, strict=False)))
        except ValueError:  # lone surrogates, which are written otherwise
            return None

    def encode_plain_result(self, result: object) -> bytes | None:
        """Give what `JsonCodec` gives for a result, where to rebuild it would give the very same; None otherwise."""
        kinds = self._plain_results
        if kinds is None:
            kinds = self._plain_results = shape_of(self.result_type).scalars
        kind = type(result)
        if kind not in kinds:
            return None
        value: Any = result
        if (kind is int or kind is float) and not SMALLEST <= value <= LARGEST:
            return None
        try:
            return to_json(result)
        except ValueError:  # lone surrogates
            return None

    def passed_on(self, args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
        """Give the arguments of a call that are not recorded, as they are, by name."""
        return {name: value for name, value in self._bound(args, kwargs).items() if name in self.unrecorded}

    def decode(
        self, codec: Codec, payload: bytes, *, what: str, passed: Mapping[str, object] | None = None
    ) -> tuple[tuple[object, ...], dict[str, object]]:
        """Rebuild the arguments, with `passed` for those that are not recorded.

        `Mismatch` where the function, as it is now, cannot be called with them.
        """
        given: Any = codec.decode(payload, self._shape, what=what)
        if self._is_simple and len(given) >= self._required and self._positional[: len(given)] == tuple(given):
            return tuple(given.values()), {}
        if passed:
            given.update(passed)
        args: list[object] = []
        kwargs: dict[str, object] = {}
        for parameter in self._parameters:
            name, kind = parameter.name, parameter.kind
            if name not in given:
                if parameter.default is Parameter.empty and kind not in _VARIADIC:
                    raise self._lacks(name, what)
            elif kind is Parameter.VAR_POSITIONAL:
                args = [given.get(n, self._signature.parameters[n].default) for n in self._positional]
                args.extend(given[name])
                kwargs = {n: value for n, value in kwargs.items() if n not in self._positional}
            elif kind is Parameter.VAR_KEYWORD:
                kwargs.update(given[name])
            elif kind in _POSITIONAL and self._positional[len(args) : len(args) + 1] == (name,):
                args.append(given[name])
            elif kind is Parameter.POSITIONAL_ONLY:
                skipped = self._positional[len(args) : self._positional.index(name)]
                args.extend(self._signature.parameters[n].default for n in skipped)
                args.append(given[name])
            else:
                kwargs[name] = given[name]
        return tuple(args), kwargs

    def changed(
        self, codec: Codec, payload: bytes, changes: Mapping[str, object], *, what: str, written: bytes | None = None
    ) -> bytes:
        """Give an input with other arguments, by name; `UsageError` for a name that is no recorded parameter's.

        Where they were `written` as the log has them, that is read with the types of the parameters.
        """
        names = [one.name for one in self._parameters if one.name not in self.unrecorded]
        unknown = [name for name in changes if name not in names]
        if unknown:
            raise UsageError(
                f"{what} has no parameter {unknown[0]!r}; {self._name}() takes {', '.join(names) or 'none'}"
            )
        given: Any = codec.decode(payload, self._shape, what=what)
        if written is not None:
            changes = cast("dict[str, object]", JsonCodec().decode(written, self._shape, what=what))
        changed = codec.encode({**given, **changes}, self._shape, what=what)
        self.decode(codec, changed, what=what)
        return changed

    def completed(self, codec: Codec, payload: bytes, *, what: str) -> bytes:
        """Give the input as it is today: rebuilt through today's types, with the defaults of what was left out."""
        given: Any = codec.decode(payload, self._shape, what=what)
        whole: dict[str, object] = {}
        for parameter in self._parameters:
            name = parameter.name
            if name in given:
                whole[name] = given[name]
            elif name not in self.unrecorded and parameter.kind not in _VARIADIC:
                if parameter.default is Parameter.empty:
                    raise self._lacks(name, what)
                whole[name] = parameter.default
        return codec.encode(whole, self._shape, what=what)

    @property
    def result_type(self) -> object:
        """The declared type of the result, `Any` where none is declared; of an `async def` the annotation itself."""
        return self._resolved().get("return", Any)

    def _bound(self, args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            hint = "; options go through options(...)" if "unexpected keyword argument" in str(error) else ""
            raise TypeError(f"{self._name}() {error}{hint}") from None

    def _lacks(self, name: str, what: str) -> Mismatch:
        return Mismatch(
            f"{what}: the recorded input has no argument {name!r}, which {self._name}() now requires; give the "
            "parameter a default",
            path=f"$.{name}",
            expected=f"a value for {name!r}",
            found="none",
        )

    def _is_plain(self, given: dict[str, object]) -> bool:
        """Tell whether all arguments are their own plain data. One loop without calls, since every call passes here."""
        if type(given) is not dict:
            return False
        scalars = self._scalars
        for name, value in given.items():
            if type(value) not in scalars.get(name, ()):
                return False
            if type(value) is float:
                if not math.isfinite(value):
                    return False
            elif type(value) is int and not SMALLEST <= value <= LARGEST:
                return False
        return True

    def _numbers_in(self, kinds: tuple[type, ...]) -> tuple[int, ...] | None:
        """Give which arguments of these types are numbers, and remember it; None where one may not be plain data."""
        numbers: tuple[int, ...] | None = None
        if self._is_simple and self._required <= len(kinds) <= len(self._positional):
            if self._converters is None:
                self._compiled()
            if all(kind in self._scalars[name] for name, kind in zip(self._positional, kinds, strict=False)):
                numbers = tuple(position for position, kind in enumerate(kinds) if kind in (int, float))
        if len(self._plain) < _MOST_KINDS:
            self._plain[kinds] = numbers
        return numbers

    def _encode_given(self, given: object) -> object:
        converters = self._converters or self._compiled()
        out: dict[str, object] = {}
        name = ""
        try:
            for name, value in cast("dict[str, object]", given).items():
                out[name] = converters[name][0](value)
        except Trouble as trouble:
            trouble.under(name)
            raise
        return out

    def _decode_given(self, plain: object) -> object:
        if not is_object(plain):
            raise misread(f"the arguments of {self._name}()", plain)
        if POSITIONAL in plain:
            plain = self._placed(plain)
        out: dict[str, object] = {}
        name = ""
        try:
            for name, (_, decode) in (self._converters or self._compiled()).items():
                if name in plain:
                    out[name] = decode(plain[name])
        except Trouble as trouble:
            trouble.under(name)
            raise
        return out

    def _placed(self, plain: dict[str, object]) -> dict[str, object]:
        """Give arguments that were recorded by position the names of the parameters."""
        listed = plain[POSITIONAL]
        if not is_list(listed):
            raise misread(f"the arguments of {self._name}()", listed)
        names = [name for name in self._positional if name not in self.unrecorded]
        found = dict(zip(names, listed, strict=False))
        if len(listed) > len(names) and self._rest is not None:
            found[self._rest] = listed[len(names) :]
        elif len(listed) > len(names):
            raise misread(f"at most {len(names)} arguments of {self._name}() by position", listed)
        return {**found, **{name: value for name, value in plain.items() if name != POSITIONAL}}

    def _compiled(self) -> dict[str, tuple[Convert, Convert]]:
        hints = self._resolved()
        shapes = {
            p.name: _shape_of(p, hints.get(p.name, Any)) for p in self._parameters if p.name not in self.unrecorded
        }
        self._scalars = {name: shape.scalars for name, shape in shapes.items()}
        if not all(self._scalars.values()):  # then it is not worth asking
            self._shape.is_plain = None
        self._converters = {name: (shape.encode, shape.decode) for name, shape in shapes.items()}
        return self._converters

    def _resolved(self) -> Hints:
        hints = self._hints
        if hints is None:
            self._hints = hints = function_hints(self._fn)
        return hints


def check_unrecorded(
    fn: Callable[..., object], names: Iterable[str], of: str, *, needs_defaults: bool
) -> tuple[str, ...]:
    """Give the names back; `InvalidDefinition` where they are not parameters of `of` that may be left unrecorded."""
    # Users without a type checker give anything.
    if isinstance(names, str) or not isinstance(names, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidDefinition(f"{of}: unrecorded takes names of parameters, as in ('client',), got {names!r}")
    given = tuple(names)
    parameters = dict(_signature_of(fn, False).parameters) if given else {}
    for name in given:
        # Compared, not looked up: users without a type checker give anything, hashable or not.
        parameter = next((one for one in parameters.values() if one.name == name), None)
        if parameter is None:
            raise InvalidDefinition(
                f"{of} has no parameter {name!r} to leave unrecorded; it has {', '.join(parameters)}"
            )
        if parameter.kind in _VARIADIC:
            stars = str(parameter).partition(":")[0]
            raise InvalidDefinition(f"{of}: {stars} cannot be unrecorded as a whole; name a parameter of its own")
        if needs_defaults and parameter.default is Parameter.empty:
            raise InvalidDefinition(
                f"{of}: the unrecorded parameter {name!r} needs a default, since a process that goes on with the "
                "workflow after a crash has nothing else to pass for it"
            )
    return given


_VARIADIC: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def _signature_of(fn: Callable[..., object], skip_first: bool) -> inspect.Signature:
    try:
        signature = inspect.signature(fn)
    except ValueError:  # of some builtins nothing is known
        return inspect.signature(lambda *args, **kwargs: None)
    if not skip_first:
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _shape_of(parameter: Parameter, hint: object) -> Shape:
    shape = shape_of(hint)
    if parameter.kind is Parameter.VAR_POSITIONAL:
        return tuple_of_any_length(shape)
    if parameter.kind is Parameter.VAR_KEYWORD:
        is_whole = typing.get_origin(hint) is typing.Unpack
        return shape_of(typing.get_args(hint)[0]) if is_whole else dict_of(shape_of(str), shape)
    if parameter.default is None:  # `x: int = None`, as it was once written
        return shape_of(Optional[hint])  # noqa: UP045 - the hint is only known at run time
    return shape
