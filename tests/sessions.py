"""Sessions: the commands that a page shows, run in their order, and what they print compared with what the page shows.

A fence "```console run" holds them, each after "$ ". Programs of the page (fences of Python with a title) are files in
the directory in which they run. What a person types into a debugger stands after its prompt.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

PATIENCE: Final = 120
PROMPT: Final = "(everlog) "
SHOWN_PLACE: Final = "/srv/app"
"""In pages, the directory in which a session was."""
FENCE: Final = re.compile(
    r'^```(?:python title="(?P<name>[\w./-]+)"[^\n]*|console (?P<run>run))\n(?P<text>.*?)^```', re.MULTILINE | re.DOTALL
)
_MASKS: Final = [
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+\+00:00)?"), "<time>"),
    (re.compile(r"\b\d\d-\d\d-\d\d \d\d:\d\d:\d\d"), "<time>"),
    (re.compile(r"\b\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"), "<time>"),
    (re.compile(r"\b\d+(\.\d+)? (ms|s|seconds?|minutes?)\b"), "<while>"),
    (re.compile(r"Python 3\.\d+\.\d+\w*"), "Python 3"),
    (re.compile(r"Everlog \d+\.\d+\S*,"), "Everlog,"),
    (re.compile(r"  +"), "  "),
]


class Command(NamedTuple):
    """One command of a page."""

    line: str
    typed: list[str]
    """What the person types into it."""
    shown: str
    """What the page says that it prints, with what is typed."""


def has_session(text: str) -> bool:
    """Tell whether a page has commands that are run."""
    return any(found["run"] for found in FENCE.finditer(text))


def commands_of(fence: str) -> list[Command]:
    """Give the commands of one fence."""
    found: list[Command] = []
    for part in re.split(r"^\$ ", fence, flags=re.MULTILINE)[1:]:
        line, _, shown = part.partition("\n")
        typed = [one.removeprefix(PROMPT) for one in shown.splitlines() if one.startswith(PROMPT)]
        found.append(Command(line, typed, shown))
    return found


def masked(text: str) -> str:
    """Give the text without what differs from run to run."""
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def played(text: str, folder: Path) -> str:
    """Run the commands of a page in this directory, and give the page with what they print now."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("EVERLOG_DB", "EVERLOG_MODULE"):
        environment.pop(name, None)

    def play(found: re.Match[str]) -> str:
        if found["name"]:
            (folder / found["name"]).write_text(found["text"])
            return found[0]
        lines: list[str] = []
        for command in commands_of(found["text"]):
            lines += [f"$ {command.line}", *_printed(command, folder, environment).splitlines()]
        return "\n".join(["```console run", *lines, "```"])

    return FENCE.sub(play, text)


def _printed(command: Command, folder: Path, environment: dict[str, str]) -> str:
    program, *arguments = shlex.split(command.line)
    if program == "export":
        given = (one.partition("=") for one in arguments)
        environment.update({name: value for name, _, value in given})
        return ""
    programs = {"python": [sys.executable], "everlog": [sys.executable, "-m", "everlog.cli"]}
    run = subprocess.run(
        [*programs[program], *arguments],
        cwd=folder,
        env=environment,
        input="".join(f"{one}\n" for one in command.typed),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, f"`{command.line}` ended with {run.returncode}:\n{run.stdout}"
    first, *answers = run.stdout.replace(str(folder.resolve()), SHOWN_PLACE).split(PROMPT)
    assert len(answers) == len(command.typed), f"`{command.line}` asked {len(answers)} times:\n{run.stdout}"
    return first + "".join(f"{PROMPT}{one}\n{answer}" for one, answer in zip(command.typed, answers, strict=True))


def differences(page: str, now: str) -> list[str]:
    """Give the lines in which a page and what its commands print now differ, as a diff."""
    return list(difflib.unified_diff(masked(page).splitlines(), masked(now).splitlines(), "page", "now", lineterm=""))


_DOCS: Final = Path(__file__).parents[1] / "docs"
PAGES: Final = [page for page in sorted(_DOCS.glob("*.md")) if has_session(page.read_text())]

if __name__ == "__main__":
    for one in PAGES if "--write" in sys.argv else []:
        with TemporaryDirectory() as directory:
            one.write_text(played(one.read_text(), Path(directory)))
