"""Retention rows: what is stored of holds, and of who held, released, removed or redacted. They decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

Action = Literal["held", "released", "pruned", "redacted"]
"""What somebody did to workflows from outside of their histories."""


class HoldRow(Struct, frozen=True, gc=False, kw_only=True):
    """A workflow that is not to be removed or redacted, whatever else says so: since when, by whom and why."""

    workflow_id: str
    at: int
    by: str
    reason: str = ""


class AuditRow(Struct, frozen=True, gc=False, kw_only=True):
    """That somebody did something to workflows. `said` is the reason, or the rule, in words."""

    at: int
    by: str
    action: Action
    workflow_ids: Sequence[str] = ()
    said: str = ""
