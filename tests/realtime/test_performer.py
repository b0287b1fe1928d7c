"""From attributes to the marked picture; sources in the background; keys."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from icface.attributes import FloatArray, neutral
from icface.errors import SourceError
from icface.frame_cache import FrameCache
from realtime.controls import Controls
from realtime.hotkeys import HOTKEYS
from realtime.mixer import Mixer
from realtime.performer import HalfSize, Performer, Scene, make_scene
from realtime.sources import SourceBank
from realtime.timing import Stats
from tests.realtime.fakes import Animator, Clock, Source, Stop, smile


def performer(framing: str = "crop", *, mark: bool = False, half_size: HalfSize | None = None) -> Performer:
    scene = make_scene(0, Source(), framing, None)  # type: ignore[arg-type]
    return Performer(Animator(), scene, Stats(), mark=mark, half_size=half_size)


def test_the_picture_is_the_animated_crop() -> None:
    p = performer()
    picture, changed = p.perform(smile(0.5))
    assert changed and (picture == 100).all() and picture.shape == (16, 16, 3)


def test_what_is_shown_already_is_not_made_again() -> None:
    p = performer()
    p.perform(smile(0.5))
    picture, changed = p.perform(smile(0.5))
    assert not changed and (picture == 100).all()
    assert p.perform(smile(0.6))[1]


class Counting(Animator):
    """Notes how often it animates."""

    made = 0

    def animate(self, attributes: FloatArray, /) -> np.ndarray:
        self.made += 1
        return super().animate(attributes)


def test_a_cached_picture_is_not_made_again_and_not_marked_twice() -> None:
    animator, stats = Counting(100), Stats()
    scene = make_scene(0, Source(neutral=np.zeros((100, 100, 3), dtype=np.uint8)), "crop", None)  # type: ignore[arg-type]
    p = Performer(animator, scene, stats, mark=True, cache=FrameCache(1_000_000))
    first = p.perform(smile(0.5))[0].copy()
    p.perform(smile(0.75))
    for _ in range(2):
        picture, changed = p.perform(smile(0.5))
        assert changed and np.array_equal(picture, first)
        p.perform(smile(0.75))
    assert animator.made == 2
    assert stats.counters["animated"] == 6 and stats.counters["from_cache"] == 4
    assert "4 of 6 pictures came from the cache (67%)" in stats.table()


def test_with_a_cache_nearly_equal_attributes_are_the_same() -> None:
    p = performer()
    cached = Performer(Animator(), p.scene, Stats(), mark=False, cache=FrameCache(1_000_000))
    for one, changes in ((p, True), (cached, False)):
        one.perform(smile(0.5))
        assert one.perform(smile(0.501))[1] is changes


def test_cached_pictures_of_one_source_are_not_shown_for_another() -> None:
    animator = Counting()
    scenes = [make_scene(n, Source(), "crop", None) for n in (0, 1)]  # type: ignore[arg-type]
    p = Performer(animator, scenes[0], Stats(), mark=False, cache=FrameCache(1_000_000))
    p.perform(smile(0.5))
    p.show(scenes[1])
    p.perform(smile(0.5))
    assert animator.made == 2
    p.show(scenes[0])
    p.perform(smile(0.5))
    assert animator.made == 2


@pytest.mark.parametrize("framing", ["crop", "photo"])
def test_the_mark_is_in_every_picture_and_never_twice_on_one(framing: str) -> None:
    scene = make_scene(
        0,
        Source(
            photo_frame=np.full((200, 200, 3), 90, dtype=np.uint8),
            neutral=np.zeros((100, 100, 3), dtype=np.uint8),
            crop_to_photo=np.array([[1.0, 0, 90], [0, 1.0, 90]]),
        ),  # type: ignore[arg-type]
        framing,
        None,
    )
    marked = Performer(Animator(100), scene, Stats(), mark=True)
    plain = Performer(Animator(100), scene, Stats(), mark=False)
    first = marked.perform(smile(0.5))[0].copy()
    without = plain.perform(smile(0.5))[0].copy()
    assert (first != without).any()
    marked.perform(smile(0.7))
    assert np.array_equal(marked.perform(smile(0.5))[0], first)


def test_another_source_keeps_the_pictures_size_and_is_shown_at_once() -> None:
    p = performer()
    wide = Source(neutral=np.zeros((32, 32, 3), dtype=np.uint8))
    p.perform(smile(0.5))
    p.show(make_scene(1, wide, "crop", p.size_px))  # type: ignore[arg-type]
    picture, changed = p.perform(smile(0.5))
    assert changed, "the same attributes, another face"
    assert picture.shape == (16, 16, 3)
    assert p.scene.number == 1


def test_half_size_is_made_in_the_background_and_used_when_ready() -> None:
    release = threading.Event()
    made: list[int] = []
    small = Animator(8)

    def make(number: int) -> Animator:
        release.wait(30)
        made.append(number)
        return small

    half = HalfSize(make)
    p = performer(half_size=half)
    p.small = True
    assert p.perform(smile(0.5))[1] and not small.asked, "not ready: the full size goes on"
    release.set()
    while half.animator(0) is None:
        pass
    picture, changed = p.perform(smile(0.5))
    assert changed and len(small.asked) == 1 and picture.shape == (16, 16, 3) and (picture == 100).all()
    assert made == [0]
    p.small = False
    p.perform(smile(0.6))
    assert len(small.asked) == 1
    half.close()
    assert small.closed
    half.close()


def test_half_size_is_closed_also_while_it_is_being_made() -> None:
    begun, release = threading.Event(), threading.Event()
    small = Animator(8)

    def make(number: int) -> Animator:
        begun.set()
        release.wait(30)
        return small

    half = HalfSize(make)
    half.animator(0)
    assert begun.wait(30)
    threading.Timer(0.01, release.set).start()
    half.close()
    assert small.closed


def test_half_size_that_cannot_be_made_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    def make(number: int) -> Animator:
        raise SourceError("too small")

    half = HalfSize(make)
    with caplog.at_level(logging.WARNING, logger="realtime"):
        while not caplog.records:
            assert half.animator(0) is None
        assert half.animator(0) is None
    assert len(caplog.records) == 1


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.jpg" for name in "abc"]
    for path in paths:
        path.touch()
    return paths


def test_the_first_source_comes_at_once_and_the_others_in_the_background(photos: list[Path]) -> None:
    bank = SourceBank(photos, lambda number: f"prepared {number}")
    assert bank.first() == "prepared 0"
    assert bank.get(1) is None
    bank.start_others()
    while bank.get(2) is None:
        pass
    assert [bank.get(i) for i in range(4)] == ["prepared 0", "prepared 1", "prepared 2", None]
    bank.close()


def test_a_bad_photo_among_the_others_is_told_and_the_rest_come(
    photos: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    def prepare(number: int) -> int:
        if number == 1:
            raise SourceError("no face in b.jpg")
        return number

    bank = SourceBank(photos, prepare)
    bank.first()
    with caplog.at_level(logging.INFO, logger="realtime"):
        bank.start_others()
        while bank.get(2) is None:
            pass
        caplog.clear()
        assert bank.get(1) is None
    assert "source 2 cannot be shown: no face in b.jpg" in caplog.text
    bank.close()


def test_a_missing_photo_is_told_before_anything_is_done(photos: list[Path]) -> None:
    with pytest.raises(SourceError, match=r"d\.jpg is not there"):
        SourceBank([*photos, photos[0].with_name("d.jpg")], lambda number: number)


class Room:
    """Controls with what they change."""

    def __init__(self, photos: list[Path]) -> None:
        self.performer = performer()
        self.mixer = Mixer(mirrored=False)
        self.stop = Stop(Clock())
        self.neutral_asked = 0
        bank: SourceBank[Scene] = SourceBank(
            photos,
            lambda number: make_scene(number, Source(), "crop", (16, 16)),  # type: ignore[arg-type]
        )
        bank.first()
        bank.start_others()
        while bank.get(2) is None:
            pass
        self.controls = Controls(self.performer, self.mixer, bank, self.stop, self._ask)

    def _ask(self) -> None:
        self.neutral_asked += 1


def test_each_key_does_what_the_table_says(photos: list[Path]) -> None:
    room = Room(photos)
    room.controls.press("m")
    assert room.mixer.mirrored
    room.controls.press("space")
    assert room.controls.frozen
    room.controls.press("space")
    assert not room.controls.frozen
    room.controls.press("n")
    assert room.neutral_asked == 1
    room.controls.press("3")
    assert room.performer.scene.number == 2
    room.controls.press("9")
    assert room.performer.scene.number == 2, "there is no ninth"
    for unknown in ("z", "0", "enter", ""):
        room.controls.press(unknown)
    assert not room.stop.is_set()
    room.controls.press("q")
    assert room.stop.is_set()


def test_the_table_and_the_controls_agree(photos: list[Path]) -> None:
    assert set(HOTKEYS) == {"1-9", "n", "m", "space", "q, Esc"}
    room = Room(photos)
    room.controls.press("escape")
    assert room.stop.is_set()


def test_the_mixer_mirrors_a_copy() -> None:
    driver = neutral()
    driver[1] = 0.75
    mixer = Mixer(mirrored=True)
    assert mixer.mix(driver)[1] == 0.25
    mixer.mirrored = False
    assert mixer.mix(driver)[1] == 0.75
