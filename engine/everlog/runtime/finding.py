"""Finding: what users ask of listings and counts, as questions to the store, and the answers as they see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict, cast

import msgspec

from everlog.core.attributes import PARENT, SOURCE, GivenAttributes, sought, texts_of
from everlog.core.durations import from_datetime
from everlog.core.finding import WorkflowCount, WorkflowQuery
from everlog.core.heads import State
from everlog.core.names import check_id
from everlog.core.versions import check_version, taken_apart, versioned
from everlog.errors import UsageError
from everlog.runtime.status import SHOWN, ShownState, WorkflowStatus, states_of, statuses_of
from everlog.store import Store, SupportsFinding


class WorkflowFilters(TypedDict, total=False):
    """What `workflows` and `counts` take: a workflow is meant where it fits all that is given. None filters nothing.

    Of states, names and versions there may be several, and versions need a name. `created_after` and
    `ended_after` mean that time or later, `..._before` earlier than that; a workflow that has not ended fits neither.
    `parent` is the id of the workflow that started it, `forked_from` of that of which it is a fork.
    Of an attribute with several values it is enough to have one of those that are given; None: none of that name.
    """

    state: ShownState | Sequence[ShownState] | None
    name: str | Sequence[str] | None
    version: str | Sequence[str] | None
    id_prefix: str | None
    parent: str | None
    forked_from: str | None
    created_after: datetime | None
    created_before: datetime | None
    ended_after: datetime | None
    ended_before: datetime | None
    attributes: GivenAttributes | None


class WorkflowCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many workflows there are: in all, by state, by name and state, and of those that only one version of its code
    runs, by name, version and state. A state in which there is none is left out. Those that are delayed count as
    queued, or as waiting where they stand in no queue."""

    total: int
    by_state: Mapping[ShownState, int]
    by_name: Mapping[str, Mapping[ShownState, int]]
    by_version: Mapping[str, Mapping[str, Mapping[ShownState, int]]] = {}


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
    if "forked_from" in given:
        attributes[SOURCE] = texts_of(check_id(given["forked_from"]))
    return WorkflowQuery(
        states=_heads_states(given),
        names=_names(given),
        id_prefix=_prefix(given.get("id_prefix", "")),
        created_from=_moment(given, "created_after"),
        created_until=_moment(given, "created_before"),
        ended_from=_moment(given, "ended_after"),
        ended_until=_moment(given, "ended_before"),
        attributes=attributes,
        newest_first=newest_first,
        limit=limit,
    )


def shown_states(filters: Mapping[str, Any]) -> Sequence[ShownState] | None:
    """Give the states that filters ask for, as users see them: of those that are found some are in others."""
    return _states(filters.get("state"))


def countable(filters: Mapping[str, Any]) -> WorkflowQuery:
    """Give the question for filters of a count; `UsageError` for what can be none."""
    if "delayed" in (shown_states(filters) or ()):
        raise UsageError(
            "those that are delayed cannot be counted apart from those that are queued, or waiting; list them, or ask "
            "the queue: (await engine.queue(name).counts()).delayed"
        )
    return query_of(filters)


def page(
    store: Store, query: WorkflowQuery, shown: Sequence[ShownState] | None = None
) -> tuple[list[WorkflowStatus], WorkflowQuery | None]:
    """Give a page of statuses, those in the states that are to be shown, and the question for the next one; None after
    the last."""
    if query.attributes:
        finding_of(store)
    heads = store.workflows(query)
    following = None
    if heads and len(heads) == query.limit:
        following = msgspec.structs.replace(query, after=(heads[-1].created_at, heads[-1].workflow_id))
    return [one for one in statuses_of(store, heads) if shown is None or one.state in shown], following


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
    by_state: dict[ShownState, int] = {}
    by_name: dict[str, dict[ShownState, int]] = {}
    by_version: dict[str, dict[str, dict[ShownState, int]]] = {}
    for row in rows:
        state: ShownState = "queued" if row.state == "enqueued" else row.state
        name, version = taken_apart(row.name)
        all_counts = [by_state, by_name.setdefault(name, {})]
        if version is not None:
            all_counts.append(by_version.setdefault(name, {}).setdefault(version, {}))
        for counts in all_counts:
            counts[state] = counts.get(state, 0) + row.count
    ordered: dict[ShownState, int] = {state: by_state[state] for state in SHOWN if state in by_state}
    return WorkflowCounts(total=sum(by_state.values()), by_state=ordered, by_name=by_name, by_version=by_version)


def _heads_states(given: Mapping[str, Any]) -> Sequence[State] | None:
    shown = shown_states(given)
    return None if shown is None else sorted({state for one in shown for state in states_of(one)})


def _states(given: object) -> Sequence[ShownState] | None:
    states = _several(given, "state")
    for state in states or ():
        if state not in SHOWN:
            raise UsageError(f"there is no state {state!r}: a workflow is {', '.join(SHOWN[:-1])} or {SHOWN[-1]}")
    return cast("Sequence[ShownState] | None", states)


def _names(given: Mapping[str, Any]) -> Sequence[str] | None:
    """Give the names in the log that are meant."""
    names, found = _several(given.get("name"), "name"), _several(given.get("version"), "version")
    if found is None:
        return names
    if names is None:
        raise UsageError("workflows are found by a version of a name: give name= as well")
    return [versioned(name, check_version(version)) for name in names for version in found]


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
