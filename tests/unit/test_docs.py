"""The programs in the pages run: a fence marked ```python title="name.py" is a whole program, any other an excerpt.

The programs of one page run in the order in which they stand, in one directory, so that one may import another or go
on with its database. Each that leaves something behind is run twice: readers do so, and what is done is not done again.
"""

from __future__ import annotations

import ast
import functools
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import everlog
import everlog.cli
import everlog.codecs
import everlog.inspector
import everlog.integrations
import everlog.memory
import everlog.observing
import everlog.testing
import everlog.web
from everlog import Current, Engine, RetryPolicy, StepOptions, WorkflowOptions, sync
from everlog.replay.options import StepDefaults, WorkflowDefaults
from tests.postgres import administrator, needs_postgres, server_url
from tests.sessions import has_session

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r'^```python title="(?P<name>[\w./-]+)"[^\n]*\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL)
PATIENCE = 60
SERVER = "DATABASE_URL"
"""The variable that names a Postgres server to the programs that want one."""


def programs(page: Path) -> list[tuple[str, str]]:
    return [(found["name"], found["text"]) for found in PROGRAM.finditer(page.read_text())]


PAGES = [
    page
    for page in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
    if programs(page) and not has_session(page.read_text())  # there commands run the programs: see test_sessions
]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_programs_of_a_page_run(page: Path, tmp_path: Path) -> None:
    run_programs([(name, text) for name, text in programs(page) if SERVER not in text], tmp_path, {})


@needs_postgres
@pytest.mark.parametrize("page", [page for page in PAGES if SERVER in page.read_text()], ids=lambda page: page.name)
def test_the_programs_of_a_page_that_need_a_server_run(page: Path, tmp_path: Path) -> None:
    """In a database of their own: they take the schema that there is by default."""
    database = f"docs_{os.getpid()}_{page.stem}"
    with administrator() as connection:
        connection.execute(f"CREATE DATABASE \"{database}\" ENCODING 'UTF8' TEMPLATE template0".encode())
    try:
        url = urlsplit(server_url())._replace(path=f"/{database}").geturl()
        run_programs([(name, text) for name, text in programs(page) if SERVER in text], tmp_path, {SERVER: url})
    finally:
        with administrator() as connection:
            connection.execute(f'DROP DATABASE "{database}"'.encode())


