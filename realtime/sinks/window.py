"""The window: shows the frames on the screen and hears the keyboard.

OpenCV's window belongs to the thread that opens it (on macOS the main one). That thread makes all calls.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np

from icface.arrays import Frame
from icface.errors import DeviceError
from realtime.sinks import TICK_S, Sink

_TITLE = "ICface Live"
_LARGEST_PX = 960
"""A window is not larger at first; it can be resized."""


class WindowSink(Sink):
    """Shows frames in a window."""

    name = "window"
    _open = False
    _help: tuple[str, ...] = ()

    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        check_display()
        scale = min(1.0, _LARGEST_PX / max(width_px, height_px))
        try:
            cv2.namedWindow(_TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
            cv2.resizeWindow(_TITLE, round(width_px * scale), round(height_px * scale))
        except cv2.error as error:
            raise DeviceError(
                "this OpenCV has no windows; run: pip install --force-reinstall opencv-python"
            ) from error
        self._open = True

    def send(self, frame: Frame, time_s: float) -> None:
        shown: Frame = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR).astype(np.uint8, copy=False)
        if self._help:
            draw_lines(shown, self._help)
        cv2.imshow(_TITLE, shown)

    def show_help(self, lines: Sequence[str]) -> bool:
        self._help = () if self._help else tuple(lines)
        return True

    def poll_key(self) -> str | None:
        """See Sink. Letters are small, because not every toolkit tells capitals. The call also keeps the window alive."""
        code = cv2.pollKey()
        if cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) < 1:
            return "closed"
        # Some toolkits add modifier keys above 16 bits. Arrow keys have codes of 128 and more, and -1 is no key.
        code &= 0xFFFF
        return chr(code).lower() if code < 128 else None

    def close(self) -> None:
        if self._open:
            self._open = False
            if cv2.getWindowProperty(_TITLE, cv2.WND_PROP_VISIBLE) >= 1:
                cv2.destroyWindow(_TITLE)
            cv2.pollKey()  # the toolkit takes it away when it next handles events


def draw_lines(picture: Frame, lines: Sequence[str]) -> None:
    """Write lines of text on a darkened part of a picture (H, W, 3), in place, as large as fits."""
    font, height_px, width_px = cv2.FONT_HERSHEY_SIMPLEX, picture.shape[0], picture.shape[1]
    widest = max(cv2.getTextSize(line, font, 1.0, 1)[0][0] for line in lines)
    scale = min(0.92 * width_px / widest, 0.92 * height_px / (34 * len(lines)), 0.9)
    line_px = max(1, round(34 * scale))
    bottom = min(height_px, line_px * len(lines) + line_px)
    picture[:bottom] //= 3
    for i, line in enumerate(lines, start=1):
        at = round(0.03 * width_px), round(i * line_px + 0.3 * line_px)
        cv2.putText(picture, line, at, font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def check_display() -> None:
    """Raise DeviceError where a window cannot open: without a display Qt ends the whole process. Linux and BSD only."""
    if sys.platform in ("win32", "darwin"):
        return
    display = os.environ.get("DISPLAY", "")
    instead = "use --virtual-camera or --output FILE instead"
    if not display:
        if os.environ.get("WAYLAND_DISPLAY"):
            raise DeviceError(f"a window needs Xwayland here (DISPLAY is not set); start it, or {instead}")
        raise DeviceError(f"there is no screen to open a window on (DISPLAY is not set); {instead}")
    if not _answers(display):
        raise DeviceError(f"the display {display} does not answer; {instead}")


def _answers(display: str) -> bool:
    """Connect to an X server named as in DISPLAY: [host]:number[.screen]."""
    host, _, rest = display.rpartition(":")
    number = rest.partition(".")[0]
    if not number.isdecimal():
        return False
    if host in ("", "unix"):
        # Abstract first (a leading zero byte), as X clients do; then the socket file.
        path = f"/tmp/.X11-unix/X{number}"
        return _connects(socket.AF_UNIX, f"\0{path}") or _connects(socket.AF_UNIX, path)
    if host.startswith("/"):  # XQuartz
        return _connects(socket.AF_UNIX, display)
    return _connects(socket.AF_INET, (host, 6000 + int(number)))


def _connects(family: socket.AddressFamily, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        try:
            return connection.connect_ex(address) == 0
        except OSError:  # no such host
            return False


create = WindowSink
