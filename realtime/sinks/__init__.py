"""Sinks: where the finished frames go. Each is a module in this folder, found by its file name.

A new sink is a new file with a subclass of `Sink` and the line `create = ThatClass`. Heavy imports stay in that file.
"""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.errors import ConfigError
from realtime.disclosure import Provenance

CLOSE_TIMEOUT_S: Final = 60.0
"""A file is finished within this, or given up."""
TICK_S: Final = Fraction(1, 90_000)
"""Time base where there is no other. It is MPEG's."""


@dataclass(frozen=True, kw_only=True)
class SinkSettings:
    """What the sinks may want to know. Only `device` is for the virtual camera; the rest is for a video file."""

    device: str | None = None
    """A path or a name; None takes the first that works."""
    path: Path | None = None
    audio_from: Path | None = None
    """The driver's file, whose sound goes along."""
    overwrite: bool = False
    """Numbered pictures: delete those that are there already."""
    transparent: bool = False
    """Frames are RGBA, for sinks that take alpha."""
    live: bool = False
    """True: times are on the clock, and the first frame starts the file. False: times are the driver's own."""
    provenance: Provenance = field(default_factory=Provenance)


class Sink(ABC):
    """Takes finished frames; a context manager. One thread makes all calls."""

    name: str
    is_file = False
    """Whether it writes files, which any thread may close while no other one sends."""
    takes_alpha = False
    """Whether it takes transparent frames: (H, W, 4), colours multiplied by alpha. Other sinks get a key colour there."""

    def __init__(self, settings: SinkSettings) -> None:
        self._settings = settings

    @abstractmethod
    def open(self, width_px: int, height_px: int, fps: Fraction, time_base: Fraction = TICK_S) -> None:
        """Get ready for frames of this size and nominal rate; raises DeviceError where that fails.

        `time_base`: seconds that their times are multiples of.
        """

    @abstractmethod
    def send(self, frame: Frame, time_s: float) -> None:
        """Take one frame; when this returns, the caller may overwrite it.

        Args:
            frame: (H, W, 3) uint8 RGB, C-contiguous, of the size given to `open`. (H, W, 4) where the sink takes
                alpha and the pictures have it.
            time_s: when it is shown: on the clock (live), or in the driver's file.

        Raises:
            DeviceError: it could not be passed on.
        """

    def finish(self, end_s: float | None) -> None:
        """Know that the driver has come to its own end: its last frame is shown until `end_s` (None: as long as usual).

        Without this call the run was cut short.
        """
        return

    @abstractmethod
    def close(self) -> None:
        """Finish and release; may be called twice, and without `open`."""

    def describe(self) -> str:
        """One line for the user, once open."""
        return self.name

    def poll_key(self) -> str | None:
        """The character of a key pressed since the last call, "closed" if the user closed it, or None. Never waits."""
        return None

    def show_help(self, lines: Sequence[str]) -> bool:
        """Draw these lines over what it shows, or take them away; False where nobody looks at it but others."""
        return False

    def __enter__(self) -> Sink:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def even_sides(frame: Frame) -> Frame:
    """The frame with even sides, which 4:2:0 needs: an odd last row or column is doubled."""
    bottom, right = frame.shape[0] % 2, frame.shape[1] % 2
    if not (bottom or right):
        return frame
    doubled = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return doubled.astype(np.uint8, copy=False)


def is_picture_series(path: Path) -> bool:
    """Whether an `--output` means numbered pictures: a folder, or a name such as out-%05d.png."""
    return path.is_dir() or path.suffix.lower() == ".png"


def sink_names() -> list[str]:
    """List the sinks, by the modules in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def create_sink(name: str, settings: SinkSettings | None = None) -> Sink:
    """Make a sink, not yet open; raises ConfigError for an unknown one, or for settings it cannot use."""
    if name not in sink_names():
        raise ConfigError(f"there is no sink {name!r}; there are: {', '.join(sink_names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    sink: Sink = module.create(settings or SinkSettings())
    return sink
