"""Histories of earlier versions replay, for ever. Those of a released version are never changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from everlog.core.event_codec import decode_event, type_of
from tests.golden.record import CHILDREN, STARTED, stem
from tests.property.replay_worker import Stirrer, replay

HISTORIES = sorted(Path(__file__).parent.glob("*/*.json"))


@pytest.mark.parametrize("path", HISTORIES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_history_of_an_earlier_version_replays(path: Path) -> None:
    replay(json.loads(path.read_text()), Stirrer(1))


@pytest.mark.parametrize("version", sorted({path.parent for path in HISTORIES}), ids=lambda path: path.name)
def test_a_version_has_a_history_of_each_workflow_and_each_event(version: Path) -> None:
    files = {path.stem: json.loads(path.read_text()) for path in version.glob("*.json")}
    assert version.name != "0.1" or set(files) == {stem(one) for one in (*STARTED, *CHILDREN)}
    events = {type_of(decode_event(row[2].encode())) for file in files.values() for row in file["rows"]}
    assert len(events) >= 36, sorted(events)


def test_a_changed_history_is_found() -> None:
    recorded = json.loads((Path(__file__).parent / "0.1" / "golden-branches.json").read_text())
    rows = [row for row in recorded["rows"] if '"step_completed"' not in row[2] or '"result":8' not in row[2]]
    changed = {**recorded, "rows": [[number, *row[1:]] for number, row in enumerate(rows, 1)]}
    with pytest.raises(BaseException, match="took another path than its history"):
        replay(changed, Stirrer(1))
