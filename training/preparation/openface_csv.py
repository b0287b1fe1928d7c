"""Attributes of a clip from the CSV that OpenFace wrote of it, matched to frames by time."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from icface.attributes import AU_NAMES, FloatArray, read_csv
from icface.errors import ConfigError

MIN_CONFIDENCE: Final = 0.7
"""OpenFace's own landmark confidence; below it intensities jump."""


@dataclass(frozen=True, kw_only=True)
class OpenFaceTable:
    """n rows of a CSV."""

    times_s: NDArray[np.float64]
    """(n,) from the first row."""
    values: FloatArray
    """(n, 20) full-shape."""
    presence: NDArray[np.int8]
    """(n, 17) AUxx_c; −1 where the file has no such column, or no face."""
    usable: NDArray[np.bool_]
    """(n,) a face was found, and with confidence."""

    def row_at(self, time_s: float) -> int | None:
        """The usable row of a moment; None where there is none within half a frame."""
        row = int(np.abs(self.times_s - time_s).argmin())
        step_s = float(np.median(np.diff(self.times_s))) if len(self.times_s) > 1 else np.inf
        near = abs(float(self.times_s[row]) - time_s) <= 0.5 * step_s + 1e-3
        return row if near and self.usable[row] else None


def read_openface(path: Path, fps: float) -> OpenFaceTable:
    """Read a table.

    Args:
        path: the CSV.
        fps: of the clip, for tables without a `timestamp`.

    Raises:
        ConfigError: it cannot be read, lacks columns, has values that are no numbers or a presence that is not
            0 or 1, or rows of several faces.
    """
    track = read_csv(path, fps=fps)
    with path.open(newline="", encoding="utf-8-sig") as file:
        header, *body = csv.reader(file)
    columns = {name.strip(): i for i, name in enumerate(header)}
    # Numbered as `read_csv` does.
    filled = [(line, row) for line, row in enumerate(body, start=2) if any(cell.strip() for cell in row)]
    lines, rows = [line for line, _ in filled], [row for _, row in filled]

    def column(name: str) -> NDArray[np.float64] | None:
        if name not in columns:
            return None
        try:
            return np.array([float(row[columns[name]]) for row in rows])
        except (ValueError, IndexError) as error:
            raise ConfigError(f"{path}: column {name} is not all numbers ({error})") from error

    def seen(name: str) -> list[int]:
        """Of the rows with a face."""
        values = []
        for row, line, present in zip(rows, lines, track.present, strict=True):
            if not present:
                continue
            cell = row[columns[name]].strip() if columns[name] < len(row) else ""
            try:
                value = float(cell)
            except ValueError:
                value = math.nan
            if value not in (0.0, 1.0):
                raise ConfigError(
                    f"{path} line {line}: column {name} is {cell!r}, not 0 or 1; mend or remove that line"
                )
            values.append(int(value))
        return values

    faces = column("face_id")
    if faces is not None and len(np.unique(faces)) > 1:
        raise ConfigError(
            f"{path} has rows of several faces (face_id); expected OpenFace's table of one face"
        )
    usable = track.present.copy()
    confidence = column("confidence")
    if confidence is not None:
        usable &= confidence >= MIN_CONFIDENCE
    presence = np.full((len(rows), len(AU_NAMES)), -1, dtype=np.int8)
    for au, name in enumerate(AU_NAMES):
        if f"{name}_c" in columns:
            presence[track.present, au] = seen(f"{name}_c")
    return OpenFaceTable(times_s=track.times_s, values=track.values, presence=presence, usable=usable)
