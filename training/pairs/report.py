"""What a folder of pairs holds, in words, numbers and pictures: `report/` in the folder."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import COUNT, NAMES, POSE, pose_from_unit
from icface.files import write_file
from training.pairs.pack import read_index
from training.preparation.data_report import figure_of, listing, save_cells
from training.preparation.markdown import table

SHEET_PAIRS: Final = 24
SHEET_COLUMNS: Final = 3
CONTRAST: Final = 2
"""Differences are shown so many times as large."""
AMOUNTS: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 1.0)
DEGREES: Final = (-41.0, -15.0, -5.0, 5.0, 15.0, 41.0)


def write_report(folder: Path, made: Sequence[str]) -> None:
    """Write report.md about all sets of a folder, and pictures of the sets that were made now; OSError."""
    report = folder / "report"
    report.mkdir(exist_ok=True)
    sets = read_index(folder)["sets"]
    rows_of = {name: _rows(folder / f"{name}.csv") for name in sets}
    for name in made:
        _save_sheet(report / f"{name}.png", folder / f"{name}.pixels.npy", rows_of[name])
        _save_histograms(report / f"{name}_attributes.png", _attributes(rows_of[name]))
    write_file(report / "report.md", _text(sets, rows_of))


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _attributes(rows: Sequence[dict[str, str]]) -> Any:
    """(n, 20): pose in degrees, then Action Units."""
    values = np.array([[float(row[name]) for name in NAMES] for row in rows], dtype=np.float32).reshape(
        -1, COUNT
    )
    values[:, POSE] = np.degrees(pose_from_unit(values[:, POSE]))
    return values


def _text(sets: dict[str, Any], rows_of: dict[str, list[dict[str, str]]]) -> str:
    overview = []
    for name, about in sets.items():
        rows = rows_of[name]
        mean = {
            key: float(np.mean([float(row[key]) for row in rows])) if rows else 0
            for key in ("error", "iod_px")
        }
        overview.append(
            [
                name, about["kind"], about["count"], len({row["identity"] for row in rows}), f"{mean['error']:.1f}",
                f"{mean['iod_px']:.0f}", sum(row["own_teeth"] == "1" for row in rows), about["dropped_worst"],
                len(about["left_out"]),
            ]
        )  # fmt: skip
    head = ["set", "kind", "pairs", "persons", "error", "IOD / px", "own teeth", "dropped", "left out"]
    paragraphs = [
        "# Pairs of face patches",
        "Error: mean difference of target and geometry in levels of 255. IOD: distance of the outer eye corners in the "
        "target's photo. Own teeth: pairs whose source shows its own. Dropped: the pairs with the largest errors. Left "
        "out: pictures and pairs that could not be used; the lists below say why.",
        table(head, overview),
    ]
    for name, about in sets.items():
        values = _attributes(rows_of[name])
        paragraphs += [
            f"## {name}",
            f"Target, geometry, difference × {CONTRAST} and the openings:\n\n![{name}]({name}.png)",
            f"Pairs by their target's attributes:\n\n{_bins(values)}\n\n![Attributes]({name}_attributes.png)",
            _why(about["left_out"]),
        ]
    return "\n\n".join(paragraphs) + "\n"


def _bins(values: Any) -> str:
    def between(edges: Sequence[float], unit: str) -> list[str]:
        return [f"{low:g} to {high:g}{unit}" for low, high in pairwise(edges)]

    def counts(column: int, edges: Sequence[float]) -> list[int]:
        return np.histogram(values[:, column], bins=edges)[0].tolist()  # type: ignore[no-any-return]

    pose = [[NAMES[i], *counts(i, DEGREES)] for i in range(POSE.stop)]
    units = [[NAMES[i], *counts(i, AMOUNTS)] for i in range(POSE.stop, COUNT)]
    return "\n\n".join(
        [
            table(["pose", *between(DEGREES, "°")], pose),
            table(["Action Unit", *between(AMOUNTS, "")], units),
        ]
    )


def _why(reasons: Sequence[str]) -> str:
    """How often each reason is given, then each picture's."""
    split = [reason.rpartition(": ") for reason in reasons]
    often = Counter(why for _, _, why in split).most_common(12)
    told: dict[str, list[str]] = {}
    for name, _, why in split:
        told.setdefault(name or "a pair", []).append(why)
    return (
        f"Left out:\n\n{table(['times', 'why'], [[count, why] for why, count in often])}\n\n{listing(told)}"
    )


def _save_sheet(path: Path, pixels_path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Pairs from the whole of a set; an empty one gives no picture."""
    path.unlink(missing_ok=True)
    if not rows:
        return
    pixels = np.load(pixels_path, mmap_mode="r", allow_pickle=False)
    places = np.linspace(0, len(rows) - 1, min(SHEET_PAIRS, len(rows))).round().astype(int)
    cells = [_cell(pixels[i], rows[i]) for i in places.tolist()]
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % SHEET_COLUMNS)
    save_cells(path, cells, SHEET_COLUMNS)


def _cell(pixels: Frame, row: dict[str, str]) -> Frame:
    target, shown, opening = pixels[..., :3], pixels[..., 3:6], pixels[..., 6:]
    difference = np.clip(CONTRAST * np.abs(target.astype(np.int16) - shown), 0, 255).astype(np.uint8)
    cell = np.hstack([target, shown, difference, np.repeat(opening, 3, axis=2)])
    caption = np.full((16, cell.shape[1], 3), 255, dtype=np.uint8)
    text = f"{Path(row['source']).name} to {Path(row['target']).name}: {float(row['error']):.1f}"
    cv2.putText(caption, text, (3, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([cell, caption])


def _save_histograms(path: Path, values: Any) -> None:
    figure, axes = figure_of(4, 5, (15, 10))
    for i, (name, place) in enumerate(zip(NAMES, axes, strict=True)):
        place.hist(values[:, i], bins=40, range=(-41, 41) if i < POSE.stop else (0, 1), color="tab:blue")
        place.set_title(f"{name} / °" if i < POSE.stop else name)
        # Most pairs show nothing of an Action Unit; on a linear scale the others would not be seen.
        place.set_yscale("log")
    figure.savefig(path, dpi=60)
