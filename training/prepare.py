"""Make a data set to train on from videos: find faces, align them, measure them, pack them.

    python training/prepare.py VIDEOS --out DATA

What is done is kept: after an interruption the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import logging
import shutil
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tqdm import tqdm

from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError
from icface.files import write_file
from training.dataset.index import Index
from training.dataset.writing import remove_leftovers
from training.preparation.clips import Clip, find_clips
from training.preparation.data_report import write_report
from training.preparation.pack import pack
from training.preparation.parts import PARTS_FOLDER, PartInfo, Settings, load_info, part_path
from training.preparation.runners import run_here, run_on_ray
from training.preparation.work import TRIES_SUFFIX, Outcome, Worker

logger = logging.getLogger("training.prepare")

MIN_FACE_SHARE: Final = 0.375
"""Of the crop's side: a face whose box is smaller would be enlarged more than 1.7 times."""
MAX_SHARD_MB: Final = 1_000_000
MAX_SEED: Final = 2**32 - 1
MAX_WORKERS: Final = 4096
"""Ray starts a process for each at once."""
MAX_FACE_PX: Final = 10_000
AGAIN: Final = "what is done is kept: run the same command again to go on"


class _Stopped(ICFaceError):
    """Nothing more can be prepared."""


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    settings = Settings()
    result = Parser(
        description="Prepare videos of faces for training. The same command again goes on where it was interrupted."
    )
    add = result.add_argument
    add(
        "videos",
        nargs="*",
        type=Path,
        metavar="VIDEOS",
        help="folder laid out as VoxCeleb: identity/video/clip.mp4; also a file",
    )
    add("--out", type=Path, required=True, metavar="DATA", help="folder of the data set")
    add(
        "--images",
        type=Path,
        action="append",
        default=[],
        metavar="FOLDER",
        help="portraits, each a person of its own, for unpaired training",
    )
    add(
        "--identity-from",
        choices=("folder", "file", "one"),
        default="folder",
        help="who a clip shows: its first folder; each file another; one person below each VIDEOS (default: folder)",
    )
    add(
        "--size",
        type=int,
        default=settings.size_px,
        metavar="PX",
        help=f"side of the crops, 128 or 256 (default: {settings.size_px})",
    )
    add(
        "--fps",
        type=float,
        default=settings.fps,
        help=f"leave out frames beyond this rate (default: {settings.fps:g})",
    )
    add("--max-frames-per-clip", type=int, metavar="N", help="look at the first N frames only")
    add(
        "--min-face",
        type=float,
        metavar="PX",
        help="leave out faces whose box is smaller (default: 3/8 of --size)",
    )
    add(
        "--csv-errors",
        choices=("skip", "tracker"),
        default=settings.csv_errors,
        help="a clip whose OpenFace CSV cannot be used is skipped, or measured here (default: skip)",
    )
    add(
        "--test-share",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="of the persons, kept for testing (default: .25)",
    )
    add(
        "--test-identity",
        action="append",
        default=[],
        metavar="NAME",
        help="keep this person for testing instead of drawing; may be given again, and be a pattern, as 'id0*'",
    )
    add("--seed", type=int, default=20, help="decides who is kept for testing (default: 20)")
    add("--shard-mb", type=float, default=256.0, metavar="MB", help="size of a shard (default: 256)")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes, by Ray; 0: this one alone, without Ray (default: one a core)",
    )
    add(
        "--ray-address",
        metavar="ADDRESS",
        help="use a running Ray cluster, as `auto`; DATA and VIDEOS lie on storage that all its machines share",
    )
    add(
        "--clean",
        action="store_true",
        help="leave no DATA/parts: its pictures go as they are packed, the rest in the end; another run then begins anew",
    )
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def prepare(flags: argparse.Namespace) -> Index:
    """Run the command.

    Raises:
        ICFaceError: in one line, what failed and what to do.
        OSError: DATA cannot be written.
    """
    settings = _settings(flags)
    clips = find_clips(flags.videos, flags.images, flags.identity_from)
    flags.out.mkdir(parents=True, exist_ok=True)
    worker = Worker(flags.out.resolve(), settings)
    unexpected = _make_parts(flags, worker, clips)
    infos = {clip.name: _info(flags.out, clip, unexpected) for clip in clips}
    skipped = {str(clip.path): reason for clip in clips if (reason := infos[clip.name].reason)}
    write_file(flags.out / "skipped.json", json.dumps(skipped, indent=1, ensure_ascii=False) + "\n")
    used = [clip for clip in clips if infos[clip.name].reason is None]
    index = pack(
        flags.out,
        used,
        size_px=settings.size_px,
        test_share=flags.test_share,
        test_identities=flags.test_identity,
        seed=flags.seed,
        shard_bytes=round(flags.shard_mb * 1e6),
        clean=flags.clean,
    )
    write_report(flags.out, clips, infos)
    if flags.clean:
        shutil.rmtree(flags.out / PARTS_FOLDER)
        remove_leftovers(flags.out)
    _say_what_is_there(flags.out, index, len(skipped))
    return index


