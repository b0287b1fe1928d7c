"""Each check: what it says where all is well, and where something is broken."""

from __future__ import annotations

import errno
import itertools
from pathlib import Path

import numpy as np
import pytest

from icface.arrays import Frame
from icface.errors import DeviceError, EngineError, NotBuiltError
from realtime.cameras import Camera, CameraConfig, CameraListing, CapturedFrame
from realtime.doctor import FAILED, NOTE, OK, devices, installed, models
from tests.realtime import fakes


class Rated(Camera):
    """Gives frames at a rate, on a clock of its own; `levels` are their brightness, over and over."""

    def __init__(self, fps: float, levels: tuple[int, ...] = (90, 91)) -> None:
        self.info = fakes.info()
        self._fps = fps
        self._levels = itertools.cycle(levels)
        self._index = 0

    def read(self) -> CapturedFrame | None:
        captured = CapturedFrame(fakes.frame(next(self._levels)), self._index, self._index / self._fps)
        self._index += 1
        return captured

    def close(self) -> None:
        pass


def test_a_camera_s_real_rate_is_told() -> None:
    finding = devices.watched(Rated(29.97))
    assert finding.state == OK and finding.found == "scripted: 6x4 MJPG, 30.0 frames a second"


@pytest.mark.parametrize(
    ("camera", "words"),
    [(Rated(15), "30 were asked for"), (Rated(30, (0, 1)), "black"), (Rated(30, (90,)), "stands still")],
    ids=["slow", "black", "frozen"],
)
def test_a_camera_that_is_not_as_it_should_be_is_a_note(camera: Camera, words: str) -> None:
    finding = devices.watched(camera)
    assert finding.state == NOTE and words in finding.remedy


def test_a_camera_that_does_not_open_fails_and_the_next_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    listings = [
        CameraListing(0, "/dev/video0", "busy"),
        CameraListing(1, "/dev/video1", "good"),
        CameraListing(2, "/dev/video2", "locked", "permission denied; run: something"),
    ]

    def give(config: object) -> Camera:
        if getattr(config, "device", "") == "0":
            raise DeviceError("camera 0 is busy; close the other program")
        return Rated(30)

    monkeypatch.setattr(devices, "list_cameras", lambda: listings)
    monkeypatch.setattr(devices, "open_camera", give)
    busy, good, locked = devices.cameras()
    assert (busy.state, busy.found, busy.remedy) == (FAILED, "camera 0 is busy", "close the other program")
    assert good.state == OK
    assert (locked.state, locked.found, locked.remedy) == (
        FAILED,
        "2 (locked): permission denied",
        "run: something",
    )


def test_no_camera_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "list_cameras", lambda: [])
    (finding,) = devices.cameras()
    assert finding.state == FAILED and "--driver FILE" in finding.remedy


class Loopback(fakes.KeepingSink):
    """A virtual camera that keeps the last picture."""

    picture: Frame

    def send(self, frame: Frame, time_s: float) -> None:
        self.picture = frame

    def describe(self) -> str:
        return "virtual camera /dev/video5 (v4l2loopback) 640x480"


class Reader(Camera):
    def __init__(self, picture: Frame) -> None:
        self._picture = picture
        self.info = fakes.info()

    def read(self) -> CapturedFrame | None:
        return CapturedFrame(self._picture, 0, 0.0)

    def close(self) -> None:
        pass


def test_the_virtual_camera_s_picture_is_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.doctor.devices.sys.platform", "linux")
    sink = Loopback()
    asked: list[str] = []

    def give(config: CameraConfig) -> Camera:
        asked.append(config.device)
        return Reader((sink.picture.astype(int) + 9).clip(0, 255).astype(np.uint8))

    monkeypatch.setattr(devices, "open_camera", give)
    finding = devices.written(sink)
    assert asked == ["/dev/video5"]
    assert finding.state == OK and finding.found.endswith("640x480, written and read back")

    monkeypatch.setattr(devices, "open_camera", lambda config: Reader(sink.picture[::-1]))
    upside_down = devices.written(sink)
    assert upside_down.state == FAILED and "another picture" in upside_down.found

    def refuse(config: CameraConfig) -> Camera:
        raise DeviceError("it gives no pictures")

    monkeypatch.setattr(devices, "open_camera", refuse)
    deaf = devices.written(sink)
    assert deaf.state == FAILED and "it gives no pictures" in deaf.remedy


