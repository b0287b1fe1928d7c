"""Does a photo show another person's expression as that person did? Here both are one person, so the answer is a photo.

    python benchmarks/expressions.py --photos PEOPLE --person '(P\\d+)_' --neutral '*_neutral.jpg' --sheet sheet.png

Each person's neutral photo is the source, and what the tracker reads of the other photos drives it. A sheet has, below
each other, the neutral photo, the frame, and the photo that drove it. The table says, of each Action Unit, how the frame
reads where the photo reads at least .3, and what it reads in frames whose photo does not have it.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from benchmarks.common import benchmark_parser, write_figures
from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, AU_NAMES, INDEX, SIDED, FloatArray, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError, SourceError
from icface.face.action_units import measure_attributes
from icface.face.extensions import measure_sides
from icface.face.viewer import Viewer, enlarged
from icface.images import load_photo
from icface.reenactor import Reenactor
from realtime.choices import QUALITIES

SIZE_PX: Final = 512
SHOWN: Final = 0.3
"""From here on a photo has an Action Unit."""
ABSENT: Final = 0.05
TILE_PX: Final = 200
OF_EYES: Final = 2.0
"""Side of a tile, in distances of the outer eye corners."""
SIDES: Final = [INDEX[f"{name}_side"] for name in SIDED]
_EYES: Final = [33, 263]


class Trial(NamedTuple):
    """One photo with an expression."""

    name: str
    asked: FloatArray
    """(17,) what the tracker reads of it, relative to the person's neutral photo."""
    shown: FloatArray
    """(17,) what it reads of the frame, relative to the neutral frame."""
    tile: Frame
    """(3 * TILE_PX, TILE_PX, 3)."""


def people(folder: Path, person: str, neutral_pattern: str) -> Iterator[tuple[Path, list[Path]]]:
    """Each person's neutral photo, and the others.

    Raises:
        ConfigError: the folder has nobody with both.
    """
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.*")):
        if match := re.search(person, path.name):
            found.setdefault(match.group(1) if match.groups() else match.group(), []).append(path)
    usable = 0
    for photos in found.values():
        calm = [path for path in photos if path.match(neutral_pattern)]
        others = [path for path in photos if path not in calm]
        if calm and others:
            usable += 1
            yield calm[0], others
    if not usable:
        raise ConfigError(f"{folder} has nobody with a photo like {neutral_pattern} and another one")


def tried(reenactor: Reenactor, viewer: Viewer, calm: Path, others: Sequence[Path]) -> Iterator[Trial]:
    """The trials of one person. Photos without a face are passed over with a line.

    Raises:
        SourceError: the neutral photo cannot be used.
    """
    photo = load_photo(calm)
    reenactor.set_source(reenactor.prepare_source(photo))
    own = reenactor.animate(neutral()).copy()
    baselines = [viewer.baseline(frame) for frame in (photo.frame, own)]
    at_rest = viewer.look(photo.frame)
    if at_rest is None or None in baselines:
        raise SourceError(f"{calm}: no face is seen in it, or in its neutral frame")
    for path in others:
        try:
            expressive = load_photo(path).frame
        except ICFaceError as error:
            print(error, file=sys.stderr)
            continue
        face = viewer.look(expressive)
        if face is None:
            print(f"{path}: no face is seen", file=sys.stderr)
            continue
        asked = neutral()
        measured = measure_attributes(face, baselines[0])
        asked[ACTION_UNITS] = measured[ACTION_UNITS]
        asked[SIDES] = measure_sides(face, measured) - measure_sides(at_rest, measured)
        frame = reenactor.animate(asked).copy()
        shown = viewer.measure([frame], baselines[1])[0, ACTION_UNITS]
        tiles = [cut(viewer, each) for each in (photo.frame, frame, expressive)]
        yield Trial(path.stem, asked[ACTION_UNITS].copy(), shown, np.concatenate(tiles))


