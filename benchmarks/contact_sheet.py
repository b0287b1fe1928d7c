"""One picture to look at: the source photo, and driver frames above the output frames that they drove.

    python benchmarks/contact_sheet.py --source S --driver D --output-video O --out sheet.png [--columns 6]

Frames are spread evenly over the clip, or chosen with --frames 0,40,80. README's strip is made by it.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence
from contextlib import closing

import cv2
import numpy as np

from benchmarks.clips import decode
from icface.arrays import Frame
from icface.command import Parser, run_command
from icface.errors import ConfigError
from icface.face.landmarks import LandmarkDetector, open_detector
from icface.images import load_photo

GAP_PX = 6
PAPER = 255


def pick_frames(path: Path, wanted: list[int]) -> dict[int, Frame]:
    """Frames of a video by index, (H, W, 3) RGB. Frames beyond its end are absent."""
    return {
        index: frame
        for index, frame in zip(range(max(wanted) + 1), decode(path), strict=False)
        if index in wanted
    }


def count_frames(path: Path) -> int:
    """How many frames a video has. It is decoded for that, because containers do not always tell."""
    return sum(1 for _ in decode(path))


def fit_square(frame: Frame, side_px: int, detector: LandmarkDetector) -> Frame:
    """The largest square of a frame around its face, or its middle where there is none, (side, side, 3)."""
    height, width = frame.shape[:2]
    faces = detector.detect(frame)
    centre = faces[0].points_px[:, :2].mean(0) if faces else (width / 2, height / 2)
    side = min(height, width)
    x = int(np.clip(round(centre[0] - side / 2), 0, width - side))
    y = int(np.clip(round(centre[1] - side / 2), 0, height - side))
    square = frame[y : y + side, x : x + side]
    smoother = cv2.INTER_AREA if side > side_px else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (side_px, side_px), interpolation=smoother), dtype=np.uint8)


def contact_sheet(source: Frame, above: list[Frame], below: list[Frame]) -> Frame:
    """Two rows of square tiles on white, and the source at their left."""
    columns, tile_px = len(above), source.shape[0]
    height = 2 * tile_px + 3 * GAP_PX
    width = 2 * GAP_PX + (columns + 1) * (tile_px + GAP_PX)
    sheet = np.full((height, width, 3), PAPER, dtype=np.uint8)
    y = (height - tile_px) // 2
    sheet[y : y + tile_px, GAP_PX : GAP_PX + tile_px] = source
    for row, tiles in enumerate((above, below)):
        y = GAP_PX + row * (tile_px + GAP_PX)
        for column, tile in enumerate(tiles):
            x = 2 * GAP_PX + (column + 1) * (tile_px + GAP_PX)
            sheet[y : y + tile_px, x : x + tile_px] = tile
    return sheet


def arguments() -> Parser:
    """All flags."""
    parser = Parser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--source", type=Path, required=True, help="the photo")
    add("--driver", type=Path, required=True, help="the clip that drove it")
    add("--output-video", type=Path, required=True, help="what icface-live made of them")
    add("--out", type=Path, required=True, help="the picture to write (.png or .jpg)")
    add("--columns", type=int, default=6, help="how many frames (default %(default)s)")
    add("--frames", help="their numbers, 0,40,80, instead of an even spread")
    add("--tile", type=int, default=256, help="side of a tile in pixels (default %(default)s)")
    return parser


def draw(args: argparse.Namespace) -> None:
    """Make the picture."""
    if args.frames:
        wanted = [int(number) for number in args.frames.split(",")]
    else:
        last = count_frames(args.output_video) - 1
        wanted = [round(i) for i in np.linspace(0, last, args.columns)]
    driver, output = pick_frames(args.driver, wanted), pick_frames(args.output_video, wanted)
    both = [index for index in wanted if index in driver and index in output]
    if not both:
        raise ConfigError(f"none of the frames {wanted} is in both videos")
    pictures = [load_photo(args.source).frame, *(clip[i] for clip in (driver, output) for i in both)]
    with closing(open_detector(video=False)) as detector:
        photo, *tiles = (fit_square(frame, args.tile, detector) for frame in pictures)
    sheet = contact_sheet(photo, tiles[: len(both)], tiles[len(both) :])
    if not cv2.imwrite(str(args.out), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {args.out}")
    print(f"{args.out}: frames {', '.join(map(str, both))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), draw, argv)


if __name__ == "__main__":
    sys.exit(main())
