"""Finding: which workflows a question asks for, and which page of them, as plain Python. How stores look is theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from everlog.core.attributes import Attributes, texts_of
from everlog.core.heads import State
from everlog.core.versions import workflow_of

_LAST_CHARACTER: Final = "\U0010ffff"
_SURROGATES: Final = range(0xD800, 0xE000)
_EARLIEST: Final = -(2**63)
_LATEST: Final = 2**63 - 1

Place = tuple[int, str]
"""Where a workflow stands in a listing: its creation, and its id."""


class WorkflowQuery(Struct, frozen=True, gc=False, kw_only=True):
    """Asks for a page of heads, newest creation first, or oldest; those created at the same time in order of their ids.

    A head fits where it fits all that is given. Times are from the first on (`from`) and before the second (`until`);
    a workflow that has not ended has no time of its end, and fits none. A name without a version (what follows on `@@`)
    is that of all versions. `attributes` are sought by name: the texts of values of which it has one, or None where it
    has none of that name; a name with no texts fits nothing. Only a `SupportsFinding` is given some. `after` is the
    creation and the id of the last of the page before: what was created or removed meanwhile moves nothing from one
    page to another.
    """

    states: Sequence[State] | None = None
    names: Sequence[str] | None = None
    id_prefix: str = ""
    created_from: int | None = None
    created_until: int | None = None
    ended_from: int | None = None
    ended_until: int | None = None
    attributes: Mapping[str, Sequence[str] | None] = {}
    newest_first: bool = True
    after: Place | None = None
    limit: int = 100


class WorkflowCount(Struct, frozen=True, gc=False, kw_only=True):
    """So many workflows of a name are in a state."""

    name: str
    state: State
    count: int


class Listed(Protocol):
    """What is looked at of a head."""

    @property
    def workflow_id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def created_at(self) -> int: ...
    @property
    def ended_at(self) -> int | None: ...


_Head = TypeVar("_Head", bound=Listed)


def fits(query: WorkflowQuery, head: Listed, attributes: Attributes) -> bool:
    """Tell whether a workflow is asked for, on whichever page."""
    return (
        (query.states is None or head.state in query.states)
        and (query.names is None or head.name in query.names or workflow_of(head.name) in query.names)
        and head.workflow_id.startswith(query.id_prefix)
        and _lies(head.created_at, query.created_from, query.created_until)
        and _lies(head.ended_at, query.ended_from, query.ended_until)
        and all(_has(attributes, name, texts) for name, texts in query.attributes.items())
    )


def page_of(query: WorkflowQuery, heads: Iterable[_Head]) -> list[_Head]:
    """Give the page of a question, of heads that all fit."""
    ordered = sorted(heads, key=_place, reverse=query.newest_first)
    after = query.after
    if after is not None:
        ordered = [head for head in ordered if (_place(head) < after if query.newest_first else _place(head) > after)]
    return ordered[: query.limit]


def counts_of(heads: Iterable[Listed]) -> list[WorkflowCount]:
    """Count heads, in order of name and state."""
    counts: dict[tuple[str, State], int] = {}
    for head in heads:
        counts[head.name, head.state] = counts.get((head.name, head.state), 0) + 1
    return [WorkflowCount(name=name, state=state, count=counts[name, state]) for name, state in sorted(counts)]


class Sought(NamedTuple):
    """What a question asks of attributes: values that are to be there, by name, and names that are not to be."""

    there: Mapping[str, Sequence[str]]
    absent: Sequence[str]

    def pairs(self, *, without: str | None = None) -> list[tuple[str, str]]:
        """Give names and texts of what is to be there, of all names but one."""
        return [(name, text) for name, texts in self.there.items() if name != without for text in texts]


def sought_by(query: WorkflowQuery) -> Sought | None:
    """Take apart what is asked of attributes; None where nothing can fit, since of a value there is no choice."""
    there = {name: texts for name, texts in query.attributes.items() if texts is not None}
    absent = [name for name, texts in query.attributes.items() if texts is None]
    return Sought(there, absent) if all(there.values()) else None


def rarest(sought: Sought, found: Iterable[tuple[str, int]]) -> str:
    """Give the name to look by first: of whose values there are fewest, as counted; the first where none was."""
    counts = dict.fromkeys(sought.there, 0)
    for name, count in found:
        counts[name] += count
    return min(counts, key=counts.__getitem__)


def bounds(query: WorkflowQuery) -> tuple[Place, Place]:
    """Give the places between which a page lies, neither of them included."""
    low = (_EARLIEST if query.created_from is None else query.created_from, "")
    high = (_LATEST if query.created_until is None else query.created_until, "")
    if query.after is not None:
        low, high = (low, min(high, query.after)) if query.newest_first else (max(low, query.after), high)
    return low, high


def after_prefix(prefix: str) -> str | None:
    """Give the least text that is greater than all with a prefix, in the order of code points; None: there is none."""
    begin = prefix.rstrip(_LAST_CHARACTER)
    if not begin:
        return None
    following = ord(begin[-1]) + 1
    if following in _SURROGATES:  # which occur in no text that can be stored
        following = _SURROGATES.stop
    return begin[:-1] + chr(following)


def _place(head: Listed) -> Place:
    return head.created_at, head.workflow_id


def _lies(time: int | None, begin: int | None, end: int | None) -> bool:
    if begin is None and end is None:
        return True
    return time is not None and (begin is None or begin <= time) and (end is None or time < end)


def _has(attributes: Attributes, name: str, texts: Sequence[str] | None) -> bool:
    value = attributes.get(name)
    if value is None or texts is None:
        return value is None and texts is None
    return not set(texts).isdisjoint(texts_of(value))
