"""The pictures of a data set's report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, AU_NAMES, NAMES, POSE, FloatArray, pose_from_unit
from icface.files import write_file
from training.dataset.index import SPLITS
from training.dataset.reading import FaceTracks

COLUMNS: Final = 8
SHEET_ROWS: Final = 6
CELL_PX: Final = 128
CAPTION_PX: Final = 32
STRONGEST: Final = 3
"""Action Units that a caption names."""
MANY: Final = 50_000
"""Points that a scatter plot shows."""


def save_pictures(
    folder: Path, tracks: FaceTracks, attributes: FloatArray, sides_px: Sequence[float]
) -> None:
    """All pictures of the report.

    Args:
        folder: of the report.
        tracks: the data set.
        attributes: (N, 20) of all its frames.
        sides_px: how large the face is in each clip.

    Raises:
        OSError: they cannot be written.
    """
    save_histograms(folder / "attributes.png", attributes)
    save_pose(folder / "pose.png", attributes)
    save_sizes(folder / "faces.png", sides_px)
    save_extremes(folder / "extremes.png", tracks, attributes)
    for split in SPLITS:
        save_sheet(folder / f"crops_{split}.png", tracks, split)


def save_histograms(path: Path, attributes: FloatArray) -> None:
    """All 20 attributes, (N, 20)."""
    figure, axes = _figure(4, 5, (15, 10))
    for i, (name, place) in enumerate(zip(NAMES, axes, strict=True)):
        place.hist(attributes[:, i], bins=50, range=(0, 1), color="tab:blue")
        place.set_title(name)
        # Most frames show nothing of an Action Unit; on a linear scale the others would not be seen.
        place.set_yscale("log")
    figure.savefig(path, dpi=80)


def save_pose(path: Path, attributes: FloatArray) -> None:
    """Yaw against pitch and against roll, in degrees."""
    step = max(1, len(attributes) // MANY)
    pitch, yaw, roll = np.degrees(pose_from_unit(attributes[::step, POSE])).T
    figure, axes = _figure(1, 2, (11, 5))
    for place, other, name in ((axes[0], pitch, "pitch"), (axes[1], roll, "roll")):
        place.scatter(yaw, other, s=2, alpha=0.4)
        place.set(xlabel="yaw / °", ylabel=f"{name} / °", xlim=(-42, 42), ylim=(-42, 42))
    figure.savefig(path, dpi=80)


def save_sizes(path: Path, sides_px: Sequence[float]) -> None:
    """How large faces are in the clips."""
    figure, (place,) = _figure(1, 1, (6, 4))
    place.hist(sides_px, bins=40, color="tab:green")
    place.set(xlabel="side of the face's box in the clip / pixels", ylabel="clips")
    figure.savefig(path, dpi=80)


def save_sheet(path: Path, tracks: FaceTracks, split: str) -> None:
    """Random crops of a split with their attributes; an empty split gives no picture."""
    numbers = tracks.split(split)
    path.unlink(missing_ok=True)
    if not numbers:
        return
    rng = np.random.default_rng(0)
    drawn = rng.choice(numbers, COLUMNS * SHEET_ROWS)
    rows = [int(rng.choice(tracks.tracks[number].rows)) for number in drawn]
    _save_cells(path, [_cell(tracks, row, *_captions(tracks, row)) for row in rows], COLUMNS)


def save_extremes(path: Path, tracks: FaceTracks, attributes: FloatArray) -> None:
    """A row for each attribute (of (N, 20)): its largest values by different persons; for pose the smallest too."""
    cells: list[Frame] = []
    columns = min(COLUMNS, len(tracks.identities))
    for i, name in enumerate(NAMES):
        values = attributes[:, i]
        for sign, tag in ((1, "+"), (-1, "-")) if i < 3 else ((1, ""),):
            line = []
            for row in most(tracks, sign * values):
                value = float(values[row])
                shown = f"{value:.2f}" if i >= 3 else f"{np.degrees(pose_from_unit([value] * 3)[0]):+.0f}"
                line.append(_cell(tracks, row, f"{name}{tag} {shown}", ""))
            cells += line + [np.full_like(line[0], 255)] * (columns - len(line))
    # 23 rows in two columns; one place stays empty.
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % (2 * columns))
    _save_cells(path, cells, 2 * columns)


def most(tracks: FaceTracks, values: FloatArray) -> list[int]:
    """Up to COLUMNS rows of the largest values (N,), one for each person."""
    best: dict[str, int] = {}
    for track in tracks.tracks:
        row = track.first + int(values[track.first : track.first + track.frames].argmax())
        if track.identity not in best or values[row] > values[best[track.identity]]:
            best[track.identity] = row
    return sorted(best.values(), key=lambda row: -values[row])[:COLUMNS]


def _captions(tracks: FaceTracks, row: int) -> tuple[str, str]:
    (values,) = tracks.values_of([row]).attributes
    pitch, yaw, roll = np.degrees(pose_from_unit(values[POSE]))
    units = sorted(zip(values[ACTION_UNITS], AU_NAMES, strict=True), reverse=True)[:STRONGEST]
    strongest = " ".join(f"{name[2:]}:{value:.2f}" for value, name in units if value >= 0.05)
    return f"p{pitch:+.0f} y{yaw:+.0f} r{roll:+.0f}", strongest


def _cell(tracks: FaceTracks, row: int, first: str, second: str) -> Frame:
    """(CELL_PX + CAPTION_PX, CELL_PX, 3) RGB: a crop with two lines below it."""
    cell = np.full((CELL_PX + CAPTION_PX, CELL_PX, 3), 255, dtype=np.uint8)
    cell[:CELL_PX] = cv2.resize(tracks.frame(row), (CELL_PX, CELL_PX), interpolation=cv2.INTER_AREA)
    for text, y in ((first, 12), (second, 26)):
        cv2.putText(cell, text, (2, CELL_PX + y), cv2.FONT_HERSHEY_SIMPLEX, 0.37, (0, 0, 0), 1, cv2.LINE_AA)
    return cell


def _save_cells(path: Path, cells: Sequence[Frame], columns: int) -> None:
    """A PNG of cells in lines of `columns`; the last line has to be full."""
    lines = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    sheet = cv2.cvtColor(np.vstack(lines), cv2.COLOR_RGB2BGR)
    write_file(path, cv2.imencode(".png", sheet)[1].tobytes())


def _figure(rows: int, columns: int, size_inch: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """Without pyplot, which would want a window system and keeps figures in globals."""
    figure = Figure(figsize=size_inch, layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)
