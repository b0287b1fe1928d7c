"""Cameras: files of every shape, and a scripted device that stalls, repeats and unplugs."""

from __future__ import annotations

import logging
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import pytest

from icface.errors import ConfigError, DeviceError
from realtime.cameras import CameraConfig, CapturedFrame, list_cameras, open_camera, v4l2
from realtime.cameras import device as device_module
from realtime.cameras.device import DeviceCamera, _open_capture

# Corner colours (top left, top right, bottom left, bottom right), as in the `corner_frame` fixture.
CORNERS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def corner_picture(width_px: int, height_px: int) -> np.ndarray:
    frame = np.full((height_px, width_px, 3), 40, np.uint8)
    side = min(width_px, height_px) // 3
    for colour, rows, columns in zip(
        CORNERS,
        (slice(side), slice(side), slice(-side, None), slice(-side, None)),
        (slice(side), slice(-side, None), slice(side), slice(-side, None)),
        strict=True,
    ):
        frame[rows, columns] = colour
    return frame


def corners_of(frame: np.ndarray, inset: int = 5) -> list[tuple[int, ...]]:
    """The colour inside each corner, each channel rounded to 0 or 255."""
    picked = (frame[i, j] for i in (inset, -1 - inset) for j in (inset, -1 - inset))
    return [tuple(int(channel > 127) * 255 for channel in pixel) for pixel in picked]


