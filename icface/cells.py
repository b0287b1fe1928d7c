"""The text of tables, as OpenFace, spreadsheets and we write them: encodings, delimiters, spelling of names."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import ALL_NAMES, AU_NAMES
from icface.errors import ConfigError
from icface.files import read_file

OPENFACE_NAMES: Final = ("pose_Rx", "pose_Ry", "pose_Rz", *(f"{name}_r" for name in AU_NAMES))
"""In the order of NAMES."""
_OTHERS: Final = ("frame", "face_id", "timestamp", "confidence", "success")
_KNOWN: Final = {
    **{name.lower(): name for name in (*ALL_NAMES, *OPENFACE_NAMES, *_OTHERS)},
    "face": "face_id",  # of OpenFace's tables of one picture
}
MAX_BYTES: Final = 600_000_000
"""OpenFace writes 5 kB a row: an hour of 30 frames a second."""
_ONE_DIGIT: Final = re.compile(r"^au(\d)(?!\d)")
_DELIMITERS: Final = (",", ";", "\t", "|")
_NO_TABLES: Final = {
    "a workbook; save it as CSV in the spreadsheet": (b"pk\x03\x04", b"\xd0\xcf\x11\xe0"),
    "a web page; download the file itself": (b"<!doctype", b"<html"),
}
"""What these bytes begin, in lower case."""


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The text of a CSV, without its empty lines."""

    path: Path
    columns: dict[str, int]
    """Place of each name in a row. Names that are known have our spelling."""
    lines: list[int]
    """Of each row, counted from 1 as editors do."""
    rows: list[list[str]]

    def text(self, row: int, name: str) -> str:
        """One cell; empty where the line ends before it."""
        cells, column = self.rows[row], self.columns[name]
        return cells[column].strip() if column < len(cells) else ""

    def numbers(self, name: str, rows: Sequence[int] | None = None) -> NDArray[np.float64]:
        """(n,) of a column, all rows or some of them; NaN for what is no finite number."""
        chosen, column = range(len(self.rows)) if rows is None else rows, self.columns[name]
        try:
            values = np.array([float(self.rows[row][column]) for row in chosen], dtype=np.float64)
        except (IndexError, ValueError):  # some cell is none: each is looked at
            values = np.array([_number(self.text(row, name)) for row in chosen], dtype=np.float64)
        return np.where(np.isfinite(values), values, math.nan)

    def error(self, row: int, name: str, remedy: str) -> ConfigError:
        """What to say of a cell that is no number."""
        cell = self.text(row, name)
        what = repr(cell) if cell else "the cell is empty"
        return ConfigError(
            f"{self.path} line {self.lines[row]}: column {name} is not a number ({what}); {remedy}"
        )


def read_cells(path: Path) -> Cells:
    """Read a CSV with commas, or with semicolons, tabs or bars, where numbers may have decimal commas. UTF-8, -16 or -32.

    Raises:
        ConfigError: it cannot be read, is no such text, has no rows, a name twice, or a row with more cells than names.
    """
    try:
        lines = _decoded(read_file(path, MAX_BYTES)).splitlines(keepends=True)
        # The header may stand below a title, and below Excel's word on its own files.
        declared = re.match(r"(?i)sep=(.)\s*$", lines[0]) if lines else None
        first = 1 if declared else 0
        while first < len(lines) and (not lines[first].strip() or lines[first].startswith("#")):
            first += 1
        header = lines[first] if len(lines) > first else ""
        delimiter = declared[1] if declared else max(_DELIMITERS, key=lambda mark: _names_in(header, mark))
        reader = csv.reader(lines[first:], delimiter=delimiter)
        table = [(reader.line_num + first, row) for row in reader]
        for (before, _), (line, _) in zip([(first, []), *table], table, strict=False):
            if line > before + 1:
                raise csv.Error(f"a quotation mark in line {before + 1} is not closed there")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = (
            "it is no text" if isinstance(error, ValueError) else getattr(error, "strerror", None) or error
        )
        raise ConfigError(
            f"cannot read attributes from {path}: {reason}; expected a table in a CSV"
        ) from error
    body = [(line, row) for line, row in table[1:] if any(cell.strip() for cell in row)]
    if not body:
        raise ConfigError(f"{path} has no rows; expected a header line and one line a frame")
    names = [_spelled(cell) for cell in table[0][1]]
    for name in names:
        if name in _KNOWN.values() and names.count(name) > 1:
            raise ConfigError(f"{path} has the column {name} twice; remove one of them")
    for line, row in body if any(name in _KNOWN.values() for name in names) else ():
        if any(cell.strip() for cell in row[len(names) :]):
            raise ConfigError(
                f"{path} line {line} has {len(row)} cells under {len(names)} names; where numbers have decimal commas, "
                "put semicolons between the columns"
            )
    if delimiter != ",":
        body = [(line, [cell.replace(",", ".") for cell in row]) for line, row in body]
    return Cells(
        path=path,
        columns={name: i for i, name in enumerate(names)},
        lines=[line for line, _ in body],
        rows=[row for _, row in body],
    )


def _decoded(content: bytes) -> str:
    """Text of UTF-8, UTF-16 or UTF-32, with or without a byte order mark; of Latin-1 where it is neither."""
    for kind, start in _NO_TABLES.items():
        if content[:64].lstrip().lower().startswith(start):
            raise csv.Error(f"it is {kind}")
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return content.decode("utf-32")
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16")
    zeros = content[:64].count(0)
    if zeros:
        if zeros < len(content[:64]) // 3:
            raise csv.Error("it is no text")
        return content.decode("utf-16-be" if content[0] == 0 else "utf-16-le")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _spelled(name: str) -> str:
    """A column's name without spaces, and as we spell it if we know it: ` au1_r` is AU01_r."""
    plain = name.strip()
    return _KNOWN.get(_ONE_DIGIT.sub(r"au0\1", plain.lower()), plain)


def _names_in(header: str, delimiter: str) -> int:
    """How many names of a header are known if that stands between them."""
    return sum(_spelled(cell.strip('"\n\r ')) in _KNOWN.values() for cell in header.split(delimiter))


def _number(cell: str) -> float:
    try:
        return float({"true": "1", "false": "0"}.get(cell.lower(), cell))
    except ValueError:
        return math.nan
