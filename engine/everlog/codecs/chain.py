"""Chain: a codec that makes bytes of values, and layers through which they pass on their way into the log."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final, cast

import msgspec

from everlog.codecs.layers import Layer
from everlog.core.codec import ANY, Codec, JsonCodec
from everlog.core.sealed import BEGINNING, Envelope, encode_envelope, envelope_of
from everlog.errors import PayloadUnavailable, UsageError


class Chain:
    """A codec made of a codec and of layers; see `chain`."""

    __slots__ = ("_codec", "_conceals", "_layers", "_mark", "_named")

    def __init__(self, codec: Codec, layers: Sequence[Layer]) -> None:
        self._codec = codec
        self._layers = tuple(layers)
        self._named: Final = {name: layer for layer in layers for name in layer.names}
        self._conceals = any(layer.conceals for layer in layers)
        marks = "/".join(layer.mark for layer in layers).strip("/")
        self._mark = hashlib.sha256(marks.encode()).hexdigest()[:8] if marks else ""

    def encode(self, value: object, declared: object = ANY, *, what: str = "value") -> bytes:
        """Give the value as JSON text: an envelope, or as the first codec gives it where no layer did anything."""
        return self.seal(self._codec.encode(value, declared, what=what))

    def decode(self, payload: bytes, declared: object = ANY, *, what: str = "value") -> object:
        """Rebuild the value. A payload without an envelope, from before there was a chain, is read as it is."""
        return self._codec.decode(self.open(payload, what=what), declared, what=what)

    # -- what `everlog.core.sealed.Sealing` asks for -----------------------------------------------------------------

    @property
    def mark(self) -> str:
        """Differs where other payloads can be opened. Eight characters from which no key can be told."""
        return self._mark

    @property
    def conceals(self) -> bool:
        """Whether a layer encrypts."""
        return self._conceals

    def seal(self, payload: bytes) -> bytes:
        """Give a plain payload as it is recorded."""
        return self._through(self._layers, payload)

    def open(self, payload: bytes, *, what: str = "value") -> bytes:
        """Give the plain payload. Raises `PayloadUnavailable` where a layer, or what it needs, is not here."""
        envelope = envelope_of(payload)
        if envelope is None:
            return payload
        data = envelope.v
        for name, note in reversed(envelope.by):
            layer = self._named.get(name)
            if layer is None:
                known = ", ".join(self._named) or "none"
                raise PayloadUnavailable(
                    f"{what}: it was written through {name!r}, and the chain of codecs here undoes {known}; add it"
                )
            try:
                data = layer.unwrap(data, name, note)
            except PayloadUnavailable as error:
                raise PayloadUnavailable(f"{what}: {error}") from error
        return data

    def seal_text(self, text: str) -> str:
        """Give the text of an exception as it is recorded: as it is where no layer conceals anything."""
        return self.seal(msgspec.json.encode(text)).decode() if self._conceals and text else text

    def otherwise(self, payloads: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
        """Give these payloads sealed with each of the older keys."""
        for number, layer in enumerate(self._layers):
            for older in layer.older():
                layers = (*self._layers[:number], older, *self._layers[number + 1 :])
                yield [self._through(layers, self.open(payload)) for payload in payloads]

    def _through(self, layers: Sequence[Layer], payload: bytes) -> bytes:
        data, by = payload, list[tuple[str, str]]()
        for layer in layers:
            wrapped = layer.wrap(data)
            if wrapped is not None:
                data = wrapped.data
                by.append((wrapped.name, wrapped.note))
        if not by and not payload.startswith(BEGINNING):
            return payload
        return encode_envelope(Envelope(by=tuple(by), v=data))


def chain(codec: Codec | type[JsonCodec], *layers: Layer) -> Chain:
    """Give a codec that hands what `codec` makes of values through the layers, in this order, and back.

    The log holds JSON all the same: an envelope that names what was done. What a chain wrote, each chain reads that has
    the layers which were used, in whatever order, and the keys; also payloads without an envelope. `UsageError` where
    a layer stands where it would be of no use: compress before encrypting, encrypt before putting into files.
    """
    made = codec() if isinstance(codec, type) else codec
    given: Any = layers  # users without a type checker give anything
    strays = [one for one in cast("Sequence[object]", given) if not isinstance(one, Layer)]
    if strays:
        raise UsageError(f"chain takes a codec and then layers, such as Compressed(); got {strays[0]!r} as a layer")
    if isinstance(made, (Chain, Layer)):
        raise UsageError("the first of a chain makes bytes of values: give Json() there, and all layers after it")
    places = [layer.place for layer in layers if layer.place]
    if places != sorted(places):
        raise UsageError(
            "these layers stand in an order that is of no use: what is encrypted cannot be compressed, and what lies "
            "in a file is not encrypted any more. Write chain(Json(), Compressed(), Encrypted(...), Offloaded(...))"
        )
    return Chain(made, layers)
