"""Sinks: all of them by the folder's listing, then each by what it is for."""

from __future__ import annotations

import ast
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import av
import numpy as np
import pytest

from icface.errors import ConfigError, DeviceError, ICFaceError
from realtime.cameras import rate_of
from realtime.hotkeys import HOTKEYS
from realtime.sinks import Sink, SinkSettings, create_sink, sink_names, video_file
from realtime.sinks.window import draw_lines
from tests.realtime.fakes import open_sink

FPS = Fraction(25)


def picture(index: int, width_px: int = 64, height_px: int = 48) -> np.ndarray:
    """A colour in each corner, and a middle that gets brighter by 20 with each index."""
    frame = np.full((height_px, width_px, 3), 40, np.uint8)
    frame[:16, :16] = (255, 0, 0)
    frame[:16, -16:] = (0, 255, 0)
    frame[-16:, :16] = (0, 0, 255)
    frame[-16:, -16:] = (255, 255, 255)
    frame[16:-16, 16:-16] = 20 * (index % 12)
    return frame


def write(path: Path, count: int = 10, size_px: tuple[int, int] = (64, 48), **settings: Any) -> None:
    with open_sink(
        "video_file", SinkSettings(path=path, **settings), width_px=size_px[0], height_px=size_px[1], fps=FPS
    ) as sink:
        for index in range(count):
            sink.send(picture(index, *size_px), index / 25)


def read(path: Path) -> tuple[list[np.ndarray], list[float]]:
    """All frames and their times in seconds."""
    frames, times_s = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            frames.append(frame.to_ndarray(format="rgb24"))
            times_s.append(float(frame.time))
    return frames, times_s


def samples(path: Path) -> tuple[np.ndarray, int]:
    """The sound of a file: (n,) float mono, and its rate."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler(format="fltp", layout="mono")
        pieces = [
            out.to_ndarray()[0] for frame in container.decode(audio=0) for out in resampler.resample(frame)
        ]
        return np.concatenate(pieces), container.streams.audio[0].codec_context.sample_rate


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


def make_driver(
    path: Path, *, seconds: float = 2.0, sound: str = "aac", video_seconds: float | None = None
) -> Path:
    """A driver's file: a tone that rises from 200 Hz by 200 Hz a second, so that its place can be told."""
    rate = 48_000
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.options = {"preset": "ultrafast"}
        audio = cast("av.AudioStream", container.add_stream(sound, rate=rate))
        audio.layout = "mono"
        for index in range(round((video_seconds or seconds) * FPS)):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        container.mux(video.encode(None))
        time_s = np.arange(round(seconds * rate)) / rate
        wave = 0.5 * np.sin(2 * np.pi * (200 * time_s + 100 * time_s**2))
        data: np.ndarray
        if audio.format.name.startswith("flt"):
            data, form = wave[None].astype(np.float32), "fltp"
        else:
            data, form = (wave * 32767).astype(np.int16)[None], "s16"
        for start in range(0, data.shape[1], 1024):
            piece = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(data[:, start : start + 1024]), form, "mono"
            )
            piece.sample_rate, piece.pts, piece.time_base = rate, start, Fraction(1, rate)
            container.mux(audio.encode(piece))
        container.mux(audio.encode(None))
    return path


def pitch_hz(wave: np.ndarray, rate: int, at_s: float) -> float:
    """The loudest frequency in a tenth of a second around `at_s`."""
    middle, half = round(at_s * rate), rate // 20
    piece = wave[middle - half : middle + half]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(len(piece)), 8 * rate))
    return float(np.argmax(spectrum)) / 8


# All sinks


def test_the_folder_s_files_are_the_sinks() -> None:
    assert sink_names() == ["null", "picture_files", "video_file", "virtual_camera", "window"]


def test_an_unknown_sink_is_told_which_there_are() -> None:
    with pytest.raises(
        ConfigError,
        match="no sink 'rtmp'; there are: null, picture_files, video_file, virtual_camera, window",
    ):
        create_sink("rtmp")


