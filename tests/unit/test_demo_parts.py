"""The parts of the demo, one by one; the whole of it, with its kills, is in tests/crash."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from everlog import HistoryEvent, UsageError
from everlog.cli.demo import index as indexing
from everlog.cli.demo.index import Attempt, Index
from everlog.cli.demo.ledger import Kill, account, recorded_modules
from everlog.cli.demo.main import Settings, run_demo
from everlog.cli.demo.modules import DocumentedName, Module, documented_names, find_modules
from everlog.cli.demo.parts import Part, divide
from everlog.cli.demo.progress import Progress

SOURCE = '''"""What the module does.

More of it."""

def plain():
    """A function."""
    def inner():
        """Not seen."""

class Thing:
    """A class."""

    async def method(self):
        """
        A method, a line later.
        """

    def silent(self):
        pass
'''


def module(folder: Path, source: str | bytes) -> Module:
    path = folder / "thing.py"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    return Module("thing", str(path))


# -- modules -----------------------------------------------------------------------------------------------------------


def test_documented_names_are_those_with_docstrings(tmp_path: Path) -> None:
    assert documented_names(module(tmp_path, SOURCE)) == [
        DocumentedName("module", "thing", 1, "What the module does."),
        DocumentedName("function", "plain", 5, "A function."),
        DocumentedName("class", "Thing", 10, "A class."),
        DocumentedName("method", "Thing.method", 13, "A method, a line later."),
    ]


@pytest.mark.parametrize("source", ["def (\n", b"x = '\xff'\n", b"x = 1\x00\n", b"# coding: nothing-like-it\n"])
def test_a_file_that_does_not_parse_is_a_syntax_error(tmp_path: Path, source: str | bytes) -> None:
    with pytest.raises(SyntaxError):
        documented_names(module(tmp_path, source))


def test_a_docstring_that_is_no_unicode_can_still_be_stored(tmp_path: Path) -> None:
    (name,) = documented_names(module(tmp_path, '"""odd \\ud800 text"""'))
    assert name.summary == "odd ? text"


def test_the_modules_are_those_of_the_standard_library_without_its_tests() -> None:
    found = {one.name: one.path for one in find_modules()}
    assert len(found) > 400
    assert {"tempfile", "asyncio", "asyncio.queues", "json.decoder"} <= set(found)
    assert not [name for name in found if "site-packages" in name or name.startswith("test.")]
    assert Path(found["asyncio"]).name == "__init__.py"


def test_a_limit_takes_modules_from_all_over() -> None:
    found = find_modules(60)
    assert len(found) == 60
    assert found[0].name < "b" < "t" < found[-1].name


# -- the index ---------------------------------------------------------------------------------------------------------


NAMES = [
    DocumentedName("function", "mkstemp", 5, "Create a temporary file."),
    DocumentedName("function", "gettempdir", 9, "Give the directory for files."),
]


def make_index(folder: Path) -> Index:
    index = Index(folder / "index.db")
    index.create()
    return index


def test_indexing_again_changes_nothing(tmp_path: Path) -> None:
    index = make_index(tmp_path)
    for _ in range(3):
        index.replace("tempfile", NAMES, index.note_attempt("tempfile"), "indexed")
    assert index.entries() == [
        ("tempfile", "function", "mkstemp", 5, "Create a temporary file."),
        ("tempfile", "function", "gettempdir", 9, "Give the directory for files."),
    ]
    assert index.attempts() == [Attempt("tempfile", os.getpid(), "indexed")] * 3
    assert index.written() == 1


def test_an_attempt_that_wrote_nothing_is_in_the_ledger(tmp_path: Path) -> None:
    index = make_index(tmp_path)
    index.note_attempt("tempfile")
    assert index.attempts() == [Attempt("tempfile", os.getpid(), None)]
    assert index.written() == 0


@pytest.mark.parametrize("left_out", [[], ["fts5"], ["fts5", "fts4"]])
def test_searches_work_with_every_kind_of_search_that_sqlite_may_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left_out: list[str]
) -> None:
    statements = indexing._SEARCH
    for kind in left_out:  # SQLite says of both that there is no such module
        statements = tuple(statement.replace(f"USING {kind}", f"USING no_{kind}") for statement in statements)
    monkeypatch.setattr(indexing, "_SEARCH", statements)
    index = make_index(tmp_path)
    for _ in range(2):
        index.replace("tempfile", NAMES, index.note_attempt("tempfile"), "indexed")
    found = index.find("temporary file")
    assert [name for _, _, name, _, _ in found] == ["mkstemp"]
    assert index.find("elephant") == []


# -- the ledger --------------------------------------------------------------------------------------------------------


def part(workflow_id: str, *modules: str) -> Part:
    return Part(workflow_id, [Module(name, f"{name}.py") for name in modules])


def kill(process: int, attempts: int, *recorded: str) -> Kill:
    return Kill(process=process, attempts=attempts, recorded=set(recorded), looked=attempts)


def ended(seq: int, module: str, type: str = "step_completed") -> HistoryEvent:
    data = {"operation": f"index_module@{module}"}
    return HistoryEvent(seq=seq, type=type, recorded_at=datetime(2026, 1, 1, tzinfo=UTC), data=data)


def test_the_account_adds_up() -> None:
    attempts = [
        Attempt("a", 1, "indexed"),
        Attempt("b", 1, "indexed"),  # the kill fell before its record
        Attempt("c", 1, None),  # the kill fell before its effect
        Attempt("b", 2, "indexed"),
        Attempt("c", 2, "refused"),
    ]
    history = [ended(3, "a"), ended(4, "b"), ended(5, "c", "step_failed")]
    ledger = account(attempts, history, [kill(1, 3, "a")], [part("all", "a", "b", "c")])
    assert (ledger.attempts, ledger.results, ledger.refused) == (5, 3, 1)
    assert (ledger.cut_short, ledger.run_twice) == (1, 1)
    assert ledger.replayed == [1]
    assert (ledger.taken_over, ledger.taken_from_the_living) == (1, 0)
    assert ledger.is_sound


def test_only_what_the_killed_process_was_at_work_on_is_replayed() -> None:
    attempts = [
        Attempt("a", 1, "indexed"),
        Attempt("b", 2, "indexed"),
        Attempt("c", 2, "indexed"),
        Attempt("d", 2, None),
        Attempt("d", 1, "indexed"),
        Attempt("e", 1, "indexed"),
    ]
    parts = [part("one", "a", "e"), part("two", "b"), part("three", "c", "d")]
    history = [ended(3 + number, module) for number, module in enumerate("abcde")]
    ledger = account(attempts, history, [kill(2, 4, "a", "b", "c")], parts)
    assert ledger.replayed == [1]
    assert ledger.taken_over == 1
    assert ledger.is_sound


def test_a_workflow_that_was_taken_from_one_that_lived_is_found() -> None:
    attempts = [Attempt("a", 1, "indexed"), Attempt("b", 2, "indexed")]
    ledger = account(attempts, [ended(3, "a"), ended(4, "b")], [], [part("all", "a", "b")])
    assert ledger.taken_from_the_living == 1
    assert not ledger.is_sound


@pytest.mark.parametrize(("modules", "workers", "parts"), [(735, 1, 1), (735, 3, 29), (60, 3, 9), (2, 3, 2)])
def test_the_modules_are_divided_among_workflows(modules: int, workers: int, parts: int) -> None:
    given = [Module(str(number), "") for number in range(modules)]
    found = divide(given, "index", workers=workers)
    assert len(found) == len({part.workflow_id for part in found}) == parts
    assert sorted(one.name for part in found for one in part.modules) == sorted(one.name for one in given)


def test_a_step_that_runs_in_spite_of_its_record_is_found() -> None:
    attempts = [Attempt("a", 1, "indexed"), Attempt("a", 2, "indexed")]
    ledger = account(attempts, [ended(3, "a")], [kill(1, 1, "a")], [part("all", "a")])
    assert ledger.run_in_spite_of_record == 1
    assert not ledger.is_sound


def test_a_result_that_nobody_ran_is_found() -> None:
    assert not account(
        [Attempt("a", 1, "indexed")], [ended(3, "a"), ended(4, "b")], [], [part("all", "a", "b")]
    ).is_sound


def test_the_module_of_an_operation_is_its_key() -> None:
    assert recorded_modules([ended(3, "xml.dom"), ended(4, "begun", "step_started")]) == ["xml.dom"]


# -- what is printed ---------------------------------------------------------------------------------------------------


def test_where_there_is_no_terminal_progress_is_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress("indexing", 100)
    for done in range(101):
        progress.update(done)
    progress.say("a word")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["20", "40", "60", "80", "100", "a"]
    assert "\r" not in "".join(lines)


def test_a_directory_that_is_in_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        run_demo(Settings(folder=str(tmp_path)))
    with pytest.raises(UsageError, match="cannot be a directory"):
        run_demo(Settings(folder=str(tmp_path / "mine.txt")))
