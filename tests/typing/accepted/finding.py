"""Attributes, filters and counts: which forms there are, and which types come back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import assert_type

import everlog
from everlog import Client, StepCounts, WorkflowCounts, WorkflowFilters, WorkflowStatus, sync, workflow


@workflow(attributes={"kind": "order", "tags": ["web", 1], "express": True})
async def checkout(order: int) -> str | None:
    assert_type(everlog.current().parent_id, str | None)
    kind = everlog.current().attributes["kind"]
    return kind if isinstance(kind, str) else None


async def find(client: Client, tenant: str, more: Mapping[str, int]) -> list[WorkflowStatus]:
    handle = await client.start(checkout.options(id="a", attributes={"tenant": tenant, "tags": None}), 1)
    await handle.update(attributes={"weight": 1.5, "tags": ("a", 2)})
    await handle.update(attributes=more)
    assert_type((await handle.status()).steps, StepCounts | None)
    of_tenant: WorkflowFilters = {"attributes": {"tenant": tenant, "region": ["eu", "us"], "reviewed": None}}
    assert_type(await client.counts(**of_tenant), WorkflowCounts)
    async for found in client.workflows(**of_tenant, newest_first=False):
        assert_type(found.id, str)
    return await client.workflows(
        state=["failed", "stuck"],
        name=("checkout", "report"),
        id_prefix="order-",
        parent="a",
        created_after=datetime(2026, 1, 1, tzinfo=UTC),
        ended_before=None,
    )


def find_blocking(client: sync.Client) -> Iterator[WorkflowStatus]:
    client.handle("a").update(attributes={"n": 1})
    assert_type(client.counts(name="checkout").by_state.get("failed"), int | None)
    return iter(client.workflows(attributes={"n": 1}, newest_first=False))
