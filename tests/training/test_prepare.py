"""training/prepare.py from videos to a data set: what comes out, what is left out, and what survives a fault."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from icface.attributes import INDEX, mirror, to_openface
from icface.errors import ConfigError
from icface.face.alignment import face_square
from icface.face.landmarks import open_detector
from tests.conftest import REPOSITORY
from tests.training.footage import PORTRAIT, driver_frames, portrait, turn_display, two_faces, write_clip
from tests.training.test_prepare_openface import write_table
from training import prepare
from training.assets.render_examples import performance_at
from training.dataset.index import SPLITS
from training.dataset.pairs import PairDataset, PortraitDataset
from training.dataset.reading import FaceTracks
from training.preparation import data_report, runners, work


def run(*arguments: str | Path, workers: int = 0) -> int:
    return prepare.main(["--workers", str(workers), *map(str, arguments)])


@pytest.fixture(autouse=True)
def report(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report takes longer than all else; only tests that look at it (`usefixtures("report_too")`) make it."""
    if "report_too" not in request.fixturenames:
        monkeypatch.setattr(prepare, "write_report", lambda *arguments: None)


@pytest.fixture
def report_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its words and numbers, without its pictures."""
    monkeypatch.setattr(data_report, "save_pictures", lambda *arguments: None)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three persons with a clip of two frames each."""
    folder = tmp_path_factory.mktemp("few")
    for number, name in enumerate(("anna", "ben", "cara")):
        write_clip(folder / f"{name}/v1/00001.mp4", driver_frames()[number : number + 2])
    return folder


@pytest.fixture
def parts(data: Path, tmp_path: Path) -> Path:
    """A data set's folder in which all clips of `videos` are made already, and nothing is packed."""
    out = tmp_path / "packed"
    shutil.copytree(data / "parts", out / "parts")
    return out


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three persons: anna with two clips of one video, ben mirrored, cara in other colours; a few frames each."""
    folder = tmp_path_factory.mktemp("videos")
    frames = driver_frames()
    write_clip(folder / "anna/v1/00001.mp4", frames[0:6])
    write_clip(folder / "anna/v1/00002.mp4", frames[20:26])
    write_clip(folder / "ben/v1/00001.mp4", [frame[:, ::-1] for frame in frames[10:16]])
    write_clip(folder / "cara/v1/00001.mp4", [frame[..., [1, 0, 2]] for frame in frames[40:46]])
    return folder


@pytest.fixture(scope="module")
def data(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data")
    assert run(videos, "--out", out, "--seed", "3") == 0
    return out


@pytest.fixture
def tracks(data: Path) -> FaceTracks:
    return FaceTracks(data)


def skipped(out: Path) -> dict[str, str]:
    return {
        Path(name).name: reason for name, reason in json.loads((out / "skipped.json").read_text()).items()
    }


# What comes out.


def test_a_data_set_comes_out_that_can_be_trained_on(tracks: FaceTracks) -> None:
    assert {t.name: t.frames for t in tracks.tracks} == {
        "anna/v1/00001#0": 6, "anna/v1/00002#0": 6, "ben/v1/00001#0": 6, "cara/v1/00001#0": 6,
    }  # fmt: skip
    assert {t.fps for t in tracks.tracks} == {10.0}
    assert [len(tracks.index.splits[split]) for split in SPLITS] == [1, 1, 1]
    assert tracks.index.attribute_source == "tracker" and tracks.size_px == 128
    assert (tracks.all_values().presence == -1).all()
    tracks.verify()
    for track in tracks.tracks:
        np.testing.assert_allclose(
            tracks.all_values().times_s[track.first : track.first + 6], np.arange(6) / 10, atol=1e-3
        )
    item = PairDataset(tracks)[0]
    assert item["source"].shape == (3, 128, 128)


def test_crops_hold_the_face_in_their_middle(tracks: FaceTracks) -> None:
    detector = open_detector(video=False)
    for track in tracks.tracks:
        x, y, side = face_square(detector.detect(tracks.frame(track.first + 3))[0])
        assert abs(x - 63.5) < 5 and abs(y - 63.5) < 5
        assert side == pytest.approx(128 / 1.6, rel=0.06)
    detector.close()


def test_a_mirrored_person_has_mirrored_attributes(tmp_path: Path) -> None:
    frames = driver_frames()[12:20]
    write_clip(tmp_path / "v/one/a/1.mp4", frames)
    write_clip(tmp_path / "v/two/a/1.mp4", [frame[:, ::-1] for frame in frames])
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 0
    tracks = FaceTracks(tmp_path / "out")
    one, two = (
        tracks.all_values().attributes[t.first : t.first + t.frames]
        for t in sorted(tracks.tracks, key=lambda t: t.name)
    )
    assert abs(one[:, INDEX["yaw"]] - 0.5).max() > 0.1
    # FaceMesh itself is not symmetric: single frames differ by up to 3°.
    assert np.abs(one[:, :3] - mirror(two)[:, :3]).mean(axis=0).max() < 0.02


def test_attributes_are_what_was_acted(tmp_path: Path) -> None:
    """The driver's performance is known: training/assets/render_examples.py made it."""
    write_clip(tmp_path / "v/driver.mp4", driver_frames())
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 0
    tracks = FaceTracks(tmp_path / "out")
    acted = [performance_at(float(t)) for t in tracks.all_values().times_s]
    for name, wanted in (
        ("pitch", [p.pitch_rad for p in acted]),
        ("yaw", [p.yaw_rad for p in acted]),
        ("roll", [p.roll_rad for p in acted]),
        ("AU12", [p.morphs["RsmileClose"] for p in acted]),
        ("AU26", [p.morphs["MouthOpen"] for p in acted]),
        ("AU45", [p.morphs["ReyeClose"] for p in acted]),
    ):
        found = tracks.all_values().attributes[:, INDEX[name]]
        assert np.corrcoef(found, wanted)[0, 1] > (0.93 if name in ("pitch", "yaw", "roll") else 0.75), name
    moved = [max(p.morphs.values()) > 0.02 or max(abs(p.yaw_rad), abs(p.pitch_rad)) > 0.05 for p in acted]
    at_rest = tracks.all_values().attributes[~np.array(moved)]
    assert len(at_rest) >= 5
    for name in ("AU12", "AU26", "AU45"):  # what a face shows at rest is small beside what it acts
        index = INDEX[name]
        assert at_rest[:, index].mean() < 0.25 * tracks.all_values().attributes[:, index].max(), name
    assert abs(at_rest[:, :3] - 0.5).max() < 0.05


