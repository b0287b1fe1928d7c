"""Tables of attributes: CSV files of OpenFace and of ours, in and out.

Ours have the names of `ALL_NAMES`, full-shape. OpenFace's have `pose_Rx, pose_Ry, pose_Rz` in radians and `AUxx_r` in
0–5. Both may have `timestamp` in seconds, `success` (0 or 1: whether a face was seen), `confidence`, and `face_id`.
"""

from __future__ import annotations

import csv
import logging
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import (
    ACTION_UNITS,
    ALL_NAMES,
    AU_NAMES,
    COUNT,
    EXTENSIONS,
    INDEX,
    NAMES,
    POSE,
    AttributeTrack,
    FloatArray,
    from_openface,
    in_range,
    neutral,
    pose_from_unit,
    pose_to_unit,
    to_openface,
    with_extensions,
)
from icface.errors import ConfigError

logger = logging.getLogger(__name__)

OPENFACE_NAMES: Final = ("pose_Rx", "pose_Ry", "pose_Rz", *(f"{name}_r" for name in AU_NAMES))
"""In the order of NAMES."""
_OTHERS: Final = ("frame", "face_id", "timestamp", "confidence", "success")
_KNOWN: Final = {name.lower(): name for name in (*ALL_NAMES, *OPENFACE_NAMES, *_OTHERS)}
_ONE_DIGIT: Final = re.compile(r"^au(\d)(?!\d)")
_DELIMITERS: Final = (",", ";", "\t")
_SURE: Final = 0.5
"""Confidence of a row with a face, in files that have no `success`."""


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
        chosen = range(len(self.rows)) if rows is None else rows
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
    """Read a CSV: UTF-8 or UTF-16, with commas, semicolons (then numbers may have decimal commas) or tabs.

    Raises:
        ConfigError: it cannot be read, is no such text, has no rows, a name twice, or a row with more cells than names.
    """
    try:
        lines = _decoded(path.read_bytes()).splitlines(keepends=True)
        # The header may stand below a title, and below Excel's word on its own files.
        declared = re.match(r"(?i)sep=(.)\s*$", lines[0]) if lines else None
        first = 1 if declared else 0
        while first < len(lines) and (not lines[first].strip() or lines[first].startswith("#")):
            first += 1
        header = lines[first] if len(lines) > first else ""
        delimiter = declared[1] if declared else max(_DELIMITERS, key=lambda mark: _names_in(header, mark))
        reader = csv.reader(lines[first:], delimiter=delimiter)
        table = [(reader.line_num + first, row) for row in reader]
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


def read_csv(path: Path, *, fps: float = 25.0, face: int | None = None) -> AttributeTrack:
    """Read a track from an OpenFace CSV or from one that `write_csv` made.

    Columns are found by name, whatever their order, their case and the spaces around them. An extension that a file
    lacks is 0. A file without any pose column has a frontal pose, one without any Action Unit a face at rest.
    Where there is no `timestamp`, the number of the `frame` and `fps` give the time.
    A row without a face holds the numbers of the row before, whatever it says itself.

    Args:
        path: the file.
        fps: frames a second of a file without times.
        face: which person of a file with several, counted from 1 in the order of `face_id`. None: whoever was seen
            longest with most confidence, and a line says so. Frames that lack the person are rows without a face.

    Raises:
        ConfigError: as `read_cells`; missing columns, a value that is no number in a row with a face, time that runs
            back, no such person.
    """
    cells = read_cells(path)
    openface = _is_openface(cells)
    found = [
        (wanted, name)
        for wanted, name in zip(NAMES, OPENFACE_NAMES if openface else NAMES, strict=True)
        if name in cells.columns
    ]
    found += [(name, name) for name in EXTENSIONS if name in cells.columns]
    rows, mine, people = _rows_of_one(cells, face)
    times_s = _times(cells, rows, fps)
    present = mine & _seen(cells, rows)
    values = np.repeat(neutral()[None], len(rows), axis=0)
    for wanted, name in found:
        column = cells.numbers(name, rows)
        bad = np.flatnonzero(present & np.isnan(column))
        if bad.size:
            remedy = "mend it, or write 0 under success in that line"
            raise cells.error(rows[int(bad[0])], name, remedy)
        values[:, INDEX[wanted]] = column
    if openface:
        values = _full_shape(values, {wanted for wanted, _ in found})
    lost = ~present & (~mine | ~np.isfinite(values).all(axis=1) | openface)
    return AttributeTrack(
        times_s=times_s - times_s[0],
        values=in_range(_held(values, lost)),
        present=present,
        filled=not (openface or lost.any()),
        people=people,
    )


def write_csv(path: Path, track: AttributeTrack, *, openface: bool = False) -> None:
    """Write a track: our full-shape columns, which replay exactly, or OpenFace's names and units.

    Raises:
        ConfigError: the file cannot be written.
    """
    names: tuple[str, ...] = ALL_NAMES
    body = track.values
    if openface:
        names, scaled = OPENFACE_NAMES, to_openface(track.values)
        body = np.concatenate([pose_from_unit(scaled[:, POSE]), scaled[:, ACTION_UNITS] * 5.0], axis=1)
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["frame", "timestamp", "success", *names])
            for i, row in enumerate(body.tolist()):
                # Floats are written so that they read back exactly. A replay gives the same bits.
                writer.writerow([i + 1, f"{track.times_s[i]:.6f}", int(track.present[i]), *row])
    except OSError as error:
        raise ConfigError(f"cannot write attributes to {path}: {error}") from error


