"""The page of reliability: each fault has a test that stands where the page says, and runs in `make test`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
ROWS = re.findall(r"\[`(test_\w+)`\]\((\S+?)\) \|$", PAGE.read_text(), re.MULTILINE)


def test_each_fault_has_one() -> None:
    table = PAGE.read_text().partition("## Fault by fault")[2].partition("\n## ")[0]
    faults = [line for line in table.splitlines() if line.startswith("| ")]
    assert len(ROWS) == len(faults) - 2 >= 15, "all but the head of the table and the line under it"


@pytest.mark.parametrize(("name", "file"), ROWS, ids=[name for name, _ in ROWS])
def test_the_test_of_a_fault_is_there(name: str, file: str) -> None:
    body = ast.parse((PAGE.parent / file).read_text()).body
    assert [node.name for node in body if isinstance(node, ast.FunctionDef) and node.name == name] == [name]
