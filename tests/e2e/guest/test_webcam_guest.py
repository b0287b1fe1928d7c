"""The real thing: a webcam, a virtual camera, and a program that reads it, in a virtual machine.

The machine is booted once (a minute or more in emulation, which is ten to thirty times slower than the host); what
happens in it is in `in_guest.sh`, what it left behind is checked here.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.latency import MEASURES, WITH_DEVICES, choose_poses
from icface.arrays import Frame
from icface.face.landmarks import Landmarks, open_detector
from icface.images import load_photo
from realtime.cameras import CameraConfig, open_camera
from realtime.drivers.several import STALE_MAX_S
from tests.e2e.measuring import REPOSITORY, icface_live, pad_by_half
from tests.export.geometry_alone import geometry_alone

pytestmark = [pytest.mark.guest, pytest.mark.long]

SIZE_PX = 256
WEBCAM_PX = (320, 240)  # 4:3, as the driver
RETRY_S = 15
"""How long the camera is tried again: enough for an emulated machine to be slow in."""
TIMEOUT_S = 600
SOURCE = REPOSITORY / "examples/rendered.jpg"
DRIVER = REPOSITORY / "examples/driver.mp4"


def kernel_with_cameras() -> Path | None:
    """The newest kernel that v4l2loopback was built for, if it can be read."""
    kernels = [
        Path("/boot") / f"vmlinuz-{module.parents[2].name}"
        for module in Path("/lib/modules").glob("*/updates/dkms/v4l2loopback.ko*")
    ]
    readable = [kernel for kernel in kernels if os.access(kernel, os.R_OK)]
    return max(readable, key=lambda kernel: kernel.stat().st_mtime, default=None)


def find_vng() -> str | None:
    return shutil.which("vng", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def why_not() -> str:
    """Why this machine cannot boot the guest; empty if it can."""
    if sys.platform != "linux":
        return "the guest shares this machine's files, which must be Linux"
    if shutil.which("qemu-system-x86_64") is None:
        return "qemu is not installed (apt-get install qemu-system-x86)"
    if find_vng() is None:
        return "virtme-ng is not installed (pip install virtme-ng)"
    if shutil.which("v4l2-ctl") is None:
        return "v4l2-ctl is not installed (apt-get install v4l-utils)"
    if kernel_with_cameras() is None:
        return "no kernel with v4l2loopback (apt-get install linux-image-amd64 linux-headers-amd64 v4l2loopback-dkms)"
    if not (SOURCE.is_file() and DRIVER.is_file()):
        return "examples/ is not there"
    return ""


@dataclass(frozen=True)
class GuestRun:
    """What the guest left behind."""

    share: Path

    def text(self, name: str) -> str:
        path = self.share / name
        return path.read_text() if path.exists() else ""

    def frames(self, name: str) -> list[Frame]:
        """What v4l2-ctl recorded: YUV 4:2:0, (256, 256) each."""
        raw = np.fromfile(self.share / f"{name}.yuv", np.uint8)
        assert raw.size and raw.size % (SIZE_PX * SIZE_PX * 3 // 2) == 0
        return [
            np.asarray(cv2.cvtColor(yuv, cv2.COLOR_YUV2RGB_I420), np.uint8)
            for yuv in raw.reshape(-1, SIZE_PX * 3 // 2, SIZE_PX)
        ]

    @property
    def errors(self) -> list[str]:
        return [line for line in self.text("live.log").splitlines() if line.startswith("error: ")]


def small(frame: Frame) -> Frame:
    """As the webcam shows it, but BGR."""
    shown = cv2.cvtColor(cv2.resize(frame, WEBCAM_PX, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2BGR)
    return np.asarray(shown, dtype=np.uint8)


def write_webcam_clip(path: Path) -> None:
    """What the webcam will show: every third frame of the driver, as JPEG (see feed.py)."""
    with open_camera(CameraConfig(device=str(DRIVER))) as camera, path.open("wb") as file:
        file.write(struct.pack("<HH", *WEBCAM_PX))
        for captured in camera.frames():
            if captured.index % 3 == 0:
                _, jpeg = cv2.imencode(".jpg", small(captured.frame))
                file.write(struct.pack("<I", jpeg.size) + jpeg.tobytes())


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuestRun]:
    """Boot, run, power off."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    share = tmp_path_factory.mktemp("guest")
    shutil.copyfile(SOURCE, share / "source.jpg")
    shutil.copytree(geometry_alone(), share / "edge.icface")
    write_webcam_clip(share / "clip.bin")
    for number, frame in enumerate(choose_poses(DRIVER)):
        cv2.imwrite(str(share / f"pose{number}.png"), small(frame))
    environment = {
        "ICFACE_CACHE_DIR": str(share / "cache"),
        # Machine code compiled here must also be found in the guest, whose processor has another name.
        "NUMBA_CACHE_DIR": str(share / "numba"),
        "NUMBA_CPU_NAME": "generic",
        "HOME": str(share),
        "TMPDIR": str(share),
        "PYTHONPATH": str(REPOSITORY),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        # What is cached on first use is cached now, at the host's speed.
        warm_up = icface_live(
            *(
                "--source",
                share / "source.jpg",
                "--camera",
                DRIVER,
                "--size",
                SIZE_PX,
                "--model",
                share / "edge.icface",
                "--frames",
                2,
                "--null",
            )
        )
    assert warm_up.returncode == 0, warm_up.stderr
    boot(share, environment)
    yield GuestRun(share)


def boot(share: Path, environment: dict[str, str]) -> None:
    vng, kernel = find_vng(), kernel_with_cameras()
    assert vng is not None and kernel is not None
    script = [str(REPOSITORY / "tests/e2e/guest/in_guest.sh"), str(share), sys.executable, str(RETRY_S)]
    inside = ["env", *(f"{name}={value}" for name, value in environment.items()), "sh", *script]
    # KVM hangs inside some virtual machines; emulation runs everywhere. Emulated AVX and FMA are so slow that the
    # tracker needs 9 s a frame with them and 0.4 s without.
    qemu = (
        "-cpu max,-avx,-avx2,-fma,-f16c -fsdev local,id=host,path=/,security_model=none,readonly=on,multidevs=remap"
        " -device virtio-9p-pci,fsdev=host,mount_tag=host"
    )
    command = [vng, "-r", str(kernel), "--disable-kvm", "--cpus", "2", "--memory", "4G"]
    command += [f"--qemu-opts={qemu}", f"--rwdir={share}", "--", shlex.join(inside)]
    path = f"{Path(vng).parent}{os.pathsep}{os.environ['PATH']}"
    with (share / "vng.log").open("wb") as log:
        machine = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            machine.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the guest did not end within {TIMEOUT_S} s:\n{GuestRun(share).text('guest.log')}")
        finally:
            if machine.poll() is None:
                os.killpg(machine.pid, signal.SIGKILL)
                machine.wait()


# How alike two faces are: eyes and mouth are brought to the same places, then pixels are compared.

_ANCHORS = (33, 263, 13)  # outer corners of the eyes, upper lip
_PLACES = np.array([[16, 20], [48, 20], [32, 48]], dtype=np.float32)


def aligned(frame: Frame, face: Landmarks) -> NDArray[np.float64]:
    """The inner face, (64, 64, 3)."""
    to_patch = cv2.getAffineTransform(face.points_px[_ANCHORS, :2].astype(np.float32), _PLACES)
    patch = cv2.GaussianBlur(cv2.warpAffine(frame, to_patch, (64, 64)), (0, 0), 1.5)
    return np.asarray(patch, np.float64)


def likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Normalised correlation, which does not see colour."""
    a, b = a - a.mean((0, 1)), b - b.mean((0, 1))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def colour_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Between the mean colours, in grey levels."""
    return float(np.linalg.norm(a.mean((0, 1)) - b.mean((0, 1))))


def faces_in(frames: list[Frame], *, pad: bool) -> list[NDArray[np.float64] | None]:
    """The aligned face of each frame, None where none is found."""
    detector = open_detector(video=False)
    try:
        found: list[NDArray[np.float64] | None] = []
        for frame in frames:
            wide = pad_by_half(frame) if pad else frame  # the detector wants some room around a face
            faces = detector.detect(wide)
            found.append(aligned(wide, faces[0]) if faces else None)
        return found
    finally:
        detector.close()


@pytest.fixture(scope="module")
def persons() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The aligned faces of the source and of the driver."""
    with open_camera(CameraConfig(device=str(DRIVER))) as camera:
        captured = camera.read()
    assert captured is not None
    (source,) = faces_in([load_photo(SOURCE).frame], pad=False)
    (driver,) = faces_in([captured.frame], pad=False)
    assert source is not None and driver is not None
    return source, driver


# What must have happened


def test_the_guest_came_to_its_end(guest: GuestRun) -> None:
    told = "\n".join(
        f"{name}:\n{guest.text(name)}" for name in ("guest.log", "live.log", "feed.log", "vng.log")
    )
    assert guest.text("exit_code.txt").strip() == "1", told


def test_other_programs_see_a_camera_of_the_right_size(guest: GuestRun) -> None:
    device = guest.text("device.txt")
    assert "virtual" in device
    assert "Video Capture" in device
    assert f"{SIZE_PX}/{SIZE_PX}" in device
    assert "'YU12'" in device


def test_the_webcam_was_read_as_it_is(guest: GuestRun) -> None:
    assert "camera /dev/webcam (webcam): 320x240 MJPG at 10 FPS" in guest.text("live.log")


@pytest.mark.parametrize(
    ("name", "count"), [("tracking", 40), ("stalled", 20), ("back", 30), ("unplugged", 4)]
)
def test_every_frame_that_is_read_shows_the_source_s_face(
    guest: GuestRun, persons: tuple[NDArray[np.float64], NDArray[np.float64]], name: str, count: int
) -> None:
    source, driver = persons
    frames = guest.frames(name)
    assert len(frames) == count
    faces = faces_in(frames, pad=True)
    assert all(face is not None for face in faces)
    found = [face for face in faces if face is not None]
    for face in found:
        assert colour_distance(face, source) < 0.5 * colour_distance(face, driver)
    # An expression costs a single frame some of its likeness.
    assert np.median([likeness(face, source) - likeness(face, driver) for face in found]) > 0


@pytest.mark.parametrize("name", ["tracking", "back"])
def test_the_face_moves_while_the_driver_does(guest: GuestRun, name: str) -> None:
    # The face is in the middle. The room around it stands still.
    middle = slice(SIZE_PX // 4, 3 * SIZE_PX // 4)
    faces = [frame[middle, middle].astype(int) for frame in guest.frames(name)]
    assert max(float(np.abs(face - faces[0]).mean()) for face in faces) > 1.0


def test_a_webcam_that_hangs_goes_on_or_goes_is_told_and_survived(guest: GuestRun) -> None:
    log = guest.text("live.log")
    assert "gave no new frame for 500 ms" in log
    assert log.count("the camera is back") >= 2
    assert "was unplugged" in log
    statistics = json.loads(guest.text("stats.json"))
    assert statistics["frames"]["cameras_lost"] >= 3


def test_a_webcam_that_stays_away_ends_in_one_line(guest: GuestRun) -> None:
    (error,) = guest.errors
    assert error.startswith(f"error: the camera did not come back within {RETRY_S} s: camera /dev/webcam")
    assert "--list-cameras" in error
    assert "Traceback" not in guest.text("live.log")


def test_a_virtual_camera_can_be_written_to_again(guest: GuestRun) -> None:
    """With exclusive_caps=1, as README says, and the driver that Debian ships."""
    lines = guest.text("again.txt").splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2"], guest.text("again.txt")
    assert all("virtual camera /dev/video3" in line for line in lines)


def measured(guest: GuestRun, name: str, leg: str) -> dict[str, Any]:
    """One leg of `benchmarks/latency.py`."""
    assert guest.text(f"{name}.json"), guest.text(f"{name}.txt")
    document = json.loads(guest.text(f"{name}.json"))
    assert document["measured"] == WITH_DEVICES
    figures: dict[str, Any] = document["legs"][leg]
    return figures


def test_the_latency_benchmark_sees_steps_through_real_devices(guest: GuestRun) -> None:
    """Onset, half-way, arrived, in this order; a pass-through is quicker. How quick they are here says nothing."""
    track_s = json.loads(guest.text("stats.json"))["stages"]["track"]["p50_ms"] / 1000
    if not guest.text("latency.json") and track_s > STALE_MAX_S / 2:
        pytest.skip(
            f"tracking takes {track_s:.1f} s a frame here: between two frames the face goes back to rest"
        )
    floor, product = measured(guest, "floor", "floor"), measured(guest, "latency", "product")
    assert floor["steps"] == product["steps"] == 2
    assert floor["seen"] >= 1 and product["seen"] >= 1
    for figures in (floor, product):
        times_ms = [figures[name]["p50_ms"] for name in MEASURES]
        assert all(map(math.isfinite, times_ms)) and times_ms[0] > 0 and times_ms == sorted(times_ms)
    assert floor["onset"]["p50_ms"] <= product["onset"]["p50_ms"]
