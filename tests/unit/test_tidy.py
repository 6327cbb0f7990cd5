"""The repository itself under test: sizes, words, reasons. Each failure says what to do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = sorted(path for folder in ("engine", "backends", "examples") for path in (ROOT / folder).rglob("*.py"))
SQL = sorted((ROOT / "backends").rglob("*.sql"))
SKIPPED = {".git", "__pycache__", "build", "dist"}
TEXT = {".md", ".py", ".pyi", ".sql", ".toml", ".txt", ".json", ".jsonl", ".yml", ".yaml", ".sh", ""}

MODULE_LINES = 500
FUNCTION_LINES = 50

# Words for which DESIGN chose another: one word per concept, everywhere.
OTHER_WORDS = {
    "activity": "step",
    "activities": "steps",
    "job": "workflow",
    "jobs": "workflows",
    "saga": "compensations",
    "signal": "message",
    "signals": "messages",
    "tenant": "namespace",
}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def texts() -> Iterator[Path]:
    """Every text file of the project, found without git."""

    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                hidden = path.name.startswith(".") and path.name != ".ci"
                if not hidden and path.name not in SKIPPED:
                    yield from walk(path)
            elif path.suffix in TEXT:
                yield path

    yield from walk(ROOT)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring: a contract may be as long as it needs to be."""
    docstring = ast.get_docstring(node, clean=False)
    return (node.end_lineno or node.lineno) - node.lineno + 1 - (docstring.count("\n") + 1 if docstring else 0)


def defined_names(path: Path) -> Iterator[tuple[int, str]]:
    """The names that a module gives: to modules, classes, functions, parameters and annotated fields."""
    yield 1, path.stem
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.AnnAssign(target=ast.Name(id=name)):
                yield node.lineno, name
            case _:
                pass


def words(name: str) -> list[str]:
    """`send_ThisThing` -> send, this, thing."""
    return re.findall(r"[a-z]+", re.sub(r"([A-Z])", r"_\1", name).lower())


def test_modules_fit_in_the_head() -> None:
    long = [
        f"{short(path)}: {size} lines" for path in PYTHON if (size := len(path.read_text().splitlines())) > MODULE_LINES
    ]
    assert not long, f"over {MODULE_LINES} lines, so there are two nouns in it: {long}"


def test_functions_fit_on_a_screen() -> None:
    long = []
    for path in PYTHON:
        lines = path.read_text().splitlines()
        for node in functions(path):
            head = " ".join(lines[node.lineno - 1 : node.body[0].lineno])
            if length(node) > FUNCTION_LINES and "# long: " not in head:
                long.append(f"{short(path)}:{node.lineno} {node.name}: {length(node)} lines")
    assert not long, f"over {FUNCTION_LINES} lines: split it, or write `# long: why` beside its `def`: {long}"


def test_modules_open_with_a_sentence() -> None:
    silent = []
    for path in PYTHON:
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        if not docstring or not re.match(r'[A-Z`"(]', docstring) or "." not in docstring:
            silent.append(short(path))
    assert not silent, f"no opening sentence that says what the module is and what it is not: {silent}"


def test_every_statement_is_used() -> None:
    """A statement is used where Python names its file, a migration where Python names the folder."""
    unused = []
    for path in SQL:
        package = next(parent for parent in path.parents if parent.parent.parent.name == "backends")
        sources = "\n".join(source.read_text() for source in package.rglob("*.py"))
        name = "migrations" if path.parent.name == "migrations" else path.stem
        if not re.search(rf"\b{re.escape(name)}\b", sources):
            unused.append(short(path))
    assert not unused, f"no Python of their backend names them, so delete them: {unused}"


def test_one_word_for_each_concept() -> None:
    wrong = []
    for path in PYTHON:
        lines = path.read_text().splitlines()
        for line, name in defined_names(path):
            if lines and "# word: " in lines[line - 1]:
                continue
            wrong += [f"{short(path)}:{line} {name}: say {OTHER_WORDS[w]}" for w in words(name) if w in OTHER_WORDS]
            if re.search(r"(^|_)run_id(_|$)", name):
                wrong.append(f"{short(path)}:{line} {name}: say workflow_id")
    for path in SQL:
        found = set(re.findall(r"\w+", path.read_text().lower())) & {*OTHER_WORDS, "run_id"}
        wrong += [f"{short(path)}: {word}: say {OTHER_WORDS.get(word, 'workflow_id')}" for word in sorted(found)]
    assert not wrong, f"other words than the project's (or write `# word: why` on the line): {wrong}"


def test_every_exemption_has_its_reason() -> None:
    """A rule that is switched off says why: on its line (`# noqa: BLE001 - hooks may fail`), or in a comment above."""
    rule = r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore)(:\s*[A-Z]+[0-9]+(,\s*[A-Z]+[0-9]+)*|\[[\w\-, ]+\])?"
    bare = re.compile(rf"({rule}\s*)+$")
    silent = []
    for path in PYTHON:
        explained = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.lstrip().startswith("#"):
                explained = True
            elif not bare.search(line):
                explained = False
            elif not explained:
                silent.append(f"{short(path)}:{number}")
    assert not silent, f"no reason beside the exemption: {silent}"


def test_no_path_of_one_machine() -> None:
    machine = re.compile(r"""(?<![\w.:/-])/(?:home|Users|root|work|farm)/\w|\b[A-Z]:\\Users\\""")
    found = [
        f"{short(path)}:{number}"
        for path in texts()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if machine.search(line)
    ]
    assert not found, f"paths that exist on one machine only: {found}"


def test_the_changelog_has_a_place_for_the_next_change() -> None:
    assert re.search(r"^## \[?Unreleased", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [path.name[:4] for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_links_between_pages_lead_somewhere() -> None:
    dead = []
    for page in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]:
        targets = re.findall(r"\]\((?![a-z]+:|#)([^)#\s]+)", page.read_text())
        dead += [f"{short(page)}: {target}" for target in targets if not (page.parent / target).exists()]
    assert not dead, f"links to pages that are not there: {dead}"
