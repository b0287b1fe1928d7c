"""Tables of reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

NOTHING: Final = "–"


def number(value: float | None, digits: int) -> str:
    """A number with so many digits, or a dash for what was not measured."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table; what would break it is escaped."""
    lines = [[_cell(value) for value in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(value: object) -> str:
    return NOTHING if value is None else " ".join(str(value).split()).replace("|", "\\|")