def _settings(flags: argparse.Namespace) -> Settings:
    if not 32 <= flags.size <= 1024 or flags.size % 8:
        raise ConfigError(f"--size {flags.size}: a multiple of 8 from 32 to 1024 is needed, as 128 or 256")
    if not 0 < flags.fps <= 1000:
        raise ConfigError(f"--fps {flags.fps:g}: a rate from above 0 to 1000 is needed")
    if not 0 <= flags.test_share < 1:
        raise ConfigError(f"--test-share {flags.test_share:g}: a share from 0 to below 1 is needed")
    # Written so that what is not a number is out of range too.
    if not 0 < flags.shard_mb <= MAX_SHARD_MB:
        raise ConfigError(f"--shard-mb {flags.shard_mb:g}: from above 0 to {MAX_SHARD_MB} is needed")
    if not 0 <= flags.seed <= MAX_SEED:
        raise ConfigError(f"--seed {flags.seed}: a whole number from 0 to {MAX_SEED} is needed")
    if flags.workers is not None and not 0 <= flags.workers <= MAX_WORKERS:
        raise ConfigError(
            f"--workers {flags.workers}: a number of processes from 0 to {MAX_WORKERS} is needed"
        )
    if flags.min_face is not None and not 0 <= flags.min_face <= MAX_FACE_PX:
        raise ConfigError(f"--min-face {flags.min_face:g}: pixels from 0 to {MAX_FACE_PX} are needed")
    if flags.max_frames_per_clip is not None and flags.max_frames_per_clip < 2:
        raise ConfigError(f"--max-frames-per-clip {flags.max_frames_per_clip}: a pair needs at least 2")
    if flags.ray_address and flags.workers == 0:
        raise ConfigError("--workers 0 prepares without Ray; leave it out with --ray-address")
    return Settings(
        size_px=flags.size,
        fps=flags.fps,
        max_frames=flags.max_frames_per_clip,
        min_face_px=MIN_FACE_SHARE * flags.size if flags.min_face is None else flags.min_face,
        csv_errors=flags.csv_errors,
    )


def _make_parts(flags: argparse.Namespace, worker: Worker, clips: Sequence[Clip]) -> dict[str, str]:
    """Make what is not there yet; gives the clips over which a worker failed, and how."""
    missing = [clip for clip in clips if not worker.is_done(clip)]
    if len(missing) < len(clips):
        logger.info("%d of %d clips are done already", len(clips) - len(missing), len(clips))
    if not missing:
        return {}
    if flags.workers == 0 or (len(missing) == 1 and not flags.ray_address):
        outcomes: Generator[Outcome] = run_here(worker, missing)
    else:
        outcomes = run_on_ray(worker, missing, workers=flags.workers, address=flags.ray_address)
    unexpected = {}
    with contextlib.closing(outcomes), tqdm(total=len(missing), unit=" clips", disable=None) as progress:
        try:
            for outcome in outcomes:
                if outcome.fatal:
                    raise _Stopped(f"{outcome.fatal}; {AGAIN}")
                if outcome.unexpected:
                    unexpected[outcome.name] = outcome.unexpected
                progress.update()
        finally:
            # Clips that were at work when we were stopped have not failed.
            for left in (flags.out / PARTS_FOLDER).glob(f"*{TRIES_SUFFIX}"):
                left.unlink(missing_ok=True)
    return unexpected


def _info(out: Path, clip: Clip, unexpected: dict[str, str]) -> PartInfo:
    if clip.name in unexpected:
        return PartInfo(name=clip.name, reason=unexpected[clip.name])
    return load_info(part_path(out, clip.name))


def _say_what_is_there(out: Path, index: Index, skipped: int) -> None:
    train, test = (len(index.splits[name]) for name in ("train", "test"))
    logger.info(
        "%s: %d tracks, %d frames of %d persons (%d to train on, %d to test on); %s",
        out,
        len(index.tracks),
        index.rows,
        train + test,
        train,
        test,
        f"{skipped} clips skipped, see {out / 'skipped.json'}" if skipped else "no clip skipped",
    )


def _body(flags: argparse.Namespace) -> None:
    try:
        prepare(flags)
    except OSError as error:
        full = " (free some space first)" if error.errno == errno.ENOSPC else ""
        raise _Stopped(f"cannot write {flags.out}: {error.strerror or error}{full}; {AGAIN}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    return run_command(parser(), _body, argv, stopped=f"interrupted; {AGAIN}", level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