def test_frames_beyond_the_rate_and_the_number_are_left_out(tmp_path: Path) -> None:
    write_clip(tmp_path / "v/fast.mp4", driver_frames()[:12], fps=30)
    write_clip(tmp_path / "v/slow.mp4", driver_frames()[:12], fps=5)
    assert run(tmp_path / "v", "--out", tmp_path / "out", "--fps", "10", "--max-frames-per-clip", "3") == 0
    tracks = FaceTracks(tmp_path / "out")
    times = {
        t.name: tracks.all_values().times_s[t.first : t.first + t.frames].astype(float).round(2).tolist()
        for t in tracks.tracks
    }
    assert times == {"fast#0": [0.0, 0.1, 0.2], "slow#0": [0.0, 0.2, 0.4]}
    assert {t.name: t.fps for t in tracks.tracks} == {"fast#0": 10.0, "slow#0": 5.0}


def test_clips_marked_as_turned_come_out_upright(tmp_path: Path) -> None:
    frames = driver_frames()[:4]
    straight = write_clip(tmp_path / "v/straight.mp4", frames)
    lying = write_clip(tmp_path / "v/turned.mp4", [np.rot90(frame) for frame in frames])  # counter-clockwise
    turn_display(lying)
    assert straight.read_bytes() != lying.read_bytes()
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 0
    tracks = FaceTracks(tmp_path / "out")
    one, two = (tracks.frame(t.first + 2).astype(int) for t in sorted(tracks.tracks, key=lambda t: t.name))
    assert np.abs(one - two).mean() < 6


def test_other_sizes(videos: Path, tmp_path: Path) -> None:
    assert run(videos / "anna", "--out", tmp_path, "--size", "256", "--min-face", "20") == 0
    assert FaceTracks(tmp_path).frame(0).shape == (256, 256, 3)


def test_portraits_become_persons_of_one_frame(tmp_path: Path, videos: Path) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    for number, picture in enumerate((portrait(), portrait()[:, ::-1], portrait()[..., [1, 0, 2]])):
        cv2.imwrite(str(faces / f"{number}.png"), picture[..., ::-1])
    assert run(videos, "--images", faces, "--out", tmp_path / "out") == 0
    tracks = FaceTracks(tmp_path / "out")
    single = [t for t in tracks.tracks if t.frames == 1]
    assert {t.name for t in single} == {f"faces-{n}/portrait#0" for n in range(3)}
    # Persons with clips and portraits are split apart.
    assert {name[:5] == "faces" for name in tracks.index.splits["test"]} == {True, False}
    assert all(
        t.frames > 1
        for t in (tracks.tracks[tracks.track_of(PairDataset(tracks).rows(i)[0])] for i in range(9))
    )
    assert PortraitDataset(tracks)[0]["portrait"].shape == (3, 128, 128)


def test_portraits_alone_make_a_data_set(tmp_path: Path) -> None:
    assert run("--images", PORTRAIT, "--out", tmp_path) == 0
    assert FaceTracks(tmp_path).index.rows == 1


@pytest.mark.usefixtures("report_too")
def test_of_several_faces_the_largest_is_kept(tmp_path: Path) -> None:
    large, small = portrait(), driver_frames()[0][:, 40:280]
    write_clip(tmp_path / "v/two.mp4", [two_faces(large, small)] * 4)
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 0
    tracks = FaceTracks(tmp_path / "out")
    assert [t.name for t in tracks.tracks] == ["two#0"]
    alone = tmp_path / "alone"
    assert run("--images", PORTRAIT, "--out", alone) == 0
    assert np.abs(tracks.frame(1).astype(int) - FaceTracks(alone).frame(0)).mean() < 12
    assert "several faces were seen" in (tmp_path / "out/report/report.md").read_text()


