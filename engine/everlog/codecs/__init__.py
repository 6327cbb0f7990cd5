"""Codecs that can be chained: payloads compressed, encrypted, and kept in files where they are large."""

from everlog.codecs.chain import Chain, chain
from everlog.codecs.compressed import Compressed
from everlog.codecs.encrypted import Encrypted
from everlog.codecs.keys import Keys
from everlog.codecs.layers import Layer, Wrapped
from everlog.codecs.offloaded import Offloaded
from everlog.core.codec import Codec
from everlog.core.codec import JsonCodec as Json

__all__ = ["Chain", "Codec", "Compressed", "Encrypted", "Json", "Keys", "Layer", "Offloaded", "Wrapped", "chain"]
