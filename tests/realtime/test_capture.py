"""A camera that stalls, unplugs and comes back; files at their own rate. Nothing here takes real time."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from icface.errors import DeviceError
from realtime.cameras import Camera, CapturedFrame
from realtime.config import LiveConfig
from realtime.drivers.face import CameraFeed
from realtime.metrics import Metrics
from realtime.slot import Closed, Slot
from tests.realtime.fakes import Clock, ScriptedCamera, Stop


class KeepingSlot(Slot[CapturedFrame]):
    """Keeps all that was put; asks for the end after `enough`."""

    def __init__(self, stop: Stop | None = None, enough: int = 10**9) -> None:
        super().__init__()
        self.items: list[CapturedFrame] = []
        self._stop = stop
        self._enough = enough

    def put(self, item: CapturedFrame) -> None:
        self.items.append(item)
        if len(self.items) >= self._enough and self._stop is not None:
            self._stop.set()
        super().put(item)


class Bench:
    """A feed with everything around it."""

    def __init__(
        self, camera: ScriptedCamera, clock: Clock, reopened: list[Camera | Exception] | None = None
    ) -> None:
        self.clock = clock
        self.metrics = Metrics(clock)
        self.stop = Stop(clock)
        self.slot = KeepingSlot(self.stop)
        self.camera = camera
        self.reopened = list(reopened or [])
        self.asked_at_s: list[float] = []

    def reopen(self, timeout_s: float) -> Camera:
        self.asked_at_s.append(self.clock())
        result = self.reopened.pop(0) if self.reopened else DeviceError("still not there")
        if isinstance(result, Exception):
            raise result
        return result

    def run(self, *, retry_s: float = 10.0, loop: bool = False) -> list[int]:
        config = LiveConfig(
            sources=(Path("me.jpg"),),
            drivers=(__file__,),
            null=True,
            pace=True,
            camera_retry_s=retry_s,
            loop=loop,
        )
        CameraFeed(self.camera, self.reopen, self.slot, config, self.metrics, self.stop, self.clock).run()
        return [item.index for item in self.slot.items]

    def ending(self) -> BaseException:
        """What the consumer gets when all items are taken."""
        while True:
            try:
                self.slot.get(0)
            except BaseException as error:
                return error


UNPLUGGED = DeviceError("camera 0 is gone")


def test_a_device_passes_on_with_its_own_times_and_ends() -> None:
    clock = Clock()
    bench = Bench(ScriptedCamera([0, 1, 3], clock), clock)
    assert bench.run() == [0, 1, 3]
    assert bench.metrics.counters["captured"] == 3
    assert bench.camera.closed
    assert isinstance(bench.ending(), Closed)


def test_a_camera_that_comes_back_goes_on_counting(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    again = ScriptedCamera([0, 1], clock)
    bench = Bench(ScriptedCamera([0, 1, 2, UNPLUGGED], clock), clock, [DeviceError("no"), again])
    with caplog.at_level(logging.INFO, logger="realtime"):
        assert bench.run() == [0, 1, 2, 3, 4]
    assert bench.camera.closed and again.closed
    assert bench.asked_at_s == [101.0, 102.0], "once a second"
    assert bench.metrics.counters["cameras_lost"] == 1
    assert bench.metrics.events == ["camera lost: camera 0 is gone", "camera back after 2.0 s"]
    assert "is gone" in caplog.text and "back after 2.0 s" in caplog.text
    assert isinstance(bench.ending(), Closed)


def test_a_camera_lost_twice_is_tried_anew_each_time() -> None:
    clock = Clock()
    second = ScriptedCamera([0, UNPLUGGED], clock)
    third = ScriptedCamera([0], clock)
    bench = Bench(ScriptedCamera([0, UNPLUGGED], clock), clock, [second, third])
    assert bench.run() == [0, 1, 2]
    assert bench.metrics.counters["cameras_lost"] == 2


def test_a_camera_that_stays_away_ends_the_run_within_the_bound() -> None:
    clock = Clock()
    bench = Bench(ScriptedCamera([0, UNPLUGGED], clock), clock)
    assert bench.run(retry_s=3.5) == [0]
    assert bench.asked_at_s == [101.0, 102.0, 103.0, 103.5]
    error = bench.ending()
    assert isinstance(error, DeviceError)
    assert str(error) == "the camera did not come back within 3.5 s: still not there"


def test_with_no_retry_the_loss_is_the_end() -> None:
    clock = Clock()
    bench = Bench(ScriptedCamera([0, UNPLUGGED], clock), clock)
    bench.run(retry_s=0)
    assert bench.asked_at_s == []
    assert "is gone" in str(bench.ending())


def test_asked_to_stop_while_the_camera_is_away_it_stops() -> None:
    clock = Clock()
    bench = Bench(ScriptedCamera([0, UNPLUGGED], clock), clock)

    def reopen(timeout_s: float) -> Camera:
        bench.stop.set()
        raise DeviceError("no")

    bench.reopen = reopen  # type: ignore[method-assign]
    bench.run()
    assert clock() < 103
    assert isinstance(bench.ending(), Closed)


def test_a_defect_in_the_thread_is_raised_in_the_consumer() -> None:
    clock = Clock()
    bench = Bench(ScriptedCamera([0, ZeroDivisionError("defect")], clock), clock)
    bench.run()
    assert isinstance(bench.ending(), ZeroDivisionError)
    assert bench.camera.closed


def test_the_capture_stage_is_the_way_from_the_sensor_to_the_slot() -> None:
    clock = Clock()

    class Slow(ScriptedCamera):
        def read(self) -> CapturedFrame | None:
            captured = super().read()
            clock.now_s += 0.003  # decoding after the time stamp
            return captured

    bench = Bench(Slow([0, 1], clock), clock)
    bench.run()
    assert bench.metrics.stages["capture"].total_s == pytest.approx(0.006)


def test_a_file_is_played_at_its_own_times() -> None:
    clock = Clock()
    bench = Bench(ScriptedCamera([0, 1, 2, 3], is_file=True), clock)
    assert bench.run() == [0, 1, 2, 3]
    assert [item.time_s for item in bench.slot.items] == pytest.approx([100.0, 100.1, 100.2, 100.3])


def test_a_file_that_decodes_slowly_falls_behind_and_does_not_race_to_catch_up() -> None:
    clock = Clock()

    class Stuck(ScriptedCamera):
        def read(self) -> CapturedFrame | None:
            captured = super().read()
            if captured is not None and captured.index == 1:
                clock.now_s += 1.0
            return captured

    bench = Bench(Stuck([0, 1, 2, 3], is_file=True), clock)
    bench.run()
    assert [item.time_s for item in bench.slot.items] == pytest.approx([100.0, 101.0, 101.1, 101.2])


def test_a_looped_file_starts_again_one_frame_after_its_last() -> None:
    clock = Clock()
    second = ScriptedCamera([0, 1, 2], is_file=True)
    bench = Bench(ScriptedCamera([0, 1, 2], is_file=True), clock, [second])
    bench.slot = KeepingSlot(bench.stop, enough=5)
    assert bench.run(loop=True) == [0, 1, 2, 3, 4]
    assert [item.time_s for item in bench.slot.items] == pytest.approx([100.0, 100.1, 100.2, 100.3, 100.4])
    assert bench.camera.closed and second.closed


def test_a_consumer_that_has_left_ends_the_feed() -> None:
    clock = Clock()
    bench = Bench(ScriptedCamera([0, 1, 2], clock), clock)
    bench.slot.close()
    assert bench.run() == [0]
    assert bench.camera.closed
