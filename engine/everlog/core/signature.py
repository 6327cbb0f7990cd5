"""Signature: the arguments of a call <-> one recorded input. Does not call anything, and records no defaults."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from inspect import Parameter
from typing import Any, Final, Optional, cast

from everlog.core.codec import Codec, Mismatch
from everlog.core.containers import dict_of, tuple_of_any_length
from everlog.core.hints import Hints, function_hints
from everlog.core.plain import Convert, Trouble, is_list, is_object, misread
from everlog.core.shapes import pair_of, shape_of
from everlog.core.unions import Shape

POSITIONAL: Final = "*"
"""The key of arguments that were recorded by position, where the names of the parameters were not known."""

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """Turns the arguments of a call of `fn` into one recorded input and back.

    The input is a JSON object by parameter name, in the order of the signature, of those arguments that were given;
    those of `*args` are a list, those of `**kwargs` an object, each under its own name. So parameters with defaults
    may be added later, and what an older input has beyond the parameters is ignored.
    With `skip_first` the first parameter, `self` of a method, is left out on both ways.
    Annotations are resolved at the first use; one that cannot be resolved counts as none.
    """

    __slots__ = ("_converters", "_fn", "_hints", "_is_simple", "_name", "_parameters", "_positional", "_required",
                 "_rest", "_shape", "_signature")  # fmt: skip

    def __init__(self, fn: Callable[..., object], *, skip_first: bool = False) -> None:
        self._fn = fn
        self._name = getattr(fn, "__qualname__", type(fn).__qualname__)
        self._signature = _signature_of(fn, skip_first)
        self._parameters = tuple(self._signature.parameters.values())
        positional = [p for p in self._parameters if p.kind in _POSITIONAL]
        self._positional = tuple(parameter.name for parameter in positional)
        self._rest = next((p.name for p in self._parameters if p.kind is Parameter.VAR_POSITIONAL), None)
        self._required = sum(parameter.default is Parameter.empty for parameter in positional)
        self._is_simple = all(
            p.kind in _POSITIONAL or (p.kind is Parameter.KEYWORD_ONLY and p.default is not Parameter.empty)
            for p in self._parameters
        )
        self._hints: Hints | None = None
        self._converters: dict[str, tuple[Convert, Convert]] | None = None
        self._shape = Shape("arguments", {dict}, {"object"}, self._encode_given, self._decode_given)

    def encode(self, codec: Codec, args: tuple[object, ...], kwargs: dict[str, object], *, what: str) -> bytes:
        """Give the input; `TypeError` as the call itself would raise it, `NotEncodable` with the argument's name."""
        if self._is_simple and not kwargs and self._required <= len(args) <= len(self._positional):
            given = dict(zip(self._positional, args, strict=False))
        else:
            given = self._bound(args, kwargs)
        return codec.encode(given, self._shape, what=what)

    def decode(self, codec: Codec, payload: bytes, *, what: str) -> tuple[tuple[object, ...], dict[str, object]]:
        """Rebuild the arguments; `Mismatch` where the function, as it is now, cannot be called with them."""
        given = cast("dict[str, object]", codec.decode(payload, self._shape, what=what))
        if self._is_simple and len(given) >= self._required and self._positional[: len(given)] == tuple(given):
            return tuple(given.values()), {}
        args: list[object] = []
        kwargs: dict[str, object] = {}
        for parameter in self._parameters:
            name, kind = parameter.name, parameter.kind
            if name not in given:
                if parameter.default is Parameter.empty and kind not in _VARIADIC:
                    raise self._lacks(name, what)
            elif kind is Parameter.VAR_POSITIONAL:
                args = [given.get(n, self._signature.parameters[n].default) for n in self._positional]
                args.extend(cast("tuple[object, ...]", given[name]))
                kwargs = {n: value for n, value in kwargs.items() if n not in self._positional}
            elif kind is Parameter.VAR_KEYWORD:
                kwargs.update(cast("dict[str, object]", given[name]))
            elif kind in _POSITIONAL and self._positional[len(args) : len(args) + 1] == (name,):
                args.append(given[name])
            elif kind is Parameter.POSITIONAL_ONLY:
                skipped = self._positional[len(args) : self._positional.index(name)]
                args.extend(self._signature.parameters[n].default for n in skipped)
                args.append(given[name])
            else:
                kwargs[name] = given[name]
        return tuple(args), kwargs

    def completed(self, codec: Codec, payload: bytes, *, what: str) -> bytes:
        """Give the input as it is today: rebuilt through today's types, with the defaults of what was left out."""
        args, kwargs = self.decode(codec, payload, what=what)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return codec.encode(bound.arguments, self._shape, what=what)

    @property
    def result_type(self) -> object:
        """The declared type of the result, `Any` where none is declared; of an `async def` the annotation itself."""
        return self._resolved().get("return", Any)

    def _bound(self, args: tuple[object, ...], kwargs: dict[str, object]) -> dict[str, object]:
        try:
            return self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self._name}() {error}") from None

    def _lacks(self, name: str, what: str) -> Mismatch:
        return Mismatch(
            f"{what}: the recorded input has no argument {name!r}, which {self._name}() now requires; give the "
            "parameter a default",
            path=f"$.{name}",
            expected=f"a value for {name!r}",
            found="none",
        )

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
        found = dict(zip(self._positional, listed, strict=False))
        if len(listed) > len(self._positional) and self._rest is not None:
            found[self._rest] = listed[len(self._positional) :]
        elif len(listed) > len(self._positional):
            raise misread(f"at most {len(self._positional)} arguments of {self._name}() by position", listed)
        return {**found, **{name: value for name, value in plain.items() if name != POSITIONAL}}

    def _compiled(self) -> dict[str, tuple[Convert, Convert]]:
        hints = self._resolved()
        converters = {p.name: _converters_of(p, hints.get(p.name, Any)) for p in self._parameters}
        self._converters = converters
        return converters

    def _resolved(self) -> Hints:
        hints = self._hints
        if hints is None:
            self._hints = hints = function_hints(self._fn)
        return hints


_VARIADIC: Final = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


def _signature_of(fn: Callable[..., object], skip_first: bool) -> inspect.Signature:
    try:
        signature = inspect.signature(fn)
    except ValueError:  # of some builtins nothing is known
        return inspect.signature(lambda *args, **kwargs: None)
    if not skip_first:
        return signature
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def _converters_of(parameter: Parameter, hint: object) -> tuple[Convert, Convert]:
    shape = shape_of(hint)
    if parameter.kind is Parameter.VAR_POSITIONAL:
        shape = tuple_of_any_length(shape)
    elif parameter.kind is Parameter.VAR_KEYWORD:
        is_whole = typing.get_origin(hint) is typing.Unpack
        shape = shape_of(typing.get_args(hint)[0]) if is_whole else dict_of(shape_of(str), shape)
    elif parameter.default is None:  # `x: int = None`, as it was once written
        return pair_of(Optional[hint])  # noqa: UP045 - the hint is only known at run time
    return shape.encode, shape.decode
