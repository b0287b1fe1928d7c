"""One picture to look at: the source photo, and driver frames above the output frames that they drove.

    python benchmarks/contact_sheet.py --source S --driver D --output-video O --out sheet.png [--columns 6]
    python benchmarks/contact_sheet.py --source S --driver D --output-video O --out film.webp --frames 0:150:2

Frames are spread evenly over the clip, or chosen with --frames 0,40,80 or FIRST:END:STEP. A .webp or .gif moves: photo,
driver and output side by side. README's pictures are made by it.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
from collections.abc import Sequence
from contextlib import closing

import av
import cv2
import numpy as np
from PIL import Image

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


def square_around_face(frame: Frame, detector: LandmarkDetector) -> tuple[slice, slice]:
    """The largest square of a frame around its face, or its middle where there is none: rows and columns."""
    height, width = frame.shape[:2]
    faces = detector.detect(frame)
    centre = faces[0].points_px[:, :2].mean(0) if faces else (width / 2, height / 2)
    side = min(height, width)
    x = int(np.clip(round(centre[0] - side / 2), 0, width - side))
    y = int(np.clip(round(centre[1] - side / 2), 0, height - side))
    return slice(y, y + side), slice(x, x + side)


def tile_of(square: Frame, side_px: int) -> Frame:
    """A square, scaled to (side, side, 3)."""
    smoother = cv2.INTER_AREA if len(square) > side_px else cv2.INTER_CUBIC
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
    add("--out", type=Path, required=True, help="the picture to write (.png, .jpg; .webp, .gif: it moves)")
    add("--columns", type=int, default=6, help="how many frames (default %(default)s)")
    add("--frames", help="their numbers, 0,40,80 or FIRST:END:STEP, instead of an even spread")
    add("--tile", type=int, default=256, help="side of a tile in pixels (default %(default)s)")
    return parser


def numbers_of(frames: str) -> list[int]:
    """The numbers that --frames means; raises ConfigError where they are none."""
    try:
        if ":" in frames:
            first, end, step = (int(part) for part in frames.split(":"))
            return list(range(first, end, step))
        return [int(number) for number in frames.split(",")]
    except ValueError:
        raise ConfigError(f"--frames {frames}: write 0,40,80 or FIRST:END:STEP") from None


def film(photo: Frame, pairs: list[tuple[Frame, Frame]], path: Path, frame_ms: int) -> None:
    """Write a picture that moves: the photo, and beside it driver and output, frame by frame."""
    gap = np.full((len(photo), GAP_PX, 3), PAPER, dtype=np.uint8)
    rows = [Image.fromarray(np.hstack([photo, gap, driver, gap, output])) for driver, output in pairs]
    rows[0].save(path, save_all=True, append_images=rows[1:], duration=frame_ms, loop=0, quality=70, method=6)


def draw(args: argparse.Namespace) -> None:
    """Make the picture."""
    if args.frames:
        wanted = numbers_of(args.frames)
    else:
        last = count_frames(args.output_video) - 1
        wanted = [round(i) for i in np.linspace(0, last, args.columns)]
    driver, output = pick_frames(args.driver, wanted), pick_frames(args.output_video, wanted)
    both = [index for index in wanted if index in driver and index in output]
    if not both:
        raise ConfigError(f"none of the frames {wanted} is in both videos")
    moves = args.out.suffix.lower() in (".webp", ".gif")
    photo = load_photo(args.source).frame
    with closing(open_detector(video=False, refined=True)) as detector:
        source = tile_of(photo[square_around_face(photo, detector)], args.tile)
        above: list[Frame] = []
        below: list[Frame] = []
        for clip, tiles in ((driver, above), (output, below)):
            square = square_around_face(clip[both[0]], detector)
            for index in both:
                if not moves:  # what moves keeps its place, so that only the face moves in it
                    square = square_around_face(clip[index], detector)
                tiles.append(tile_of(clip[index][square], args.tile))
    if moves:
        with av.open(str(args.output_video)) as container:
            fps = container.streams.video[0].average_rate or 25
        step = both[1] - both[0] if len(both) > 1 else 1
        film(source, list(zip(above, below, strict=True)), args.out, round(1000 * step / fps))
    elif not cv2.imwrite(str(args.out), cv2.cvtColor(contact_sheet(source, above, below), cv2.COLOR_RGB2BGR)):
        raise OSError(f"cannot write {args.out}")
    print(f"{args.out}: frames {', '.join(map(str, both))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), draw, argv)


if __name__ == "__main__":
    sys.exit(main())