@pytest.mark.parametrize("name", sink_names())
def test_every_sink_keeps_the_contract(name: str, tmp_path: Path) -> None:
    path = tmp_path / ("out-%d.png" if name == "picture_files" else "out.mp4")
    sink = create_sink(name, SinkSettings(path=path))
    assert isinstance(sink, Sink)
    assert sink.name == name
    sink.close()  # without open
    frame = picture(0)
    frame.flags.writeable = False  # the frame is the caller's
    try:
        sink.open(64, 48, FPS)
    except DeviceError as error:
        assert "\n" not in str(error)
        pytest.skip(f"no {name} on this machine: {error}")
    with sink:
        for index in range(3):
            sink.send(frame, index / 25)
        assert "\n" not in sink.describe()
    sink.close()


# The file: pictures


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".MP4"])
def test_each_frame_sent_is_one_frame_in_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    write(path)
    frames, times_s = read(path)
    assert len(frames) == 10
    assert times_s == pytest.approx([index / 25 for index in range(10)], abs=1e-3)
    for index, frame in enumerate(frames):
        assert np.abs(frame.astype(int) - picture(index))[4:12, 4:12].mean() < 12  # red, through 4:2:0
        assert float(frame[24, 32].mean()) == pytest.approx(20 * index, abs=8)
        assert frame[40, 60].min() > 240
        assert frame[40, 4].argmax() == 2


def test_sides_that_are_odd_are_made_even_by_doubling_the_edge(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="realtime.sinks"):
        write(tmp_path / "out.mp4", count=3, size_px=(61, 45))
    frames, _ = read(tmp_path / "out.mp4")
    assert frames[0].shape == (46, 62, 3)
    assert "written as 62x46" in caplog.text
    assert frames[0][-1, -1].min() > 240


@pytest.mark.parametrize("fps", [29.97, 23.976, 59.94, 240.0])
def test_a_rate_with_a_fraction_opens_a_file(tmp_path: Path, fps: float) -> None:
    path = tmp_path / "out.mp4"
    with open_sink(
        "video_file", SinkSettings(path=path), width_px=64, height_px=48, fps=rate_of(fps)
    ) as sink:
        sink.send(picture(0), 0.0)
    assert len(read(path)[0]) == 1


def test_live_frames_keep_their_own_times(tmp_path: Path) -> None:
    times_s = [100.0, 100.04, 100.30, 100.30, 101.0]
    settings = SinkSettings(path=tmp_path / "out.mp4", live=True)
    with open_sink("video_file", settings, width_px=64, height_px=48, fps=FPS) as sink:
        for index, time_s in enumerate(times_s):
            sink.send(picture(index), time_s)
    frames, read_s = read(tmp_path / "out.mp4")
    assert len(frames) == 5
    assert read_s == pytest.approx([0, 0.04, 0.30, 0.30, 1.0], abs=1e-3)


def test_the_caller_may_overwrite_the_frame_at_once(tmp_path: Path) -> None:
    frame = picture(0)
    with open_sink(
        "video_file", SinkSettings(path=tmp_path / "out.mp4"), width_px=64, height_px=48, fps=FPS
    ) as sink:
        for index in range(8):
            frame[:] = 20 * index
            sink.send(frame, 0.0)
            frame[:] = 255
    frames, _ = read(tmp_path / "out.mp4")
    assert [float(frame.mean()) for frame in frames] == pytest.approx([20 * i for i in range(8)], abs=3)


def test_a_frame_of_another_size_is_a_mistake(tmp_path: Path) -> None:
    with (
        open_sink(
            "video_file", SinkSettings(path=tmp_path / "o.mp4"), width_px=64, height_px=48, fps=FPS
        ) as sink,
        pytest.raises(ValueError, match="sent to a file of"),
    ):
        sink.send(picture(0, 48, 64), 0.0)


