"""File to file: every driver frame once, in order. Output frame i answers driver frame i, face or no face.

    decoder thread ─ lane ─► tracker thread ─ lane ─► this loop: condition, mirror, animate, compose, send, record

The lanes hold a few items and keep their order. Every stage is one thread that sees all frames with their media times,
so the result is the same as of one frame after another, only sooner.
"""

from __future__ import annotations

import sys

from icface.errors import DeviceError, ICFaceError
from realtime.config import Limits
from realtime.controls import Controls
from realtime.drivers import POLL_S, Sample
from realtime.slot import Closed, Lane
from realtime.step import Reenactment


def run_offline(
    reenactment: Reenactment,
    samples: Lane[Sample],
    controls: Controls,
    limits: Limits,
    total: int | None = None,
) -> None:
    """Send one picture for each sample until they end or a limit is reached, with a progress bar on a terminal.

    Args:
        reenactment: the step, ready to go.
        samples: what drives, in order.
        controls: the keys, and the wish to stop.
        limits: where to end, in frames and in the driver's own time.
        total: how many samples there will be; None if that is not known.

    Raises:
        ICFaceError: a sink failed, a thread failed, or the run was stopped before its end.
    """
    from tqdm import tqdm

    expected = total if limits.frames is None or total is None else min(total, limits.frames)
    counters = reenactment.metrics.counters
    with tqdm(total=expected, unit="frame", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
        while True:
            try:
                sample = samples.get(POLL_S)
            except Closed:
                break
            if controls.stopped:
                of = "" if total is None else f" of {total}"
                raise ICFaceError(
                    f"stopped after {counters['sent']}{of} frames; what was being written holds these"
                )
            if sample is None:
                continue
            if limits.reached(counters["sent"], sample.time_s):
                break
            reenactment.step(sample.attributes, sample.index, sample.time_s)
            controls.poll()
            bar.update()
    if reenactment.outputs.lost:
        raise DeviceError(f"not everything was written: {reenactment.outputs.lost[0]}")
