"""Measures whether memory stays flat: runs many frames end to end, and compares the memory after warm-up with that at
the end.

    python benchmarks/soak.py [--frames 20000] [--output] [--clip C] [--source S]
    python benchmarks/soak.py --frames 1000000 --faults [--seed 1] [--log soak.jsonl]
    python benchmarks/soak.py --frames 9000 --load 2

Every frame is decoded, tracked, animated, composed and sent (to nowhere, or with --output into a video file).
Exit code 1 when the memory grew by more than 1 %. Linux: reads /proc.

With --faults everything breaks at random instead (benchmarks/rounds.py), in live runs one after another; the log holds a
line for each, and a soak goes on where its log ends. Exit code 1 when memory, threads or descriptors grew.

With --load 2 each picture takes twice the time that there is for it, live, and the latency is compared: p99 may be twice
p50.
"""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    __import__("benchmarks")  # sets the number of threads before numpy is loaded

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Sequence

from benchmarks.clips import remux
from benchmarks.common import benchmark_parser, check_counts, write_figures
from icface.command import Parser, run_command
from icface.errors import ConfigError
from realtime.config import LiveConfig
from realtime.metrics import Metrics
from realtime.session import run

ALLOWED_GROWTH = 0.01
ALLOWED_GROWTH_FAULTS = 0.05
"""Each round opens everything anew."""
LEAST_OVERLOADED = 300
"""Frames that latency and memory are measured over."""
SECOND_SOURCE = Path(__file__).resolve().parents[1] / "examples/rendered.jpg"


def resident_mib() -> float:
    """Memory of this process in RAM, with the files that it maps."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


class Sampler:
    """Looks at the memory each time that `every` more frames have been sent, on a thread of its own."""

    def __init__(self, stats: Metrics, every: int) -> None:
        self.samples: list[tuple[int, float]] = []
        self._stats = stats
        self._every = every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            sent = self._stats.counters["sent"]
            if sent >= self._every * (len(self.samples) + 1):
                self.samples.append((sent, resident_mib()))
                print(f"{sent:>8} frames: {self.samples[-1][1]:8.1f} MiB", flush=True)


def arguments() -> Parser:
    """All flags."""
    parser = benchmark_parser(__doc__, "clip", "source", "json", frames=20_000)
    parser.add_argument("--warm-up", type=int, default=2_000, help="frames before the first look that counts")
    parser.add_argument("--output", action="store_true", help="encode a video file, too")
    parser.add_argument("--faults", action="store_true", help="let everything break at random, live")
    parser.add_argument("--seed", type=int, default=1, help="of the faults (default: %(default)s)")
    parser.add_argument(
        "--log", type=Path, metavar="JSONL", help="of the faults; a soak goes on where it ends"
    )
    parser.add_argument("--load", type=float, metavar="N", help="live, pictures that take N times their time")
    return parser


def break_things(flags: argparse.Namespace) -> int:
    """Soak with faults; 1 when the memory grew by more than ALLOWED_GROWTH_FAULTS, or anything else that is held."""
    from benchmarks.rounds import soak

    sources = (flags.source, SECOND_SOURCE)
    rounds = soak(flags.frames, flags.seed, flags.clip, sources, flags.log, resident_mib)
    if not rounds:
        raise ConfigError("stopped before the first round was over")
    # A log that was gone on with is of several processes, and what they hold begins anew with each.
    held = {name: [line[name] for line in rounds] for name in ("mib", "threads", "descriptors")}
    before = {name: max(values[:3]) for name, values in held.items()}
    after = {name: max(values[-3:]) for name, values in held.items()}
    growth = after["mib"] / before["mib"] - 1
    frames, seconds = sum(line["frames"] for line in rounds), sum(line["seconds"] for line in rounds)
    faults = sum(sum(line["faults"].values()) for line in rounds)
    print(f"{len(rounds)} rounds, {frames} frames, {faults} faults in {seconds:.0f} s; memory {growth:+.2%}")
    print(
        "; ".join(f"{name}: {before[name]} in the first rounds, {after[name]} in the last" for name in held)
    )
    write_figures(flags.json, {"rounds": rounds, "growth": round(growth, 5)})
    more = any(after[name] > before[name] for name in ("threads", "descriptors"))
    return int(growth > ALLOWED_GROWTH_FAULTS or more)


def overload(flags: argparse.Namespace) -> int:
    """A live run whose pictures take `--load` times the time there is; 1 where latency or memory grew."""
    from benchmarks.faults import FPS, frames_of, steady_camera, taking

    stats = Metrics()
    config = LiveConfig(sources=(flags.source,), drivers=("0",), null=True, frames=flags.frames, build=False)
    with Sampler(stats, every=max(1, flags.frames // 20)) as sampler, taking(flags.load / FPS):
        run(config, stats, threading.Event(), camera=steady_camera(frames_of(flags.clip)))
    print(stats.table())
    latency = stats.stages["latency"]
    p50_ms, p99_ms = latency.percentile_s(50) * 1e3, latency.percentile_s(99) * 1e3
    mib = [each for _, each in sampler.samples]
    growth = mib[-1] / mib[len(mib) // 4] - 1
    print(f"latency p99 is {p99_ms / p50_ms:.2f} times p50 ({p50_ms:.0f} ms); memory {growth:+.2%}")
    document = {"seconds": round(stats.elapsed_s, 1), "p50_ms": p50_ms, "p99_ms": p99_ms, "growth": growth}
    write_figures(flags.json, document)
    return int(p99_ms > 2 * p50_ms or growth > ALLOWED_GROWTH)


def measure(flags: argparse.Namespace) -> int:
    """Run the soak that was asked for; 1 when memory grew."""
    check_counts(flags)
    if flags.faults and flags.load is not None:
        raise ConfigError("--faults and --load are two soaks; give one of them")
    if flags.load is not None and not (0 < flags.load <= 100 and flags.frames >= LEAST_OVERLOADED):
        raise ConfigError(f"--load takes a number up to 100, and --frames {LEAST_OVERLOADED} or more with it")
    if flags.faults:
        return break_things(flags)
    if flags.load is not None:
        return overload(flags)
    if not 0 < flags.warm_up < flags.frames:
        raise ConfigError("--warm-up must be less than --frames")
    stats = Metrics()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = remux(flags.clip, folder / "clip.mp4", frames=flags.frames)
        config = LiveConfig(
            sources=(flags.source,),
            drivers=(str(clip),),
            outputs=(folder / "out.mp4",) if flags.output else (),
            null=not flags.output,
            frames=flags.frames,
        )
        start_s = time.monotonic()
        with Sampler(stats, every=max(1, flags.frames // 20)) as sampler:
            run(config, stats, threading.Event())
    # One look catches an allocator at any moment of its work, so the middle of three is taken on either side.
    warm = [mib for sent, mib in sampler.samples if sent >= flags.warm_up][:3]
    last = [mib for _, mib in sampler.samples][-3:]
    before, after = sorted(warm)[len(warm) // 2], sorted(last)[len(last) // 2]
    growth = after / before - 1
    print(stats.table())
    print(f"memory {before:.1f} MiB after warm-up, {after:.1f} MiB at the end: {growth:+.2%}")
    document = {
        "frames": flags.frames,
        "seconds": round(time.monotonic() - start_s, 1),
        "warm_mib": round(before, 1),
        "end_mib": round(after, 1),
        "growth": round(growth, 5),
        "samples": sampler.samples,
    }
    write_figures(flags.json, document)
    return int(growth > ALLOWED_GROWTH)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak; 1 when memory grew, 1 or 2 with one line where it cannot run."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