def test_where_the_face_jumps_another_track_begins(tmp_path: Path) -> None:
    blank = np.full((240, 640, 3), 128, dtype=np.uint8)
    here, there = blank.copy(), blank.copy()
    face = cv2.resize(portrait(), (240, 240), interpolation=cv2.INTER_AREA)
    here[:, :240], there[:, 400:] = face, face
    write_clip(tmp_path / "v/jump.mp4", [here] * 4 + [there] * 4)
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 0
    assert [(t.name, t.frames) for t in FaceTracks(tmp_path / "out").tracks] == [("jump#0", 4), ("jump#1", 4)]


def test_crops_of_a_still_face_do_not_tremble(tmp_path: Path, rng: np.random.Generator) -> None:
    noisy = [
        np.clip(driver_frames()[0] + rng.normal(0, 8, (240, 320, 3)), 0, 255).astype(np.uint8)
        for _ in range(12)
    ]
    write_clip(tmp_path / "v/still.mp4", noisy, fps=25)
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 0
    tracks = FaceTracks(tmp_path / "out")
    detector = open_detector(video=False)
    frames = [cv2.GaussianBlur(tracks.frame(row), (0, 0), 2).astype(np.float32) for row in range(12)]
    detector.close()
    shifts = [cv2.phaseCorrelate(cv2.cvtColor(a, cv2.COLOR_RGB2GRAY), cv2.cvtColor(b, cv2.COLOR_RGB2GRAY))[0]
              for a, b in itertools.pairwise(frames)]  # fmt: skip
    assert np.abs(shifts).max() < 0.25


# Attributes from OpenFace.


def with_table(folder: Path, name: str, frames: int, **columns: list[float]) -> Path:
    write_clip(folder / f"{name}.mp4", driver_frames()[:frames])
    return write_table(folder / f"{name}.csv", 3 * frames, 30.0, columns)


def test_openface_tables_beside_clips_are_believed(tmp_path: Path) -> None:
    yaw = [0.01 * i for i in range(18)]
    confidence = [1.0] * 18
    confidence[6] = 0.1
    with_table(tmp_path / "v", "one", 6, pose_Ry=yaw, confidence=confidence, AU12_c=[1.0] * 18)
    write_clip(tmp_path / "v/two.mp4", driver_frames()[:6])
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 0
    tracks = FaceTracks(tmp_path / "out")
    assert tracks.index.attribute_source == "mixed"
    one = next(t for t in tracks.tracks if t.name == "one#0")
    # At 10 of the table's 30 frames a second; the frame of row 6 is not sure.
    np.testing.assert_allclose(
        tracks.all_values().attributes[one.first : one.first + one.frames, INDEX["yaw"]] * 1.4 - 0.7,
        [0.01 * row for row in (0, 3, 9, 12, 15)],
        atol=1e-5,
    )
    assert (tracks.all_values().presence[one.first : one.first + one.frames, 8] == 1).all()  # AU12
    two = next(t for t in tracks.tracks if t.name == "two#0")
    assert (tracks.all_values().presence[two.first : two.first + two.frames] == -1).all()


def test_openfaces_scale_keeps_what_full_shape_clamps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AU45_r 3 is .6 of OpenFace's range; full-shape it is more than a closed eye. Nothing is measured twice."""
    with_table(tmp_path / "v", "one", 2, AU45_r=[3.0] * 6, pose_Rx=[0.35] * 6)
    write_clip(tmp_path / "v/two.mp4", driver_frames()[:2])
    out = tmp_path / "out"
    assert run(tmp_path / "v", "--out", out, "--scale", "openface") == 0
    assert "clips without an OpenFace CSV of their own were measured here" in caplog.text
    own = FaceTracks(out, stored=True)
    assert own.index.attribute_scale == own.attribute_scale == "openface"
    at = {track.identity: number for number, track in enumerate(own.tracks)}
    np.testing.assert_allclose(
        own.values(at["one"]).attributes[:, [INDEX["pitch"], INDEX["AU45"]]], [[0.75, 0.6]] * 2
    )
    full = FaceTracks(out).values(at["one"]).attributes
    np.testing.assert_allclose(full[:, INDEX["AU45"]], 0.6 * 3.6, rtol=1e-6)
    converted = own.values(at["two"]).attributes
    monkeypatch.setattr(work, "prepare_clip", None)  # a clip that is made again would fail
    assert run(tmp_path / "v", "--out", out) == 0
    again = FaceTracks(out, stored=True)
    at = {track.identity: number for number, track in enumerate(again.tracks)}
    np.testing.assert_array_equal(again.values(at["one"]).attributes[:, INDEX["AU45"]], 1.0)
    np.testing.assert_allclose(to_openface(again.values(at["two"]).attributes), converted, atol=1e-6)


