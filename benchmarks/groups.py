"""For whom does it work less well? Tracking and rendering, measured by groups of people.

    python -m benchmarks.groups --photos FOLDER --labels benchmarks/groups_labels.csv --json groups.json

The labels are a CSV with the column `file` (a path in FOLDER) and any others (tone, sex, age, glasses ...): each column
divides the photos into groups. Skin tone is also measured in the photo, as the individual typology angle of its cheeks
(ITA, Chardon and others 1991), which the light of the photo changes as well.

For each photo: is it taken, and does its person have a clear outline (layers)? In how many of 12 moved frames does the
tracker see a face, and how far are those frames from what was asked (of pose and the Action Units that the tracker sees
well; 1 is a whole movement)? Of the photo itself: how much do the measured attributes change when it is mirrored, and
when it gets a quarter of its light? Each is a mean of a group with its 95 % interval, by drawing the photos again.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

from benchmarks.common import benchmark_parser, write_figures
from benchmarks.response import MIXED, SIZE_PX, STRONG
from icface.arrays import Frame
from icface.attributes import COUNT, INDEX, POSE_LIMIT_RAD, FloatArray, mirror, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError, SourceError
from icface.face.viewer import Viewer, in_frame
from icface.images import load_photo
from icface.reenactor import Reenactor

EXPRESSIONS: Final[Mapping[str, Mapping[str, float]]] = {
    **MIXED,
    "closed eyes": {"AU45": 1.0},
    "raised brows": {"AU01": 0.8, "AU02": 0.8},
    "open mouth": {"AU25": 0.6, "AU26": 0.9},
    "turned left": {"yaw": 0.5 - math.radians(18) / (2 * POSE_LIMIT_RAD)},
    "bowed": {"pitch": 0.5 + math.radians(12) / (2 * POSE_LIMIT_RAD)},
}
SEEN: Final = [INDEX[name] for name in (*STRONG, "pitch", "yaw", "roll")]
MEASURES: Final = {
    "refused": "photos that are not taken",
    "one layer": "photos whose outline is not clear",
    "unseen": "moved frames without a face",
    "error": "asked to shown, over the movement",
    "mirrored": "tracker: photo to its mirror image",
    "darker": "tracker: photo to a quarter of its light",
}
"""Of each the lower is the better."""
LIGHT_DEG, DARK_DEG = 41.0, 10.0
"""ITA from which on skin is called light, and below which dark."""
LEAST: Final = 5
"""Groups with fewer photos are not named as the worst."""
_CHEEKS: Final = (50, 205, 280, 425)
"""Landmarks in the middle of the cheeks."""


def measured(path: Path, reenactor: Reenactor, viewer: Viewer) -> tuple[dict[str, float], str, list[Frame]]:
    """Measure one photo.

    Returns:
        Its measures, its skin tone, and its frames (S, S, 3): neutral, then one for each expression.

    Raises:
        SourceError: the photo is not taken, or the tracker sees no face in its neutral frame.
    """
    photo = load_photo(path)
    source = reenactor.prepare_source(photo)
    reenactor.set_source(source)
    own = reenactor.animate(neutral()).copy()
    baseline, face = viewer.baseline(own), viewer.look(own)
    if baseline is None or face is None:
        raise SourceError(f"{path.name}: the tracker sees no face in the neutral frame")
    asked = np.stack([neutral() for _ in EXPRESSIONS])
    for row, movements in zip(asked, EXPRESSIONS.values(), strict=True):
        for name, value in movements.items():
            row[INDEX[name]] = value
    frames = [own, *(reenactor.animate(row).copy() for row in asked)]
    shown = viewer.measure(frames[1:], baseline)
    seen = np.isfinite(shown).all(axis=1)
    reached = np.abs(shown - asked[:, :COUNT])[seen][:, SEEN]
    once = viewer.measure([photo.frame])[0]
    turned = mirror(_whole(viewer.measure([np.ascontiguousarray(photo.frame[:, ::-1])])[0]))[:COUNT]
    dim = viewer.measure([_dimmed(photo.frame)])[0]
    measures = {
        "refused": 0.0,
        "one layer": float(not source.has_layers),
        "unseen": 1 - float(seen.mean()),
        "error": float(reached.mean()) if seen.any() else math.nan,
        "mirrored": float(np.abs(once - turned)[SEEN].mean()),
        "darker": float(np.abs(once - dim)[SEEN].mean()),
    }
    return measures, tone(own, in_frame(face, own.shape[0]).points_px), frames


def _whole(values: FloatArray) -> FloatArray:
    """All attributes, of which the first are known."""
    whole = neutral()
    whole[:COUNT] = values
    return whole


def _dimmed(frame: Frame) -> Frame:
    """A quarter of the light, with a dim camera's noise."""
    linear = (frame / 255.0) ** 2.2 / 4
    noise = np.random.default_rng(0).normal(0, 4, frame.shape)
    return np.clip(255 * linear ** (1 / 2.2) + noise, 0, 255).astype(np.uint8)


