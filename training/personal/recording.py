"""Films a person with the webcam, and says what to do: on the screen, or in the terminal, and by a tone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Final

import av
import numpy as np

from icface.arrays import Frame
from icface.errors import DeviceError
from icface.files import replacing_file
from realtime.cameras import Camera, CameraConfig, open_camera
from realtime.sinks import SinkSettings
from realtime.sinks.window import WindowSink, check_display, draw_lines

SIZE_PX: Final = (1280, 720)
FPS: Final = 30
# How long each takes against the others. The last one is a quarter of all: it judges, and nothing learns from it.
PROMPTS: Final[tuple[tuple[float, str], ...]] = (
    (3, "Look at the camera with a resting face."),
    (4, "Turn the head slowly far to your left, and back."),
    (4, "Turn the head slowly far to your right, and back."),
    (3, "Raise the chin, and back."),
    (3, "Lower the chin, and back."),
    (4, "Smile with closed lips."),
    (4, "Laugh: show your teeth."),
    (3, "Say a long 'ah' with the mouth wide open."),
    (3, "Say a long 'oo': pout."),
    (3, "Raise the brows: look surprised."),
    (3, "Draw the brows together: frown."),
    (3, "Close the eyes for a second, then blink."),
    (8, "Say: the five wise judges mixed up very big quiet foxes."),
    (16, "Once more as you like: talk, smile, laugh, blink, turn."),
)
_TICK: Final = Fraction(1, 90_000)
_X264: Final = {"preset": "superfast", "crf": "14"}
_TONE: Final = "\a"


def prompt_at(share: float) -> str:
    """What to do when a share of the time is over."""
    at = share * sum(length for length, _ in PROMPTS)
    for length, text in PROMPTS:
        if at < length:
            return text
        at -= length
    return PROMPTS[-1][1]


class Prompter(AbstractContextManager["Prompter"]):
    """Shows the camera's picture, as in a mirror, and what to do; without a screen the terminal tells it."""

    def __init__(self) -> None:
        self._window: WindowSink | None = WindowSink(SinkSettings())
        self._said = ""
        try:
            check_display()
        except DeviceError:
            self._window = None

    def open(self, width_px: int, height_px: int) -> None:
        """Get ready for pictures of this size."""
        if self._window is not None:
            self._window.open(width_px, height_px, Fraction(FPS))

    def show(self, frame: Frame, text: str, left_s: float) -> bool:
        """Show a picture and a prompt, with a tone for a new one; False where the user ends it."""
        if text != self._said:
            self._said = text
            print(f"{_TONE}{text}", file=sys.stderr, flush=True)
        if self._window is None:
            return True
        picture = np.ascontiguousarray(frame[:, ::-1])
        draw_lines(picture, [text, f"{left_s:.0f} s"])
        self._window.send(picture, 0.0)
        return self._window.poll_key() not in ("q", "\x1b", "closed")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._window is not None:
            self._window.close()


def record(
    path: Path,
    seconds: float,
    device: str,
    stop: threading.Event,
    *,
    camera: Camera | None = None,
    prompter: Callable[[], Prompter] = Prompter,
) -> None:
    """Film for so many seconds into a file, which is there when all of it is filmed.

    Args:
        path: an MP4 file.
        seconds: how long.
        device: number or path of the camera.
        stop: ends it, as the keys q and Esc of the window do.
        camera: open; used instead of the device.
        prompter: makes what says what to do.

    Raises:
        DeviceError: the camera cannot be opened, or stops.
        KeyboardInterrupt: the user ended it.
    """
    with ExitStack() as stack:
        settings = CameraConfig(device=device, size_px=SIZE_PX, fps=FPS)
        camera = stack.enter_context(camera or open_camera(settings))
        shown = stack.enter_context(prompter())
        width_px, height_px = camera.info.width_px // 2 * 2, camera.info.height_px // 2 * 2
        shown.open(width_px, height_px)
        unfinished = stack.enter_context(replacing_file(path))
        container = stack.enter_context(av.open(str(unfinished), "w", format="mp4"))
        stream = container.add_stream("libx264", rate=FPS, options=_X264)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.codec_context.time_base = _TICK
        first_s: float | None = None
        for captured in camera.frames():
            first_s = captured.time_s if first_s is None else first_s
            elapsed_s = captured.time_s - first_s
            if elapsed_s >= seconds:
                break
            frame = captured.frame[:height_px, :width_px]
            going = shown.show(frame, prompt_at(elapsed_s / seconds), seconds - elapsed_s)
            if stop.is_set() or not going:
                raise KeyboardInterrupt
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = round(elapsed_s / _TICK), _TICK
            container.mux(stream.encode(picture))
        else:
            raise DeviceError(f"camera {device} ended before {seconds:g} s were filmed")
        container.mux(stream.encode())
