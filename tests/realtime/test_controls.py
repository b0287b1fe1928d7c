"""What the keys do, and the mirror that one of them turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from icface.attributes import neutral
from realtime.hotkeys import HOTKEYS
from realtime.photos import Photos
from realtime.renderer import Scene, make_scene
from tests.realtime.fakes import Bench, KeepingSink, source


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        path.touch()
    return paths


def room(photos: list[Path]) -> Bench:
    """Controls with what they change; all photos are ready."""
    bank: Photos[Scene] = Photos(photos, lambda number: make_scene(number, source(), "crop", (16, 16)))
    bank.first()
    bank.start_others()
    bank._waiting.put(None)  # it ends after those that wait
    bank._thread.join(30)
    return Bench(photos=bank)


def test_each_key_does_what_the_table_says(photos: list[Path]) -> None:
    bench = room(photos)
    reenactment, press = bench.reenactment, bench.controls.press
    press("m")
    assert bench.state.mirrored
    press("space")
    assert reenactment.frozen
    press("space")
    assert not reenactment.frozen
    press("c")
    press("n")
    assert bench.neutral_asked == 2
    press("3")
    assert reenactment.renderer.scene.number == 2
    press("9")
    assert reenactment.renderer.scene.number == 2, "there is no ninth"
    for unknown in ("z", "0", "enter", ""):
        press(unknown)
    assert not bench.stop.is_set()
    press("q")
    assert bench.stop.is_set()


def test_from_file_to_file_keys_end_the_run_alone() -> None:
    bench = Bench(KeepingSink(keys=["m", "g", " ", "q"]))
    bench.controls.only_the_end = True
    before = bench.state
    for _ in range(3):
        bench.controls.poll()
    assert bench.state == before and not bench.reenactment.frozen and not bench.stop.is_set()
    bench.controls.poll()
    assert bench.stop.is_set()


def test_the_table_and_the_controls_agree(photos: list[Path]) -> None:
    assert set(HOTKEYS) == {"d", "1-9", "c", "m", "g", "p", "r", "space", "h", "q, Esc"}
    bench = room(photos)
    bench.controls.press("escape")
    assert bench.stop.is_set()


def test_keys_come_from_a_window_first_and_from_the_terminal_else(photos: list[Path]) -> None:
    bench = Bench(KeepingSink(keys=["m"]))
    bench.controls.keyboard = iter([" ", "Q"]).__next__
    bench.controls.poll()
    assert bench.state.mirrored and not bench.reenactment.frozen
    bench.controls.poll()
    assert bench.reenactment.frozen and not bench.stop.is_set()
    bench.controls.poll()
    assert bench.stop.is_set()


def test_the_mirror_is_a_copy_and_can_be_turned_off() -> None:
    driver = neutral()
    driver[1] = 0.75
    bench = Bench(mirrored=True)
    bench.step(driver, 0.0)
    bench.controls.press("m")
    bench.step(driver, 0.1)
    assert [values[1] for values in bench.animator.asked] == [0.25, 0.75]
