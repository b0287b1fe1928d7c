"""docs/faults.md says what happens when something breaks. Each of its lines is a test of the same name."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_each_line_of_the_page_is_a_test() -> None:
    page = (REPOSITORY / "docs/faults.md").read_text(encoding="utf-8")
    faults = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    faults = [fault for fault in faults if fault != "Fault"]
    assert len(faults) > 30
    tests: set[str] = set()
    for path in (REPOSITORY / "tests").rglob("test_*.py"):
        tests |= set(re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE))
    missing = [fault for fault in faults if "test_" + re.sub(r"\W", "_", fault.lower()) not in tests]
    assert missing == [], "a line of the page without its test"