def test_a_folder_of_numbered_pictures_is_one_track(tmp_path: Path) -> None:
    """Seconds apart, with one that cannot be read, and OpenFace's rows of the pictures in their order."""
    folder = tmp_path / "faces/anna/1.6/xyz"
    folder.mkdir(parents=True)
    for number, frame in zip((25, 50, 100, 125), driver_frames()[::20], strict=True):
        cv2.imwrite(str(folder / f"{number:07d}.jpg"), frame[..., ::-1])
    (folder / "0000075.jpg").write_bytes(b"no picture")
    write_table(folder.with_name("xyz.csv"), 5, 30.0, {"pose_Ry": [0.1 * row for row in range(5)]})
    out = tmp_path / "out"
    assert run("--frames", tmp_path / "faces", "--out", out) == 0
    tracks = FaceTracks(out)
    ((name, identity, video, frames, fps),) = [
        (t.name, t.identity, t.video, t.frames, t.fps) for t in tracks.tracks
    ]
    assert (name, identity, video, frames, fps) == ("anna/1.6/xyz#0", "anna", "xyz", 4, 0.75)
    values = tracks.values(0)
    np.testing.assert_array_equal(values.times_s, [0.0, 1.0, 3.0, 4.0])
    np.testing.assert_allclose(
        values.attributes[:, INDEX["yaw"]] * 1.4 - 0.7, [0.0, 0.1, 0.3, 0.4], atol=1e-6
    )
    # Below a rate, pictures are left out as frames of a video are; a picture more is measured anew.
    assert run("--frames", tmp_path / "faces", "--out", out, "--fps", "0.4") == 0
    np.testing.assert_array_equal(FaceTracks(out).values(0).times_s, [0.0, 3.0])
    (folder / "picture.jpg").write_bytes(b"")
    assert run("--frames", tmp_path / "faces", "--out", out) == 2
    assert "picture.jpg has no number" in skipped(out)["xyz"]
    assert run("--frames", tmp_path / "faces", "--out", out, "--frame-rate", "0") == 2


@pytest.mark.usefixtures("report_too")
def test_a_broken_table_skips_its_clip_or_is_passed_over(tmp_path: Path) -> None:
    with_table(tmp_path / "v", "broken", 6, AU01_r=[float("nan")] * 18)
    write_clip(tmp_path / "v/fine.mp4", driver_frames()[:6])
    out = tmp_path / "out"
    assert run(tmp_path / "v", "--out", out) == 0
    assert "column AU01_r is not a number" in skipped(out)["broken.mp4"]
    assert run(tmp_path / "v", "--out", out, "--csv-errors", "tracker") == 0
    assert skipped(out) == {} and FaceTracks(out).index.attribute_source == "tracker"
    notes = json.loads((out / "report/report.json").read_text())["notes"]
    assert any("measured here" in note for texts in notes.values() for note in texts)


def test_persons_of_each_split_can_be_named(
    videos: Path, parts: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(videos, "--out", parts, "--test-identity", "b*", "--test-identity", "cara") == 0
    assert FaceTracks(parts).index.splits == {"train": ("anna",), "validation": (), "test": ("ben", "cara")}
    assert (
        "nobody is left for validation" in caplog.text and "add clips of others, or name fewer" in caplog.text
    )
    assert run(videos, "--out", parts, "--test-identity", "ben", "--validation-identity", "c*") == 0
    assert FaceTracks(parts).index.splits == {"train": ("anna",), "validation": ("cara",), "test": ("ben",)}
    assert FaceTracks(parts).identities == ("anna", "cara", "ben")
    assert run(videos, "--out", parts, "--test-identity", "dora") == 2
    assert "--test-identity dora: there is no such person" in capsys.readouterr().err
    assert run(videos, "--out", parts, "--test-identity", "*") == 2
    assert "--test-identity: nobody is left to train on" in capsys.readouterr().err


# What is left out.


@pytest.mark.usefixtures("report_too")
def test_clips_that_cannot_be_used_are_named_and_the_others_packed(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    folder = tmp_path / "v"
    write_clip(folder / "fine.mp4", driver_frames()[:4])
    (folder / "text.mp4").write_text("no video at all")
    (folder / "empty.mp4").write_bytes(b"")
    noise = rng.integers(0, 255, (4, 120, 160, 3), dtype=np.uint8)
    write_clip(folder / "noise.mp4", list(noise))
    small = np.full((240, 320, 3), 128, dtype=np.uint8)
    small[80:160, 100:180] = cv2.resize(portrait(), (80, 80), interpolation=cv2.INTER_AREA)
    write_clip(folder / "small.mp4", [small] * 4)
    write_clip(folder / "single.mp4", driver_frames()[:1])
    out = tmp_path / "out"
    assert run(folder, "--out", out) == 0
    assert [t.name for t in FaceTracks(out).tracks] == ["fine#0"]
    reasons = skipped(out)
    assert reasons.keys() == {"text.mp4", "empty.mp4", "noise.mp4", "small.mp4", "single.mp4"}
    assert "not a video that can be read" in reasons["text.mp4"]
    assert "not a video that can be read" in reasons["empty.mp4"]
    assert reasons["noise.mp4"] == "no face was found"
    assert "at least 48 are needed" in reasons["small.mp4"] or reasons["small.mp4"] == "no face was found"
    assert reasons["single.mp4"] == "a face seen in one frame only"
    report = (out / "report/report.md").read_text()
    assert "## Skipped: 5 of 6 clips" in report and "a face seen in one frame only" in report


def test_a_clip_cut_short_gives_what_is_before_the_damage(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "v/cut.mkv", driver_frames()[:40])
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        content[:half] + bytes(np.random.default_rng(0).integers(0, 256, half // 2, dtype=np.uint8))
    )
    out = tmp_path / "out"
    assert run(tmp_path / "v", "--out", out) == 0
    assert 5 < FaceTracks(out).index.rows < 40


def test_nothing_usable_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "v/grey.mp4", [np.full((120, 160, 3), 128, dtype=np.uint8)] * 3)
    assert run(tmp_path / "v", "--out", tmp_path / "out") == 2
    assert "error: no clip has a face that can be used; skipped.json says why" in capsys.readouterr().err
    assert skipped(tmp_path / "out") == {"grey.mp4": "no face was found"}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--size", "100"], "--size 100: a multiple of 8"),
        (["--fps", "0"], "--fps 0"),
        (["--test-share", "1"], "--test-share 1"),
        (["--validation-share", "-.1"], "--validation-share -0.1: a share from 0"),
        (["--validation-share", ".8"], "--validation-share 0.8: with --test-share it has to stay below 1"),
        (["--max-frames-per-clip", "1"], "a pair needs at least 2"),
        (["--fps", "nan"], "--fps nan"),
        (["--test-share", "nan"], "--test-share nan"),
        (["--shard-mb", "0"], "--shard-mb 0: from above 0"),
        (["--shard-mb", "nan"], "--shard-mb nan: from above 0"),
        (["--shard-mb", "inf"], "--shard-mb inf: from above 0"),
        (["--seed", "-1"], "--seed -1: a whole number from 0"),
        (["--seed", str(2**64)], f"--seed {2**64}: a whole number from 0"),
        (["--workers", "-1"], "--workers -1: a number of processes from 0"),
        (["--workers", "99999"], "--workers 99999: a number of processes from 0"),
        (["--min-face", "-5"], "--min-face -5: pixels from 0"),
        (["--min-face", "nan"], "--min-face nan: pixels from 0"),
        (["--ray-address", "auto"], "--workers 0 prepares without Ray"),
    ],
)
def test_wrong_flags_are_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert run(tmp_path, "--out", tmp_path / "out", *flags) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


