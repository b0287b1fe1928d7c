"""Does a mouth open as that of the person who drives? The calmest frame of a clip is the photo, or one that is given.

    python benchmarks/talking.py talk/*.mpg --sheet sheet.png
    python benchmarks/talking.py talk/*.mpg --source me.jpg

The clip drives as it does in the product, with what the tracker learns on the way. What is measured of the mouth is
compared, frame by frame, with the clip: the gap between the lips, the mouth's width, its corners, the chin. Tables say it
by how far the lips are open; the sheet has, of each clip, a frame of each kind above the output.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, Final, NamedTuple

import cv2
import numpy as np

from benchmarks.clips import decode, frame_rate
from benchmarks.common import benchmark_parser, write_figures
from benchmarks.expressions import TILE_PX, cut
from icface.arrays import Array, Frame
from icface.attributes import neutral
from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError, SourceError
from icface.face.features import INDEX, measure_features
from icface.face.landmarks import Landmarks
from icface.face.tracker import FaceTracker
from icface.face.viewer import Viewer
from icface.images import Photo, load_photo
from icface.reenactor import Reenactor
from realtime.cameras.decoding import UNREADABLE
from realtime.choices import QUALITIES

SIZE_PX: Final = 512
EVERY: Final = 3
"""Of so many frames one is looked at."""
LEARNED_S: Final = 0.6
"""The frames before are not: the tracker gets to know the face."""
MEASURES: Final = ("lip_gap", "corner_width", "corner_height", "chin_drop")
_COLUMNS: Final = [INDEX[name] for name in MEASURES]
OPEN_IOD: Final = (0.02, 0.05, 0.08, 0.11, 0.15)
"""Gaps between the lips that part the kinds of frames."""


class Spoken(NamedTuple):
    """One frame, each relative to the calm one."""

    seen: Array
    """(4,) MEASURES of the clip's frame, in IOD."""
    shown: Array
    """(4,) of the output, relative to the neutral output."""
    tile: Frame
    """(2 * TILE_PX, TILE_PX, 3)."""


def calmest(faces: Sequence[Landmarks]) -> int:
    """The number of the frame whose lips are closed, whose eyes are open, and whose mouth is as wide as mostly."""
    values = np.stack([measure_features(face) for face in faces])
    width = values[:, INDEX["corner_width"]]
    eyes = np.minimum(values[:, INDEX["ear_left"]], values[:, INDEX["ear_right"]])
    cost = values[:, INDEX["lip_gap"]] - 0.5 * eyes + 0.3 * np.abs(width - np.median(width))
    return int(cost.argmin())


def spoken(reenactor: Reenactor, viewer: Viewer, clip: Path, photo: Photo | None) -> Iterator[Spoken]:
    """The frames of one clip, which drives `photo`, or its own calmest frame.

    Raises:
        SourceError: no face is seen in it, or the calm frame cannot be used.
    """
    faces = [viewer.look(frame) for frame in islice(decode(clip), 0, None, EVERY)]
    seen = {EVERY * i: face for i, face in enumerate(faces) if face is not None}
    if not seen:
        raise SourceError("no face is seen in it")
    at = list(seen)[calmest(list(seen.values()))]
    if photo is None:
        calm = next(islice(decode(clip), at, None))
        photo = Photo(calm, hashlib.sha256(calm.tobytes()).hexdigest(), clip)
    reenactor.set_source(reenactor.prepare_source(photo))
    own = viewer.look(reenactor.animate(neutral()).copy())
    if own is None:
        raise SourceError("no face is seen in the neutral output")
    fps = frame_rate(clip)
    with closing(FaceTracker()) as tracker:
        for number, frame in enumerate(decode(clip)):
            state = tracker.read(frame, number / fps)
            if state is None or number not in seen or number < LEARNED_S * fps:
                continue
            made = reenactor.animate(state.attributes).copy()
            shown = viewer.look(made)
            if shown is not None:
                pairs = (seen[number], seen[at]), (shown, own)
                clips, output = (
                    (measure_features(one) - measure_features(other))[_COLUMNS] for one, other in pairs
                )
                yield Spoken(clips, output, np.concatenate([cut(viewer, frame), cut(viewer, made)]))


