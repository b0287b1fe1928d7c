"""Videos in, a data set to train on out: faces found, aligned, measured, packed.

    python training/prepare.py VIDEOS --out DATA

What is done is kept: the same command again goes on where it was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

if __package__ in (None, ""):  # started as a file
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from icface.errors import ConfigError, ICFaceError
from training.preparation.clips import find_clips
from training.preparation.pack import pack
from training.preparation.parts import Settings, load_info, part_path
from training.preparation.work import Worker


def main(argv=None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--images", action="append", type=Path, default=[])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--landmarker", type=Path)
    parser.add_argument("--identity-from", default="folder")
    parser.add_argument("--max-frames-per-clip", type=int)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--test-share", type=float, default=0.25)
    args = parser.parse_args(argv)
    clips = find_clips(args.videos, args.images, args.identity_from)
    settings = Settings(size_px=args.size, fps=args.fps, max_frames=args.max_frames_per_clip, min_face_px=0.375 * args.size, landmarker=args.landmarker)
    worker = Worker(args.out, settings)
    for i, clip in enumerate(clips):
        problem = worker(clip)
        if problem:
            print(problem)
            return 1
        if i % 10 == 0: print(i, clip.name, flush=True)
    infos = {clip.name: load_info(part_path(args.out, clip.name)) for clip in clips}
    for i in infos.values():
        if i.reason or i.notes: print(i)
    index = pack(args.out, [c for c in clips if not infos[c.name].reason], size_px=args.size, test_share=args.test_share, seed=args.seed, shard_bytes=256_000_000)
    print(len(index.tracks), index.rows)
    return 0

if __name__ == "__main__":
    sys.exit(main())
