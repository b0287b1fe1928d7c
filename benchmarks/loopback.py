"""A webcam of our own, `icface-live` as a process behind it, and its virtual camera read back. Linux, v4l2loopback."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import cv2

from benchmarks.common import REPOSITORY
from benchmarks.steps import Player, Recorder
from icface.arrays import Frame
from icface.errors import ConfigError, DeviceError, ICFaceError
from realtime.cameras import Camera, CameraConfig
from realtime.cameras.device import DeviceCamera
from realtime.cameras.v4l2 import query_capabilities
from realtime.choices import SIZES
from realtime.config import LiveConfig
from realtime.sinks import Sink, SinkSettings, create_sink
from realtime.sinks.virtual_camera import TAKES_PICTURES, revive

START_TIMEOUT_S: Final = 120.0
"""For icface-live to start, and for a first frame to come: an emulated machine takes its time."""
STALL_TIMEOUT_S: Final = 10.0
STOP_TIMEOUT_S: Final = 60.0
JPEG_QUALITY: Final = 90
"""About what webcams give."""

_HOW = (
    "make two with: sudo modprobe v4l2loopback devices=2 exclusive_caps=0,1 card_label=webcam,virtual "
    '(README, "A virtual camera")'
)
_S_FMT: Final = 0xC0D05605  # VIDIOC_S_FMT: _IOWR('V', 5, struct v4l2_format of 208 bytes)
_VIDEO_OUTPUT, _FIELD_NONE, _COLORSPACE_JPEG = 2, 1, 7


def check_devices(camera: str, virtual: str, *, attach: bool) -> None:
    """Say what is wrong with the devices before they are used.

    Args:
        camera: to be written to by us, as a webcam.
        virtual: to be written to by icface-live.
        attach: it already is.

    Raises:
        DeviceError: missing, not allowed, or not of v4l2loopback.
        ConfigError: one for both.
    """
    if sys.platform != "linux":
        raise DeviceError(
            "--in and --out need Linux with v4l2loopback; leave them away to measure in process"
        )
    if os.path.realpath(camera) == os.path.realpath(virtual):
        raise ConfigError(f"{camera} cannot be both --in and --out")
    for device, in_use in ((camera, False), (virtual, attach)):
        if not Path(device).is_char_device():
            raise DeviceError(f"{device} is not there; {_HOW}")
        try:
            if not in_use:
                revive(Path(device))
            capabilities = query_capabilities(Path(device))
        except OSError as error:
            raise DeviceError(f"{device} cannot be opened: {error.strerror}; {_HOW}") from error
        if not in_use and not capabilities & TAKES_PICTURES:
            raise DeviceError(
                f"{device} takes no pictures: another program writes to it, or it is not of v4l2loopback; {_HOW}"
            )


class Webcam:
    """A v4l2loopback device that JPEG pictures are written to, as a USB webcam gives them; a context manager."""

    def __init__(self, device: str, poses: Sequence[Frame]) -> None:
        """Open the device and set its format.

        Args:
            device: its path.
            poses: (H, W, 3) RGB, all of one size.

        Raises:
            DeviceError: it does not take pictures.
        """
        import fcntl  # not on Windows

        self._device = device
        quality = (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY)
        self._jpegs = [
            cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), quality)[1].tobytes()
            for frame in poses
        ]
        height, width = poses[0].shape[:2]
        fourcc, size = int.from_bytes(b"MJPG", "little"), max(map(len, self._jpegs))
        # type, then v4l2_pix_format: width, height, pixelformat, field, bytesperline, sizeimage, colorspace
        wanted = bytearray(208)
        fields = (_VIDEO_OUTPUT, width, height, fourcc, _FIELD_NONE, 0, size, _COLORSPACE_JPEG)
        struct.pack_into("=I4x7I", wanted, 0, *fields)
        try:
            self._descriptor = os.open(device, os.O_WRONLY)
            try:
                fcntl.ioctl(self._descriptor, _S_FMT, wanted)
            except BaseException:
                os.close(self._descriptor)
                raise
        except OSError as error:
            raise self._failure(error) from error
        if struct.unpack_from("=3I", wanted, 8) != (width, height, fourcc) or size > _size_image(wanted):
            os.close(self._descriptor)
            raise DeviceError(
                f"{device} keeps another format than {width}x{height} MJPG: end the programs that use it"
            )

    def _failure(self, error: OSError) -> DeviceError:
        return DeviceError(
            f"cannot write pictures to {self._device}: {error.strerror}; does another program write to it?"
        )

    def play(self, player: Player, stop: threading.Event) -> None:
        """Show the player's poses, and the last one on until `stop`: a camera that ends is a camera lost.

        Raises:
            DeviceError: the device has gone.
        """
        pose = 0
        try:
            for pose in player:
                os.write(self._descriptor, self._jpegs[pose])
                if stop.is_set():
                    return
            while not stop.wait(0.05):
                os.write(self._descriptor, self._jpegs[pose])
        except OSError as error:
            raise self._failure(error) from error

    def __enter__(self) -> Webcam:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


def _size_image(v4l2_format: bytearray) -> int:
    size: int = struct.unpack_from("=I", v4l2_format, 28)[0]
    return size


class Worker:
    """A thread that is asked to stop on leaving; what ended it is kept, and raised by `check`."""

    def __init__(self, name: str, body: Callable[[threading.Event], None]) -> None:
        self._body = body
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        try:
            self._body(self._stop)
        except BaseException as error:  # a thread's top: kept, and raised in whoever checks
            self._failure = error

    def check(self) -> None:
        """Raise what ended the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    def __enter__(self) -> Worker:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(STALL_TIMEOUT_S)


