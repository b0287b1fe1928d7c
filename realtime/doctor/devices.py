"""Checks of the devices: cameras, the virtual camera, the screen."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import numpy as np

from icface.arrays import Frame
from icface.errors import DeviceError
from realtime.cameras import Camera, CameraConfig, list_cameras, open_camera
from realtime.doctor import FAILED, NOTE, OK, Finding
from realtime.sinks import Sink, SinkSettings, create_sink

WATCHED_S: Final = 2.0
"""So long each camera is watched."""
SLOW: Final = 0.8
"""A camera is slow where it gives less than this part of the rate that is asked for."""
DARK_LEVEL: Final = 5.0
CARD_PX: Final = (640, 480)
COLOUR_LEVELS: Final = 24.0
"""A virtual camera may change colours by so much: 4:2:0, and back by another matrix."""


def cameras() -> Iterator[Finding]:
    """Whether each camera opens, its size, and how many frames a second it really gives."""
    listings = list_cameras()
    for listing in listings:
        if listing.note:
            found, _, remedy = listing.note.partition("; ")
            named = f"{listing.number} ({listing.name}): {found}"
            yield Finding(check="camera", state=FAILED, found=named, remedy=remedy)
            continue
        try:
            with open_camera(CameraConfig(device=str(listing.number))) as camera:
                yield watched(camera)
        except DeviceError as error:
            found, _, remedy = str(error).partition("; ")
            yield Finding(check="camera", state=FAILED, found=found, remedy=remedy)
    if not listings:
        yield Finding(
            check="camera",
            state=FAILED,
            found="no camera was found",
            remedy="plug one in, and see whether another program shows it; or drive by a file: --driver FILE",
        )


def watched(camera: Camera, asked_fps: float = CameraConfig.fps) -> Finding:
    """Watch an open camera for WATCHED_S of its own time; DeviceError where it stops."""
    first = camera.read()
    if first is None:
        raise DeviceError("the camera closed by itself; unplug it and plug it in again")
    last, brightest, still = first, float(first.frame.mean()), True
    while last.time_s - first.time_s < WATCHED_S and (captured := camera.read()) is not None:
        brightest = max(brightest, float(captured.frame.mean()))
        still = still and np.array_equal(captured.frame, first.frame)
        last = captured
    info = camera.info
    fps = (last.index - first.index) / max(last.time_s - first.time_s, 1e-6)
    found = f"{info.name}: {info.width_px}x{info.height_px} {info.fourcc}, {fps:.1f} frames a second"
    remedy = ""
    if brightest < DARK_LEVEL:
        remedy = "its picture is black: open its cover, and allow this program to use the camera"
    elif still:
        remedy = "its picture stands still: unplug it and plug it in again"
    elif fps < SLOW * asked_fps:
        remedy = f"{asked_fps:g} were asked for: give it more light, or a smaller --camera-size"
    return Finding(check="camera", state=NOTE if remedy else OK, found=found, remedy=remedy)


def virtual_camera() -> Iterator[Finding]:
    """Whether a virtual camera takes pictures and, on Linux, whether another program would see them."""
    sink = create_sink("virtual_camera", SinkSettings())
    sink.open(*CARD_PX, Fraction(30))
    try:
        yield written(sink)
    finally:
        sink.close()


def written(sink: Sink) -> Finding:
    """Write pictures to an open virtual camera and read them back, where the system allows it."""
    card = np.empty((CARD_PX[1], CARD_PX[0], 3), dtype=np.uint8)
    card[: CARD_PX[1] // 2], card[CARD_PX[1] // 2 :] = (200, 40, 40), (40, 40, 200)
    sink.send(card, 0.0)
    described = sink.describe()
    if sys.platform != "linux":
        return Finding(check="virtual camera", state=OK, found=f"{described}, written")
    end = threading.Event()
    writer = threading.Thread(target=_keep_sending, args=(sink, card, end), daemon=True)
    writer.start()
    device = described.split()[2]  # "virtual camera /dev/video5 (v4l2loopback) 640x480"
    try:
        with open_camera(CameraConfig(device=device, fourcc="YU12", open_timeout_s=5.0)) as camera:
            captured = camera.read()
    except DeviceError as error:
        remedy = f"load v4l2loopback again with exclusive_caps=1: README, A virtual camera ({error})"
        found = f"{described}, written, and cannot be read back"
        return Finding(check="virtual camera", state=FAILED, found=found, remedy=remedy)
    finally:
        end.set()
        writer.join(1.0)
    if captured is None or not shows(captured.frame, card):
        remedy = "another program writes to it, or it has another format; end that program"
        found = f"{described}, written, and another picture is read back"
        return Finding(check="virtual camera", state=FAILED, found=found, remedy=remedy)
    return Finding(check="virtual camera", state=OK, found=f"{described}, written and read back")


def _keep_sending(sink: Sink, picture: Frame, end: threading.Event) -> None:
    """Write on and on, because a reader sees only what is written while it looks. It is the body of a thread."""
    while not end.wait(1 / 30):
        sink.send(picture, time.monotonic())


def shows(frame: Frame, card: Frame) -> bool:
    """Whether a frame is the card, as far as a virtual camera keeps colours."""
    if frame.shape != card.shape:
        return False
    quarter = card.shape[0] // 4  # the middle of the upper half, and of the lower
    return all(
        float(np.abs(frame[row].astype(np.float64) - card[row]).mean()) < COLOUR_LEVELS
        for row in (quarter, 3 * quarter)
    )


def screen() -> Iterator[Finding]:
    """Whether a window opens."""
    sink = create_sink("window", SinkSettings())
    try:
        sink.open(320, 240, Fraction(30))
        sink.send(np.full((240, 320, 3), 90, dtype=np.uint8), 0.0)
        sink.poll_key()
    except DeviceError as error:
        found, _, remedy = str(error).partition("; ")
        yield Finding(check="screen", state=NOTE, found=found, remedy=remedy)
        return
    finally:
        sink.close()
    yield Finding(check="screen", state=OK, found="a window opens")
