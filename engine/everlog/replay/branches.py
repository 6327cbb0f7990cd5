"""Branches: the names of operations. An identity is (branch path, name, occurrence), or the caller's key.

A branch is a task, or a named scope in one. Numbers are counted per branch and per name, so a further step in one
branch renames nothing in another. Written: `charge`, `charge#2`, `ship/charge`, `ship#2/charge`, and `charge@order-42`
for a key.
"""

from __future__ import annotations

from typing import Final

_ESCAPES: Final = str.maketrans({"%": "%25", "/": "%2F", "#": "%23", "@": "%40"})


def escaped(name: str) -> str:
    """Give the name with the characters that separate the parts of an identity escaped."""
    return name if name.isidentifier() else name.translate(_ESCAPES)


class Branch:
    """A path and the names that were drawn in it so far."""

    __slots__ = ("_drawn", "_written", "path")

    def __init__(self, path: str = "") -> None:
        self.path = path
        self._drawn: dict[str, int] = {}
        self._written: dict[str, str] = {}
        """By name: the path and the name, as they are written."""

    def draw(self, name: str) -> str:
        """Give the next identity of this name in this branch."""
        if name not in self._drawn:
            self._drawn[name] = 1
            self._written[name] = written = f"{self.path}{escaped(name)}"
            return written
        self._drawn[name] = number = self._drawn[name] + 1
        return f"{self._written[name]}#{number}" if number > 1 else self._written[name]

    def undraw(self, name: str, identity: str) -> None:
        """Take back a draw that nothing has used; a later draw of the same name leaves it taken."""
        number = self._drawn[name]
        written = self._written[name]
        if identity == (written if number == 1 else f"{written}#{number}"):
            self._drawn[name] = number - 1

    def child(self, identity: str) -> Branch:
        """Give the branch that an identity drawn here opens."""
        return Branch(f"{identity}/")


class TaskBranch:
    """The innermost branch that is open in a task; made when something is first asked for there.

    It knows nothing of its task, so that the contexts of callbacks can hold it and keep no task alive.
    """

    __slots__ = ("_identity", "_label", "_open", "_parent")

    def __init__(self, parent: Branch, label: str) -> None:
        self._parent = parent
        self._label = label
        self._identity = parent.draw(label)
        self._open: Branch | None = None

    def rename(self, label: str) -> None:
        """Name the branch otherwise, while nothing was asked for in it."""
        if self._open is None and label != self._label:
            self._parent.undraw(self._label, self._identity)
            self._label = label
            self._identity = self._parent.draw(label)

    @property
    def innermost(self) -> Branch:
        """The branch in which the task asks now."""
        opened = self._open
        if opened is None:
            opened = self._open = self._parent.child(self._identity)
        return opened

    @innermost.setter
    def innermost(self, branch: Branch) -> None:
        self._open = branch


def keyed(name: str, key: str, number: int = 1) -> str:
    """Give the identity of an operation that its caller named, for the n-th time; it does not depend on the branch."""
    key = key.replace("%", "%25").replace("#", "%23")
    return f"{escaped(name)}@{key}" if number == 1 else f"{escaped(name)}@{key}#{number}"