def cut(viewer: Viewer, frame: Frame) -> Frame:
    """The face of a frame (H, W, 3), (TILE_PX, TILE_PX, 3); blank where none is seen."""
    frame = enlarged(frame)
    face = viewer.look(frame)
    if face is None:
        return np.full((TILE_PX, TILE_PX, 3), 255, dtype=np.uint8)
    # `look` puts a border of half its size around a frame.
    eyes = face.points_px[_EYES, :2] - np.array([frame.shape[1] // 2, frame.shape[0] // 2])
    side = OF_EYES * float(np.linalg.norm(eyes[1] - eyes[0]))
    left, top = eyes.mean(axis=0) - [side / 2, 0.42 * side]
    fine_px = max(TILE_PX, round(side / TILE_PX) * TILE_PX)
    scale = fine_px / side
    affine = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
    fine = cv2.warpAffine(frame, affine, (fine_px, fine_px), borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(fine, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def summary(trials: Sequence[Trial]) -> dict[str, dict[str, float]]:
    """Of each Action Unit: how many photos have it, medians of frame over photo and of their distance, and the median
    where the photo does not have it; NaN where there is none."""
    asked, shown = (np.stack([getattr(t, name) for t in trials]) for name in ("asked", "shown"))
    figures = {}
    for column, name in enumerate(AU_NAMES):
        wanted, seen = asked[:, column], shown[:, column]
        has, lacks = wanted >= SHOWN, (wanted <= ABSENT) & np.isfinite(seen)
        has &= np.isfinite(seen)
        figures[name] = {
            "photos": float(has.sum()),
            "amplitude": _median(seen[has] / np.maximum(wanted[has], SHOWN)),
            "apart": _median(np.abs(seen - wanted)[has]),
            "absent": _median(seen[lacks]),
        }
    return figures


def _median(values: FloatArray) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def table(figures: dict[str, dict[str, float]]) -> list[str]:
    """The figures as lines."""
    lines = [f"{'':6}{'photos':>8}{'frame/photo':>13}{'apart':>8}{'without':>9}"]
    lines += [
        f"{name:6}{row['photos']:8.0f}{row['amplitude']:13.2f}{row['apart']:8.2f}{row['absent']:9.2f}"
        for name, row in figures.items()
    ]
    return lines


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "json", model=DEFAULT_BUNDLE)
    add = parser.add_argument
    add(
        "--photos",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="photos of people, with and without expression",
    )
    add("--person", default=r"^([^_]+)_", metavar="REGEX", help="its group in a file's name says who it is")
    add("--neutral", default="*_neutral.*", metavar="PATTERN", help="names of neutral photos")
    add("--quality", choices=QUALITIES, default="best", help="fast leaves the bundle's network out")
    add(
        "--sheet",
        type=Path,
        metavar="PICTURE",
        help="draw photos and frames into this picture (.png or .jpg)",
    )
    return parser


def measure(flags: argparse.Namespace) -> int:
    """Run the benchmark."""
    rows: list[list[Trial]] = []
    bundle, corrected = Bundle.load(flags.model), flags.quality == "best"
    with closing(Reenactor(bundle, size_px=SIZE_PX, corrected=corrected)) as reenactor, Viewer() as viewer:
        for calm, others in people(flags.photos, flags.person, flags.neutral):
            try:
                rows.append(list(tried(reenactor, viewer, calm, others)))
            except SourceError as error:
                print(error, file=sys.stderr)
    trials = [trial for row in rows for trial in row]
    if not trials:
        raise ConfigError(f"no photo of {flags.photos} can be used")
    figures = summary(trials)
    print("\n".join([*table(figures), f"{len(trials)} photos of {len(rows)} people"]))
    if flags.sheet and not cv2.imwrite(str(flags.sheet), cv2.cvtColor(sheet(rows), cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {flags.sheet}")
    told: list[dict[str, Any]] = [
        {"photo": t.name, "asked": t.asked.round(3).tolist(), "shown": t.shown.round(3).tolist()}
        for t in trials
    ]
    write_figures(flags.json, {"action_units": figures, "trials": told})
    return 0


def sheet(rows: Sequence[Sequence[Trial]]) -> Frame:
    """A row of tiles for each person."""
    widest = max(map(len, rows))
    blank = np.full((3 * TILE_PX, TILE_PX, 3), 255, dtype=np.uint8)
    lines = [[t.tile for t in row] + [blank] * (widest - len(row)) for row in rows]
    return np.concatenate([np.concatenate(line, axis=1) for line in lines])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
