"""Tables of attributes: CSV files of OpenFace and of ours, in and out.

Ours have the names of `ALL_NAMES`, full-shape. OpenFace's have `pose_Rx, pose_Ry, pose_Rz` in radians and `AUxx_r` in
0–5. Both may have `timestamp` in seconds, `success` (0 or 1: whether a face was seen), `confidence`, and `face_id`.
"""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import (
    ACTION_UNITS,
    ALL_NAMES,
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
from icface.cells import OPENFACE_NAMES, Cells, read_cells
from icface.errors import ConfigError

logger = logging.getLogger(__name__)

_SURE: Final = 0.5
"""Confidence of a row with a face, in files that have no `success`."""


def read_csv(path: Path, *, fps: float = 25.0, face: int | None = None, clamp: bool = True) -> AttributeTrack:
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
        clamp: False keeps what OpenFace reads above the whole movement; `to_openface` then gives AUxx_r / 5 back.

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
        values = _full_shape(values, {wanted for wanted, _ in found}, clamp)
    lost = ~present & (~mine | ~np.isfinite(values).all(axis=1) | openface)
    held = _held(values, lost)
    return AttributeTrack(
        times_s=times_s - times_s[0],
        values=in_range(held) if clamp else held,
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
        raise ConfigError(f"cannot write attributes to {path}: {error.strerror or error}") from error


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
    if by is None:
        return (
            np.flatnonzero(number == face - 1).tolist(),
            np.ones((number == face - 1).sum(), np.bool_),
            people,
        )
    chosen: dict[str, int] = {}
    for row in range(count):
        moment = cells.text(row, by)
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


def _full_shape(values: FloatArray, found: set[str], clamp: bool) -> FloatArray:
    """OpenFace's radians and intensities (N, SIZE) to full-shape, where a file has such columns."""
    paper = values[:, :COUNT].copy()
    if NAMES[0] in found:
        paper[:, POSE] = pose_to_unit(paper[:, POSE])
    paper[:, ACTION_UNITS] = np.clip(paper[:, ACTION_UNITS] / 5.0, 0.0, 1.0)
    result = with_extensions(from_openface(paper, clamp=clamp))
    result[:, COUNT:] = values[:, COUNT:]
    return result


def _held(values: FloatArray, lost: NDArray[np.bool_]) -> FloatArray:
    """The rows (N, SIZE), where each that is lost repeats the last one that is not; neutral before the first."""
    last = np.maximum.accumulate(np.where(lost, -1, np.arange(len(values))))
    return np.where((last < 0)[:, None], neutral(), values[last])
