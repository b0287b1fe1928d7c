"""What is asked is what is seen? Photos are moved by one attribute after the other, and the tracker measures the frames.

    python benchmarks/response.py                                     # examples/source.jpg
    python benchmarks/response.py a.jpg b.jpg --sheet sheet.png       # these photos, and their frames to look at
    python benchmarks/response.py a.jpg b.jpg --fit                   # gains for icface/geometry/rig.py

Answers are relative to each photo's own neutral frame. Pose goes to 25° to either side, gaze to 20°, all else from 0
to 1.
A slope or an amplitude of 1 is an exact answer. Crosstalk is what a whole movement adds to another strong Action Unit.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from benchmarks.common import REPOSITORY, benchmark_parser, write_figures
from icface.arrays import Frame
from icface.attributes import (
    AU_NAMES,
    GAZE_LIMIT_RAD,
    GAZE_NAMES,
    INDEX,
    NAMES,
    POSE_LIMIT_RAD,
    POSE_NAMES,
    FloatArray,
    neutral,
)
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ICFaceError, SourceError
from icface.face import extensions
from icface.face.action_units import Baseline, measure_attributes
from icface.face.features import face_shape, measure_features
from icface.face.viewer import Viewer
from icface.geometry.rig import AU_GAIN, POSE_GAIN
from icface.images import load_photo
from icface.reenactor import Reenactor
from realtime.choices import QUALITIES
from training.evaluation.response import Sweep, swept

STRONG: Final = ("AU01", "AU02", "AU04", "AU12", "AU25", "AU26", "AU45")
"""Action Units that the tracker sees well."""
SIZE_PX: Final = 512
POSE_REACH: Final = math.radians(25) / (2 * POSE_LIMIT_RAD)
"""25°, as a part of the attribute's range."""
EXTENDED: Final = ("gaze_pitch", "gaze_yaw", "AU18")
GAZE_REACH: Final = math.radians(20) / GAZE_LIMIT_RAD
"""20°, as a part of the attribute's range."""
STEPS: Final = 9
MIXED: Final[Mapping[str, Mapping[str, float]]] = {
    "laugh": {"AU12": 1.0, "AU06": 0.7, "AU25": 0.8, "AU26": 0.35},
    "smile with teeth": {"AU12": 0.8, "AU06": 0.4, "AU25": 0.5},
    "surprise": {"AU01": 0.9, "AU02": 0.9, "AU05": 0.5, "AU25": 0.4, "AU26": 0.7},
    "speech": {"AU25": 0.5, "AU26": 0.3},
    "anger": {"AU04": 0.9, "AU07": 0.4, "AU23": 0.6},
    "sorrow": {"AU01": 0.6, "AU04": 0.5, "AU15": 0.8, "AU17": 0.4},
    "turned smile": {"yaw": 0.5 + math.radians(18) / (2 * POSE_LIMIT_RAD), "AU12": 0.8, "AU25": 0.4},
}
"""Movements together, as drivers make them."""
TILE_PX: Final = 192
COLUMNS: Final = 11
LEAST_GAIN, LARGEST_GAIN = 0.5, 2.0
"""Bounds of the gains that are proposed. A face that must be pulled further is not moved well."""


class Answer(NamedTuple):
    """Frames of one photo."""

    asked: FloatArray
    """(n, attributes)."""
    shown: FloatArray
    """(n, attributes) measured again; NaN where no face is seen. Of extensions only EXTENDED are measured, and alone."""

    def sweep(self, name: str) -> Sweep:
        """One attribute of it."""
        return Sweep(self.asked[:, INDEX[name]], self.shown[:, INDEX[name]])


