"""Render clips of the VALID avatars (MIT) to train on: `OUT/identity/video/clip.mp4`, as VoxCeleb is laid out.

    python training/render_clips.py --avatars ../shared/data/valid_avatars --out runs/avatar_clips

The first, third, … clip of an avatar shows one thing after the other, the others mix everything. Clips that are there
already are kept, so an interrupted run goes on; two runs with `--part 1/2` and `--part 2/2` share the work.
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from icface.arrays import Frame
from icface.command import Parser, run_command
from icface.files import replacing_file
from training.avatars.acting import mixed_performances, single_performances
from training.avatars.glb import load_avatar
from training.avatars.render import Studio, View

FPS = 10
"""Low, so that few frames hold much movement."""
HELD_OUT = "held_out_"


def random_view(rng: np.random.Generator, size_px: int) -> View:
    """A camera, a background and a light of its own for each clip."""
    top = rng.integers(50, 200, 3)
    bottom = np.clip(top + rng.integers(-50, 20, 3), 20, 220)
    return View(
        width_px=size_px,
        height_px=size_px,
        head_px=size_px * rng.uniform(0.44, 0.50),
        centre=(0.5 + rng.uniform(-0.02, 0.02), 0.5 + rng.uniform(-0.01, 0.03)),
        background=(tuple(int(v) for v in top), tuple(int(v) for v in bottom)),  # type: ignore[arg-type]
        key_direction=(float(rng.uniform(-0.6, 0.6)), float(rng.uniform(0.3, 0.7)), 0.75),
        grain=float(rng.uniform(0.3, 1.2)),
    )


def write_video(path: Path, frames: list[Frame]) -> None:
    """Frames (H, W, 3) RGB as an MP4; it appears whole or not at all."""
    with replacing_file(path) as unfinished, av.open(str(unfinished), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "14", "threads": "1"})
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for index, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def part(text: str) -> tuple[int, int]:
    """K/N as two numbers."""
    number, _, of = text.partition("/")
    return int(number), int(of)


def chosen(avatars: Sequence[Path], only: str, count: int | None) -> list[Path]:
    """Those whose name matches a pattern; of these so many, spread over all."""
    found = [path for path in sorted(avatars) if fnmatch.fnmatchcase(path.stem, only)]
    count = len(found) if count is None else min(count, len(found))
    return [found[number * len(found) // count] for number in range(count)]


def clip_paths(out: Path, name: str, videos: int, held_out: int) -> list[Path]:
    """An avatar's clips; the last ones are those of another person, whom prepare.py can keep for testing."""
    return [
        out / (name if video < videos - held_out else f"{HELD_OUT}{name}") / f"v{video}" / "00001.mp4"
        for video in range(videos)
    ]


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(description="Render clips of avatars to train on.")
    add = result.add_argument
    add("--avatars", type=Path, required=True, help="folder of the VALID avatars' GLB files")
    add("--out", type=Path, required=True)
    names = "avatars of such names: 'X_*', or all but those: '[!X]*'"
    add("--only", default="*", metavar="PATTERN", help=names)
    add("--identities", type=int, help="how many avatars, spread over all (default: all)")
    add("--videos", type=int, default=2, help="clips of each (default: 2)")
    last = f"the last N clips of each go to {HELD_OUT}NAME, for --test-identity '{HELD_OUT}*' of prepare.py"
    add("--held-out", type=int, default=0, metavar="N", help=last)
    add("--frames", type=int, default=40, help="frames of each clip (default: 40)")
    add("--size", type=int, default=224, help="side of the video (default: 224)")
    add("--part", type=part, default=(1, 1), metavar="K/N", help="render every Nth avatar")
    return result


def render(args: argparse.Namespace) -> None:
    """Run the command."""
    number, of = args.part
    avatars = chosen(list(args.avatars.glob("*.glb")), args.only, args.identities)
    for path in avatars[number - 1 :: of]:
        avatar = None
        for video, clip in enumerate(clip_paths(args.out, path.stem, args.videos, args.held_out)):
            if clip.is_file():
                continue
            avatar = avatar or load_avatar(path)
            rng = np.random.default_rng([zlib.crc32(path.stem.encode()), video])
            studio = Studio(avatar, random_view(rng, args.size))
            act = mixed_performances if video % 2 else single_performances
            write_video(clip, [studio.frame(p) for p in act(rng, args.frames, FPS)])
            print(clip, flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    return run_command(parser(), render, argv, stopped="stopped; the same command goes on")


if __name__ == "__main__":
    sys.exit(main())
