"""A backend for Everlog in one file of JSON lines, as an example. What it promises is written in `everlog.store`."""

from everlog_jsonl.store import JsonLinesStore, open_store

__all__ = ["JsonLinesStore", "open_store"]
