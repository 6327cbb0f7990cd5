"""Elsewhere: the arguments of a call of a function whose code is not here. What they mean, its own signature says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from everlog.core.codec import Codec
from everlog.core.plain import Trouble
from everlog.core.shapes import shape_of
from everlog.core.signature import POSITIONAL, Signature
from everlog.core.tagged import encode_untyped, is_declarable
from everlog.core.unions import Shape


class Elsewhere(Signature):
    """Stands for the signature of a function that another process has.

    Arguments given by keyword are recorded under their names, those given by position as a list, each as a value of
    its own type is: the function's signature names and rebuilds them where it runs.
    """

    __slots__ = ("_given", "_result_type")

    def __init__(self, result_type: object) -> None:
        super().__init__(_any)
        self._result_type = result_type
        self._given = Shape("arguments", {dict}, {"object"}, _encode_given, _refuse)

    def encode(self, codec: Codec, args: tuple[object, ...], kwargs: dict[str, object], *, what: str) -> bytes:
        """Give the input; `NotEncodable` with the argument's name."""
        positional = {POSITIONAL: args} if args else {}
        return codec.encode({**positional, **kwargs}, self._given, what=what)

    @property
    def result_type(self) -> object:
        """The type that was given for the result."""
        return self._result_type


def _encode_given(given: object) -> object:
    out: dict[str, object] = {}
    name = ""
    try:
        for name, value in cast("Mapping[str, object]", given).items():
            if name == POSITIONAL:
                out[name] = [_encode(one) for one in cast("tuple[object, ...]", value)]
            else:
                out[name] = _encode(value)
    except Trouble as trouble:
        trouble.under(name)
        raise
    return out


def _encode(value: object) -> object:
    return shape_of(type(value)).encode(value) if is_declarable(type(value)) else encode_untyped(value)


def _refuse(plain: object) -> object:
    raise AssertionError("the arguments of a function elsewhere are decoded where it is")


def _any(*args: object, **kwargs: object) -> None:
    """Has no parameters of its own."""