class Product:
    """`icface-live` as a process; a context manager that ends it."""

    def __init__(self, config: LiveConfig, camera: str, virtual: str, stats: Path) -> None:
        """Keep what is to be started.

        Args:
            config: source, size, engine, model and what is asked of the camera.
            camera: device it reads.
            virtual: device it writes to.
            stats: file for its statistics.
        """
        self._stats = stats
        size = next(name for name, size_px in SIZES.items() if size_px == config.size_px)
        self.command = [
            *(sys.executable, "-m", "realtime.cli", "--source", str(config.sources[0])),
            *("--camera", camera, "--virtual-camera", virtual, "--stats", str(stats)),
            *(
                "--camera-size",
                "{}x{}".format(*config.camera_size_px),
                "--camera-fps",
                f"{config.camera_fps:g}",
            ),
            *("--size", size, "--engine", config.engine),
            *(("--build",) if config.build else ("--no-build",)),
            *(("--model", str(config.model)) if config.model is not None else ()),
        ]
        self._said: deque[str] = deque(maxlen=20)
        self._opened = threading.Event()

    def __enter__(self) -> Product:
        self._process = subprocess.Popen(
            self.command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listener = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._listener.start()
        return self

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._said.append(line.strip())
                if line.startswith("output: virtual camera"):
                    self._opened.set()
        self._opened.set()  # it has ended: nobody needs to wait any longer

    def wait_until_open(self) -> None:
        """Wait until it writes to its virtual camera.

        Raises:
            ICFaceError: it ended, or takes too long.
        """
        if not self._opened.wait(START_TIMEOUT_S):
            raise ICFaceError(
                f"icface-live opened no output within {START_TIMEOUT_S:g} s: {self._last_words()}"
            )
        self.check()

    def check(self) -> None:
        """Raise what it said last, if it has ended by itself."""
        if self._process.poll() is not None:
            self._listener.join(STOP_TIMEOUT_S)
            raise ICFaceError(f"icface-live ended: {self._last_words()}")

    def _last_words(self) -> str:
        errors = [line.removeprefix("error: ") for line in self._said if line.startswith("error: ")]
        return (errors or list(self._said) or ["without a word"])[-1]

    def report(self) -> dict[str, Any]:
        """End it, and give its statistics.

        Raises:
            ICFaceError: it left none.
        """
        self._end()
        if not self._stats.is_file():
            raise ICFaceError(f"icface-live left no statistics: {self._last_words()}")
        report: dict[str, Any] = json.loads(self._stats.read_text(encoding="utf-8"))
        return report

    def _end(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.join(STOP_TIMEOUT_S)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()


def pass_on(camera: Camera, sink: Sink, stop: threading.Event) -> None:
    """Send what the camera gives, as it is, until it ends or `stop` is set."""
    while not stop.is_set() and (captured := camera.read()) is not None:
        sink.send(captured.frame, captured.time_s)


def pass_on_devices(camera: str, virtual: str, config: LiveConfig, stop: threading.Event) -> None:
    """What stands in icface-live's place for the floor: its camera code and its sink, and nothing between them."""
    webcam = _open_device(camera, config, "MJPG", stop)
    if webcam is None:
        return
    with webcam:
        settings = SinkSettings(device=virtual)
        width_px, height_px, fps = webcam.info.width_px, webcam.info.height_px, webcam.info.fps
        with create_sink("virtual_camera", settings) as sink:
            sink.open(width_px, height_px, fps)
            pass_on(webcam, sink, stop)


def read_back(
    virtual: str, config: LiveConfig, recorder: Recorder, player: Player, stop: threading.Event
) -> None:
    """Read the virtual camera as any program would; its first frame begins the schedule."""
    camera = _open_device(virtual, config, "YU12", stop)
    if camera is None:
        return
    with camera:
        while not stop.is_set() and (captured := camera.read()) is not None:
            recorder.add(captured.frame)
            player.ready.set()


def _open_device(device: str, config: LiveConfig, fourcc: str, stop: threading.Event) -> Camera | None:
    """Open a device that somebody is about to write to; None where `stop` was set meanwhile.

    Raises:
        DeviceError: nothing came from it in time.
    """
    asked = CameraConfig(
        device=device,
        size_px=config.camera_size_px,
        fps=config.camera_fps,
        fourcc=fourcc,
        stall_timeout_s=STALL_TIMEOUT_S,
    )
    end_s = time.monotonic() + START_TIMEOUT_S
    while not stop.wait(0.1):
        try:
            return DeviceCamera(asked)
        except DeviceError:
            if time.monotonic() > end_s:
                raise
    return None
