"""Replays, code states and the virtual engine, used wrongly; each marked line has to be an error."""

from __future__ import annotations

from everlog import workflow
from everlog.testing import VirtualEngine, load_history, replay, save_history, state_at


@workflow
async def order(cents: int) -> str:
    return str(cents)


def hide(name: str) -> object:
    return name


def look() -> None:
    replay(5)  # error
    replay("order-1.jsonl", "order")  # error
    replay("order-1.jsonl", codec="json")  # error
    state_at("order-1.jsonl", "7")  # error
    state_at("order-1.jsonl", 7, order)  # error
    state_at("order-1.jsonl", redact=hide)  # error
    save_history("order-1", "order-1.jsonl")  # error
    load_history(b"order-1.jsonl").rows.nothing  # error


def run(everlog_engine: VirtualEngine) -> None:
    everlog_engine.run(order, "5")  # error
    everlog_engine.run(order)  # error
    everlog_engine.start(order, cents=5, other=6)  # error
    everlog_engine.sleep("a day")  # error
    VirtualEngine("sqlite:///shop.db")  # error
    VirtualEngine(guards="no")  # error
