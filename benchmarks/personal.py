"""Is a generator of one's own better than the one that ships? Both are driven to frames that nothing was learnt from.

    python benchmarks/personal.py --model me.icface --frames me.icface.work/frames --out report
    python benchmarks/personal.py --model me.icface --truth smile.jpg laugh.jpg --out report      of one photo alone

Both move the bundle's own picture by what the tracker read of a held frame, and are compared with that frame: face, eyes,
mouth, and the side of a turned head, each face cut by its own landmarks. Detail is a share of the frame's, so 1 is best.
With --truth, photos are the frames. The folder gets figures.json, sheets (seen, the one that ships, one's own), and a
page of benchmarks.blind.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from typing import Any, Final, NamedTuple

import cv2
import numpy as np
import torch

from benchmarks.blind import sign_test, write_page
from benchmarks.common import benchmark_parser, take_turns, write_figures
from benchmarks.judging.measures import CROP_PX, detail_of, regions
from icface.arrays import Frame
from icface.attributes import COUNT, SIZE, FloatArray, neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError, SourceError
from icface.face.action_units import baseline_of, measure_attributes
from icface.face.alignment import SCALE, align
from icface.face.landmarks import LandmarkDetector, Landmarks, open_detector
from icface.face.pose import head_pose
from icface.face.viewer import Viewer, in_frame
from icface.images import cut_crop, load_photo
from icface.quality import psnr_db
from icface.reenactor import Reenactor
from training.evaluation.embedding import Embedder, Taken, cosines, load_embedder
from training.evaluation.similarity import WINDOW_PX, ssim
from training.learning.patch.losses import perceptual_distance
from training.networks.squeezenet import SqueezeNet, load_squeezenet
from training.personal.frames import load_frames

SIZE_PX: Final = 512
BETTER_HIGH: Final = ("psnr_db", "ssim")
TILE_PX: Final = 256
ROWS: Final = 8
"""Frames on a sheet."""
COST_FRAMES, COST_ROUNDS = 40, 5
WIDE: Final = 2.4
"""Of the face: the crop that shows the side of the head."""
TURNED_RAD: Final = 0.2
"""From this turn on the side is compared."""
SIDE: Final = -0.1, 0.9, 0.5, -0.6
"""Its box, in IOD: from the near eye's outer corner outwards, and heights from there."""


class Held(NamedTuple):
    """A picture of the person that nothing was learnt from."""

    name: str
    picture: Frame
    landmarks: Landmarks
    attributes: FloatArray
    """(SIZE,) what the tracker read."""


class Shown(NamedTuple):
    """One held frame, and what both generators make of it: crops (CROP_PX, CROP_PX, 3) and figures of both."""

    name: str
    seen: Frame
    crops: tuple[Frame, Frame]
    """The one that ships, one's own."""
    figures: tuple[dict[str, float], dict[str, float]]


class Meter:
    """What measures. Close it after use."""

    def __init__(self, perceptual: Path | None, identity: Path | None) -> None:
        self.viewer = Viewer()
        self.taps: SqueezeNet | None = None if perceptual is None else load_squeezenet(perceptual)
        self.embedder: Embedder | None = (
            None if identity is None else load_embedder(identity, Taken(), crop_px=CROP_PX)
        )

    def close(self) -> None:
        self.viewer.close()

    def crops(self, frame: Frame) -> tuple[Frame, Frame] | None:
        """The face of an output, and the head more widely, cut by its own landmarks; None where none is seen."""
        face = self.viewer.look(frame)
        return None if face is None else crops(frame, in_frame(face, len(frame)))

    def figures(self, made: Frame, seen: Frame, where: dict[str, tuple[slice, slice]]) -> dict[str, float]:
        """How near a crop comes to what was seen, part by part."""
        found: dict[str, float] = {}
        for name, part in where.items():
            a, b = made[part], seen[part]
            found |= {f"{name} psnr_db": psnr_db(a, b), f"{name} ssim": ssim(a, b)}
            found[f"{name} detail"] = max(detail_of(a), 1e-6) / max(detail_of(b), 1e-6)
            if self.taps is not None:
                with torch.no_grad():
                    both = [self.taps(_planes(each)) for each in (a, b)]
                found[f"{name} perceptual"] = float(perceptual_distance(*both))
        if self.embedder is not None and "face" in where:
            vectors = self.embedder.embed(np.stack([made, seen]))
            found["identity distance"] = 1 - float(cosines(vectors[:1], vectors[1:])[0])
        return found


def crops(frame: Frame, face: Landmarks) -> tuple[Frame, Frame]:
    """A face (CROP_PX, CROP_PX, 3) as it is compared, and the head more widely."""
    close, wide = (cut_crop(frame, align(face, CROP_PX, scale), CROP_PX) for scale in (SCALE, WIDE))
    return close, wide


