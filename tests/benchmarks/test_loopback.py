"""What can be tested without devices: icface-live as a process, threads, and what is said of a missing device.

The devices themselves are in tests/e2e/guest.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from benchmarks import loopback
from benchmarks.loopback import Product, Worker, check_devices
from icface.errors import ConfigError, DeviceError, ICFaceError
from realtime.config import LiveConfig
from realtime.sinks import virtual_camera

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="v4l2loopback is for Linux")

STAND_IN = """
import signal, sys, threading
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
print("camera: a stand-in", file=sys.stderr)
print("output: virtual camera /dev/video1 (stand-in) 256x256", file=sys.stderr, flush=True)
ended.wait(30)
open(sys.argv[1], "w").write('{"fps": 30}')
"""


def product(stats: Path, script: str) -> Product:
    """A product whose command is a script that gets the name of its statistics."""
    config = LiveConfig(sources=(Path("me.jpg"),), size_px=256, camera_size_px=(320, 240), camera_fps=10)
    made = Product(config, "/dev/video0", "/dev/video1", stats)
    made.command = [sys.executable, "-c", script, str(stats)]
    return made


def test_the_command() -> None:
    config = LiveConfig(
        sources=(Path("me.jpg"),), size_px=None, camera_size_px=(320, 240), camera_fps=10, build=False
    )
    command = Product(config, "/dev/video0", "/dev/video1", Path("s.json")).command
    assert " ".join(command[1:]) == (
        "-m realtime.cli --source me.jpg --camera /dev/video0 --virtual-camera /dev/video1 --stats s.json "
        "--camera-size 320x240 --camera-fps 10 --size native --engine auto --no-build"
    )


def test_it_is_ended_and_its_statistics_are_read(tmp_path: Path) -> None:
    with product(tmp_path / "stats.json", STAND_IN) as running:
        running.wait_until_open()
        running.check()
        assert running.report() == {"fps": 30}


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import sys; print('error: no camera', file=sys.stderr); sys.exit(1)", "no camera"),
        ("", "without a word"),
    ],
)
def test_one_that_ends_by_itself_is_said(tmp_path: Path, script: str, said: str) -> None:
    with (
        product(tmp_path / "stats.json", script) as running,
        pytest.raises(ICFaceError, match=f"^icface-live ended: {said}$"),
    ):
        running.wait_until_open()
        running._process.wait(30)
        running.check()


def test_no_statistics_are_said(tmp_path: Path) -> None:
    script = STAND_IN.replace("open(sys.argv[1]", "open('/dev/null'")
    with product(tmp_path / "stats.json", script) as running:
        running.wait_until_open()
        with pytest.raises(ICFaceError, match="left no statistics"):
            running.report()


def test_a_worker_keeps_what_ended_it() -> None:
    failed = threading.Event()

    def body(stop: threading.Event) -> None:
        try:
            raise DeviceError("the webcam is gone")
        finally:
            failed.set()

    with Worker("failing", body) as worker:
        failed.wait(30)
        worker._thread.join(30)
        with pytest.raises(DeviceError, match="the webcam is gone"):
            worker.check()

    def wait(stop: threading.Event) -> None:
        stop.wait(30)

    with Worker("waiting", wait) as worker:
        worker.check()
    assert not worker._thread.is_alive()


@pytest.mark.skipif(sys.platform != "linux", reason="v4l2loopback is for Linux")
def test_devices_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(
        DeviceError, match=r"^/dev/video77 is not there; make two with: sudo modprobe v4l2loop"
    ):
        check_devices("/dev/video77", "/dev/video78", attach=False)
    with pytest.raises(DeviceError, match=r"^/dev/null cannot be opened: .*modprobe"):
        check_devices("/dev/null", "/dev/video78", attach=False)
    with pytest.raises(ConfigError, match=r"cannot be both"):
        check_devices("/dev/video0", "/dev/video0", attach=False)


def test_what_takes_no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A webcam, or a virtual camera in use: with --attach the latter is what is wanted."""
    capabilities = {"/dev/null": 2, "/dev/zero": 1}
    for module in (loopback, virtual_camera):
        monkeypatch.setattr(module, "query_capabilities", lambda path: capabilities[str(path)])
    monkeypatch.setattr(sys, "platform", "linux")
    check_devices("/dev/null", "/dev/zero", attach=True)
    with pytest.raises(DeviceError, match=r"^/dev/zero takes no pictures"):
        check_devices("/dev/null", "/dev/zero", attach=False)
