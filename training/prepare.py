"""Make a data set to train on from videos: find faces, align them, measure them, pack them.

    python training/prepare.py VIDEOS --out DATA

What is done is kept: after an interruption the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
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
from training.dataset.index import SPLITS
from training.dataset.writing import remove_leftovers
from training.preparation.clips import FRAME_RATE, Clip, find_clips
from training.preparation.data_report import write_report
from training.preparation.pack import pack
from training.preparation.parts import PARTS_FOLDER, PartInfo, Settings, is_done, load_info, part_path
from training.preparation.runners import run_on_ray
from training.preparation.split import KEPT, Wanted, too_few
from training.preparation.work import TRIES_SUFFIX, Outcome, make_part

logger = logging.getLogger("training.prepare")

MIN_FACE_SHARE: Final = 0.375
"""Of the crop's side: a face whose box is smaller would be enlarged more than 1.7 times."""
AGAIN: Final = "what is done is kept: run the same command again to go on"


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(
        description="Prepare videos of faces for training. The same command again goes on where it was interrupted."
    )
    add = result.add_argument
    layout = "folder laid out as VoxCeleb: identity/video/clip.mp4; also a file"
    add("videos", nargs="*", type=Path, metavar="VIDEOS", help=layout)
    add("--out", type=Path, required=True, metavar="DATA", help="folder of the data set")
    layout = "each folder of numbered pictures below it is a clip: identity/1.6/video/0000025.jpg, as VoxCeleb's crops"
    add("--frames", type=Path, action="append", default=[], metavar="FOLDER", help=layout)
    rate = "frames a second that the names of such pictures count (default: 25)"
    add("--frame-rate", type=float, default=FRAME_RATE, metavar="FPS", help=rate)
    portraits = "portraits, each a person of its own, for unpaired training"
    add("--images", type=Path, action="append", default=[], metavar="FOLDER", help=portraits)
    who = "who a clip shows: its first folder; each file another; one person below each VIDEOS (default: folder)"
    add("--identity-from", choices=("folder", "file", "one"), default="folder", help=who)
    add("--size", type=int, default=128, metavar="PX", help="side of the crops, 128 or 256 (default: 128)")
    add("--fps", type=float, default=25.0, help="leave out frames beyond this rate (default: 25)")
    add("--max-frames-per-clip", type=int, metavar="N", help="look at the first N frames only")
    small = "leave out faces whose box is smaller (default: 3/8 of --size)"
    add("--min-face", type=float, metavar="PX", help=small)
    unusable = "a clip whose OpenFace CSV cannot be used is skipped, or measured here (default: skip)"
    add("--csv-errors", choices=("skip", "tracker"), default="skip", help=unusable)
    scale = "of the Action Units: 1 is the whole movement, or OpenFace's AUxx_r / 5 as in the paper (default: full-shape)"
    add("--scale", choices=("full-shape", "openface"), default="full-shape", help=scale)
    for split, share, use in (
        ("validation", 0.1, "choosing the best model"),
        ("test", 0.25, "evaluation"),
    ):
        drawn = f"of the persons, kept for {use} (default: {share:g})"
        add(f"--{split}-share", type=float, default=share, metavar="SHARE", help=drawn)
        named = f"keep this person for {use} instead of drawing; repeatable, and may be a pattern, as 'id0*'"
        add(f"--{split}-identity", action="append", default=[], metavar="NAME", help=named)
    add("--seed", type=int, default=20, help="decides who is kept from training (default: 20)")
    add("--shard-mb", type=float, default=256.0, metavar="MB", help="size of a shard (default: 256)")
    processes = "processes, by Ray; 0: this one alone, without Ray (default: one a core)"
    add("--workers", type=int, metavar="N", help=processes)
    cluster = (
        "use a running Ray cluster, as `auto`; DATA and VIDEOS lie on storage that all its machines share"
    )
    add("--ray-address", metavar="ADDRESS", help=cluster)
    clean = "leave no DATA/parts: its pictures go as they are packed, the rest in the end; another run then begins anew"
    add("--clean", action="store_true", help=clean)
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def prepare(flags: argparse.Namespace) -> None:
    """Run the command; raises ICFaceError, and OSError where DATA cannot be written."""
    settings = _settings(flags)
    if not 0 < flags.frame_rate <= 1000:
        raise ConfigError(f"--frame-rate {flags.frame_rate:g}: a rate from above 0 to 1000 is needed")
    clips = find_clips(flags.videos, flags.images, flags.identity_from, flags.frames, flags.frame_rate)
    flags.out.mkdir(parents=True, exist_ok=True)
    unexpected = _make_parts(flags, settings, clips)
    infos = {
        clip.name: load_info(part_path(flags.out, clip.name)) for clip in clips if clip.name not in unexpected
    }
    infos |= {name: PartInfo(reason=reason) for name, reason in unexpected.items()}
    skipped = {str(clip.path): reason for clip in clips if (reason := infos[clip.name].reason)}
    write_file(flags.out / "skipped.json", json.dumps(skipped, indent=1, ensure_ascii=False) + "\n")
    wanted = Wanted(
        shares={split: getattr(flags, f"{split}_share") for split in KEPT},
        names={split: getattr(flags, f"{split}_identity") for split in KEPT},
    )
    index = pack(
        flags.out,
        [clip for clip in clips if infos[clip.name].reason is None],
        size_px=settings.size_px,
        wanted=wanted,
        seed=flags.seed,
        attribute_scale=flags.scale,
        shard_bytes=round(flags.shard_mb * 1e6),
        clean=flags.clean,
    )
    write_report(flags.out, clips, infos)
    if flags.clean:
        shutil.rmtree(flags.out / PARTS_FOLDER)
        remove_leftovers(flags.out)
    if index.attribute_scale == "openface" and index.attribute_source != "openface":
        logger.warning(
            "clips without an OpenFace CSV of their own were measured here and converted to OpenFace's scale; "
            "what OpenFace itself would read is another number"
        )
    train, validation, test = (len(index.splits[split]) for split in SPLITS)
    left_out = (
        f"{len(skipped)} clips skipped, see {flags.out / 'skipped.json'}" if skipped else "no clip skipped"
    )
    logger.info(
        f"{flags.out}: {len(index.tracks)} tracks, {index.rows} frames of {train + validation + test} persons "
        f"({train} to train on, {validation} for validation, {test} to test on); {left_out}"
    )
    warning = too_few(index.splits, wanted)
    if warning:
        logger.warning("%s", warning)