def side_region(face: Landmarks) -> dict[str, tuple[slice, slice]]:
    """Rows and columns of the near side of the head in the wide crop; nothing of a head that is hardly turned."""
    yaw_rad = head_pose(face).yaw_rad
    if abs(yaw_rad) < TURNED_RAD:
        return {}
    corners = face.points_px[[33, 263], :2].astype(np.float64)
    inverse = cv2.invertAffineTransform(align(face, CROP_PX, WIDE))
    right, left = cv2.transform(corners[None], inverse)[0]
    iod_px = float(np.linalg.norm(left - right)) / float(np.cos(yaw_rad))
    # A nose that points to the image's left shows the head's left side, which lies to the image's right.
    out, near = (1, left) if yaw_rad > 0 else (-1, right)
    x = np.sort(near[0] + out * iod_px * np.array(SIDE[:2]))
    y = near[1] - iod_px * np.array(SIDE[2:])
    (x0, x1), (y0, y1) = (np.clip(np.round(each).astype(int), 0, CROP_PX) for each in (x, y))
    enough = min(x1 - x0, y1 - y0) >= WINDOW_PX
    return {"side": (slice(y0, y1), slice(x0, x1))} if enough else {}


def _planes(picture: Frame) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))[None].float() / 255


def held_frames(folder: Path) -> list[Held]:
    """The held frames of a folder that the command chose; ConfigError where there are none."""
    held = [
        Held(f"video {f.video} at {f.time_s:.2f} s", f.picture, f.landmarks, f.attributes)
        for f in load_frames(folder)
        if f.held
    ]
    if not held:
        raise ConfigError(f"{folder} has no frames that were held back; film more than one photo")
    return held


def held_photos(photos: Sequence[Path], source: Path, detector: LandmarkDetector) -> list[Held]:
    """Photos of the person, measured relative to the bundle's own picture; ConfigError where one has no face."""
    calm = baseline_of(_face(source, detector)[1])
    held = []
    for path in photos:
        picture, face = _face(path, detector)
        attributes = neutral()
        attributes[:COUNT] = measure_attributes(face, calm)
        assert len(attributes) == SIZE
        held.append(Held(path.stem, picture, face, attributes))
    return held


def _face(path: Path, detector: LandmarkDetector) -> tuple[Frame, Landmarks]:
    picture = load_photo(path).frame
    if not (found := detector.detect(picture)):
        raise SourceError(f"no face was found in {path}; give other photos")
    return picture, found[0]


def compare(model: Path, source: Path, held: Sequence[Held], meter: Meter) -> tuple[list[Shown], float]:
    """Drive both generators to every held frame; gives what was shown, and the ratio of what a frame costs."""
    with ExitStack() as stack:
        both = []
        for path in (DEFAULT_BUNDLE, model):
            reenactor = stack.enter_context(closing(Reenactor(Bundle.load(path), size_px=SIZE_PX)))
            reenactor.set_source(reenactor.prepare_source(load_photo(source)))
            both.append(reenactor)
        shown = list(_shown(both, held, meter))
        rows = [each.attributes for each in held]
        ways = {
            name: (lambda i, r=reenactor: r.animate(rows[i % len(rows)]))
            for name, reenactor in zip(("ships", "own"), both, strict=True)
        }
        times = take_turns(ways, frames=COST_FRAMES, rounds=COST_ROUNDS)
    # A ratio of each round, because machines drift.
    ratios = [
        float(np.median(own) / np.median(ships))
        for ships, own in zip(times["ships"], times["own"], strict=True)
    ]
    return shown, float(np.median(ratios))


def _shown(both: Sequence[Reenactor], held: Sequence[Held], meter: Meter) -> Iterator[Shown]:
    for each in held:
        seen, seen_wide = crops(each.picture, each.landmarks)
        where = regions(each.landmarks, align(each.landmarks, CROP_PX))
        beside = side_region(each.landmarks)
        made = [meter.crops(reenactor.animate(each.attributes)) for reenactor in both]
        if made[0] is None or made[1] is None:
            print(f"{each.name}: no face is seen in an output; left out", file=sys.stderr)
            continue
        figures = [
            meter.figures(close, seen, where) | meter.figures(wide, seen_wide, beside)
            for close, wide in (made[0], made[1])
        ]
        close = made[0][0], made[1][0]
        if beside:  # where the side counts, it is shown
            seen, close = seen_wide, (made[0][1], made[1][1])
        yield Shown(each.name, seen, close, (figures[0], figures[1]))


