"""What the chosen frames show of a face, what is missing, and a picture of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from icface.arrays import Frame
from icface.attributes import ACTION_UNITS, INDEX, POSE, FloatArray
from icface.files import write_file
from realtime.cameras.shown import fitted
from training.personal.frames import ChosenFrame

ENOUGH: Final = 3
"""Fewer frames of a kind are too few to learn from."""
_TURNED: Final = 0.14
"""Of the range of a pose: 11°."""
_FAR: Final = 0.22
"""18°: from there on the side of the head is seen."""
_NODDED: Final = 0.09
"""7°: heads nod less than they turn."""
_TILE_PX: Final = 180
_LABEL_PX: Final = 34
_COLUMNS: Final = 5


def _of(name: str) -> Callable[[FloatArray], float]:
    return lambda attributes: float(attributes[INDEX[name]])


@dataclass(frozen=True)
class Kind:
    """A pose or an expression that should be seen."""

    name: str
    amount: Callable[[FloatArray], float]
    """How much of it (SIZE,) attributes show."""
    least: float
    """From which on it is seen."""
    missing: str


def _smile(teeth: bool) -> Callable[[FloatArray], float]:
    def amount(a: FloatArray) -> float:
        apart = a[INDEX["AU25"]]
        return float(a[INDEX["AU12"]]) if (apart >= 0.3 if teeth else apart < 0.2) else 0.0

    return amount


def _talk(a: FloatArray) -> float:
    opened = max(a[INDEX["AU25"]], a[INDEX["AU26"]])
    return float(opened) if a[INDEX["AU12"]] < 0.4 else 0.0


def _rest(a: FloatArray) -> float:
    ahead = np.abs(a[POSE] - 0.5).max() < 0.1
    return 1.0 - float(a[ACTION_UNITS].max()) if ahead else 0.0


KINDS: Final = (
    Kind("at rest", _rest, 0.65, "no resting face seen: look at the camera for two seconds"),
    # Yaw turns the nose to the image's left, which is the person's right.
    Kind("to the left", lambda a: 0.5 - float(a[INDEX["yaw"]]), _TURNED,
         "no turn to your left seen: turn the head left once"),
    Kind("to the right", lambda a: float(a[INDEX["yaw"]]) - 0.5, _TURNED,
         "no turn to your right seen: turn the head right once"),
    Kind("far left", lambda a: 0.5 - float(a[INDEX["yaw"]]), _FAR,
         "the right side of the head is not seen: turn the head far to your left once"),
    Kind("far right", lambda a: float(a[INDEX["yaw"]]) - 0.5, _FAR,
         "the left side of the head is not seen: turn the head far to your right once"),
    Kind("up", lambda a: 0.5 - float(a[INDEX["pitch"]]), _NODDED, "no look upward seen: raise the chin once"),
    Kind("down", lambda a: float(a[INDEX["pitch"]]) - 0.5, _NODDED, "no look downward seen: lower the chin once"),
    Kind("smile, teeth", _smile(True), 0.4, "no smile with teeth seen: laugh once"),
    Kind("smile, closed", _smile(False), 0.35, "no smile with closed lips seen: smile once more"),
    Kind("mouth open", _of("AU26"), 0.5, "no open mouth seen: say a long 'ah' once"),
    Kind("pout", _of("AU18"), 0.4, "no pout seen: say 'oo' once"),
    Kind("brows raised", lambda a: float(a[INDEX["AU01"]] + a[INDEX["AU02"]]) / 2, 0.4,
         "no raised brows seen: look surprised once"),
    Kind("frown", _of("AU04"), 0.4, "no frown seen: draw the brows together once"),
    Kind("eyes closed", _of("AU45"), 0.7, "no closed eyes seen: close the eyes for a second"),
    Kind("talking", _talk, 0.2, "no talking seen: say a few sentences"),
)  # fmt: skip


@dataclass(frozen=True)
class Coverage:
    """How many of the frames show each kind."""

    learned: dict[str, int]
    """Of the frames that are learned from."""
    held: dict[str, int]
    """Of those that judge."""

    @classmethod
    def of(cls, frames: Sequence[ChosenFrame]) -> Coverage:
        """Count."""

        def count(held: bool) -> dict[str, int]:
            own = [frame for frame in frames if frame.held is held]
            return {
                kind.name: sum(kind.amount(frame.attributes) >= kind.least for frame in own) for kind in KINDS
            }

        return cls(count(False), count(True))

    def warnings(self) -> list[str]:
        """A sentence for each kind of which too little is seen."""
        return [kind.missing for kind in KINDS if self.learned[kind.name] < ENOUGH]


def write_picture(path: Path, frames: Sequence[ChosenFrame]) -> None:
    """A sheet with the frame that shows most of each kind, its name, and how many there are to learn from."""
    coverage = Coverage.of(frames)
    tiles = []
    for kind in KINDS:
        count = coverage.learned[kind.name]
        own = [frame for frame in frames if not frame.held]
        best = max(own, key=lambda frame: kind.amount(frame.attributes)) if count else None
        tiles.append(_tile(kind.name, count, best))
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    rows = [np.hstack(tiles[i : i + _COLUMNS]) for i in range(0, len(tiles), _COLUMNS)]
    _, png = cv2.imencode(".png", np.vstack(rows)[..., ::-1])
    write_file(path, png.tobytes())


def _tile(name: str, count: int, frame: ChosenFrame | None) -> Frame:
    tile = np.full((_TILE_PX + _LABEL_PX, _TILE_PX, 3), 255, dtype=np.uint8)
    if frame is None:
        tile[:_TILE_PX] = 215
    else:
        tile[:_TILE_PX] = fitted(frame.picture, (_TILE_PX, _TILE_PX))
    label = f"{name}: {count}" if count else f"{name}: missing"
    colour = (20, 20, 20) if count >= ENOUGH else (190, 20, 20)
    cv2.putText(tile, label, (6, _TILE_PX + 22), cv2.FONT_HERSHEY_SIMPLEX, 0.46, colour, 1, cv2.LINE_AA)
    return tile