# What survives a fault.


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the clips that are made from here on."""
    names: list[str] = []
    original = work.prepare_clip

    def counting(clip: Any, settings: Any) -> Any:
        names.append(clip.name)
        return original(clip, settings)

    monkeypatch.setattr(work, "prepare_clip", counting)
    return names


def test_what_is_done_is_not_made_again(few: Path, tmp_path: Path, made: list[str]) -> None:
    assert run(few, "--out", tmp_path) == 0
    assert len(made) == 3
    first = (tmp_path / "index.json").read_bytes()
    assert run(few, "--out", tmp_path) == 0
    assert len(made) == 3 and (tmp_path / "index.json").read_bytes() == first
    # Another setting, and all are made anew.
    assert run(few, "--out", tmp_path, "--fps", "24") == 0
    assert len(made) == 6


def test_a_clip_that_changed_is_made_again(tmp_path: Path, made: list[str]) -> None:
    write_clip(tmp_path / "v/a.mp4", driver_frames()[:3])
    write_clip(tmp_path / "v/b.mp4", driver_frames()[:3])
    out = tmp_path / "out"
    assert run(tmp_path / "v", "--out", out) == 0
    write_clip(tmp_path / "v/b.mp4", driver_frames()[:5])
    assert run(tmp_path / "v", "--out", out) == 0
    assert made == ["a", "b", "b"]
    assert FaceTracks(out).index.rows == 8


def test_a_damaged_part_is_made_again(tmp_path: Path, made: list[str]) -> None:
    write_clip(tmp_path / "v/a.mp4", driver_frames()[:3])
    out = tmp_path / "out"
    assert run(tmp_path / "v", "--out", out) == 0
    (part,) = (out / "parts").iterdir()
    part.write_bytes(part.read_bytes()[:-100])
    assert run(tmp_path / "v", "--out", out) == 0
    assert made == ["a", "a"]


def full_disk(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Path], bool]) -> None:
    """Writes to some files fail, half way, as on a full disk."""
    original = os.fsync

    def fsync(descriptor: int) -> None:
        if fails(Path(os.readlink(f"/proc/self/fd/{descriptor}"))):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to know a file by its descriptor")
def test_a_disk_that_is_full_while_clips_are_made(
    few: Path, tmp_path: Path, made: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    parts = tmp_path / "parts"
    with pytest.MonkeyPatch.context() as patch:
        full_disk(
            patch, lambda path: ".safetensors" in path.name and len(list(parts.glob("*.safetensors"))) == 1
        )
        assert run(few, "--out", tmp_path) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: cannot write to ")
    assert "No space left on device" in error and "run the same command again" in error
    assert len(list(parts.glob("*.safetensors"))) == len(list(parts.iterdir())) == 1
    assert not (tmp_path / "index.json").exists()
    assert run(few, "--out", tmp_path) == 0
    assert len(made) == 2 + 2  # what was made before the disk was full is not made again
    FaceTracks(tmp_path).verify()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to know a file by its descriptor")
@pytest.mark.parametrize("file", [".00000.arrow.*", ".index.json.*"])
def test_a_disk_that_is_full_while_all_is_packed(
    videos: Path, parts: Path, made: list[str], capsys: pytest.CaptureFixture[str], file: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, lambda path: path.match(file))
        assert run(videos, "--out", parts) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device (free some space first)" in error
    assert data_files(parts) == []
    assert run(videos, "--out", parts) == 0
    assert made == []
    FaceTracks(parts).verify()


def data_files(folder: Path) -> list[str]:
    """Index, shards, and whatever is left of unfinished ones."""
    found = (p for p in folder.rglob("*") if p.suffix in (".arrow", ".part") or p.name == "index.json")
    return sorted(p.relative_to(folder).as_posix() for p in found)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to know a file by its descriptor")
@pytest.mark.parametrize("file", [".00000.arrow.*", ".00001.arrow.*", ".index.json.*"])
def test_a_data_set_stays_usable_where_the_disk_is_full_when_it_is_packed_anew(
    videos: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    assert run(videos, "--out", tmp_path, "--shard-mb", "0.01", "--seed", "3") == 0
    before, index = data_files(tmp_path), (tmp_path / "index.json").read_bytes()
    again = ("--out", tmp_path, "--shard-mb", "0.05", "--seed", "4")
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, lambda path: path.match(file))
        assert run(videos, *again) == 1
    # All of the old is there, and nothing of the new takes the room that is short.
    assert data_files(tmp_path) == before and (tmp_path / "index.json").read_bytes() == index
    FaceTracks(tmp_path).verify()
    assert FaceTracks(tmp_path).index.seed == 3
    assert run(videos, *again) == 0
    FaceTracks(tmp_path).verify()
    assert FaceTracks(tmp_path).index.seed == 4
    kept = set(data_files(tmp_path))
    assert len(kept) == 1 + len(FaceTracks(tmp_path).index.shards) and kept != set(before)


def test_an_interruption_says_how_to_go_on(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = work.prepare_clip
    asked: list[str] = []

    def interrupted(clip: Any, settings: Any) -> Any:
        asked.append(clip.name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return original(clip, settings)

    monkeypatch.setattr(work, "prepare_clip", interrupted)
    assert run(few, "--out", tmp_path) == 1
    assert "error: interrupted; what is done is kept: run the same command again" in capsys.readouterr().err
    assert run(few, "--out", tmp_path) == 0
    assert asked == ["anna/v1/00001", "ben/v1/00001", "cara/v1/00001", "cara/v1/00001"]
    assert not list((tmp_path / "parts").glob("*.tries"))


def test_a_defect_over_one_clip_does_not_end_the_run(
    few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: list[str]
) -> None:
    counting = work.prepare_clip

    def odd(clip: Any, settings: Any) -> Any:
        if clip.identity == "ben":
            raise RuntimeError("the graph has errors")
        return counting(clip, settings)

    with monkeypatch.context() as patch:
        patch.setattr(work, "prepare_clip", odd)
        assert run(few, "--out", tmp_path) == 0
    reasons = json.loads((tmp_path / "skipped.json").read_text())
    assert list(reasons.values()) == ["unexpected RuntimeError: the graph has errors"]
    assert len(FaceTracks(tmp_path).tracks) == 2
    assert run(few, "--out", tmp_path) == 0  # it is tried again
    assert made[-1] == "ben/v1/00001" and len(FaceTracks(tmp_path).tracks) == 3


DIES = """
import os, sys
from pathlib import Path
from training.preparation import work
from training.preparation.clips import find_clips
from training.preparation.parts import Settings

