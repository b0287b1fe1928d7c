"""The frames of one person that were chosen to learn from, in a folder: PNG pictures and one file of numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from icface.arrays import Frame
from icface.attributes import SIZE, FloatArray
from icface.errors import ConfigError
from icface.face.landmarks import Landmarks
from icface.files import read_file, write_file
from icface.tensors import read_tensors

NUMBERS: Final = "frames.safetensors"
_MOST_BYTES: Final = 200_000_000


@dataclass(frozen=True, kw_only=True)
class ChosenFrame:
    """One frame, and what was seen in it."""

    picture: Frame
    """(H, W, 3) RGB, upright: the head with room around it."""
    points_px: FloatArray
    """(478, 3) landmarks in pixels of `picture`, as `Landmarks` has them."""
    blendshapes: FloatArray
    """(52,)"""
    attributes: FloatArray
    """(SIZE,) as the tracker read them, calibrated to this person."""
    video: int
    """Number of the video that it is from, counted from 0."""
    time_s: float
    """In that video."""
    held: bool
    """Whether it is from the last quarter: it judges, and nothing learns from it."""

    @property
    def landmarks(self) -> Landmarks:
        """The landmarks, as a detector gives them."""
        return Landmarks(self.points_px, (self.picture.shape[1], self.picture.shape[0]), self.blendshapes)


def save_frames(folder: Path, frames: Sequence[ChosenFrame]) -> None:
    """Write frames into a folder, which is made. The numbers come last, so that they stand for a whole set."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(frames):
        _, png = cv2.imencode(".png", frame.picture[..., ::-1])
        write_file(_picture(folder, number), png.tobytes())
    numbers: dict[str, NDArray[Any]] = {
        "points_px": np.stack([frame.points_px for frame in frames]),
        "blendshapes": np.stack([frame.blendshapes for frame in frames]),
        "attributes": np.stack([frame.attributes for frame in frames]),
        "video": np.array([frame.video for frame in frames], dtype=np.int32),
        "time_s": np.array([frame.time_s for frame in frames], dtype=np.float64),
        "held": np.array([frame.held for frame in frames], dtype=np.bool_),
    }
    write_file(folder / NUMBERS, save(numbers))


def load_frames(folder: Path) -> list[ChosenFrame]:
    """The frames of a folder, in the order in which they were saved.

    Raises:
        ConfigError: something is missing or damaged.
    """
    try:
        numbers = read_tensors(read_file(folder / NUMBERS, _MOST_BYTES))
        _check(numbers["attributes"])
        return [
            ChosenFrame(
                picture=_read(_picture(folder, i)),
                points_px=numbers["points_px"][i],
                blendshapes=numbers["blendshapes"][i],
                attributes=numbers["attributes"][i],
                video=int(numbers["video"][i]),
                time_s=float(numbers["time_s"][i]),
                held=bool(numbers["held"][i]),
            )
            for i in range(len(numbers["held"]))
        ]
    except (OSError, ValueError, LookupError) as error:
        raise ConfigError(
            f"{folder}: the chosen frames cannot be read ({error}); icface-live personalise chooses them anew"
        ) from error


def _check(attributes: NDArray[np.float32]) -> None:
    if attributes.shape[1:] != (SIZE,):
        raise ValueError("they are of another version")


def _picture(folder: Path, number: int) -> Path:
    return folder / f"{number:05}.png"


def _read(path: Path) -> Frame:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise ValueError(f"{path.name} is missing or damaged")
    return picture.astype(np.uint8, copy=False)
