"""`everlog retry`, forks of many workflows, versions in listings, and what `check` says of patches."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import everlog
from everlog import Engine, step, workflow
from everlog.cli.main import main
from everlog.cli.patches import PatchCounts
from everlog.runtime.verdicts import Verdict

BROKEN = {"yes": True}


@step(name="cliv.prepare")
async def prepare(item: str) -> str:
    return item


@step(name="cliv.charge")
async def charge(item: str) -> str:
    if BROKEN["yes"]:
        raise ValueError("the bank is closed")
    return f"paid {item}"


@workflow(name="cliv.order", version="1")
async def order_1(item: str) -> str:
    return await charge(await prepare(item))


@workflow(name="cliv.order", version="2")
async def order_2(item: str) -> str:
    return "two: " + await charge(await prepare(item))


@pytest.fixture
def database(tmp_path: Path) -> str:
    BROKEN["yes"] = True
    path = f"{tmp_path}/orders.db"

    async def begin() -> None:
        async with Engine(f"sqlite:///{path}", workflows=[order_1]) as engine:
            for number in range(3):
                with pytest.raises(everlog.WorkflowFailed):
                    await engine.run(order_1.options(id=f"o-{number}"), "tea")
            await engine.start(order_2.options(id="waits"), "tea")

    asyncio.run(begin())
    BROKEN["yes"] = False
    return path


def results(path: str, *ids: str) -> list[str]:
    async def go_on() -> list[str]:
        async with Engine(f"sqlite:///{path}", workflows=[order_1, order_2]) as engine:
            return [await engine.handle(one, order_1).result(timeout=20) for one in ids]

    return asyncio.run(go_on())


ALL_FAILED = ["--state", "failed", "--name", "cliv.order"]


def test_versions_are_listed_and_counted(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls", database, "--name", "cliv.order", "--version", "2", "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert (json.loads(line)["id"], json.loads(line)["version"]) == ("waits", "2")
    assert main(["ls", database]) == 0
    assert "cliv.order 2" in capsys.readouterr().out
    assert main(["ls", database, "--count"]) == 0
    said = capsys.readouterr().out
    assert "of 'cliv.order' version '1': 3 failed" in said
    assert "1 waits for a worker that knows it" in said
    assert main(["show", "waits", "--db", database]) == 0
    said = capsys.readouterr().out
    assert "version   2" in said
    assert "for a worker that knows 'cliv.order' version '2'" in " ".join(said.split())


def test_one_is_retried_with_another_version(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", "o-0", "--version", "2", "--db", database]) == 0
    assert capsys.readouterr().out == "o-0 was retried\n"
    assert main(["retry", "waits", "--version", "1", "--db", database]) == 0
    assert results(database, "o-0", "waits") == ["two: paid tea", "paid tea"]
    assert main(["retry", "o-0", "--db", database]) == 2
    assert "workflow 'o-0' is completed, so it is not retried" in capsys.readouterr().err


def test_many_are_retried_and_only_with_yes(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", *ALL_FAILED, "--dry-run", "--db", database]) == 0
    said = capsys.readouterr().out
    assert "to be retried: 3 (3 of 'cliv.order' version '1' that are failed)" in said
    assert "the bank is closed" in said
    assert main(["retry", *ALL_FAILED, "--db", database]) == 2
    assert "3 workflows would be retried, and nobody can be asked: give --yes" in capsys.readouterr().err
    assert main(["retry", *ALL_FAILED, "--limit", "1", "--yes", "--db", database]) == 0
    assert "1 retried" in capsys.readouterr().out.replace("o-0 was", "1")
    assert main(["retry", *ALL_FAILED, "--yes", "--db", database]) == 0
    assert "2 retried" in capsys.readouterr().out
    assert main(["retry", *ALL_FAILED, "--yes", "--db", database]) == 0
    assert capsys.readouterr().out == "no workflows that fit\n"
    assert results(database, "o-0", "o-1", "o-2") == ["paid tea"] * 3


def test_many_are_forked_from_their_failures_each_once(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    many = ["fork", *ALL_FAILED, "--version", "2", "--db", database]
    assert main([*many, "--dry-run"]) == 0
    assert "o-0: 1 kept, 1 again" in capsys.readouterr().out
    for _ in range(2):
        assert main([*many, "--yes"]) == 0
        assert "3 forked" in capsys.readouterr().out
    assert main(["ls", database, "--forked-from", "o-1", "--json"]) == 0
    (fork,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert fork["version"] == "2"
    assert results(database, fork["id"]) == ["two: paid tea"]


def test_a_fork_is_previewed(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fork", "o-0", "--at", "failure", "--dry-run", "--db", database]) == 0
    said = capsys.readouterr().out
    assert "kept      1: cliv.prepare" in said
    assert "again     1: cliv.charge" in said
    assert main(["ls", database, "--forked-from", "o-0"]) == 0
    assert capsys.readouterr().out == "no workflows that fit\n"


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (["retry"], "which workflows are to be retried?"),
        (["retry", "o-0", "--state", "failed"], "not both"),
        (["retry", "--name", "cliv.order"], "give --state as well"),
        (["fork", "--state", "failed", "--id", "x"], "leave it out"),
        (["fork"], "which workflows are to be forked?"),
        (["fork", "waits", "--at", "failure"], "has not failed anywhere"),
        (["ls", "--version", "2"], "give name= as well"),
        (["retry", "nobody"], "there is no workflow 'nobody'"),
        (["retry", "o-0", "--version", "a@b"], "no @"),
    ],
)
def test_what_is_said_wrongly_is_refused(
    database: str, order: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*order, "--db", database]) == 2
    assert said in capsys.readouterr().err


def verdict(**given: object) -> Verdict:
    return Verdict(workflow_id="w", name="order", **{"outcome": "clean", **given})  # type: ignore[arg-type]  # of tests


def told(*verdicts: Verdict) -> str:
    counts = PatchCounts()
    for one in verdicts:
        counts.add(one)
    return "\n".join(counts.told())


def test_check_tells_what_may_become_of_a_patch() -> None:
    old, new, marked = (verdict(patches={"tax": way}) for way in ("old", "new", "marked"))
    assert told(old, new, marked) == (
        "patch 'tax' of order: 1 workflow went the old way, 2 workflows the new one; keep both"
    )
    assert told(new, marked).endswith("the new one; it may be retired: patched('tax', retired=True)")
    assert "may be retired" not in told(marked, verdict(outcome="diverges"))
    needs = verdict(patches={"tax": "marked"}, retired=["tax"])
    free = verdict(patches={"tax": "retired"}, retired=["tax"])
    assert told(needs, free) == "patch 'tax' of order: it is retired; the call is still needed by 1 workflow"
    assert told(free) == "patch 'tax' of order: it is retired, and none needs the call; it may be taken out"
