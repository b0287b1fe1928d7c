"""File to file: every driver's frame once, in order; output frame i answers driver frame i, face or no face.

    decode thread ─ Lane ─► tracker thread ─ Lane ─► this loop: hold or ease, mix, animate ─► file's thread

The lanes hold a few items and keep their order, and every stage is one thread that sees all frames with their
media times, so the result is the same as one after another, only sooner.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from icface.attributes import AttributeTrack
from icface.errors import DeviceError, ICFaceError
from realtime.attribute_source import Recorder
from realtime.camera import Camera, CapturedFrame
from realtime.capture import Stop
from realtime.controls import Controls
from realtime.driver import POLL_S, Sample
from realtime.hotkeys import key_name
from realtime.loop import Conditioner
from realtime.mixer import Mixer
from realtime.outputs import Outputs
from realtime.performer import Performer
from realtime.slot import Closed, Lane
from realtime.timing import Stats

QUEUE_FRAMES = 4


class FileFeed:
    """Decodes into a lane; `run` is the body of a thread."""

    def __init__(self, camera: Camera, lane: Lane[CapturedFrame], stats: Stats, stop: Stop) -> None:
        self._camera = camera
        self._lane = lane
        self._stats = stats
        self._stop = stop

    def run(self) -> None:
        """Decode until the end, then close the lane; with the exception, where one ended it."""
        try:
            self._decode()
            self._lane.close()
        except Closed:
            pass
        except BaseException as error:  # a thread's top: kept, and raised in whoever reads the lane
            self._lane.close(error)

    def _decode(self) -> None:
        while not self._stop.is_set():
            with self._stats.time("capture"):
                captured = self._camera.read()
            if captured is None:
                return
            self._stats.count("captured")
            while not self._lane.put(captured, POLL_S):
                if self._stop.is_set():
                    return


def track_samples(track: AttributeTrack, fps: float) -> Iterator[Sample | None]:
    """A CSV's rows as samples, one a frame at a constant rate."""
    for i, values in enumerate(track.values):
        yield Sample(i, i, i / fps, values)


def lane_samples(lane: Lane[Sample]) -> Iterator[Sample | None]:
    """What comes through a lane, until its end; None now and then while nothing does.

    Raises whatever ended its producer.
    """
    while True:
        try:
            yield lane.get(POLL_S)
        except Closed:
            return


class OfflineRun:
    """Animates and sends one picture for each sample.

    Args:
        samples: what drives, in order; None: nothing yet.
        stop: asks to end early.
        total: how many samples there will be, where that is known.
    """

    def __init__(
        self,
        *,
        samples: Iterator[Sample | None],
        conditioner: Conditioner,
        mixer: Mixer,
        performer: Performer,
        outputs: Outputs,
        controls: Controls,
        stats: Stats,
        stop: Stop,
        recorder: Recorder | None = None,
        total: int | None = None,
        duration_s: float | None = None,
        frames: int | None = None,
    ) -> None:
        self._samples = samples
        self._conditioner = conditioner
        self._mixer = mixer
        self._performer = performer
        self._outputs = outputs
        self._controls = controls
        self._stats = stats
        self._stop = stop
        self._recorder = recorder
        self._total = total
        self._duration_s = duration_s
        self._frames = frames

    def run(self) -> None:
        """Work until the samples end or a limit is reached; with a progress bar, on a terminal.

        Raises:
            ICFaceError: a sink failed, a thread failed, or the run was stopped before its end.
        """
        from tqdm import tqdm

        total = self._total
        if total is not None and self._frames is not None:
            total = min(total, self._frames)
        with tqdm(total=total, unit="frame", file=sys.stderr, disable=None, dynamic_ncols=True) as bar:
            for sample in self._samples:
                if self._stop.is_set():
                    raise self._stopped()
                if sample is None:
                    continue
                if self._duration_s is not None and sample.time_s >= self._duration_s:
                    break
                self._step(sample)
                bar.update()
                if self._frames is not None and self._stats.counters["sent"] >= self._frames:
                    break
        if self._outputs.lost:
            raise DeviceError(f"not everything was written: {self._outputs.lost[0]}")

    def _stopped(self) -> ICFaceError:
        done = self._stats.counters["sent"]
        of = f" of {self._total}" if self._total is not None else ""
        return ICFaceError(f"stopped after {done}{of} frames; what was being written holds these")

    def _step(self, sample: Sample) -> None:
        driver = self._conditioner.update(sample.attributes, sample.time_s)
        attributes = self._mixer.mix(driver)
        picture, changed = self._performer.perform(attributes)
        if not changed:
            self._stats.count("held")
        with self._stats.time("send"):
            self._outputs.send(picture, sample.index, sample.time_s)
        self._stats.sent()
        if self._recorder is not None:
            self._recorder.add(attributes, sample.time_s, present=sample.attributes is not None)
        key = self._outputs.poll_key()
        if key is not None:
            self._controls.press(key_name(key))
