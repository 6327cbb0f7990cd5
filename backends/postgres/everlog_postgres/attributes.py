"""The columns that statements take of attributes. No SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from everlog.core.attributes import rows_of
from everlog.store import Commit, NewWorkflow
from everlog_postgres.arrays import bigints, texts


def attribute_columns(
    born: Sequence[NewWorkflow], commits: Sequence[Commit], ages: Mapping[str, int] | None = None
) -> Mapping[str, object]:
    """Give the columns of attributes; those of workflows that were there have the `ages` that are known, or none."""
    changing = [commit for commit in commits if commit.attributes]
    rows: list[tuple[str, int | None, str, int, str]] = [
        (new.workflow_id, new.events[0].recorded_at, *row)
        for new in born
        if new.attributes
        for row in rows_of(new.attributes)
    ]
    known = ages or {}
    rows.extend(
        (commit.workflow_id, known.get(commit.workflow_id), *row)
        for commit in changing
        for row in rows_of(commit.attributes)
    )
    dropped = [(commit.workflow_id, name) for commit in changing for name in commit.attributes]
    return {
        "dropped_ids": texts([workflow_id for workflow_id, _ in dropped]),
        "dropped_names": texts([name for _, name in dropped]),
        "attribute_ids": texts([workflow_id for workflow_id, _, _, _, _ in rows]),
        "attribute_ages": bigints([age for _, age, _, _, _ in rows]),
        "attribute_names": texts([name for _, _, name, _, _ in rows]),
        "attribute_places": bigints([place for _, _, _, place, _ in rows]),
        "attribute_values": texts([text for _, _, _, _, text in rows]),
    }
