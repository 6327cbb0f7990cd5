"""Finding: what users ask of listings and counts, as questions to the store, and the answers as they see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict, cast

import msgspec

from everlog.core.attributes import NO_ATTRIBUTES, PARENT, GivenAttributes, sought, texts_of
from everlog.core.durations import from_datetime
from everlog.core.finding import WorkflowCount, WorkflowQuery
from everlog.core.heads import STATES, State
from everlog.core.names import check_id
from everlog.errors import UsageError
from everlog.runtime.status import WorkflowStatus, status_of
from everlog.store import Attributes, Head, Store, SupportsFinding


class WorkflowFilters(TypedDict, total=False):
    """What `workflows` and `counts` take: a workflow is meant where it fits all that is given. None filters nothing.

    Of states and names there may be several. `created_after` and `ended_after` mean that time or later, `..._before`
    earlier than that; a workflow that has not ended fits neither. `parent` is the id of the workflow that started it.
    Of an attribute with several values it is enough to have one of those that are given; None: none of that name.
    """

    state: State | Sequence[State] | None
    name: str | Sequence[str] | None
    id_prefix: str | None
    parent: str | None
    created_after: datetime | None
    created_before: datetime | None
    ended_after: datetime | None
    ended_before: datetime | None
    attributes: GivenAttributes | None


class WorkflowCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many workflows there are: in all, by state, and by name and state. A state in which there is none is left
    out."""

    total: int
    by_state: Mapping[State, int]
    by_name: Mapping[str, Mapping[State, int]]


_KNOWN: Final = tuple(WorkflowFilters.__annotations__)


def query_of(filters: Mapping[str, Any], *, newest_first: bool = True, limit: int = 100) -> WorkflowQuery:
    """Give the question for filters; `UsageError` for what can be none."""
    unknown = filters.keys() - set(_KNOWN)
    if unknown:
        raise UsageError(f"workflows are not found by {sorted(unknown)[0]!r}; they are by {', '.join(_KNOWN)}")
    if newest_first not in (True, False):  # users without a type checker give anything
        raise UsageError(f"newest_first must be True or False, got {newest_first!r}")
    given = {name: value for name, value in filters.items() if value is not None}
    attributes = sought(given.get("attributes", {}), what="attributes to find by")
    if "parent" in given:
        attributes[PARENT] = texts_of(check_id(given["parent"]))
    return WorkflowQuery(
        states=_states(given.get("state")),
        names=_several(given.get("name"), "name"),
        id_prefix=_prefix(given.get("id_prefix", "")),
        created_from=_moment(given, "created_after"),
        created_until=_moment(given, "created_before"),
        ended_from=_moment(given, "ended_after"),
        ended_until=_moment(given, "ended_before"),
        attributes=attributes,
        newest_first=newest_first,
        limit=limit,
    )


def page(store: Store, query: WorkflowQuery) -> tuple[list[WorkflowStatus], WorkflowQuery | None]:
    """Give a page of statuses, and the question for the next one; None after the last."""
    if query.attributes:
        finding_of(store)
    heads = store.workflows(query)
    following = None
    if heads and len(heads) == query.limit:
        following = msgspec.structs.replace(query, after=(heads[-1].created_at, heads[-1].workflow_id))
    return statuses(store, heads), following


def statuses(store: Store, heads: Sequence[Head]) -> list[WorkflowStatus]:
    """Give the statuses of heads, with what the store keeps beside them."""
    found: Sequence[Attributes] = [NO_ATTRIBUTES] * len(heads)
    if isinstance(store, SupportsFinding) and heads:
        found = store.attributes([head.workflow_id for head in heads])
    now = store.now()
    return [status_of(head, None, now, attributes) for head, attributes in zip(heads, found, strict=True)]


def counts_in(store: Store, query: WorkflowQuery) -> WorkflowCounts:
    """Count the workflows that are asked for."""
    return _counts(finding_of(store).counts(query))


def finding_of(store: Store) -> SupportsFinding:
    """Give the store as one that finds; `UsageError` where it does not."""
    if isinstance(store, SupportsFinding):
        return store
    raise UsageError(
        f"{type(store).__name__} keeps no attributes and counts nothing (it is no SupportsFinding); use another store,"
        " or go through the listing"
    )


def _counts(rows: Iterable[WorkflowCount]) -> WorkflowCounts:
    by_state: dict[State, int] = {}
    by_name: dict[str, dict[State, int]] = {}
    for row in rows:
        by_state[row.state] = by_state.get(row.state, 0) + row.count
        by_name.setdefault(row.name, {})[row.state] = row.count
    ordered: dict[State, int] = {state: by_state[state] for state in STATES if state in by_state}
    return WorkflowCounts(total=sum(by_state.values()), by_state=ordered, by_name=by_name)


def _states(given: object) -> Sequence[State] | None:
    states = _several(given, "state")
    for state in states or ():
        if state not in STATES:
            raise UsageError(f"there is no state {state!r}: a workflow is {', '.join(STATES[:-1])} or {STATES[-1]}")
    return cast("Sequence[State] | None", states)


def _several(given: object, what: str) -> Sequence[str] | None:
    if given is None:
        return None
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in cast("Sequence[object]", texts)):
        raise UsageError(f"{what} must be a string or a list of strings, got {given!r}")
    return list(cast("Sequence[str]", texts))


def _prefix(given: object) -> str:
    # Users without a type checker give anything.
    if not isinstance(given, str):
        raise UsageError(f"id_prefix must be a string, got {given!r}")
    return check_id(given) if given else ""


def _moment(given: Mapping[str, Any], name: str) -> int | None:
    return from_datetime(given[name], what=name) if name in given else None