def write_clip(
    path: Path,
    frames: list[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    fps: Fraction = Fraction(25),
    times_ms: list[int] | None = None,
) -> Path:
    with av.open(str(path), "w") as container:
        stream = cast("av.VideoStream", container.add_stream(codec, rate=fps))
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        stream.pix_fmt = pix_fmt
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if codec == "libx264":
            stream.options = {"preset": "ultrafast", "crf": "10"}
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            if times_ms is not None:
                picture.pts, picture.time_base = times_ms[number], Fraction(1, 1000)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def read_all(path: Path) -> list[CapturedFrame]:
    with open_camera(CameraConfig(device=str(path))) as camera:
        return list(camera.frames())


# Files


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt", "width_px", "height_px"),
    [
        ("even.mp4", "libx264", "yuv420p", 64, 48),
        ("full_range.mp4", "libx264", "yuvj420p", 64, 48),
        ("odd.mkv", "ffv1", "bgr0", 61, 45),
        ("odd.gif", "gif", "rgb8", 61, 45),
        ("old.mpg", "mpeg1video", "yuv420p", 64, 48),
        ("no_subsampling.mkv", "libx264", "yuv444p", 61, 45),
        ("grey.mkv", "ffv1", "gray", 61, 45),
    ],
)
def test_every_frame_of_a_file_comes_once_in_order_and_upright(
    tmp_path: Path, name: str, codec: str, pix_fmt: str, width_px: int, height_px: int
) -> None:
    picture = corner_picture(width_px, height_px)
    # The middle gets brighter with each frame, so that order and count show.
    frames = []
    for number in range(6):
        frames.append(picture.copy())
        frames[-1][height_px // 2 - 3 : height_px // 2 + 3, width_px // 2 - 3 : width_px // 2 + 3] = (
            40 * number
        )
    path = write_clip(tmp_path / name, frames, codec=codec, pix_fmt=pix_fmt)

    captured = read_all(path)

    assert [item.index for item in captured] == [0, 1, 2, 3, 4, 5]
    assert [item.time_s for item in captured] == pytest.approx([0.0, 0.04, 0.08, 0.12, 0.16, 0.2], abs=2e-3)
    for item in captured:
        assert item.frame.shape == (height_px, width_px, 3)
        assert item.frame.dtype == np.uint8
        assert item.frame.flags.c_contiguous
        if pix_fmt != "gray":
            assert corners_of(item.frame) == CORNERS
    middles = [float(item.frame[height_px // 2, width_px // 2].mean()) for item in captured]
    assert middles == pytest.approx([0, 40, 80, 120, 160, 200], abs=24)  # rgb8 (GIF) has 8 levels


def test_a_file_tells_what_it_is(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", [corner_picture(64, 48)] * 7, fps=Fraction(24000, 1001))
    with open_camera(CameraConfig(device=str(path))) as camera:
        info = camera.info
    assert (info.width_px, info.height_px, info.frame_count, info.is_file) == (64, 48, 7, True)
    assert info.fps == Fraction(24000, 1001)
    assert info.fourcc == "h264"
    assert info.describe() == "clip.mp4: 64x48 h264 at 23.98 FPS"


def test_frames_of_variable_rate_keep_their_times(tmp_path: Path) -> None:
    times_ms = [0, 40, 200, 210, 500]
    path = write_clip(tmp_path / "vfr.mkv", [corner_picture(64, 48)] * 5, times_ms=times_ms)
    assert [item.time_s for item in read_all(path)] == pytest.approx([0.0, 0.04, 0.2, 0.21, 0.5])


def test_a_late_first_frame_has_time_zero(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "late.mkv", [corner_picture(64, 48)] * 3, times_ms=[100, 140, 180])
    assert [item.time_s for item in read_all(path)] == pytest.approx([0.0, 0.04, 0.08])


@pytest.mark.parametrize(
    ("matrix", "corners", "width_px", "height_px"),
    [
        # (a b c d) of the track header's matrix: what phones write for each way they are held.
        (
            (0, 1, -1, 0),
            [CORNERS[2], CORNERS[0], CORNERS[3], CORNERS[1]],
            48,
            64,
        ),  # a quarter turn to the right
        ((0, -1, 1, 0), [CORNERS[1], CORNERS[3], CORNERS[0], CORNERS[2]], 48, 64),  # to the left
        ((-1, 0, 0, -1), [CORNERS[3], CORNERS[2], CORNERS[1], CORNERS[0]], 64, 48),  # upside down
        ((-1, 0, 0, 1), [CORNERS[1], CORNERS[0], CORNERS[3], CORNERS[2]], 64, 48),  # mirrored, as selfies are
        ((1, 0, 0, -1), [CORNERS[2], CORNERS[3], CORNERS[0], CORNERS[1]], 64, 48),
        ((0, 1, 1, 0), [CORNERS[0], CORNERS[2], CORNERS[1], CORNERS[3]], 48, 64),  # both turned and mirrored
        ((0, -1, -1, 0), [CORNERS[3], CORNERS[1], CORNERS[2], CORNERS[0]], 48, 64),
    ],
)
def test_a_clip_from_a_phone_held_on_its_side_is_turned_upright(
    tmp_path: Path,
    matrix: tuple[int, int, int, int],
    corners: list[tuple[int, int, int]],
    width_px: int,
    height_px: int,
) -> None:
    path = write_clip(tmp_path / "phone.mp4", [corner_picture(64, 48)] * 2)
    data = bytearray(path.read_bytes())
    start = data.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    a, b, c, d = matrix
    one = 1 << 16
    struct.pack_into(">9i", data, start, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    path.write_bytes(data)

    with open_camera(CameraConfig(device=str(path))) as camera:
        assert (camera.info.width_px, camera.info.height_px) == (width_px, height_px)
        captured = camera.read()
    assert captured is not None
    assert captured.frame.shape == (height_px, width_px, 3)
    assert captured.frame.flags.c_contiguous
    assert corners_of(captured.frame) == corners


def test_a_truncated_file_gives_its_frames_up_to_the_damage(
    tmp_path: Path, rng: np.random.Generator, caplog: pytest.LogCaptureFixture
) -> None:
    frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(20)]
    # MPEG-TS and MKV can be read without their end; MP4 keeps its index there.
    path = write_clip(tmp_path / "cut.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING):
        captured = read_all(path)
    assert 5 <= len(captured) <= 11
    for item, frame in zip(captured[:-1], frames, strict=False):
        np.testing.assert_array_equal(item.frame, frame)


def test_what_is_not_a_video_is_refused_in_one_line(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a video\n" * 50)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    picture = tmp_path / "photo.png"
    cv2.imwrite(str(picture), corner_picture(64, 48))
    cut = write_clip(tmp_path / "cut.mp4", [corner_picture(64, 48)] * 5)
    cut.write_bytes(cut.read_bytes()[:600])
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        stream.layout = "mono"
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        silence.sample_rate = 8000
        container.mux(stream.encode(silence))
    for path in (text, empty, picture, cut, sound, tmp_path):
        with pytest.raises(ConfigError) as raised:
            open_camera(CameraConfig(device=str(path)))
        assert "\n" not in str(raised.value)
        assert str(path) in str(raised.value)
        assert raised.value.exit_code == 2


def test_a_playlist_cannot_reach_the_network(tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        port = server.getsockname()[1]
        lines = "#EXTM3U", "#EXT-X-TARGETDURATION:5", "#EXTINF:5,", f"http://127.0.0.1:{port}/clip.ts", ""
        playlist.write_text("\n".join(lines))
        with pytest.raises(ConfigError):
            open_camera(CameraConfig(device=str(playlist)))
        with pytest.raises(BlockingIOError):
            server.accept()


def test_a_title_in_another_encoding_is_no_trouble(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "old.mkv", [corner_picture(64, 48)] * 3)
    data = path.read_bytes()
    assert b"Lavf" in data  # in the tag that names the muxer
    path.write_bytes(data.replace(b"Lavf", b"L\xe4vf"))
    assert len(read_all(path)) == 3


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"nothing\.mp4 is not there.*--list-cameras"):
        open_camera(CameraConfig(device=str(tmp_path / "nothing.mp4")))


def test_after_close_a_file_has_ended(tmp_path: Path) -> None:
    camera = open_camera(
        CameraConfig(device=str(write_clip(tmp_path / "a.mp4", [corner_picture(64, 48)] * 3)))
    )
    assert camera.read() is not None
    camera.close()
    camera.close()
    assert camera.read() is None


# Devices


@pytest.mark.skipif(sys.platform != "linux", reason="/dev is Linux's")
def test_opencv_is_asked_and_says_no() -> None:
    """All of the real way to a device up to the point where one would be needed."""
    with pytest.raises(
        DeviceError, match=r"camera /dev/null could not be opened; is another program using it\?"
    ):
        DeviceCamera(CameraConfig(device="/dev/null"), _open_capture)


def test_where_the_system_has_no_list_the_numbers_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    opened: list[str] = []

    def open_some(config: CameraConfig) -> ScriptedCapture:
        opened.append(config.device)
        if config.device not in ("0", "2"):
            raise DeviceError("no such camera")
        return ScriptedCapture(iter([]))

    monkeypatch.setattr(device_module, "_open_capture", open_some)
    assert [(item.number, item.name) for item in list_cameras()] == [(0, "camera 0"), (2, "camera 2")]
    assert opened == ["0", "1", "2", "3", "4", "5"]


# Scripted: each item of the script is one grab. No test waits longer than its camera's time-out.


class ScriptedCapture:
    """Stands for cv2.VideoCapture; plays BGR frames, None for a failed grab, or an Event to hang on."""

    def __init__(self, script: Iterator[np.ndarray | threading.Event | None]) -> None:
        self._script = script
        self._frame: np.ndarray | None = None
        self.released = threading.Event()
        self.stamp_ms = 0.0
        self.states_fps = 30.0

    def grab(self) -> bool:
        item = next(self._script, None)
        if isinstance(item, threading.Event):
            item.wait(10)
            return self.grab()
        self._frame = item
        return item is not None

    def retrieve(self) -> tuple[bool, np.ndarray]:
        assert self._frame is not None
        return True, self._frame

    def get(self, property: int) -> float:
        return {
            cv2.CAP_PROP_FRAME_WIDTH: 6.0,
            cv2.CAP_PROP_FRAME_HEIGHT: 4.0,
            cv2.CAP_PROP_FPS: self.states_fps,
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*"MJPG")),
            cv2.CAP_PROP_POS_MSEC: self.stamp_ms,
        }[property]

    def set(self, property: int, value: float) -> bool:
        return True

    def release(self) -> None:
        self.released.set()


def device(
    script: Iterator[np.ndarray | threading.Event | None],
    *,
    clock: Callable[[], float] = lambda: 100.0,
    stamp_ms: float = 0.0,
    states_fps: float = 30.0,
    **settings: float,
) -> tuple[DeviceCamera, ScriptedCapture]:
    capture = ScriptedCapture(script)
    capture.stamp_ms = stamp_ms
    # A device path that is there: whether it is gone is looked up when grabs fail.
    capture.states_fps = states_fps
    times = {"stall_timeout_s": 0.05, "open_timeout_s": 5.0, **settings}
    config = CameraConfig(device="/dev/null", **times)  # type: ignore[arg-type]
    return DeviceCamera(config, lambda _: cast(cv2.VideoCapture, capture), clock), capture


def grey(level: int) -> np.ndarray:
    return np.full((4, 6, 3), level, np.uint8)


def test_a_device_gives_rgb_and_says_what_really_came() -> None:
    blue_in_bgr = np.zeros((4, 6, 3), np.uint8)
    blue_in_bgr[..., 0] = 255
    hang = threading.Event()
    camera, capture = device(iter([blue_in_bgr, hang]))
    captured = camera.read()
    assert captured is not None
    assert captured.frame[0, 0].tolist() == [0, 0, 255]
    assert (camera.info.width_px, camera.info.height_px, camera.info.fourcc) == (6, 4, "MJPG")
    assert camera.info.fps == 30
    assert not camera.info.is_file
    hang.set()
    camera.close()
    assert capture.released.wait(5)


def test_a_device_that_states_no_rate_has_the_one_asked_for_as_a_short_fraction() -> None:
    hang = threading.Event()
    camera, _ = device(iter([grey(0), hang]), states_fps=0.0, fps=29.97)
    assert camera.info.fps == Fraction(2997, 100)
    hang.set()
    camera.close()


def test_a_slow_reader_gets_the_newest_frame_and_sees_the_gap() -> None:
    paused = threading.Event()
    all_grabbed = threading.Event()

    def script() -> Iterator[np.ndarray | threading.Event | None]:
        yield grey(0)
        yield paused
        for level in (10, 20, 30):
            yield grey(level)
        all_grabbed.set()
        yield threading.Event()

    camera, _ = device(script(), stall_timeout_s=5.0)
    first = camera.read()
    paused.set()
    assert all_grabbed.wait(5)
    last = camera.read()
    assert first is not None and last is not None
    assert (first.index, last.index) == (0, 3)
    assert last.frame[0, 0, 0] == 30


def test_a_stalled_device_is_an_error_within_the_bound_and_may_come_back() -> None:
    stalled = threading.Event()
    camera, _ = device(iter([grey(0), stalled, grey(50), threading.Event()]))
    assert camera.read() is not None
    with pytest.raises(
        DeviceError, match=r"gave no new frame for 50 ms; is another program using it\? Run: "
    ):
        camera.read()
    stalled.set()
    while True:  # the reader thread needs a moment
        try:
            captured = camera.read()
            break
        except DeviceError:
            continue
    assert captured is not None
    assert captured.frame[0, 0, 0] == 50


def test_one_failed_grab_is_forgiven() -> None:
    camera, _ = device(iter([grey(0), None, None, grey(9), threading.Event()]), stall_timeout_s=5.0)
    captured = camera.read()
    while captured is not None and captured.frame[0, 0, 0] != 9:
        captured = camera.read()
    assert captured is not None
    assert captured.index == 1


def test_a_device_that_stops_is_an_error_at_every_read() -> None:
    camera, capture = device(iter([grey(0)]), stall_timeout_s=5.0)
    camera.read()
    for _ in range(2):
        with pytest.raises(DeviceError, match="stopped giving frames; plug it in again"):
            camera.read()
    assert capture.released.wait(5)


def test_an_unplugged_device_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    unplug = threading.Event()
    camera, _ = device(iter([grey(0), unplug]), stall_timeout_s=5.0)
    camera.read()
    monkeypatch.setattr(v4l2, "is_gone", lambda name: True)
    unplug.set()
    with pytest.raises(DeviceError, match="was unplugged; plug it in again"):
        camera.read()


def test_a_device_without_a_first_frame_is_an_error_in_bounded_time() -> None:
    with pytest.raises(DeviceError, match=r"gave no frame within 0\.05 s"):
        device(iter([threading.Event()]), open_timeout_s=0.05)
    with pytest.raises(DeviceError, match="opened but gave no frame"):
        device(iter([]))


def test_closing_does_not_wait_for_a_driver_that_hangs() -> None:
    hang = threading.Event()
    camera, capture = device(iter([grey(0), hang]))
    camera.read()
    camera.close()
    assert camera.read() is None
    assert not capture.released.is_set()
    hang.set()
    assert capture.released.wait(5)  # by its own thread, once the driver returns


def test_an_error_on_the_reader_thread_is_raised_where_frames_are_read() -> None:
    def script() -> Iterator[np.ndarray | threading.Event | None]:
        yield grey(0)
        raise RuntimeError("driver trouble")

    camera, _ = device(script(), stall_timeout_s=5.0)
    with pytest.raises(RuntimeError, match="driver trouble"):
        while True:
            camera.read()


@pytest.mark.parametrize(
    ("stamp_ms", "expected_s"),
    [
        (99_960.0, 99.96),  # V4L2's monotonic stamp, 40 ms ago
        (0.0, 100.0),  # none
        (1_700_000_000_000.0, 100.0),  # the wall clock
        (90_000.0, 100.0),  # stale
    ],
)
def test_the_driver_s_stamp_is_used_where_it_is_believable(stamp_ms: float, expected_s: float) -> None:
    camera, _ = device(iter([grey(0), threading.Event()]), stamp_ms=stamp_ms)
    captured = camera.read()
    assert captured is not None
    assert captured.time_s == pytest.approx(expected_s)


def test_a_grey_camera_becomes_rgb() -> None:
    camera, _ = device(iter([np.full((4, 6), 77, np.uint8), threading.Event()]))
    captured = camera.read()
    assert captured is not None
    assert captured.frame.shape == (4, 6, 3)
    assert (captured.frame == 77).all()


def test_a_picture_that_comes_as_one_long_row_gets_its_shape() -> None:
    bgr = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    camera, _ = device(iter([bgr.reshape(1, 72), threading.Event()]))
    captured = camera.read()
    assert captured is not None
    np.testing.assert_array_equal(captured.frame, bgr[..., ::-1])


# What devices there are


def make_node(root: Path, number: int, name: str) -> None:
    node = root / f"sys/class/video4linux/video{number}"
    node.mkdir(parents=True)
    (node / "name").write_text(name + "\n")


@pytest.mark.skipif(not Path("/sys/class").is_dir(), reason="lists by sysfs, which is Linux's")
def test_the_list_holds_what_can_capture_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in ((10, "Ten"), (2, "Webcam"), (3, "Webcam metadata"), (4, "Locked")):
        make_node(tmp_path, number, name)

    def capabilities(path: Path) -> int:
        if path.name == "video4":
            raise PermissionError(13, "Permission denied")
        return {"video2": 0x04200001, "video3": 0x04A00000, "video10": 0x1000}[path.name]

    monkeypatch.setattr(v4l2, "query_capabilities", capabilities)
    listed = v4l2.list_cameras(tmp_path)
    assert [(item.number, item.name) for item in listed] == [(2, "Webcam"), (4, "Locked"), (10, "Ten")]
    assert listed[0].path == str(tmp_path / "dev/video2")
    assert listed[0].note == ""
    assert "usermod -aG video" in listed[1].note


@pytest.mark.skipif(not Path("/sys/class").is_dir(), reason="asks V4L2, which is Linux's")
@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            PermissionError(13, "Permission denied"),
            r"camera 0: permission denied; run: sudo usermod -aG video",
        ),
        (OSError(16, "Device or resource busy"), "camera 0 is busy; close the other program"),
        (OSError(25, "Inappropriate ioctl for device"), "is not a camera"),
        (OSError(6, "No such device or address"), "cannot be opened: No such device or address"),
        (FileNotFoundError(2, "No such file"), r"camera 0 is not there; .*Run: icface-live --list-cameras"),
        (0x2, "gives no pictures"),
    ],
)
def test_what_is_wrong_with_a_device_is_told(
    answer: OSError | int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def capabilities(path: Path) -> int:
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(v4l2, "query_capabilities", capabilities)
    with pytest.raises(DeviceError, match=told):
        v4l2.check_device("0")
