"""Fuzz for as long as one likes: `python -m tests.fuzz photo table --minutes 60`.

Each target runs in a process of its own, so that a crash of a library is an input that was found, too. What breaks the
contract is kept in a folder. A file of the corpus made of it is read by the tests from then on.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.running import turn
from tests.fuzz.targets import TARGETS

_MOST_S = 30.0
"""A target's turn, at most: shorter where there is less time than for one turn of each."""


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
    turn_s = min(_MOST_S, 60 * flags.minutes / len(names))
    end_s, turns, found = time.time() + 60 * flags.minutes, 0, 0
    context = multiprocessing.get_context("spawn")
    # What the processes leave lies in there.
    scratch = tempfile.TemporaryDirectory(prefix="icface-fuzz-", ignore_cleanup_errors=True)
    os.environ["TMPDIR"] = scratch.name
    while time.time() < end_s or turns < len(names):
        name, seed = names[turns % len(names)], flags.seed + 1_000_000 * turns
        keep = flags.found / f"{name}-{seed}"
        until_s = min(end_s, time.time() + turn_s)
        process = context.Process(target=turn, args=(name, seed, until_s, keep))
        process.start()
        process.join()
        if process.exitcode:
            found += 1
            print(f"{name}: broken by seed {seed} (code {process.exitcode}); the input is {keep}", flush=True)
        else:
            keep.unlink(missing_ok=True)
        turns += 1
    scratch.cleanup()
    print(f"{turns} turns of {len(names)} targets, {found} inputs found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
