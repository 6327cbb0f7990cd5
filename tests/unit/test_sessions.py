"""What pages show of the command line is what it prints; `python -m tests.sessions --write` writes it anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sessions import PAGES, commands_of, differences, masked, played

TIMES = 3
"""A machine that stands still for 100 ms has one more row written in a history, and all later ones another number."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_print_what_it_shows(page: Path, tmp_path: Path) -> None:
    text = page.read_text()
    different: list[str] = []
    for time in range(TIMES):
        folder = tmp_path / str(time)
        folder.mkdir()
        different = differences(text, played(text, folder))
        if not different:
            return
    pytest.fail("\n".join([f"python -m tests.sessions --write, if {page.name} is to show:", *different]))


def test_there_is_such_a_page() -> None:
    assert PAGES


def test_another_output_is_seen_and_another_time_is_not() -> None:
    shown = "$ everlog ls\nclaim-2  settle  failed  7  26-11-22 14:18:28  34 ms"
    assert masked(shown) == masked(shown.replace("14:18:28  34 ms", "15:00:01  1.2 s"))
    assert differences(shown, shown.replace("15:00:01", "")) == []
    assert differences(shown, shown.replace("  7  ", "  8  ")) != []
    assert differences(shown, shown.replace("failed", "completed")) != []


def test_what_is_typed_is_told_from_what_is_printed(tmp_path: Path) -> None:
    fence = "$ python ask.py\n(everlog) one\n1\n(everlog) two\n2\n$ export A=1\n"
    first, second = commands_of(fence)
    assert (first.line, first.typed) == ("python ask.py", ["one", "two"])
    assert (second.line, second.typed, second.shown) == ("export A=1", [], "")
    program = "for number in (1, 2):\n    input('(everlog) ')\n    print(number)\n"
    page = f'```python title="ask.py"\n{program}```\n\n```console run\n{fence}```\n'
    assert played(page, tmp_path) == page
