"""The picture of README's section on control: every row is made by a command that is shown under it.

    python benchmarks/control_figure.py --out docs/images/control.jpg

The first half of the clip is driver 1, its second half driver 2. The same moments of both stand above the rows.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Final

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import av
from PIL import Image, ImageDraw

from benchmarks.clips import decode
from benchmarks.common import benchmark_parser
from benchmarks.contact_sheet import square_around_face
from icface.arrays import Frame
from icface.command import Parser, run_command
from icface.errors import ICFaceError
from icface.face.landmarks import open_detector
from icface.images import load_photo
from realtime.cli import main as icface_live
from realtime.drawing import FAINT, INK, PAPER, write

FPS: Final = 30
MOMENTS_S: Final = (0.9, 1.35, 2.3, 2.75, 3.3)
TILE_PX: Final = 176
GAP_PX: Final = 4
TEXT_PX: Final = 15
_MIX: Final = "--mix pose=1 --mix eyes=1 --mix brows=1 --mix mouth=2"
ROWS: Final = {
    "only the pose": "--driver d1.mp4 --only pose",
    "only the expression": "--driver d2.mp4 --only expression",
    "pose, eyes and brows of one, mouth of the other": f"--driver d1.mp4 --driver d2.mp4 {_MIX}",
}
PICTURES: Final = (
    "--set AU12=.9 --set AU25=.5",
    "--set yaw=-22deg --set AU02=.8",
    "--set AU04=.9 --set AU15=.7",
    "--set AU26=.8 --set AU05=.8",
    "--set pitch=14deg --set 'left AU45=1'",
)
"""No driver, one picture each."""


def halves(clip: Path, folder: Path) -> tuple[Path, Path]:
    """Write the clip's first and second half as d1.mp4 and d2.mp4."""
    pictures = list(decode(clip))
    middle = len(pictures) // 2
    paths = folder / "d1.mp4", folder / "d2.mp4"
    for path, part in zip(paths, (pictures[:middle], pictures[middle:]), strict=True):
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(FPS), options={"crf": "12"})
            stream.height, stream.width = part[0].shape[:2]
            stream.pix_fmt = "yuv420p"
            for picture in part:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode(None))
    return paths


def at_moments(path: Path) -> list[Frame]:
    """The frames of a video at MOMENTS_S."""
    pictures = list(decode(path))
    return [pictures[round(time_s * FPS)] for time_s in MOMENTS_S]


def run(photo: Path, flags: str, output: Path, folder: Path) -> None:
    """Run `icface-live` with these flags, in which drivers lie in `folder`."""
    words = [str(folder / word) if word.endswith(".mp4") else word for word in shlex.split(flags)]
    if icface_live(["--source", str(photo), *words, "--mark", "off", "--output", str(output), "--overwrite"]):
        raise ICFaceError(f"icface-live {flags} has failed")


def tiles(pictures: Sequence[Frame]) -> list[Image.Image]:
    """Squares around the faces."""
    detector = open_detector(video=False, refined=True)
    cut = [picture[square_around_face(picture, detector)] for picture in pictures]
    detector.close()
    return [Image.fromarray(each).resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS) for each in cut]


def make(photo: Path, clip: Path, folder: Path) -> Image.Image:
    """The whole picture."""
    drivers = halves(clip, folder)
    rows = {f"driver {n}": ("", tiles(at_moments(path))) for n, path in enumerate(drivers, start=1)}
    for name, flags in ROWS.items():
        output = folder / "out.mp4"
        run(photo, flags, output, folder)
        rows[name] = flags, tiles(at_moments(output))
    stills = []
    for i, flags in enumerate(PICTURES):
        output = folder / f"{i}.png"
        run(photo, flags, output, folder)
        stills.append(load_photo(output).frame)
    rows["by numbers, without a driver"] = "  |  ".join(PICTURES), tiles(stills)
    return laid_out(load_photo(photo).frame, rows)


def laid_out(photo: Frame, rows: dict[str, tuple[str, list[Image.Image]]]) -> Image.Image:
    """The photo at the left, and each row of pictures over its name and its command."""
    step_px, row_px = TILE_PX + GAP_PX, TILE_PX + 2 * TEXT_PX + 2 * GAP_PX
    left_px = step_px + 3 * GAP_PX
    sheet = Image.new("RGB", (left_px + len(MOMENTS_S) * step_px, len(rows) * row_px + GAP_PX), PAPER)
    draw = ImageDraw.Draw(sheet)
    sheet.paste(tiles([photo])[0], (GAP_PX, 2 * row_px + GAP_PX))
    write(draw, (GAP_PX, 3 * row_px - 2 * TEXT_PX + GAP_PX), "the photo", TEXT_PX, INK, "lm")
    for row, (name, (flags, pictures)) in enumerate(rows.items()):
        top_px = row * row_px + GAP_PX
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (left_px + column * step_px, top_px))
        below_px = top_px + TILE_PX + TEXT_PX * 0.7
        write(draw, (left_px, below_px), name, TEXT_PX, INK, "lm")
        if "|" in flags:
            for column, part in enumerate(flags.split("  |  ")):
                at_px = left_px + column * step_px, below_px + TEXT_PX
                write(draw, at_px, part.replace("--set ", ""), TEXT_PX - 3, FAINT, "lm")
        else:
            write(draw, (left_px, below_px + TEXT_PX), flags, TEXT_PX - 2, FAINT, "lm")
    return sheet


def arguments() -> Parser:
    parser = benchmark_parser(__doc__, "clip", "source")
    parser.add_argument("--out", type=Path, required=True, help="the picture to write")
    return parser


def draw(flags: argparse.Namespace) -> None:
    """Run everything, and write the picture."""
    with tempfile.TemporaryDirectory() as name:
        make(flags.source, flags.clip, Path(name)).save(flags.out, quality=85)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 1 or 2 with one line where it cannot."""
    return run_command(arguments(), draw, argv)


if __name__ == "__main__":
    sys.exit(main())
