"""docs/STANDARDS.md says only what is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (ROOT / "docs" / "STANDARDS.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and not line.startswith("| clause")
]
ROWS = [row for row in ROWS if not set(row[0]) <= {"-"}]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].split(":")[0])
def test_a_clause_has_its_module_and_its_test(row: list[str]) -> None:
    """Each row names a module and tests that exist."""
    _, module, tests = row
    assert (ROOT / module.strip("`")).exists()
    named = re.findall(r"`([^`]+)::([^`]+)`", tests)
    assert named
    for file, test in named:
        assert re.search(rf"^(async )?def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE), test
