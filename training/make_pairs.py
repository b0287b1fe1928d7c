"""Make pairs of face patches to train the corrector on, from photos and clips of people.

    python training/make_pairs.py --photos PEOPLE --out PAIRS

What is done is kept: after an interruption the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final

if not __package__:  # started as a file: the repository takes the place of this folder
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import msgspec
from tqdm import tqdm

from icface.bundle import DEFAULT_BUNDLE, Bundle
from icface.command import Parser, run_command
from icface.errors import ConfigError, ICFaceError
from training.pairs.pack import drop, pack, read_index, stamp_of
from training.pairs.pictures import Job, jobs_of
from training.pairs.processes import worker_pool
from training.pairs.report import write_report
from training.pairs.settings import PairsConfig, load_config
from training.pairs.work import make_part, part_path

logger = logging.getLogger("training.make_pairs")

OWN_PHOTOS: Final = Path(__file__).parent / "configs" / "pairs_own.toml"
AGAIN: Final = "what is done is kept: run the same command again to go on"


def parser() -> argparse.ArgumentParser:
    """The command's flags."""
    result = Parser(
        description="Make pairs to train the corrector on. The same command again goes on where it was interrupted."
    )
    add = result.add_argument
    add("--photos", type=Path, required=True, metavar="FOLDER", help="photos and clips; a subfolder a person")
    add("--out", type=Path, required=True, metavar="PAIRS", help="folder of the pairs")
    which = "what is made of which files (default: photos of people in subfolders, and single ones)"
    add("--config", type=Path, default=OWN_PHOTOS, metavar="TOML", help=which)
    add(
        "--bundle",
        metavar="BUNDLE",
        help="makes what sets of the kind calmed, and those that are painted, need (default: what ships)",
    )
    add("--only", action="append", default=[], metavar="SET", help="make this set; may be given again")
    add("--evaluation", action="store_true", help="make pairs of the held-out people instead of the others")
    add("--workers", type=int, metavar="N", help="processes; 0: this one alone (default: one a core)")
    add("-v", "--verbose", action="count", default=0, help="-vv shows tracebacks")
    return result


def make_pairs(flags: argparse.Namespace) -> None:
    """Run the command; raises ICFaceError, and OSError where PAIRS cannot be written."""
    config = load_config(flags.config)
    if flags.bundle is not None:
        config = msgspec.structs.replace(config, bundle=flags.bundle)
    names = [each.name for each in config.sets]
    for name in flags.only:
        if name not in names:
            raise ConfigError(f"--only {name}: {flags.config} has the sets {', '.join(names)}")
    if flags.workers is not None and not 0 <= flags.workers <= 4096:
        raise ConfigError(f"--workers {flags.workers}: a number of processes from 0 to 4096 is needed")
    if not flags.photos.is_dir():
        raise ConfigError(f"--photos {flags.photos}: there is no such folder")
    jobs = {
        each.name: jobs_of(config, each, flags.photos, flags.evaluation)
        for each in config.sets
        if not flags.only or each.name in flags.only
    }
    if not any(jobs.values()):
        raise ConfigError(f"{flags.photos} has no files that {flags.config} takes; see its patterns")
    chosen = [of_set[0].set for of_set in jobs.values() if of_set]
    painted = any(each.painted for each in chosen)
    if painted or any(each.kind == "calmed" for each in chosen):  # so that one that is none is told of once
        bundle = Bundle.load(Path(config.bundle) if config.bundle else DEFAULT_BUNDLE)
        if painted and bundle.neutralise is None:
            raise ConfigError(
                f"{bundle.path} has no neutraliser, and {flags.config} has sets that are painted"
            )
    flags.out.mkdir(parents=True, exist_ok=True)
    for name in set(read_index(flags.out)["sets"]).difference(names):
        logger.info(f"{name}: {flags.config} has no such set; it stays in {flags.out}, and is trained on")
    pool = None if flags.workers == 0 else worker_pool(flags.workers)
    try:
        for name, of_set in jobs.items():
            if of_set:
                _make_set(config, flags, name, of_set, pool)
            elif drop(flags.out, name):
                write_report(flags.out, [])
                logger.info(f"{name}: it has no files any more; its pairs are deleted")
    except BrokenProcessPool as error:
        raise ICFaceError(f"a process died, perhaps for want of memory; {AGAIN}") from error
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _make_set(
    config: PairsConfig, flags: argparse.Namespace, name: str, jobs: list[Job], pool: Executor | None
) -> None:
    stamp = stamp_of(config, jobs, flags.photos)
    if read_index(flags.out)["sets"].get(name, {}).get("stamp") == stamp:
        logger.info(f"{name}: done before")
        return
    folder = flags.out / "parts" / f"{name}-{stamp}"
    for other in (flags.out / "parts").glob(f"{name}-*"):  # of other files or settings
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [part_path(folder, job) for job in jobs]
    todo = [
        (config, job, flags.photos, path) for job, path in zip(jobs, paths, strict=True) if not path.exists()
    ]
    with tqdm(total=len(jobs), initial=len(jobs) - len(todo), desc=name, unit="job") as bar:
        for problem in _run(todo, pool):
            if problem:
                raise ICFaceError(f"{problem}; {AGAIN}")
            bar.update()
    drop = 0.0 if flags.evaluation else config.drop_worst
    made = pack(flags.out, name, jobs[0].set.kind, paths, drop, stamp)
    write_report(flags.out, [name])
    shutil.rmtree(folder)
    persons = len({job.identity for job in jobs})
    logger.info(
        f"{name}: {made['count']} pairs of {persons} persons; {made['dropped_worst']} with the largest errors dropped; "
        f"what is left out and why: {flags.out / 'report' / 'report.md'}"
    )


def _run(todo: Sequence[tuple[PairsConfig, Job, Path, Path]], pool: Executor | None) -> Iterator[str]:
    """Make parts, here or by a pool; what is said of each, in any order."""
    if pool is None:
        yield from (make_part(*each) for each in todo)
        return
    for future in as_completed([pool.submit(make_part, *each) for each in todo]):
        yield future.result()


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    return run_command(parser(), make_pairs, argv, stopped=f"stopped; {AGAIN}", level=logging.INFO)


if __name__ == "__main__":
    sys.exit(main())
