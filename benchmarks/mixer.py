"""What the mixer costs: microseconds from what the drivers say to the attributes of a frame, for several states."""

from __future__ import annotations

import sys
from pathlib import Path

if not __package__:  # run as a file
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import argparse
import itertools
import statistics
from collections.abc import Sequence
from typing import Final

import numpy as np

from benchmarks.common import Frame, benchmark_parser, check_counts, take_turns, write_figures
from icface.attributes import SIZE, FloatArray, in_range, neutral
from icface.command import Parser, run_command
from icface.control import source
from icface.control.mixing import Mixer
from icface.control.state import ControlState

BUDGET_US: Final = 30.0
"""A frame may cost so much."""


def states() -> dict[str, ControlState]:
    """From the plainest to one that uses everything."""
    two = ControlState.default(2, mirrored=frozenset({1}))
    mixed = two.with_channels("mouth", source=source.driver(2)).with_channels("expression", gain=1.3)
    everything = (
        mixed.with_channels("pose", smoothing_s=0.1)
        .with_channels("roll", locked=True)
        .with_channels("gaze", source=source.oscillator("camera"))
        .with_channels("left brows", source=source.driver(2))
        .with_channels("right eyes", source=source.value(0.2))
    )
    return {
        "one driver": ControlState.default(),
        "two drivers, gains": mixed,
        "everything": everything,
        "nobody, idle": ControlState.default(0).with_channels("all", source=source.oscillator("idle")),
    }


def frames_of(state: ControlState) -> Frame:
    """Mixes frame after frame of faces that move."""
    random = np.random.default_rng(0)
    faces: list[FloatArray] = [in_range(random.normal(0.3, 0.3, SIZE).astype(np.float32)) for _ in range(8)]
    mixer, photo, count = Mixer(), neutral(), itertools.count()

    def make(number: int) -> FloatArray:
        said = [faces[(number + n) % len(faces)] for n in range(state.drivers)]
        return mixer.update(state, said, photo, next(count) / 30)

    return make


def arguments() -> Parser:
    return benchmark_parser(__doc__, "json", frames=2000, rounds=5)


def measure(flags: argparse.Namespace) -> int:
    """Run the benchmark; 1 where a state costs more than it may."""
    check_counts(flags)
    times = take_turns(
        {name: frames_of(state) for name, state in states().items()}, frames=flags.frames, rounds=flags.rounds
    )
    figures = {}
    for name, rounds in times.items():
        # The least of the rounds' medians: others use the machine too.
        figures[name] = min(statistics.median(taken) for taken in rounds) * 1e3
        print(
            f"{name:<24}{figures[name]:>7.1f} µs a frame ({figures[name] / BUDGET_US:.0%} of {BUDGET_US:g} µs)"
        )
    write_figures(flags.json, {"mixer_us": figures})
    over = [name for name, figure in figures.items() if figure > BUDGET_US]
    if over:
        print(f"more than {BUDGET_US:g} µs a frame: {', '.join(over)}", file=sys.stderr)
    return 1 if over else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 or 2 with one line where it cannot, and 1 where a state costs more than it may."""
    return run_command(arguments(), measure, argv)


if __name__ == "__main__":
    sys.exit(main())
