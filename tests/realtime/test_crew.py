"""Drivers that join a run and leave it, and the one whose frames a browser sends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar, cast

import pytest

from icface.attributes import INDEX
from icface.control import source
from icface.control.state import ControlState
from icface.errors import ConfigError, ICFaceError
from icface.face.tracker import FaceTracker
from realtime.config import LiveConfig
from realtime.control import Control
from realtime.drivers import Sample
from realtime.drivers.browser import BrowserDriver
from realtime.drivers.crew import MOST, Crew
from realtime.drivers.several import LiveDrivers
from realtime.metrics import Metrics
from realtime.slot import Closed, Slot
from tests.realtime.fakes import Bench, Clock, frame
from tests.realtime.panel.browser import driver_table

T = TypeVar("T")
SMILE = INDEX["AU12"]


class Run:
    """A run without drivers, whose loop goes on while others wait for it."""

    def __init__(self, me: Path) -> None:
        self.bench = Bench()
        self.control = self.bench.reenactment.control = Control(ControlState.default(0))
        self.stop = threading.Event()
        config = LiveConfig(sources=(me,), drivers=("none",), panel=True)
        self.crew = Crew(config, self.control, Metrics(), self.stop)
        self._pool = ThreadPoolExecutor(1)

    def begin(self) -> None:
        self.crew.playing = LiveDrivers([], 0.04, Metrics())

    def do(self, work: Callable[..., T], *arguments: Any) -> T:
        """On another thread, as the panel does."""
        future = self._pool.submit(work, *arguments)
        while not wait([future], 0.005).done:
            self.control.do_asked(self.bench.reenactment)
        return future.result()

    def smiles(self) -> list[float | None]:
        """What each driver says, once all that are there have said something."""
        assert self.crew.playing is not None
        there = {number - 1 for number in self.crew.named()}
        for _ in range(2000):
            self.crew.playing.wait(0.01)
            said = self.crew.playing.samples(0.0)
            if all(said[number] is not None for number in there):
                break
        return [
            None if each is None or each.attributes is None else round(float(each.attributes[SMILE]), 2)
            for each in said
        ]

    def close(self) -> None:
        self.stop.set()
        self.crew.close()
        self._pool.shutdown()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    me = tmp_path / "me.png"
    me.touch()
    run = Run(me)
    yield run
    run.close()


def test_drivers_join_and_leave_and_the_others_keep_their_numbers(run: Run, tmp_path: Path) -> None:
    run.begin()
    first = driver_table(tmp_path / "first.csv", AU12=0.5)
    second = driver_table(tmp_path / "second.csv", AU12=0.25)
    assert run.do(run.crew.join, str(first)) == 1
    assert run.do(run.crew.join, str(second)) == 2
    assert run.control.state.drivers == 2
    assert run.smiles() == [0.5, 0.25]
    run.control.change(lambda state: state.with_channels("mouth", source=source.driver(1)))

    run.do(run.crew.leave, 1)
    assert str(run.control.state.channel("AU12").source) == "photo", "what it moved eases to the photo's own"
    assert list(run.crew.named()) == [2]
    assert run.smiles() == [None, 0.25]
    third = driver_table(tmp_path / "third.csv", AU12=0.75)
    assert run.do(run.crew.join, str(third)) == 1, "the free number"
    assert run.smiles() == [0.75, 0.25]


def test_what_cannot_join_or_leave_changes_nothing(run: Run, tmp_path: Path) -> None:
    table = driver_table(tmp_path / "table.csv")
    with pytest.raises(ICFaceError, match="has not begun"):
        run.crew.join(str(table))
    run.begin()
    with pytest.raises(ConfigError, match="there is no driver 1"):
        run.crew.leave(1)
    with pytest.raises(ConfigError, match=r"gone\.csv"):
        run.do(run.crew.join, str(tmp_path / "gone.csv"))
    assert run.crew.named() == {} and run.control.state.drivers == 0
    run.do(run.crew.join, str(table))
    with pytest.raises(ConfigError, match="drives already"):
        run.do(run.crew.join, str(table))
    for number in range(2, MOST + 1):
        run.do(run.crew.join, str(driver_table(tmp_path / f"{number}.csv")))
    with pytest.raises(ICFaceError, match=f"there are {MOST} drivers already"):
        run.do(run.crew.join, str(driver_table(tmp_path / "more.csv")))
    assert list(run.crew.named()) == list(range(1, MOST + 1))


@pytest.mark.parametrize(
    ("said", "mirrored"), [((), True), (("off",), False), (("1=off",), True), (("off", "1=on"), False)]
)
def test_a_camera_that_joins_is_mirrored_as_all_are(run: Run, said: tuple[str, ...], mirrored: bool) -> None:
    run.crew._config = replace(run.crew._config, drivers=("0",), mirror=said)
    assert bool(run.crew._config_of("1").mirrored) is mirrored


class SlowTracker:
    """Sees no face, and waits with each frame until it is let go."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.began = threading.Event()
        self.go_on = threading.Event()

    def read(self, shown: Any, time_s: float) -> None:
        self.seen.append(int(shown[0, 0, 0]))
        self.began.set()
        assert self.go_on.wait(10)

    def choose_next(self) -> None: ...


def test_of_a_browsers_frames_the_newest_wins_and_after_the_end_none_is_taken(tmp_path: Path) -> None:
    tracker, metrics = SlowTracker(), Metrics()
    config = replace(LiveConfig(sources=(tmp_path / "me.png",), panel=True), camera_fps=29.97)
    driver = BrowserDriver(cast(FaceTracker, tracker), config, metrics, Clock())
    samples: Slot[Sample] = driver.play(threading.Event())
    assert samples.get(0) is None, "while no frame comes, it says nothing"
    driver.show(frame(1))
    assert tracker.began.wait(10)
    for value in (2, 3, 4):  # while the first is tracked
        driver.show(frame(value))
    tracker.go_on.set()
    said = [samples.get(10)]
    while said[-1] is not None and said[-1].serial < 1:
        said.append(samples.get(10))
    assert tracker.seen == [1, 4]
    assert metrics.counters["dropped_before_tracking"] == 2
    assert driver.aspect == 1.5
    assert driver.fps == Fraction(2997, 100), "a rate that video files take"
    driver.close()
    with pytest.raises(Closed):
        driver.show(frame(5))
