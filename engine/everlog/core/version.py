"""The version of Everlog."""

from typing import Final

VERSION: Final = "0.1.0"