def questions() -> dict[str, FloatArray]:
    """What is asked, (n, attributes) by name: an attribute's sweep, or movements together after the neutral face."""
    asked = {name: swept(name, STEPS, POSE_REACH) for name in NAMES[: len(POSE_NAMES) + len(AU_NAMES)]}
    for name in EXTENDED:
        asked[name] = np.stack([neutral()] * STEPS)
        ends = (-GAZE_REACH, GAZE_REACH) if name in GAZE_NAMES else (0.0, 1.0)
        asked[name][:, INDEX[name]] = np.linspace(*ends, STEPS)
    for name, movements in MIXED.items():
        asked[name] = np.stack([neutral(), neutral()])
        for attribute, value in movements.items():
            asked[name][1, INDEX[attribute]] = value
    return asked


def ask(reenactor: Reenactor, viewer: Viewer) -> tuple[dict[str, Answer], list[tuple[str, Frame]]]:
    """Ask everything of the source that the reenactor shows.

    Returns:
        The answers, and named frames to look at, (S, S, 3).

    Raises:
        SourceError: the tracker sees no face in the neutral frame.
    """
    own = reenactor.animate(neutral()).copy()
    baseline = viewer.baseline(own)
    if baseline is None:
        raise SourceError("the tracker sees no face in the neutral frame")
    answers, tiles = {}, [("neutral", own)]
    for name, asked in questions().items():
        frames = [reenactor.animate(row).copy() for row in asked]
        extended = name in EXTENDED
        answers[name] = Answer(
            asked,
            _extensions(viewer, frames, own, baseline) if extended else viewer.measure(frames, baseline),
        )
        if name in POSE_NAMES:
            tiles.append((f"{name} -25", frames[0]))
        tiles.append((f"{name} +25" if name in POSE_NAMES else name, frames[-1]))
    return answers, tiles


def _extensions(viewer: Viewer, frames: Sequence[Frame], own: Frame, baseline: Baseline) -> FloatArray:
    """(n, attributes) of frames, of which EXTENDED are measured, relative to the frame `own`, in which a face is seen."""
    result = np.full((len(frames), len(INDEX)), np.nan, dtype=np.float32)
    rest, *faces = (viewer.look(frame) for frame in (own, *frames))
    assert rest is not None
    measures = extensions.measure(face_shape(rest), rest.blendshapes)
    for row, face in zip(result, faces, strict=True):
        if face is None:
            continue
        pitch_rad, yaw_rad = extensions.gaze_rad(
            extensions.measure(face_shape(face), face.blendshapes), measures
        )
        values = measure_features(face)
        closure = float(measure_attributes(face, baseline)[INDEX["AU45"]])
        pitch_rad = extensions.believed_pitch(pitch_rad, closure, values, baseline)
        row[[INDEX[name] for name in GAZE_NAMES]] = np.array([pitch_rad, yaw_rad]) / GAZE_LIMIT_RAD
        risen = np.maximum(face.blendshapes - baseline.blendshapes, 0).astype(np.float32)
        row[INDEX["AU18"]] = extensions.shapes_of(values - baseline.features, risen)["AU18"]
    return result


def summary(photos: Sequence[Mapping[str, Answer]]) -> dict[str, Any]:
    """The figures, over photos: `[median, worst]` of each."""
    return {
        "pose": {
            name: {
                "slope": _spread([p[name].sweep(name).slope() for p in photos], 1),
                "spearman": _spread([p[name].sweep(name).spearman() for p in photos], 1),
                "crosstalk": _crosstalk([p[name] for p in photos], name),
            }
            for name in POSE_NAMES
        },
        "action_units": {
            name: {
                "whole": _spread([amplitude(p[name].sweep(name), 1.0) for p in photos], 1),
                "half": _spread([amplitude(p[name].sweep(name), 0.5) for p in photos], 1),
                "spearman": _spread([p[name].sweep(name).spearman() for p in photos], 1),
                "crosstalk": _crosstalk([p[name] for p in photos], name),
            }
            for name in AU_NAMES
        },
        "extensions": {
            name: {
                "slope": _spread([p[name].sweep(name).slope() for p in photos], 1),
                "whole": _spread(
                    [amplitude(p[name].sweep(name), p[name].asked[-1, INDEX[name]]) for p in photos], 1
                ),
                "spearman": _spread([p[name].sweep(name).spearman() for p in photos], 1),
            }
            for name in EXTENDED
        },
        "mixed": {
            name: {
                unit: {
                    "asked": float(photos[0][name].asked[-1, INDEX[unit]]),
                    "shown": _spread(
                        [float(np.diff(p[name].shown[[0, -1], INDEX[unit]])[0]) for p in photos], 0
                    ),
                }
                for unit in ("AU06", "AU15", *STRONG)
            }
            for name in MIXED
        },
    }


