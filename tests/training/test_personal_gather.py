"""Videos of a person become chosen frames, and what cannot be used is said in a sentence."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import INDEX, SIZE, neutral
from icface.errors import ConfigError, SourceError
from icface.face.landmarks import Landmarks
from icface.face.pose import Pose
from icface.images import load_photo
from tests.training.footage import PORTRAIT, driver_frames, portrait, write_clip
from training.personal import checking, footage
from training.personal.bar import Bar
from training.personal.checking import check_footage
from training.personal.choosing import chosen, distinct, held_from
from training.personal.coverage import KINDS, Coverage, write_picture
from training.personal.cutting import SOURCE, SOURCE_PX
from training.personal.footage import Footage
from training.personal.frames import ChosenFrame, load_frames
from training.personal.gather import FRAMES, gather, gather_photo
from training.personal.job import Job, stamp_of
from training.personal.looks import Look, of_one_person, usable


@pytest.fixture(scope="module")
def gathered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ChosenFrame]]:
    """The rendered driver, 8 s at 10 FPS."""
    folder = tmp_path_factory.mktemp("gathered")
    clip = write_clip(folder / "driver.mp4", driver_frames())
    shares: list[float] = []
    frames = gather(Footage.open([clip]), folder, shares.append)
    assert shares == sorted(shares) and shares[-1] == 1
    return folder, frames


def test_the_last_quarter_judges_and_heads_are_cut(gathered: tuple[Path, list[ChosenFrame]]) -> None:
    folder, frames = gathered
    assert len(frames) > 50
    assert [frame.time_s for frame in frames] == sorted(frame.time_s for frame in frames)
    assert max(frame.time_s for frame in frames if not frame.held) < 6.0
    assert min(frame.time_s for frame in frames if frame.held) >= 5.9
    for frame in frames:
        high, wide = frame.picture.shape[:2]
        face = np.ptp(frame.points_px[:468, :2], axis=0).max()
        assert 1.4 * face < max(high, wide) < 2.4 * face
        assert (frame.points_px[:468, :2] >= 0).all() and (frame.points_px[:468, :2] < (wide, high)).all()
    again = load_frames(folder / FRAMES)
    assert [frame.held for frame in again] == [frame.held for frame in frames]
    np.testing.assert_array_equal(again[0].picture, frames[0].picture)
    assert load_photo(folder / SOURCE).frame.shape == (240, 320, 3)


def test_the_report_tells_what_the_driver_acts(
    gathered: tuple[Path, list[ChosenFrame]], tmp_path: Path
) -> None:
    _, frames = gathered
    learned = Coverage.of(frames).learned
    for name in ("at rest", "to the left", "to the right", "up", "down", "eyes closed"):
        assert learned[name] >= 3, name
    assert learned["pout"] == 0
    assert "no pout seen: say 'oo' once" in Coverage.of(frames).warnings()
    write_picture(tmp_path / "c.png", frames)
    sheet = cv2.imread(str(tmp_path / "c.png"))
    assert sheet is not None and sheet.shape == (3 * 214, 5 * 180, 3)


def test_one_photo_is_one_frame(tmp_path: Path) -> None:
    (frame,) = gather_photo(PORTRAIT, tmp_path)
    assert not frame.held and max(frame.picture.shape) <= 640
    assert len(load_frames(tmp_path / FRAMES)) == 1
    assert max(load_photo(tmp_path / SOURCE).frame.shape) <= SOURCE_PX


def test_a_photo_without_a_face_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((200, 200, 3), 120, np.uint8))
    with pytest.raises(SourceError, match=r"no face found in .*wall\.png"):
        gather_photo(tmp_path / "wall.png", tmp_path)


def _beside(frames: Sequence[Frame]) -> list[Frame]:
    other = cv2.resize(portrait(), (240, 240), interpolation=cv2.INTER_AREA)
    return [np.hstack([frame, other]) for frame in frames]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_beside, "shows two people"),
        (lambda frames: [np.roll(np.full_like(frame, 90), 1) for frame in frames], "no face is seen"),
        (lambda frames: [frame // 5 for frame in frames], "is too dark"),
        (lambda frames: [frame // 60 for frame in frames], "is too dark to see a face"),
        (lambda frames: [np.rot90(frame) for frame in frames], "lies on its side"),
        (
            lambda frames: [cv2.copyMakeBorder(frame[::2, ::2], 60, 60, 80, 80, 0) for frame in frames],
            r"only \d+ pixels tall",
        ),
    ],
    ids=["two people", "nobody", "dark", "black", "lying", "small"],
)
def test_what_cannot_be_used_is_said_at_once(
    change: Callable[[Sequence[Frame]], list[Frame]],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checking, "SAMPLES", 3)
    clip = write_clip(tmp_path / "clip.mp4", change(driver_frames()[::7]), fps=2)
    with pytest.raises(ConfigError, match=words) as caught:
        check_footage(Footage.open([clip]))
    assert "clip.mp4" in str(caught.value) and "\n" not in str(caught.value)


def test_a_picture_as_a_video_is_refused(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "still.mp4", [driver_frames()[3]] * 40, fps=5)
    with pytest.raises(ConfigError, match=r"the face in still\.mp4 hardly moves"):
        gather(Footage.open([clip]), tmp_path, lambda share: None)


def test_a_short_or_missing_video_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.mp4 is not there"):
        Footage.open([tmp_path / "none.mp4"])
    clip = write_clip(tmp_path / "short.mp4", driver_frames()[:30])
    with pytest.raises(ConfigError, match=r"short\.mp4 shows 3\.0 s, which is too short"):
        Footage.open([clip])
    assert Footage.open([clip, clip]).length_s == pytest.approx(6.0)


def _counting(path: Path, count: int, fps: int) -> Path:
    """A clip whose frames tell their number by their brightness, with a key picture every second."""
    return write_clip(path, [np.full((32, 32, 3), 2 * (i % 100), np.uint8) for i in range(count)], fps)


def test_of_a_long_video_pieces_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("MOST_S", 4.0), ("PIECE_S", 1.0), ("LEAST_S", 1.0)):
        monkeypatch.setattr(footage, name, value)
    # A picture that changes by much is a key picture.
    long = Footage.open([_counting(tmp_path / "long.mp4", 400, 10)])
    assert long.is_sampled and long.length_s == pytest.approx(40)
    shots = list(long.shots())
    times = [shot.time_s for shot in shots]
    assert times == sorted(set(times)) and len(times) <= long.count + 8
    for shot in shots:  # a frame has the time that it had in the file
        assert abs(float(shot.frame.mean()) - 2 * (round(shot.time_s * 10) % 100)) < 4
    again = list(long.shots())
    assert [shot.time_s for shot in again] == times
    np.testing.assert_array_equal(long.frame_at(0, times[-1]), shots[-1].frame)


def test_samples_come_from_every_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footage, "LEAST_S", 1.0)
    both = Footage.open([_counting(tmp_path / "a.mp4", 100, 10), _counting(tmp_path / "b.mp4", 10, 10)])
    assert [shot.video for shot in both.samples(10)] == [*[0] * 9, 1]
    assert both.clock_s(1, 0.0) == pytest.approx(11)


def _look(video: int, time_s: float, towards: int | None, *, sharp: float = 0.3, hidden: float = 0.0) -> Look:
    picture = np.zeros(1024, dtype=np.float32)
    if towards is not None:
        picture[towards] = 1
    return Look(
        video=video,
        time_s=time_s,
        landmarks=Landmarks(
            np.zeros((478, 3), np.float32), (9, 9), np.zeros(52, np.float32), person=towards or 7
        ),
        pose=Pose(0, 0, 0),
        sharpness=sharp,
        brightness=120.0,
        likeness=None if towards is None else picture,
        hidden=hidden,
    )


def test_one_who_walks_by_is_left_out_and_two_who_take_turns_are_refused() -> None:
    films = Footage((Path("a.mp4"), Path("b.mp4")), (20.0, 20.0))
    mine = [_look(0, i / 10, 0) for i in range(80)]
    turned = [_look(0, 8 + i / 10, None) for i in range(10)]
    passer = [_look(0, 4.05 + i / 10, 1) for i in range(9)]
    kept = of_one_person(sorted([*mine, *turned, *passer], key=lambda look: look.time_s), films)
    assert len(kept) == 90 and {look.landmarks.person for look in kept} == {0}
    with pytest.raises(ConfigError, match=r"a\.mp4 shows two people \(another from 8 s on\)"):
        of_one_person([*mine, *(_look(0, 8 + i / 10, 1) for i in range(60))], films)
    with pytest.raises(ConfigError, match=r"b\.mp4 and a\.mp4 show two people, or one in two lights"):
        of_one_person([*mine, *(_look(1, i / 10, 1) for i in range(60))], films)


def test_blur_and_hands_are_left_out() -> None:
    looks = [_look(0, i, 0) for i in range(9)]
    looks += [_look(0, 9, 0, sharp=0.05), _look(0, 20, 0, hidden=1.0), _look(0, 20.3, 0), _look(1, 20.3, 0)]
    assert [(look.video, look.time_s) for look in usable(looks)] == [*((0, i) for i in range(9)), (1, 20.3)]


def test_rare_expressions_are_kept_and_copies_are_not() -> None:
    rows = np.tile(neutral(), (1000, 1))
    rows[:, INDEX["AU25"]] = np.linspace(0, 0.5, 1000)
    rows[617, INDEX["AU45"]] = 1
    places = chosen(rows, 50)
    assert 617 in places and places == sorted(set(places)) and len(places) <= 50
    assert max(np.diff(places)) < 100, "what is usual is spread over time"
    assert distinct(rows) == 10  # .06 apart on a line of .5, and the blink
    assert distinct(np.tile(neutral(), (50, 1))) == 1
    assert held_from(400) == 300


def test_each_kind_is_counted_by_its_numbers() -> None:
    def frame(held: bool = False, **values: float) -> ChosenFrame:
        attributes = neutral()
        for name, value in values.items():
            attributes[INDEX[name]] = value
        picture, points = np.zeros((8, 8, 3), np.uint8), np.zeros((478, 3), np.float32)
        return ChosenFrame(
            picture=picture, points_px=points, blendshapes=np.zeros(52, np.float32), attributes=attributes,
            video=0, time_s=0.0, held=held,
        )  # fmt: skip

    shown = [
        frame(), frame(yaw=0.7), frame(yaw=0.3), frame(AU12=0.8, AU25=0.7), frame(AU12=0.8), frame(AU18=1),
        frame(AU45=1), frame(held=True, AU04=1),
    ]  # fmt: skip
    coverage = Coverage.of(shown)
    assert {name for name, count in coverage.learned.items() if count} == {
        "at rest", "to the left", "to the right", "smile, teeth", "smile, closed", "pout", "eyes closed",
    }  # fmt: skip
    assert coverage.held["frown"] == 1 and coverage.learned["frown"] == 0
    assert len(coverage.warnings()) == len(KINDS)
    assert len(shown[0].attributes) == SIZE


def test_a_job_goes_on_where_it_was_and_begins_anew_with_other_input(tmp_path: Path) -> None:
    video = tmp_path / "me.mp4"
    video.write_bytes(b"1")
    work = tmp_path / "me.icface.work"
    Job.open(work, stamp_of([video], 1)).finish("gather")
    (work / "frame.png").write_bytes(b"2")
    assert Job.open(work, stamp_of([video], 1)).has("gather")
    job = Job.open(work, stamp_of([video], 2))
    assert job.is_empty and not (work / "frame.png").exists()
    job.delete()
    assert not work.exists()
    work.mkdir()
    (work / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not of this command"):
        Job.open(work, "x")
    assert (work / "mine.txt").exists()


def test_the_time_left_comes_from_the_stage_itself() -> None:
    now = [0.0]
    stop = threading.Event()
    with Bar({"one": 100.0, "two": 50.0}, stop, lambda: now[0]) as bar:
        progress = bar.begin("one", "first")
        assert bar.left_s(0.0) == 150
        now[0] = 20.0
        assert bar.left_s(0.5) == 20 + 50
        bar.begin("two", "second")
        assert bar.left_s(0.01) == pytest.approx(49.5)
        stop.set()
        with pytest.raises(KeyboardInterrupt):
            progress(0.6)
