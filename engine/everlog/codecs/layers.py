"""Layers: what a chain of codecs is made of, beside the codec that makes bytes of values. No layer is made here."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct


class Wrapped(Struct, frozen=True):
    """What a layer has made of a payload."""

    data: bytes
    """The bytes that the next layer is given, and in the end the log."""
    name: str
    """What was done, as the log says it: one of the `names` of a layer that undoes it. For ever: logs live long."""
    note: str = ""
    """What the layer needs to know to undo it, in the clear: the id of a key, the name of a file."""


class Layer:
    """One thing that is done to the bytes of payloads, and undone: to be subclassed. The defaults hide nothing.

    `wrap` must be deterministic: inputs are compared in replays, and whoever starts a workflow twice by its id must
    have asked for the same. It is called often, in replays too, on any thread and on several at once.
    """

    names: tuple[str, ...] = ()
    """What it can undo."""
    place: int = 0
    """Where it may stand in a chain: layers with a higher number come later; 0 stands anywhere."""
    conceals: bool = False
    """Whether nobody can read what it has wrapped without a key: then texts of exceptions pass through it as well."""

    @property
    def mark(self) -> str:
        """Differs where it can undo other things; empty where that depends on nothing. It gives no secret away."""
        return ""

    def wrap(self, data: bytes) -> Wrapped | None:
        """Give what is made of the bytes; None where they stay as they are."""
        raise NotImplementedError

    def unwrap(self, data: bytes, name: str, note: str) -> bytes:
        """Give the bytes that were wrapped. Raises `PayloadUnavailable` where that cannot be done here."""
        raise NotImplementedError

    def older(self) -> Sequence[Layer]:
        """Give layers that wrap as this one may have done earlier, with keys that it still has."""
        return ()
