"""The stores that the store machine compares, and the memory store that says what is right. No rule of either."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from hypothesis.stateful import RuleBasedStateMachine

from everlog.memory import MemoryStore
from everlog.store import Claimed, Store


class Stores(RuleBasedStateMachine):
    """Several stores, to each of which the same is done."""

    def open_stores(self, clock: Callable[[], int]) -> Mapping[str, Store]:
        """Open new, empty stores, by name, that go by this clock."""
        raise NotImplementedError

    def reopen(self, name: str, store: Store, clock: Callable[[], int]) -> Store:
        """Close a store and open it again. Here: do neither, for stores that would lose everything."""
        return store

    def __init__(self) -> None:
        super().__init__()
        self.time: int = 1_700_000_000_000_000
        self.model = MemoryStore(self.clock)
        self.stores: dict[str, Store] = {}
        self.tokens: dict[str, list[str]] = {}
        self.last_token: int = 0

    def clock(self) -> int:
        """Give the time that all stores have."""
        return self.time

    def new_token(self) -> str:
        """Make a token that is used once."""
        self.last_token += 1
        return f"token-{self.last_token}"

    def remember(self, claimed: Sequence[Claimed]) -> None:
        """Remember the tokens of what was taken."""
        for one in claimed:
            self.tokens.setdefault(one.head.workflow_id, []).append(str(one.head.token))


def plain(value: object) -> str:
    """Give any answer as text, in which tuples and lists are alike and rows have no numbers: those differ by store."""
    return json.dumps(_without_rows(msgspec.to_builtins(value)), sort_keys=True)


def _without_rows(value: Any) -> Any:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {key: _without_rows(field) for key, field in fields.items() if key != "row"}
    if isinstance(value, list | tuple):
        return [_without_rows(item) for item in cast("Sequence[Any]", value)]
    return value