def tone(frame: Frame, points_px: FloatArray) -> str:
    """Light, medium or dark skin by ITA: atan((L* - 50) / b*) of the cheeks' median, in degrees."""
    radius = max(2, frame.shape[0] // 60)
    patches = []
    for x, y in np.rint(points_px[list(_CHEEKS), :2]).astype(int):
        patch = frame[max(0, y - radius) : y + radius, max(0, x - radius) : x + radius]
        patches.append(patch.reshape(-1, 3))
    colour = np.median(np.concatenate(patches), axis=0).astype(np.float32)[None, None] / 255
    light, _, yellow = cv2.cvtColor(colour, cv2.COLOR_RGB2LAB)[0, 0]
    ita = math.degrees(math.atan2(light - 50, max(float(yellow), 1e-3)))
    return "light" if ita > LIGHT_DEG else "dark" if ita < DARK_DEG else "medium"


def read_labels(path: Path) -> list[dict[str, str]]:
    """The rows of the labels.

    Raises:
        ConfigError: no such table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"--labels {path} cannot be read: {error}") from error
    if not rows or not rows[0].get("file"):
        raise ConfigError(f"--labels {path}: a table with the column `file` and columns of groups is needed")
    return rows


def by_group(photos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean and 95 % interval of each measure, by label and group: `{label: {group: {measure: [mean, low, high]}}}`."""
    labels = [name for name in photos[0] if name not in ("file", *MEASURES)]
    groups: dict[str, Any] = {"all": {"all": _figures(photos)}}
    for label in labels:
        kinds = sorted({str(photo[label]) for photo in photos if photo.get(label)})
        groups[label] = {kind: _figures([p for p in photos if p.get(label) == kind]) for kind in kinds}
    return groups


def _figures(photos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    drawn = np.random.default_rng(0).integers(0, len(photos), (2000, len(photos)))
    figures: dict[str, Any] = {"n": len(photos)}
    for measure in MEASURES:
        values = np.array([photo.get(measure, math.nan) for photo in photos], dtype=float)
        if not np.isfinite(values).any():
            continue
        again = values[drawn]
        counts = np.isfinite(again).sum(axis=1)
        means = np.nansum(again, axis=1)[counts > 0] / counts[counts > 0]
        low, high = np.percentile(means, [2.5, 97.5])
        figures[measure] = [float(np.nanmean(values)), float(low), float(high)]
    return figures


def worst(groups: Mapping[str, Any]) -> dict[str, str]:
    """The group that each measure is worst in, of those with LEAST photos or more."""
    named = {}
    for measure in MEASURES:
        means = {
            f"{label}: {kind}": figures[measure][0]
            for label, kinds in groups.items()
            for kind, figures in kinds.items()
            if label != "all" and figures["n"] >= LEAST and measure in figures
        }
        if means and max(means.values()) > 0:
            named[measure] = max(means, key=lambda name: means[name])
    return named


def table(groups: Mapping[str, Any]) -> Iterator[str]:
    """The figures in Markdown."""
    yield "| | n | " + " | ".join(MEASURES) + " |"
    yield "|---" * (2 + len(MEASURES)) + "|"
    for label, kinds in groups.items():
        for kind, figures in kinds.items():
            cells = ("{:.2f} ({:.2f}–{:.2f})".format(*figures[m]) if m in figures else "–" for m in MEASURES)
            name = kind if label == "all" else f"{label}: {kind}"
            yield f"| {name} | {figures['n']} | " + " | ".join(cells) + " |"


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "json", model=DEFAULT_BUNDLE)
    parser.add_argument("--photos", type=Path, required=True, metavar="FOLDER", help="where the photos lie")
    parser.add_argument("--labels", type=Path, required=True, metavar="CSV", help="their groups")
    parser.add_argument(
        "--sheet", type=Path, metavar="PICTURE", help="draw some of the frames of every photo"
    )
    return parser


def measure(flags: argparse.Namespace) -> int:
    """Run the benchmark; 1 where no photo can be used."""
    rows = read_labels(flags.labels)
    photos: list[dict[str, Any]] = []
    drawn: list[Frame] = []
    with closing(Reenactor(Bundle.load(flags.model), size_px=SIZE_PX)) as reenactor, Viewer() as viewer:
        for number, row in enumerate(rows, start=1):
            try:
                measures, ita, frames = measured(flags.photos / row["file"], reenactor, viewer)
            except ICFaceError as error:
                print(f"{row['file']}: {error}", file=sys.stderr)
                photos.append({**row, "ITA": "", "refused": 1.0})
                continue
            photos.append({**row, "ITA": ita, **measures})
            print(f"{number}/{len(rows)} {row['file']}: {measures['error']:.3f}", file=sys.stderr)
            drawn.append(np.hstack([cv2.resize(frames[i], (128, 128)) for i in (0, 1, 3, 7, 8, 10)]))
    if not drawn:
        raise SourceError("none of the photos can be used")
    groups = by_group(photos)
    print("\n".join(table(groups)))
    for name, group in worst(groups).items():
        print(f"worst in {name} ({MEASURES[name]}): {group}")
    if flags.sheet is not None:
        drawn += [np.zeros_like(drawn[0])] * (-len(drawn) % 3)
        picture = np.vstack([np.hstack(drawn[i : i + 3]) for i in range(0, len(drawn), 3)])
        if not cv2.imwrite(str(flags.sheet), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
            raise OSError(f"cannot write {flags.sheet}")
    write_figures(flags.json, {"groups": groups, "photos": photos})
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
