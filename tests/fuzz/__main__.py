"""Fuzz for as long as one likes: `python -m tests.fuzz photo table --minutes 60`.

Each target runs in a process of its own, so that a crash of a library is an input that was found, too. What breaks the
contract is kept in a folder. A file of the corpus made of it is read by the tests from then on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
import traceback
from pathlib import Path

from icface.errors import ICFaceError
from tests.fuzz.running import fuzz
from tests.fuzz.targets import TARGETS

_AT_ONCE = 200
"""Inputs of one seed."""
_EACH_S = 30.0
"""A target's turn."""


def _turn(name: str, seed: int, until_s: float, keep: Path) -> None:
    """Fuzz a target with one seed after the other; the process ends with 1 where something was found."""
    while True:
        try:
            fuzz(TARGETS[name], _AT_ONCE, seed, keep)
        except ICFaceError:
            raise
        except BaseException:
            keep.with_suffix(".txt").write_text(traceback.format_exc(), encoding="utf-8")
            sys.exit(1)
        if time.time() >= until_s:
            return
        seed += 1


def main(argv: list[str] | None = None) -> int:
    """Give 0 where nothing was found, else 1."""
    p = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    p.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)} (default: all)")
    p.add_argument("--minutes", type=float, default=10.0, help="in all (default: %(default)g)")
    p.add_argument(
        "--seed", type=int, default=int(time.time()), help="of the first inputs (default: the clock)"
    )
    p.add_argument("--found", type=Path, default=Path("fuzz-found"), help="folder for what is found")
    flags = p.parse_args(argv)
    if unknown := set(flags.targets) - set(TARGETS):
        p.error(f"there is no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    flags.found.mkdir(parents=True, exist_ok=True)
    names = flags.targets or list(TARGETS)
    end_s, turn, found = time.time() + 60 * flags.minutes, 0, 0
    context = multiprocessing.get_context("spawn")
    while time.time() < end_s or turn < len(names):
        name, seed = names[turn % len(names)], flags.seed + 1_000_000 * turn
        keep = flags.found / f"{name}-{seed}"
        until_s = min(end_s, time.time() + _EACH_S)
        process = context.Process(target=_turn, args=(name, seed, until_s, keep))
        process.start()
        process.join()
        if process.exitcode:
            found += 1
            print(f"{name}: broken by seed {seed} (code {process.exitcode}); the input is {keep}", flush=True)
        else:
            keep.unlink(missing_ok=True)
        turn += 1
    print(f"{turn} turns of {len(names)} targets, {found} inputs found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