def summary(clips: Sequence[Sequence[Spoken]]) -> list[dict[str, Any]]:
    """A row for each kind of frame, and one for all: medians of both, and the mean distance."""
    seen, shown = (
        np.stack([getattr(each, name) for clip in clips for each in clip]) for name in ("seen", "shown")
    )
    kinds = np.digitize(seen[:, 0], OPEN_IOD)
    rows = []
    for kind in (*range(len(OPEN_IOD) + 1), None):
        part = kinds == kind if kind is not None else np.full(len(kinds), True)
        if part.any():
            rows.append(
                {
                    "kind": kind,
                    "frames": int(part.sum()),
                    "seen": np.median(seen[part], axis=0).round(4).tolist(),
                    "shown": np.median(shown[part], axis=0).round(4).tolist(),
                    "apart": np.abs(shown - seen)[part].mean(axis=0).round(4).tolist(),
                }
            )
    return rows


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The figures as lines: seen, shown, and how far apart."""
    lines = [f"{'gap':14}{'frames':>6}  " + "".join(f"{name:>24}" for name in MEASURES)]
    for row in rows:
        kind = row["kind"]
        low, high = ("", *OPEN_IOD)[kind or 0], (*OPEN_IOD, "")[kind or 0]
        cells = zip(row["seen"], row["shown"], row["apart"], strict=True)
        lines.append(
            f"{'all' if kind is None else f'{low} to {high}':14}{row['frames']:6}  "
            + "".join(f"{a:8.3f}{b:8.3f}{c:8.3f}" for a, b, c in cells)
        )
    return lines


def sheet(clips: Sequence[Sequence[Spoken]]) -> Frame:
    """A row of tiles for each clip: of each kind the frame whose gap is the middle one."""
    blank = np.full((2 * TILE_PX, TILE_PX, 3), 255, dtype=np.uint8)
    lines = []
    for clip in clips:
        tiles = []
        for kind in range(len(OPEN_IOD) + 1):
            like = sorted(
                (each for each in clip if np.digitize(each.seen[0], OPEN_IOD) == kind),
                key=lambda each: float(each.seen[0]),
            )
            tiles.append(like[len(like) // 2].tile if like else blank)
        lines.append(np.concatenate(tiles, axis=1))
    return np.concatenate(lines)


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "json", model=DEFAULT_BUNDLE)
    add = parser.add_argument
    add("clips", type=Path, nargs="+", help="videos of one person each, who talks")
    add("--source", type=Path, metavar="PHOTO", help="whom they drive (default: each its calmest frame)")
    add("--quality", choices=QUALITIES, default="best", help="fast leaves the bundle's network out")
    add(
        "--sheet",
        type=Path,
        metavar="PICTURE",
        help="draw frames and outputs into this picture (.png or .jpg)",
    )
    return parser


def measure(flags: argparse.Namespace) -> int:
    """Run the benchmark; 1 where a clip could not be used."""
    bundle, corrected = Bundle.load(flags.model), flags.quality == "best"
    photo = load_photo(flags.source) if flags.source else None
    clips, failed = [], False
    with closing(Reenactor(bundle, size_px=SIZE_PX, corrected=corrected)) as reenactor, Viewer() as viewer:
        for path in flags.clips:
            try:
                clips.append(list(spoken(reenactor, viewer, path, photo)))
            except (*UNREADABLE, SourceError) as error:
                print(f"{path}: {error}", file=sys.stderr)
                failed = True
    clips = [clip for clip in clips if clip]
    if not clips:
        raise ConfigError("none of the clips can be used")
    rows = summary(clips)
    print(
        "\n".join([*table(rows), f"seen, shown, apart; {len(clips)} clips, in distances of the eye corners"])
    )
    if flags.sheet and not cv2.imwrite(str(flags.sheet), cv2.cvtColor(sheet(clips), cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {flags.sheet}")
    write_figures(flags.json, {"measures": MEASURES, "rows": rows})
    return int(failed)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