work.prepare_clip = lambda clip, settings: os._exit(9)
folder, out = map(Path, sys.argv[1:])
(clip,) = find_clips([folder])
work.make_part(clip, out, Settings())
"""


def test_a_clip_over_which_processes_die_is_given_up(tmp_path: Path, made: list[str]) -> None:
    """A decoder may crash on damaged bytes. That takes its process along, and Ray starts it again, for ever."""
    write_clip(tmp_path / "v/crash.mp4", driver_frames()[:3])
    out = tmp_path / "out"
    codes = [
        subprocess.run(
            [sys.executable, "-c", DIES, tmp_path / "v", out], cwd=REPOSITORY, check=False
        ).returncode
        for _ in range(4)
    ]
    assert codes == [9, 9, 9, 0]
    assert run(tmp_path / "v", "--out", out) == 2
    assert skipped(out) == {"crash.mp4": "its process died over it 3 times"} and made == []


def test_parts_can_be_cleaned_away(videos: Path, parts: Path) -> None:
    assert run(videos, "--out", parts, "--clean") == 0
    assert not (parts / "parts").exists()
    FaceTracks(parts).verify()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to know a file by its descriptor")
def test_cleaning_keeps_each_picture_once_and_loses_none(
    videos: Path, data: Path, tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at its third shard, the first two hold what their parts let go of; any other packing can go on there."""
    one_a_shard = ("--out", tmp_path, "--shard-mb", "0.01")
    shutil.copytree(data / "parts", tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, lambda path: path.name.startswith(".00002.arrow"))
        assert run(videos, *one_a_shard, "--seed", "3", "--clean") == 1
    sizes = sorted(part.stat().st_size for part in (tmp_path / "parts").iterdir())
    assert sizes[1] < 6000 and sizes[2] > 20_000  # of six frames; a picture has 8 kB
    assert len(list((tmp_path / "shards").iterdir())) == 2 and not (tmp_path / "index.json").exists()
    # Another split and another order, and the disk is full again: what the first run packed is still read from.
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, lambda path: path.name.startswith(".00001.arrow"))
        assert run(videos, *one_a_shard, "--seed", "5") == 1
    assert run(videos, "--out", tmp_path, "--seed", "3") == 0
    shard_names = {shard.file for shard in FaceTracks(tmp_path).index.shards}
    assert {f"shards/{path.name}" for path in (tmp_path / "shards").iterdir()} == shard_names
    # The very shards that come of a run without a fault, and parts that still know their pictures.
    assert (tmp_path / "index.json").read_bytes() == (data / "index.json").read_bytes()
    FaceTracks(tmp_path).verify()
    assert run(videos, *one_a_shard, "--seed", "6", "--clean") == 0
    assert made == [] and not (tmp_path / "parts").exists()
    FaceTracks(tmp_path).verify()