def amplitude(sweep: Sweep, level: float) -> float:
    """How far an Action Unit that is asked for at `level` is shown, as a share of it; NaN where no face is seen."""
    shown, rest = np.interp([level, 0], sweep.asked, sweep.shown)
    return float((shown - rest) / level)


def _crosstalk(answers: Sequence[Answer], name: str) -> dict[str, list[float]]:
    """What the sweep adds at its ends to other strong Action Units."""
    ends = [0, -1] if name in POSE_NAMES else [-1]
    middle = STEPS // 2 if name in POSE_NAMES else 0
    added = {
        unit: [
            max((a.shown[ends, INDEX[unit]] - a.shown[middle, INDEX[unit]]).tolist(), key=abs)
            for a in answers
        ]
        for unit in STRONG
        if unit != name
    }
    return {unit: _spread(values, 0) for unit, values in added.items()}


def _spread(values: Iterable[float], ideal: float) -> list[float]:
    """The median, and the value that is furthest from the ideal one; NaN counts as furthest."""
    found = np.array(list(values))
    distance = np.where(np.isfinite(found), np.abs(found - ideal), np.inf)
    middle = float(np.nanmedian(found)) if np.isfinite(found).any() else math.nan
    return [middle, float(found[distance.argmax()])]


def fitted_gains(photos: Sequence[Mapping[str, Answer]]) -> tuple[FloatArray, FloatArray]:
    """(3,) and (17,) gains with which the photos' median answer would come nearest to what is asked."""
    gains = []
    for name, gain in zip((*POSE_NAMES, *AU_NAMES), (*POSE_GAIN, *AU_GAIN), strict=True):
        sweeps = [photo[name].sweep(name) for photo in photos]
        middle = STEPS // 2 if name in POSE_NAMES else 0
        asked = sweeps[0].asked - sweeps[0].asked[middle]
        shown = np.nanmedian([s.shown - s.shown[middle] for s in sweeps], axis=0)
        gains.append(gain * _factor(asked, shown))
    rounded = np.clip(np.round(gains, 2), LEAST_GAIN, LARGEST_GAIN).astype(np.float32)
    return rounded[: len(POSE_NAMES)], rounded[len(POSE_NAMES) :]


def _factor(asked: FloatArray, shown: FloatArray) -> float:
    """By how much more must be asked, so that the answers are nearest to what is wanted (least squares)."""
    factors = np.linspace(0.3, 3.0, 271)
    # Beyond the sweep's end the answer goes on as it does from the middle to the end.
    errors = []
    for factor in factors:
        x = factor * asked
        y = np.interp(x, asked, shown)
        for beyond, end in ((x > asked[-1], -1), (x < asked[0], 0)):
            if asked[end]:
                y[beyond] = shown[end] * x[beyond] / asked[end]
        errors.append(float(np.square(y - asked).sum()))
    return float(factors[int(np.argmin(errors))])