def _decoded(content: bytes) -> str:
    """Text of UTF-8 or UTF-16, with or without a byte order mark; of Latin-1 where it is neither."""
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


def _is_openface(cells: Cells) -> bool:
    """Whether the columns are OpenFace's; ConfigError where neither its names nor ours are complete."""
    ours, theirs = ([name for name in names if name in cells.columns] for names in (NAMES, OPENFACE_NAMES))
    openface = len(theirs) > len(ours)
    wanted = OPENFACE_NAMES if openface else NAMES
    parts = [wanted[POSE], wanted[ACTION_UNITS]]
    absent = [part for part in parts if not any(name in cells.columns for name in part)]
    missing = [name for part in parts if part not in absent for name in part if name not in cells.columns]
    if missing or len(absent) == 2:
        missing = missing or list(OPENFACE_NAMES)
        raise ConfigError(
            f"{cells.path} lacks the columns {', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}; "
            "expected a header with OpenFace's pose_Rx… and AUxx_r, or a file made by --record-attributes"
        )
    for part in absent:
        what = "the head stays frontal" if part is parts[0] else "the face stays at rest"
        logger.info("%s has no column %s…: %s", cells.path.name, part[0], what)
    return openface


def _rows_of_one(cells: Cells, face: int | None) -> tuple[list[int], NDArray[np.bool_], int]:
    """One row a frame: its number, whether it is of the person that was chosen, and how many people there are."""
    count = len(cells.rows)
    if "face_id" not in cells.columns:
        names, number = [""], np.zeros(count, dtype=np.int64)
    else:
        ids = cells.numbers("face_id")
        bad = np.flatnonzero(np.isnan(ids))
        if bad.size:
            raise cells.error(int(bad[0]), "face_id", "write the person's number there")
        unique, number = np.unique(ids, return_inverse=True)
        names = [f"{value:g}" for value in unique]
    people = len(names)
    if people == 1:
        return list(range(count)), np.ones(count, dtype=np.bool_), 1
    if face is not None and not 1 <= face <= people:
        raise ConfigError(f"{cells.path} has {people} people; --face {face} must be 1 to {people}")
    if face is None:
        sure = cells.numbers("confidence") if "confidence" in cells.columns else np.ones(count)
        sure = np.where(_seen(cells, range(count)), np.nan_to_num(sure), 0.0)
        face = int(np.bincount(number, weights=sure).argmax()) + 1
        logger.info(
            "%s has %d people (face_id %s); %s is taken, seen longest and most surely; choose another with --face %d",
            cells.path.name, people, ", ".join(names), names[face - 1], 1 if face == 2 else 2,
        )  # fmt: skip
    # The person's own row of each frame, or somebody else's where there is none.
    by = next((name for name in ("frame", "timestamp") if name in cells.columns), None)
    chosen: dict[str, int] = {}
    for row in range(count):
        moment = cells.text(row, by) if by else str(row)
        if number[row] == face - 1 or moment not in chosen:
            chosen[moment] = row
    rows = list(chosen.values())
    return rows, number[rows] == face - 1, people


def _times(cells: Cells, rows: list[int], fps: float) -> NDArray[np.float64]:
    """(n,) seconds of each row."""
    if "timestamp" not in cells.columns:
        frames = cells.numbers("frame", rows) if "frame" in cells.columns else np.array([math.nan])
        in_order = bool(np.isfinite(frames).all()) and bool((np.diff(frames) > 0).all())
        return (frames if in_order else np.arange(len(rows))) / fps
    times_s = cells.numbers("timestamp", rows)
    bad = np.flatnonzero(np.isnan(times_s))
    if bad.size:
        raise cells.error(rows[int(bad[0])], "timestamp", "write seconds, or remove the whole column")
    back = np.flatnonzero(np.diff(times_s) < 0)
    if back.size:
        line = cells.lines[rows[int(back[0]) + 1]]
        raise ConfigError(f"{cells.path} line {line}: timestamp runs backwards; sort the rows by it")
    return times_s


def _seen(cells: Cells, rows: Sequence[int]) -> NDArray[np.bool_]:
    """(n,) whether a row has a face."""
    if "success" not in cells.columns:
        sure = cells.numbers("confidence", rows) if "confidence" in cells.columns else np.ones(len(rows))
        return ~(sure < _SURE)
    success = cells.numbers("success", rows)
    bad = np.flatnonzero(np.isnan(success))
    if bad.size:
        raise cells.error(rows[int(bad[0])], "success", "write 1 where there is a face, or else 0")
    return success > 0.5


def _full_shape(values: FloatArray, found: set[str]) -> FloatArray:
    """OpenFace's radians and intensities (N, SIZE) to full-shape, where a file has such columns."""
    paper = values[:, :COUNT].copy()
    if NAMES[0] in found:
        paper[:, POSE] = pose_to_unit(paper[:, POSE])
    paper[:, ACTION_UNITS] = np.clip(paper[:, ACTION_UNITS] / 5.0, 0.0, 1.0)
    result = with_extensions(from_openface(paper))
    result[:, COUNT:] = values[:, COUNT:]
    return result


def _held(values: FloatArray, lost: NDArray[np.bool_]) -> FloatArray:
    """The rows (N, SIZE), where each that is lost repeats the last one that is not; neutral before the first."""
    last = np.maximum.accumulate(np.where(lost, -1, np.arange(len(values))))
    return np.where((last < 0)[:, None], neutral(), values[last])
