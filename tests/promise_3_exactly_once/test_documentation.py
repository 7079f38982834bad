"""What docs/following.rst says is proven, by tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FACTS = ROOT / "docs" / "facts" / "following-logs.md"
PAGE = (ROOT / "docs" / "following.rst").read_text()


def names_in(folder: Path) -> set[str]:
    return {
        node.name
        for path in folder.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"``(test_\w+)``", PAGE))
    assert len(named) > 20
    assert named <= names_in(ROOT / "tests")


def test_every_case_of_the_facts_has_a_test() -> None:
    cases = re.findall(r"^\| ([^|]*?) \|", FACTS.read_text(), re.MULTILINE)[1:]
    rows = PAGE.split("\n   * - ")
    assert len(cases) == 10
    for case in cases:
        (row,) = [row for row in rows if row.startswith(f"{case}\n")]
        assert "``test_" in row.split("\n     - ")[8], case