def table(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines: median, and in brackets the worst photo."""

    def cell(pair: Sequence[float]) -> str:
        return f"{pair[0]:5.2f} ({pair[1]:5.2f})"

    def leaks(crosstalk: Mapping[str, Sequence[float]]) -> str:
        return "  ".join(f"{unit} {pair[0]:+.2f}" for unit, pair in crosstalk.items() if abs(pair[0]) > 0.05)

    lines = [f"{'':18}{'slope':16}{'':16}{'rank':16}crosstalk"]
    lines += [
        f"{name:18}{cell(row['slope']):32}{cell(row['spearman']):16}{leaks(row['crosstalk'])}"
        for name, row in figures["pose"].items()
    ]
    lines += ["", f"{'':18}{'at 1':16}{'at .5':16}{'rank':16}crosstalk"]
    lines += [
        f"{name:18}{cell(row['whole']):16}{cell(row['half']):16}{cell(row['spearman']):16}{leaks(row['crosstalk'])}"
        for name, row in figures["action_units"].items()
    ]
    lines += ["", f"{'':18}{'slope':16}{'at the end':16}{'rank':16}"]
    lines += [
        f"{name:18}{cell(row['slope']):16}{cell(row['whole']):16}{cell(row['spearman']):16}"
        for name, row in figures["extensions"].items()
    ]
    lines += ["", f"{'together':18}asked → shown"]
    for name, units in figures["mixed"].items():
        seen = (
            f"{unit} {row['asked']:.2f} → {row['shown'][0]:.2f}"
            for unit, row in units.items()
            if row["asked"] or abs(row["shown"][0]) > 0.1
        )
        lines.append(f"{name:18}{'   '.join(seen)}")
    return lines


def sheet(photos: Sequence[Sequence[tuple[str, Frame]]]) -> Frame:
    """All frames with their names, a block for each photo."""
    blocks = []
    for tiles in photos:
        rows = -(-len(tiles) // COLUMNS)
        block = np.full((rows * TILE_PX, COLUMNS * TILE_PX, 3), 255, dtype=np.uint8)
        for number, (name, frame) in enumerate(tiles):
            tile = cv2.resize(frame, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
            for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
                cv2.putText(tile, name, (4, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA)
            y, x = (TILE_PX * place for place in divmod(number, COLUMNS))
            block[y : y + TILE_PX, x : x + TILE_PX] = tile
        blocks.append(block)
    return np.concatenate(blocks)


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "json", model=DEFAULT_BUNDLE)
    add = parser.add_argument
    add(
        "photos",
        type=Path,
        nargs="*",
        default=[REPOSITORY / "examples/source.jpg"],
        help="photos of a face",
    )
    add("--quality", choices=QUALITIES, default="best", help="fast leaves the bundle's network out")
    add("--sheet", type=Path, metavar="PICTURE", help="draw the frames into this picture (.png or .jpg)")
    add(
        "--fit",
        action="store_true",
        help="print the gains with which the answers would be nearest to what is asked",
    )
    return parser


def measure(flags: argparse.Namespace) -> int:
    """Run the benchmark; 1 where a photo could not be used."""
    found, drawn, failed = {}, [], False
    bundle, corrected = Bundle.load(flags.model), flags.quality == "best"
    with closing(Reenactor(bundle, size_px=SIZE_PX, corrected=corrected)) as reenactor, Viewer() as viewer:
        for path in flags.photos:
            try:
                reenactor.set_source(reenactor.prepare_source(load_photo(path)))
                found[path.name], tiles = ask(reenactor, viewer)
            except ICFaceError as error:
                print(f"{path}: {error}", file=sys.stderr)
                failed = True
                continue
            drawn.append(tiles)
    if not found:
        raise SourceError("none of the photos can be used")
    answers = list(found.values())
    figures = summary(answers)
    print("\n".join([*table(figures), f"median (worst) of {len(answers)} photos"]))
    if flags.fit:
        for name, gains in zip(("POSE_GAIN", "AU_GAIN"), fitted_gains(answers), strict=True):
            print(f"{name}: Final = np.array({[round(float(g), 2) for g in gains]}, dtype=np.float32)")
    if flags.sheet and not cv2.imwrite(str(flags.sheet), cv2.cvtColor(sheet(drawn), cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {flags.sheet}")
    write_figures(flags.json, {"photos": list(found), **figures})
    return int(failed)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