def _settings(flags: argparse.Namespace) -> Settings:
    size, fps, shard_mb, seed = flags.size, flags.fps, flags.shard_mb, flags.seed
    tested, validated = flags.test_share, flags.validation_share
    frames, face_px, workers = flags.max_frames_per_clip, flags.min_face, flags.workers
    # NaN fails these comparisons, too.
    for flag, value, is_right, wanted in (
        ("size", size, size in range(32, 1025, 8), "a multiple of 8 from 32 to 1024 is needed, as 128"),
        ("fps", fps, 0 < fps <= 1000, "a rate from above 0 to 1000 is needed"),
        ("test-share", tested, 0 <= tested < 1, "a share from 0 to below 1 is needed"),
        ("validation-share", validated, 0 <= validated < 1, "a share from 0 to below 1 is needed"),
        ("validation-share", validated, validated + tested < 1, "with --test-share it has to stay below 1"),
        ("shard-mb", shard_mb, 0 < shard_mb <= 1e6, "from above 0 to 1000000 is needed"),
        ("seed", seed, 0 <= seed < 2**32, "a whole number from 0 to 4294967295 is needed"),
        # Ray starts a process for each at once.
        ("workers", workers, 0 <= (workers or 0) <= 4096, "a number of processes from 0 to 4096 is needed"),
        ("min-face", face_px, 0 <= (face_px or 0) <= 1e4, "pixels from 0 to 10000 are needed"),
        ("max-frames-per-clip", frames, frames is None or frames >= 2, "a pair needs at least 2"),
    ):
        if not is_right:
            raise ConfigError(f"--{flag} {f'{value:g}' if isinstance(value, float) else value}: {wanted}")
    if flags.ray_address and workers == 0:
        raise ConfigError("--workers 0 prepares without Ray; leave it out with --ray-address")
    return Settings(
        size_px=size,
        fps=fps,
        max_frames=frames,
        min_face_px=MIN_FACE_SHARE * size if face_px is None else face_px,
        csv_errors=flags.csv_errors,
    )


def _make_parts(flags: argparse.Namespace, settings: Settings, clips: Sequence[Clip]) -> dict[str, str]:
    """Make what is not there yet; gives the clips over which the work failed, and how."""
    out = flags.out.resolve()
    missing = [clip for clip in clips if not is_done(out, clip, settings)]
    if len(missing) < len(clips):
        logger.info("%d of %d clips are done already", len(clips) - len(missing), len(clips))
    if not missing:
        return {}
    make = functools.partial(make_part, out=out, settings=settings)
    if flags.workers == 0 or (len(missing) == 1 and not flags.ray_address):
        outcomes: Generator[Outcome] = (make(clip) for clip in missing)
    else:
        outcomes = run_on_ray(make, missing, workers=flags.workers, address=flags.ray_address)
    unexpected = {}
    with contextlib.closing(outcomes), tqdm(total=len(missing), unit=" clips", disable=None) as progress:
        try:
            for outcome in outcomes:
                if outcome.fatal:
                    raise ICFaceError(f"{outcome.fatal}; {AGAIN}")
                if outcome.unexpected:
                    unexpected[outcome.name] = outcome.unexpected
                progress.update()
        finally:
            # Clips that were at work when we were stopped have not failed.
            for left in (out / PARTS_FOLDER).glob(f"*{TRIES_SUFFIX}"):
                left.unlink(missing_ok=True)
    return unexpected


def _body(flags: argparse.Namespace) -> None:
    try:
        prepare(flags)
    except OSError as error:
        full = " (free some space first)" if error.errno == errno.ENOSPC else ""
        raise ICFaceError(f"cannot write {flags.out}: {error.strerror or error}{full}; {AGAIN}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; gives 0, 1 or 2."""
    return run_command(parser(), _body, argv, stopped=f"interrupted; {AGAIN}", level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
