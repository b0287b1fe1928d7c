"""Whole runs with the real parts, a second or two of video each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from icface.arrays import Frame
from icface.attributes import COUNT, NAMES, mirror, neutral
from icface.errors import DeviceError
from icface.face.continuity import Continuity
from icface.face.landmarks import open_detector
from icface.face.tracker import FaceTracker
from icface.tables import read_csv
from realtime.cameras import Camera, CameraConfig, CameraInfo, CapturedFrame, open_camera
from realtime.cli import main
from realtime.drivers import opening
from realtime.hotkeys import TerminalKeys
from realtime.renderer import Renderer, Scene

FRAMES = 24


@pytest.fixture(scope="module")
def photo(repository: Path) -> Path:
    return repository / "examples/rendered.jpg"


@pytest.fixture(scope="module")
def clip(repository: Path) -> Path:
    return repository / "examples/driver.mp4"


def decoded(path: Path) -> list[Frame]:
    with av.open(str(path)) as container:
        return [
            picture.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
            for picture in container.decode(video=0)
        ]


def dark_video(path: Path, count: int) -> Path:
    """A video without a face."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for i in range(count):
            picture = np.full((240, 320, 3), 40 + 2 * i, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def run(*flags: str | Path, code: int = 0) -> None:
    assert main([str(flag) for flag in flags]) == code


@pytest.fixture(scope="module")
def first(photo: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a file-to-file run leaves: out.mp4, drive.csv, stats.json."""
    folder = tmp_path_factory.mktemp("first")
    run(
        "--source", photo, "--camera", clip, "--frames", str(FRAMES), "--output", folder / "out.mp4",
        "--record-attributes", folder / "drive.csv", "--stats", folder / "stats.json",
    )  # fmt: skip
    return folder


def test_file_to_file_every_frame_once(first: Path) -> None:
    assert len(decoded(first / "out.mp4")) == FRAMES
    report = json.loads((first / "stats.json").read_text())
    frames = report["frames"]
    assert frames["sent"] == FRAMES
    assert frames["dropped_before_tracking"] == frames["dropped_before_animation"] == 0
    assert report["about"]["mode"] == "file to file"
    assert {"capture", "track", "animate", "compose", "send"} <= set(report["stages"])
    assert "latency" not in report["stages"]


def test_the_threads_change_nothing(first: Path, clip: Path) -> None:
    """What drove is what one frame after another gives."""
    tracker = FaceTracker(detector=open_detector(video=True))
    continuity = Continuity()
    expected = []
    with open_camera(CameraConfig(device=str(clip))) as camera:
        for captured in islice(camera.frames(), FRAMES):
            state = tracker.read(captured.frame, captured.time_s)
            expected.append(continuity.update(None if state is None else state.attributes, captured.time_s))
    tracker.close()
    assert np.array_equal(read_csv(first / "drive.csv").values, np.stack(expected))


def test_a_replay_of_the_recording_gives_the_same_frames(first: Path, photo: Path, tmp_path: Path) -> None:
    run(
        "--source", photo, "--attributes", first / "drive.csv", "--output", tmp_path / "again.mp4",
        "--record-attributes", tmp_path / "again.csv",
    )  # fmt: skip
    again, before = decoded(tmp_path / "again.mp4"), decoded(first / "out.mp4")
    assert len(again) == len(before)
    assert all(np.array_equal(a, b) for a, b in zip(again, before, strict=True))
    recorded, replayed = read_csv(first / "drive.csv"), read_csv(tmp_path / "again.csv")
    assert np.array_equal(recorded.values, replayed.values)


def test_the_mirror_is_in_the_recording(first: Path, photo: Path, clip: Path, tmp_path: Path) -> None:
    run(
        "--source", photo, "--camera", clip, "--frames", "5", "--null", "--mirror",
        "--record-attributes", tmp_path / "mirrored.csv",
    )  # fmt: skip
    plain = read_csv(first / "drive.csv").values[:5]
    assert np.array_equal(read_csv(tmp_path / "mirrored.csv").values, mirror(plain))


def test_without_a_face_every_frame_is_the_neutral_one_and_the_run_fails(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = dark_video(tmp_path / "dark.mp4", 8)
    run(
        "--source", photo, "--camera", dark, "--output", tmp_path / "out.mp4", "--mark", "off",
        "--stats", tmp_path / "stats.json", "--framing", "photo", code=1,
    )  # fmt: skip
    assert f"error: no face was seen in the 8 frames of {dark}" in capsys.readouterr().err
    shown = decoded(tmp_path / "out.mp4")
    report = json.loads((tmp_path / "stats.json").read_text())
    assert len(shown) == 8
    assert report["frames"]["faces"] == 0 and report["frames"]["animated"] == 1
    assert np.abs(shown[0].astype(int) - shown[-1]).mean() < 2
    assert shown[0].std() > 15, "a face, not the dark room"


def test_the_end_of_a_run_says_what_was_made_and_the_table_comes_when_asked_for(
    photo: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--source", photo, "--camera", clip, "--frames", "6")
    run(*flags, "--output", tmp_path / "out.mp4")
    assert capsys.readouterr().out == f"{tmp_path / 'out.mp4'}: 6 frames, 0.2 s, face seen in 100 %\n"
    run(*flags, "--output", tmp_path / "again.mp4", "--stats", tmp_path / "stats.json")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'again.mp4'}: 6 frames") and lines[1].startswith("stage")
    assert json.loads((tmp_path / "stats.json").read_text())["made_s"] == pytest.approx(0.2, abs=1e-3)


def test_a_damaged_driver_gives_what_is_there_and_exit_code_1(
    photo: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A packet near the start of the example is spoilt; the faces behind it are as in the whole clip."""
    with av.open(str(clip)) as container:
        packet = [bytes(packet) for packet in container.demux(video=0)][10]
    data = bytearray(clip.read_bytes())
    place = data.index(packet)
    data[place : place + 8] = b"\xff" * 8
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(data)
    recorded = tmp_path / "drive.csv"
    run(
        "--source", photo, "--camera", damaged, "--frames", str(FRAMES), "--output", tmp_path / "out.mp4",
        "--record-attributes", recorded, code=1,
    )  # fmt: skip
    said = capsys.readouterr()
    assert "1 picture is damaged or lost (first at 0.3" in said.err.splitlines()[-1]
    assert said.out.startswith(f"{tmp_path / 'out.mp4'}")
    assert len(decoded(tmp_path / "out.mp4")) == FRAMES
    gaps_s = np.diff(read_csv(recorded).times_s)
    assert sorted(gaps_s)[-1] == pytest.approx(2 / 30, abs=1e-5) and sorted(gaps_s)[-2] < 0.04


def test_q_ends_a_run_from_file_to_file_and_other_keys_do_nothing(
    photo: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = iter(["m", "space", "n", "q"])
    monkeypatch.setattr(TerminalKeys, "poll_key", lambda self: next(keys, None))
    run(
        "--source", photo, "--camera", clip, "--output", tmp_path / "out.mp4",
        "--record-attributes", tmp_path / "drive.csv", code=1,
    )  # fmt: skip
    err = capsys.readouterr().err
    assert "error: stopped after 4 of 240 frames; what was being written holds these" in err
    assert "mirror" not in err and "frozen" not in err
    assert len(decoded(tmp_path / "out.mp4")) == 4


def test_live_at_the_files_rate(photo: Path, clip: Path, tmp_path: Path) -> None:
    run(
        "--source", photo, "--camera", clip, "--null", "--pace", "--frames", "20", "--stats",
        tmp_path / "stats.json", "--output", tmp_path / "live.mp4", "--neutral-after", "0.2",
    )  # fmt: skip
    report = json.loads((tmp_path / "stats.json").read_text())
    assert report["about"]["mode"] == "live"
    assert report["frames"]["sent"] == 20
    assert report["stages"]["latency"]["count"] > 0
    assert len(decoded(tmp_path / "live.mp4")) == 20


@pytest.mark.parametrize("flags", [(), ("--engine", "abacus"), ("--face", "3")])
def test_every_engine_that_was_opened_is_closed(
    photo: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    from icface.reenactor import Reenactor

    opened: list[Reenactor] = []
    closed: list[Reenactor] = []
    initialise, close = Reenactor.__init__, Reenactor.close

    def open_one(self: Reenactor, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        opened.append(self)

    def close_one(self: Reenactor) -> None:
        closed.append(self)
        close(self)

    monkeypatch.setattr(Reenactor, "__init__", open_one)
    monkeypatch.setattr(Reenactor, "close", close_one)
    run("--source", photo, "--camera", clip, "--frames", "3", "--null", *flags, code=2 if flags else 0)
    assert opened == closed and len(opened) == (flags[:1] != ("--engine",))


def test_attributes_drive_live_at_their_timestamps(first: Path, photo: Path, tmp_path: Path) -> None:
    run(
        "--source", photo, "--attributes", first / "drive.csv", "--null", "--pace", "--loop",
        "--frames", str(FRAMES + 3), "--stats", tmp_path / "stats.json",
    )  # fmt: skip
    report = json.loads((tmp_path / "stats.json").read_text())
    assert report["frames"]["sent"] == FRAMES + 3
    rows = read_csv(first / "drive.csv").times_s
    assert report["elapsed_s"] >= 0.7 * (rows[-1] - rows[0]), "not as fast as it goes"


def test_places_that_are_not_shown_are_told_once(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "aside.csv"
    rest = ",".join(map(str, neutral()[:COUNT]))
    rows = [f"{rest},{place}" for place in (0, 0.3, 0.4)]
    table.write_text("\n".join([",".join([*NAMES, "place_x"]), *rows]))
    run("--source", photo, "--attributes", table, "--null")
    assert capsys.readouterr().err.count("--follow shows it") == 1
    run("--source", photo, "--attributes", table, "--null", "--follow")
    assert "--follow shows it" not in capsys.readouterr().err


class UnpluggedCamera(Camera):
    """A device that shows a clip, then is gone."""

    def __init__(self, clip: Path, frames: int, clock: Callable[[], float]) -> None:
        with open_camera(CameraConfig(device=str(clip))) as camera:
            self.frames_shown = [captured.frame for captured in islice(camera.frames(), frames)]
        height_px, width_px = self.frames_shown[0].shape[:2]
        self.info = CameraInfo("fake", width_px, height_px, Fraction(50), "MJPG", False, None)
        self._clock = clock
        self._index = 0

    def read(self) -> CapturedFrame | None:
        if self._index == len(self.frames_shown):
            raise DeviceError("camera 0 was unplugged")
        captured = CapturedFrame(self.frames_shown[self._index], self._index, self._clock())
        self._index += 1
        return captured

    def close(self) -> None:
        pass


def test_a_camera_unplugged_in_the_middle(
    photo: Path,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The face goes on, the file is finished, one line says why it ended, and the camera's picture is nowhere."""
    from time import monotonic

    camera = UnpluggedCamera(clip, 10, monotonic)
    opened: list[Any] = [camera]

    def give(config: CameraConfig) -> Camera:
        if not opened:
            raise DeviceError("camera 0 is not there")
        return opened.pop()  # type: ignore[no-any-return]

    monkeypatch.setattr(opening, "open_camera", give)
    monkeypatch.setattr(opening, "neutral_file", lambda: tmp_path / "neutral.json")
    run(
        "--source", photo, "--output", tmp_path / "out.mp4", "--camera-retry-s", "2",
        "--stats", tmp_path / "stats.json", code=1,
    )  # fmt: skip
    err = capsys.readouterr().err.splitlines()
    assert [line for line in err if line.startswith("error: ")] == [
        "error: the camera did not come back within 2 s: camera 0 is not there"
    ]
    assert any(line.startswith("warning: camera 0 was unplugged") for line in err)
    report = json.loads((tmp_path / "stats.json").read_text())
    assert report["frames"]["cameras_lost"] == 1
    shown = decoded(tmp_path / "out.mp4")
    assert len(shown) == report["frames"]["sent"] >= 15, "it went on while the camera was away"
    raw = camera.frames_shown[0]
    for picture in shown:
        height, width = min(picture.shape[0], raw.shape[0]), min(picture.shape[1], raw.shape[1])
        assert np.abs(picture[:height, :width].astype(int) - raw[:height, :width]).mean() > 10


def test_sources_are_switched_between_two_pictures(
    photo: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored = tmp_path / "other.jpg"
    with av.open(str(photo)) as container:
        other = next(container.decode(video=0)).to_ndarray(format="rgb24")[:, ::-1]
    from PIL import Image

    Image.fromarray(np.ascontiguousarray(other)).save(mirrored)
    shown_s: list[float] = []
    show = Renderer.show

    def showing(renderer: Renderer, scene: Scene) -> None:
        if scene.number == 1:
            shown_s.append(time.monotonic())
        show(renderer, scene)

    def key(keys: TerminalKeys) -> str | None:
        """Ask for the second photo until it is ready, and end a second later."""
        if not shown_s:
            return "2"
        return "q" if time.monotonic() > shown_s[0] + 1 else None

    monkeypatch.setattr(Renderer, "show", showing)
    monkeypatch.setattr(TerminalKeys, "poll_key", key)
    run(
        "--source", photo, "--source", mirrored, "--camera", dark_video(tmp_path / "dark.mp4", 100),
        "--pace", "--output", tmp_path / "out.mp4", "--mark", "off", "--loop", "--duration", "60",
    )  # fmt: skip
    assert len(shown_s) == 1
    shown = decoded(tmp_path / "out.mp4")
    steps = [np.abs(a.astype(int) - b).mean() for a, b in pairwise(shown)]
    assert sum(step > 3 for step in steps) == 1, "one cut, from the first photo to the second"


@pytest.mark.parametrize(
    ("flags", "words", "code"),
    [
        ("--camera missing.mp4", "missing.mp4 is not there", 1),
        ("--camera {note}", "not a video", 2),
        ("--camera {clip} --source {dark}", "dark.mp4 is", 1),
        ("--camera {clip} --engine abacus", "no engine 'abacus'", 2),
        ("--camera {clip} --face 3", "no face 3", 2),
        ("--camera {clip} --model {photo}", "not a model bundle", 1),
    ],
)
def test_what_cannot_be_used_is_one_line(
    photo: Path,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    flags: str,
    words: str,
    code: int,
) -> None:
    dark = dark_video(tmp_path / "dark.mp4", 3)
    note = tmp_path / "note.txt"
    note.write_text("no picture")
    given = flags.format(photo=photo, clip=clip, dark=dark, note=note).split()
    if "--source" not in given:
        given += ["--source", str(photo)]
    run("--null", *given, code=code)
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and words in errors[0]


def test_sigterm_ends_a_live_run_well(photo: Path, clip: Path, tmp_path: Path, repository: Path) -> None:
    command = [
        sys.executable, "-m", "realtime.cli", "-v", "--source", photo, "--camera", clip, "--pace", "--loop",
        "--output", tmp_path / "out.mp4", "--stats", tmp_path / "stats.json",
    ]  # fmt: skip
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=repository,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "first frame sent" in line:
            break
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "out.mp4: " in out and "Traceback" not in err and "error" not in err
    assert decoded(tmp_path / "out.mp4")
    assert json.loads((tmp_path / "stats.json").read_text())["frames"]["sent"] > 0
