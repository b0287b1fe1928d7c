"""Several drivers: who sets the beat, what they say at one time, and what happens when one ends or fails."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from fractions import Fraction

import pytest

from icface.errors import DeviceError, ICFaceError
from realtime.drivers import Sample
from realtime.drivers.several import FileDrivers, LiveDrivers, Samples
from realtime.drivers.still import StillDriver
from realtime.loop import run_offline
from realtime.metrics import Metrics
from realtime.slot import Closed, Lane, Slot
from tests.realtime.fakes import Bench, Clock, Stop, limits, smile


def lane(times_s: Sequence[float], error: BaseException | None = None) -> Lane[Sample]:
    """A driver whose sample i says a smile of i hundredths."""
    filled: Lane[Sample] = Lane(len(times_s) + 1)
    for i, time_s in enumerate(times_s):
        filled.put(Sample(i, time_s, smile(i / 100)))
    filled.close(error)
    return filled


def numbers(samples: Samples) -> list[int | None]:
    return [None if sample is None else sample.serial for sample in samples]


def all_frames(drivers: FileDrivers) -> list[list[int | None]]:
    return [numbers(samples) for samples in drivers.frames() if samples is not None]


def test_each_frame_takes_the_frames_of_its_time() -> None:
    slow = [i / 25 for i in range(6)]
    fast = [i / 50 for i in range(20)]
    assert all_frames(FileDrivers([lane(slow), lane(fast)], Metrics())) == [[i, 2 * i] for i in range(6)]
    half = all_frames(FileDrivers([lane(fast[:8]), lane(slow)], Metrics()))
    assert [second for _, second in half] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_shorter_driver_says_nothing_after_its_last_frame() -> None:
    drivers = FileDrivers([lane([i / 10 for i in range(6)]), lane([0.0, 0.1, 0.2])], Metrics())
    assert [second for _, second in all_frames(drivers)] == [0, 1, 2, None, None, None]
    assert drivers.lost is None


def test_a_driver_that_fails_is_told_of_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    broken = lane([0.0, 0.1], DeviceError("the file is cut short"))
    drivers = FileDrivers([lane([i / 10 for i in range(5)]), broken], metrics, labels=["a.mp4", "b.mp4"])
    assert [second for _, second in all_frames(drivers)] == [0, 1, None, None, None]
    assert "driver 2 (b.mp4) is lost: the file is cut short" in caplog.text
    assert metrics.events == ["driver 2 (b.mp4) is lost: the file is cut short"]
    assert isinstance(drivers.lost, DeviceError)


def test_a_run_that_lost_a_driver_is_whole_and_ends_with_one_line() -> None:
    bench = Bench()
    broken = lane([0.0], DeviceError("the file is cut short"))
    drivers = FileDrivers([lane([i / 10 for i in range(5)]), broken], bench.metrics)
    with pytest.raises(ICFaceError, match=r"without a driver that was lost: the file is cut short"):
        run_offline(bench.reenactment, drivers, bench.controls, limits())
    assert len(bench.sent) == 5


def test_what_the_beat_fails_of_is_raised() -> None:
    drivers = FileDrivers([lane([0.0], DeviceError("gone")), lane([0.0, 0.1])], Metrics())
    frames = drivers.frames()
    first = next(frames)
    assert first is not None and numbers(first) == [0, 0]
    with pytest.raises(DeviceError, match="gone"):
        next(frames)


def test_a_still_has_no_beat_and_lasts() -> None:
    still = StillDriver(smile(0.5))
    drivers = FileDrivers([still.read_in_order(), lane([0.0, 1.0, 2.0])], Metrics(), still=[True, False])
    assert drivers.beat == 1
    found = [samples for samples in drivers.frames() if samples is not None]
    still.close()
    assert len(found) == 3 and all(samples[0] is not None for samples in found)


def test_stills_alone_go_on_to_the_limit() -> None:
    still = StillDriver(smile(0.5), fps=Fraction(10))
    bench = Bench()
    drivers = FileDrivers([still.read_in_order()], bench.metrics, still=[True])
    run_offline(bench.reenactment, drivers, bench.controls, limits(duration_s=0.5))
    still.close()
    assert [(value, round(time_s, 3)) for value, _, time_s in bench.sent] == [(100, i / 10) for i in range(5)]


def slot(*samples: Sample) -> Slot[Sample]:
    filled: Slot[Sample] = Slot()
    for sample in samples:
        filled.put(sample)
    return filled


def test_live_each_gives_its_newest_until_it_is_too_old() -> None:
    first, second = slot(Sample(0, 0.0, smile(0.1))), slot(Sample(4, 0.0, smile(0.2)))
    drivers = LiveDrivers([first, second], 0.1, Metrics())
    assert drivers.wait(0) is not None
    assert numbers(drivers.samples(10.0)) == [0, 4]
    first.put(Sample(1, 0.1, smile(0.1)))
    assert drivers.wait(0) is not None
    assert numbers(drivers.samples(10.25)) == [1, 4]
    assert numbers(drivers.samples(10.45)) == [1, None], "a camera that stopped says nothing"


def test_live_the_beat_goes_over_to_the_next_and_the_last_end_is_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = slot(), slot()
    drivers = LiveDrivers([first, second], 0.1, Metrics())
    first.close(DeviceError("camera 0 is gone"))
    assert drivers.wait(0) is None and "driver 1 is lost: camera 0 is gone" in caplog.text
    second.put(Sample(0, 0.0, smile(0.3)))
    assert drivers.wait(0) is not None
    assert numbers(drivers.samples(0.0)) == [None, 0]
    second.close()
    with pytest.raises(DeviceError, match="camera 0 is gone"):
        drivers.wait(0)


def test_live_a_lost_driver_is_told_once_and_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    first, second = slot(), slot()
    drivers = LiveDrivers([first, second], 0.1, Metrics())
    first.close(DeviceError("camera 0 is gone"))
    assert drivers.wait(0) is None
    drivers.samples(0.0)
    assert caplog.text.count("is lost") == 1
    assert drivers.has_ended(0) and not drivers.has_ended(1)
    drivers.join(0, slot(), "another")
    assert not drivers.has_ended(0)


def test_live_a_still_does_not_end_but_a_clip_beside_the_beat_does() -> None:
    clip = slot()
    clip.close()
    drivers = LiveDrivers([slot(), slot(), clip], 0.1, Metrics(), still=[False, True, False])
    drivers.samples(0.0)
    assert [drivers.has_ended(number) for number in range(3)] == [False, False, True]


def test_live_a_run_does_not_wait_for_a_still() -> None:
    still = slot(Sample(0, 0.0, smile(0.5)))
    clip = slot()
    clip.close()
    drivers = LiveDrivers([still, clip], 0.1, Metrics(), still=[True, False])
    with pytest.raises(Closed):
        drivers.wait(0)


def test_a_still_plays_at_its_rate() -> None:
    clock = Clock()
    stop = Stop(clock)
    driver = StillDriver(None, fps=Fraction(10), clock=clock)
    times_s: list[float] = []

    class Keeping(Slot[Sample]):
        def put(self, item: Sample) -> None:
            times_s.append(round(item.time_s - 100, 3))
            if len(times_s) == 3:
                threading.Event.set(stop)
            super().put(item)

    driver._beat(Keeping(), stop)
    assert times_s == [0.0, 0.1, 0.2]