# The file: sound


def test_sound_is_copied_as_it_is(tmp_path: Path) -> None:
    driver = make_driver(tmp_path / "driver.mp4")
    for suffix in (".mp4", ".mov", ".mkv"):
        path = tmp_path / f"out{suffix}"
        write(path, count=50, audio_from=driver)
        copied, original = packets(path), packets(driver)
        start = original.index(copied[0])
        assert start <= 1  # the encoder's priming may go
        assert copied == original[start : start + len(copied)]
        wave, rate = samples(path)
        assert rate == 48_000
        # 200 Hz + 200 Hz/s: within 6 Hz is within 30 ms.
        for at_s in (0.5, 1.0, 1.5):
            assert pitch_hz(wave, rate, at_s) == pytest.approx(200 + 200 * at_s, abs=6)


@pytest.mark.parametrize(("sound", "suffix"), [("pcm_s16le", ".mp4"), ("mp2", ".mov"), ("aac", ".webm")])
def test_sound_that_does_not_fit_is_encoded_anew(tmp_path: Path, sound: str, suffix: str) -> None:
    driver = make_driver(tmp_path / "driver.mkv", sound=sound)
    path = tmp_path / f"out{suffix}"
    write(path, count=50, audio_from=driver)
    wave, rate = samples(path)
    assert len(wave) / rate == pytest.approx(2.0, abs=0.06)
    for at_s in (0.5, 1.0, 1.5):
        assert pitch_hz(wave, rate, at_s) == pytest.approx(200 + 200 * at_s, abs=10)


def test_sound_ends_with_the_pictures(tmp_path: Path) -> None:
    driver = make_driver(tmp_path / "driver.mp4", seconds=2.0)
    write(tmp_path / "out.mp4", count=25, audio_from=driver)
    wave, rate = samples(tmp_path / "out.mp4")
    assert len(wave) / rate == pytest.approx(1.0, abs=0.05)


def test_sound_shorter_than_the_pictures_is_no_trouble(tmp_path: Path) -> None:
    driver = make_driver(tmp_path / "driver.mp4", seconds=0.5, video_seconds=2.0)
    write(tmp_path / "out.mp4", count=50, audio_from=driver)
    assert len(read(tmp_path / "out.mp4")[0]) == 50
    wave, rate = samples(tmp_path / "out.mp4")
    assert len(wave) / rate == pytest.approx(0.5, abs=0.05)


