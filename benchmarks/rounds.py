"""What `soak.py --faults` does: live runs in which everything breaks at random, and the log of them.

Each round is a live run of the parts in benchmarks/faults.py, and ends in one of ENDINGS. What must hold is checked at
its end. The log has a line of JSON for each round, so that a soak goes on where it was ended.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import av

from benchmarks.faults import FPS, BreakingCamera, BreakingSink, Dice, broken_parts, frames_of
from icface.arrays import Frame
from icface.errors import ConfigError, ICFaceError
from realtime.config import LiveConfig
from realtime.disclosure import provenance_of
from realtime.metrics import Metrics
from realtime.process import signals
from realtime.session import run

ROUND_FRAMES: Final = 600
ENDINGS: Final = (
    "limit",
    "stop",
    "SIGTERM",
    "engine raises",
    "tracker raises",
    "memory short",
    "last sink lost",
)
SLACK_S: Final = 60.0
"""A round takes this long beyond its frames at most: opening, a camera that is away, bursts of overload."""


def one_round(number: int, seed: int, sources: tuple[Path, ...], frames: list[Frame]) -> dict[str, Any]:
    """A round; gives its line of the log.

    Raises:
        AssertionError: something did not end as it should.
        KeyboardInterrupt: somebody else asked for the end.
    """
    faults: Counter[str] = Counter()
    camera, tracker, sink, end = (
        Dice(random.Random(f"{seed} {number} {part}"), faults)
        for part in ("camera", "tracker", "sink", "end")
    )
    ending = end.random.choice(ENDINGS)
    at = end.random.randrange(ROUND_FRAMES // 4, ROUND_FRAMES // 2)
    metrics, stop, threads = Metrics(), threading.Event(), set(threading.enumerate())
    start_s = time.monotonic()
    raised = ""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.mp4"
        lost_at = at if ending == "last sink lost" else None
        config = LiveConfig(
            sources=sources,
            drivers=("0",),
            outputs=() if lost_at else (out,),
            null=True,
            frames=ROUND_FRAMES,
            size_px=256,
            build=False,
        )
        from realtime.session import _create_sinks  # the real file beside the sink that breaks

        sinks = (
            []
            if lost_at
            else [sink for sink in _create_sinks(config, provenance_of(config)) if sink.name != "null"]
        )
        sinks.append(BreakingSink(sink, lost_at or end.random.choice((None, at))))
        with (
            broken_parts(frames, camera, tracker, ending, at, stop, Path(folder)) as came,
            signals(stop),
        ):
            try:
                run(config, metrics, stop, camera=BreakingCamera(frames, camera), sinks=sinks)
            except (ICFaceError, MemoryError) as error:
                raised = str(error) or type(error).__name__
            # After the first signal the next one ends at once, so another handler is there.
            asked = signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        if asked and not (ending == "SIGTERM" and came.is_set()):
            raise KeyboardInterrupt
        took_s = time.monotonic() - start_s
        sent = metrics.counters["sent"]
        if not lost_at:
            with av.open(str(out)) as container:
                playable = sum(1 for _ in container.decode(video=0))
            # A picture that a sink failed at is in the file, and not counted as sent.
            assert playable - sent in (0, 1), f"{playable} frames can be played, {sent} were sent"
    expected = {
        "limit": "", "stop": "", "SIGTERM": "", "memory short": "MemoryError", "engine raises": "the engine is gone",
        "tracker raises": "the tracker is gone", "last sink lost": "the sink is gone",
    }[ending]  # fmt: skip
    assert raised == expected, f"{ending}: {raised or 'it ended well'}"
    # A driver's thread ends within its bound; others are gone at once.
    assert took_s < ROUND_FRAMES / FPS * 2 + SLACK_S, f"it took {took_s:.0f} s"
    left = sorted(each.name for each in threading.enumerate() if each not in threads)
    assert not left, f"threads were left: {', '.join(left)}"
    latency = metrics.stages["latency"]
    return {
        "round": number,
        "ending": ending,
        "faults": dict(sorted(faults.items())),
        "frames": sent,
        "seconds": round(took_s, 1),
        "p50_ms": round(latency.percentile_s(50) * 1e3, 1),
        "p99_ms": round(latency.percentile_s(99) * 1e3, 1),
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
    }


def rounds_of(log: Path | None) -> list[dict[str, Any]]:
    """What was logged before; raises ConfigError where a line is no round, as the last of a soak that was killed."""
    if log is None or not log.is_file():
        return []
    rounds = []
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            rounds.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ConfigError(f"line {number} of {log} is no round ({error}); take it out") from error
    return rounds


def soak(
    frames: int,
    seed: int,
    clip: Path,
    sources: tuple[Path, ...],
    log: Path | None,
    memory_mib: Callable[[], float],
) -> list[dict[str, Any]]:
    """Make rounds until so many frames were sent, those in the log counted; gives all rounds.

    A signal ends it. The round that it falls into is left out.
    """
    rounds = rounds_of(log)
    if log is not None:
        log.touch()  # a folder that is not there is told before the first round
    pictures = frames_of(clip)
    while sum(line["frames"] for line in rounds) < frames:
        try:
            line = one_round(len(rounds), seed, sources, pictures)
        except KeyboardInterrupt:
            break
        gc.collect()
        line["mib"] = round(memory_mib(), 1)
        rounds.append(line)
        print(json.dumps(line), flush=True)
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
    return rounds