def test_without_a_screen_there_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realtime.sinks.window.sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", "")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    (finding,) = devices.screen()
    assert finding.state == NOTE and "--output" in finding.remedy


def test_a_folder_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ICFACE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cache, *others = installed.folders()
    assert cache.state == FAILED and "ICFACE_CACHE_DIR" in cache.remedy
    assert "a file is where the folder should be" in cache.remedy
    assert others and all(finding.state == OK for finding in others)
    assert not list(tmp_path.rglob(".doctor-*"))


def test_a_full_disk_is_told_as_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(path: Path, content: bytes) -> int:
        path.touch()  # the name fits, and the content does not
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("ICFACE_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(Path, "write_bytes", full)
    cache = next(installed.folders())
    assert cache.state == FAILED and cache.remedy.startswith("free some space")
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_changed_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {finding.state for finding in installed.models()} == {OK}
    monkeypatch.setattr("icface.face.landmarker.MODEL_SHA256", "0" * 64)
    failed = [finding for finding in installed.models() if finding.state == FAILED]
    assert len(failed) == 1 and "face_landmarker.task is damaged or changed" in failed[0].found


def test_the_model_that_ships_is_damaged_and_the_others_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("icface.bundle.DEFAULT_BUNDLE", tmp_path)
    generator, *others = installed.models()
    assert generator.state == FAILED and generator.remedy == "install icface-live again"
    assert others and all(finding.state == OK for finding in others)


def test_a_package_that_is_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "PACKAGES", ("numpy", "no-such-package"))
    about, missing = installed.versions()
    assert about.state == OK and "numpy" in about.found
    assert missing.state == FAILED and missing.remedy.startswith("pip install no-such-package")


def test_the_tracker_finds_the_built_in_face_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "FRAMES", 2)
    (finding,) = models.tracker()
    assert finding.state == OK, finding
    monkeypatch.setattr(models, "POINTS_PX", {33: (135.0, 159.0)})
    (wrong,) = models.tracker()
    assert wrong.state == FAILED and "openvino" in wrong.remedy


class Engines:
    """Stands for Reenactor: one engine is not built, one is broken, the others are fast or slow."""

    def __init__(self, bundle: object, name: str, size_px: int, threads: int) -> None:
        if name == "tensorrt:fp16":
            raise NotBuiltError("not built")
        if name == "broken":
            raise EngineError("gives a wrong golden frame")
        self.name = name

    def describe(self) -> str:
        return f"engine: {self.name}"

    def close(self) -> None:
        pass


def test_each_engine_is_told_with_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "Reenactor", Engines)
    monkeypatch.setattr(models, "candidates", lambda bundle: ("tensorrt:fp16", "broken", "host", "openvino"))
    monkeypatch.setattr(
        models, "_frame_ms", lambda reenactor: {"host": 40.0, "openvino": 50.0}[reenactor.name]
    )
    unbuilt, broken, slow, other = models.engines()
    assert unbuilt.state == NOTE and "icface-build-engine --backend tensorrt" in unbuilt.remedy
    assert broken.state == NOTE and "wrong golden frame" in broken.found
    assert slow.state == NOTE and "--quality fast" in slow.remedy and "40.0 ms" in slow.found
    assert other.state == OK, "only the first that works is used"


def test_without_any_engine_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "Reenactor", Engines)
    monkeypatch.setattr(models, "candidates", lambda bundle: ("broken",))
    assert [finding.state for finding in models.engines()] == [NOTE, FAILED]
