"""What the benchmarks share: flags, measuring in turn, and the file of figures."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from icface.command import Parser
from icface.errors import ConfigError
from realtime.choices import SIZES
from realtime.metrics import machine, usable_cores

REPOSITORY: Final = Path(__file__).resolve().parents[1]
Frame = Callable[[int], object]
"""Makes the frame of that number."""

_FLAGS: Final[dict[str, dict[str, Any]]] = {
    "clip": {"type": Path, "default": REPOSITORY / "examples/driver.mp4", "help": "video of the driver"},
    "source": {"type": Path, "default": REPOSITORY / "examples/source.jpg", "help": "photo of a face"},
    "model": {"type": Path, "help": "a bundle (default: the one that ships)"},
    "engine": {"default": "auto", "help": "(default: %(default)s)"},
    "size": {"choices": SIZES, "default": "512", "help": "side of the frames (default: %(default)s)"},
    "threads": {"type": int, "default": usable_cores(), "help": "(default: %(default)s)"},
    "frames": {"type": int, "help": "frames that each way makes in a round (default: %(default)s)"},
    "rounds": {"type": int, "help": "rounds in which the ways take turns (default: %(default)s)"},
    "json": {"type": Path, "help": "write the figures to this file as well"},
}


def benchmark_parser(description: str | None, *flags: str, **defaults: object) -> Parser:
    """A parser with some of the flags that benchmarks share.

    Args:
        description: the benchmark's docstring.
        flags: names of shared flags, without the dashes.
        defaults: more shared flags, with a default of their own.
    """
    parser = Parser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in flags:
        parser.add_argument(f"--{name}", **_FLAGS[name])
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", **{**_FLAGS[name], "default": default})
    return parser


def check_counts(flags: argparse.Namespace) -> None:
    """Refuse counts below 1.

    Raises:
        ConfigError: with the flag.
    """
    for name in ("threads", "frames", "rounds"):
        if getattr(flags, name, 1) < 1:
            raise ConfigError(f"--{name} {getattr(flags, name)}: at least 1 is needed")


def shapes(text: str) -> list[tuple[int, int]]:
    """`32x6,64x9`: width and blocks of generators."""
    try:
        found = [(int(width), int(blocks)) for width, blocks in (s.split("x") for s in text.split(","))]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected channels x blocks, as 32x6,64x9") from error
    return found


def take_turns(
    ways: Mapping[str, Frame], *, frames: int, rounds: int, warm_up: int = 3
) -> dict[str, list[list[float]]]:
    """Milliseconds of every frame, by way and round. Ways take turns, because machines drift and ratios do not.

    Args:
        ways: what makes a frame, by name.
        frames: how many in each round.
        rounds: how often each way has its turn.
        warm_up: frames before each round that do not count.
    """
    times: dict[str, list[list[float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, make in ways.items():
            for i in range(warm_up):
                make(i)
            taken = []
            for i in range(frames):
                start = time.perf_counter()
                make(i)
                taken.append((time.perf_counter() - start) * 1e3)
            times[name].append(taken)
    return times


def write_figures(path: Path | None, document: Mapping[str, Any]) -> None:
    """Write figures as JSON, and with them the machine that they are from; nothing where no path is given."""
    if path is not None:
        text = json.dumps({**document, "machine": machine()}, indent=2)
        path.write_text(text + "\n", encoding="utf-8")