def test_a_part_whose_pictures_are_gone_is_made_again(
    videos: Path, data: Path, tmp_path: Path, made: list[str]
) -> None:
    shutil.copytree(data / "parts", tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare, "write_report", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(videos, "--out", tmp_path, "--shard-mb", "0.01", "--clean") == 1
    first = FaceTracks(tmp_path).index.shards[0]
    (tmp_path / first.file).unlink()
    assert run(videos, "--out", tmp_path, "--shard-mb", "0.01") == 0
    assert len(made) == 1
    FaceTracks(tmp_path).verify()


def test_pictures_of_several_tracks_come_back_in_order(tmp_path: Path, made: list[str]) -> None:
    blank = np.full((240, 640, 3), 128, dtype=np.uint8)
    here, there = blank.copy(), blank.copy()
    face = cv2.resize(portrait(), (240, 240), interpolation=cv2.INTER_AREA)
    here[:, :240], there[:, 400:] = face, face
    write_clip(tmp_path / "v/jump.mp4", [here] * 3 + [there] * 2 + [here] * 4)
    write_clip(tmp_path / "v/other.mp4", [here] * 2)
    out, plain = tmp_path / "out", tmp_path / "plain"
    assert run(tmp_path / "v", "--out", plain) == 0
    shutil.copytree(plain / "parts", out / "parts")
    for size_mb, seed in (
        ("0.01", "3"),
        ("1", "4"),
        ("0.01", "5"),
    ):  # one shard a clip, one for both in two orders
        with pytest.MonkeyPatch.context() as patch:
            full_disk(patch, lambda path: path.name.startswith(".index"))
            assert run(tmp_path / "v", "--out", out, "--shard-mb", size_mb, "--seed", seed, "--clean") == 1
    assert len(list((out / "shards").iterdir())) == 2
    assert run(tmp_path / "v", "--out", out) == 0
    assert made == ["jump", "other"]
    assert (out / "index.json").read_bytes() == (plain / "index.json").read_bytes()
    assert sorted((track.name, track.frames) for track in FaceTracks(out).tracks) == [
        ("jump#0", 3), ("jump#1", 2), ("jump#2", 4), ("other#0", 2),
    ]  # fmt: skip


def test_parts_of_clips_that_are_left_out_for_once_keep_their_pictures(
    videos: Path, data: Path, tmp_path: Path, made: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(data / "parts", tmp_path / "parts")
    with pytest.MonkeyPatch.context() as patch:
        full_disk(patch, lambda path: path.name.startswith(".index"))
        assert run(videos, "--out", tmp_path, "--shard-mb", "0.01", "--clean") == 1
    assert len(list((tmp_path / "shards").iterdir())) == 4
    (tmp_path / "shards/00009-0123456789ab.arrow").write_text(
        "of a run that was killed, and no part relies on it"
    )
    assert run(videos / "anna", "--out", tmp_path) == 0
    assert made == ["v1/00001", "v1/00002"]  # other names, as another folder was given
    assert len(list((tmp_path / "shards").iterdir())) == 4 + 1
    assert run(videos, "--out", tmp_path, "--seed", "3") == 0
    assert len(made) == 2 and len(list((tmp_path / "shards").iterdir())) == 1
    FaceTracks(tmp_path).verify()


def test_a_data_set_is_replaced_in_one_step(
    videos: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever the process dies, the index that is there fits the files that are there."""
    shutil.copytree(data, tmp_path, dirs_exist_ok=True)
    seen: list[int] = []

    def looking(name: str) -> None:
        original = getattr(Path, name)

        def changed(path: Path, *arguments: Any, **more: Any) -> Any:
            result = original(path, *arguments, **more)
            tracks = FaceTracks(tmp_path)
            tracks.verify()
            seen.append(tracks.index.seed)
            return result

        monkeypatch.setattr(Path, name, changed)

    looking("replace")
    looking("unlink")
    assert run(videos, "--out", tmp_path, "--seed", "4", "--shard-mb", "0.01") == 0
    assert seen[0] == 3 and seen[-1] == 4 and seen == sorted(seen)


def test_earlier_shards_do_not_stay_behind(videos: Path, parts: Path) -> None:
    assert run(videos, "--out", parts, "--shard-mb", "0.01") == 0
    assert len(list((parts / "shards").iterdir())) == 4
    (parts / "shards/.00007.arrow.123-456.part").write_text("of a run that was killed")
    assert run(videos, "--out", parts) == 0
    (shard,) = FaceTracks(parts).index.shards
    assert [f"shards/{p.name}" for p in (parts / "shards").iterdir()] == [shard.file]
    assert shard.file == f"shards/00000-{shard.sha256[:12]}.arrow"


# The report and the command itself.


def test_the_report_counts_and_shows(data: Path, tracks: FaceTracks) -> None:
    numbers = json.loads((data / "report/report.json").read_text())
    assert (numbers["clips"], numbers["tracks"], numbers["frames"], numbers["skipped_clips"]) == (4, 4, 24, 0)
    assert numbers["hours"] == pytest.approx(2.4 / 3600, abs=1e-4)
    assert (
        numbers["persons"] == {"train": 1, "validation": 1, "test": 1}
        and numbers["persons_with_one_track"] == 2
    )
    assert numbers["attributes"]["yaw"]["mean"] == pytest.approx(
        float(tracks.all_values().attributes[:, 1].mean()), abs=1e-4
    )
    assert 60 < numbers["face_px"]["p50"] < 160
    for name in ("attributes", "pose", "faces", "extremes", "crops_train", "crops_validation", "crops_test"):
        picture = cv2.imread(str(data / f"report/{name}.png"))
        assert picture is not None and min(picture.shape[:2]) > 100, name
    text = (data / "report/report.md").read_text()
    assert "24 frames in 4 tracks of 3 persons (1 to train on, 1 for validation, 1 to test on)" in text
    assert "| AU45 |" in text


def test_the_extremes_show_the_largest_value_of_each_person(tracks: FaceTracks) -> None:
    values = tracks.all_values().attributes[:, INDEX["yaw"]]
    rows = data_report.most(tracks, values)
    assert len(rows) == 3 and rows[0] == int(values.argmax())
    assert len({tracks.tracks[tracks.track_of(row)].identity for row in rows}) == 3


@pytest.mark.long
def test_on_ray_the_same_comes_out_and_the_terminal_stays_quiet(
    videos: Path, data: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    (tmp_path / "more/dora").mkdir(parents=True)
    (tmp_path / "more/dora/broken.mp4").write_text("no video")
    result = subprocess.run(
        [sys.executable, "training/prepare.py", videos, tmp_path / "more", "--out", tmp_path / "out", "--seed", "3",
         "--workers", "2"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 1 and "1 clips skipped" in result.stderr, result.stderr
    assert result.stdout == ""
    # The same shards, byte for byte, as one process alone makes.
    assert (tmp_path / "out/index.json").read_bytes() == (data / "index.json").read_bytes()
    assert skipped(tmp_path / "out").keys() == {"broken.mp4"}


# Ray.


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:{port}", "nothing listens there (Connection refused"),
        ("ray://127.0.0.1:{port}", "nothing listens there (Connection refused"),
        ("127.0.0.1", "HOST:PORT or ray://HOST:PORT is needed"),
        (":6379", "HOST:PORT or ray://HOST:PORT is needed"),
        ("127.0.0.1:port", "HOST:PORT or ray://HOST:PORT is needed"),
        ("127.0.0.1:70000", "HOST:PORT or ray://HOST:PORT is needed"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], address: str, message: str
) -> None:
    write_clip(tmp_path / "v/a.mp4", driver_frames()[:2])
    address = address.format(port=free_port())
    code = prepare.main([str(tmp_path / "v"), "--out", str(tmp_path / "out"), "--ray-address", address])
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1
    assert error.startswith(f"error: --ray-address {address}: ") and message in error


def test_waiting_for_a_cluster_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def silent(place: tuple[str, int], timeout: float) -> None:
        waits.append(timeout)
        raise TimeoutError("timed out")

    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(ConfigError, match=r"nothing listens there \(no answer, waited at most 5 s\)"):
        runners._check_reachable("[2001:db8::1]:6379")
    assert waits == [5.0]
    runners._check_reachable("auto")  # Ray's own word
    assert waits == [5.0]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Address of a Ray cluster of this machine, and the environment that may use it."""
    pytest.importorskip("ray")
    program = Path(sys.executable).with_name("ray")
    if not program.exists():
        pytest.skip("the command `ray` is not beside this Python")
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",  # a cluster listens on all interfaces
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    port = free_port()
    # Sockets lie in it, whose paths may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, "start", "--head", "--block", f"--port={port}", f"--temp-dir={folder}", "--num-cpus=2",
             f"--ray-client-server-port={free_port()}", "--dashboard-agent-listen-port=0", "--include-dashboard=false",
             "--object-store-memory=100000000", "--disable-usage-stats"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=environment,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            said = []
            for line in process.stdout:
                said.append(line)
                if "Ray runtime started" in line:
                    break
            else:
                pytest.fail("no cluster: " + "".join(said))
            yield f"127.0.0.1:{port}", environment
        finally:
            # `ray stop` would end every cluster of this machine, and asked politely this one takes half a minute.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="process groups and /tmp as Linux has them")
def test_on_a_running_cluster_the_same_comes_out(
    cluster: tuple[str, dict[str, str]], videos: Path, data: Path, tmp_path: Path
) -> None:
    address, environment = cluster
    result = subprocess.run(
        [sys.executable, "training/prepare.py", videos, "--out", tmp_path / "out", "--seed", "3",
         "--ray-address", address],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, env=environment,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout == "" and len(result.stderr.splitlines()) == 1, result.stderr
    assert (tmp_path / "out/index.json").read_bytes() == (data / "index.json").read_bytes()
