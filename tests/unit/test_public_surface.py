"""The public surface is a list, and this test reads it: a change of it is a visible line in a review.

After a change that is meant:  python tests/unit/test_public_surface.py --write
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

LIST = Path(__file__).with_name("public_surface.txt")
MODULES = (
    "everlog",
    "everlog.codecs",
    "everlog.inspector",
    "everlog.observing",
    "everlog.sync",
    "everlog.testing",
    "everlog.web",
)


def members(owner: type) -> set[str]:
    """Public attributes that come from Everlog, own or inherited; not those of Exception, Struct and the like."""
    names: set[str] = set()
    for cls in owner.__mro__:
        if cls.__module__.partition(".")[0] == "everlog":
            names |= {*vars(cls), *inspect.get_annotations(cls)}
    return {name for name in names if not name.startswith("_")}


def surface() -> Iterator[str]:
    """One line for each public name, and for each public attribute of a public class."""
    for module_name in MODULES:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as missing:
            if missing.name != module_name:
                raise
            continue
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            yield f"{module_name}.{name}"
            if inspect.isclass(value):
                yield from (f"{module_name}.{name}.{member}" for member in members(value))


def test_the_public_surface_is_the_list() -> None:
    listed, found = set(LIST.read_text().split()), set(surface())
    assert found == listed, (
        f"new: {sorted(found - listed)}; gone: {sorted(listed - found)}. "
        "If that is meant: python tests/unit/test_public_surface.py --write, and a line in CHANGELOG.md"
    )


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python tests/unit/test_public_surface.py --write")
    LIST.write_text("".join(f"{line}\n" for line in sorted(set(surface()))))