def run_programs(found: list[tuple[str, str]], tmp_path: Path, told: dict[str, str]) -> None:
    """Run programs with these variables in their environment, twice where something of the first run is left."""
    assert found or told
    for name, text in found:
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(text)
        before = left_in(tmp_path)
        for time in ("once", "again"):
            if time == "again" and not told and left_in(tmp_path) == before:
                continue  # it would be the first run once more
            run = subprocess.run(
                [sys.executable, name],
                cwd=tmp_path,
                env=os.environ | told,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert run.returncode == 0, f"{name}, run {time}, ended with {run.returncode}\n{run.stdout}\n{run.stderr}"
            complaint = "" if run.stderr.endswith("\n\nOK\n") else run.stderr  # unittest reports there
            assert complaint == "", f"{name}, run {time}, complains"


def left_in(folder: Path) -> set[Path]:
    """Give the files in a folder, but for the byte code of Python and what its caches hold."""
    return {path for path in folder.rglob("*") if not {"__pycache__", ".hypothesis"} & set(path.parts)}


CODE = re.compile(r"^```(?:python[^\n]*)\n(?P<fence>.*?)^```|`(?P<span>[^`\n]+)`", re.MULTILINE | re.DOTALL)
NO_NAMES = {"everlog.db", "everlog.backends"}  # a file, and a group of entry points


@pytest.mark.parametrize(
    "page", [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_what_a_page_quotes_is_there(page: Path) -> None:
    """Excerpts are Python, and what is written as a name of Everlog is one."""
    missing = set()
    for found in CODE.finditer(page.read_text()):
        if found["fence"] is not None:
            compile(found["fence"], page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        for name in re.findall(r"(?<![\w./])(?:everlog|sync)\.[A-Za-z_]\w*", found["fence"] or found["span"]):
            module, attribute = name.split(".")
            known = {"everlog": everlog, "sync": sync}[module]
            if name not in NO_NAMES and not hasattr(known, attribute):
                missing.add(name)
    assert missing == set()


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_to_headings_lead_somewhere() -> None:
    dead = []
    for page in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        for target, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)#([^)\s]+)\)", page.read_text()):
            other = page.parent / target if target else page
            if other.suffix == ".md" and anchor not in anchors(other):
                dead.append(f"{page.name}: {target}#{anchor}")
    assert not dead


def section(page: str, heading: str) -> str:
    """The text of a page from a heading to the next one of the same level."""
    text = (ROOT / page).read_text()
    level = heading.partition(" ")[0]
    return text.split(f"\n{heading}\n", 1)[1].split(f"\n{level} ", 1)[0]


# -- the guide names every option


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        (
            "## Workflows",
            {f"{name}=" for name in (*WorkflowDefaults.__annotations__, *WorkflowOptions.__annotations__)},
        ),
        ("## Steps", {f"{name}=" for name in (*StepDefaults.__annotations__, *StepOptions.__annotations__)}),
        ("## Steps", {f"{name}=" for name in inspect.signature(RetryPolicy).parameters}),
        ("## Steps", {*Current.__slots__, "tick"}),
        (
            "## Running and shutting down",
            {f"{name}=" for name in inspect.signature(Engine).parameters if name not in ("url", "host")},
        ),
    ],
)
def test_the_guide_names_every_option(heading: str, names: set[str]) -> None:
    spans = re.findall(r"`[^`\n]+`", section("docs/guide.md", heading))
    named = {found for span in spans for found in re.findall(r"\w+=?", span)}
    assert names - named == set()


# -- the page about the architecture names every module, in an order in which they can be read


def modules_in_reading_order() -> list[str]:
    """The modules that the page names, as they are imported."""
    named: list[str] = []
    folder = ""
    for line in section("docs/architecture.md", "## Reading order").splitlines():
        if re.match(r"\d+\. ", line):
            places = re.findall(r"`(?:backends/\w+/)?([\w/]+(?:\.py|/))`", line)
            folder = places[0] if places[0].endswith("/") else ""
            named += [place.removesuffix(".py") for place in places if place.endswith(".py")]
        elif folder:
            named += [folder + name for name in re.findall(r"`([\w/]+)`(?=[,:]|$)", line)]
    return [name.replace("/", ".").removesuffix(".__init__") for name in named]


@functools.cache
def modules() -> dict[str, Path]:
    """Every module by its name, but for the packages that only hold others."""
    found: dict[str, Path] = {}
    for root in (ROOT / "engine", *(ROOT / "backends").iterdir()):
        for path in sorted(root.rglob("*.py")):
            name = ".".join(path.relative_to(root).with_suffix("").parts)
            if path.stem != "__init__" or name == "everlog.__init__":
                found[name.removesuffix(".__init__")] = path
    return found


def imported(statements: Iterable[ast.stmt]) -> Iterator[str]:
    """The names of modules that are imported when the statements run."""
    for statement in statements:
        match statement:
            case ast.ImportFrom(module=str(module), names=names):  # modules of a package, or names of a module
                parts = [f"{module}.{one.name}" for one in names]
                yield from parts if set(parts) & modules().keys() else [module]
            case ast.Import(names=names):
                yield from (one.name for one in names)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from imported(statement.orelse)
            case ast.If() | ast.Try():
                yield from imported(statement.body)
            case _:
                pass


def test_the_architecture_names_every_module_once() -> None:
    named = modules_in_reading_order()
    assert sorted(named) == sorted(modules())


def test_each_module_imports_only_what_comes_before_it() -> None:
    named, found = modules_in_reading_order(), modules()
    wrong = []
    for number, name in enumerate(named):
        later = {*named[number + 1 :]}
        wrong += [f"{name} imports {one}" for one in imported(ast.parse(found[name].read_text()).body) if one in later]
    assert not wrong, f"docs/architecture.md names them in another order: {wrong}"