def test_sound_before_the_driver_s_first_picture_stays_before_it(tmp_path: Path) -> None:
    early = make_driver(tmp_path / "early.mkv", sound="pcm_s16le")
    late = tmp_path / "late.mkv"
    with av.open(str(early)) as source, av.open(str(late), "w") as target:
        streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.pts is None or packet.dts is None:
                continue
            if packet.stream.type == "video":  # pictures half a second later than the sound
                packet.pts += round(Fraction(1, 2) / packet.time_base)
                packet.dts += round(Fraction(1, 2) / packet.time_base)
            packet.stream = streams[packet.stream.index]
            target.mux(packet)
    for suffix in (".mkv", ".mp4"):
        write(tmp_path / f"out{suffix}", count=25, audio_from=late)
        wave, rate = samples(tmp_path / f"out{suffix}")
        assert pitch_hz(wave, rate, 1.0) == pytest.approx(400, abs=10)
        assert read(tmp_path / f"out{suffix}")[1][0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_damaged_sound_costs_no_pictures(tmp_path: Path, suffix: str, rng: np.random.Generator) -> None:
    driver = make_driver(tmp_path / "driver.mkv", sound="mp2")
    data = np.frombuffer(driver.read_bytes(), np.uint8).copy()
    hit = rng.integers(len(data) // 3, len(data), 400)
    data[hit] = rng.integers(0, 256, 400)
    driver.write_bytes(data.tobytes())
    write(tmp_path / f"out{suffix}", count=50, audio_from=driver)
    assert len(read(tmp_path / f"out{suffix}")[0]) == 50


def test_a_driver_without_sound_gives_a_file_without(tmp_path: Path) -> None:
    write(tmp_path / "driver.mp4")
    write(tmp_path / "out.mp4", audio_from=tmp_path / "driver.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [stream.type for stream in container.streams] == ["video"]


# The file: what can go wrong


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("out.avi", r"must end in one of \.mp4, \.mov, \.mkv, \.webm"),
        ("out", r"no ending; for a video give \S+out\.mp4, for PNG files make the folder"),
        ("mp4", r"no ending; for a video give \S+mp4\.mp4"),
    ],
)
def test_a_name_of_no_container_is_refused(tmp_path: Path, name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        create_sink("video_file", SinkSettings(path=tmp_path / name))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_has_the_output_s_name_as_well_keeps_its_content(tmp_path: Path) -> None:
    driver = tmp_path / "driver.mp4"
    driver.write_bytes(b"kept")
    for name in ("hard.mp4", "soft.mp4"):
        (tmp_path / name).symlink_to(driver) if name == "soft.mp4" else (tmp_path / name).hardlink_to(driver)
        write(tmp_path / name, count=3)
        assert driver.read_bytes() == b"kept" and len(read(tmp_path / name)[0]) == 3


def test_the_file_sink_needs_a_path() -> None:
    with pytest.raises(ConfigError, match="--output"):
        create_sink("video_file")


def test_an_earlier_file_stays_until_the_new_one_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"earlier")
    sink = open_sink("video_file", SinkSettings(path=path), width_px=64, height_px=48, fps=FPS)
    for index in range(5):
        sink.send(picture(index), 0.0)
    assert path.read_bytes() == b"earlier"
    assert len(list(tmp_path.iterdir())) == 2
    sink.close()
    assert len(read(path)[0]) == 5
    assert [item.name for item in tmp_path.iterdir()] == ["out.mp4"]


def test_an_interrupted_run_leaves_what_was_made_and_it_plays(tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    with (
        pytest.raises(KeyboardInterrupt),
        open_sink("video_file", SinkSettings(path=path), width_px=64, height_px=48, fps=FPS) as sink,
    ):
        for index in range(7):
            sink.send(picture(index), 0.0)
        raise KeyboardInterrupt
    assert len(read(path)[0]) == 7


def test_a_run_without_a_frame_leaves_no_file(tmp_path: Path) -> None:
    open_sink("video_file", SinkSettings(path=tmp_path / "o.mp4"), width_px=64, height_px=48, fps=FPS).close()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    resource = pytest.importorskip("resource", reason="file size limits are Unix's")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, rng: np.random.Generator) -> None:
    sink = create_sink("video_file", SinkSettings(path=tmp_path / "out.mp4"))
    noise = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
    with (
        pytest.raises(DeviceError, match=r"no space left for .*out\.mp4; free some"),
        file_size_limit(20_000),
    ):
        sink.open(64, 48, FPS)
        for index in range(400):
            sink.send(np.roll(noise, index, 0), 0.0)
        sink.close()
    sink.close()  # told once
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DeviceError, match="cannot be written: Permission denied"):
        open_sink("video_file", SinkSettings(path=tmp_path / "o.mp4"), width_px=64, height_px=48, fps=FPS)


def test_a_place_that_is_no_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DeviceError, match=r"out\.mp4 cannot be written: "):
        open_sink(
            "video_file", SinkSettings(path=tmp_path / "file/out.mp4"), width_px=64, height_px=48, fps=FPS
        )


def test_a_container_that_does_not_open_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(video_file.CONTAINERS, ".mp4", video_file.Container(format="mp4", video_codec="none"))
    with pytest.raises(Exception, match="none"):
        open_sink("video_file", SinkSettings(path=tmp_path / "out.mp4"), width_px=64, height_px=48, fps=FPS)
    assert list(tmp_path.iterdir()) == []