def summary(shown: Sequence[Shown]) -> dict[str, dict[str, float]]:
    """Of each figure: the means of both, the share of frames in which one's own is better, and the sign test's p."""
    rows = {}
    for name in dict.fromkeys(name for each in shown for name in each.figures[0]):
        both = [each.figures for each in shown if name in each.figures[0]]
        ships, own = (np.array([figures[i][name] for figures in both]) for i in (0, 1))
        if name.endswith("detail"):  # as much as the real frame's is best
            gain = np.abs(np.log(ships)) - np.abs(np.log(own))
        else:
            gain = own - ships if name.endswith(BETTER_HIGH) else ships - own
        wins, losses = int((gain > 0).sum()), int((gain < 0).sum())
        rows[name] = {
            "ships": float(ships.mean()),
            "own": float(own.mean()),
            "won": wins / max(1, wins + losses),
            "p": sign_test(wins, losses),
        }
    return rows


def sheet(shown: Sequence[Shown]) -> Frame:
    """Columns of frames: seen, the one that ships, one's own."""
    rows = [np.hstack([each.seen for each in shown])]
    rows += [np.hstack([each.crops[i] for each in shown]) for i in (0, 1)]
    return np.asarray(np.vstack(rows), dtype=np.uint8)


def draw(shown: Sequence[Shown], out: Path, trials: int, seed: int) -> None:
    """Write sheets, and a page of trials: what was seen above what a generator made of it."""
    for number, start in enumerate(range(0, min(len(shown), 6 * ROWS), ROWS)):
        picture = sheet(shown[start : start + ROWS])
        cv2.imwrite(str(out / f"sheet_{number}.png"), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    rng = np.random.default_rng(seed)
    chosen = [shown[i] for i in np.linspace(0, len(shown) - 1, min(trials, len(shown))).astype(int)]
    rows = []
    for each in chosen:
        a, b = (np.vstack([each.seen, crop]) for crop in each.crops)
        rows.append((f"like the upper face ({each.name})", {"expression": each.name}, a, b))
    write_page(out / "blind", ("the one that ships", "one's own"), f"seed {seed}", rows, rng)


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "json")
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="BUNDLE", help="a generator of one's own")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--frames", type=Path, metavar="FOLDER", help="its frames, of which the held ones count"
    )
    which.add_argument("--truth", type=Path, nargs="+", metavar="PHOTO", help="photos of the person")
    add("--source", type=Path, metavar="PHOTO", help="what is moved (default: the bundle's own picture)")
    add("--perceptual", type=Path, metavar="ONNX", help="SqueezeNet with taps, for the perceptual distance")
    add(
        "--identity",
        type=Path,
        metavar="FILE",
        help="a network that tells persons apart: LightCNN-29 v2, dlib's .dat, or .onnx",
    )
    add("--trials", type=int, default=30, metavar="N", help="of the blind page (default: %(default)s)")
    add("--seed", type=int, default=20, help="of its sides (default: %(default)s)")
    add("--out", type=Path, required=True, metavar="DIR", help="the report's folder")
    return parser


def measure(flags: argparse.Namespace) -> None:
    """Run the benchmark."""
    source = flags.source or Bundle.load(flags.model).source_photo
    if source is None:
        raise ConfigError(f"{flags.model} has no picture of its own; give --source PHOTO")
    if not 1 <= flags.trials <= 2000:
        raise ConfigError(f"--trials {flags.trials}: a number from 1 to 2000 is needed")
    flags.out.mkdir(parents=True, exist_ok=True)
    with (
        closing(Meter(flags.perceptual, flags.identity)) as meter,
        closing(open_detector(video=False, refined=True)) as seer,
    ):
        held = held_frames(flags.frames) if flags.frames else held_photos(flags.truth, source, seer)
        shown, cost = compare(flags.model, source, held, meter)
    if not shown:
        raise SourceError("no output shows a face")
    rows = summary(shown)
    document: dict[str, Any] = {"frames": len(shown), "figures": rows, "cost_ratio": cost}
    write_figures(flags.out / "figures.json", document)
    write_figures(flags.json, document)
    draw(shown, flags.out, flags.trials, flags.seed)
    print(f"{len(shown)} frames; a frame costs {cost:.2f} times as much as with the generator that ships")
    print(f"{'':24}{'ships':>9}{'own':>9}{'won':>7}{'p':>10}")
    for name, row in rows.items():
        print(f"{name:24}{row['ships']:9.3f}{row['own']:9.3f}{row['won']:7.0%}{row['p']:10.2g}")
    if flags.perceptual is None:
        print("without --perceptual the perceptual distance is not measured")
    if flags.identity is None:
        print("without --identity the distance of identity is not measured")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
