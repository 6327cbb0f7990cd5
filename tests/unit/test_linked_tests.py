"""The pages for those who come from elsewhere: each row of a feature has a test that runs on all three stores.

A row of a table with four columns names a feature of theirs, ours, what differs, and the tests that show it. A row
without one says why: not built, no counterpart, or a page that tells of it where no store takes part. Links are
`[shown][test_name]`, with the file of each test at the end of the page.
"""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

import everlog
from everlog import Client, Handle
from everlog.replay.options import StepDefaults, WorkflowDefaults

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("coming-from-*.md"))
STORES = {"memory", "sqlite", "postgres"}
LINK = re.compile(r"\]\[(test_\w+)\]")
FILE = re.compile(r"^\[(test_\w+)\]: (\S+)$", re.MULTILINE)
ELSEWHERE = re.compile(r"in \[[^\]]+\]\([^)]+\)")
OPTIONS = "--import-mode=importlib -m 'not long and not versions'"
"""As in pyproject.toml, but for `-q`, which would say it once too often."""
PATIENCE = 300

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def rows(page: Path) -> list[list[str]]:
    """The cells of each row of the tables of features."""
    found = []
    for table in re.findall(r"(?:^\|.*\|\n)+", page.read_text(), re.MULTILINE):
        head, _, *others = [[cell.strip() for cell in line[1:-1].split("|")] for line in table.splitlines()]
        if len(head) == 4:
            found += others
    return found


def files(page: Path) -> dict[str, Path]:
    """The file of each test, as the page names it."""
    return {name: (page.parent / target).resolve() for name, target in FILE.findall(page.read_text())}


def function(name: str, path: Path) -> ast.FunctionDef | None:
    """The function of a test, as it stands in the file."""
    body = ast.parse(path.read_text()).body
    return next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == name), None)


@functools.cache
def stores_of_tests() -> dict[tuple[Path, str], set[str]]:
    """On which stores pytest runs each test of the files that the pages name, by what stands in its brackets."""
    paths = sorted({path for page in PAGES for path in files(page).values()})
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-o", f"addopts={OPTIONS}", *paths],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert listing.returncode == 0, f"pytest cannot collect them:\n{listing.stdout}\n{listing.stderr}"
    found: dict[tuple[Path, str], set[str]] = defaultdict(set)
    for file, name, values in re.findall(r"^(\S+?)::(\w+)\[(.*)\]$", listing.stdout, re.MULTILINE):
        found[ROOT / file, name] |= STORES & set(values.split("-"))
    return found


@each_page
def test_each_row_has_a_test_or_says_why_not(page: Path) -> None:
    table = rows(page)
    assert len(table) > 30, "the tables were not found"
    assert {len(row) for row in table} == {4}, "a cell that holds a bar breaks its row"
    silent = [
        f"{theirs}: {ours}"
        for theirs, ours, _, shown in table
        if not (LINK.search(shown) or ELSEWHERE.fullmatch(shown) or ours.startswith(("not built", "no counterpart")))
    ]
    assert not silent, f"no test is linked, and no reason is given: {silent}"


@each_page
def test_links_and_files_are_the_same_tests(page: Path) -> None:
    named = FILE.findall(page.read_text())
    assert [name for name, _ in named] == sorted({*LINK.findall(page.read_text())})


@each_page
def test_each_linked_test_runs_on_all_three_stores(page: Path) -> None:
    wrong = []
    for name, path in files(page).items():
        found = function(name, path) if path.exists() else None
        if found is None:
            wrong.append(f"{name}: is not in {path.name}")
            continue
        missing = STORES - stores_of_tests()[path, name]
        given = {argument.arg for argument in found.args.args} & {"kind", "database"}
        read = {node.id for node in ast.walk(found) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
        if missing:
            wrong.append(f"{name}: does not run on {', '.join(sorted(missing))}")
        elif not given & read:
            wrong.append(f"{name}: is told of no store, or does not look at what it is told")
    assert not wrong, f"what {page.name} links to: {wrong}"


@pytest.mark.parametrize(
    ("page", "theirs", "there"),
    [
        ("coming-from-dbos", "`fork_workflow`", hasattr(Handle, "fork")),
        ("coming-from-dbos", "`patch`, `deprecate_patch`", hasattr(everlog, "patched")),
        ("coming-from-dbos", "`*_in_transaction(connection)`", hasattr(Client, "using")),
        (
            "coming-from-dbos",
            "`SQLAlchemyDatasource`, `@DBOS.transaction` (2.x)",
            "transaction" in StepDefaults.__annotations__,
        ),
        ("coming-from-dbos", "garbage collection (2.x)", "retention" in WorkflowDefaults.__annotations__),
        ("coming-from-temporal", "`workflow.patched`, `deprecate_patch`", hasattr(everlog, "patched")),
        ("coming-from-temporal", "retention", "retention" in WorkflowDefaults.__annotations__),
    ],
)
def test_what_is_not_built_is_not_there(page: str, theirs: str, there: bool) -> None:
    """Who builds it gives its row a test, and takes it out of what one would miss."""
    (ours,) = [row[1] for row in rows(ROOT / "docs" / f"{page}.md") if row[0] == theirs]
    assert ours.startswith("not built") is not there