# The virtual camera


class FakeVirtualCamera:
    """Stands for pyvirtualcam.Camera."""

    made: list[FakeVirtualCamera] = []  # noqa: RUF012 - emptied by the fixture

    def __init__(self, width: int, height: int, fps: float, device: str | None) -> None:
        if device == "/dev/video9":
            raise RuntimeError(
                "'v4l2loopback' backend: Device /dev/video9 is no video output device. See the docs.\n"
                "'other' backend: not today"
            )
        self.width, self.height, self.fps = width, height, fps
        self.device = device or "/dev/null"
        self.backend = "fake"
        self.frames: list[np.ndarray] = []
        self.closed = False
        FakeVirtualCamera.made.append(self)

    def send(self, frame: np.ndarray) -> None:
        self.frames.append(frame.copy())

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def pyvirtualcam(monkeypatch: pytest.MonkeyPatch) -> type[FakeVirtualCamera]:
    module = ModuleType("pyvirtualcam")
    module.Camera = FakeVirtualCamera  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyvirtualcam", module)
    FakeVirtualCamera.made.clear()
    return FakeVirtualCamera


def test_frames_go_to_the_virtual_camera_with_even_sides(pyvirtualcam: type[FakeVirtualCamera]) -> None:
    with open_sink("virtual_camera", width_px=61, height_px=45, fps=Fraction(30000, 1001)) as sink:
        sink.send(picture(0, 61, 45), 0.0)
        assert sink.describe() == "virtual camera /dev/null (fake) 62x46"
    (camera,) = pyvirtualcam.made
    assert (camera.width, camera.height, camera.closed) == (62, 46, True)
    assert camera.fps == pytest.approx(29.97, abs=0.001)
    np.testing.assert_array_equal(camera.frames[0][:45, :61], picture(0, 61, 45))
    np.testing.assert_array_equal(camera.frames[0][45], camera.frames[0][44])


@pytest.mark.parametrize(
    ("platform", "told"),
    [
        ("linux", "sudo modprobe v4l2loopback exclusive_caps=1 card_label=ICface"),
        ("darwin", "install OBS"),
        ("win32", "install OBS"),
    ],
)
def test_no_virtual_camera_says_how_to_get_one_and_offers_the_window(
    pyvirtualcam: type[FakeVirtualCamera], monkeypatch: pytest.MonkeyPatch, platform: str, told: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    sink = create_sink("virtual_camera", SinkSettings(device="/dev/video9"))
    with pytest.raises(DeviceError) as raised:
        sink.open(64, 48, FPS)
    message = str(raised.value)
    assert message.startswith(
        "virtual camera /dev/video9 cannot be opened ('v4l2loopback' backend: Device /dev/video9 is no video "
        "output device; 'other' backend: not today); "
    )
    assert told in message and "--window" in message and "\n" not in message


def test_without_pyvirtualcam_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    with pytest.raises(DeviceError, match="pip install pyvirtualcam"):
        open_sink("virtual_camera", width_px=64, height_px=48, fps=FPS)


@pytest.mark.skipif(sys.platform != "linux", reason="device files are Linux's")
def test_a_virtual_camera_that_goes_is_told(pyvirtualcam: type[FakeVirtualCamera], tmp_path: Path) -> None:
    device = tmp_path / "video5"
    device.touch()
    settings = SinkSettings(device=str(device))
    with open_sink("virtual_camera", settings, width_px=64, height_px=48, fps=FPS) as sink:
        sink.send(picture(0), 0.0)
        device.unlink()
        with pytest.raises(DeviceError, match="video5 is gone"):
            sink.send(picture(1), 0.0)


def test_a_virtual_camera_that_takes_no_more_pictures(
    pyvirtualcam: type[FakeVirtualCamera], monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_sink("virtual_camera", width_px=64, height_px=48, fps=FPS) as sink:
        sink.send(picture(0), 0.0)

        def refuse(camera: FakeVirtualCamera, frame: np.ndarray) -> None:
            raise RuntimeError("the device was closed")

        monkeypatch.setattr(FakeVirtualCamera, "send", refuse)
        with pytest.raises(DeviceError, match=r"takes no more pictures \(the device was closed\); or see"):
            sink.send(picture(1), 0.0)


# The window


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="these always have a screen")
@pytest.mark.parametrize(
    ("display", "wayland", "told"),
    [
        ("", "", "no screen to open a window on"),
        ("", "wayland-0", "needs Xwayland"),
        (":4095", "", "display :4095 does not answer"),
        ("nonsense", "", "display nonsense does not answer"),
    ],
)
def test_without_a_display_there_is_an_error_instead_of_an_abort(
    monkeypatch: pytest.MonkeyPatch, display: str, wayland: str, told: str
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.setenv("WAYLAND_DISPLAY", wayland)
    with pytest.raises(ICFaceError, match=told) as raised:
        open_sink("window", width_px=64, height_px=48, fps=FPS)
    assert "--output" in str(raised.value)


_WINDOW_RUN = """
import numpy as np, sys, time
from fractions import Fraction
from realtime.sinks import create_sink
with create_sink("window") as sink:
    sink.open(300, 200, Fraction(30))
    frame = np.zeros((200, 300, 3), np.uint8)
    frame[:, :150] = (255, 0, 0)
    end = time.monotonic() + 30
    print("open", flush=True)
    while time.monotonic() < end:
        sink.send(frame, 0.0)
        key = sink.poll_key()
        if key is not None:
            print(ascii(key), flush=True)
        if key in ("closed", "\\x1b"):
            break
"""


@pytest.mark.parametrize("size_px", [(256, 256), (512, 512), (1280, 720)])
def test_help_is_written_on_a_darkened_part_inside_the_picture(size_px: tuple[int, int]) -> None:
    picture = np.full((size_px[1], size_px[0], 3), 120, dtype=np.uint8)
    draw_lines(picture, [f"{key}: {meaning}" for key, meaning in HOTKEYS.items()])
    assert (picture[0] == 40).all(), "darkened"
    assert (picture > 200).sum() > 500, "there is text"
    assert picture[:, -3:].max() <= 120 and picture[-3:].max() <= 120, "and none of it is cut"


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("Xvfb"), reason="Xvfb is not installed")
@pytest.mark.skipif(not shutil.which("xdotool"), reason="xdotool is not installed")
def test_a_real_window_opens_and_hears_keys() -> None:
    number = next(n for n in range(90, 200) if not Path(f"/tmp/.X11-unix/X{n}").exists())
    server = subprocess.Popen(["Xvfb", f":{number}", "-screen", "0", "640x480x24"], stderr=subprocess.DEVNULL)
    environment = {**os.environ, "DISPLAY": f":{number}"}
    try:
        deadline = time.monotonic() + 20
        while not Path(f"/tmp/.X11-unix/X{number}").exists():
            assert time.monotonic() < deadline, "Xvfb did not start"
        window = subprocess.Popen(
            [sys.executable, "-c", _WINDOW_RUN], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert window.stdout is not None
        assert window.stdout.readline() == "open\n"
        for keys in (["search", "--sync", "--name", "ICface"], ["mousemove", "100", "100"]):
            subprocess.run(["xdotool", *keys], env=environment, check=True, stdout=subprocess.DEVNULL)
        heard: list[str] = []
        for key in ("q", "N", "Left", "space", "Escape"):
            subprocess.run(["xdotool", "key", key], env=environment, check=True)
            if key != "Left":  # an arrow key is none of ours
                heard.append(ast.literal_eval(window.stdout.readline()))
        assert heard == ["q", "n", " ", "\x1b"]
        window.stdout.close()
        assert window.wait(20) == 0
    finally:
        server.terminate()
        server.wait(20)
